//! The KL autoencoder: a normal distribution for every number of the latent.
//!
//! ```text
//! encode   picture ─ encoder ─ quant → mean, logvar
//! decode   latent ─ post_quant ─ decoder → picture
//! ```

use burn::module::Module;
use burn::tensor::Tensor;

use super::parts::{Decoder, Encoder};
use crate::nn::{Conv, halves};

/// The whole: encoder, decoder, and the 1×1 convolutions around the latent.
#[derive(Module, Debug)]
pub struct KlAutoencoder {
    pub(super) encoder: Encoder,
    pub(super) quant: Conv,
    pub(super) post_quant: Conv,
    pub(super) decoder: Decoder,
}

impl KlAutoencoder {
    /// `x [b, 3, h, w]` in −1..1 → mean and logvar, each `[b, embed_dim, h / f, w / f]`
    ///
    /// Height and width should be multiples of the factor f; what is left over is lost.
    pub fn encode(&self, x: Tensor<4>) -> Posterior {
        Posterior::from_moments(self.moments(x))
    }

    /// `x [b, 3, h, w]` → what [`Posterior::from_moments`] takes, `[b, 2·embed_dim, h / f, w / f]`
    pub(super) fn moments(&self, x: Tensor<4>) -> Tensor<4> {
        self.quant.forward(self.encoder.forward(x))
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
