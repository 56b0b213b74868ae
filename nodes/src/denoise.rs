//! `Denoise`: noise in, clean latent out.

use std::sync::Arc;

use ldm_engine::{Ctx, Error, Facts, In, Node, Result};
use ldm_models::sampler::{Sampler, Walk};

use crate::choices::Chosen;
use crate::fit;
use crate::guidance::Guidance;
use crate::machine::Machine;
use crate::ready::Ready;
use crate::sampling::{Asked, Sampling, at_its_field};
use crate::values::{
    Conditioning, ConditioningFacts, Latent, LatentFacts, Mask, PictureFacts, Unet, UnetAbout,
};

/// Walks a latent from noise to a picture that the conditioning describes.
///
/// The noise is what PyTorch draws on the CPU for this seed, the whole batch at once: the same
/// seed starts the picture that ComfyUI and diffusers start, on every device.
///
/// ```ron
/// "latent": Denoise(
///     unet: "model", latent: "noise", positive: "wanted", negative: "empty",
///     sampler: Ddim(eta: 0.0), steps: 50, cfg: 5.0, seed: 42,
/// )
/// ```
#[derive(Node)]
#[node(device)]
pub(crate) struct Denoise {
    /// The network that predicts the noise.
    unet: In<Unet>,
    /// Where the walk starts: an empty latent, or one to change (`denoise` below 1).
    latent: In<Latent>,
    /// What the picture should show; left out for networks that are told nothing.
    positive: Option<In<Conditioning>>,
    /// What guidance pushes away from: the empty text, or what should not be there.
    negative: Option<In<Conditioning>>,
    /// Where the latent is made anew: wholly where it is 1, not where it is 0; everywhere,
    /// without one.
    mask: Option<In<Mask>>,
    /// How the noise is taken away.
    #[node(default = Chosen(Sampler::ddim_compvis(0.0)))]
    sampler: Chosen<Sampler>,
    /// Network calls along the way: more is slower and finer.
    #[node(default = 50, range = 1..=1000)]
    steps: usize,
    /// How strongly guidance pushes towards `positive`; 1 is not at all.
    #[node(default = 5.0, range = 0.0..=100.0)]
    cfg: f64,
    /// How the two sides are weighed against each other.
    #[node(default = Guidance::Plain)]
    guidance: Guidance,
    /// The noise; the same seed gives the same picture.
    #[node(default = 0)]
    seed: u64,
    /// How much of the latent is made anew: 1 all of it, 0 none.
    #[node(default = 1.0, range = 0.0..=1.0)]
    denoise: f64,
}

impl Denoise {
    fn walk(&self) -> Walk {
        Walk {
            steps: self.steps,
            denoise: self.denoise,
        }
    }
}

impl Node for Denoise {
    type Out = Latent;

    fn facts(&self, facts: &mut Facts<'_>) -> Result<()> {
        let Some(unet) = facts.of::<UnetAbout, _>(&self.unet) else {
            return Ok(());
        };
        let schedule = unet.schedule.init()?;
        let calls = self.sampler.0.calls(self.walk(), &schedule);
        calls.map_err(|e| at_its_field(&e.into()))?;
        if self.sampler.0.paints_by_mask() && self.mask.is_none() {
            let message = "this sampler makes anew what a mask covers, but there is none";
            return Err(Error::at("sampler", message).hint("add `mask: …`"));
        }
        let told = |port: &Option<In<Conditioning>>| {
            let port = port.as_ref()?;
            Some(facts.of::<ConditioningFacts, _>(port))
        };
        let (positive, negative) = (told(&self.positive), told(&self.negative));
        let Some(latent) = facts.of::<LatentFacts, _>(&self.latent) else {
            return Ok(());
        };
        let mask = self
            .mask
            .as_ref()
            .and_then(|mask| facts.of::<PictureFacts, _>(mask));
        let mask = mask.map(|mask| *mask);
        fit::check(&unet, *latent, (positive, negative), mask, self.guidance)?;
        facts.give(LatentFacts {
            space: Some(unet.space),
            ..*latent
        });
        Ok(())
    }

    fn run(&self, ctx: &mut Ctx<'_>) -> Result<Latent> {
        let machine = ctx.extension::<Machine>()?;
        let (unet, start) = (ctx.get(&self.unet), ctx.get(&self.latent));
        let (positive, negative) = (ctx.get(&self.positive), ctx.get(&self.negative));
        let mask = ctx.get(&self.mask);
        let about = unet.about();
        let told = |side: &Option<Arc<Conditioning>>| {
            let facts = side.as_ref()?.facts();
            Some(Some(Arc::new(facts)))
        };
        let mask_facts = mask.as_ref().map(|mask| mask.facts());
        let sides = (told(&positive), told(&negative));
        fit::check(about, start.facts(), sides, mask_facts, self.guidance)?;
        let reporter = ctx.reporter();
        if negative.is_none() && self.cfg != 1.0 {
            reporter.note("without `negative`, `cfg` does nothing");
        }
        // Without a positive side a blank condition is asked.
        let count = |told: &Arc<Conditioning>| told.entries.len();
        let conditions = positive.as_ref().map_or(1, count) + negative.as_ref().map_or(0, count);
        let asked = Asked::choose(ctx, conditions, start.facts().batch);
        let network = unet.network_for(asked.aim(), &machine, &reporter)?;
        let [.., height, width] = start.numbers.shape();
        let mut ready = Ready::new((&machine, &reporter), about, [height, width], asked.aim());
        let sides = ready.sides(positive.as_deref(), negative.as_deref())?;
        let sampling = Sampling {
            machine: &machine,
            about,
            network: &network,
            sampler: &self.sampler.0,
            walk: self.walk(),
            guidance: self.guidance.with(self.cfg),
            seed: self.seed,
            asked,
        };
        let mask = mask.map(|mask| mask.resized([height, width]));
        let numbers = sampling.walk(&start.numbers, sides, mask.as_ref(), &reporter)?;
        Ok(Latent {
            numbers,
            space: Some(about.space),
        })
    }
}
