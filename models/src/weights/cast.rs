//! Numbers of any floating-point type as the type that is wanted.
//!
//! Promise: numbers that the wanted type cannot hold are counted, and passed on as they are.
//!
//! Not here: in what order numbers lie (`gather`).

use half::slice::HalfFloatSliceExt;
use half::vec::HalfBitsVecExt;
use half::{bf16, f16};
use safetensors::Dtype;

/// As many numbers as are turned from one type to the other at a time.
const BLOCK: usize = 256;

/// What files may hold numbers in, for messages.
pub(crate) const FLOATS: &str = "F16, BF16, F32, F64, F8_E4M3 or F8_E5M2";

/// A floating-point type of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Float {
    F8E4M3,
    F8E5M2,
    F16,
    Bf16,
    F32,
    F64,
}

impl Float {
    /// The type `dtype`, if it is one of those that are read.
    pub(super) fn of(dtype: Dtype) -> Option<Self> {
        match dtype {
            Dtype::F8_E4M3 => Some(Self::F8E4M3),
            Dtype::F8_E5M2 => Some(Self::F8E5M2),
            Dtype::F16 => Some(Self::F16),
            Dtype::BF16 => Some(Self::Bf16),
            Dtype::F32 => Some(Self::F32),
            Dtype::F64 => Some(Self::F64),
            _ => None,
        }
    }

    /// Bytes of one number.
    pub(super) fn size(self) -> usize {
        match self {
            Self::F8E4M3 | Self::F8E5M2 => 1,
            Self::F16 | Self::Bf16 => 2,
            Self::F32 => 4,
            Self::F64 => 8,
        }
    }
}

/// Numbers in memory; a place is counted in numbers.
#[derive(Debug, Clone, Copy)]
pub(super) enum Numbers<'a> {
    /// Little-endian, at any address.
    Bytes(&'a [u8], Float),
    Floats(&'a [f32]),
}

impl Numbers<'_> {
    /// The numbers from `start` on, as many as `out` takes; the answer is how many of them
    /// the type of `out` cannot hold.
    pub(super) fn copy<T: Wanted>(self, start: usize, out: &mut [T]) -> usize {
        let (bytes, float) = match self {
            Self::Floats(floats) => {
                let floats = &floats[start..start + out.len()];
                T::of(floats, out);
                return odd::<T>(floats);
            }
            Self::Bytes(bytes, float) => {
                let (from, to) = (start * float.size(), (start + out.len()) * float.size());
                (&bytes[from..to], float)
            }
        };
        if float == T::FLOAT {
            return T::same(bytes, out);
        }
        let blocks = bytes.chunks(BLOCK * float.size());
        let mut numbers = [0.0; BLOCK];
        blocks
            .zip(out.chunks_mut(BLOCK))
            .fold(0, |all, (bytes, out)| {
                let numbers = &mut numbers[..out.len()];
                decode(bytes, float, numbers);
                T::of(numbers, out);
                all + odd::<T>(numbers)
            })
    }
}

/// At most [`BLOCK`] numbers.
fn decode(bytes: &[u8], float: Float, out: &mut [f32]) {
    match float {
        Float::F8E4M3 => each(bytes, out, |[b]| e4m3(b)),
        // The upper half of an f16.
        Float::F8E5M2 => each(bytes, out, |[b]| f16::from_le_bytes([0, b]).to_f32()),
        Float::F16 => {
            let mut halves = [f16::ZERO; BLOCK];
            let halves = &mut halves[..out.len()];
            each(bytes, halves, f16::from_le_bytes);
            halves.convert_to_f32_slice(out);
        }
        Float::Bf16 => each(bytes, out, |b| bf16::from_le_bytes(b).to_f32()),
        Float::F32 => each(bytes, out, f32::from_le_bytes),
        Float::F64 => each(bytes, out, |b| f64::from_le_bytes(b) as f32),
    }
}

/// The number that eight bits mean: a sign, four of an exponent whose bias is 7, three of a
/// fraction. All seven set are no number, and none is infinite (Micikevicius et al. 2022, arXiv
/// 2209.05433).
fn e4m3(bits: u8) -> f32 {
    let size = match (bits >> 3 & 15, bits & 7) {
        (15, 7) => f32::NAN,
        (0, fraction) => f32::from(fraction) / 512.0,
        (exponent, fraction) => {
            // An f32's exponent has a bias of 127, its fraction 23 bits.
            f32::from_bits((u32::from(exponent) + 120) << 23 | u32::from(fraction) << 20)
        }
    };
    size.copysign(if bits & 0x80 == 0 { 1.0 } else { -1.0 })
}

fn each<const N: usize, T>(bytes: &[u8], out: &mut [T], number: impl Fn([u8; N]) -> T) {
    let (numbers, _) = bytes.as_chunks::<N>();
    for (out, bytes) in out.iter_mut().zip(numbers) {
        *out = number(*bytes);
    }
}

/// A type that a network computes in.
pub(super) trait Wanted: Copy + Send + Sync {
    /// The same type in a file.
    const FLOAT: Float;
    const ZERO: Self;
    /// The largest number of the type.
    const MOST: f32;

    /// So many zeros, whose memory is not touched yet if they are many.
    fn zeros(count: usize) -> Vec<Self>;
    fn of(numbers: &[f32], out: &mut [Self]);
    /// Numbers of this very type; the answer is how many are NaN or infinite.
    fn same(bytes: &[u8], out: &mut [Self]) -> usize;
}

impl Wanted for f32 {
    const FLOAT: Float = Float::F32;
    const ZERO: Self = 0.0;
    const MOST: f32 = f32::MAX;

    fn zeros(count: usize) -> Vec<Self> {
        vec![0.0; count]
    }
    fn of(numbers: &[f32], out: &mut [Self]) {
        out.copy_from_slice(numbers);
    }
    fn same(bytes: &[u8], out: &mut [Self]) -> usize {
        each(bytes, out, f32::from_le_bytes);
        odd::<f32>(out)
    }
}

impl Wanted for f16 {
    const FLOAT: Float = Float::F16;
    const ZERO: Self = f16::ZERO;
    const MOST: f32 = 65504.0;

    fn zeros(count: usize) -> Vec<Self> {
        vec![0u16; count].reinterpret_into()
    }
    fn of(numbers: &[f32], out: &mut [Self]) {
        out.convert_from_f32_slice(numbers);
    }
    fn same(bytes: &[u8], out: &mut [Self]) -> usize {
        each(bytes, out, f16::from_le_bytes);
        count(out, |x| x.to_bits() & 0x7c00 == 0x7c00)
    }
}

impl Wanted for bf16 {
    const FLOAT: Float = Float::Bf16;
    const ZERO: Self = bf16::ZERO;
    const MOST: f32 = 3.389_531_4e38;

    fn zeros(count: usize) -> Vec<Self> {
        vec![0u16; count].reinterpret_into()
    }
    fn of(numbers: &[f32], out: &mut [Self]) {
        out.convert_from_f32_slice(numbers);
    }
    fn same(bytes: &[u8], out: &mut [Self]) -> usize {
        each(bytes, out, bf16::from_le_bytes);
        count(out, |x| x.to_bits() & 0x7f80 == 0x7f80)
    }
}

/// How many of `numbers` the type cannot hold.
fn odd<T: Wanted>(numbers: &[f32]) -> usize {
    // By its bits, an infinity is above every number, and a NaN above both.
    count(numbers, |x| x.abs().to_bits() > T::MOST.to_bits())
}

/// How many of `numbers` are so: a few thousand at a time in a narrow count, of which a register
/// holds four times as many as of wide ones.
fn count<T>(numbers: &[T], is: impl Fn(&T) -> bool) -> usize {
    const MOST: usize = 4096;
    let few = |few: &[T]| {
        let add = |n: u16, x: &T| n.wrapping_add(u16::from(is(x)));
        usize::from(few.iter().fold(0, add))
    };
    numbers.chunks(MOST).map(few).sum()
}
