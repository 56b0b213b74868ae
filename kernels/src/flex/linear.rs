//! `x · W + b` over rows, and its gradients.
//!
//! Not here: products with a batch of matrices (`attention`, burn's `matmul`).

use rayon::prelude::*;

use super::gemm::{Left, NR, Onto, Product, RightSide, Strided, even, pack_left};
use super::memory::{Scratch, Shared, add_parts, filled};
use super::pairs;
use super::weights::Weights;

/// Rows that one task takes at most, forwards and for the gradient of `x`.
const ROWS: usize = 1024;
/// Tasks wanted at least: enough for the cores of a desktop to share evenly.
const TASKS: usize = 8;
/// Rows whose products one partial gradient of `W` sums, at least.
const PART: usize = 512;
/// Partial gradients at most.
const PARTS: usize = 8;

/// How the numbers of a weight `[in, out]` lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// Row by row.
    Rows,
    /// In panels of [`NR`] columns, each row by row.
    Panels,
}

/// `x [rows, in] · weight [in, out] + bias [out]`, and then `plus [rows, out]`.
pub(crate) fn forward(
    x: &[f32],
    (weight, order): (Weights<'_>, Order),
    bias: &[f32],
    inner: usize,
    plus: Option<&[f32]>,
) -> Vec<f32> {
    let (rows, outer) = (x.len() / inner.max(1), bias.len());
    let onto = Onto::Row(bias.as_ptr());
    let right = match (order, weight.as_pairs()) {
        (Order::Panels, _) => RightSide::Panels {
            all: weight,
            first: 0,
            depth: inner,
        },
        (Order::Rows, Some(all)) => RightSide::Pairs {
            all,
            first: 0,
            row: outer,
            rows: inner,
        },
        (Order::Rows, None) => RightSide::weights(weight, outer),
    };
    if weight.as_pairs().is_some() {
        let x = pairs::pack_rows(x, inner);
        return by_rows(rows, &x, [inner.div_ceil(2), outer], right, onto, plus);
    }
    by_rows(rows, x, [inner, outer], right, onto, plus)
}

/// The gradient of `x`: `dy · weightᵀ`.
pub(crate) fn input_gradient(dy: &[f32], weight: &[f32], [inner, outer]: [usize; 2]) -> Vec<f32> {
    let right = RightSide::Matrix(Strided::rows(weight, outer).transposed());
    by_rows(
        dy.len() / outer.max(1),
        dy,
        [outer, inner],
        right,
        Onto::Zero,
        None,
    )
}

/// Everything a task needs of the right side, which is only read.
#[derive(Clone, Copy)]
struct Right<'a>(RightSide<'a>, Onto);

// SAFETY: both point to slices that outlive the tasks, and are only read.
unsafe impl Sync for Right<'_> {}

impl<'a> Right<'a> {
    /// The columns from `first` on, and what they are added to.
    fn columns(&self, first: usize) -> (RightSide<'a>, Onto) {
        let onto = match self.1 {
            Onto::Row(row) => Onto::Row(row.wrapping_add(first)),
            other => other,
        };
        (self.0.columns(first), onto)
    }
}

/// `left [rows, k] · right [k, n]`, `k` words: some rows and some columns a task.
///
/// Each task packs its columns of the right side, so rows are shared out only where there are
/// many to each. Rows that several tasks read are packed before.
fn by_rows(
    rows: usize,
    left: &[f32],
    [k, n]: [usize; 2],
    right: RightSide<'_>,
    onto: Onto,
    plus: Option<&[f32]>,
) -> Vec<f32> {
    assert!(
        plus.is_none_or(|plus| plus.len() == rows * n),
        "as many as there are results"
    );
    let right = Right(right, onto);
    let high = even(rows, ROWS);
    let row_tasks = rows.div_ceil(high.max(1));
    let wide = n
        .div_ceil(TASKS.div_ceil(row_tasks.max(1)))
        .next_multiple_of(2 * NR);
    let column_tasks = n.div_ceil(wide.max(1));
    let packed = (column_tasks > 1).then(|| pack_rows(left, rows, k, high));
    filled(rows * n, |out| {
        let out = Shared::new(out);
        (0..row_tasks * column_tasks)
            .into_par_iter()
            .for_each(|task| {
                let (top, from) = (task % row_tasks * high, task / row_tasks * wide);
                let (m, width) = (high.min(rows - top), wide.min(n - from));
                let (b, onto) = right.columns(from);
                let these = top * k..(top + m) * k;
                let product = Product {
                    m,
                    n: width,
                    k,
                    a: match &packed {
                        Some(packed) => Left::Packed(&packed[these]),
                        None => Left::Matrix(Strided::rows(&left[these], k)),
                    },
                    b,
                    c: out.at(top * n + from),
                    c_row: n,
                    plus: plus.map(|plus| plus[top * n + from..].as_ptr()),
                };
                // SAFETY: tasks differ in rows or columns; both sides and `onto` hold theirs.
                unsafe { product.run(onto) };
            });
    })
}

/// `high` rows at a time, as tiles take them.
fn pack_rows(left: &[f32], rows: usize, k: usize, high: usize) -> Scratch {
    let mut packed = Scratch::new(rows * k);
    let size = (high * k).max(1);
    packed
        .par_chunks_mut(size)
        .zip(left.par_chunks(size))
        .for_each(|(packed, left)| {
            let m = left.len() / k;
            // SAFETY: `left` is `m` rows of `k` words.
            unsafe { pack_left(Strided::rows(left, k), [m, k], packed) };
        });
    packed
}

/// The gradient of `weight`: `xᵀ · dy`, as partial sums over rows that are added in order.
pub(crate) fn weight_gradient(x: &[f32], dy: &[f32], [inner, outer]: [usize; 2]) -> Vec<f32> {
    let rows = x.len() / inner.max(1);
    let size = inner * outer;
    let parts = (rows / PART).clamp(1, PARTS);
    let each = rows.div_ceil(parts);
    // With one part the rows of the gradient are shared out instead.
    let slices = if parts == 1 {
        inner.div_ceil(48).clamp(1, PARTS)
    } else {
        1
    };
    let high = inner.div_ceil(slices);
    let mut partial = Scratch::new(parts * size);
    let sums = Shared::new(&mut partial);
    (0..parts * slices).into_par_iter().for_each(|task| {
        let (part, top) = (task / slices, task % slices * high);
        let (first, last) = (rows.min(part * each), rows.min((part + 1) * each));
        let (left, right) = (
            &x[first * inner..last * inner],
            &dy[first * outer..last * outer],
        );
        let mut a = Strided::rows(left, inner).transposed();
        a.start = a.start.wrapping_add(top);
        let m = high.min(inner.saturating_sub(top));
        let c = sums.at(part * size + top * outer);
        let b = Strided::rows(right, outer);
        let product = Product {
            m,
            n: outer,
            k: last - first,
            a: Left::Matrix(a),
            b: RightSide::Matrix(b),
            c,
            c_row: outer,
            plus: None,
        };
        // SAFETY: tasks differ in part or in rows `top..top + m` of the gradient.
        unsafe { product.run(Onto::Zero) };
    });
    filled(size, |out| add_parts(&partial, out))
}

/// The gradient of the bias: the sum of the rows of `dy`.
pub(crate) fn bias_gradient(dy: &[f32], outer: usize) -> Vec<f32> {
    let parts: Vec<Vec<f32>> = dy
        .par_chunks((64 * outer).max(1))
        .map(|dy| {
            let mut sums = vec![0.0_f32; outer];
            for row in dy.chunks_exact(outer) {
                sums.iter_mut().zip(row).for_each(|(s, v)| *s += v);
            }
            sums
        })
        .collect();
    let over = |i: usize| parts.iter().map(|p| f64::from(p[i])).sum::<f64>() as f32;
    (0..outer).map(over).collect()
}
