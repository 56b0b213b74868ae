//! `SaveModel`: networks into a folder that `LoadModel` opens.

use ldm_engine::{Ctx, Error, Facts, In, Node, Result, WritePath};
use ldm_models::weights::{LatentSpec, Manifest};

use crate::machine::Machine;
use crate::model_folder::{Filling, latent};
use crate::values::{ClassEmbedder, SpatialRescaler, TextEncoder, Unet, UnetAbout, Vae, VaeAbout};

/// Writes networks as a model: a folder with `model.ron`, weights in f16 and the tokenizer.
///
/// The folder appears whole or not at all.
///
/// ```ron
/// "folder": SaveModel(unet: "model", vae: "model", text_encoder: "model", path: "text")
/// ```
#[derive(Node)]
#[node(effect, device)]
pub(crate) struct SaveModel {
    /// The network that predicts the noise.
    unet: Option<In<Unet>>,
    /// The autoencoder.
    vae: Option<In<Vae>>,
    /// The text encoder.
    text_encoder: Option<In<TextEncoder>>,
    /// What turns classes into conditioning.
    class_embedder: Option<In<ClassEmbedder>>,
    /// What turns maps of classes into conditioning.
    spatial_rescaler: Option<In<SpatialRescaler>>,
    /// The folder to write, under the output folder.
    path: WritePath,
    /// Sentences for people: what the model was made from.
    #[node(default = "")]
    about: String,
}

impl Node for SaveModel {
    type Out = ();

    fn facts(&self, facts: &mut Facts<'_>) -> Result<()> {
        let none = self.unet.is_none() && self.vae.is_none() && self.text_encoder.is_none();
        if none && self.class_embedder.is_none() && self.spatial_rescaler.is_none() {
            return Err(Error::new("has nothing to save").hint("link `unet`, `vae` or both"));
        }
        let unet = self
            .unet
            .as_ref()
            .and_then(|port| facts.of::<UnetAbout, _>(port));
        let vae = self
            .vae
            .as_ref()
            .and_then(|port| facts.of::<VaeAbout, _>(port));
        latent(unet.as_deref(), vae.as_deref()).map(drop)
    }

    fn run(&self, ctx: &mut Ctx<'_>) -> Result<()> {
        let machine = ctx.extension::<Machine>()?;
        let reporter = ctx.reporter();
        let (unet, vae) = (ctx.get(&self.unet), ctx.get(&self.vae));
        let text = ctx.get(&self.text_encoder);
        let (class, map) = (
            ctx.get(&self.class_embedder),
            ctx.get(&self.spatial_rescaler),
        );
        let (of_unet, of_vae) = (
            unet.as_ref().map(|m| m.about()),
            vae.as_ref().map(|m| m.about()),
        );
        // A text encoder alone has no latents; the manifest wants some.
        let none = LatentSpec {
            factor: 1,
            channels: 1,
            scale: 1.0,
        };
        let name = self.path.text().rsplit('/').next().unwrap_or_default();
        let mut manifest = Manifest::new(name, latent(of_unet, of_vae)?.unwrap_or(none));
        manifest.about.clone_from(&self.about);
        ctx.write_folder(&self.path, |folder| {
            let (machine, reporter) = (&*machine, &reporter);
            let mut filling = Filling {
                folder,
                machine,
                reporter,
                manifest,
            };
            vae.iter().try_for_each(|vae| filling.vae(vae))?;
            unet.iter().try_for_each(|unet| filling.unet(unet))?;
            text.iter().try_for_each(|text| filling.text(text))?;
            class.iter().try_for_each(|class| filling.class(class))?;
            map.iter().try_for_each(|map| filling.map(map))?;
            Ok(filling.manifest.write(folder)?)
        })
    }
}
