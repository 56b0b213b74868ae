//! `VaeEncode`: pictures in, latents out.

use burn::tensor::{DType, Tensor};
use ldm_engine::{Ctx, Error, Facts, In, Node, Result};
use ldm_models::noise::Noise;
use ldm_models::tiles::Tiles;

use crate::array::Array;
use crate::coding::Coding;
use crate::machine::Machine;
use crate::tiling::{Tiling, Toward};
use crate::values::{Image, Latent, LatentFacts, PictureFacts, Vae, VaeAbout};

/// Turns pictures into latents.
///
/// ```ron
/// "start": VaeEncode(vae: "model", image: "photo")
/// ```
#[derive(Node)]
#[node(device)]
pub(crate) struct VaeEncode {
    /// The autoencoder.
    vae: In<Vae>,
    /// What to encode; width and height are multiples of the autoencoder's factor.
    image: In<Image>,
    /// Draws from what the encoder finds likely; without it the likeliest latent is taken.
    /// An autoencoder with a codebook has nothing to draw.
    seed: Option<u64>,
    /// How much of a picture is encoded at once. What is drawn does not depend on it.
    #[node(default = Tiling::Auto)]
    tiling: Tiling,
}

/// The latent of a picture.
///
/// # Errors
/// When the autoencoder takes no such picture.
pub(crate) fn latent(vae: &VaeAbout, picture: PictureFacts) -> Result<LatentFacts> {
    let PictureFacts {
        batch,
        height,
        width,
    } = picture;
    let factor = vae.config.factor();
    if !height.is_multiple_of(factor) || !width.is_multiple_of(factor) {
        let message = format!("wants sides that are multiples of {factor}, found {width}×{height}");
        let (w, h) = (width / factor * factor, height / factor * factor);
        return Err(Error::at("image", message).hint(format!("crop it to {w}×{h}")));
    }
    let channels = vae.config.in_channels();
    if channels != 3 {
        let message = format!("encodes {channels} channels, a picture has 3");
        return Err(Error::at("vae", message));
    }
    let (channels, space) = (vae.config.embed_dim(), Some(vae.space()));
    Ok(LatentFacts {
        batch,
        channels,
        height: height / factor,
        width: width / factor,
        space,
    })
}

impl Node for VaeEncode {
    type Out = Latent;

    fn has_ways(&self) -> bool {
        self.tiling.has_ways()
    }

    fn facts(&self, facts: &mut Facts<'_>) -> Result<()> {
        let vae = facts.of::<VaeAbout, _>(&self.vae);
        let picture = facts.of::<PictureFacts, _>(&self.image);
        if let (Some(vae), Some(picture)) = (vae, picture) {
            let latent = latent(&vae, *picture)?;
            facts.give(latent);
            self.tiling.tell(facts, &vae, (latent, Toward::Latent))?;
        }
        Ok(())
    }

    fn run(&self, ctx: &mut Ctx<'_>) -> Result<Latent> {
        let machine = ctx.extension::<Machine>()?;
        let (vae, image) = (ctx.get(&self.vae), ctx.get(&self.image));
        let facts = latent(vae.about(), image.facts())?;
        let coding = Coding::new(&vae, &machine, ctx.reporter());
        let work = (facts, Toward::Latent);
        let tiles = self.tiling.choose(ctx, vae.about(), work)?;
        let pictures = image.pixels().tensor(machine.device(), DType::F32) * 2.0 - 1.0;
        let shape = [facts.batch, facts.channels, facts.height, facts.width];
        let noise = self
            .seed
            .map(|seed| Noise::new(seed).tensor(shape, machine.device()));
        let scale = vae.about().scale;
        Ok(Latent {
            numbers: encode(ctx, (&coding, tiles), pictures, noise, scale)?,
            space: facts.space,
        })
    }
}

/// `pictures [batch, 3, h, w]` from -1 to 1 as latents times `scale`, one at a time and each at
/// once or in tiles; drawn by `noise`, or the likeliest.
///
/// # Errors
/// A device that fails; a stop that was asked for.
pub(crate) fn encode(
    ctx: &mut Ctx<'_>,
    (coding, tiles): (&Coding<'_>, Option<Tiles>),
    pictures: Tensor<4>,
    noise: Option<Tensor<4>>,
    scale: f64,
) -> Result<Array<4>> {
    let batch = pictures.dims()[0];
    let (mut numbers, mut shape) = (Vec::new(), [0; 4]);
    for item in 0..batch {
        let noise = noise.as_ref().map(|noise| noise.clone().narrow(0, item, 1));
        let picture = pictures.clone().narrow(0, item, 1);
        let mut step = |done, all| ctx.step((item * all + done) as u64, (batch * all) as u64);
        let latent = coding.run("the encoded latent", |network| {
            let (picture, noise) = (picture.clone(), noise.clone());
            let latent = match tiles {
                Some(tiles) => network.encode_tiled(&picture, noise, tiles, &mut step)?,
                None => network.encode(picture, noise),
            };
            Ok(latent * scale)
        })?;
        numbers.extend_from_slice(latent.numbers());
        shape = latent.shape();
        if tiles.is_none() {
            step(1, 1)?;
        }
    }
    Ok(Array::new([batch, shape[1], shape[2], shape[3]], numbers))
}
