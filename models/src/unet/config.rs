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

/// What a U-Net is told of a picture besides its tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum LabelConfig {
    /// One of so many classes.
    Classes(usize),
    /// A vector of so many numbers: SDXL's pooled text and sizes.
    Vector(usize),
}

/// The shape of a U-Net, in the words of the released configurations.
///
/// Whether a checkpoint keeps the projections around a transformer as convolutions or as
/// linear layers is not part of it: they compute the same, and loading takes either.
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
    /// Blocks of each transformer: one number for all, or one for each level, 0 where it
    /// does not attend.
    #[serde(default = "shallow")]
    pub transformer_depth: Vec<usize>,
    /// Blocks of the middle's transformer; as many as the coarsest level's when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub middle_depth: Option<usize>,
    /// What else of a picture is told, with the timestep.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<LabelConfig>,
    /// Whether the timestep scales and shifts what a block's second norm gives, in place of
    /// being added before it (`use_scale_shift_norm`).
    #[serde(default, skip_serializing_if = "is_false")]
    pub scale_shift: bool,
    /// Whether levels are left through a residual block that resamples inside, in place of a
    /// convolution.
    #[serde(default, skip_serializing_if = "is_false")]
    pub resblock_updown: bool,
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

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde hands out a reference"
)]
fn is_false(flag: &bool) -> bool {
    !flag
}

impl UNetConfig {
    /// Whether the numbers describe a U-Net, and which one does not.
    pub fn check(&self) -> Result<()> {
        self.check_sizes()?;
        self.check_depths()?;
        let levels = self.channel_mult.len();
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

    fn check_depths(&self) -> Result<()> {
        let (levels, depths) = (self.channel_mult.len(), &self.transformer_depth);
        if depths.len() != 1 && depths.len() != levels {
            return fail(format!(
                "transformer_depth has {} numbers, wanted 1 or one for each of the \
                 {levels} levels of channel_mult",
                depths.len()
            ));
        }
        let least = (0..levels)
            .filter(|level| self.attends(*level))
            .map(|level| ("transformer_depth", self.depth(level)))
            .chain([("middle_depth", self.depth_of_middle())]);
        for (field, depth) in least {
            if depth == 0 || depth > 1 << 10 {
                return fail(format!(
                    "{field} is {depth} where there is attention, wanted 1 to {}",
                    1 << 10
                ));
            }
        }
        Ok(())
    }

    fn check_sizes(&self) -> Result<()> {
        let label = match self.label {
            Some(LabelConfig::Classes(n) | LabelConfig::Vector(n)) => n,
            None => 1,
        };
        let sizes = [
            ("in_channels", self.in_channels, 1 << 20),
            ("out_channels", self.out_channels, 1 << 20),
            ("model_channels", self.model_channels, 1 << 20),
            ("num_res_blocks", self.num_res_blocks, 1 << 10),
            ("context_dim", self.context_dim.unwrap_or(1), 1 << 20),
            ("label", label, 1 << 20),
            ("groups", self.groups, 1 << 20),
            ("channel_mult's length", self.channel_mult.len(), 16),
        ];
        let mults = self
            .channel_mult
            .iter()
            .map(|m| ("channel_mult", *m, 1 << 10));
        for (field, value, most) in sizes.into_iter().chain(mults) {
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

    /// Transformer blocks of the middle's attention.
    pub(crate) fn depth_of_middle(&self) -> usize {
        let last = self.channel_mult.len() - 1;
        self.middle_depth.unwrap_or_else(|| self.depth(last))
    }

    /// Width of the vector that every block is told.
    pub(crate) fn time_width(&self) -> usize {
        4 * self.model_channels
    }
}

fn fail(why: String) -> Result<()> {
    Err(Error::config("U-Net", why))
}
