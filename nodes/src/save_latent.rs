//! `SaveLatent`: a latent into a file.

use ldm_engine::{Ctx, Data, Error, Facts, In, Node, Result, WritePath};

use crate::values::Latent;

/// Writes a batch of latents as one safetensors file: tensor `latent`, f32, `[batch, channels,
/// height, width]`, and in its header whose latents they are.
///
/// ```ron
/// "keep": SaveLatent(latent: "latent", path: "latent.safetensors")
/// ```
#[derive(Node)]
#[node(effect)]
pub(crate) struct SaveLatent {
    /// What to write.
    latent: In<Latent>,
    /// The file, under the output folder.
    path: WritePath,
}

impl Node for SaveLatent {
    type Out = ();

    fn facts(&self, _facts: &mut Facts<'_>) -> Result<()> {
        if !self.path.text().ends_with(".safetensors") {
            let message = format!("`{}` does not end in `.safetensors`", self.path.text());
            return Err(Error::at("path", message).hint("latents are written in that format"));
        }
        Ok(())
    }

    fn run(&self, ctx: &mut Ctx<'_>) -> Result<()> {
        let latent = ctx.get(&self.latent);
        ctx.write(&self.path, 0, &latent.save()?).map(drop)
    }
}
