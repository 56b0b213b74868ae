//! The shapes of autoencoders, checked before anything is made.

use burn::tensor::Device;
use serde::{Deserialize, Serialize};

use super::parts::{Decoder, Encoder};
use super::{Autoencoder, KlAutoencoder, VqAutoencoder};
use crate::error::{Error, Result};
use crate::nn::{Conv, Embedding, Init};

/// The shape of a KL autoencoder, in the words of the released configurations.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KlAutoencoderConfig {
    /// Channels of the picture.
    #[serde(default = "rgb")]
    pub in_channels: usize,
    /// Width of the finest level.
    pub ch: usize,
    /// Width of each level, fine to coarse, as a multiple of `ch`; each but the first
    /// halves the size.
    pub ch_mult: Vec<usize>,
    /// Blocks a level of the encoder; the decoder has one more.
    pub num_res_blocks: usize,
    /// Sizes at which a level attends, for a picture of `resolution`.
    #[serde(default)]
    pub attn_resolutions: Vec<usize>,
    /// The picture's size in training; only decides which levels attend.
    #[serde(default = "trained_at")]
    pub resolution: usize,
    /// Channels inside, between encoder and `quant`.
    pub z_channels: usize,
    /// Channels of the latent.
    pub embed_dim: usize,
    /// Groups of every norm.
    #[serde(default = "groups")]
    pub groups: usize,
}

/// The shape of a VQ autoencoder, in the words of the released configurations.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VqAutoencoderConfig {
    /// Channels of the picture.
    #[serde(default = "rgb")]
    pub in_channels: usize,
    /// Width of the finest level.
    pub ch: usize,
    /// Width of each level, fine to coarse, as a multiple of `ch`; each but the first
    /// halves the size.
    pub ch_mult: Vec<usize>,
    /// Blocks a level of the encoder; the decoder has one more.
    pub num_res_blocks: usize,
    /// Sizes at which a level attends, for a picture of `resolution`.
    #[serde(default)]
    pub attn_resolutions: Vec<usize>,
    /// The picture's size in training; only decides which levels attend.
    #[serde(default = "trained_at")]
    pub resolution: usize,
    /// Whether the coarsest size attends (`attn_type` other than `none`).
    #[serde(default = "attending")]
    pub attention: bool,
    /// Channels inside, between encoder and `quant`.
    pub z_channels: usize,
    /// Channels of the latent, and of a code.
    pub embed_dim: usize,
    /// Vectors in the codebook (`n_embed`).
    pub codes: usize,
    /// Groups of every norm.
    #[serde(default = "groups")]
    pub groups: usize,
}

/// The shape of an autoencoder of either kind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum VaeConfig {
    /// With a normal distribution for each number of the latent.
    Kl(KlAutoencoderConfig),
    /// With a codebook.
    Vq(VqAutoencoderConfig),
}

fn rgb() -> usize {
    3
}

fn trained_at() -> usize {
    256
}

fn attending() -> bool {
    true
}

fn groups() -> usize {
    32
}

impl KlAutoencoderConfig {
    /// Whether the numbers describe an autoencoder, and which one does not.
    pub fn check(&self) -> Result<()> {
        self.shape().check()
    }

    /// A fresh autoencoder whose parameters are drawn from `seed` when first used.
    pub fn init(&self, device: &Device, seed: u64) -> Result<KlAutoencoder> {
        self.check()?;
        let (shape, mut init) = (self.shape(), Init::new("kl-autoencoder", device, seed));
        let (z, embed) = (self.z_channels, self.embed_dim);
        Ok(KlAutoencoder {
            encoder: Encoder::new(&mut init, &shape),
            quant: Conv::new1(&mut init, 2 * z, 2 * embed),
            post_quant: Conv::new1(&mut init, embed, z),
            decoder: Decoder::new(&mut init, &shape),
        })
    }

    /// How many pixels of the picture's side one latent pixel covers.
    pub fn factor(&self) -> usize {
        self.shape().factor()
    }

    pub(crate) fn shape(&self) -> Shape<'_> {
        Shape {
            network: "KL autoencoder",
            in_channels: self.in_channels,
            ch: self.ch,
            ch_mult: &self.ch_mult,
            num_res_blocks: self.num_res_blocks,
            attn_resolutions: &self.attn_resolutions,
            resolution: self.resolution,
            attention: true,
            moments: true,
            z_channels: self.z_channels,
            embed_dim: self.embed_dim,
            groups: self.groups,
        }
    }
}

impl VqAutoencoderConfig {
    /// Whether the numbers describe an autoencoder, and which one does not.
    pub fn check(&self) -> Result<()> {
        self.shape().check()?;
        if self.codes == 0 || self.codes > 1 << 24 {
            let why = format!("codes is {}, wanted 1 to {}", self.codes, 1 << 24);
            return Err(Error::config("VQ autoencoder", why));
        }
        Ok(())
    }

    /// A fresh autoencoder whose parameters are drawn from `seed` when first used.
    pub fn init(&self, device: &Device, seed: u64) -> Result<VqAutoencoder> {
        self.check()?;
        let (shape, mut init) = (self.shape(), Init::new("vq-autoencoder", device, seed));
        let (z, embed, codes) = (self.z_channels, self.embed_dim, self.codes);
        Ok(VqAutoencoder {
            encoder: Encoder::new(&mut init, &shape),
            quant: Conv::new1(&mut init, z, embed),
            codebook: Embedding {
                table: init.uniform([codes, embed], 1.0 / codes as f64),
            },
            post_quant: Conv::new1(&mut init, embed, z),
            decoder: Decoder::new(&mut init, &shape),
        })
    }

    /// How many pixels of the picture's side one latent pixel covers.
    pub fn factor(&self) -> usize {
        self.shape().factor()
    }

    pub(crate) fn shape(&self) -> Shape<'_> {
        Shape {
            network: "VQ autoencoder",
            in_channels: self.in_channels,
            ch: self.ch,
            ch_mult: &self.ch_mult,
            num_res_blocks: self.num_res_blocks,
            attn_resolutions: &self.attn_resolutions,
            resolution: self.resolution,
            attention: self.attention,
            moments: false,
            z_channels: self.z_channels,
            embed_dim: self.embed_dim,
            groups: self.groups,
        }
    }
}

impl VaeConfig {
    /// Whether the numbers describe an autoencoder, and which one does not.
    pub fn check(&self) -> Result<()> {
        match self {
            Self::Kl(config) => config.check(),
            Self::Vq(config) => config.check(),
        }
    }

    /// A fresh autoencoder whose parameters are drawn from `seed` when first used.
    pub fn init(&self, device: &Device, seed: u64) -> Result<Autoencoder> {
        Ok(match self {
            Self::Kl(config) => Autoencoder::Kl(config.init(device, seed)?),
            Self::Vq(config) => Autoencoder::Vq(config.init(device, seed)?),
        })
    }

    /// How many pixels of the picture's side one latent pixel covers.
    pub fn factor(&self) -> usize {
        self.shape().factor()
    }

    /// Channels of the picture.
    pub fn in_channels(&self) -> usize {
        self.shape().in_channels
    }

    /// Channels of the latent.
    pub fn embed_dim(&self) -> usize {
        self.shape().embed_dim
    }

    pub(crate) fn shape(&self) -> Shape<'_> {
        match self {
            Self::Kl(config) => config.shape(),
            Self::Vq(config) => config.shape(),
        }
    }
}

/// What encoder and decoder are made from, whatever stands between them.
pub(crate) struct Shape<'a> {
    /// The network, for messages.
    network: &'static str,
    pub(super) in_channels: usize,
    pub(super) ch: usize,
    pub(crate) ch_mult: &'a [usize],
    pub(crate) num_res_blocks: usize,
    attn_resolutions: &'a [usize],
    resolution: usize,
    /// Whether the coarsest size attends.
    pub(super) attention: bool,
    /// Whether the encoder gives a mean and a logarithm of the variance for each number.
    moments: bool,
    pub(super) z_channels: usize,
    embed_dim: usize,
    pub(super) groups: usize,
}

impl Shape<'_> {
    fn check(&self) -> Result<()> {
        let fail = |why: String| Err(Error::config(self.network, why));
        let zero = [
            ("in_channels", self.in_channels),
            ("ch", self.ch),
            ("num_res_blocks", self.num_res_blocks),
            ("z_channels", self.z_channels),
            ("embed_dim", self.embed_dim),
            ("groups", self.groups),
        ];
        for (field, value) in zero {
            if value == 0 || value > 1 << 20 {
                return fail(format!("{field} is {value}, wanted 1 to {}", 1 << 20));
            }
        }
        if self.ch_mult.is_empty() || self.ch_mult.len() > 16 {
            let levels = self.ch_mult.len();
            return fail(format!("ch_mult has {levels} levels, wanted 1 to 16"));
        }
        if let Some(m) = self.ch_mult.iter().find(|m| **m == 0 || **m > 1 << 10) {
            return fail(format!("ch_mult holds {m}, wanted 1 to {}", 1 << 10));
        }
        if !self.ch.is_multiple_of(self.groups) {
            let (ch, groups) = (self.ch, self.groups);
            return fail(format!("ch is {ch}, wanted a multiple of groups, {groups}"));
        }
        Ok(())
    }

    fn factor(&self) -> usize {
        1 << (self.ch_mult.len() - 1)
    }

    /// Channels that the encoder gives.
    pub(super) fn out(&self) -> usize {
        let each = if self.moments { 2 } else { 1 };
        each * self.z_channels
    }

    /// Channels of `level`, counted from the finest.
    pub(super) fn width(&self, level: usize) -> usize {
        self.ch * self.ch_mult[level]
    }

    /// Whether `level` has attention after its blocks.
    pub(super) fn attends(&self, level: usize) -> bool {
        self.attn_resolutions.contains(&(self.resolution >> level))
    }
}
