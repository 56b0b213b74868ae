//! `InstructConditioning`: the picture that an instruction changes.

use burn::tensor::DType;
use ldm_engine::{Ctx, Facts, In, Node, Result};

use crate::coding::Coding;
use crate::concat_latent::before;
use crate::machine::Machine;
use crate::tiling::{Tiling, Toward};
use crate::vae_encode::{self, encode};
use crate::values::{Conditioning, Image, PictureFacts, Vae, VaeAbout};

/// Shows a network the picture that an instruction is about, as InstructPix2Pix was trained.
///
/// The picture is encoded, and its latent set unscaled behind the noisy channels. Guide such a
/// network by `guidance: Image()`, which weighs the text and the picture apart.
///
/// ```ron
/// "instructed": InstructConditioning(conditioning: "wanted", vae: "model", image: "photo")
/// ```
#[derive(Node)]
#[node(device)]
pub(crate) struct InstructConditioning {
    /// The instruction.
    conditioning: Option<In<Conditioning>>,
    /// The autoencoder.
    vae: In<Vae>,
    /// The picture to change, of the size that is denoised.
    image: In<Image>,
    /// How much of the picture is encoded at once.
    #[node(default = Tiling::Auto)]
    tiling: Tiling,
}

impl Node for InstructConditioning {
    type Out = Conditioning;

    fn has_ways(&self) -> bool {
        self.tiling.has_ways()
    }

    fn facts(&self, facts: &mut Facts<'_>) -> Result<()> {
        let there = before(facts, self.conditioning.as_ref());
        let vae = facts.of::<VaeAbout, _>(&self.vae);
        let image = facts.of::<PictureFacts, _>(&self.image);
        if let (Some(there), Some(vae), Some(image)) = (there, vae, image) {
            let latent = vae_encode::latent(&vae, *image)?;
            let added = [latent.batch, latent.channels, latent.height, latent.width];
            facts.give(there.with_channels(added)?);
            self.tiling.tell(facts, &vae, (latent, Toward::Latent))?;
        }
        Ok(())
    }

    fn run(&self, ctx: &mut Ctx<'_>) -> Result<Conditioning> {
        let machine = ctx.extension::<Machine>()?;
        let (vae, image) = (ctx.get(&self.vae), ctx.get(&self.image));
        let there = ctx.get(&self.conditioning).unwrap_or_default();
        let latent = vae_encode::latent(vae.about(), image.facts())?;
        let pictures = image.pixels().tensor(machine.device(), DType::F32) * 2.0 - 1.0;
        let coding = Coding::new(&vae, &machine, ctx.reporter());
        let work = (latent, Toward::Latent);
        let tiles = self.tiling.choose(ctx, vae.about(), work)?;
        there.with_channels(&encode(ctx, (&coding, tiles), pictures, None, 1.0)?)
    }
}
