//! `EmptyLatent`: where a picture from text starts.

use ldm_engine::{Ctx, Error, Facts, In, Node, Result};

use crate::array::Array;
use crate::values::{Latent, LatentFacts, Vae, VaeAbout};

/// A batch of latents with nothing in them, for pictures of a size.
///
/// `Denoise` at strength 1 puts its noise here. One batch is drawn from one seed: the second
/// picture of a batch is not the first of the next seed.
///
/// ```ron
/// "noise": EmptyLatent(vae: "model", width: 64, height: 64, batch: 4)
/// ```
#[derive(Node)]
pub(crate) struct EmptyLatent {
    /// The autoencoder that will decode the latents: it says how much smaller they are.
    vae: In<Vae>,
    /// Width of a picture, a multiple of the autoencoder's factor (8 for most).
    #[node(range = 1..=16384, unit = "px")]
    width: usize,
    /// Height of a picture, a multiple of the autoencoder's factor (8 for most).
    #[node(range = 1..=16384, unit = "px")]
    height: usize,
    /// How many pictures.
    #[node(default = 1, range = 1..=4096)]
    batch: usize,
}

impl EmptyLatent {
    fn shape(&self, vae: &VaeAbout) -> Result<LatentFacts> {
        let factor = vae.config.factor();
        for (field, size) in [("width", self.width), ("height", self.height)] {
            if !size.is_multiple_of(factor) {
                let near = size.next_multiple_of(factor);
                let message = format!("takes a multiple of {factor}, found {size}");
                return Err(Error::at(field, message).hint(format!("`{field}: {near}`")));
            }
        }
        let facts = LatentFacts {
            batch: self.batch,
            channels: vae.config.embed_dim(),
            height: self.height / factor,
            width: self.width / factor,
            space: Some(vae.space()),
        };
        facts.check().map(|()| facts)
    }
}

impl Node for EmptyLatent {
    type Out = Latent;

    fn facts(&self, facts: &mut Facts<'_>) -> Result<()> {
        if let Some(vae) = facts.of::<VaeAbout, _>(&self.vae) {
            facts.give(self.shape(&vae)?);
        }
        Ok(())
    }

    fn run(&self, ctx: &mut Ctx<'_>) -> Result<Latent> {
        let shape = self.shape(ctx.get(&self.vae).about())?;
        let LatentFacts {
            batch,
            channels,
            height,
            width,
            space,
        } = shape;
        Ok(Latent {
            numbers: Array::zeros([batch, channels, height, width]),
            space,
        })
    }
}
