//! Text encoders: token ids to what a denoiser looks at.
//!
//! Promises
//! - A kind of its own for each figure: the paper's BERT ([`TextTransformer`]), CLIP's text half
//!   ([`ClipText`]), and the pair of Stable Diffusion XL ([`TwoClips`]).
//! - [`TextConfig`] is which of them, with all that decides the numbers but the weights.
//!
//! Not here: text to ids (`tokenizer`), weights of words and long texts (`prompt`).

mod bert;
mod clip;
mod sizes;

use burn::module::Module;
use burn::tensor::Device;
use serde::{Deserialize, Serialize};

pub use bert::{TextTransformer, TextTransformerConfig};
pub use clip::{Activation, ClipConfig, ClipText};
pub use sizes::{Sizes, size_vector};

use crate::error::{Error, Result};

/// The kinds of text encoder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum TextConfig {
    /// The paper's: pre-norm, learned places, no mask.
    Bert(TextTransformerConfig),
    /// CLIP's: Stable Diffusion 1 and 2, the refiner of XL.
    Clip(ClipConfig),
    /// Two of CLIP's over the same text: Stable Diffusion XL.
    TwoClips {
        /// The first part of each token's width.
        first: ClipConfig,
        /// The second part, and the vector.
        second: ClipConfig,
    },
}

impl TextConfig {
    /// Whether the numbers describe a text encoder, and which one does not.
    pub fn check(&self) -> Result<()> {
        match self {
            Self::Bert(config) => config.check(),
            Self::Clip(config) => config.check(),
            Self::TwoClips { first, second } => {
                first.check()?;
                second.check()?;
                let same = |a: &ClipConfig| (a.vocab_size, a.max_length);
                if same(first) == same(second) {
                    return Ok(());
                }
                let why = "the two differ in vocab_size or max_length, but read the same tokens";
                Err(Error::config("text encoder", why))
            }
        }
    }

    /// A fresh text encoder whose parameters are drawn from `seed` when first used.
    pub fn init(&self, device: &Device, seed: u64) -> Result<TextNetwork> {
        self.check()?;
        Ok(match self {
            Self::Bert(config) => TextNetwork::Bert(config.init(device, seed)?),
            Self::Clip(config) => TextNetwork::Clip(config.init(device, seed)?),
            Self::TwoClips { first, second } => TextNetwork::TwoClips(TwoClips {
                first: first.init(device, seed)?,
                second: second.init(device, seed.wrapping_add(1))?,
            }),
        })
    }

    /// How many token ids there are.
    pub fn vocab_size(&self) -> usize {
        match self {
            Self::Bert(config) => config.vocab_size,
            Self::Clip(config) => config.vocab_size,
            Self::TwoClips { first, .. } => first.vocab_size,
        }
    }

    /// How many tokens go through the network together.
    pub fn max_length(&self) -> usize {
        match self {
            Self::Bert(config) => config.max_length,
            Self::Clip(config) => config.max_length,
            Self::TwoClips { first, .. } => first.max_length,
        }
    }

    /// Width of a token that comes out.
    pub fn width(&self) -> usize {
        match self {
            Self::Bert(config) => config.width,
            Self::Clip(config) => config.width,
            Self::TwoClips { first, second } => first.width + second.width,
        }
    }

    /// Width of the vector for the whole text, where there is one.
    pub fn vector(&self) -> Option<usize> {
        match self {
            Self::Bert(_) => None,
            Self::Clip(config) => config.projection,
            Self::TwoClips { second, .. } => second.projection,
        }
    }

    /// The transformers of CLIP in it, in order.
    pub fn clips(&self) -> Vec<&ClipConfig> {
        match self {
            Self::Bert(_) => vec![],
            Self::Clip(config) => vec![config],
            Self::TwoClips { first, second } => vec![first, second],
        }
    }
}

/// A text encoder of any kind.
#[derive(Module, Debug)]
#[allow(
    clippy::large_enum_variant,
    reason = "there is one a model, and it is never moved about"
)]
pub enum TextNetwork {
    /// The paper's.
    Bert(TextTransformer),
    /// CLIP's.
    Clip(ClipText),
    /// Two of CLIP's.
    TwoClips(TwoClips),
}

/// Two text transformers of CLIP that read the same text.
#[derive(Module, Debug)]
pub struct TwoClips {
    /// The first part of each token's width.
    pub first: ClipText,
    /// The second part, and the vector.
    pub second: ClipText,
}

impl TextNetwork {
    /// The transformers of CLIP in it, as [`TextConfig::clips`].
    pub fn clips(&self) -> Vec<&ClipText> {
        match self {
            Self::Bert(_) => vec![],
            Self::Clip(network) => vec![network],
            Self::TwoClips(two) => vec![&two.first, &two.second],
        }
    }
}
