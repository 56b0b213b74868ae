//! SiLU, GELU and GEGLU: one launch each, computed in f32 whatever the type of the numbers.
//!
//! Promises
//! - SiLU and GELU read a tensor in the order in which it lies and write theirs the same way.

use burn::tensor::Shape;
use burn_cubecl::ops::permute;
use burn_cubecl::tensor::CubeTensor;
use cubecl::prelude::*;
use cubecl::std::FastDivmod;

use super::rows::{Rows, address, arg, as_it_lies, beside, elem, one_each};

/// What is made of numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Act {
    Silu,
    Gelu,
    /// Of rows that are values and then gates.
    Geglu,
}

/// `x · sigmoid(x)`, any shape.
pub(super) fn silu(x: CubeTensor) -> CubeTensor {
    each(x, Act::Silu)
}

/// `x · Φ(x)`, any shape.
pub(super) fn gelu(x: CubeTensor) -> CubeTensor {
    each(x, Act::Gelu)
}

fn each(x: CubeTensor, act: Act) -> CubeTensor {
    let (x, back) = as_it_lies(x);
    let shape = x.meta.shape().clone();
    let x = Rows::of(x).joined();
    permute(launch(&x, x.width, shape, act), &back)
}

/// `x [.., 2n]`, values and then gates, → `[.., n]`: each value times GELU of its gate.
pub(super) fn geglu(x: CubeTensor) -> CubeTensor {
    let mut shape = x.meta.shape().clone();
    let last = shape.num_dims() - 1;
    shape[last] /= 2;
    let half = shape[last];
    launch(&Rows::of(x), half, shape, Act::Geglu)
}

/// Writes `shape`, its numbers in order: `width` of each row.
fn launch(x: &Rows, width: usize, shape: Shape, act: Act) -> CubeTensor {
    let y = beside(&x.tensor, shape, x.tensor.dtype);
    let size = x.vector(&[width]);
    let (count, dim, vectors) = one_each(&y.client, x.count * width, size);
    // SAFETY: a unit writes one vector and reads that of the same place of its row, and of its
    // gates where it has some; it ends past the last.
    unsafe {
        act_kernel::launch_unchecked(
            &y.client,
            count,
            dim,
            address(&[&x.tensor, &y]),
            size,
            arg(&x.tensor),
            arg(&y),
            width / size,
            width / size,
            x.step / size,
            vectors,
            act,
            elem(y.dtype),
        );
    }
    y
}

#[cube(launch_unchecked, address_type = "dynamic")]
fn act_kernel<E: Float, N: Size>(
    x: &Tensor<Vector<E, N>>,
    y: &mut Tensor<Vector<E, N>>,
    width: FastDivmod<usize>,
    gates: usize,
    step: usize,
    vectors: usize,
    #[comptime] act: Act,
    #[define(E)] _dtype: ElemType,
) {
    if ABSOLUTE_POS >= vectors {
        terminate!();
    }
    let (row, column) = width.div_mod(ABSOLUTE_POS);
    let at = row * step + column;
    let value = Vector::<f32, N>::cast_from(x[at]);
    let result = if comptime!(act == Act::Silu) {
        silu_of::<N>(value)
    } else if comptime!(act == Act::Gelu) {
        gelu_of::<N>(value)
    } else {
        value * gelu_of::<N>(Vector::cast_from(x[at + gates]))
    };
    y[ABSOLUTE_POS] = Vector::cast_from(result);
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
