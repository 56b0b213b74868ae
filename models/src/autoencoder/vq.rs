//! The VQ autoencoder: every pixel of the latent is one of the codebook's vectors.
//!
//! ```text
//! encode   picture ─ encoder ─ quant → latent, not quantised
//! decode   latent ─ nearest in the codebook ─ post_quant ─ decoder → picture
//! ```
//!
//! Diffusion runs on what stands before the codebook: the codebook counts as a part of the
//! decoder (§3.1 of the paper; `VQModelInterface` of the released code).
//!
//! Promises
//! - A vector is replaced by the code at the smallest distance, summed in f32 whatever the
//!   device; of equally near codes the first is taken.
//!
//! Not here: the straight-through gradient of training. `quantise` passes none to its input.

use burn::module::Module;
use burn::tensor::{Int, Tensor, TensorData};

use super::codebook;
use super::parts::{Decoder, Encoder};
use crate::nn::{Conv, Embedding};

/// The whole: encoder, decoder, the codebook between them, and its 1×1 convolutions.
#[derive(Module, Debug)]
pub struct VqAutoencoder {
    pub(super) encoder: Encoder,
    pub(super) quant: Conv,
    pub(super) codebook: Embedding,
    pub(super) post_quant: Conv,
    pub(super) decoder: Decoder,
}

/// A latent put in terms of the codebook.
#[derive(Debug, Clone)]
pub struct Quantised {
    /// The codes themselves, `[b, embed_dim, h, w]`
    pub latent: Tensor<4>,
    /// Which they are, `[b, h, w]`
    pub indices: Tensor<3, Int>,
}

impl VqAutoencoder {
    /// `x [b, 3, h, w]` in −1..1 → `[b, embed_dim, h / f, w / f]`, not quantised
    ///
    /// Height and width should be multiples of the factor f; what is left over is lost.
    pub fn encode(&self, x: Tensor<4>) -> Tensor<4> {
        self.quant.forward(self.encoder.forward(x))
    }

    /// `z [b, embed_dim, h, w]`, quantised here → `[b, 3, f·h, f·w]`, around −1..1 and not
    /// clamped
    pub fn decode(&self, z: Tensor<4>) -> Tensor<4> {
        self.decode_unquantised(self.quantise(z).latent)
    }

    /// As [`VqAutoencoder::decode`], for latents that stand in the codebook already, or
    /// that should not be held to it.
    pub fn decode_unquantised(&self, z: Tensor<4>) -> Tensor<4> {
        self.decoder.forward(self.post_quant.forward(z))
    }

    /// `z [b, embed_dim, h, w]` → the nearest code of every pixel
    pub fn quantise(&self, z: Tensor<4>) -> Quantised {
        let [b, c, h, w] = z.dims();
        let (device, dtype) = (z.device(), z.dtype());
        let pixels = floats(z.permute([0, 2, 3, 1]));
        let nearest = codebook::nearest(&pixels, &floats(self.codebook.table.val()), c);
        let indices = Tensor::from_data(TensorData::new(nearest, [b, h, w]), &device);
        let latent = self.look_up(indices.clone()).cast(dtype);
        Quantised { latent, indices }
    }

    /// `indices [b, h, w]`, each below `codes` → `[b, embed_dim, h, w]`
    pub fn look_up(&self, indices: Tensor<3, Int>) -> Tensor<4> {
        let [b, h, w] = indices.dims();
        let codes = self.codebook.forward(indices.reshape([b, h * w])); // [b, h·w, c]
        crate::nn::image_of(codes, h, w)
    }
}

/// Numbers on the host, as f32.
fn floats<const D: usize>(x: Tensor<D>) -> Vec<f32> {
    let data = x.into_data().convert::<f32>();
    data.try_into_vec().expect("they were made f32 just now")
}
