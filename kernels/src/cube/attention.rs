//! Attention in f16 and bf16, laid out so that burn's flash kernel takes it: that one never writes
//! the scores of all queries and keys, and silently gives way to a product, a softmax and a product
//! where it does not like what it gets.
//!
//! What it wants, as of cubek-attention 0.3.1 (`forward/routines/blackbox_accelerated.rs`,
//! `components/tile/attention.rs` and cubek-matmul's `multi_level/instruction.rs`):
//! - queries in f16, the type of its tiles: bf16 is turned into it and the result back, so that
//!   numbers beyond 65504 become infinite, which no network in bf16 was run to show or rule out;
//! - no scale of ours: it divides by the root of the width it sees;
//! - a width of heads that is a multiple of 16, and one of values that is: zeros are put behind;
//! - a multiple of 32 queries: rows are put behind, whose results nobody reads;
//! - fewer than 4 times as many queries as keys, and keys as queries: its tiles are then square.
//!   A run of queries is cut into parts, which it takes for heads that share their keys.
//!
//! Promises
//! - All that is done to queries, keys, values and results is one launch for each, and none where
//!   they lie as wanted. The result lies with its heads side by side: joining them is free.
//! - How a call is laid out follows from its shape.
//!
//! Not here: f32, whose numbers f16 does not hold, and widths that do not fit its registers. These
//! are the reference's.

use burn::backend::ops::AttentionModuleOptions;
use burn::tensor::DType;
use burn_cubecl::CubeDevice;
use burn_cubecl::kernel::attention::{AttentionStrategy, attention as burns};
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::ops::permute;
use burn_cubecl::tensor::CubeTensor;
use cubecl::prelude::*;
use cubecl::std::FastDivmod;

use super::rows::{Rows, address, arg, beside, dims, elem, one_each, seen_as, vector};

/// Of heads, keys and values: beyond it a tile of results is more than a multiprocessor's
/// registers.
const WIDEST: usize = 256;
/// A tile's side.
const TILE: usize = 16;
/// Queries come in multiples of this.
const QUERIES: usize = 32;
/// How many times as many queries as keys, or keys as queries, make a tile that is not square.
const LOPSIDED: usize = 4;

/// How queries `[b, heads, n, d]` and values `[b, heads, m, e]` are laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Fold {
    /// The width of queries and keys, and of values.
    widths: [usize; 2],
    /// Queries, and keys.
    rows: [usize; 2],
    /// Runs into which queries are cut.
    parts: usize,
}

impl Fold {
    /// For `[n, m, d, e]`; none where the flash kernel would not take it.
    fn of([n, m, d, e]: [usize; 4], causal: bool) -> Option<Self> {
        let widths = [d, e].map(|width| width.next_multiple_of(TILE));
        if widths.iter().any(|width| *width > WIDEST) {
            return None;
        }
        let rows = match causal {
            // Later keys are hidden, so the keys put behind are as good as none.
            true => [n.next_multiple_of(QUERIES); 2],
            false => [n.max(m / LOPSIDED + 1).next_multiple_of(QUERIES), m],
        };
        let fits = |parts: &usize| {
            let run = rows[0] / parts;
            rows[0].is_multiple_of(parts * QUERIES)
                && run < LOPSIDED * rows[1]
                && rows[1] < LOPSIDED * run
        };
        // A part of a causal run would begin with other keys than the first.
        let most = if causal { 1 } else { rows[0] / QUERIES };
        let parts = (1..=most).find(fits)?;
        Some(Self {
            widths,
            rows,
            parts,
        })
    }
}

/// Whether this device and this call, of `[n, m, d, e]`, are such that the flash kernel serves.
pub(crate) fn serves(device: &CubeDevice, dtype: DType, sizes: [usize; 4], causal: bool) -> bool {
    let half = matches!(dtype, DType::F16 | DType::BF16);
    half && Fold::of(sizes, causal).is_some() && multiplies_tiles(device)
}

/// Whether the device multiplies square tiles of f16 and sums them in f32.
fn multiplies_tiles(device: &CubeDevice) -> bool {
    let (f16, f32) = (elem(DType::F16), elem(DType::F32));
    let client = device.client();
    let mut all = client.properties().features.matmul.cmma.iter();
    all.any(|tile| {
        [tile.a_type, tile.b_type, tile.cd_type] == [f16, f16, f32]
            && [tile.m, tile.n, tile.k] == [TILE as u32; 3]
    })
}

/// `softmax(q kᵀ / √d) v` of a call that has a [`Fold`].
pub(super) fn attention(q: CubeTensor, k: CubeTensor, v: CubeTensor, causal: bool) -> CubeTensor {
    by(AttentionStrategy::default(), q, k, v, causal)
}

fn by(
    strategy: AttentionStrategy,
    q: CubeTensor,
    k: CubeTensor,
    v: CubeTensor,
    causal: bool,
) -> CubeTensor {
    let ([b, heads, n, d], [_, _, m, e]) = (dims(&q), dims(&v));
    let dtype = q.dtype;
    let fold = Fold::of([n, m, d, e], causal).expect("the crate's root asks for such calls only");
    let Fold {
        widths: [width, values],
        rows: [queries, keys],
        parts,
    } = fold;
    // The flash kernel divides by the root of the padded width.
    let scale = (width as f64 / d as f64).sqrt() as f32;
    let apart = parts > 1;
    let q = laid_out(q, [queries, width], scale, apart);
    let k = laid_out(k, [keys, width], 1.0, apart);
    let v = laid_out(v, [keys, values], 1.0, apart);
    let [q, k, v] = match apart {
        false => [q, k, v],
        // Each head of each picture becomes a picture whose heads are runs of its queries.
        true => [
            in_order(q, [b * heads, parts, queries / parts, width]),
            in_order(k, [b * heads, 1, keys, width]),
            in_order(v, [b * heads, 1, keys, values]),
        ],
    };
    let options = AttentionModuleOptions {
        is_causal: causal,
        ..AttentionModuleOptions::default()
    };
    let y = burns(q, k, v, None, None, options, strategy);
    let y = y.expect("what burn's kernels do not take goes to its fallback");
    let rows = Rows::of(y);
    let head = queries * rows.step;
    let moved = Move {
        steps: [heads * head, rows.step, head],
        rows: heads,
        width: e,
        scale: 1.0,
    };
    let y = moved.launch(&rows.tensor, [b, n, heads, e], dtype);
    permute(y, &[0, 2, 1, 3])
}

/// `x [b, heads, n, d]` in f16 as `[b, heads, rows, width]`, with zeros behind, times `scale`: as
/// it is where it lies so already, and need not lie `tight`, without gaps.
fn laid_out(x: CubeTensor, [rows, width]: [usize; 2], scale: f32, tight: bool) -> CubeTensor {
    let [b, heads, n, d] = dims(&x);
    let strides = x.meta.strides();
    let x = match d > 1 && strides[3] != 1 {
        true => into_contiguous(x),
        false => x,
    };
    let strides = x.meta.strides();
    let steps = [strides[0], strides[1], strides[2]];
    let same = x.dtype == DType::F16 && [n, d] == [rows, width];
    // The flash kernel reads vectors as wide as the width allows, wherever rows lie.
    let whole = vector(&x.client, x.dtype, &[&[width], &steps[..]].concat())
        == vector(&x.client, x.dtype, &[width]);
    if same && whole && !tight {
        return x;
    }
    let moved = Move {
        steps,
        rows: n,
        width: d,
        scale,
    };
    moved.launch(&x, [b, heads, rows, width], DType::F16)
}

/// The same numbers, which lie without gaps, under another shape.
fn in_order(x: CubeTensor, shape: [usize; 4]) -> CubeTensor {
    let [_, b, c, d] = shape;
    seen_as(x, shape, [b * c * d, c * d, d, 1])
}

/// Rows that are put elsewhere, in another type.
struct Move {
    /// From one of the first three places to the next, where they come from.
    steps: [usize; 3],
    /// How many there are in the third place; zeros follow.
    rows: usize,
    /// How many numbers a row has; zeros follow.
    width: usize,
    scale: f32,
}

impl Move {
    /// Writes `[a, b, c, width]` without gaps.
    fn launch(&self, x: &CubeTensor, shape: [usize; 4], dtype: DType) -> CubeTensor {
        let Move {
            steps,
            rows,
            width,
            scale,
        } = *self;
        let y = beside(x, shape, dtype);
        let [_, b, c, full] = shape;
        let size = vector(&x.client, x.dtype, &[&[full, width], &steps[..]].concat());
        let (count, dim, vectors) = one_each(&x.client, y.meta.num_elements(), size);
        // SAFETY: a unit writes one vector, and reads one where a row of `x` has it; it ends past
        // the last.
        unsafe {
            move_kernel::launch_unchecked(
                &x.client,
                count,
                dim,
                address(&[x, &y]),
                size,
                arg(x),
                arg(&y),
                full / size,
                c,
                b,
                steps[0] / size,
                steps[1] / size,
                steps[2] / size,
                rows,
                width / size,
                scale,
                vectors,
                [elem(x.dtype), elem(dtype)],
            );
        }
        y
    }
}

#[cube(launch_unchecked, address_type = "dynamic")]
fn move_kernel<I: Float, O: Float, N: Size>(
    x: &Tensor<Vector<I, N>>,
    y: &mut Tensor<Vector<O, N>>,
    full: FastDivmod<usize>,
    third: FastDivmod<usize>,
    second: FastDivmod<usize>,
    first_step: usize,
    second_step: usize,
    third_step: usize,
    rows: usize,
    width: usize,
    scale: f32,
    vectors: usize,
    #[define(I, O)] _dtypes: [ElemType; 2],
) {
    if ABSOLUTE_POS >= vectors {
        terminate!();
    }
    let (rest, column) = full.div_mod(ABSOLUTE_POS);
    let (rest, c) = third.div_mod(rest);
    let (a, b) = second.div_mod(rest);
    let mut value = Vector::<f32, N>::new(0.0);
    if c < rows && column < width {
        let at = a * first_step + b * second_step + c * third_step + column;
        value = Vector::<f32, N>::cast_from(x[at]) * Vector::new(scale);
    }
    y[ABSOLUTE_POS] = Vector::cast_from(value);
}

#[cfg(test)]
mod tests {
    use burn::backend::ops::FloatTensorOps;
    use burn::tensor::{Device, Tensor, TensorData};
    use burn_cubecl::{CubeBackend, ops::into_data_sync};

    use super::*;
    use crate::reference;

    #[test]
    fn calls_of_the_networks_are_laid_out_as_the_flash_kernel_wants_them() {
        let of = |n, m, d, causal| Fold::of([n, m, d, d], causal);
        let fold = |width, rows, parts| {
            Some(Fold {
                widths: [width; 2],
                rows,
                parts,
            })
        };
        // Stable Diffusion 1.5 at 512 x 512: its own tokens, then 77 of a prompt.
        for (n, d, width, parts) in [(4096, 40, 48, 16), (1024, 80, 80, 4), (256, 160, 160, 1)] {
            assert_eq!(of(n, n, d, false), fold(width, [n; 2], 1));
            assert_eq!(of(n, 77, d, false), fold(width, [n, 77], parts));
        }
        assert_eq!(of(64, 77, 160, false), fold(160, [64, 77], 1));
        // A prompt of four times 77 tokens asks for a few queries more.
        assert_eq!(of(64, 308, 160, false), fold(160, [96, 308], 1));
        // CLIP: the rows behind are queries and keys.
        assert_eq!(of(77, 77, 64, true), fold(64, [96; 2], 1));
        // An autoencoder's one head, and a single key.
        assert_eq!(of(4096, 4096, 512, false), None);
        assert_eq!(of(4096, 1, 40, false), None);
    }

    #[test]
    fn every_fold_keeps_what_the_flash_kernel_asks_for() {
        for n in [1, 31, 33, 64, 100, 576, 2304, 5000] {
            for m in [9, 40, 77, 154, 1000, 5000] {
                let Some(fold) = Fold::of([n, m, 40, 24], false) else {
                    continue;
                };
                let [queries, keys] = fold.rows;
                let run = queries / fold.parts;
                assert!(queries >= n && keys == m, "{n} {m}: {fold:?}");
                assert_eq!(
                    (run * fold.parts, run % 32),
                    (queries, 0),
                    "{n} {m}: {fold:?}"
                );
                assert!(run < 4 * keys && keys < 4 * run, "{n} {m}: {fold:?}");
            }
        }
    }

    /// With burn's fallback, which every device has and which needs no tuning.
    #[test]
    fn what_is_laid_out_gives_the_attention_of_what_came() {
        let Some((device, types)) = super::super::tried() else {
            return;
        };
        for dtype in types.into_iter().filter(|dtype| *dtype != DType::F32) {
            let cases = [
                ([2, 2, 64, 64, 48, 48], false),
                ([1, 2, 300, 77, 40, 40], false),
                ([2, 1, 50, 9, 5, 20], false),
                ([1, 2, 77, 77, 24, 24], true),
            ];
            for ([b, heads, n, m, d, e], causal) in cases {
                let lengths = [(n, d), (m, d), (m, e)];
                let numbers = [1, 2, 3].map(|seed| {
                    let (rows, width) = lengths[seed - 1];
                    let count = (b * rows * heads * width) as u32;
                    let all = (0..count).map(|i| (i * 37 * seed as u32 % 101) as f32 / 50.0 - 1.0);
                    TensorData::new(all.collect::<Vec<_>>(), [b, rows, heads, width])
                });
                let there = numbers.clone().map(|data| {
                    let x = CubeBackend::float_from_data(data.convert_dtype(dtype), &device);
                    permute(x, &[0, 2, 1, 3])
                });
                let [q, k, v] = there;
                let y = by(AttentionStrategy::Fallback, q, k, v, causal);
                assert_eq!((dims(&y), y.dtype), ([b, heads, n, e], dtype));
                assert!(permute(y.clone(), &[0, 2, 1, 3]).is_contiguous());
                let got = into_data_sync(y).convert_dtype(DType::F32);
                let [q, k, v] = numbers.map(|data| {
                    let rounded = data.convert_dtype(dtype).convert_dtype(DType::F32);
                    Tensor::<4>::from_data(rounded, &Device::flex()).swap_dims(1, 2)
                });
                let want = match causal {
                    true => reference::causal_attention(q, k, v),
                    false => reference::attention(q, k, v),
                };
                let [got, want] = [got, want.into_data()].map(|data| data.try_into_vec::<f32>());
                let pairs = got.unwrap().into_iter().zip(want.unwrap());
                let off = pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
                assert!(
                    off < 1e-2,
                    "{dtype:?} [{b}, {heads}, {n}, {m}, {d}, {e}]: off by {off}"
                );
            }
        }
    }
}
