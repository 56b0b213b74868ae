//! What travels on links, and what is known of it before it exists.
//!
//! Each file holds a value and its facts. Pictures, masks, latents and conditionings are data,
//! kept on the host; models are handles, whose weights are in the pool of [`crate::weights`].

mod conditioner;
mod conditioning;
mod control;
mod dataset;
mod image;
mod latent;
mod mask;
mod model;
mod report;
mod text_encoder;
mod upscale;

pub use conditioner::{ClassEmbedder, ClassEmbedderAbout, SpatialRescaler, SpatialRescalerAbout};
pub use conditioning::{Area, Conditioning, ConditioningFacts, Entry, EntryFacts, Hint, HintFacts};
pub use control::{ControlAbout, ControlNet};
pub use dataset::{Dataset, DatasetFacts};
pub(crate) use image::MOST_NUMBERS;
pub use image::{Image, PictureFacts};
pub use latent::{Latent, LatentFacts, LatentSpace};
pub use mask::Mask;
pub(crate) use model::adapter;
pub(crate) use model::fitting;
pub use model::{About, Model, Names, Unet, UnetAbout, Vae, VaeAbout};
pub use report::Report;
pub use text_encoder::{TextEncoder, TextEncoderAbout, Vocabulary};
pub use upscale::{UpscaleAbout, UpscaleModel};
