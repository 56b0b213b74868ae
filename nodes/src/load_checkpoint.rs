//! `LoadCheckpoint`: the networks of a model that others made.

use ldm_engine::{Ctx, Facts, Node, Outputs, ReadPath, Result};
use ldm_models::weights::folder::Wanted;

use crate::checkpoint::{Asked, Network, Networks, at_path};
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
        found: Result<Network<A>, String>,
    ) -> Result<()> {
        match found {
            Ok(network) => {
                let about = network.fitting(facts, &self.path)?;
                facts.give_on(output, about);
            }
            Err(why) => facts.absent_because(output, why),
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
        let mut found = Networks::look(facts, &self.path, Wanted::ALL, &self.asked())?;
        if found.unet.is_none() && found.vae.is_none() && found.text.is_none() {
            return Err(found.lacks("network"));
        }
        if let Some(text) = &found.text {
            text.about.tokenizer().map_err(at_path)?;
        }
        let (unet, vae, text) = (found.unet.take(), found.vae.take(), found.text.take());
        let (class, map) = (found.class.take(), found.map.take());
        let why = |output: &str| found.why(output);
        self.give(facts, "unet", unet.ok_or_else(|| why("unet")))?;
        self.give(facts, "vae", vae.ok_or_else(|| why("vae")))?;
        self.give(
            facts,
            "text_encoder",
            text.ok_or_else(|| why("text_encoder")),
        )?;
        self.give(
            facts,
            "class_embedder",
            class.ok_or_else(|| why("class_embedder")),
        )?;
        self.give(
            facts,
            "spatial_rescaler",
            map.ok_or_else(|| why("spatial_rescaler")),
        )
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
