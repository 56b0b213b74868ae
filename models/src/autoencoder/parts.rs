//! What both autoencoders are made of: encoder, decoder, and the parts of either.
//!
//! ```text
//! level    num_res_blocks × [block (─ attention)]; one block more in the decoder
//! mid      block (─ attention) ─ block
//! block    x ─ norm ─ silu ─ conv ─ norm ─ silu ─ conv ─(+)─
//!          └────── skip: 1×1 where widths differ ────────┘
//! ▽        3×3, stride 2, padded right and below only     △  nearest ×2, then 3×3
//! ```
//!
//! Promises
//! - The decoder's levels are kept in the order they run, coarse to fine.

use burn::module::Module;
use burn::tensor::Tensor;
use ldm_kernels::Padding;

use super::config::Shape;
use crate::nn::{Conv, GroupNorm, Init, Linear, SpatialAttention};

/// What every norm of an autoencoder adds to the variance.
const EPS: f64 = 1e-6;

/// Picture to what the quantisation or the distribution is made of.
#[derive(Module, Debug)]
pub(super) struct Encoder {
    conv_in: Conv,
    pub(super) levels: Vec<Level>,
    mid: Mid,
    norm_out: GroupNorm,
    conv_out: Conv,
}

impl Encoder {
    pub(super) fn new(init: &mut Init, shape: &Shape<'_>) -> Self {
        let last = shape.ch_mult.len() - 1;
        let conv_in = Conv::new3(init, shape.in_channels, shape.ch);
        let mut from = shape.ch;
        let mut levels = Vec::new();
        for level in 0..=last {
            let to = shape.width(level);
            let mut made = Level::new(init, shape, level, from, shape.num_res_blocks);
            if level < last {
                let padding = Padding {
                    top: 0,
                    left: 0,
                    bottom: 1,
                    right: 1,
                };
                made.resample = Some(Conv::halving(init, to, padding));
            }
            levels.push(made);
            from = to;
        }
        Self {
            conv_in,
            levels,
            mid: Mid::new(init, shape, from),
            norm_out: GroupNorm::new(init, shape.groups, from, EPS),
            conv_out: Conv::new3(init, from, shape.out()),
        }
    }

    /// `x [b, 3, h, w]` → `[b, z_channels or twice, h / f, w / f]`
    pub(super) fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let mut h = self.conv_in.forward(x);
        for level in &self.levels {
            h = level.forward(h);
            if let Some(down) = &level.resample {
                h = down.forward(h); // [b, c, h / 2, w / 2]
            }
        }
        let h = self.mid.forward(h);
        self.conv_out.forward(self.norm_out.forward_silu(h))
    }
}

/// Latent to picture.
#[derive(Module, Debug)]
pub(super) struct Decoder {
    conv_in: Conv,
    mid: Mid,
    pub(super) levels: Vec<Level>,
    norm_out: GroupNorm,
    pub(super) conv_out: Conv,
}

impl Decoder {
    pub(super) fn new(init: &mut Init, shape: &Shape<'_>) -> Self {
        let last = shape.ch_mult.len() - 1;
        let mut from = shape.width(last);
        let conv_in = Conv::new3(init, shape.z_channels, from);
        let mid = Mid::new(init, shape, from);
        let mut levels = Vec::new();
        for level in (0..=last).rev() {
            let to = shape.width(level);
            let mut made = Level::new(init, shape, level, from, shape.num_res_blocks + 1);
            if level > 0 {
                made.resample = Some(Conv::new3(init, to, to));
            }
            levels.push(made);
            from = to;
        }
        Self {
            conv_in,
            mid,
            levels,
            norm_out: GroupNorm::new(init, shape.groups, from, EPS),
            conv_out: Conv::new3(init, from, shape.in_channels),
        }
    }

    /// `z [b, z_channels, h, w]` → `[b, 3, f·h, f·w]`
    pub(super) fn forward(&self, z: Tensor<4>) -> Tensor<4> {
        let mut h = self.mid.forward(self.conv_in.forward(z));
        for level in &self.levels {
            h = level.forward(h);
            if let Some(conv) = &level.resample {
                h = conv.forward_doubled(h); // [b, c, 2h, 2w]
            }
        }
        self.conv_out.forward(self.norm_out.forward_silu(h))
    }
}

/// The blocks of one size, and the convolution that goes with leaving it.
#[derive(Module, Debug)]
pub(super) struct Level {
    blocks: Vec<ResBlock>,
    pub(super) attention: Vec<SpatialAttention>,
    resample: Option<Conv>,
}

impl Level {
    fn new(init: &mut Init, shape: &Shape<'_>, level: usize, from: usize, blocks: usize) -> Self {
        let (to, groups) = (shape.width(level), shape.groups);
        let attentions = if shape.attends(level) { blocks } else { 0 };
        let widths = std::iter::once(from).chain(std::iter::repeat(to));
        Self {
            blocks: widths
                .take(blocks)
                .map(|w| ResBlock::new(init, groups, w, to))
                .collect(),
            attention: (0..attentions)
                .map(|_| attention(init, groups, to))
                .collect(),
            resample: None,
        }
    }

    /// `x [b, c_in, h, w]` → `[b, c, h, w]`, before resampling
    fn forward(&self, mut x: Tensor<4>) -> Tensor<4> {
        for (i, block) in self.blocks.iter().enumerate() {
            x = block.forward(x);
            if let Some(attention) = self.attention.get(i) {
                x = attention.forward(x);
            }
        }
        x
    }
}

/// The coarsest size: block, attention where there is any, block.
#[derive(Module, Debug)]
struct Mid {
    block1: ResBlock,
    attention: Option<SpatialAttention>,
    block2: ResBlock,
}

impl Mid {
    fn new(init: &mut Init, shape: &Shape<'_>, width: usize) -> Self {
        Self {
            block1: ResBlock::new(init, shape.groups, width, width),
            attention: shape
                .attention
                .then(|| attention(init, shape.groups, width)),
            block2: ResBlock::new(init, shape.groups, width, width),
        }
    }

    /// `x [b, c, h, w]` → the same shape
    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let mut x = self.block1.forward(x);
        if let Some(attention) = &self.attention {
            x = attention.forward(x);
        }
        self.block2.forward(x)
    }
}

/// Attention over pixels with one head as wide as the channels.
fn attention(init: &mut Init, groups: usize, width: usize) -> SpatialAttention {
    let norm = GroupNorm::new(init, groups, width, EPS);
    let out = Linear::new(init, width, width);
    SpatialAttention::new(init, norm, 1, out)
}

/// Two convolutions around which the input runs past.
#[derive(Module, Debug)]
struct ResBlock {
    norm1: GroupNorm,
    conv1: Conv,
    norm2: GroupNorm,
    conv2: Conv,
    skip: Option<Conv>,
}

impl ResBlock {
    fn new(init: &mut Init, groups: usize, from: usize, to: usize) -> Self {
        Self {
            norm1: GroupNorm::new(init, groups, from, EPS),
            conv1: Conv::new3(init, from, to),
            norm2: GroupNorm::new(init, groups, to, EPS),
            conv2: Conv::new3(init, to, to),
            skip: (from != to).then(|| Conv::new1(init, from, to)),
        }
    }

    /// `x [b, c_in, h, w]` → `[b, c_out, h, w]`
    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let h = self.conv1.forward(self.norm1.forward_silu(x.clone()));
        let x = match &self.skip {
            Some(skip) => skip.forward(x),
            None => x,
        };
        self.conv2.forward_onto(self.norm2.forward_silu(h), x)
    }
}
