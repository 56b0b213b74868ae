//! `LoadControlNet`: a network that steers a UNet by a picture, from its file or folder.

use std::path::Path;

use ldm_engine::{Ctx, Error, Facts, FileRef, Node, OpenFile, ReadPath, Result};
use ldm_models::weights::detect::NetworkJson;
use ldm_models::weights::{Family, TensorFile};

use crate::checkpoint::at_path;
use crate::values::{ControlAbout, ControlNet};

/// Opens a ControlNet or a T2I-Adapter: a file, or a folder of diffusers.
///
/// Which network it is, is read from its tensors' names and shapes. What shapes cannot say, the
/// folder's `config.json` says; without one, heads and norms are taken to be those of Stable
/// Diffusion 1, 2 or XL.
///
/// ```ron
/// "edges": LoadControlNet(path: "weights/control")
/// ```
#[derive(Node)]
pub(crate) struct LoadControlNet {
    /// The file, or the folder.
    path: ReadPath,
}

/// What the weights of a folder are called.
const WEIGHTS: [&str; 3] = [
    "diffusion_pytorch_model.safetensors",
    "diffusion_pytorch_model.fp16.safetensors",
    "diffusion_pytorch_model.bin",
];
const CONFIG: &str = "config.json";
/// Largest configuration that is read.
const MOST_BYTES: u64 = 1 << 20;

fn about(weights: OpenFile, config: Option<OpenFile>) -> Result<(ControlAbout, Family)> {
    let json = config.map(json).transpose()?;
    let path = weights.path().to_path_buf();
    let file = TensorFile::of(&weights.into_file(), &path)?;
    ControlAbout::of(&file, json.as_ref())
}

fn json(file: OpenFile) -> Result<NetworkJson> {
    let at = file.path().display().to_string();
    let text = String::from_utf8(file.read_all(MOST_BYTES)?)?;
    NetworkJson::read(&text).map_err(|what| Error::new(format!("{at} {what}")))
}

fn no_weights(folder: &Path) -> Error {
    let (at, names) = (folder.display(), WEIGHTS.join(", "));
    let message = format!("{at} is a folder without weights: none of {names}");
    Error::new(message).hint("name the file itself")
}

impl LoadControlNet {
    fn look(&self, facts: &Facts<'_>) -> Result<ControlAbout> {
        if !facts.is_folder(&self.path) {
            return Ok(about(facts.open(&self.path)?, None)?.0);
        }
        let mut weights = WEIGHTS.iter();
        let weights = weights.find_map(|name| facts.open_in(&self.path, name).ok());
        let config = facts.open_in(&self.path, CONFIG).ok();
        match weights {
            Some(weights) => Ok(about(weights, config)?.0),
            None => Err(no_weights(facts.place(&self.path)?)),
        }
    }

    /// The file of the weights, and the configuration beside it.
    fn files(&self, ctx: &Ctx<'_>) -> Result<(FileRef, Option<FileRef>)> {
        let mut inside = WEIGHTS.iter();
        let inside = inside.find_map(|name| ctx.file_in(&self.path, name).ok());
        match inside {
            Some(weights) => Ok((weights, ctx.file_in(&self.path, CONFIG).ok())),
            None => Ok((ctx.file(&self.path)?, None)),
        }
    }
}

impl Node for LoadControlNet {
    type Out = ControlNet;

    fn facts(&self, facts: &mut Facts<'_>) -> Result<()> {
        let about = self.look(facts).map_err(at_path)?;
        facts.give(about);
        Ok(())
    }

    fn run(&self, ctx: &mut Ctx<'_>) -> Result<ControlNet> {
        let (weights, config) = self.files(ctx)?;
        let config = config.map(|file| file.open()).transpose()?;
        let (about, family) = about(weights.open()?, config).map_err(at_path)?;
        ControlNet::in_file(about, weights, family)
    }
}
