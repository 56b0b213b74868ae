//! Encoding and decoding in tiles: less memory, and not quite the same picture.
//!
//! ```text
//! decode   latent ─ tiles, overlapping ─ decode each ─ blended ─ picture
//! encode   picture ─ tiles, overlapping ─ moments of each ─ blended ─ drawn once ─ latent
//! ```
//!
//! ComfyUI's `VAEDecodeTiled` and `VAEEncodeTiled` cut and blend so, too; to decode they go over
//! the picture three times, by tiles of three shapes, and take the mean, and they blend encoded
//! latents, which draws noise anew for every tile.
//!
//! Promises
//! - Where one tile holds all, the result is that of the whole.
//! - Noise is drawn on the whole latent: it is the noise of encoding at once.
//!
//! A tile sees nothing beyond its edges. Convolutions feel that for some places inwards, which
//! the blending hides; norms take mean and variance of the tile, not of the picture, and
//! attention looks over the tile alone: colours may drift slowly from tile to tile.

use burn::tensor::Tensor;

use super::Autoencoder;
use crate::tiles::{Sizes, Tiles, tiled};

impl Autoencoder {
    /// As [`Autoencoder::decode`], in tiles of the latent; `step` hears how many of how many are
    /// done, and stops by an error.
    ///
    /// # Errors
    /// What `step` says.
    pub fn decode_tiled<E>(
        &self,
        z: &Tensor<4>,
        tiles: Tiles,
        step: impl FnMut(usize, usize) -> Result<(), E>,
    ) -> Result<Tensor<4>, E> {
        let decoder = match self {
            Self::Kl(kl) => &kl.decoder,
            Self::Vq(vq) => &vq.decoder,
        };
        let [channels, ..] = decoder.conv_out.weight.lazy_shape().dims::<4>();
        let sizes = Sizes {
            read: 1,
            give: self.factor(),
            channels,
        };
        tiled(z, tiles, sizes, |tile| self.decode(tile), step)
    }

    /// As [`Autoencoder::encode`], in tiles counted in places of the latent; `step` hears how
    /// many of how many are done, and stops by an error.
    ///
    /// # Errors
    /// What `step` says.
    pub fn encode_tiled<E>(
        &self,
        x: &Tensor<4>,
        noise: Option<Tensor<4>>,
        tiles: Tiles,
        step: impl FnMut(usize, usize) -> Result<(), E>,
    ) -> Result<Tensor<4>, E> {
        let quant = match self {
            Self::Kl(kl) => &kl.quant,
            Self::Vq(vq) => &vq.quant,
        };
        let [channels, ..] = quant.weight.lazy_shape().dims::<4>();
        let sizes = Sizes {
            read: self.factor(),
            give: 1,
            channels,
        };
        let moments = tiled(x, tiles, sizes, |tile| self.moments(tile), step)?;
        Ok(self.draw(moments, noise))
    }

    /// How many pixels of the picture's side one place of the latent covers.
    fn factor(&self) -> usize {
        let levels = match self {
            Self::Kl(kl) => kl.decoder.levels.len(),
            Self::Vq(vq) => vq.decoder.levels.len(),
        };
        1 << (levels - 1)
    }
}
