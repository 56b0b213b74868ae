//! Tensor operations of our own behind burn's extension: what the networks are made of.
//!
//! Promises
//! - Plain functions on burn tensors, differentiable on an autodiff device. Each agrees with
//!   its namesake in [`reference`] to a tolerance that a test states.
//! - On the CPU in f32 they run our kernels, whose bits do not depend on the number of threads. On
//!   a GPU, where nothing asks for gradients, they run kernels of ours around burn's products,
//!   convolutions and attention, in the type of what goes in; no GPU has run them yet. Elsewhere
//!   (other types, gradients on a GPU) they are the reference.
//! - The weights of layers may lie in the host's memory beside pictures on a GPU, which then gets
//!   them anew at every call: slow, in little of its memory.
//! - [`device::open`] is the only way in this project to come by a device.
//! - [`memory`] is an allocator that a program may install; nothing here depends on it.
//!
//! A GPU's kernels are tested with the feature `cuda`, or with `wgpu` through any driver of Vulkan.
//! Without a device such tests are skipped, which they say on stderr; where the environment holds
//! `LDM_GRAPH_TEST_GPU=cuda` (or `wgpu`) they fail instead.
//!
//! Not here: layers with parameters and networks (`ldm-models`).

mod autodiff;
pub mod bench;
mod count;
#[cfg(feature = "cube")]
mod cube;
pub mod device;
mod flex;
mod isa;
pub mod memory;
mod ops;
pub mod prepare;
pub mod read;
pub mod reference;
#[cfg(all(test, feature = "cube"))]
#[path = "../tests/trial/mod.rs"]
mod trial;

use burn::backend::{Dispatch, DispatchDevice};
use burn::tensor::{DType, Device, Tensor};

use crate::count::counted;
pub use crate::count::{Dispatches, dispatches};
use crate::ops::{AttentionOptions, ConvOptions, LdmFused, LdmJoined, LdmOps, NormOptions};

/// Zero rows and columns added around a picture before a convolution, in pixels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Padding {
    /// Rows above.
    pub top: usize,
    /// Columns to the left.
    pub left: usize,
    /// Rows below.
    pub bottom: usize,
    /// Columns to the right.
    pub right: usize,
}

impl Padding {
    /// `n` on every side: with a `2n + 1` wide kernel and stride 1 the size is kept.
    pub const fn same(n: usize) -> Self {
        Self {
            top: n,
            left: n,
            bottom: n,
            right: n,
        }
    }
}

/// `x · sigmoid(x)`, any shape.
pub fn silu<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    match counted(ours(&x)) {
        true => Tensor::from_dispatch(Dispatch::ldm_silu(x.into_dispatch())),
        false => reference::silu(x),
    }
}

/// `x · Φ(x)` with the exact normal distribution function (the erf form), any shape.
pub fn gelu<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    match counted(ours(&x)) {
        true => Tensor::from_dispatch(Dispatch::ldm_gelu(x.into_dispatch())),
        false => reference::gelu(x),
    }
}

/// `x [.., 2n]`, values and then gates, → `[.., n]`: each value times [`gelu`] of its gate
/// (Shazeer 2020, arXiv 2002.05202).
pub fn geglu<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    let width = x.dims()[D - 1];
    assert!(
        width.is_multiple_of(2),
        "as many gates as values in {width}"
    );
    match counted(ours(&x)) {
        true => Tensor::from_dispatch(Dispatch::ldm_geglu(x.into_dispatch())),
        false => reference::geglu(x),
    }
}

/// Group normalisation: `x [b, c, h, w]`, `gamma` and `beta [c]`, `groups` divides `c`.
pub fn group_norm(
    x: Tensor<4>,
    gamma: Tensor<1>,
    beta: Tensor<1>,
    groups: usize,
    eps: f64,
) -> Tensor<4> {
    match counted(ours(&x) && joins(&x, &gamma) && joins(&x, &beta)) {
        true => norm(
            x,
            gamma,
            beta,
            NormOptions {
                groups,
                eps,
                silu: false,
            },
        ),
        false => reference::group_norm(x, gamma, beta, groups, eps),
    }
}

/// [`group_norm`] and [`silu`] in one pass.
pub fn group_norm_silu(
    x: Tensor<4>,
    gamma: Tensor<1>,
    beta: Tensor<1>,
    groups: usize,
    eps: f64,
) -> Tensor<4> {
    match counted(ours(&x) && joins(&x, &gamma) && joins(&x, &beta)) {
        true => norm(
            x,
            gamma,
            beta,
            NormOptions {
                groups,
                eps,
                silu: true,
            },
        ),
        false => reference::group_norm_silu(x, gamma, beta, groups, eps),
    }
}

/// `xs`, both `[b, .., h, w]`, as one: the channels of the first before those of the second. It
/// lies with its channels last where [convolutions read so](reads_channels_last).
pub fn join(xs: [Tensor<4>; 2]) -> Tensor<4> {
    match is_gpu(xs[0].device().as_dispatch()) {
        true => {
            let last = xs.map(|x| x.permute([0, 2, 3, 1]));
            Tensor::cat(last.into(), 3).permute([0, 3, 1, 2])
        }
        false => Tensor::cat(xs.into(), 1),
    }
}

/// Whether [`group_norm_silu_joined`] and [`conv2d_joined`] read pictures that are to be joined
/// where they are: f32 on the CPU where nothing asks for gradients. Elsewhere they are joined
/// first, which who needs both does [once](join).
pub fn reads_apart(xs: &[Tensor<4>; 2]) -> bool {
    let apart = |x: &Tensor<4>| {
        x.dtype() == DType::F32 && matches!(x.device().as_dispatch(), DispatchDevice::Flex(_))
    };
    xs.iter().all(apart)
}

/// [`group_norm_silu`] of `xs` [joined](join), which are read where they are if
/// [that can be](reads_apart).
pub fn group_norm_silu_joined(
    xs: [Tensor<4>; 2],
    gamma: Tensor<1>,
    beta: Tensor<1>,
    groups: usize,
    eps: f64,
) -> Tensor<4> {
    if !(reads_apart(&xs) && ours(&gamma) && ours(&beta)) {
        return group_norm_silu(join(xs), gamma, beta, groups, eps);
    }
    counted(true);
    let [_, c, _, _] = check_joined(&xs);
    check_norm(c, groups, [&gamma, &beta]);
    let [first, second] = xs.map(Tensor::into_dispatch);
    Tensor::from_dispatch(Dispatch::ldm_group_norm_joined(
        first,
        second,
        gamma.into_dispatch(),
        beta.into_dispatch(),
        NormOptions {
            groups,
            eps,
            silu: true,
        },
    ))
}

/// Layer normalisation over the last dimension: `x [.., c]`, `gamma` and `beta [c]`.
pub fn layer_norm<const D: usize>(
    x: Tensor<D>,
    gamma: Tensor<1>,
    beta: Tensor<1>,
    eps: f64,
) -> Tensor<D> {
    let width = x.dims()[D - 1];
    assert_eq!(
        [gamma.dims(), beta.dims()],
        [[width]; 2],
        "layer norm over {width} channels"
    );
    match counted(ours(&x) && joins(&x, &gamma) && joins(&x, &beta)) {
        true => Tensor::from_dispatch(Dispatch::ldm_layer_norm(
            x.into_dispatch(),
            gamma.into_dispatch(),
            beta.into_dispatch(),
            eps,
        )),
        false => reference::layer_norm(x, gamma, beta, eps),
    }
}

/// Cross-correlation: `x [b, c, h, w]`, `weight [o, c, kh, kw]`, `bias [o]` →
/// `[b, o, (h + top + bottom − kh) / stride + 1, (w + left + right − kw) / stride + 1]`.
///
/// `weight` may be f16 or bf16 beside an f32 `x`: the result is that of the same numbers in f32. A
/// CPU that multiplies bf16 does so with such a weight, `x` rounded to it, but where the 3×3
/// kernels of Winograd's way are transformed. On a GPU, and where something asks for gradients, the
/// weight is raised to f32 at every call, in a launch of its own.
pub fn conv2d(
    x: Tensor<4>,
    weight: Tensor<4>,
    bias: Option<Tensor<1>>,
    stride: usize,
    padding: Padding,
) -> Tensor<4> {
    check_conv(x.dims(), weight.dims(), stride, padding);
    let weight = beside(weight, &x);
    if !counted(ours(&x) && weighs(&x, &weight) && biases(&x, &bias)) {
        return reference::conv2d(x, weight, bias, stride, padding);
    }
    let bias = or_none(bias, &x, weight.dims()[0]);
    Tensor::from_dispatch(Dispatch::ldm_conv2d(
        x.into_dispatch(),
        weight.into_dispatch(),
        bias.into_dispatch(),
        ConvOptions { stride, padding },
    ))
}

/// [`conv2d`] plus `onto`, which is as its result or `[b, o, 1, 1]`.
///
/// On the CPU, where nothing asks for gradients, it is added to what is being written; on a GPU in
/// one launch after it. There a slice of a longer tensor is read where it lies, if burn made a view
/// of it: it copies one that does not begin, or end before the end, by a multiple of what the
/// device aligns memory to, which is 512 bytes with CUDA.
pub fn conv2d_onto(
    x: Tensor<4>,
    weight: Tensor<4>,
    bias: Option<Tensor<1>>,
    stride: usize,
    padding: Padding,
    onto: Tensor<4>,
) -> Tensor<4> {
    let weight = beside(weight, &x);
    if !(fuses(&x) && weighs(&x, &weight) && biases(&x, &bias) && joins(&x, &onto)) {
        return conv2d(x, weight, bias, stride, padding) + onto;
    }
    check_conv(x.dims(), weight.dims(), stride, padding);
    let ([b, _, h, w], [o, _, kh, kw]) = (x.dims(), weight.dims());
    let Padding {
        top,
        left,
        bottom,
        right,
    } = padding;
    let out = |n: usize, kernel: usize| (n - kernel) / stride + 1;
    let out = [b, o, out(h + top + bottom, kh), out(w + left + right, kw)];
    assert!(
        [out, [b, o, 1, 1]].contains(&onto.dims()),
        "what is added is as the result, or of its channels"
    );
    counted(true);
    let bias = or_none(bias, &x, o);
    Tensor::from_dispatch(Dispatch::ldm_conv2d_onto(
        x.into_dispatch(),
        weight.into_dispatch(),
        bias.into_dispatch(),
        onto.into_dispatch(),
        ConvOptions { stride, padding },
    ))
}

/// [`conv2d`] of stride 1 over `x [b, c, h, w]` with each pixel made two by two:
/// `[b, o, 2h + top + bottom − kh + 1, 2w + left + right − kw + 1]`.
///
/// On the CPU, where nothing asks for gradients, the larger picture is never made.
pub fn conv2d_doubled(
    x: Tensor<4>,
    weight: Tensor<4>,
    bias: Option<Tensor<1>>,
    padding: Padding,
) -> Tensor<4> {
    let weight = beside(weight, &x);
    if !(fuses(&x) && weighs(&x, &weight) && biases(&x, &bias)) {
        return conv2d(reference::double(x), weight, bias, 1, padding);
    }
    let [b, c, h, w] = x.dims();
    check_conv([b, c, 2 * h, 2 * w], weight.dims(), 1, padding);
    counted(true);
    let bias = or_none(bias, &x, weight.dims()[0]);
    Tensor::from_dispatch(Dispatch::ldm_conv2d_doubled(
        x.into_dispatch(),
        weight.into_dispatch(),
        bias.into_dispatch(),
        ConvOptions { stride: 1, padding },
    ))
}

/// [`conv2d`] of stride 1 and without a border, of `xs` [joined](join). A kernel of 1×1 reads them
/// where they are if [that can be](reads_apart). The result is the same bits.
pub fn conv2d_joined(xs: [Tensor<4>; 2], weight: Tensor<4>, bias: Option<Tensor<1>>) -> Tensor<4> {
    let [o, _, kh, kw] = weight.dims();
    let [x, _] = &xs;
    // Channels are multiplied two by two in bf16, and no two are of both.
    let whole = weight.dtype() != DType::BF16 || x.dims()[1].is_multiple_of(2);
    let apart = reads_apart(&xs) && [kh, kw] == [1, 1] && whole;
    if !(apart && weighs(x, &weight) && biases(x, &bias)) {
        return conv2d(join(xs), weight, bias, 1, Padding::same(0));
    }
    check_conv(check_joined(&xs), weight.dims(), 1, Padding::same(0));
    counted(true);
    let bias = or_none(bias, &xs[0], o);
    let [first, second] = xs.map(Tensor::into_dispatch);
    Tensor::from_dispatch(Dispatch::ldm_conv2d_joined(
        first,
        second,
        weight.into_dispatch(),
        bias.into_dispatch(),
    ))
}

/// [`linear`] plus `onto [.., out]`, as [`conv2d_onto`].
pub fn linear_onto<const D: usize>(
    x: Tensor<D>,
    weight: Tensor<2>,
    bias: Option<Tensor<1>>,
    onto: Tensor<D>,
) -> Tensor<D> {
    let weight = beside(weight, &x);
    if !(fuses(&x) && weighs(&x, &weight) && biases(&x, &bias) && joins(&x, &onto)) {
        return linear(x, weight, bias) + onto;
    }
    let mut dims = x.dims();
    dims[D - 1] = check_linear(dims[D - 1], &weight);
    assert_eq!(onto.dims(), dims, "what is added is as the result");
    counted(true);
    let bias = or_none(bias, &x, dims[D - 1]);
    Tensor::from_dispatch(Dispatch::ldm_linear_onto(
        x.into_dispatch(),
        weight.into_dispatch(),
        bias.into_dispatch(),
        onto.into_dispatch(),
    ))
}

/// `x [.., in] · weight [in, out] + bias [out]` → `[.., out]`; weights of half precision as for
/// [`conv2d`].
///
/// The weight may lie [in panels](reads_panels).
pub fn linear<const D: usize>(
    x: Tensor<D>,
    weight: Tensor<2>,
    bias: Option<Tensor<1>>,
) -> Tensor<D> {
    let outer = check_linear(x.dims()[D - 1], &weight);
    let weight = beside(weight, &x);
    if !counted(ours(&x) && weighs(&x, &weight) && biases(&x, &bias)) {
        return reference::linear(x, weight, bias);
    }
    let bias = or_none(bias, &x, outer);
    Tensor::from_dispatch(Dispatch::ldm_linear(
        x.into_dispatch(),
        weight.into_dispatch(),
        bias.into_dispatch(),
    ))
}

/// Columns of a panel.
pub const PANEL: usize = flex::NR;

/// Whether [`linear`] would rather have its weight `[in, out]` in panels of [`PANEL`] columns on
/// this device: `[out / PANEL · in, PANEL]`, the rows of each panel one below the other.
///
/// The CPU's kernels read such panels where they lie, and would copy rows into them each time. The
/// result is the same bits. There is no gradient of such a weight.
pub fn reads_panels(device: &Device, outer: usize) -> bool {
    let apt = outer > PANEL && outer.is_multiple_of(PANEL);
    apt && matches!(device.as_dispatch(), DispatchDevice::Flex(_))
}

/// `softmax(q kᵀ / √d) v` with `q [b, heads, n, d]`, `k [b, heads, m, d]`,
/// `v [b, heads, m, e]` → `[b, heads, n, e]`; no mask.
///
/// On the CPU heads may be split off and joined by views: nothing is copied on either side.
/// `weights` is the type of the weights that `q`, `k` and `v` were made with: where it is bf16,
/// a CPU that multiplies bf16 rounds all that is multiplied to it, as [`linear`] does. On a GPU
/// bf16 is computed in f16, which ends at 65504, and what no kernel takes (f32, wide heads) is the
/// reference's in f32, a run of queries at a time, so that not all scores are held at once.
pub fn attention(q: Tensor<4>, k: Tensor<4>, v: Tensor<4>, weights: DType) -> Tensor<4> {
    let ([b, heads, _, d], [_, _, m, e]) = (q.dims(), v.dims());
    assert_eq!(
        k.dims(),
        [b, heads, m, d],
        "keys follow the queries' width and the values' count"
    );
    assert_eq!(
        v.dims(),
        [b, heads, m, e],
        "values come for the queries' batch and heads"
    );
    match counted(attends(&q, &k, &v, false)) {
        true => Tensor::from_dispatch(Dispatch::ldm_attention(
            q.into_dispatch(),
            k.into_dispatch(),
            v.into_dispatch(),
            AttentionOptions {
                causal: false,
                weights,
            },
        )),
        false if is_gpu(q.device().as_dispatch()) => by_runs(q, k, v, MOST_SCORES),
        false => reference::attention(q, k, v),
    }
}

/// Scores that are held at once where they are written: 256 MiB in f32.
const MOST_SCORES: usize = 1 << 26;

/// The reference's attention in f32, so many queries at a time that `most` scores are held.
fn by_runs(q: Tensor<4>, k: Tensor<4>, v: Tensor<4>, most: usize) -> Tensor<4> {
    let (dtype, [b, heads, n, _], [_, _, m, _]) = (q.dtype(), q.dims(), k.dims());
    let run = (most / (b * heads * m)).clamp(1, n);
    let [k, v] = [k, v].map(|x| x.cast(DType::F32));
    let runs = (0..n).step_by(run).map(|from| {
        let q = q.clone().narrow(2, from, run.min(n - from));
        reference::attention(q.cast(DType::F32), k.clone(), v.clone()).cast(dtype)
    });
    Tensor::cat(runs.collect(), 2)
}

/// [`attention`] of f32 in which a token sees itself and what stands before it: `q`, `k`, `v`
/// `[b, heads, n, d]` → the same shape.
pub fn causal_attention(q: Tensor<4>, k: Tensor<4>, v: Tensor<4>) -> Tensor<4> {
    assert_eq!(
        [k.dims(), v.dims()],
        [q.dims(); 2],
        "tokens look at themselves and their like"
    );
    match counted(attends(&q, &k, &v, true)) {
        true => Tensor::from_dispatch(Dispatch::ldm_attention(
            q.into_dispatch(),
            k.into_dispatch(),
            v.into_dispatch(),
            AttentionOptions {
                causal: true,
                weights: DType::F32,
            },
        )),
        false => reference::causal_attention(q, k, v),
    }
}

/// Whether convolutions on this device read pictures and kernels whose channels lie last in memory,
/// as a GPU's do: who makes a kernel `[o, c, kh, kw]` to keep lays it out so, since another is
/// turned round at every call.
pub fn reads_channels_last(device: &Device) -> bool {
    is_gpu(device.as_dispatch())
}

fn norm(x: Tensor<4>, gamma: Tensor<1>, beta: Tensor<1>, options: NormOptions) -> Tensor<4> {
    let [_, c, _, _] = x.dims();
    check_norm(c, options.groups, [&gamma, &beta]);
    Tensor::from_dispatch(Dispatch::ldm_group_norm(
        x.into_dispatch(),
        gamma.into_dispatch(),
        beta.into_dispatch(),
        options,
    ))
}

fn check_norm(channels: usize, groups: usize, affine: [&Tensor<1>; 2]) {
    assert!(
        groups > 0 && channels.is_multiple_of(groups),
        "{groups} groups divide {channels} channels"
    );
    assert_eq!(
        affine.map(|x| x.dims()),
        [[channels]; 2],
        "a norm of {channels} channels"
    );
}

/// The sizes of two pictures with the channels of both.
fn check_joined(xs: &[Tensor<4>; 2]) -> [usize; 4] {
    let [[b, first, h, w], other] = [xs[0].dims(), xs[1].dims()];
    assert_eq!(
        other,
        [b, other[1], h, w],
        "pictures that are joined differ in channels alone"
    );
    [b, first + other[1], h, w]
}

/// What a linear layer makes of `inner` numbers.
fn check_linear(inner: usize, weight: &Tensor<2>) -> usize {
    let [rows, columns] = weight.dims();
    if rows == inner {
        return columns;
    }
    let panels = rows / inner.max(1);
    assert!(
        columns == PANEL && rows == panels * inner,
        "a linear layer takes the width of its weight: {inner} numbers, {rows} × {columns}"
    );
    panels * PANEL
}

fn check_conv(x: [usize; 4], weight: [usize; 4], stride: usize, pad: Padding) {
    let fits = x[2] + pad.top + pad.bottom >= weight[2] && x[3] + pad.left + pad.right >= weight[3];
    assert!(
        x[1] == weight[1] && fits && stride > 0,
        "a kernel {weight:?} fits {x:?} with {pad:?} and stride {stride}"
    );
}

/// Our kernels always take a bias. Where there is none that is zeros, which nobody asks a gradient
/// of, or on a GPU an empty one.
fn or_none<const D: usize>(bias: Option<Tensor<1>>, x: &Tensor<D>, n: usize) -> Tensor<1> {
    if let Some(bias) = &bias {
        assert_eq!(bias.dims(), [n], "a bias has one number for each output");
    }
    bias.unwrap_or_else(|| match on_cpu(x.device().as_dispatch()) {
        true => Tensor::zeros([n], (&x.device(), DType::F32)),
        false => Tensor::empty([0], (&x.device(), x.dtype())),
    })
}

/// Whether a kernel of ours serves this tensor: f32 on the CPU; f32, f16 or bf16 on a GPU where
/// nothing asks for gradients.
fn ours<const D: usize>(x: &Tensor<D>) -> bool {
    match on_cpu(x.device().as_dispatch()) {
        true => x.dtype() == DType::F32,
        false => on_gpu(x),
    }
}

/// Whether steps that start from this tensor may go together: a kernel of ours serves it, and
/// nothing asks for gradients.
fn fuses<const D: usize>(x: &Tensor<D>) -> bool {
    ours(x) && !matches!(x.device().as_dispatch(), DispatchDevice::Autodiff(_))
}

/// Whether a kernel of ours that serves `x` takes `y` beside it.
fn joins<const D: usize, const E: usize>(x: &Tensor<D>, y: &Tensor<E>) -> bool {
    ours(y) && x.dtype() == y.dtype()
}

fn biases<const D: usize>(x: &Tensor<D>, bias: &Option<Tensor<1>>) -> bool {
    bias.as_ref().is_none_or(|bias| joins(x, bias))
}

/// Whether a kernel of ours that serves `x` takes this as the weight of a layer: of the same type,
/// or of half precision where such are read as they lie.
fn weighs<const D: usize, const E: usize>(x: &Tensor<D>, weight: &Tensor<E>) -> bool {
    joins(x, weight) || is_half(weight) && reads_half(weight)
}

fn is_half<const D: usize>(x: &Tensor<D>) -> bool {
    matches!(x.dtype(), DType::F16 | DType::BF16)
}

/// Whether kernels that compute in f32 read a weight of half precision as it lies: on the CPU where
/// nothing asks for gradients.
fn reads_half<const D: usize>(weight: &Tensor<D>) -> bool {
    matches!(weight.device().as_dispatch(), DispatchDevice::Flex(_))
}

/// The weight of a layer as it is multiplied with `x`. It is brought over where it lies in the
/// host's memory and `x` on a GPU. It is in f32 where it was of half precision, `x` is not, and
/// nothing reads it as it lies: burn's products would take its bytes for numbers of `x`'s type on a
/// GPU, and refuse it on the CPU. It stays laid out as it is.
fn beside<const D: usize, const E: usize>(weight: Tensor<E>, x: &Tensor<D>) -> Tensor<E> {
    let there = x.device();
    let apart = is_gpu(there.as_dispatch()) && on_cpu(weight.device().as_dispatch());
    let weight = match apart {
        true => weight.to_device(&there),
        false => weight,
    };
    let mixed = x.dtype() == DType::F32 && is_half(&weight);
    match mixed && !reads_half(&weight) {
        true => weight.cast(DType::F32),
        false => weight,
    }
}

/// Whether a kernel of ours serves an attention: on the CPU it does, on a GPU by type and shape.
#[cfg_attr(
    not(feature = "cube"),
    expect(unused_variables, reason = "no device is a GPU")
)]
fn attends(q: &Tensor<4>, k: &Tensor<4>, v: &Tensor<4>, causal: bool) -> bool {
    if !(ours(q) && joins(q, k) && joins(q, v)) {
        return false;
    }
    match q.device().as_dispatch() {
        #[cfg(feature = "cube")]
        DispatchDevice::Cube(device) => {
            let ([_, _, n, d], [_, _, m, e]) = (q.dims(), v.dims());
            cube::attention::serves(device, q.dtype(), [n, m, d, e], causal)
        }
        _ => true,
    }
}

fn on_cpu(device: &DispatchDevice) -> bool {
    match device {
        DispatchDevice::Flex(_) => true,
        DispatchDevice::Autodiff(device) => on_cpu(device),
        #[allow(unreachable_patterns, reason = "without a GPU there is no other")]
        _ => false,
    }
}

/// Whether this is a tensor that our kernels for GPUs know, and nothing asks for gradients.
fn on_gpu<const D: usize>(x: &Tensor<D>) -> bool {
    let known = matches!(x.dtype(), DType::F32 | DType::F16 | DType::BF16);
    known && is_gpu(x.device().as_dispatch())
}

#[cfg_attr(
    not(feature = "cube"),
    expect(unused_variables, reason = "no device is a GPU")
)]
fn is_gpu(device: &DispatchDevice) -> bool {
    #[cfg(feature = "cube")]
    return matches!(device, DispatchDevice::Cube(_));
    #[cfg(not(feature = "cube"))]
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attention_by_runs_of_queries_is_attention() {
        let x = |count: i64, by: f32| {
            let x = Tensor::<1, burn::tensor::Int>::arange(0..count, &Device::flex()).float();
            (x * by).sin()
        };
        let q = x(2 * 3 * 50 * 8, 0.7).reshape([2, 3, 50, 8]);
        let [k, v] = [0.3, 1.1].map(|by| x(2 * 3 * 9 * 8, by).reshape([2, 3, 9, 8]));
        let want = reference::attention(q.clone(), k.clone(), v.clone());
        // All at once; 7 queries at a time, the last one alone; and one at a time at the least.
        for most in [usize::MAX, 2 * 3 * 9 * 7, 1] {
            let got = by_runs(q.clone(), k.clone(), v.clone(), most);
            let off = (got - want.clone()).abs().max().into_scalar::<f32>();
            assert!(off < 1e-6, "{off} at {most}");
        }
        let half = [q, k, v].map(|x| x.cast(DType::F16));
        let [q, k, v] = half.clone().map(|x| x.cast(DType::F32));
        let want = reference::attention(q, k, v).cast(DType::F16);
        let [q, k, v] = half;
        let got = by_runs(q, k, v, 100);
        assert_eq!(got.dtype(), DType::F16);
        let off = (got - want).abs().max().into_scalar::<f32>();
        assert!(off < 1e-3, "{off} in f16");
    }
}
