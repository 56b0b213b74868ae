//! SiLU, GELU and GEGLU: one launch each, computed in f32 whatever the type of the numbers.
//!
//! Promises
//! - SiLU and GELU read a tensor in the order in which it lies and write theirs the same way.

use burn_cubecl::ops::permute;
use burn_cubecl::tensor::CubeTensor;
use cubecl::prelude::*;
use cubecl::std::FastDivmod;

use super::rows::{Rows, address, arg, as_it_lies, beside, elem, one_each};

/// `x · sigmoid(x)`, any shape.
pub(super) fn silu(x: CubeTensor) -> CubeTensor {
    each(x, false)
}

/// `x · Φ(x)`, any shape.
pub(super) fn gelu(x: CubeTensor) -> CubeTensor {
    each(x, true)
}

fn each(x: CubeTensor, gelu: bool) -> CubeTensor {
    let (x, back) = as_it_lies(x);
    let shape = x.meta.shape().clone();
    let rows = Rows::of(x).joined();
    let y = beside(&rows.tensor, shape, rows.tensor.dtype);
    let size = rows.vector(&[]);
    let vectors = rows.count * rows.width / size;
    let (count, dim) = one_each(&y.client, vectors);
    // SAFETY: a unit reads and writes at the places of its own vector, and ends past the last.
    unsafe {
        each_kernel::launch_unchecked(
            &y.client,
            count,
            dim,
            address(&[&rows.tensor, &y]),
            size,
            arg(&rows.tensor),
            arg(&y),
            rows.width / size,
            rows.step / size,
            vectors,
            gelu,
            elem(y.dtype),
        );
    }
    permute(y, &back)
}

/// `x [.., 2n]`, values and then gates, → `[.., n]`: each value times GELU of its gate.
pub(super) fn geglu(x: CubeTensor) -> CubeTensor {
    let mut shape = x.meta.shape().clone();
    let last = shape.num_dims() - 1;
    shape[last] /= 2;
    let half = shape[last];
    let x = Rows::of(x);
    let y = beside(&x.tensor, shape, x.tensor.dtype);
    let size = x.vector(&[half]);
    let vectors = x.count * half / size;
    let (count, dim) = one_each(&y.client, vectors);
    // SAFETY: a unit reads one vector of each half of its row and writes one, and ends past the
    // last.
    unsafe {
        geglu_kernel::launch_unchecked(
            &y.client,
            count,
            dim,
            address(&[&x.tensor, &y]),
            size,
            arg(&x.tensor),
            arg(&y),
            half / size,
            half / size,
            x.step / size,
            vectors,
            elem(y.dtype),
        );
    }
    y
}

#[cube(launch_unchecked, address_type = "dynamic")]
fn each_kernel<E: Float, N: Size>(
    x: &Tensor<Vector<E, N>>,
    y: &mut Tensor<Vector<E, N>>,
    width: FastDivmod<usize>,
    step: usize,
    vectors: usize,
    #[comptime] gelu: bool,
    #[define(E)] _dtype: ElemType,
) {
    if ABSOLUTE_POS >= vectors {
        terminate!();
    }
    let (row, column) = width.div_mod(ABSOLUTE_POS);
    let x = Vector::<f32, N>::cast_from(x[row * step + column]);
    let result = if comptime!(gelu) {
        gelu_of::<N>(x)
    } else {
        silu_of::<N>(x)
    };
    y[ABSOLUTE_POS] = Vector::cast_from(result);
}

#[cube(launch_unchecked, address_type = "dynamic")]
fn geglu_kernel<E: Float, N: Size>(
    x: &Tensor<Vector<E, N>>,
    y: &mut Tensor<Vector<E, N>>,
    width: FastDivmod<usize>,
    half: usize,
    step: usize,
    vectors: usize,
    #[define(E)] _dtype: ElemType,
) {
    if ABSOLUTE_POS >= vectors {
        terminate!();
    }
    let (row, column) = width.div_mod(ABSOLUTE_POS);
    let at = row * step + column;
    let value = Vector::<f32, N>::cast_from(x[at]);
    let gate = Vector::<f32, N>::cast_from(x[at + half]);
    y[ABSOLUTE_POS] = Vector::cast_from(value * gelu_of::<N>(gate));
}

#[cube]
pub(super) fn silu_of<N: Size>(x: Vector<f32, N>) -> Vector<f32, N> {
    x / (Vector::new(1.0f32) + (-x).exp())
}

#[cube]
fn gelu_of<N: Size>(x: Vector<f32, N>) -> Vector<f32, N> {
    let root = Vector::new(std::f32::consts::FRAC_1_SQRT_2);
    Vector::new(0.5f32) * x * (Vector::new(1.0f32) + (x * root).erf())
}
