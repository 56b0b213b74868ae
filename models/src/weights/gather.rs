//! Numbers that are laid out in any order, in the order that is wanted.
//!
//! A tensor is numbers, a shape and strides: taking rows out of it or turning it is another
//! shape and other strides over the same numbers. [`Gather::gather`] walks such a view once.
//!
//! Promise: what is made is the result and a few kilobytes.
//!
//! Not here: numbers of a file, which are read in bands (`stream`).

use burn::tensor::{DType, TensorData};
use half::{bf16, f16};
use rayon::iter::{IndexedParallelIterator, ParallelIterator};
use rayon::slice::ParallelSliceMut;

use super::cast::{Numbers, Wanted};
use crate::error::Result;

/// Side of the squares in which a tensor is turned.
pub(super) const TILE: usize = 64;

/// A tensor of fewer numbers is not shared among threads.
const SHARED: usize = 1 << 18;

/// The shape and strides of a view, counted in numbers.
pub(super) type Shape<'a> = (&'a [usize], &'a [usize]);

/// What [`Gather::gather`] gives.
#[derive(Debug)]
pub(super) struct Gathered<T> {
    pub(super) numbers: Vec<T>,
    /// How many of them are NaN, infinite, or too large for the type.
    pub(super) odd: usize,
}

/// Where numbers come from.
pub(super) trait Gather {
    /// The numbers of `view`, in row-major order. Large ones are shared among the threads of
    /// the pool that this runs in.
    ///
    /// # Errors
    /// They cannot be read.
    fn gather<T: Wanted>(self, view: Shape<'_>) -> Result<Gathered<T>>;
}

impl Gather for Numbers<'_> {
    fn gather<T: Wanted>(self, view: Shape<'_>) -> Result<Gathered<T>> {
        let mut numbers = T::zeros(view.0.iter().product());
        let odd = match numbers.is_empty() {
            true => 0,
            false => lay(self, &Axis::all_of(view), &mut numbers),
        };
        Ok(Gathered { numbers, odd })
    }
}

/// The same in the number type `dtype` of a network, as a tensor of `shape`; and how many of
/// the numbers that type cannot hold.
///
/// # Errors
/// The numbers cannot be read.
pub(super) fn gather_as(
    from: impl Gather,
    view: Shape<'_>,
    dtype: DType,
    shape: &[usize],
) -> Result<(TensorData, usize)> {
    Ok(match dtype {
        DType::F16 => data(from.gather::<f16>(view)?, shape),
        DType::BF16 => data(from.gather::<bf16>(view)?, shape),
        // Other types are made of f32 by the backend.
        _ => data(from.gather::<f32>(view)?, shape),
    })
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
pub(super) struct Axis {
    pub(super) length: usize,
    pub(super) from: usize,
    pub(super) to: usize,
}

impl Axis {
    /// The axes of a view, outermost first, those that lie in a row in source and result
    /// joined.
    pub(super) fn all_of((shape, strides): Shape<'_>) -> Vec<Self> {
        let mut joined: Vec<Self> = Vec::new();
        let mut to = 1;
        for (&length, &from) in shape.iter().zip(strides).rev() {
            match joined.last_mut() {
                _ if length == 1 => {}
                Some(inner) if inner.length * inner.from == from => inner.length *= length,
                _ => joined.push(Self { length, from, to }),
            }
            to *= length;
        }
        joined.reverse();
        joined
    }
}

/// How many numbers `axes` lead to.
fn count(axes: &[Axis]) -> usize {
    axes.iter().map(|axis| axis.length).product()
}

/// All numbers of `axes`, none of them empty, into `out`, each where its axes say; the answer
/// is how many are odd.
///
/// The work is in pieces, each of some steps along the outermost axis.
pub(super) fn lay<T: Wanted>(numbers: Numbers<'_>, axes: &[Axis], out: &mut [T]) -> usize {
    let alone = axes.iter().take_while(|axis| axis.length == 1).count();
    let (outer, inner) = match &axes[alone..] {
        [outer, inner @ ..] if count(axes) >= SHARED => (*outer, inner),
        all => return walk(numbers, all, 0, out),
    };
    let pieces = 2 * rayon::current_num_threads();
    let steps = outer.length.div_ceil(pieces).next_multiple_of(TILE);
    let pieces = out.par_chunks_mut(steps * outer.to).enumerate();
    pieces
        .take(outer.length.div_ceil(steps))
        .map(|(i, out)| {
            let length = steps.min(outer.length - i * steps);
            let axes = [&[Axis { length, ..outer }], inner].concat();
            walk(numbers, &axes, i * steps * outer.from, out)
        })
        .sum()
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

/// The strides of a tensor of `shape` whose numbers lie in row-major order.
pub(super) fn row_major(shape: &[usize]) -> Vec<usize> {
    let mut strides = vec![1; shape.len()];
    for axis in (1..shape.len()).rev() {
        strides[axis - 1] = strides[axis] * shape[axis].max(1);
    }
    strides
}

/// Cuts the last axis into panels of `width`, in each of which the first axis comes before the rest
/// of the last: `[rows, .., columns]` becomes `[.., columns / width, rows, width]`.
pub(super) fn cut(width: usize, shape: &mut Vec<usize>, strides: &mut Vec<usize>) {
    let last = shape.len() - 1;
    let step = strides[last];
    shape[last] /= width;
    strides[last] *= width;
    shape[..=last].rotate_left(1);
    strides[..=last].rotate_left(1);
    shape.push(width);
    strides.push(step);
}

#[cfg(test)]
mod tests {
    use super::super::cast::Float;
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
            let got = Numbers::Floats(&from[11..]).gather::<f32>(view).unwrap();
            assert_eq!(got.numbers, plain(&from[11..], view), "{view:?}");
        }
    }

    #[test]
    fn columns_are_cut_into_panels() {
        // `[[0, 2, .. 14], [1, 3, .. 15]]`, two columns at a time; then these columns in two heads.
        for (mut shape, mut strides) in [(vec![2, 8], vec![1, 2]), (vec![2, 2, 4], vec![1, 8, 2])] {
            cut(2, &mut shape, &mut strides);
            let from: Vec<f32> = (0..16).map(|i| i as f32).collect();
            let got = Numbers::Floats(&from).gather::<f32>((&shape, &strides));
            let two = |i: u8| [4 * i, 4 * i + 2, 4 * i + 1, 4 * i + 3];
            let want = [0, 1, 2, 3].map(two).as_flattened().to_vec();
            assert_eq!(
                got.unwrap().numbers,
                want.into_iter().map(f32::from).collect::<Vec<_>>()
            );
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
            assert_eq!(from.gather::<f32>((&[4], &[1])).unwrap().numbers, numbers);
            let halves = from.gather::<f16>((&[2, 2], &[1, 2])).unwrap().numbers;
            assert_eq!(halves, [1.5, 2.0, -0.25, 1024.0].map(f16::from_f32));
            let brains = from.gather::<bf16>((&[2], &[2])).unwrap().numbers;
            assert_eq!(brains, [1.5, 2.0].map(bf16::from_f32));
        }
    }

    #[test]
    fn numbers_of_eight_bits_are_those_of_their_formats() {
        let read = |bits: &[u8], float| {
            let from = Numbers::Bytes(bits, float);
            from.gather::<f32>((&[bits.len()], &[1])).unwrap()
        };
        let bits = [0x00, 0x80, 0x01, 0x07, 0x08, 0x38, 0xbc, 0x7e];
        let smallest = 2f32.powi(-9);
        let wanted = [
            0.0,
            -0.0,
            smallest,
            7.0 * smallest,
            8.0 * smallest,
            1.0,
            -1.5,
            448.0,
        ];
        let fine = read(&bits, Float::F8E4M3);
        let bits_of = |numbers: &[f32]| numbers.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits_of(&fine.numbers), bits_of(&wanted));
        let bits = [0x00, 0x01, 0x04, 0x3c, 0xbe, 0x7b];
        let smallest = 2f32.powi(-16);
        let wanted = [0.0, smallest, 4.0 * smallest, 1.0, -1.5, 57344.0];
        assert_eq!(read(&bits, Float::F8E5M2).numbers, wanted);
        assert_eq!(read(&[0x7f, 0xff, 0x7e], Float::F8E4M3).odd, 2);
        assert_eq!(read(&[0x7c, 0xfd, 0x7b], Float::F8E5M2).odd, 2);
    }

    #[test]
    fn numbers_that_the_type_cannot_hold_are_counted() {
        let from = [1.0, f32::NAN, f32::INFINITY, -7e4, 65504.0];
        let from = Numbers::Floats(&from);
        assert_eq!(from.gather::<f16>((&[5], &[1])).unwrap().odd, 3);
        assert_eq!(from.gather::<f32>((&[5], &[1])).unwrap().odd, 2);
        assert_eq!(from.gather::<bf16>((&[5], &[1])).unwrap().odd, 2);
        assert_eq!(
            from.gather::<f16>((&[2, 2], &[1, 2])).unwrap().odd,
            3,
            "turned"
        );
    }
}
