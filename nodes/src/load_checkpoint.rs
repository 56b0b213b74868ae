//! `LoadCheckpoint`: the networks of a model that others made.

use ldm_engine::{Ctx, Error, Facts, Node, Outputs, ReadPath, Result};
use ldm_models::weights::folder::Wanted;

use crate::checkpoint::{Asked, Network, Networks};
use crate::values::{About, ClassEmbedder, Model, SpatialRescaler, TextEncoder, Unet, Vae};

/// Opens a model as others write it: one file (`.safetensors`, or a checkpoint of PyTorch), or
/// a folder of diffusers.
///
/// Stable Diffusion 1, 2 and XL, their inpainting kin and the refiner, and the systems of the
/// latent diffusion paper are told apart by the names and shapes of their tensors. While
/// planning, headers are read and held against the networks; nothing in a checkpoint is run.
/// What a UNet predicts is found out where that can be; `ModelSampling` says otherwise.
///
/// ```ron
/// "checkpoint": LoadCheckpoint(path: "checkpoints/model.safetensors")
/// ```
#[derive(Node)]
pub(crate) struct LoadCheckpoint {
    /// The file, or the folder with a `model_index.json`.
    path: ReadPath,
    /// Whether the UNet's weights are their averages over training, where a checkpoint holds
    /// both; as the model's own authors draw with it when left out.
    ema: Option<bool>,
    /// Which of a folder's variants is taken: `fp16`; full precision, else half, when left out.
    variant: Option<String>,
    /// The words of a text encoder whose checkpoint has none: a `vocab.txt`, a
    /// `tokenizer.json`, or a folder of either.
    vocab: Option<ReadPath>,
}

/// What a checkpoint holds.
#[derive(Outputs)]
pub(crate) struct Loaded {
    /// Predicts the noise.
    unet: Option<Unet>,
    /// Turns pictures into latents and back.
    vae: Option<Vae>,
    /// Turns words into conditioning.
    text_encoder: Option<TextEncoder>,
    /// Turns a class into conditioning.
    class_embedder: Option<ClassEmbedder>,
    /// Turns a map of classes into conditioning.
    spatial_rescaler: Option<SpatialRescaler>,
}

impl LoadCheckpoint {
    fn asked(&self) -> Asked<'_> {
        Asked {
            ema: self.ema,
            variant: self.variant.as_deref(),
            vocab: self.vocab.as_ref(),
            ..Asked::default()
        }
    }

    fn give<A: About>(
        &self,
        facts: &mut Facts<'_>,
        output: &str,
        found: Option<Network<A>>,
    ) -> Result<()> {
        match found {
            Some(network) => {
                let about = network.fitting(facts, &self.path)?;
                facts.give_on(output, about);
            }
            None => facts.absent(output),
        }
        Ok(())
    }

    fn handle<A: About>(
        &self,
        ctx: &Ctx<'_>,
        found: Option<Network<A>>,
    ) -> Result<Option<Model<A>>> {
        let handle = found.map(|network| network.handle(ctx, &self.path));
        handle.transpose()
    }
}

impl Node for LoadCheckpoint {
    type Out = Loaded;

    fn facts(&self, facts: &mut Facts<'_>) -> Result<()> {
        let found = Networks::look(facts, &self.path, Wanted::ALL, &self.asked())?;
        if found.unet.is_none() && found.vae.is_none() && found.text.is_none() {
            let message = "holds no network that is known here";
            let hint = "`ldm-graph inspect` tells what it is";
            return Err(Error::at("path", message).hint(hint));
        }
        if let Some(text) = &found.text {
            text.about.tokenizer()?;
        }
        self.give(facts, "unet", found.unet)?;
        self.give(facts, "vae", found.vae)?;
        self.give(facts, "text_encoder", found.text)?;
        self.give(facts, "class_embedder", found.class)?;
        self.give(facts, "spatial_rescaler", found.map)
    }

    fn run(&self, ctx: &mut Ctx<'_>) -> Result<Loaded> {
        let found = Networks::look(ctx, &self.path, Wanted::ALL, &self.asked())?;
        Ok(Loaded {
            unet: self.handle(ctx, found.unet)?,
            vae: self.handle(ctx, found.vae)?,
            text_encoder: self.handle(ctx, found.text)?,
            class_embedder: self.handle(ctx, found.class)?,
            spatial_rescaler: self.handle(ctx, found.map)?,
        })
    }
}
