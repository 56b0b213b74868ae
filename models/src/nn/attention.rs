//! Attention over pixels and over tokens.
//!
//! ```text
//! CrossAttention                         SpatialAttention
//! x ─────── q ──┐                        x ─ norm ─ tokens ─┬─ q ──┐
//! context ┬ k ──┤ attention ─ out        │                  ├─ k ──┤ attention ─ out
//!         └ v ──┘                        │                  └─ v ──┘              │
//!                                        └────────────────────────── image ───────(+)─
//! ```
//!
//! The logits are scaled by d^-½, with d the width of a head. Reference code that scales
//! q and k by d^-¼ each means the same numbers.

use burn::module::Module;
use burn::tensor::Tensor;
use ldm_kernels as kernels;

use super::{GroupNorm, Init, Linear};

/// The keys and values that a [`CrossAttention`] made of its context: they are the same for
/// whatever looks at it.
#[derive(Debug, Clone)]
pub struct KeysValues {
    /// `[b, heads, m, head_width]`
    k: Tensor<4>,
    /// `[b, heads, m, head_width]`
    v: Tensor<4>,
}

/// Multi-head attention from tokens to tokens; q, k and v without bias.
#[derive(Module, Debug)]
pub struct CrossAttention {
    /// Queries, `[width, heads·head_width]`
    pub q: Linear,
    /// Keys, `[context, heads·head_width]`
    pub k: Linear,
    /// Values, `[context, heads·head_width]`
    pub v: Linear,
    /// Back to the width of the queries' tokens; with bias.
    pub out: Linear,
    /// How many heads share the inner width.
    pub heads: usize,
}

impl CrossAttention {
    /// From tokens of `width` to tokens of `context` numbers.
    pub fn new(
        init: &mut Init,
        width: usize,
        context: usize,
        heads: usize,
        head_width: usize,
    ) -> Self {
        let inner = heads * head_width;
        Self {
            q: Linear::without_bias(init, width, inner),
            k: Linear::without_bias(init, context, inner),
            v: Linear::without_bias(init, context, inner),
            out: Linear::new(init, inner, width),
            heads,
        }
    }

    /// `x [b, n, width]`, `context [b, m, context]` → `[b, n, width]`
    pub fn forward(&self, x: Tensor<3>, context: Tensor<3>) -> Tensor<3> {
        self.out.forward(self.found(x, self.keys_values(context)))
    }

    /// [`CrossAttention::forward`] over what [`CrossAttention::keys_values`] made of the context,
    /// plus `onto`, in one step.
    pub fn forward_onto(&self, x: Tensor<3>, context: KeysValues, onto: Tensor<3>) -> Tensor<3> {
        self.out.forward_onto(self.found(x, context), onto)
    }

    /// What `context [b, m, context]` is to all that look at it.
    pub fn keys_values(&self, context: Tensor<3>) -> KeysValues {
        KeysValues {
            k: split(self.k.forward(context.clone()), self.heads),
            v: split(self.v.forward(context), self.heads),
        }
    }

    /// What the heads give, side by side.
    fn found(&self, x: Tensor<3>, context: KeysValues) -> Tensor<3> {
        let q = split(self.q.forward(x), self.heads);
        let KeysValues { k, v } = context;
        join(kernels::attention(q, k, v, self.q.weight_type()))
    }
}

/// Multi-head attention among tokens of which each sees none after itself; q, k, v and out with
/// bias.
#[derive(Module, Debug)]
pub struct CausalAttention {
    /// Queries
    pub q: Linear,
    /// Keys
    pub k: Linear,
    /// Values
    pub v: Linear,
    /// Back onto the residual.
    pub out: Linear,
    /// How many heads share the width.
    pub heads: usize,
}

impl CausalAttention {
    /// Among tokens of `width`, which `heads` divides.
    pub fn new(init: &mut Init, width: usize, heads: usize) -> Self {
        let mut project = || Linear::new(init, width, width);
        Self {
            q: project(),
            k: project(),
            v: project(),
            out: project(),
            heads,
        }
    }

    /// `x [b, n, width]` → the same shape
    pub fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        let q = split(self.q.forward(x.clone()), self.heads);
        let k = split(self.k.forward(x.clone()), self.heads);
        let v = split(self.v.forward(x), self.heads);
        self.out.forward(join(kernels::causal_attention(q, k, v)))
    }
}

/// Self-attention over the pixels of a feature map, with its norm and its residual.
///
/// The autoencoder's (one head) and the unconditional U-Net's (many). Its 1×1
/// convolutions are linear layers over pixels taken as tokens.
#[derive(Module, Debug)]
pub struct SpatialAttention {
    /// Over the channels, before the projections.
    pub norm: GroupNorm,
    /// Queries
    pub q: Linear,
    /// Keys
    pub k: Linear,
    /// Values
    pub v: Linear,
    /// Back onto the residual.
    pub out: Linear,
    /// How many heads share the channels.
    pub heads: usize,
}

impl SpatialAttention {
    /// Over `norm`'s channels; `out` is given, since the U-Net starts it at zero.
    pub fn new(init: &mut Init, norm: GroupNorm, heads: usize, out: Linear) -> Self {
        let [width] = norm.gamma.lazy_shape().dims();
        let mut project = || Linear::new(init, width, width);
        let (q, k, v) = (project(), project(), project());
        Self {
            norm,
            q,
            k,
            v,
            out,
            heads,
        }
    }

    /// `x [b, c, h, w]` → the same shape
    pub fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let [_, _, height, width] = x.dims();
        let h = tokens_of(self.norm.forward(x.clone())); // [b, h·w, c]
        let q = split(self.q.forward(h.clone()), self.heads);
        let k = split(self.k.forward(h.clone()), self.heads);
        let v = split(self.v.forward(h), self.heads);
        let h = self
            .out
            .forward(join(kernels::attention(q, k, v, self.q.weight_type())));
        x + image_of(h, height, width)
    }
}

/// Pixels as tokens: `[b, c, h, w]` → `[b, h·w, c]`
pub fn tokens_of(x: Tensor<4>) -> Tensor<3> {
    let [b, c, h, w] = x.dims();
    x.reshape([b, c, h * w]).swap_dims(1, 2)
}

/// Tokens as pixels: `[b, height·width, c]` → `[b, c, height, width]`
pub fn image_of(x: Tensor<3>, height: usize, width: usize) -> Tensor<4> {
    let [b, _, c] = x.dims();
    x.swap_dims(1, 2).reshape([b, c, height, width])
}

/// `[b, n, heads·d]` → `[b, heads, n, d]`
fn split(x: Tensor<3>, heads: usize) -> Tensor<4> {
    let [b, n, inner] = x.dims();
    x.reshape([b, n, heads, inner / heads]).swap_dims(1, 2)
}

/// `[b, heads, n, d]` → `[b, n, heads·d]`
fn join(x: Tensor<4>) -> Tensor<3> {
    let [b, heads, n, d] = x.dims();
    x.swap_dims(1, 2).reshape([b, n, heads * d])
}
