//! The U-Net that predicts the noise. Rombach et al. 2022 (arXiv 2112.10752) §3.2,
//! after Dhariwal and Nichol 2021 (arXiv 2105.05233); the layers are those of the
//! released code.
//!
//! ```text
//! x ─ conv_in ─┬─ [block ┬ ]× n ─▽┬─ … ─ [block ┬ ]× n ─ block ─ attention ─ block ─┐
//!              │         │        │             │                  middle           │
//!              skips: every ┬ is kept, and taken back last to first                 │
//!              │         │        │             │                                   │
//! out ─ conv_out ─ silu ─ norm ─ [cat block]×(n+1) ─△─ … ─△─ [cat block]×(n+1) ─────┘
//!
//! block   residual block, told the timestep; then attention where the level attends
//! cat     what comes from below first, then the skip
//! ▽       3×3, stride 2, padded on all sides      △  nearest ×2, then 3×3
//! ```
//!
//! Attention is plain attention over pixels, or, where the configuration has a
//! `context_dim`, a transformer that also looks at the conditioning's tokens.
//!
//! Not here: class and pooled embeddings, scale-shift norms, resampling inside blocks.

mod block;
mod config;
#[cfg(test)]
mod tests;
mod time;
mod transformer;

pub use config::{Heads, UNetConfig};

use burn::module::Module;
use burn::tensor::Tensor;
use ldm_kernels::{self as kernels, Padding};

use self::block::{EPS, ResBlock};
use self::time::TimeEmbedding;
use self::transformer::SpatialTransformer;
use crate::nn::{Conv, GroupNorm, Init, Linear, SpatialAttention, upsample};

/// Predicts what the schedule's `prediction` names, from a noisy latent and a timestep.
#[derive(Module, Debug)]
pub struct UNet {
    time: TimeEmbedding,
    conv_in: Conv,
    down: Vec<Level>,
    middle: Middle,
    up: Vec<Level>,
    norm_out: GroupNorm,
    conv_out: Conv,
}

impl UNet {
    pub(crate) fn new(init: &mut Init, config: &UNetConfig) -> Self {
        let widths = Widths {
            config,
            time: 4 * config.model_channels,
        };
        let first = config.model_channels;
        let time = TimeEmbedding::new(init, first);
        let conv_in = Conv::new3(init, config.in_channels, first);
        let mut skips = vec![first];
        let down = widths.down(init, &mut skips);
        let last = config.channel_mult.len() - 1;
        let middle = Middle::new(init, &widths, config.width(last));
        let up = widths.up(init, &mut skips);
        let finest = config.width(0);
        Self {
            time,
            conv_in,
            down,
            middle,
            up,
            norm_out: GroupNorm::new(init, config.groups, finest, EPS),
            conv_out: Conv::zeroed3(init, finest, config.out_channels),
        }
    }

    /// `x [b, c_in, h, w]`, `t [b]` in 0..1000, `context [b, n, context_dim]`
    /// → `[b, c_out, h, w]`
    ///
    /// `x` and `context` are of the weights' type, `t` is f32 always.
    ///
    /// # Panics
    /// When height or width is not a multiple of `UNetConfig::size_multiple`, or when the
    /// configuration has a `context_dim` and `context` is none. Callers know both from
    /// the configuration.
    pub fn forward(&self, x: Tensor<4>, t: Tensor<1>, context: Option<Tensor<3>>) -> Tensor<4> {
        let told = Told {
            time: kernels::silu(self.time.forward(t)),
            context,
        };
        let mut h = self.conv_in.forward(x);
        let mut skips = vec![h.clone()];
        for level in &self.down {
            for block in &level.blocks {
                h = block.forward(h, &told);
                skips.push(h.clone());
            }
            if let Some(halve) = &level.resample {
                h = halve.forward(h); // [b, c, h / 2, w / 2]
                skips.push(h.clone());
            }
        }
        h = self.middle.forward(h, &told);
        for level in &self.up {
            for block in &level.blocks {
                let skip = skips
                    .pop()
                    .expect("one skip was kept for each block on the way up");
                h = block.forward(Tensor::cat(vec![h, skip], 1), &told);
            }
            if let Some(conv) = &level.resample {
                h = conv.forward(upsample(h)); // [b, c, 2h, 2w]
            }
        }
        self.conv_out.forward(self.norm_out.forward_silu(h))
    }
}

/// What every block is told: the timestep `[b, c_time]`, and the tokens to look at.
struct Told {
    time: Tensor<2>,
    context: Option<Tensor<3>>,
}

/// The blocks of one size, and the convolution that goes with leaving it.
#[derive(Module, Debug)]
struct Level {
    blocks: Vec<Block>,
    resample: Option<Conv>,
}

/// A residual block, and attention where its level attends.
#[derive(Module, Debug)]
struct Block {
    res: ResBlock,
    attention: Option<Attention>,
}

impl Block {
    /// `x [b, c_in, h, w]` → `[b, c_out, h, w]`
    fn forward(&self, x: Tensor<4>, told: &Told) -> Tensor<4> {
        let h = self.res.forward(x, told.time.clone());
        match &self.attention {
            Some(attention) => attention.forward(h, told),
            None => h,
        }
    }
}

/// The coarsest size: block, attention, block.
#[derive(Module, Debug)]
struct Middle {
    block1: ResBlock,
    attention: Attention,
    block2: ResBlock,
}

impl Middle {
    fn new(init: &mut Init, widths: &Widths, width: usize) -> Self {
        let last = widths.config.channel_mult.len() - 1;
        Self {
            block1: ResBlock::new(init, widths.config.groups, width, width, widths.time),
            attention: widths.attention(init, last),
            block2: ResBlock::new(init, widths.config.groups, width, width, widths.time),
        }
    }

    /// `x [b, c, h, w]` → the same shape
    fn forward(&self, x: Tensor<4>, told: &Told) -> Tensor<4> {
        let h = self.block1.forward(x, told.time.clone());
        let h = self.attention.forward(h, told);
        self.block2.forward(h, told.time.clone())
    }
}

/// How a level attends.
#[derive(Module, Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "a few dozen stand in a network, and a module cannot be boxed"
)]
enum Attention {
    /// Over its own pixels.
    Pixels(SpatialAttention),
    /// Over its own pixels and over the conditioning's tokens.
    Context(SpatialTransformer),
}

impl Attention {
    /// `x [b, c, h, w]` → the same shape
    fn forward(&self, x: Tensor<4>, told: &Told) -> Tensor<4> {
        match (self, &told.context) {
            (Self::Pixels(attention), _) => attention.forward(x),
            (Self::Context(transformer), Some(context)) => transformer.forward(x, context.clone()),
            (Self::Context(_), None) => panic!("a U-Net with a context_dim needs a context"),
        }
    }
}

/// The widths along the way, from the configuration.
struct Widths<'a> {
    config: &'a UNetConfig,
    time: usize,
}

impl Widths<'_> {
    /// The levels fine to coarse; what each block leaves behind is pushed onto `skips`.
    fn down(&self, init: &mut Init, skips: &mut Vec<usize>) -> Vec<Level> {
        let last = self.config.channel_mult.len() - 1;
        let mut from = self.config.model_channels;
        let mut levels = Vec::new();
        for level in 0..=last {
            let to = self.config.width(level);
            let mut blocks = Vec::new();
            for _ in 0..self.config.num_res_blocks {
                blocks.push(self.block(init, level, from));
                skips.push(to);
                from = to;
            }
            let resample = (level < last).then(|| Conv::halving(init, to, Padding::same(1)));
            skips.extend(resample.is_some().then_some(to));
            levels.push(Level { blocks, resample });
        }
        levels
    }

    /// The levels coarse to fine; each block takes a width from the end of `skips`.
    fn up(&self, init: &mut Init, skips: &mut Vec<usize>) -> Vec<Level> {
        let last = self.config.channel_mult.len() - 1;
        let mut from = self.config.width(last);
        let mut levels = Vec::new();
        for level in (0..=last).rev() {
            let to = self.config.width(level);
            let mut blocks = Vec::new();
            for _ in 0..=self.config.num_res_blocks {
                let skip = skips
                    .pop()
                    .expect("one skip was kept for each block on the way up");
                blocks.push(self.block(init, level, from + skip));
                from = to;
            }
            let resample = (level > 0).then(|| Conv::new3(init, to, to));
            levels.push(Level { blocks, resample });
        }
        levels
    }

    fn block(&self, init: &mut Init, level: usize, from: usize) -> Block {
        let to = self.config.width(level);
        Block {
            res: ResBlock::new(init, self.config.groups, from, to, self.time),
            attention: self
                .config
                .attends(level)
                .then(|| self.attention(init, level)),
        }
    }

    fn attention(&self, init: &mut Init, level: usize) -> Attention {
        let (width, groups) = (self.config.width(level), self.config.groups);
        let heads = self.config.heads.count(width);
        match self.config.context_dim {
            Some(context) => Attention::Context(SpatialTransformer::new(
                init,
                groups,
                width,
                heads,
                self.config.depth(level),
                context,
            )),
            None => {
                let norm = GroupNorm::new(init, groups, width, EPS);
                let out = Linear::zeroed(init, width, width);
                Attention::Pixels(SpatialAttention::new(init, norm, heads, out))
            }
        }
    }
}
