//! The autoencoders: pictures to latents and back. Rombach et al. 2022
//! (arXiv 2112.10752) §3.1, appendix G.1; the layers are those of the released code.
//!
//! ```text
//! encoder  picture ─ conv_in ─ level ─▽─ level ─▽─ … ─ level ─ mid ─ norm ─ silu ─ conv_out
//! decoder  latent ─ conv_in ─ mid ─ level ─△─ … ─△─ level ─ norm ─ silu ─ conv_out
//! ```
//!
//! Between the two stands either a normal distribution ([`KlAutoencoder`]) or a codebook
//! ([`VqAutoencoder`]), with a 1×1 convolution on both sides.
//!
//! Promises
//! - Pictures and latents of an [`Autoencoder`] are f32, whatever its weights are.
//! - Where a level attends follows from `resolution`, not from the size of the input.
//! - Seams of tiles are blended; a tile knows nothing beyond its edges, and its norms are its own.
//!
//! Not here: the scale of the latent (`weights::manifest::LatentSpec`); the losses of
//! training, with which a codebook would need its straight-through gradient.

mod codebook;
mod config;
mod kl;
mod memory;
mod parts;
mod released;
#[cfg(test)]
mod tests;
mod tiled;
mod vq;

pub use codebook::{Remap, Unknown};
pub use config::{KlAutoencoderConfig, VaeConfig, VqAutoencoderConfig};
pub use kl::{KlAutoencoder, Posterior};
pub use vq::{Quantised, VqAutoencoder};

pub(crate) use config::Shape;

use burn::module::Module;
use burn::tensor::{DType, Tensor};

/// An autoencoder of either kind, as pipelines use it.
#[derive(Module, Debug)]
pub enum Autoencoder {
    /// With a normal distribution for each number of the latent.
    Kl(KlAutoencoder),
    /// With a codebook.
    Vq(VqAutoencoder),
}

impl Autoencoder {
    /// `x [b, 3, h, w]` in −1..1 → the latent that a U-Net learns, `[b, embed_dim, h / f, w / f]`
    ///
    /// Drawn from what the encoder finds likely with `noise` of the latent's shape, or the
    /// likeliest; a codebook leaves nothing to draw, and is not looked at yet.
    pub fn encode(&self, x: Tensor<4>, noise: Option<Tensor<4>>) -> Tensor<4> {
        self.draw(self.moments(x), noise)
    }

    /// What [`Autoencoder::draw`] takes: a number of the latent's size is all it holds.
    fn moments(&self, x: Tensor<4>) -> Tensor<4> {
        let x = x.cast(self.dtype());
        let moments = match self {
            Self::Kl(kl) => kl.moments(x),
            Self::Vq(vq) => vq.encode(x),
        };
        moments.cast(DType::F32)
    }

    fn draw(&self, moments: Tensor<4>, noise: Option<Tensor<4>>) -> Tensor<4> {
        match (self, noise) {
            (Self::Kl(_), Some(noise)) => Posterior::from_moments(moments).sample(noise),
            (Self::Kl(_), None) => Posterior::from_moments(moments).mode(),
            (Self::Vq(_), _) => moments,
        }
    }

    /// Mean and standard deviation of what [`Autoencoder::encode`] draws.
    pub fn spread(&self, x: Tensor<4>) -> [Tensor<4>; 2] {
        let moments = self.moments(x);
        match self {
            Self::Kl(_) => {
                let Posterior { mean, logvar } = Posterior::from_moments(moments);
                [mean, (logvar * 0.5).exp()]
            }
            Self::Vq(_) => [moments.clone(), moments.zeros_like()],
        }
    }

    /// `z [b, embed_dim, h, w]` → `[b, 3, f·h, f·w]`, around −1..1 and not clamped
    pub fn decode(&self, z: Tensor<4>) -> Tensor<4> {
        let z = z.cast(self.dtype());
        let picture = match self {
            Self::Kl(kl) => kl.decode(z),
            Self::Vq(vq) => vq.decode(z),
        };
        picture.cast(DType::F32)
    }

    /// The type that it computes in.
    fn dtype(&self) -> DType {
        match self {
            Self::Kl(kl) => kl.quant.dtype(),
            Self::Vq(vq) => vq.quant.dtype(),
        }
    }
}
