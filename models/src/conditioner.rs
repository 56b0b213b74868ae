//! The small networks that turn a class or a map of classes into a conditioning. Rombach et al.
//! 2022 (arXiv 2112.10752) appendix E.2; the layers are those of the released code.
//!
//! ```text
//! class ─ table → one token
//! map ─ stages × (mean of 2×2) ─ 1×1 without bias → channels beside the latent's
//! ```
//!
//! Not here: texts (`text`); the released code's other ways of making a map smaller, which no
//! released configuration uses.

use burn::module::Module;
use burn::tensor::{Device, Int, Tensor};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::nn::{Embedding, Init, Linear, image_of, mean_of_four, tokens_of};

/// The shape of a class embedder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClassEmbedderConfig {
    /// How many classes there are, that of no class included where training had one.
    pub classes: usize,
    /// Width of a token.
    pub width: usize,
}

/// A class as one token for cross-attention (`ClassEmbedder` of the released code).
#[derive(Module, Debug)]
pub struct ClassEmbedder {
    classes: Embedding,
}

impl ClassEmbedderConfig {
    /// Whether the numbers describe a class embedder, and which one does not.
    pub fn check(&self) -> Result<()> {
        let sizes = [("classes", self.classes), ("width", self.width)];
        check("class embedder", &sizes)
    }

    /// A fresh class embedder whose table is drawn from `seed` when first used.
    pub fn init(&self, device: &Device, seed: u64) -> Result<ClassEmbedder> {
        self.check()?;
        let mut init = Init::new("class-embedder", device, seed);
        // PyTorch draws the table of an embedding from N(0, 1).
        let classes = Embedding::new(&mut init, self.classes, self.width, 1.0);
        Ok(ClassEmbedder { classes })
    }
}

impl ClassEmbedder {
    /// `class [b]`, each below `classes` → `[b, 1, width]`
    pub fn forward(&self, class: Tensor<1, Int>) -> Tensor<3> {
        self.classes.forward(class.unsqueeze_dim(1))
    }
}

/// The shape of a spatial rescaler.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SpatialRescalerConfig {
    /// How often a map is halved.
    pub stages: usize,
    /// Channels of a map: one a class.
    pub in_channels: usize,
    /// Channels beside the latent's.
    pub out_channels: usize,
}

/// A map of classes as channels beside a latent (`SpatialRescaler` of the released code).
///
/// Halving by bilinear interpolation between pixel centres, as that code does, is the mean of
/// four pixels.
#[derive(Module, Debug)]
pub struct SpatialRescaler {
    stages: usize,
    project: Linear,
}

impl SpatialRescalerConfig {
    /// Whether the numbers describe a spatial rescaler, and which one does not.
    pub fn check(&self) -> Result<()> {
        let sizes = [
            ("in_channels", self.in_channels),
            ("out_channels", self.out_channels),
        ];
        check("spatial rescaler", &sizes)?;
        if self.stages > 16 {
            let why = format!("stages is {}, wanted 0 to 16", self.stages);
            return Err(Error::config("spatial rescaler", why));
        }
        Ok(())
    }

    /// A fresh spatial rescaler whose parameters are drawn from `seed` when first used.
    pub fn init(&self, device: &Device, seed: u64) -> Result<SpatialRescaler> {
        self.check()?;
        let mut init = Init::new("spatial-rescaler", device, seed);
        Ok(SpatialRescaler {
            stages: self.stages,
            project: Linear::without_bias(&mut init, self.in_channels, self.out_channels),
        })
    }

    /// How many pixels of the map's side one pixel of the channels covers.
    pub fn factor(&self) -> usize {
        1 << self.stages
    }
}

impl SpatialRescaler {
    /// `map [b, c_in, h, w]` → `[b, c_out, h / factor, w / factor]`; what is left over is lost
    pub fn forward(&self, map: Tensor<4>) -> Tensor<4> {
        let map = (0..self.stages).fold(map, |map, _| mean_of_four(map));
        let [_, _, height, width] = map.dims();
        image_of(self.project.forward(tokens_of(map)), height, width)
    }
}

fn check(network: &'static str, sizes: &[(&str, usize)]) -> Result<()> {
    let wrong = sizes.iter().find(|(_, n)| *n == 0 || *n > 1 << 20);
    wrong.map_or(Ok(()), |(field, n)| {
        let why = format!("{field} is {n}, wanted 1 to {}", 1 << 20);
        Err(Error::config(network, why))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_number_is_refused_by_its_field() {
        let classes = ClassEmbedderConfig {
            classes: 0,
            width: 4,
        };
        let said = classes.init(&Device::flex(), 0).unwrap_err().to_string();
        assert_eq!(said, "class embedder: classes is 0, wanted 1 to 1048576");
        let maps = SpatialRescalerConfig {
            stages: 17,
            in_channels: 3,
            out_channels: 3,
        };
        let said = maps.init(&Device::flex(), 0).unwrap_err().to_string();
        assert_eq!(said, "spatial rescaler: stages is 17, wanted 0 to 16");
    }

    #[test]
    fn a_map_is_halved_as_often_as_it_says() {
        let config = SpatialRescalerConfig {
            stages: 2,
            in_channels: 3,
            out_channels: 5,
        };
        let network = config.init(&Device::flex(), 0).unwrap();
        let map = Tensor::ones([1, 3, 8 * config.factor(), 24], &Device::flex());
        assert_eq!(network.forward(map).dims(), [1, 5, 8, 6]);
    }
}
