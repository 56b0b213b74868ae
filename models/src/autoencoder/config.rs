//! The shape of a KL autoencoder, checked before anything is made.

use burn::tensor::Device;
use serde::{Deserialize, Serialize};

use super::{Decoder, Encoder, KlAutoencoder};
use crate::error::{Error, Result};
use crate::nn::{Conv, Init};

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

fn rgb() -> usize {
    3
}

fn trained_at() -> usize {
    256
}

fn groups() -> usize {
    32
}

impl KlAutoencoderConfig {
    /// Whether the numbers describe an autoencoder, and which one does not.
    pub fn check(&self) -> Result<()> {
        let fail = |why: String| Err(Error::config("KL autoencoder", why));
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

    /// A fresh autoencoder whose parameters are drawn from `seed` when first used.
    pub fn init(&self, device: &Device, seed: u64) -> Result<KlAutoencoder> {
        self.check()?;
        let mut init = Init::new("kl-autoencoder", device, seed);
        let (z, embed) = (self.z_channels, self.embed_dim);
        Ok(KlAutoencoder {
            encoder: Encoder::new(&mut init, self),
            quant: Conv::new1(&mut init, 2 * z, 2 * embed),
            post_quant: Conv::new1(&mut init, embed, z),
            decoder: Decoder::new(&mut init, self),
        })
    }

    /// How many pixels of the picture's side one latent pixel covers.
    pub fn factor(&self) -> usize {
        1 << (self.ch_mult.len() - 1)
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
