//! Gradients of scaled dot-product attention, a block of queries at a time.
//!
//! Promises
//! - Never more scores at once than [`QUERIES`] rows a task: memory grows with the sequence, not
//!   with its square.
//! - The scores are made again, not kept. Gradients of keys and values are summed over the
//!   blocks of queries in order.
//!
//! Not here: the way forward (`attention`).

use rayon::prelude::*;

use super::attention::Sizes;
use super::gemm::{Left, Onto, Product, RightSide, Strided};
use super::memory::{Scratch, Shared, filled};
use super::simd::{exp, fold, lane_sum, madd, multiversion};

/// Queries whose scores are held at once.
const QUERIES: usize = 48;

/// Gradients of [`forward`](super::attention::forward): of `q`, `k` and `v`.
///
/// All tensors lie in order, `dy` as `[b, heads, queries, values]`.
pub(crate) fn gradient(q: &[f32], k: &[f32], v: &[f32], dy: &[f32], s: Sizes) -> [Vec<f32>; 3] {
    let mut dk = Vec::new();
    let mut dv = Vec::new();
    let dq = filled(q.len(), |dq| {
        dk = filled(k.len(), |dk| {
            dv = filled(v.len(), |dv| {
                let (dq, dk, dv) = (Shared::new(dq), Shared::new(dk), Shared::new(dv));
                (0..s.pairs()).into_par_iter().for_each(|i| {
                    let pair = Pair::new(q, k, v, s, i);
                    let dy = &dy[i * s.queries * s.values..][..s.queries * s.values];
                    let out = [
                        dq.at(i * s.queries * s.width),
                        dk.at(i * s.keys * s.width),
                        dv.at(i * s.keys * s.values),
                    ];
                    pair.gradient(dy, out);
                });
            });
        });
    });
    [dq, dk, dv]
}

/// One head of one sample.
struct Pair<'a> {
    q: &'a [f32],
    k: &'a [f32],
    v: &'a [f32],
    s: Sizes,
}

impl<'a> Pair<'a> {
    fn new(q: &'a [f32], k: &'a [f32], v: &'a [f32], s: Sizes, i: usize) -> Self {
        let part = |all: &'a [f32], len: usize| &all[i * len..(i + 1) * len];
        Self {
            q: part(q, s.queries * s.width),
            k: part(k, s.keys * s.width),
            v: part(v, s.keys * s.values),
            s,
        }
    }

    /// Writes the attention weights of the queries from `first` on; says how many.
    fn weights(&self, first: usize, scores: &mut [f32]) -> usize {
        let s = self.s;
        let rows = QUERIES.min(s.queries - first);
        let a = Strided::rows(&self.q[first * s.width..], s.width);
        let b = Strided::rows(self.k, s.width).transposed();
        let c = scores.as_mut_ptr();
        let product = Product {
            m: rows,
            n: s.keys,
            k: s.width,
            a: Left::Matrix(a),
            b: RightSide::Matrix(b),
            c,
            c_row: s.keys,
            plus: None,
        };
        // SAFETY: `scores` holds a block of rows.
        unsafe { product.run(Onto::Zero) };
        let lines = scores.chunks_exact_mut(s.keys.max(1)).take(rows);
        for (i, row) in lines.enumerate() {
            let (seen, later) = row.split_at_mut(s.seen(first + i));
            softmax(seen, s.scale());
            later.fill(0.0);
        }
        rows
    }

    /// All blocks of queries in order: `dq` is written, `dk` and `dv` are summed.
    fn gradient(&self, dy: &[f32], [dq, dk, dv]: [*mut f32; 3]) {
        let s = self.s;
        let mut weights = Scratch::new(QUERIES * s.keys);
        let mut slopes = Scratch::new(QUERIES * s.keys);
        for first in (0..s.queries).step_by(QUERIES) {
            let onto = if first == 0 { Onto::Zero } else { Onto::Sum };
            let m = self.weights(first, &mut weights);
            let dy = Strided::rows(&dy[first * s.values..], s.values);
            let q = Strided::rows(&self.q[first * s.width..], s.width);
            let p = Strided::rows(&weights, s.keys);
            let multiply = |m, n, k, a, b, c, onto| {
                // SAFETY: `c` has `m` rows of `n`, which this pair alone writes.
                unsafe {
                    Product {
                        m,
                        n,
                        k,
                        a: Left::Matrix(a),
                        b: RightSide::Matrix(b),
                        c,
                        c_row: n,
                        plus: None,
                    }
                    .run(onto)
                };
            };
            multiply(s.keys, s.values, m, p.transposed(), dy, dv, onto);
            let v = Strided::rows(self.v, s.values).transposed();
            multiply(m, s.keys, s.values, dy, v, slopes.as_mut_ptr(), Onto::Zero);
            let rows = slopes
                .chunks_exact_mut(s.keys.max(1))
                .zip(weights.chunks_exact(s.keys.max(1)));
            for (slope, weight) in rows.take(m) {
                through_softmax(weight, slope, s.scale());
            }
            let d = Strided::rows(&slopes, s.keys);
            let k = Strided::rows(self.k, s.width);
            let dq = dq.wrapping_add(first * s.width);
            multiply(m, s.width, s.keys, d, k, dq, Onto::Zero);
            multiply(s.keys, s.width, m, d.transposed(), q, dk, onto);
        }
    }
}

multiversion! {
    /// The softmax of `row · scale`, in place.
    fn softmax(row: &mut [f32], scale: f32) = softmax_body
}
multiversion! {
    /// From the gradient of the weights to that of the unscaled scores, in place:
    /// `w · (d − Σ w d) · scale`.
    fn through_softmax(weight: &[f32], d: &mut [f32], scale: f32) = through_softmax_body
}

#[inline(always)]
fn softmax_body<const FMA: bool>(row: &mut [f32], scale: f32) {
    let mut lanes = [f32::NEG_INFINITY; super::simd::LANES];
    let (blocks, rest) = row.as_chunks::<{ super::simd::LANES }>();
    for block in blocks {
        for (lane, x) in lanes.iter_mut().zip(block) {
            *lane = if *x > *lane { *x } else { *lane };
        }
    }
    let high = lanes
        .iter()
        .chain(rest)
        .fold(f32::NEG_INFINITY, |a, b| a.max(*b));
    for x in row.iter_mut() {
        *x = exp::<FMA>((*x - high) * scale);
    }
    let total: f64 = sum_blocks(row, |row, i| row[i]);
    let factor = (1.0 / total) as f32;
    for x in row.iter_mut() {
        *x *= factor;
    }
}

#[inline(always)]
fn sum_blocks(row: &[f32], term: impl Fn(&[f32], usize) -> f32) -> f64 {
    let blocks = row.chunks(super::simd::BLOCK);
    blocks
        .map(|b| f64::from(lane_sum(b.len(), |i| term(b, i))))
        .sum()
}

#[inline(always)]
fn through_softmax_body<const FMA: bool>(weight: &[f32], d: &mut [f32], scale: f32) {
    let mut lanes = [0.0_f32; super::simd::LANES];
    for (weight, d) in weight.chunks(lanes.len()).zip(d.chunks(lanes.len())) {
        for (lane, (w, d)) in lanes.iter_mut().zip(weight.iter().zip(d)) {
            *lane = madd::<FMA>(*w, *d, *lane);
        }
    }
    let mean = fold(lanes);
    for (w, d) in weight.iter().zip(d) {
        *d = w * (*d - mean) * scale;
    }
}
