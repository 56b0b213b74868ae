//! `UpscaleModel`: a handle on a network that enlarges pictures.

use burn::tensor::Device;
use ldm_engine::{Error, Result};
use ldm_models::upscale::{Naming, UpscaleConfig, Upscaler, recognise};
use ldm_models::weights::{Family, KeyTable, TensorFile};
use serde::{Deserialize, Serialize};

use super::model::{About, Model, Names, fitting};

/// A handle on a network that enlarges pictures.
pub type UpscaleModel = Model<UpscaleAbout>;

/// What such a network is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct UpscaleAbout {
    /// The network.
    pub config: UpscaleConfig,
    /// What its file calls the tensors.
    pub naming: Naming,
}

impl UpscaleAbout {
    /// Of the network that `file` holds.
    ///
    /// # Errors
    /// It holds none that is known here, or none for pictures in colour, or not all of it.
    pub fn of(file: &TensorFile) -> Result<Self> {
        let (config, naming) = recognise(file)?;
        let (from, to) = config.channels();
        if (from, to) != (3, 3) {
            let at = file.path().display();
            let message = format!("{at} takes {from} channels and gives {to}, pictures have 3");
            return Err(Error::new(message).hint("use a model for pictures in colour"));
        }
        fitting(Self { config, naming }, file, &Names::of(Family::CompVis))
    }
}

impl About for UpscaleAbout {
    type Module = Upscaler;
    const NAME: &'static str = "UpscaleModel";

    fn init(&self, device: &Device) -> Result<Upscaler> {
        Ok(self.config.init(device, 0)?)
    }
    /// Files that are not ours have the names they were recognised by, whatever the family.
    fn table(&self, family: Family) -> KeyTable {
        match family {
            Family::Native => KeyTable::native(),
            _ => KeyTable::upscaler(&self.naming, &self.config),
        }
    }
}
