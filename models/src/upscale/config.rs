//! The shape of an upscaler, checked before anything is made.

use burn::tensor::Device;
use serde::{Deserialize, Serialize};

use super::Upscaler;
use super::compact::Compact;
use super::rrdb::Rrdb;
use crate::error::{Error, Result};
use crate::nn::Init;

/// The kinds of upscaler, each with its shape.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum UpscaleConfig {
    /// ESRGAN and its descendants.
    Rrdb(RrdbConfig),
    /// Real-ESRGAN's small network.
    Compact(CompactConfig),
}

/// The shape of a residual-in-residual dense network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RrdbConfig {
    /// Channels of a picture that comes in.
    pub in_channels: usize,
    /// Channels of a picture that goes out.
    pub out_channels: usize,
    /// Channels between the blocks; 64 in the released models.
    pub width: usize,
    /// Channels that each convolution of a dense block adds; 32 in the released models.
    pub growth: usize,
    /// Residual-in-residual blocks; 23 or 6 in the released models.
    pub blocks: usize,
    /// How often the size is doubled behind the blocks.
    pub doublings: usize,
    /// Side of the squares of pixels that are laid into channels before the first convolution:
    /// 1 for none.
    pub unshuffle: usize,
    /// Whether dense blocks have the further residuals of ESRGAN+.
    pub plus: bool,
}

/// The shape of a compact network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CompactConfig {
    /// Channels of a picture, in and out.
    pub channels: usize,
    /// Channels between the convolutions.
    pub width: usize,
    /// Convolutions between the first and the last.
    pub convs: usize,
    /// How much larger the picture gets.
    pub scale: usize,
}

impl UpscaleConfig {
    /// How much larger a picture's sides get.
    pub fn scale(&self) -> usize {
        match self {
            Self::Rrdb(config) => (1 << config.doublings) / config.unshuffle,
            Self::Compact(config) => config.scale,
        }
    }

    /// Channels of the pictures that come in and go out.
    pub fn channels(&self) -> (usize, usize) {
        match self {
            Self::Rrdb(config) => (config.in_channels, config.out_channels),
            Self::Compact(config) => (config.channels, config.channels),
        }
    }

    /// Whether the numbers describe a network, and which one does not.
    ///
    /// # Errors
    /// The first number out of range.
    pub fn check(&self) -> Result<()> {
        let sizes = match self {
            Self::Rrdb(config) => vec![
                ("in_channels", config.in_channels, 64),
                ("out_channels", config.out_channels, 64),
                ("width", config.width, 1 << 12),
                ("growth", config.growth, 1 << 12),
                ("blocks", config.blocks, 1 << 10),
                ("doublings + 1", config.doublings + 1, 5),
                ("unshuffle", config.unshuffle, 4),
                ("the scale", self.scale(), 16),
            ],
            Self::Compact(config) => vec![
                ("channels", config.channels, 64),
                ("width", config.width, 1 << 12),
                ("convs", config.convs, 1 << 10),
                ("scale", config.scale, 16),
            ],
        };
        match sizes.into_iter().find(|(_, n, most)| *n == 0 || n > most) {
            Some((field, n, most)) => Err(Error::config(
                "upscaler",
                format!("{field} is {n}, wanted 1 to {most}"),
            )),
            None => Ok(()),
        }
    }

    /// A fresh network whose parameters are drawn from `seed` when first used.
    ///
    /// # Errors
    /// As [`UpscaleConfig::check`].
    pub fn init(&self, device: &Device, seed: u64) -> Result<Upscaler> {
        self.check()?;
        let mut init = Init::new("upscaler", device, seed);
        Ok(match self {
            Self::Rrdb(config) => Upscaler::Rrdb(Rrdb::new(&mut init, config)),
            Self::Compact(config) => Upscaler::Compact(Compact::new(&mut init, config)),
        })
    }
}
