//! `ImageUpscale`: a picture enlarged by a network.

use burn::tensor::DType;
use ldm_engine::{Ctx, Error, Facts, In, Node, Result};
use ldm_models::tiles::{Lay, Tiles};
use ldm_models::upscale::enlarge;

use crate::machine::Machine;
use crate::values::{Image, PictureFacts, UpscaleAbout, UpscaleModel};

/// Enlarges pictures by a model that was trained to: by 2 or 4, as the model has it.
///
/// A large picture is enlarged in tiles that overlap, whose seams are blended as ComfyUI blends
/// them. Numbers are cut off at 0 and 1.
///
/// ```ron
/// "upscaled": ImageUpscale(model: "enlarger", image: "photo")
/// ```
#[derive(Node)]
#[node(device)]
pub(crate) struct ImageUpscale {
    /// The model that enlarges.
    model: In<UpscaleModel>,
    /// What to enlarge.
    image: In<Image>,
    /// Sides of a tile; a smaller one takes less memory, and shows more seams.
    #[node(default = 512, range = 32..=4096, unit = "px")]
    tile: usize,
    /// How far tiles lie over each other.
    #[node(default = 32, range = 0..=512, unit = "px")]
    overlap: usize,
}

impl ImageUpscale {
    fn tiles(&self) -> Result<Tiles> {
        let (size, overlap) = (self.tile, self.overlap);
        if overlap >= size {
            let message = format!("is {overlap}, wanted less than the tile's {size}");
            return Err(Error::at("overlap", message).hint("a smaller `overlap`"));
        }
        let lay = Lay::InStep;
        Ok(Tiles { size, overlap, lay })
    }
}

fn enlarged(model: &UpscaleAbout, picture: PictureFacts) -> Result<PictureFacts> {
    let scale = model.config.scale();
    let large = PictureFacts {
        batch: picture.batch,
        height: picture.height * scale,
        width: picture.width * scale,
    };
    large
        .checked()
        .map_err(|e| Error::at("image", e.message()).hint("scale it down before"))
}

impl Node for ImageUpscale {
    type Out = Image;

    fn facts(&self, facts: &mut Facts<'_>) -> Result<()> {
        self.tiles()?;
        let model = facts.of::<UpscaleAbout, _>(&self.model);
        let picture = facts.of::<PictureFacts, _>(&self.image);
        if let (Some(model), Some(picture)) = (model, picture) {
            facts.give(enlarged(&model, *picture)?);
        }
        Ok(())
    }

    fn run(&self, ctx: &mut Ctx<'_>) -> Result<Image> {
        let machine = ctx.extension::<Machine>()?;
        let (model, image) = (ctx.get(&self.model), ctx.get(&self.image));
        let config = &model.about().config;
        enlarged(model.about(), image.facts())?;
        let network = model.network(&machine, &ctx.reporter())?;
        let small = image.pixels().tensor(machine.device(), DType::F32);
        let step = |done: usize, all: usize| ctx.step(done as u64, all as u64);
        let large = enlarge(&network, config, &small, self.tiles()?, step)?;
        Image::new(machine.read(large.clamp(0.0, 1.0), "the enlarged picture")?)
    }
}
