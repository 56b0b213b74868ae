//! `LoadVae`: an autoencoder, alone.

use ldm_engine::{Ctx, Facts, Node, ReadPath, Result};
use ldm_models::weights::folder::Wanted;

use crate::checkpoint::{Asked, Network, Networks, Reach};
use crate::values::{Vae, VaeAbout};

/// Opens an autoencoder: of a file of its own, of a whole checkpoint, or of a folder of
/// diffusers.
///
/// ```ron
/// "other_vae": LoadVae(path: "checkpoints/model.safetensors")
/// ```
#[derive(Node)]
pub(crate) struct LoadVae {
    /// The file, or the folder with its `config.json`.
    path: ReadPath,
    /// What latents are multiplied by after encoding. Files do not say it; left out, it is that
    /// of the model's UNet, else 0.18215 for Stable Diffusion's shape and 1 for all others.
    /// Stable Diffusion XL has 0.13025.
    #[node(range = 0.0..=1000.0)]
    scale: Option<f64>,
    /// Which of a folder's variants is taken: `fp16`; full precision, else half, when left out.
    variant: Option<String>,
}

impl LoadVae {
    fn look(&self, reach: &dyn Reach) -> Result<Network<VaeAbout>> {
        let asked = Asked {
            scale: self.scale,
            variant: self.variant.as_deref(),
            ..Asked::default()
        };
        let wanted = Wanted {
            unet: false,
            vae: true,
            text: false,
        };
        let mut found = Networks::look(reach, &self.path, wanted, &asked)?;
        let vae = found.vae.take();
        vae.ok_or_else(|| found.lacks("autoencoder"))
    }
}

impl Node for LoadVae {
    type Out = Vae;

    fn facts(&self, facts: &mut Facts<'_>) -> Result<()> {
        let about = self.look(facts)?.fitting(facts, &self.path)?;
        facts.give(about);
        Ok(())
    }

    fn run(&self, ctx: &mut Ctx<'_>) -> Result<Vae> {
        self.look(ctx)?.handle(ctx, &self.path)
    }
}
