//! The spatial transformer: pixels as tokens that look at each other, then at the
//! conditioning. Rombach et al. 2022 (arXiv 2112.10752) §3.3.
//!
//! ```text
//! x ─ norm ─ tokens ─ proj_in ─ depth × [ block ] ─ proj_out ─ image ─(+)─ out
//! └────────────────────────────────────────────────────────────────────┘
//! block   x ─ norm1 ─ attn1 ─(+)─ norm2 ─ attn2(context) ─(+)─ norm3 ─ feed ─(+)─
//! feed    x ─ proj ─┬─ value ─────────(×)─ out
//!                   └─ gate ─ gelu ────┘
//! ```
//!
//! The released code norms with GroupNorm and runs self-attention, cross-attention,
//! feed-forward; the paper's table 16 says otherwise. Its 1×1 convolutions around the
//! blocks are linear layers over tokens here: the same sums, and the form that later
//! models (SD 2, SDXL) store. `proj_out` starts at zero.

use burn::module::Module;
use burn::tensor::Tensor;
use ldm_kernels as kernels;

use super::level::Moment;
use crate::nn::{
    CrossAttention, GroupNorm, Init, KeysValues, LayerNorm, Linear, image_of, tokens_of,
};

/// What the transformer's group norm adds to the variance: not what the blocks' add.
const EPS: f64 = 1e-6;

/// A transformer over the pixels of a feature map.
#[derive(Module, Debug)]
pub(super) struct SpatialTransformer {
    norm: GroupNorm,
    proj_in: Linear,
    blocks: Vec<TransformerBlock>,
    proj_out: Linear,
}

impl SpatialTransformer {
    /// Of (width, heads, depth, width of the conditioning's tokens).
    pub(super) fn new(
        init: &mut Init,
        groups: usize,
        (width, heads, depth, context): (usize, usize, usize, usize),
    ) -> Self {
        Self {
            norm: GroupNorm::new(init, groups, width, EPS),
            proj_in: Linear::new(init, width, width),
            blocks: (0..depth)
                .map(|_| TransformerBlock::new(init, width, heads, context))
                .collect(),
            proj_out: Linear::zeroed(init, width, width),
        }
    }

    /// What the blocks, in their order, make of `context [b, n, context]`.
    pub(super) fn keys_values(&self, context: &Tensor<3>) -> impl Iterator<Item = KeysValues> {
        let blocks = self.blocks.iter();
        blocks.map(|block| block.attn2.keys_values(context.clone()))
    }

    /// `x [b, c, h, w]` → the same shape
    pub(super) fn forward(&self, x: Tensor<4>, moment: &mut Moment<'_>) -> Tensor<4> {
        let [_, _, height, width] = x.dims();
        let mut h = tokens_of(self.norm.forward(x.clone())); // [b, h·w, c]
        h = self.proj_in.forward(h);
        for block in &self.blocks {
            h = block.forward(h, moment.context());
        }
        x + image_of(self.proj_out.forward(h), height, width)
    }
}

/// Self-attention, cross-attention and feed-forward, each with its norm and residual.
#[derive(Module, Debug)]
struct TransformerBlock {
    norm1: LayerNorm,
    attn1: CrossAttention,
    norm2: LayerNorm,
    attn2: CrossAttention,
    norm3: LayerNorm,
    feed: GatedFeedForward,
}

impl TransformerBlock {
    fn new(init: &mut Init, width: usize, heads: usize, context: usize) -> Self {
        let d = width / heads;
        Self {
            norm1: LayerNorm::new(init, width),
            attn1: CrossAttention::new(init, width, width, heads, d),
            norm2: LayerNorm::new(init, width),
            attn2: CrossAttention::new(init, width, context, heads, d),
            norm3: LayerNorm::new(init, width),
            feed: GatedFeedForward::new(init, width),
        }
    }

    /// `x [b, m, c]`, what [`CrossAttention::keys_values`] of `attn2` gave → `[b, m, c]`
    fn forward(&self, x: Tensor<3>, context: KeysValues) -> Tensor<3> {
        let h = self.norm1.forward(x.clone());
        let pixels = self.attn1.keys_values(h.clone());
        let x = self.attn1.forward_onto(h, pixels, x);
        let h = self.norm2.forward(x.clone());
        let x = self.attn2.forward_onto(h, context, x);
        let h = self.norm3.forward(x.clone());
        self.feed.forward_onto(h, x)
    }
}

/// Feed-forward whose hidden layer is gated by GELU (GEGLU, arXiv 2002.05202).
#[derive(Module, Debug)]
struct GatedFeedForward {
    /// `[c, 8c]`: values, then gates.
    proj: Linear,
    out: Linear,
}

impl GatedFeedForward {
    fn new(init: &mut Init, width: usize) -> Self {
        Self {
            proj: Linear::new(init, width, 8 * width),
            out: Linear::new(init, 4 * width, width),
        }
    }

    /// What it makes of `x [b, m, c]`, plus `onto`
    fn forward_onto(&self, x: Tensor<3>, onto: Tensor<3>) -> Tensor<3> {
        let hidden = kernels::geglu(self.proj.forward(x));
        self.out.forward_onto(hidden, onto)
    }
}
