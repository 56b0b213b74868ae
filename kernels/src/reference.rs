//! Every operation of this crate again, from burn's own tensor operations.
//!
//! Promises
//! - The same signatures and the same meaning as the functions at the root of the crate:
//!   this is what those are tested against, and what serves where no kernel of ours does
//!   (any dtype but f32 on the CPU; gradients, f64 and some attentions on a GPU).
//! - Differentiable wherever burn's operations are.
//!
//! Not here: speed.

use burn::tensor::{Bool, Tensor, activation, module, ops::ConvOptions, ops::PadMode};

use crate::Padding;

/// `x · sigmoid(x)`, any shape.
pub fn silu<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    activation::silu(x)
}

/// `x · Φ(x)` with the exact normal distribution function (the erf form), any shape.
pub fn gelu<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    activation::gelu(x)
}

/// The first half of each row times [`gelu`] of the second: `x [.., 2n]` → `[.., n]`.
pub fn geglu<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    let half = x.dims()[D - 1] / 2;
    let (value, gate) = (
        x.clone().narrow(D - 1, 0, half),
        x.narrow(D - 1, half, half),
    );
    value * gelu(gate)
}

/// Group normalisation, Wu & He 2018 (arXiv 1803.08494): `x [b, c, h, w]`, `gamma` and
/// `beta [c]`; mean and biased variance over each of `groups` runs of channels.
pub fn group_norm(
    x: Tensor<4>,
    gamma: Tensor<1>,
    beta: Tensor<1>,
    groups: usize,
    eps: f64,
) -> Tensor<4> {
    let [b, c, h, w] = x.dims();
    let runs = x.reshape([b, groups, c / groups * h * w]);
    let centred = runs.clone() - runs.mean_dim(2);
    let variance = centred.clone().square().mean_dim(2);
    let normed = (centred / variance.add_scalar(eps).sqrt()).reshape([b, c, h, w]);
    normed * gamma.reshape([1, c, 1, 1]) + beta.reshape([1, c, 1, 1])
}

/// [`group_norm`], then [`silu`].
pub fn group_norm_silu(
    x: Tensor<4>,
    gamma: Tensor<1>,
    beta: Tensor<1>,
    groups: usize,
    eps: f64,
) -> Tensor<4> {
    silu(group_norm(x, gamma, beta, groups, eps))
}

/// Layer normalisation over the last dimension, Ba et al. 2016 (arXiv 1607.06450):
/// `x [.., c]`, `gamma` and `beta [c]`.
pub fn layer_norm<const D: usize>(
    x: Tensor<D>,
    gamma: Tensor<1>,
    beta: Tensor<1>,
    eps: f64,
) -> Tensor<D> {
    let centred = x.clone() - x.mean_dim(D - 1);
    let variance = centred.clone().square().mean_dim(D - 1);
    centred / variance.add_scalar(eps).sqrt() * gamma.unsqueeze() + beta.unsqueeze()
}

/// Cross-correlation: `x [b, c, h, w]`, `weight [o, c, kh, kw]`, `bias [o]` →
/// `[b, o, (h + top + bottom − kh) / stride + 1, (w + left + right − kw) / stride + 1]`.
pub fn conv2d(
    x: Tensor<4>,
    weight: Tensor<4>,
    bias: Option<Tensor<1>>,
    stride: usize,
    padding: Padding,
) -> Tensor<4> {
    let Padding {
        top,
        left,
        bottom,
        right,
    } = padding;
    let even = top == bottom && left == right;
    let (x, pad) = match even {
        true => (x, [top, left]),
        false => (
            x.pad((left, right, top, bottom), PadMode::Constant(0.0)),
            [0, 0],
        ),
    };
    module::conv2d(
        x,
        weight,
        bias,
        ConvOptions::new([stride; 2], pad, [1; 2], 1),
    )
}

/// `x [.., in] · weight [in, out] + bias [out]` → `[.., out]`.
pub fn linear<const D: usize>(
    x: Tensor<D>,
    weight: Tensor<2>,
    bias: Option<Tensor<1>>,
) -> Tensor<D> {
    let mut dims = x.dims();
    let [inner, outer] = weight.dims();
    let rows = x.reshape([-1, inner as i32]).matmul(weight);
    dims[D - 1] = outer;
    let y = rows.reshape(dims);
    match bias {
        Some(bias) => y + bias.unsqueeze(),
        None => y,
    }
}

/// Scaled dot-product attention, Vaswani et al. 2017 (arXiv 1706.03762):
/// `softmax(q kᵀ / √d) v` with `q [b, heads, n, d]`, `k [b, heads, m, d]`,
/// `v [b, heads, m, e]` → `[b, heads, n, e]`; no mask.
pub fn attention(q: Tensor<4>, k: Tensor<4>, v: Tensor<4>) -> Tensor<4> {
    let [_, _, _, d] = q.dims();
    let scores = q
        .matmul(k.swap_dims(2, 3))
        .mul_scalar((d as f64).powf(-0.5));
    activation::softmax(scores, 3).matmul(v)
}

/// [`attention`] in which a token sees itself and what stands before it: `q`, `k`, `v`
/// `[b, heads, n, d]` → the same shape.
pub fn causal_attention(q: Tensor<4>, k: Tensor<4>, v: Tensor<4>) -> Tensor<4> {
    let [_, _, n, d] = q.dims();
    let scores = q
        .matmul(k.swap_dims(2, 3))
        .mul_scalar((d as f64).powf(-0.5));
    let later = Tensor::<2, Bool>::tril_mask([n, n], 0, &scores.device());
    let later = later.unsqueeze::<4>().expand(scores.dims());
    activation::softmax(scores.mask_fill(later, f32::NEG_INFINITY), 3).matmul(v)
}

/// Each pixel becomes two by two: `x [b, c, h, w]` → `[b, c, 2h, 2w]`.
pub fn double(x: Tensor<4>) -> Tensor<4> {
    let [b, c, h, w] = x.dims();
    // A view repeated, not burn's `interpolate`: that has no gradient on every backend.
    let x: Tensor<6> = x.reshape([b, c, h, 1, w, 1]).expand([b, c, h, 2, w, 2]);
    x.reshape([b, c, 2 * h, 2 * w])
}
