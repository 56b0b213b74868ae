//! `LoadUnet`: the network that predicts the noise, alone.

use ldm_engine::{Ctx, Facts, Node, ReadPath, Result};
use ldm_models::weights::folder::Wanted;

use crate::checkpoint::{Asked, Network, Networks, Reach};
use crate::values::{Unet, UnetAbout};

/// Opens a UNet: of a file of its own, of a whole checkpoint, or of a folder of diffusers.
///
/// What it predicts is found out where that can be; `ModelSampling` says otherwise.
///
/// ```ron
/// "other_unet": LoadUnet(path: "checkpoints/model.safetensors", ema: false)
/// ```
#[derive(Node)]
pub(crate) struct LoadUnet {
    /// The file, or the folder with its `config.json`.
    path: ReadPath,
    /// Whether the weights are their averages over training, where a checkpoint holds both; as
    /// the model's own authors draw with it when left out.
    ema: Option<bool>,
    /// What its latents are multiplied by, where that is found out wrongly.
    scale: Option<f64>,
    /// Which of a folder's variants is taken: `fp16`; full precision, else half, when left out.
    variant: Option<String>,
}

impl LoadUnet {
    fn look(&self, reach: &dyn Reach) -> Result<Network<UnetAbout>> {
        let asked = Asked {
            ema: self.ema,
            scale: self.scale,
            variant: self.variant.as_deref(),
            ..Asked::default()
        };
        let wanted = Wanted {
            text: false,
            ..Wanted::ALL
        };
        let mut found = Networks::look(reach, &self.path, wanted, &asked)?;
        let unet = found.unet.take();
        unet.ok_or_else(|| found.lacks("UNet"))
    }
}

impl Node for LoadUnet {
    type Out = Unet;

    fn facts(&self, facts: &mut Facts<'_>) -> Result<()> {
        let about = self.look(facts)?.fitting(facts, &self.path)?;
        facts.give(about);
        Ok(())
    }

    fn run(&self, ctx: &mut Ctx<'_>) -> Result<Unet> {
        self.look(ctx)?.handle(ctx, &self.path)
    }
}
