//! `LoadControlNet`: a network that steers a UNet by a picture, from its file or folder.

use ldm_engine::{Ctx, Error, Facts, FileRef, Node, OpenFile, ReadPath, Result};
use ldm_models::control::Hints;
use ldm_models::weights::{Family, TensorFile};

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
    let hints = match config {
        Some(file) => hints(file)?,
        None => Hints::default(),
    };
    let path = weights.path().to_path_buf();
    let file = TensorFile::of(&weights.into_file(), &path)?;
    ControlAbout::of(&file, &hints)
}

fn hints(file: OpenFile) -> Result<Hints> {
    let text = String::from_utf8(file.read_all(MOST_BYTES)?)?;
    Hints::read(&text).map_err(|what| Error::new(format!("its {CONFIG} {what}")))
}

fn no_weights() -> Error {
    let message = format!(
        "is a folder without weights: none of {}",
        WEIGHTS.join(", ")
    );
    Error::new(message).hint("name the file itself")
}

fn at_path(error: &Error) -> Error {
    let at = Error::at("path", error.message());
    match error.hint_text() {
        Some(hint) => at.hint(hint),
        None => at,
    }
}

impl LoadControlNet {
    fn look(&self, facts: &Facts<'_>) -> Result<ControlAbout> {
        if !facts.is_folder(&self.path) {
            return Ok(about(facts.open(&self.path)?, None)?.0);
        }
        let mut weights = WEIGHTS.iter();
        let weights = weights.find_map(|name| facts.open_in(&self.path, name).ok());
        let config = facts.open_in(&self.path, CONFIG).ok();
        Ok(about(weights.ok_or_else(no_weights)?, config)?.0)
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
        let about = self.look(facts).map_err(|e| at_path(&e))?;
        facts.give(about);
        Ok(())
    }

    fn run(&self, ctx: &mut Ctx<'_>) -> Result<ControlNet> {
        let (weights, config) = self.files(ctx)?;
        let config = config.map(|file| file.open()).transpose()?;
        let (about, family) = about(weights.open()?, config).map_err(|e| at_path(&e))?;
        ControlNet::in_file(about, weights, family)
    }
}
