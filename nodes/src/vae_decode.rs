//! `VaeDecode`: latents in, pictures out.

use burn::tensor::{DType, Tensor};
use ldm_engine::{Ctx, Error, Facts, In, Node, Result};
use ldm_models::tiles::Tiles;

use crate::array::Array;
use crate::coding::Coding;
use crate::machine::Machine;
use crate::tiling::{Tiling, Toward};
use crate::values::{Image, Latent, LatentFacts, LatentSpace, PictureFacts, Vae, VaeAbout};

/// Turns latents into pictures.
///
/// ```ron
/// "image": VaeDecode(vae: "model", latent: "latent")
/// ```
#[derive(Node)]
#[node(device)]
pub(crate) struct VaeDecode {
    /// The autoencoder that the latents are of.
    vae: In<Vae>,
    /// What to decode.
    latent: In<Latent>,
    /// How much of a picture is decoded at once.
    #[node(default = Tiling::Auto)]
    tiling: Tiling,
}

fn picture(vae: &VaeAbout, latent: &LatentFacts) -> Result<PictureFacts> {
    let (wanted, found) = (vae.config.embed_dim(), latent.channels);
    if wanted != found {
        let message = format!("wants latents of {wanted} channels, found {found}");
        return Err(Error::at("latent", message).hint("use the autoencoder of the same model"));
    }
    LatentSpace::same(latent.space, vae.space(), "this autoencoder")
        .map_err(|e| Error::at("latent", e.message()).hint(e.hint_text().unwrap_or_default()))?;
    let factor = vae.config.factor();
    let (height, width) = (latent.height * factor, latent.width * factor);
    let batch = latent.batch;
    let picture = PictureFacts {
        batch,
        height,
        width,
    };
    picture
        .checked()
        .map_err(|e| Error::at("latent", e.message()))
}

impl Node for VaeDecode {
    type Out = Image;

    fn has_ways(&self) -> bool {
        self.tiling.has_ways()
    }

    fn facts(&self, facts: &mut Facts<'_>) -> Result<()> {
        let vae = facts.of::<VaeAbout, _>(&self.vae);
        let latent = facts.of::<LatentFacts, _>(&self.latent);
        if let (Some(vae), Some(latent)) = (vae, latent) {
            facts.give(picture(&vae, &latent)?);
            let work = (*latent, Toward::Picture);
            self.tiling.tell(facts, &vae, work)?;
        }
        Ok(())
    }

    fn run(&self, ctx: &mut Ctx<'_>) -> Result<Image> {
        let machine = ctx.extension::<Machine>()?;
        let (vae, latent) = (ctx.get(&self.vae), ctx.get(&self.latent));
        let PictureFacts {
            batch,
            height,
            width,
        } = picture(vae.about(), &latent.facts())?;
        let coding = Coding::new(&vae, &machine, ctx.reporter());
        let work = (latent.facts(), Toward::Picture);
        let tiles = self.tiling.choose(ctx, vae.about(), work)?;
        let latents = latent.numbers.tensor(machine.device(), DType::F32) / vae.about().scale;
        let mut pixels = Vec::with_capacity(batch * 3 * height * width);
        // One at a time: a decoder's memory is many times its picture's.
        for item in 0..batch {
            let step = |done, all| ctx.step((item * all + done) as u64, (batch * all) as u64);
            let latent = latents.clone().narrow(0, item, 1);
            let picture = decode(&coding, &latent, tiles, step)?;
            pixels.extend(
                picture
                    .numbers()
                    .iter()
                    .map(|x| (x * 0.5 + 0.5).clamp(0.0, 1.0)),
            );
        }
        Image::new(Array::new([batch, 3, height, width], pixels))
    }
}

/// The picture of one latent, around -1 to 1; `step` hears how many of how many parts are done.
fn decode(
    coding: &Coding<'_>,
    latent: &Tensor<4>,
    tiles: Option<Tiles>,
    mut step: impl FnMut(usize, usize) -> Result<()>,
) -> Result<Array<4>> {
    let picture = coding.run("the decoded picture", |network| match tiles {
        Some(tiles) => network.decode_tiled(latent, tiles, &mut step),
        None => Ok(network.decode(latent.clone())),
    })?;
    if tiles.is_none() {
        step(1, 1)?;
    }
    Ok(picture)
}
