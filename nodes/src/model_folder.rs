//! A model's folder, between manifest and handles: what `LoadModel` and `SaveModel` share.

use std::path::Path;

use ldm_engine::{Error, Reporter, Result};
use ldm_models::weights::manifest::{ClassPart, MapPart, TextPart, UNetPart, VaePart};
use ldm_models::weights::{Aim, LatentSpec, Manifest, SaveAs, save};

use crate::machine::Machine;
use crate::values::{
    About, ClassEmbedder, ClassEmbedderAbout, LatentSpace, Model, SpatialRescaler,
    SpatialRescalerAbout, TextEncoder, TextEncoderAbout, Unet, UnetAbout, Vae, VaeAbout,
    Vocabulary,
};

/// What a manifest says of its networks, each with the name of its file.
pub(crate) struct Abouts {
    pub(crate) unet: Option<(UnetAbout, String)>,
    pub(crate) vae: Option<(VaeAbout, String)>,
    pub(crate) text: Option<(TextEncoderAbout, String)>,
    pub(crate) class: Option<(ClassEmbedderAbout, String)>,
    pub(crate) map: Option<(SpatialRescalerAbout, String)>,
}

impl Abouts {
    /// Of a manifest; `text` reads a file beside it.
    pub(crate) fn of(manifest: &Manifest, text: impl Fn(&str) -> Result<String>) -> Result<Self> {
        let latent = manifest.latent;
        let space = LatentSpace {
            factor: latent.factor,
            scale: latent.scale,
        };
        let unet = manifest
            .unet
            .as_ref()
            .zip(manifest.schedule)
            .map(|(part, schedule)| {
                let (config, prediction) = (part.config.clone(), manifest.prediction);
                (
                    UnetAbout {
                        config,
                        schedule,
                        prediction,
                        space,
                    },
                    part.file.clone(),
                )
            });
        let vae = manifest.vae.as_ref().map(|part| {
            let about = VaeAbout {
                config: part.config.clone(),
                scale: latent.scale,
                fits_f16: part.fits_f16,
            };
            (about, part.file.clone())
        });
        let text = manifest.text_encoder.as_ref().map(|part| {
            let tokenizer = match &part.tokenizer[..] {
                "" => Vocabulary::CLIP.to_owned(),
                name => text(name)?,
            };
            let about = TextEncoderAbout::new(part.config.clone(), tokenizer);
            Ok::<_, Error>((about, part.file.clone()))
        });
        Ok(Self {
            unet,
            vae,
            text: text.transpose()?,
            class: manifest.class_embedder.as_ref().map(|part| {
                let config = part.config.clone();
                (ClassEmbedderAbout { config }, part.file.clone())
            }),
            map: manifest.spatial_rescaler.as_ref().map(|part| {
                let config = part.config.clone();
                (SpatialRescalerAbout { config }, part.file.clone())
            }),
        })
    }
}

/// The latents of a model, which its UNet and its autoencoder must agree on.
///
/// # Errors
/// Both sides, when they do not.
pub(crate) fn latent(
    unet: Option<&UnetAbout>,
    vae: Option<&VaeAbout>,
) -> Result<Option<LatentSpec>> {
    let spec = |LatentSpace { factor, scale }, channels| LatentSpec {
        factor,
        channels,
        scale,
    };
    let of_unet = unet.map(|unet| spec(unet.space, unet.config.out_channels));
    let of_vae = vae.map(|vae| spec(vae.space(), vae.config.embed_dim()));
    let differ = |what: &str, u: String, v: String| {
        let message = format!("the UNet's latents have {what} {u}, the autoencoder's {v}");
        Err(Error::at("vae", message).hint("save a UNet with the autoencoder it was trained on"))
    };
    match (of_unet, of_vae) {
        (Some(u), Some(v)) if u.factor != v.factor => {
            differ("factor", u.factor.to_string(), v.factor.to_string())
        }
        (Some(u), Some(v)) if u.channels != v.channels => {
            differ("channels", u.channels.to_string(), v.channels.to_string())
        }
        // A fresh autoencoder has scale 1: the right one is measured when a UNet is trained.
        (Some(u), Some(v)) if u.scale != v.scale && v.scale != 1.0 => {
            differ("scale", u.scale.to_string(), v.scale.to_string())
        }
        (of_unet, of_vae) => Ok(of_unet.or(of_vae)),
    }
}

/// A folder being filled.
pub(crate) struct Filling<'a> {
    pub(crate) folder: &'a Path,
    pub(crate) machine: &'a Machine,
    pub(crate) reporter: &'a Reporter,
    pub(crate) manifest: Manifest,
}

impl Filling<'_> {
    pub(crate) fn vae(&mut self, vae: &Vae) -> Result<()> {
        let file = self.weights("vae.safetensors", vae)?;
        let config = vae.about().config.clone();
        let fits_f16 = vae.about().fits_f16;
        self.manifest.vae = Some(VaePart {
            file,
            config,
            fits_f16,
        });
        Ok(())
    }

    pub(crate) fn unet(&mut self, unet: &Unet) -> Result<()> {
        let file = self.weights("unet.safetensors", unet)?;
        let about = unet.about();
        self.manifest.schedule = Some(about.schedule);
        self.manifest.prediction = about.prediction;
        self.manifest.unet = Some(UNetPart {
            file,
            config: about.config.clone(),
        });
        Ok(())
    }

    pub(crate) fn text(&mut self, text: &TextEncoder) -> Result<()> {
        let file = self.weights("text_encoder.safetensors", text)?;
        let config = text.about().config.clone();
        let tokenizer = match text.about().vocabulary.json() {
            Vocabulary::CLIP => String::new(),
            json => {
                std::fs::write(self.folder.join("tokenizer.json"), json)?;
                "tokenizer.json".to_owned()
            }
        };
        self.manifest.text_encoder = Some(TextPart {
            file,
            tokenizer,
            config,
        });
        Ok(())
    }

    pub(crate) fn class(&mut self, class: &ClassEmbedder) -> Result<()> {
        let file = self.weights("class_embedder.safetensors", class)?;
        let config = class.about().config.clone();
        self.manifest.class_embedder = Some(ClassPart { file, config });
        Ok(())
    }

    pub(crate) fn map(&mut self, map: &SpatialRescaler) -> Result<()> {
        let file = self.weights("spatial_rescaler.safetensors", map)?;
        let config = map.about().config.clone();
        self.manifest.spatial_rescaler = Some(MapPart { file, config });
        Ok(())
    }

    fn weights<A: About>(&self, file: &str, model: &Model<A>) -> Result<String> {
        let network = model.network_for(Aim::Any, self.machine, self.reporter)?;
        save(&*network, &self.folder.join(file), SaveAs::F16)?;
        Ok(file.to_owned())
    }
}
