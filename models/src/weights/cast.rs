//! Numbers of any floating-point type, laid out in any order, as the type that is wanted.
//!
//! A tensor is bytes, a shape and strides: taking rows out of it or turning it is another
//! shape and other strides over the same bytes. [`gather`] walks such a view once.
//!
//! Promises
//! - What is made is the result and a few kilobytes; the source is read in long runs, so
//!   that a mapped file is paged in once and in order.
//! - Numbers that the wanted type cannot hold are counted, and passed on as they are.

use burn::tensor::{DType, TensorData};
use half::slice::HalfFloatSliceExt;
use half::vec::HalfBitsVecExt;
use half::{bf16, f16};
use rayon::iter::{IndexedParallelIterator, ParallelIterator};
use rayon::slice::ParallelSliceMut;
use safetensors::Dtype;

/// As many numbers as are turned from one type to the other at a time.
const BLOCK: usize = 256;

/// Side of the squares in which a tensor is turned.
const TILE: usize = 64;

/// A tensor of fewer numbers is not shared among threads.
const SHARED: usize = 1 << 18;

/// A floating-point type of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Float {
    F16,
    Bf16,
    F32,
    F64,
}

impl Float {
    /// The type `dtype`, if it is one of those that are read.
    pub(super) fn of(dtype: Dtype) -> Option<Self> {
        match dtype {
            Dtype::F16 => Some(Self::F16),
            Dtype::BF16 => Some(Self::Bf16),
            Dtype::F32 => Some(Self::F32),
            Dtype::F64 => Some(Self::F64),
            _ => None,
        }
    }

    fn size(self) -> usize {
        match self {
            Self::F16 | Self::Bf16 => 2,
            Self::F32 => 4,
            Self::F64 => 8,
        }
    }
}

/// Numbers in memory or in a mapped file; a place is counted in numbers.
#[derive(Debug, Clone, Copy)]
pub(super) enum Numbers<'a> {
    /// Little-endian, at any address.
    Bytes(&'a [u8], Float),
    Floats(&'a [f32]),
}

impl Numbers<'_> {
    /// The numbers from `start` on, as many as `out` takes; the answer is how many of them
    /// the type of `out` cannot hold.
    fn copy<T: Wanted>(self, start: usize, out: &mut [T]) -> usize {
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

    /// So many zeros, whose memory is not touched yet.
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
        out.iter()
            .filter(|x| x.to_bits() & 0x7c00 == 0x7c00)
            .count()
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
        out.iter()
            .filter(|x| x.to_bits() & 0x7f80 == 0x7f80)
            .count()
    }
}

/// What [`gather`] gives.
#[derive(Debug)]
pub(super) struct Gathered<T> {
    pub(super) numbers: Vec<T>,
    /// How many of them are NaN, infinite, or too large for the type.
    pub(super) odd: usize,
}

/// The shape and strides of a view, counted in numbers.
pub(super) type Shape<'a> = (&'a [usize], &'a [usize]);

/// The numbers of `view`, in row-major order. Large ones are shared among the threads of the
/// pool that this runs in.
pub(super) fn gather<T: Wanted>(from: Numbers<'_>, view: Shape<'_>) -> Gathered<T> {
    let axes = Axes::of(view);
    let mut numbers = T::zeros(axes.count());
    let odd = match &axes.0[..] {
        _ if numbers.is_empty() => 0,
        [outer, inner @ ..] if numbers.len() >= SHARED => shared(from, *outer, inner, &mut numbers),
        all => walk(from, all, 0, &mut numbers),
    };
    Gathered { numbers, odd }
}

/// The result in pieces, each of some steps along the outermost axis.
fn shared<T: Wanted>(from: Numbers<'_>, outer: Axis, inner: &[Axis], out: &mut [T]) -> usize {
    let pieces = 2 * rayon::current_num_threads();
    let steps = outer.length.div_ceil(pieces).next_multiple_of(TILE);
    let pieces = out.par_chunks_mut(steps * outer.to).enumerate();
    pieces
        .map(|(i, out)| {
            let length = out.len() / outer.to;
            let axes = [&[Axis { length, ..outer }], inner].concat();
            walk(from, &axes, i * steps * outer.from, out)
        })
        .sum()
}

/// The same in the number type `dtype` of a network, as a tensor of `shape`; and how many of
/// the numbers that type cannot hold.
pub(super) fn gather_as(
    from: Numbers<'_>,
    view: Shape<'_>,
    dtype: DType,
    shape: &[usize],
) -> (TensorData, usize) {
    match dtype {
        DType::F16 => data(gather::<f16>(from, view), shape),
        DType::BF16 => data(gather::<bf16>(from, view), shape),
        // Other types are made of f32 by the backend.
        _ => data(gather::<f32>(from, view), shape),
    }
}

fn data<T: burn::tensor::Element>(gathered: Gathered<T>, shape: &[usize]) -> (TensorData, usize) {
    (
        TensorData::new(gathered.numbers, shape.to_vec()),
        gathered.odd,
    )
}

/// One axis of a view: how long, how far from one number to the next in the source, and in
/// the result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Axis {
    length: usize,
    from: usize,
    to: usize,
}

/// The axes of a view, outermost first, those that lie in a row in source and result joined.
#[derive(Debug)]
struct Axes(Vec<Axis>);

impl Axes {
    fn of((shape, strides): Shape<'_>) -> Self {
        let mut joined: Vec<Axis> = Vec::new();
        let mut to = 1;
        for (&length, &from) in shape.iter().zip(strides).rev() {
            match joined.last_mut() {
                _ if length == 1 => {}
                Some(inner) if inner.length * inner.from == from => inner.length *= length,
                _ => joined.push(Axis { length, from, to }),
            }
            to *= length;
        }
        joined.reverse();
        Self(joined)
    }

    fn count(&self) -> usize {
        self.0.iter().map(|axis| axis.length).product()
    }
}

/// All numbers of `axes`, from place `from` on, into `out`; the answer is how many are odd.
fn walk<T: Wanted>(numbers: Numbers<'_>, axes: &[Axis], from: usize, out: &mut [T]) -> usize {
    let steps = |outer: Axis, inner: &[Axis], out: &mut [T]| -> usize {
        let step = |i| {
            walk(
                numbers,
                inner,
                from + i * outer.from,
                &mut out[i * outer.to..],
            )
        };
        (0..outer.length).map(step).sum()
    };
    match axes {
        [] => numbers.copy(from, &mut out[..1]),
        [last] if last.from == 1 => numbers.copy(from, &mut out[..last.length]),
        [last] => steps(*last, &[], out),
        [row, column] if row.from == 1 => turn(numbers, (*row, *column), from, out),
        // A row of the source that is spread over the result is walked last but one.
        [row, middle, inner @ ..] if row.from == 1 => {
            steps(*middle, &[&[*row], inner].concat(), out)
        }
        [outer, inner @ ..] => steps(*outer, inner, out),
    }
}

/// Two axes changed for each other, in squares that fit the fastest memory.
fn turn<T: Wanted>(
    numbers: Numbers<'_>,
    (row, column): (Axis, Axis),
    from: usize,
    out: &mut [T],
) -> usize {
    let mut odd = 0;
    let mut tile = [[T::ZERO; TILE]; TILE];
    for down in (0..column.length).step_by(TILE) {
        let height = TILE.min(column.length - down);
        for across in (0..row.length).step_by(TILE) {
            let width = TILE.min(row.length - across);
            for (i, line) in tile[..height].iter_mut().enumerate() {
                let start = from + (down + i) * column.from + across;
                odd += numbers.copy(start, &mut line[..width]);
            }
            for i in 0..width {
                // The last axis of the result lies in a row.
                let start = (across + i) * row.to + down;
                for (out, line) in out[start..start + height].iter_mut().zip(&tile) {
                    *out = line[i];
                }
            }
        }
    }
    odd
}

/// How many of `numbers` the type cannot hold.
fn odd<T: Wanted>(numbers: &[f32]) -> usize {
    // By its bits, an infinity is above every number, and a NaN above both.
    let odd = |x: &&f32| x.abs().to_bits() > T::MOST.to_bits();
    numbers.iter().filter(odd).count()
}

/// The strides of a tensor of `shape` whose numbers lie in row-major order.
pub(super) fn row_major(shape: &[usize]) -> Vec<usize> {
    let mut strides = vec![1; shape.len()];
    for axis in (1..shape.len()).rev() {
        strides[axis - 1] = strides[axis] * shape[axis].max(1);
    }
    strides
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The plain way: one number at a time.
    fn plain(from: &[f32], (shape, strides): Shape<'_>) -> Vec<f32> {
        let count: usize = shape.iter().product();
        let place = |mut i: usize| {
            let mut at = 0;
            for (length, stride) in shape.iter().zip(strides).rev() {
                at += i % length * stride;
                i /= length;
            }
            at
        };
        (0..count).map(|i| from[place(i)]).collect()
    }

    #[test]
    fn every_order_is_read_as_one_number_at_a_time_would() {
        let from: Vec<f32> = (0..2_000_000).map(|i| i as f32).collect();
        let views: [Shape<'_>; 17] = [
            (&[], &[]),
            (&[7], &[3]),
            (&[10_000], &[1]),
            (&[130, 200], &[200, 1]),
            (&[200, 130], &[1, 200]),
            (&[65, 1, 64], &[1, 9, 70]),
            (&[3, 200, 130], &[26_000, 1, 200]),
            (&[100, 4, 8], &[1, 2400, 100]),
            (&[100, 4, 8, 2], &[1, 2400, 100, 50_000]),
            (&[5, 6, 3, 3], &[54, 9, 3, 1]),
            (&[6, 5, 3, 3], &[9, 54, 1, 3]),
            (&[4, 0, 2], &[2, 2, 1]),
            // Large enough to be shared among threads.
            (&[1_000_000], &[1]),
            (&[700, 900], &[1, 700]),
            (&[513, 700], &[701, 1]),
            (&[640, 4, 160], &[1, 3 * 160 * 640, 640]),
            (&[3, 300, 301], &[90_301, 1, 300]),
        ];
        for view in views {
            let got = gather::<f32>(Numbers::Floats(&from[11..]), view);
            assert_eq!(got.numbers, plain(&from[11..], view), "{view:?}");
        }
    }

    #[test]
    fn every_type_becomes_every_type_at_any_address() {
        let numbers = [1.5f32, -0.25, 2.0, 1024.0];
        let f64s: Vec<u8> = numbers
            .iter()
            .flat_map(|x| f64::from(*x).to_le_bytes())
            .collect();
        let f32s: Vec<u8> = numbers.iter().flat_map(|x| x.to_le_bytes()).collect();
        let f16s: Vec<u8> = numbers
            .iter()
            .flat_map(|x| f16::from_f32(*x).to_le_bytes())
            .collect();
        let bf16s: Vec<u8> = numbers
            .iter()
            .flat_map(|x| bf16::from_f32(*x).to_le_bytes())
            .collect();
        for (bytes, float) in [
            (f64s, Float::F64),
            (f32s, Float::F32),
            (f16s, Float::F16),
            (bf16s, Float::Bf16),
        ] {
            let odd: Vec<u8> = [&[9], &bytes[..]].concat();
            let from = Numbers::Bytes(&odd[1..], float);
            assert_eq!(gather::<f32>(from, (&[4], &[1])).numbers, numbers);
            let halves = gather::<f16>(from, (&[2, 2], &[1, 2])).numbers;
            assert_eq!(halves, [1.5, 2.0, -0.25, 1024.0].map(f16::from_f32));
            let brains = gather::<bf16>(from, (&[2], &[2])).numbers;
            assert_eq!(brains, [1.5, 2.0].map(bf16::from_f32));
        }
    }

    #[test]
    fn numbers_that_the_type_cannot_hold_are_counted() {
        let from = [1.0, f32::NAN, f32::INFINITY, -7e4, 65504.0];
        let from = Numbers::Floats(&from);
        assert_eq!(gather::<f16>(from, (&[5], &[1])).odd, 3);
        assert_eq!(gather::<f32>(from, (&[5], &[1])).odd, 2);
        assert_eq!(gather::<bf16>(from, (&[5], &[1])).odd, 2);
        assert_eq!(gather::<f16>(from, (&[2, 2], &[1, 2])).odd, 3, "turned");
    }
}
