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
use half::{bf16, f16};
use safetensors::Dtype;

/// As many numbers as are turned from one type to the other at a time.
const BLOCK: usize = 4096;

/// Side of the squares in which a tensor is turned.
const TILE: usize = 64;

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
    /// The numbers from `start` on, as many as `out` takes: at most [`BLOCK`].
    fn copy(self, start: usize, out: &mut [f32]) {
        match self {
            Self::Floats(floats) => out.copy_from_slice(&floats[start..start + out.len()]),
            Self::Bytes(bytes, float) => {
                let bytes = &bytes[start * float.size()..(start + out.len()) * float.size()];
                decode(bytes, float, out);
            }
        }
    }
}

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
pub(super) trait Wanted: Copy {
    const ZERO: Self;
    /// The largest number of the type.
    const MOST: f32;
    fn of(numbers: &[f32], out: &mut [Self]);
}

impl Wanted for f32 {
    const ZERO: Self = 0.0;
    const MOST: f32 = f32::MAX;
    fn of(numbers: &[f32], out: &mut [Self]) {
        out.copy_from_slice(numbers);
    }
}

impl Wanted for f16 {
    const ZERO: Self = f16::ZERO;
    const MOST: f32 = 65504.0;
    fn of(numbers: &[f32], out: &mut [Self]) {
        out.convert_from_f32_slice(numbers);
    }
}

impl Wanted for bf16 {
    const ZERO: Self = bf16::ZERO;
    const MOST: f32 = 3.389_531_4e38;
    fn of(numbers: &[f32], out: &mut [Self]) {
        out.convert_from_f32_slice(numbers);
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

/// The numbers of `view`, in row-major order.
pub(super) fn gather<T: Wanted>(from: Numbers<'_>, view: Shape<'_>) -> Gathered<T> {
    let axes = Axes::of(view);
    let mut out = Gathering {
        from,
        numbers: vec![T::ZERO; axes.count()],
        odd: 0,
    };
    if !out.numbers.is_empty() {
        out.walk(&axes.0, 0, 0);
    }
    let Gathering { numbers, odd, .. } = out;
    Gathered { numbers, odd }
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

struct Gathering<'a, T> {
    from: Numbers<'a>,
    numbers: Vec<T>,
    odd: usize,
}

impl<T: Wanted> Gathering<'_, T> {
    /// All numbers of `axes`, from `from` in the source to `to` in the result.
    fn walk(&mut self, axes: &[Axis], from: usize, to: usize) {
        match axes {
            [] => self.run(from, to, 1),
            [last] if last.from == 1 => self.run(from, to, last.length),
            [last] => (0..last.length).for_each(|i| self.run(from + i * last.from, to + i, 1)),
            [row, column] if row.from == 1 => self.turn(*row, *column, from, to),
            // A row of the source that is spread over the result is walked last but one.
            [row, middle, inner @ ..] if row.from == 1 => {
                let inner: Vec<Axis> = [&[*row], inner].concat();
                self.steps(*middle, &inner, from, to);
            }
            [outer, inner @ ..] => self.steps(*outer, inner, from, to),
        }
    }

    fn steps(&mut self, outer: Axis, inner: &[Axis], from: usize, to: usize) {
        for i in 0..outer.length {
            self.walk(inner, from + i * outer.from, to + i * outer.to);
        }
    }

    /// Numbers that lie in a row in both.
    fn run(&mut self, from: usize, to: usize, length: usize) {
        let mut block = [0.0; BLOCK];
        for done in (0..length).step_by(BLOCK) {
            let block = &mut block[..BLOCK.min(length - done)];
            self.from.copy(from + done, block);
            self.odd += odd::<T>(block);
            T::of(block, &mut self.numbers[to + done..][..block.len()]);
        }
    }

    /// Two axes changed for each other, in squares that fit the fastest memory.
    fn turn(&mut self, row: Axis, column: Axis, from: usize, to: usize) {
        let mut tile = [[0.0; TILE]; TILE];
        for down in (0..column.length).step_by(TILE) {
            let height = TILE.min(column.length - down);
            for across in (0..row.length).step_by(TILE) {
                let width = TILE.min(row.length - across);
                for (i, line) in tile[..height].iter_mut().enumerate() {
                    let start = from + (down + i) * column.from + across;
                    self.from.copy(start, &mut line[..width]);
                    self.odd += odd::<T>(&line[..width]);
                }
                for i in 0..width {
                    let mut turned = [0.0; TILE];
                    for (out, line) in turned.iter_mut().zip(&tile[..height]) {
                        *out = line[i];
                    }
                    let start = to + (across + i) * row.to + down * column.to;
                    T::of(&turned[..height], &mut self.numbers[start..][..height]);
                }
            }
        }
    }
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
        let from: Vec<f32> = (0..300_000).map(|i| i as f32).collect();
        let views: [Shape<'_>; 12] = [
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
