//! The smallest parts: linear, convolution, the two norms, embedding.
//!
//! Fresh weights are PyTorch's defaults: Kaiming-uniform with a = √5, which is
//! U(±1/√fan-in), for weight and bias alike; norms start as the identity. Where a paper
//! starts a layer at zero, its network says `zeroed`.

use burn::module::{Module, Param};
use burn::tensor::module::embedding;
use burn::tensor::{DType, Device, Int, Tensor};
use ldm_kernels::{self as kernels, Padding};

use super::Init;

/// `y = x·W + b` over the last axis.
#[derive(Module, Debug)]
pub struct Linear {
    /// `[in, out]`: the transpose of what PyTorch stores. It may be of half precision beside
    /// activations in f32; so may a convolution's.
    pub weight: Param<Tensor<2>>,
    /// `[out]`
    pub bias: Option<Param<Tensor<1>>>,
}

impl Linear {
    /// From `from` numbers to `to`, with a bias.
    pub fn new(init: &mut Init, from: usize, to: usize) -> Self {
        let bound = 1.0 / (from as f64).sqrt();
        let weight = init.uniform([from, to], bound);
        Self {
            weight,
            bias: Some(init.uniform([to], bound)),
        }
    }

    /// From `from` numbers to `to`, without a bias.
    pub fn without_bias(init: &mut Init, from: usize, to: usize) -> Self {
        let weight = init.uniform([from, to], 1.0 / (from as f64).sqrt());
        Self { weight, bias: None }
    }

    /// As [`Linear::new`], but weight and bias start at 0.
    pub fn zeroed(init: &mut Init, from: usize, to: usize) -> Self {
        let weight = init.constant([from, to], 0.0);
        Self {
            weight,
            bias: Some(init.constant([to], 0.0)),
        }
    }

    /// The type that it computes in: its bias's, or, without one, its weight's.
    pub fn dtype(&self) -> DType {
        let of_bias = self.bias.as_ref().map(|bias| bias.val().dtype());
        of_bias.unwrap_or_else(|| self.weight.val().dtype())
    }

    /// The type of its weight's numbers.
    pub fn weight_type(&self) -> DType {
        self.weight.val().dtype()
    }

    /// `x [.., in]` → `[.., out]`
    pub fn forward<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        kernels::linear(x, self.weight.val(), self.bias.as_ref().map(Param::val))
    }

    /// [`Linear::forward`] plus `onto`, in one step.
    pub fn forward_onto<const D: usize>(&self, x: Tensor<D>, onto: Tensor<D>) -> Tensor<D> {
        let bias = self.bias.as_ref().map(Param::val);
        kernels::linear_onto(x, self.weight.val(), bias, onto)
    }
}

/// A convolution over height and width.
#[derive(Module, Debug)]
pub struct Conv {
    /// `[out, in, kernel, kernel]`
    pub weight: Param<Tensor<4>>,
    /// `[out]`
    pub bias: Param<Tensor<1>>,
    /// Pixels from one output to the next.
    pub stride: usize,
    /// Zeros around the input.
    #[module(skip)]
    pub padding: Padding,
}

impl Conv {
    /// 3×3, size kept.
    pub fn new3(init: &mut Init, from: usize, to: usize) -> Self {
        Self::new(init, [to, from, 3, 3], 1, Padding::same(1))
    }

    /// 1×1.
    pub fn new1(init: &mut Init, from: usize, to: usize) -> Self {
        Self::new(init, [to, from, 1, 1], 1, Padding::same(0))
    }

    /// 3×3 of stride 2, with `padding`.
    pub fn halving(init: &mut Init, width: usize, padding: Padding) -> Self {
        Self::new(init, [width, width, 3, 3], 2, padding)
    }

    /// 3×3 of stride 2, padded on all sides, to another width.
    pub fn halving_to(init: &mut Init, from: usize, to: usize) -> Self {
        Self::new(init, [to, from, 3, 3], 2, Padding::same(1))
    }

    /// As [`Conv::new3`], but weight and bias start at 0.
    pub fn zeroed3(init: &mut Init, from: usize, to: usize) -> Self {
        Self::zeroed(init, [to, from, 3, 3], Padding::same(1))
    }

    /// As [`Conv::new1`], but weight and bias start at 0.
    pub fn zeroed1(init: &mut Init, from: usize, to: usize) -> Self {
        Self::zeroed(init, [to, from, 1, 1], Padding::same(0))
    }

    fn zeroed(init: &mut Init, shape: [usize; 4], padding: Padding) -> Self {
        let weight = init.constant(shape, 0.0);
        let bias = init.constant([shape[0]], 0.0);
        Self {
            weight,
            bias,
            stride: 1,
            padding,
        }
    }

    fn new(init: &mut Init, shape: [usize; 4], stride: usize, padding: Padding) -> Self {
        let [to, from, kh, kw] = shape;
        let bound = 1.0 / ((from * kh * kw) as f64).sqrt();
        let weight = init.uniform(shape, bound);
        Self {
            weight,
            bias: init.uniform([to], bound),
            stride,
            padding,
        }
    }

    /// The type that it computes in: its bias's.
    pub fn dtype(&self) -> DType {
        self.bias.val().dtype()
    }

    /// Where its numbers are.
    pub fn device(&self) -> Device {
        self.bias.val().device()
    }

    /// `x [b, in, h, w]` → `[b, out, h / stride, w / stride]`
    pub fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let (weight, bias) = (self.weight.val(), self.bias.val());
        kernels::conv2d(x, weight, Some(bias), self.stride, self.padding)
    }

    /// [`Conv::forward`] plus `onto`, which is as its result or `[b, out, 1, 1]`, in one step.
    pub fn forward_onto(&self, x: Tensor<4>, onto: Tensor<4>) -> Tensor<4> {
        let (weight, bias) = (self.weight.val(), self.bias.val());
        kernels::conv2d_onto(x, weight, Some(bias), self.stride, self.padding, onto)
    }

    /// [`Conv::forward`], of stride 1 and without a border, of `xs` whose channels stand one behind
    /// the other, which are not copied into one where the kernel is 1×1: `xs [b, .., h, w]`,
    /// together `in` channels → `[b, out, h, w]`
    pub fn forward_joined(&self, xs: [Tensor<4>; 2]) -> Tensor<4> {
        assert!(self.stride == 1 && self.padding == Padding::same(0));
        let (weight, bias) = (self.weight.val(), self.bias.val());
        kernels::conv2d_joined(xs, weight, Some(bias))
    }

    /// [`Conv::forward`], of stride 1, over [`upsample`](super::upsample) of `x`, which is not
    /// made: `x [b, in, h, w]` → `[b, out, 2h, 2w]`
    pub fn forward_doubled(&self, x: Tensor<4>) -> Tensor<4> {
        let (weight, bias) = (self.weight.val(), self.bias.val());
        kernels::conv2d_doubled(x, weight, Some(bias), self.padding)
    }
}

/// Group normalisation: each group of channels of each picture to mean 0 and variance 1,
/// then a scale and a shift for every channel.
#[derive(Module, Debug)]
pub struct GroupNorm {
    /// Scale, `[channels]`
    pub gamma: Param<Tensor<1>>,
    /// Shift, `[channels]`
    pub beta: Param<Tensor<1>>,
    /// How many groups the channels make.
    pub groups: usize,
    /// Added to the variance.
    pub eps: f64,
}

impl GroupNorm {
    /// Over `channels`, which `groups` divides.
    pub fn new(init: &mut Init, groups: usize, channels: usize, eps: f64) -> Self {
        let gamma = init.constant([channels], 1.0);
        Self {
            gamma,
            beta: init.constant([channels], 0.0),
            groups,
            eps,
        }
    }

    /// `x [b, c, h, w]` → the same shape
    pub fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        kernels::group_norm(x, self.gamma.val(), self.beta.val(), self.groups, self.eps)
    }

    /// The norm, then SiLU, in one pass. `x [b, c, h, w]` → the same shape
    pub fn forward_silu(&self, x: Tensor<4>) -> Tensor<4> {
        kernels::group_norm_silu(x, self.gamma.val(), self.beta.val(), self.groups, self.eps)
    }

    /// [`GroupNorm::forward_silu`] of `xs` whose channels stand one behind the other:
    /// `xs [b, .., h, w]` → `[b, c, h, w]`
    pub fn forward_silu_joined(&self, xs: [Tensor<4>; 2]) -> Tensor<4> {
        let (gamma, beta) = (self.gamma.val(), self.beta.val());
        kernels::group_norm_silu_joined(xs, gamma, beta, self.groups, self.eps)
    }
}

/// Layer normalisation over the last axis.
#[derive(Module, Debug)]
pub struct LayerNorm {
    /// Scale, `[width]`
    pub gamma: Param<Tensor<1>>,
    /// Shift, `[width]`
    pub beta: Param<Tensor<1>>,
    /// Added to the variance.
    pub eps: f64,
}

impl LayerNorm {
    /// Over `width` numbers, with PyTorch's ε of 1e-5.
    pub fn new(init: &mut Init, width: usize) -> Self {
        let gamma = init.constant([width], 1.0);
        Self {
            gamma,
            beta: init.constant([width], 0.0),
            eps: 1e-5,
        }
    }

    /// `x [.., width]` → the same shape
    pub fn forward<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        kernels::layer_norm(x, self.gamma.val(), self.beta.val(), self.eps)
    }
}

/// A learned vector for each number from 0.
#[derive(Module, Debug)]
pub struct Embedding {
    /// `[rows, width]`
    pub table: Param<Tensor<2>>,
}

impl Embedding {
    /// `rows` vectors of `width` numbers, drawn from N(0, `std`²).
    pub fn new(init: &mut Init, rows: usize, width: usize, std: f64) -> Self {
        Self {
            table: init.normal([rows, width], std),
        }
    }

    /// `ids [b, n]`, each below `rows` → `[b, n, width]`
    pub fn forward(&self, ids: Tensor<2, Int>) -> Tensor<3> {
        embedding(self.table.val(), ids)
    }
}
