//! The shape of a U-Net, checked before anything is made.

use burn::tensor::Device;
use serde::{Deserialize, Serialize};

use super::UNet;
use crate::error::{Error, Result};
use crate::nn::Init;

/// How attention shares a level's channels among heads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Heads {
    /// So many heads at every width.
    Count(usize),
    /// Heads so wide, as many as fit.
    Width(usize),
}

impl Heads {
    /// How many heads `channels` channels make.
    pub fn count(self, channels: usize) -> usize {
        match self {
            Self::Count(count) => count,
            Self::Width(width) => channels / width,
        }
    }
}

/// The shape of a U-Net, in the words of the released configurations.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UNetConfig {
    /// Channels that come in: the latent's, and those that conditioning adds beside it.
    pub in_channels: usize,
    /// Channels that go out: the latent's.
    pub out_channels: usize,
    /// Width of the finest level.
    pub model_channels: usize,
    /// Width of each level, fine to coarse, as a multiple of `model_channels`; each but
    /// the first halves the size.
    pub channel_mult: Vec<usize>,
    /// Blocks a level on the way down; one more on the way up.
    pub num_res_blocks: usize,
    /// How far the latent is scaled down where a level attends: 1, 2, 4, …
    /// The middle always attends.
    pub attention_resolutions: Vec<usize>,
    /// Heads of every attention.
    pub heads: Heads,
    /// Width of the conditioning's tokens. With it, attention is a transformer that also
    /// attends to those tokens; without it, plain attention over pixels.
    #[serde(default)]
    pub context_dim: Option<usize>,
    /// Blocks of each transformer: one number for all, or one for each level.
    #[serde(default = "shallow")]
    pub transformer_depth: Vec<usize>,
    /// Groups of every group norm.
    #[serde(default = "groups")]
    pub groups: usize,
}

fn shallow() -> Vec<usize> {
    vec![1]
}

fn groups() -> usize {
    32
}

impl UNetConfig {
    /// Whether the numbers describe a U-Net, and which one does not.
    pub fn check(&self) -> Result<()> {
        self.check_sizes()?;
        let levels = self.channel_mult.len();
        let depths = self.transformer_depth.len();
        if depths != 1 && depths != levels {
            return fail(format!(
                "transformer_depth has {depths} numbers, wanted 1 or one for each of the \
                 {levels} levels of channel_mult"
            ));
        }
        if !self.model_channels.is_multiple_of(self.groups) {
            let (channels, groups) = (self.model_channels, self.groups);
            return fail(format!(
                "model_channels is {channels}, wanted a multiple of groups, {groups}"
            ));
        }
        let attending = (0..levels).filter(|level| self.attends(*level) || *level == levels - 1);
        for width in attending.map(|level| self.width(level)) {
            let (Heads::Count(n) | Heads::Width(n)) = self.heads;
            if n == 0 || !width.is_multiple_of(n) {
                return fail(format!(
                    "heads is {:?}, which does not divide a level of {width} channels; \
                     use a divisor of it",
                    self.heads
                ));
            }
        }
        Ok(())
    }

    fn check_sizes(&self) -> Result<()> {
        let sizes = [
            ("in_channels", self.in_channels, 1 << 20),
            ("out_channels", self.out_channels, 1 << 20),
            ("model_channels", self.model_channels, 1 << 20),
            ("num_res_blocks", self.num_res_blocks, 1 << 10),
            ("context_dim", self.context_dim.unwrap_or(1), 1 << 20),
            ("groups", self.groups, 1 << 20),
            ("channel_mult's length", self.channel_mult.len(), 16),
        ];
        let mults = self
            .channel_mult
            .iter()
            .map(|m| ("channel_mult", *m, 1 << 10));
        let depths = self
            .transformer_depth
            .iter()
            .map(|d| ("transformer_depth", *d, 1 << 10));
        for (field, value, most) in sizes.into_iter().chain(mults).chain(depths) {
            if value == 0 || value > most {
                return fail(format!("{field} is {value}, wanted 1 to {most}"));
            }
        }
        Ok(())
    }

    /// A fresh U-Net whose parameters are drawn from `seed` when first used.
    pub fn init(&self, device: &Device, seed: u64) -> Result<UNet> {
        self.check()?;
        Ok(UNet::new(&mut Init::new("unet", device, seed), self))
    }

    /// What the latent's height and width must be multiples of.
    pub fn size_multiple(&self) -> usize {
        1 << (self.channel_mult.len() - 1)
    }

    /// Channels of `level`, counted from the finest.
    pub(crate) fn width(&self, level: usize) -> usize {
        self.model_channels * self.channel_mult[level]
    }

    /// Whether the blocks of `level` are followed by attention.
    pub(crate) fn attends(&self, level: usize) -> bool {
        self.attention_resolutions.contains(&(1 << level))
    }

    /// Transformer blocks of an attention at `level`.
    pub(crate) fn depth(&self, level: usize) -> usize {
        match self.transformer_depth[..] {
            [depth] => depth,
            _ => self.transformer_depth[level],
        }
    }
}

fn fail(why: String) -> Result<()> {
    Err(Error::config("U-Net", why))
}
