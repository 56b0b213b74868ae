//! Which released model a U-Net is, and what follows that no tensor shows.
//!
//! The numbers are those of the configurations beside the released weights:
//! `models/ldm/*/config.yaml` of CompVis/latent-diffusion, `configs/**.yaml` of
//! CompVis/stable-diffusion, Stability-AI/stablediffusion and Stability-AI/generative-models.

use std::fmt;

use crate::schedule::ScheduleConfig;
use crate::text::{Activation, TextConfig};
use crate::unet::{LabelConfig, UNetConfig};

/// A released model, or one of its shape.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The paper's, without conditioning: faces, bedrooms.
    Unconditional,
    /// The paper's LSUN churches, whose noise grows less.
    Churches,
    /// The paper's, of a class of ImageNet.
    Classes,
    /// The paper's, of a text.
    Text,
    /// The paper's, of boxes with labels.
    Layout,
    /// The paper's, of a picture with a hole.
    Inpaint,
    /// The paper's, of a small picture.
    SuperResolution,
    /// The paper's, of a map of labels.
    Semantic,
    /// Retrieval-augmented, of pictures' CLIP vectors.
    Retrieval,
    /// Stable Diffusion 1.
    Sd1,
    /// Stable Diffusion 2.
    Sd2,
    /// Stable Diffusion XL.
    Sdxl,
    /// The refiner of Stable Diffusion XL.
    SdxlRefiner,
    /// None of these.
    Other,
}

impl Kind {
    /// The model whose U-Net is of this shape, where nothing stands beside it.
    pub fn of(unet: &UNetConfig) -> Self {
        let (from, to) = (unet.in_channels, unet.out_channels);
        match (unet.context_dim, unet.label) {
            (Some(_), Some(LabelConfig::Vector(2816))) => Self::Sdxl,
            (Some(_), Some(LabelConfig::Vector(2560))) => Self::SdxlRefiner,
            (Some(1024), _) if to == 4 => Self::Sd2,
            (Some(768), _) if to == 4 => Self::Sd1,
            (Some(768), _) if to == 16 => Self::Retrieval,
            (Some(512), _) if unet.transformer_depth == [3] => Self::Layout,
            (Some(512), _) => Self::Classes,
            (Some(640), _) if to == 3 => Self::Text,
            (Some(1280), _) if to == 4 => Self::Text,
            (None, _) if (from, to) == (7, 3) => Self::Inpaint,
            (None, _) if (from, to) == (6, 3) && unet.attention_resolutions.is_empty() => {
                Self::Semantic
            }
            (None, _) if (from, to) == (6, 3) => Self::SuperResolution,
            (None, _) if unet.resblock_updown && from == to => Self::Churches,
            (None, None) if from == to => Self::Unconditional,
            _ => Self::Other,
        }
    }

    /// The model of a whole checkpoint: what stands there to make its conditioning tells more
    /// than widths do.
    pub(super) fn within(unet: &UNetConfig, text: Option<&TextConfig>, classes: bool) -> Self {
        match text {
            Some(TextConfig::TwoClips { .. }) => Self::Sdxl,
            Some(TextConfig::Clip(_)) if unet.label.is_some() => Self::SdxlRefiner,
            Some(TextConfig::Clip(clip)) if clip.activation == Activation::Gelu => Self::Sd2,
            Some(TextConfig::Clip(_)) => Self::Sd1,
            Some(TextConfig::Bert(_)) if unet.transformer_depth == [3] => Self::Layout,
            Some(TextConfig::Bert(_)) => Self::Text,
            None if classes && unet.context_dim.is_some() => Self::Classes,
            None => Self::of(unet),
        }
    }

    /// The noise it was trained on.
    pub(super) fn schedule(self, unet: &UNetConfig) -> ScheduleConfig {
        let (start, end) = match self {
            Self::Text if unet.out_channels == 3 => (0.0015, 0.0195),
            Self::Unconditional | Self::Classes => (0.0015, 0.0195),
            Self::Churches | Self::SuperResolution => (0.0015, 0.0155),
            Self::Layout | Self::Inpaint | Self::Semantic => (0.0015, 0.0205),
            Self::Retrieval => (0.0015, 0.015),
            Self::Text | Self::Sd1 | Self::Sd2 | Self::Sdxl | Self::SdxlRefiner | Self::Other => {
                (0.00085, 0.012)
            }
        };
        ScheduleConfig::scaled_linear(start, end)
    }

    /// What its latents are multiplied by, so that their variance is near 1. The paper's
    /// churches measured theirs, and keep it in the file.
    pub(super) fn scale(self, unet: &UNetConfig) -> f64 {
        match self {
            Self::Sdxl | Self::SdxlRefiner => 0.13025,
            Self::Sd1 | Self::Sd2 => 0.18215,
            Self::Text if unet.out_channels == 4 => 0.18215,
            Self::Retrieval => 0.227_659_29,
            _ => 1.0,
        }
    }

    /// Pixels of a picture's side per number of the latent's, where no autoencoder is there to
    /// tell: the paper's latents of 3 channels are of factor 4, of 16 channels of factor 16.
    pub(super) fn factor(unet: &UNetConfig) -> usize {
        match unet.out_channels {
            3 => 4,
            16 => 16,
            _ => 8,
        }
    }

    /// Whether pictures are drawn with the averages of the weights in training where a file
    /// holds them: the paper's systems were measured so, but for those that text steers.
    pub fn averaged(self) -> bool {
        use Kind::{Other, Sd1, Sd2, Sdxl, SdxlRefiner, Text};
        !matches!(self, Text | Sd1 | Sd2 | Sdxl | SdxlRefiner | Other)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unconditional => "latent diffusion, unconditional",
            Self::Churches => "latent diffusion, LSUN churches",
            Self::Classes => "latent diffusion, class to image",
            Self::Text => "latent diffusion, text to image",
            Self::Layout => "latent diffusion, layout to image",
            Self::Inpaint => "latent diffusion, inpainting",
            Self::SuperResolution => "latent diffusion, super-resolution",
            Self::Semantic => "latent diffusion, semantic synthesis",
            Self::Retrieval => "latent diffusion, retrieval-augmented",
            Self::Sd1 => "Stable Diffusion 1",
            Self::Sd2 => "Stable Diffusion 2",
            Self::Sdxl => "Stable Diffusion XL",
            Self::SdxlRefiner => "Stable Diffusion XL refiner",
            Self::Other => "a diffusion model of no known release",
        })
    }
}
