//! `ControlNet`: a handle on a network that steers a UNet by a picture, be it a ControlNet or a
//! T2I-Adapter.

use burn::tensor::Device;
use ldm_engine::{Error, Result};
use ldm_models::control::{ControlConfig, Controller, Recognised, recognise};
use ldm_models::weights::detect::NetworkJson;
use ldm_models::weights::{Family, KeyTable, TensorFile, Types};
use serde::{Deserialize, Serialize};

use super::model::{About, Model, Names, fitting};

/// A handle on a network that steers a UNet by a picture.
pub type ControlNet = Model<ControlAbout>;

/// What such a network is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ControlAbout {
    /// The network.
    pub config: ControlConfig,
    /// What all names in its file begin with.
    pub prefix: String,
}

impl ControlAbout {
    /// Of the network that `file` holds, and who named its tensors; `json` is the `config.json`
    /// beside it.
    ///
    /// # Errors
    /// It holds none that is known here, or none for pictures in colour, or not all of it, or the
    /// configuration is of another.
    pub fn of(file: &TensorFile, json: Option<&NetworkJson>) -> Result<(Self, Family)> {
        let Recognised {
            config,
            family,
            prefix,
        } = recognise(file, json)?;
        if config.hint_channels() != 3 {
            let wanted = config.hint_channels();
            let at = file.path().display();
            let message = format!("{at} takes hints of {wanted} channels, pictures have 3");
            return Err(Error::new(message).hint("use a ControlNet that takes pictures"));
        }
        Ok((
            fitting(Self { config, prefix }, file, &Names::of(family))?,
            family,
        ))
    }
}

impl About for ControlAbout {
    type Module = Controller;
    const NAME: &'static str = "ControlNet";

    fn init(&self, device: &Device) -> Result<Controller> {
        Ok(self.config.init(device, 0)?)
    }
    fn table(&self, family: Family) -> KeyTable {
        KeyTable::control(family, &self.config).under(&self.prefix)
    }
    fn types(&self, asked: Types) -> Types {
        asked
    }
}
