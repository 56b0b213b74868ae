//! `LoadModel`: a model's networks from its folder.

use std::path::{Path, PathBuf};

use ldm_engine::{Ctx, Error, Facts, FileRef, Node, Outputs, ReadPath, Result};
use ldm_models::weights::manifest::FILE;
use ldm_models::weights::{Family, Manifest};

use crate::model_folder::Abouts;
use crate::values::{About, ClassEmbedder, Model, SpatialRescaler, TextEncoder, Unet, Vae};

/// Opens a model: a folder with a `model.ron` and the weights that it names.
///
/// While planning, the manifest and the headers of the weight files are checked; weights are
/// read when a node first computes with them.
///
/// ```ron
/// "model": LoadModel(path: "weights/text")
/// ```
#[derive(Node)]
#[node(version = 2)]
pub(crate) struct LoadModel {
    /// The model's folder.
    path: ReadPath,
}

/// What a model's folder gives.
#[derive(Outputs)]
pub(crate) struct Networks {
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

fn folder_of(manifest: &Path) -> PathBuf {
    manifest.parent().map(Path::to_path_buf).unwrap_or_default()
}

fn utf8(bytes: Vec<u8>) -> Result<String> {
    Ok(String::from_utf8(bytes)?)
}

/// Largest tokenizer that is read.
const MOST_BYTES: u64 = 64 << 20;

impl Node for LoadModel {
    type Out = Networks;

    fn facts(&self, facts: &mut Facts<'_>) -> Result<()> {
        let at_path = |e: Error| Error::at("path", e.message()).hint(HINT);
        if !facts.is_folder(&self.path) {
            let at = facts.place(&self.path)?.display();
            let message = format!("{at} is no folder: a model is a folder of files");
            return Err(at_path(Error::new(message)));
        }
        let file = facts.open_in(&self.path, FILE).map_err(at_path)?;
        let manifest = Manifest::read(&folder_of(file.path())).map_err(|e| at_path(e.into()))?;
        manifest.check().map_err(|wrong| {
            let wrong: Vec<String> = wrong.iter().map(ToString::to_string).collect();
            at_path(Error::new(wrong.join("\n")))
        })?;
        let text = |name: &str| utf8(facts.open_in(&self.path, name)?.read_all(MOST_BYTES)?);
        let found = Abouts::of(&manifest, text).map_err(at_path)?;
        if let Some((text, _)) = &found.text {
            text.tokenizer().map_err(at_path)?;
        }
        give(facts, "unet", found.unet);
        give(facts, "vae", found.vae);
        give(facts, "text_encoder", found.text);
        give(facts, "class_embedder", found.class);
        give(facts, "spatial_rescaler", found.map);
        Ok(())
    }

    fn run(&self, ctx: &mut Ctx<'_>) -> Result<Networks> {
        let folder = folder_of(ctx.file_in(&self.path, FILE)?.path());
        let file = |name: &str| ctx.file_in(&self.path, name);
        let text = |name: &str| utf8(file(name)?.open()?.read_all(MOST_BYTES)?);
        let found = Abouts::of(&Manifest::read(&folder)?, text)?;
        Ok(Networks {
            unet: handle(found.unet, file)?,
            vae: handle(found.vae, file)?,
            text_encoder: handle(found.text, file)?,
            class_embedder: handle(found.class, file)?,
            spatial_rescaler: handle(found.map, file)?,
        })
    }
}

fn give<A: Send + Sync + 'static>(facts: &mut Facts<'_>, output: &str, found: Option<(A, String)>) {
    match found {
        Some((about, _)) => facts.give_on(output, about),
        None => facts.absent(output),
    }
}

fn handle<A: About>(
    found: Option<(A, String)>,
    file: impl Fn(&str) -> Result<FileRef>,
) -> Result<Option<Model<A>>> {
    let handle = found.map(|(about, name)| Model::in_file(about, file(&name)?, Family::Native));
    handle.transpose()
}

const HINT: &str = "`SaveModel` writes such a folder";
