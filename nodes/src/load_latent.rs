//! `LoadLatent`: a latent from a file.

use ldm_engine::{Ctx, Error, Facts, Node, OpenFile, ReadPath, Result, paths};
use ldm_models::weights::TensorFile;

use crate::array::{Array, NOTE};
use crate::values::{Latent, LatentFacts, LatentSpace};

/// Reads a latent: a safetensors file with one tensor `latent`, `[batch, channels, height,
/// width]`.
///
/// A file of `SaveLatent` also says whose latent it is; of another's that is not known, and a
/// wrong pairing shows only where the channels differ.
///
/// ```ron
/// "stored": LoadLatent(path: "latent.safetensors")
/// ```
#[derive(Node)]
pub(crate) struct LoadLatent {
    /// The file.
    path: ReadPath,
}

fn facts_of(file: &TensorFile) -> Result<LatentFacts> {
    let name = paths::shown(file.path());
    let Some(shape) = file.shape("latent") else {
        let message = format!("{name} has no tensor `latent`");
        return Err(Error::at("path", message).hint("`SaveLatent` writes such a file"));
    };
    let Ok([batch, channels, height, width]) = <[usize; 4]>::try_from(shape) else {
        let message = format!("`latent` in {name} is {shape:?}");
        return Err(
            Error::at("path", message).hint("it should be [batch, channels, height, width]")
        );
    };
    let space = LatentSpace::from_note(file.note(NOTE).unwrap_or_default())?;
    let facts = LatentFacts {
        batch,
        channels,
        height,
        width,
        space,
    };
    facts
        .check()
        .map_err(|e| Error::at("path", format!("{name}: {}", e.message())))?;
    Ok(facts)
}

/// The file behind the handle whose content was checked.
fn tensors(opened: OpenFile) -> Result<TensorFile> {
    let path = opened.path().to_owned();
    Ok(TensorFile::of(&opened.into_file(), &path)?)
}

impl Node for LoadLatent {
    type Out = Latent;

    fn facts(&self, facts: &mut Facts<'_>) -> Result<()> {
        let file = facts.open(&self.path).and_then(tensors);
        let found = facts_of(&file.map_err(|e| Error::at("path", e.message()))?)?;
        facts.give(found);
        Ok(())
    }

    fn run(&self, ctx: &mut Ctx<'_>) -> Result<Latent> {
        let file = tensors(ctx.open(&self.path)?)?;
        let LatentFacts {
            batch,
            channels,
            height,
            width,
            space,
        } = facts_of(&file)?;
        let numbers = Array::new([batch, channels, height, width], file.read("latent")?);
        Ok(Latent { numbers, space })
    }
}
