//! `ClassEmbedder` and `SpatialRescaler`: handles on the networks that make conditionings of
//! classes and of maps.

use burn::tensor::Device;
use ldm_engine::Result;
use ldm_models::conditioner as models;
use ldm_models::weights::{Family, KeyTable};

use super::{About, Model};

/// A handle on a network that makes a class's token.
pub type ClassEmbedder = Model<ClassEmbedderAbout>;

/// What a class embedder is.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct ClassEmbedderAbout {
    /// The network.
    pub config: models::ClassEmbedderConfig,
}

impl About for ClassEmbedderAbout {
    type Module = models::ClassEmbedder;
    const NAME: &'static str = "ClassEmbedder";

    fn init(&self, device: &Device) -> Result<models::ClassEmbedder> {
        Ok(self.config.init(device, 0)?)
    }
    fn table(&self, family: Family) -> KeyTable {
        KeyTable::class_embedder(family)
    }
}

/// A handle on a network that makes channels of a map of classes.
pub type SpatialRescaler = Model<SpatialRescalerAbout>;

/// What a spatial rescaler is.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct SpatialRescalerAbout {
    /// The network.
    pub config: models::SpatialRescalerConfig,
}

impl About for SpatialRescalerAbout {
    type Module = models::SpatialRescaler;
    const NAME: &'static str = "SpatialRescaler";

    fn init(&self, device: &Device) -> Result<models::SpatialRescaler> {
        Ok(self.config.init(device, 0)?)
    }
    fn table(&self, family: Family) -> KeyTable {
        KeyTable::spatial_rescaler(family)
    }
}
