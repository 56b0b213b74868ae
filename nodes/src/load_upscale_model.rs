//! `LoadUpscaleModel`: a network that enlarges pictures, from its file.

use ldm_engine::{Ctx, Facts, Node, OpenFile, ReadPath, Result};
use ldm_models::weights::{Family, TensorFile};

use crate::checkpoint::at_path;
use crate::values::{UpscaleAbout, UpscaleModel};

/// Opens a model that enlarges pictures: ESRGAN and its descendants, Real-ESRGAN, and the
/// compact models beside that.
///
/// Which network a file holds is read from its tensors' names and shapes.
///
/// ```ron
/// "enlarger": LoadUpscaleModel(path: "weights/x2.safetensors")
/// ```
#[derive(Node)]
pub(crate) struct LoadUpscaleModel {
    /// The model's file.
    path: ReadPath,
}

fn about(file: OpenFile) -> Result<UpscaleAbout> {
    let path = file.path().to_path_buf();
    let file = TensorFile::of(&file.into_file(), &path)?;
    UpscaleAbout::of(&file)
}

impl Node for LoadUpscaleModel {
    type Out = UpscaleModel;

    fn facts(&self, facts: &mut Facts<'_>) -> Result<()> {
        let found = facts.open(&self.path).and_then(about);
        facts.give(found.map_err(at_path)?);
        Ok(())
    }

    fn run(&self, ctx: &mut Ctx<'_>) -> Result<UpscaleModel> {
        let file = ctx.file(&self.path)?;
        let about = about(file.open()?).map_err(at_path)?;
        // The names are the description's own; any family but ours asks for them.
        UpscaleModel::in_file(about, file, Family::CompVis)
    }
}
