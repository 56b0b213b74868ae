//! SiLU, GELU and GEGLU, forwards and backwards, one pass over memory each.
//!
//! Not here: SiLU after a norm, which `norm` does in its own pass.

use rayon::prelude::*;

use super::memory::{CHUNK, filled};
use super::simd::{madd, multiversion, normal, sigmoid};

/// `x · sigmoid(x)`.
pub(crate) fn silu(x: &[f32]) -> Vec<f32> {
    map(x, silu_chunk)
}

/// The gradient of [`silu`] at `x`, times `dy`.
pub(crate) fn silu_gradient(x: &[f32], dy: &[f32]) -> Vec<f32> {
    map2(x, dy, silu_gradient_chunk)
}

/// `x · Φ(x)`.
pub(crate) fn gelu(x: &[f32]) -> Vec<f32> {
    map(x, gelu_chunk)
}

/// The gradient of [`gelu`] at `x`, times `dy`.
pub(crate) fn gelu_gradient(x: &[f32], dy: &[f32]) -> Vec<f32> {
    map2(x, dy, gelu_gradient_chunk)
}

/// `[v, g]` → `v · gelu(g)` over rows of `2 · half` numbers.
pub(crate) fn geglu(x: &[f32], half: usize) -> Vec<f32> {
    let (half, rows) = (half.max(1), rows(half));
    filled(x.len() / 2, |y| {
        y.par_chunks_mut(rows * half)
            .zip(x.par_chunks(2 * rows * half))
            .for_each(|(y, x)| {
                for (y, x) in y.chunks_exact_mut(half).zip(x.chunks_exact(2 * half)) {
                    let (value, gate) = x.split_at(half);
                    geglu_row(value, gate, y);
                }
            });
    })
}

/// The gradient of [`geglu`] at `x`, times `dy`.
pub(crate) fn geglu_gradient(x: &[f32], dy: &[f32], half: usize) -> Vec<f32> {
    let (half, rows) = (half.max(1), rows(half));
    filled(x.len(), |dx| {
        let inputs = x
            .par_chunks(2 * rows * half)
            .zip(dy.par_chunks(rows * half));
        dx.par_chunks_mut(2 * rows * half)
            .zip(inputs)
            .for_each(|(dx, (x, dy))| {
                let lines = x.chunks_exact(2 * half).zip(dy.chunks_exact(half));
                for (dx, (x, dy)) in dx.chunks_exact_mut(2 * half).zip(lines) {
                    geglu_gradient_row(x, dy, dx);
                }
            });
    })
}

/// Rows of `half` numbers that one task takes.
fn rows(half: usize) -> usize {
    (CHUNK / half.max(1)).max(1)
}

fn map(x: &[f32], f: impl Fn(&[f32], &mut [f32]) + Sync) -> Vec<f32> {
    filled(x.len(), |y| {
        y.par_chunks_mut(CHUNK)
            .zip(x.par_chunks(CHUNK))
            .for_each(|(y, x)| f(x, y));
    })
}

fn map2(x: &[f32], dy: &[f32], f: impl Fn(&[f32], &[f32], &mut [f32]) + Sync) -> Vec<f32> {
    filled(x.len(), |dx| {
        let inputs = x.par_chunks(CHUNK).zip(dy.par_chunks(CHUNK));
        dx.par_chunks_mut(CHUNK)
            .zip(inputs)
            .for_each(|(dx, (x, dy))| f(x, dy, dx));
    })
}

multiversion! { fn silu_chunk(x: &[f32], y: &mut [f32]) = silu_body }
multiversion! { fn gelu_chunk(x: &[f32], y: &mut [f32]) = gelu_body }
multiversion! {
    fn silu_gradient_chunk(x: &[f32], dy: &[f32], dx: &mut [f32]) = silu_gradient_body
}
multiversion! {
    fn gelu_gradient_chunk(x: &[f32], dy: &[f32], dx: &mut [f32]) = gelu_gradient_body
}

multiversion! { fn geglu_row(value: &[f32], gate: &[f32], y: &mut [f32]) = geglu_body }
multiversion! {
    /// Of one row of values and gates.
    fn geglu_gradient_row(x: &[f32], dy: &[f32], dx: &mut [f32]) = geglu_gradient_body
}

#[inline(always)]
fn silu_body<const FMA: bool>(x: &[f32], y: &mut [f32]) {
    for (y, x) in y.iter_mut().zip(x) {
        *y = x * sigmoid::<FMA>(*x);
    }
}

/// `d/dx x·σ(x) = σ(x) · (1 + x · (1 − σ(x)))`.
#[inline(always)]
pub(crate) fn silu_slope<const FMA: bool>(x: f32) -> f32 {
    let s = sigmoid::<FMA>(x);
    s * madd::<FMA>(x, 1.0 - s, 1.0)
}

#[inline(always)]
fn silu_gradient_body<const FMA: bool>(x: &[f32], dy: &[f32], dx: &mut [f32]) {
    for (dx, (x, dy)) in dx.iter_mut().zip(x.iter().zip(dy)) {
        *dx = dy * silu_slope::<FMA>(*x);
    }
}

#[inline(always)]
fn gelu_body<const FMA: bool>(x: &[f32], y: &mut [f32]) {
    for (y, x) in y.iter_mut().zip(x) {
        *y = x * normal::<FMA>(*x).0;
    }
}

#[inline(always)]
fn gelu_gradient_body<const FMA: bool>(x: &[f32], dy: &[f32], dx: &mut [f32]) {
    for (dx, (x, dy)) in dx.iter_mut().zip(x.iter().zip(dy)) {
        let (below, density) = normal::<FMA>(*x);
        *dx = dy * madd::<FMA>(*x, density, below);
    }
}

#[inline(always)]
fn geglu_body<const FMA: bool>(value: &[f32], gate: &[f32], y: &mut [f32]) {
    for (y, (value, gate)) in y.iter_mut().zip(value.iter().zip(gate)) {
        *y = value * (gate * normal::<FMA>(*gate).0);
    }
}

#[inline(always)]
fn geglu_gradient_body<const FMA: bool>(x: &[f32], dy: &[f32], dx: &mut [f32]) {
    let half = dy.len();
    let ((value, gate), (of_value, of_gate)) = (x.split_at(half), dx.split_at_mut(half));
    for ((of_value, of_gate), (dy, (value, gate))) in of_value
        .iter_mut()
        .zip(of_gate)
        .zip(dy.iter().zip(value.iter().zip(gate)))
    {
        let (below, density) = normal::<FMA>(*gate);
        *of_value = dy * (gate * below);
        *of_gate = dy * value * madd::<FMA>(*gate, density, below);
    }
}
