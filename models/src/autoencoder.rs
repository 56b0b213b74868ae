//! The KL autoencoder: pictures to latents and back. Rombach et al. 2022
//! (arXiv 2112.10752) §3.1, appendix G.1; the layers are those of the released code.
//!
//! ```text
//! encode   picture ─ conv_in ─ level ─▽─ level ─▽─ … ─ level ─ mid ─ norm ─ silu ─ conv_out
//!                                                                    quant ─┘ → mean, logvar
//! decode   latent ─ post_quant ─ conv_in ─ mid ─ level ─△─ … ─△─ level ─ norm ─ silu ─ conv_out
//!
//! level    num_res_blocks × [block (─ attention)]; one block more in the decoder
//! mid      block ─ attention ─ block
//! block    x ─ norm ─ silu ─ conv ─ norm ─ silu ─ conv ─(+)─
//!          └────── skip: 1×1 where widths differ ────────┘
//! ▽        3×3, stride 2, padded right and below only     △  nearest ×2, then 3×3
//! ```
//!
//! Promises
//! - The decoder's levels are kept in the order they run, coarse to fine.
//! - Where a level attends follows from `resolution`, not from the size of the input.
//!
//! Not here: the scale of the latent (`weights::manifest::LatentSpec`), vector quantisation.

mod config;
#[cfg(test)]
mod tests;

pub use config::KlAutoencoderConfig;

use burn::module::Module;
use burn::tensor::Tensor;
use ldm_kernels::Padding;

use crate::nn::{Conv, GroupNorm, Init, Linear, SpatialAttention, halves, upsample};

/// What every norm of the autoencoder adds to the variance.
const EPS: f64 = 1e-6;

/// The whole: encoder, decoder, and the 1×1 convolutions around the latent.
#[derive(Module, Debug)]
pub struct KlAutoencoder {
    encoder: Encoder,
    quant: Conv,
    post_quant: Conv,
    decoder: Decoder,
}

impl KlAutoencoder {
    /// `x [b, 3, h, w]` in −1..1 → mean and logvar, each `[b, embed_dim, h / f, w / f]`
    ///
    /// Height and width should be multiples of the factor f; what is left over is lost.
    pub fn encode(&self, x: Tensor<4>) -> Posterior {
        let moments = self.quant.forward(self.encoder.forward(x));
        Posterior::from_moments(moments)
    }

    /// `z [b, embed_dim, h, w]` → `[b, 3, f·h, f·w]`, around −1..1 and not clamped
    pub fn decode(&self, z: Tensor<4>) -> Tensor<4> {
        self.decoder.forward(self.post_quant.forward(z))
    }
}

/// What the encoder says of a picture: for each number of the latent a normal distribution.
#[derive(Debug, Clone)]
pub struct Posterior {
    /// `[b, c, h, w]`
    pub mean: Tensor<4>,
    /// The logarithm of the variance, within −30..20, `[b, c, h, w]`
    pub logvar: Tensor<4>,
}

impl Posterior {
    /// `moments [b, 2c, h, w]`: the means, then the log variances
    pub fn from_moments(moments: Tensor<4>) -> Self {
        let [mean, logvar] = halves(moments);
        Self {
            mean,
            logvar: logvar.clamp(-30.0, 20.0),
        }
    }

    /// The likeliest latent, `[b, c, h, w]`
    pub fn mode(&self) -> Tensor<4> {
        self.mean.clone()
    }

    /// A latent from `noise [b, c, h, w]` drawn from N(0, 1).
    pub fn sample(&self, noise: Tensor<4>) -> Tensor<4> {
        let std = (self.logvar.clone() * 0.5).exp();
        self.mean.clone() + std * noise
    }

    /// The divergence from N(0, 1), summed over a picture's latent, `[b]`
    pub fn kl(&self) -> Tensor<1> {
        let (mean, logvar) = (self.mean.clone(), self.logvar.clone());
        let each = mean.square() + logvar.clone().exp() - logvar - 1.0;
        let each: Tensor<2> = each.flatten(1, 3);
        each.sum_dim(1).squeeze_dim(1) * 0.5
    }
}

/// Picture to moments.
#[derive(Module, Debug)]
struct Encoder {
    conv_in: Conv,
    levels: Vec<Level>,
    mid: Mid,
    norm_out: GroupNorm,
    conv_out: Conv,
}

impl Encoder {
    fn new(init: &mut Init, config: &KlAutoencoderConfig) -> Self {
        let last = config.ch_mult.len() - 1;
        let conv_in = Conv::new3(init, config.in_channels, config.ch);
        let mut from = config.ch;
        let mut levels = Vec::new();
        for level in 0..=last {
            let to = config.width(level);
            let mut made = Level::new(init, config, level, from, config.num_res_blocks);
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
            mid: Mid::new(init, config, from),
            norm_out: GroupNorm::new(init, config.groups, from, EPS),
            conv_out: Conv::new3(init, from, 2 * config.z_channels),
        }
    }

    /// `x [b, 3, h, w]` → `[b, 2·z_channels, h / f, w / f]`
    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
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
struct Decoder {
    conv_in: Conv,
    mid: Mid,
    levels: Vec<Level>,
    norm_out: GroupNorm,
    conv_out: Conv,
}

impl Decoder {
    fn new(init: &mut Init, config: &KlAutoencoderConfig) -> Self {
        let last = config.ch_mult.len() - 1;
        let mut from = config.width(last);
        let conv_in = Conv::new3(init, config.z_channels, from);
        let mid = Mid::new(init, config, from);
        let mut levels = Vec::new();
        for level in (0..=last).rev() {
            let to = config.width(level);
            let mut made = Level::new(init, config, level, from, config.num_res_blocks + 1);
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
            norm_out: GroupNorm::new(init, config.groups, from, EPS),
            conv_out: Conv::new3(init, from, config.in_channels),
        }
    }

    /// `z [b, z_channels, h, w]` → `[b, 3, f·h, f·w]`
    fn forward(&self, z: Tensor<4>) -> Tensor<4> {
        let mut h = self.mid.forward(self.conv_in.forward(z));
        for level in &self.levels {
            h = level.forward(h);
            if let Some(conv) = &level.resample {
                h = conv.forward(upsample(h)); // [b, c, 2h, 2w]
            }
        }
        self.conv_out.forward(self.norm_out.forward_silu(h))
    }
}

/// The blocks of one size, and the convolution that goes with leaving it.
#[derive(Module, Debug)]
struct Level {
    blocks: Vec<ResBlock>,
    attention: Vec<SpatialAttention>,
    resample: Option<Conv>,
}

impl Level {
    fn new(
        init: &mut Init,
        config: &KlAutoencoderConfig,
        level: usize,
        from: usize,
        blocks: usize,
    ) -> Self {
        let (to, groups) = (config.width(level), config.groups);
        let attentions = if config.attends(level) { blocks } else { 0 };
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

/// The coarsest size: block, attention, block.
#[derive(Module, Debug)]
struct Mid {
    block1: ResBlock,
    attention: SpatialAttention,
    block2: ResBlock,
}

impl Mid {
    fn new(init: &mut Init, config: &KlAutoencoderConfig, width: usize) -> Self {
        Self {
            block1: ResBlock::new(init, config.groups, width, width),
            attention: attention(init, config.groups, width),
            block2: ResBlock::new(init, config.groups, width, width),
        }
    }

    /// `x [b, c, h, w]` → the same shape
    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let x = self.attention.forward(self.block1.forward(x));
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
        let h = self.conv2.forward(self.norm2.forward_silu(h));
        match &self.skip {
            Some(skip) => skip.forward(x) + h,
            None => x + h,
        }
    }
}
