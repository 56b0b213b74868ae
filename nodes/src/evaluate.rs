//! `Evaluate`: how much of what captions say a model paints, and how well its autoencoder
//! rebuilds.

mod score;

use ldm_engine::{Ctx, Error, Facts, In, Node, Outputs, Result};
use ldm_models::sampler::{Sampler, Walk};

use crate::choices::Chosen;
use crate::machine::Machine;
use crate::values::{
    Dataset, DatasetFacts, Image, Report, TextEncoder, TextEncoderAbout, Unet, UnetAbout, Vae,
    VaeAbout,
};
use score::{Painter, rebuild, score};

/// Grades a text-to-image model on the little world.
///
/// Draws `captions` scenes by `seed`, held-out combinations among them, paints each from its
/// caption alone and asks the world's checker which of the stated attributes (time of day,
/// ground, things, colours, places, …) the picture shows. Beside it stands the same figure for
/// pictures paired with the next caption, which is what luck gives. The autoencoder is graded
/// by its PSNR on `dataset`.
///
/// ```ron
/// "score": Evaluate(
///     unet: "model", vae: "model", text_encoder: "model", dataset: "unseen",
///     captions: 200, steps: 50, cfg: 5.0, seed: 2112,
/// )
/// ```
#[derive(Node)]
#[node(device)]
pub(crate) struct Evaluate {
    /// The network that predicts the noise.
    unet: In<Unet>,
    /// The autoencoder.
    vae: In<Vae>,
    /// The text encoder.
    text_encoder: In<TextEncoder>,
    /// Pictures to rebuild; ones that training never saw.
    dataset: In<Dataset>,
    /// How many captions to paint.
    #[node(default = 200, range = 2..=100_000)]
    captions: usize,
    /// How the noise is taken away.
    #[node(default = Chosen(Sampler::ddim_compvis(0.0)))]
    sampler: Chosen<Sampler>,
    /// Network calls along the way.
    #[node(default = 50, range = 1..=1000)]
    steps: usize,
    /// How strongly guidance pushes towards the caption.
    #[node(default = 5.0, range = 0.0..=100.0)]
    cfg: f64,
    /// Draws the captions and the noise.
    #[node(default = 0)]
    seed: u64,
}

/// What grading gives.
#[derive(Outputs)]
pub(crate) struct Graded {
    /// The figures, and what became of the first captions.
    report: Report,
    /// The first pictures on one sheet, failures included, row by row.
    sheet: Image,
}

/// Pictures on the sheet and captions in the report.
const SHOWN: usize = 16;

impl Node for Evaluate {
    type Out = Graded;

    fn facts(&self, facts: &mut Facts<'_>) -> Result<()> {
        if let Some(dataset) = facts.of::<DatasetFacts, _>(&self.dataset)
            && let Some(vae) = facts.of::<VaeAbout, _>(&self.vae)
        {
            fits(&vae, *dataset)?;
        }
        if let Some(unet) = facts.of::<UnetAbout, _>(&self.unet)
            && let Some(text) = facts.of::<TextEncoderAbout, _>(&self.text_encoder)
        {
            reads(&unet, &text)?;
        }
        Ok(())
    }

    fn run(&self, ctx: &mut Ctx<'_>) -> Result<Graded> {
        let machine = ctx.extension::<Machine>()?;
        let (unet, vae) = (ctx.get(&self.unet), ctx.get(&self.vae));
        let (text, dataset) = (ctx.get(&self.text_encoder), ctx.get(&self.dataset));
        fits(vae.about(), dataset.facts())?;
        reads(unet.about(), text.about())?;
        let painter = Painter {
            machine: &machine,
            reporter: &ctx.reporter(),
            unet: &unet,
            vae: &vae,
            text: &text,
            sampler: &self.sampler.0,
            walk: Walk::whole(self.steps),
            cfg: self.cfg,
            size: dataset.facts().size,
        };
        let scenes = ldm_world::evaluation_captions(self.seed, self.captions);
        let pictures = painter.paint(&scenes, self.seed)?;
        let rebuilt = rebuild(&painter, dataset.pictures())?;
        let report = score(&scenes, &pictures, rebuilt, SHOWN);
        let first: Vec<_> = pictures.iter().take(SHOWN).map(|p| p.rgb.clone()).collect();
        let (size, columns) = (painter.size, first.len().min(8));
        let ((width, height), sheet) = crate::picture::sheet(&first, (size, size), columns);
        Ok(Graded {
            report: Report::of(&report)?,
            sheet: Image::from_rgb8(1, height, width, &sheet)?,
        })
    }
}

fn fits(vae: &VaeAbout, dataset: DatasetFacts) -> Result<()> {
    let (factor, size) = (vae.config.factor(), dataset.size);
    if size.is_multiple_of(factor) {
        return Ok(());
    }
    let message = format!("pictures of {size} px do not divide by the autoencoder's {factor}");
    Err(Error::at("dataset", message).hint("set the dataset's `size` to a multiple"))
}

fn reads(unet: &UnetAbout, text: &TextEncoderAbout) -> Result<()> {
    if !text.config.clips().is_empty() {
        let message = "is CLIP's, but the little world is read by the paper's text encoder";
        return Err(Error::at("text_encoder", message).hint("use a model of `TrainDiffusion`"));
    }
    let (wanted, found) = (unet.config.context_dim, text.config.width());
    if wanted == Some(found) {
        return Ok(());
    }
    let wanted = wanted.map_or("no text".to_owned(), |width| {
        format!("tokens of width {width}")
    });
    let message = format!("gives tokens of width {found}, but the UNet wants {wanted}");
    Err(Error::at("text_encoder", message).hint("use the networks of one model"))
}
