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

pub use config::KlAutoencoderConfig;

use burn::module::Module;
use burn::tensor::Tensor;
use ldm_kernels::Padding;

use crate::nn::{Conv, GroupNorm, Init, Linear, SpatialAttention, upsample};

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

/// `[b, 2c, h, w]` → twice `[b, c, h, w]`
fn halves(x: Tensor<4>) -> [Tensor<4>; 2] {
    let c = x.dims()[1] / 2;
    [x.clone().narrow(1, 0, c), x.narrow(1, c, c)]
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::parameter_count;
    use burn::tensor::{Device, Distribution};

    fn tiny(ch_mult: &[usize], attn_resolutions: &[usize]) -> KlAutoencoderConfig {
        KlAutoencoderConfig {
            in_channels: 3,
            ch: 8,
            ch_mult: ch_mult.to_vec(),
            num_res_blocks: 1,
            attn_resolutions: attn_resolutions.to_vec(),
            resolution: 16,
            z_channels: 4,
            embed_dim: 3,
            groups: 4,
        }
    }

    fn picture(b: usize, h: usize, w: usize) -> Tensor<4> {
        Tensor::random(
            [b, 3, h, w],
            Distribution::Uniform(-1.0, 1.0),
            &Device::flex(),
        )
    }

    /// The released configurations: name, `ch_mult`, attention, channels, millions.
    const PAPER: [(&str, &[usize], &[usize], usize, f64); 4] = [
        ("kl-f4", &[1, 2, 4], &[], 3, 55.31),
        ("kl-f8", &[1, 2, 4, 4], &[], 4, 83.65),
        ("kl-f16", &[1, 1, 2, 2, 4], &[16], 16, 69.61),
        ("kl-f32", &[1, 1, 2, 2, 4, 4], &[16, 8], 64, 103.88),
    ];

    #[test]
    fn the_papers_autoencoders_have_the_papers_sizes() {
        for (name, ch_mult, attn_resolutions, z, millions) in PAPER {
            let config = KlAutoencoderConfig {
                ch: 128,
                num_res_blocks: 2,
                resolution: 256,
                z_channels: z,
                embed_dim: z,
                groups: 32,
                ..tiny(ch_mult, attn_resolutions)
            };
            let network = config.init(&Device::flex(), 0).unwrap();
            let count = parameter_count(&network) as f64 / 1e6;
            assert!(
                (count - millions).abs() < 0.006,
                "{name}: {count} M, wanted {millions} M"
            );
            assert_eq!(format!("kl-f{}", config.factor()), name);
        }
    }

    #[test]
    fn a_latent_is_smaller_by_the_factor_and_comes_back_at_full_size() {
        for (ch_mult, attn) in [
            (&[1][..], &[16][..]),
            (&[1, 2], &[8]),
            (&[1, 1, 2], &[]),
            (&[2, 1, 1, 2], &[16, 2]),
        ] {
            let config = tiny(ch_mult, attn);
            let network = config.init(&Device::flex(), 1).unwrap();
            let f = config.factor();
            let posterior = network.encode(picture(2, 16, 8));
            assert_eq!(posterior.mean.dims(), [2, 3, 16 / f, 8 / f]);
            assert_eq!(posterior.logvar.dims(), [2, 3, 16 / f, 8 / f]);
            assert_eq!(network.decode(posterior.mode()).dims(), [2, 3, 16, 8]);
        }
    }

    #[test]
    fn where_a_level_attends_follows_the_trained_size() {
        let count = |attn: &[usize]| {
            let network = tiny(&[1, 2], attn).init(&Device::flex(), 0).unwrap();
            let of =
                |levels: &[Level]| levels.iter().map(|l| l.attention.len()).collect::<Vec<_>>();
            (of(&network.encoder.levels), of(&network.decoder.levels))
        };
        assert_eq!(count(&[]), (vec![0, 0], vec![0, 0]));
        assert_eq!(count(&[16]), (vec![1, 0], vec![0, 2]));
        assert_eq!(count(&[8]), (vec![0, 1], vec![2, 0]));
        assert_eq!(count(&[4]), (vec![0, 0], vec![0, 0]));
    }

    #[test]
    fn the_posterior_is_clamped_sampled_and_measured() {
        let device = Device::flex();
        // mean 1, 2; logvar 100 (clamped to 20), -100 (clamped to -30)
        let moments = Tensor::from_data([[[[1.0]], [[2.0]], [[100.0]], [[-100.0]]]], &device);
        let posterior = Posterior::from_moments(moments);
        let floats = |x: Tensor<4>| x.into_data().to_vec::<f32>().unwrap();
        assert_eq!(floats(posterior.logvar.clone()), [20.0, -30.0]);
        assert_eq!(floats(posterior.mode()), [1.0, 2.0]);
        let noise = Tensor::from_data([[[[1.0]], [[-1.0]]]], &device);
        let sample = floats(posterior.sample(noise));
        let wanted = [1.0 + 10f32.exp(), 2.0 - (-15f32).exp()];
        assert!((sample[0] - wanted[0]).abs() < 0.02 && (sample[1] - wanted[1]).abs() < 1e-6);
        let kl = posterior.kl().into_data().to_vec::<f32>().unwrap();
        let wanted = 0.5 * ((1.0 + 20f64.exp() - 20.0 - 1.0) + (4.0 + (-30f64).exp() + 30.0 - 1.0));
        assert!(
            (f64::from(kl[0]) / wanted - 1.0).abs() < 1e-6,
            "{kl:?} {wanted}"
        );
    }

    #[test]
    fn the_same_seed_makes_the_same_autoencoder() {
        let x = picture(1, 8, 8);
        let run = |seed| {
            let network = tiny(&[1, 2], &[]).init(&Device::flex(), seed).unwrap();
            let out = network.decode(network.encode(x.clone()).mode());
            out.into_data().to_vec::<f32>().unwrap()
        };
        assert_eq!(run(3), run(3));
        assert_ne!(run(3), run(4));
    }

    #[test]
    fn a_wrong_number_is_refused_by_its_field() {
        let cases: [(KlAutoencoderConfig, &str); 5] = [
            (
                KlAutoencoderConfig {
                    ch: 0,
                    ..tiny(&[1], &[])
                },
                "ch is 0, wanted 1 to 1048576",
            ),
            (tiny(&[], &[]), "ch_mult has 0 levels, wanted 1 to 16"),
            (tiny(&[1, 0], &[]), "ch_mult holds 0, wanted 1 to 1024"),
            (
                KlAutoencoderConfig {
                    groups: 3,
                    ..tiny(&[1], &[])
                },
                "ch is 8, wanted a multiple of groups, 3",
            ),
            (
                KlAutoencoderConfig {
                    embed_dim: usize::MAX,
                    ..tiny(&[1], &[])
                },
                "embed_dim is 18446744073709551615, wanted 1 to 1048576",
            ),
        ];
        for (config, wanted) in cases {
            let said = config.init(&Device::flex(), 0).unwrap_err().to_string();
            assert_eq!(said, format!("KL autoencoder: {wanted}"));
        }
    }
}
