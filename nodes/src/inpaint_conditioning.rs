//! `InpaintConditioning`: what is to be filled in, and what stands around it.

use burn::tensor::DType;
use ldm_engine::{Ctx, Error, Facts, In, Node, Result};

use crate::coding::Coding;
use crate::concat_latent::before;
use crate::hole::{Layout, holes};
use crate::machine::Machine;
use crate::tiling::{Tiling, Toward};
use crate::vae_encode::{self, encode};
use crate::values::{Conditioning, Image, LatentFacts, Mask, PictureFacts, Vae, VaeAbout};

/// Shows an inpainting network the hole and the picture around it.
///
/// For networks trained to fill holes: their input has channels for the mask and for the
/// encoded picture without what the mask covers. Other networks fill a hole by `Denoise`'s
/// `mask` alone.
///
/// ```ron
/// "hole": InpaintConditioning(
///     conditioning: "wanted", vae: "model", image: "photo", mask: "photo",
/// )
/// ```
#[derive(Node)]
#[node(device)]
pub(crate) struct InpaintConditioning {
    /// What to fill the hole with; left out for networks that are told nothing else.
    conditioning: Option<In<Conditioning>>,
    /// The autoencoder.
    vae: In<Vae>,
    /// The picture, of the size that is denoised.
    image: In<Image>,
    /// The hole: from 0.5 on a pixel is to be filled.
    mask: In<Mask>,
    /// How the network was trained to be shown it.
    #[node(default = Layout::StableDiffusion)]
    layout: Layout,
    /// How much of the picture is encoded at once.
    #[node(default = Tiling::Auto)]
    tiling: Tiling,
}

/// The latent's facts, when picture and mask go together.
fn latent(vae: &VaeAbout, image: PictureFacts, mask: PictureFacts) -> Result<LatentFacts> {
    let latent = vae_encode::latent(vae, image)?;
    if mask.batch != 1 && mask.batch != image.batch {
        let (found, wanted) = (mask.batch, image.batch);
        let message = format!("there are {found} masks for {wanted} pictures");
        return Err(Error::at("mask", message).hint("give one mask, or one for each picture"));
    }
    Ok(latent)
}

impl Node for InpaintConditioning {
    type Out = Conditioning;

    fn has_ways(&self) -> bool {
        self.tiling.has_ways()
    }

    fn facts(&self, facts: &mut Facts<'_>) -> Result<()> {
        let there = before(facts, self.conditioning.as_ref());
        let vae = facts.of::<VaeAbout, _>(&self.vae);
        let image = facts.of::<PictureFacts, _>(&self.image);
        let mask = facts.of::<PictureFacts, _>(&self.mask);
        if let (Some(there), Some(vae), Some(image), Some(mask)) = (there, vae, image, mask) {
            let latent = latent(&vae, *image, *mask)?;
            let added = [
                latent.batch,
                latent.channels + 1,
                latent.height,
                latent.width,
            ];
            facts.give(there.with_channels(added)?);
            self.tiling.tell(facts, &vae, (latent, Toward::Latent))?;
        }
        Ok(())
    }

    fn run(&self, ctx: &mut Ctx<'_>) -> Result<Conditioning> {
        let machine = ctx.extension::<Machine>()?;
        let (vae, image, mask) = (
            ctx.get(&self.vae),
            ctx.get(&self.image),
            ctx.get(&self.mask),
        );
        let there = ctx.get(&self.conditioning).unwrap_or_default();
        let latent = latent(vae.about(), image.facts(), mask.facts())?;
        let holes = holes(&mask, image.facts());
        let around = self.layout.around(image.pixels(), &holes);
        let pictures = around.tensor(machine.device(), DType::F32);
        let coding = Coding::new(&vae, &machine, ctx.reporter());
        let scale = vae.about().scale;
        let work = (latent, Toward::Latent);
        let tiles = self.tiling.choose(ctx, vae.about(), work)?;
        let around = encode(ctx, (&coding, tiles), pictures, None, scale)?;
        let mask = self.layout.mask(&holes, latent);
        match self.layout {
            Layout::StableDiffusion => there.with_channels(&mask)?.with_channels(&around),
            Layout::Ldm => there.with_channels(&around)?.with_channels(&mask),
        }
    }
}
