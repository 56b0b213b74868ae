//! `Denoise`: noise in, clean latent out.

use std::sync::Arc;

use ldm_engine::{Ctx, Facts, In, Node, Result};
use ldm_models::sampler::{Sampler, Walk};

use crate::choices::Chosen;
use crate::fit;
use crate::machine::Machine;
use crate::sampling::{Sampling, at_its_field};
use crate::values::{Conditioning, ConditioningFacts, Latent, LatentFacts, Unet, UnetAbout};

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
    /// How the noise is taken away.
    #[node(default = Chosen(Sampler::ddim_compvis(0.0)))]
    sampler: Chosen<Sampler>,
    /// Network calls along the way: more is slower and finer.
    #[node(default = 50, range = 1..=1000)]
    steps: usize,
    /// How strongly guidance pushes towards `positive`; 1 is not at all.
    #[node(default = 5.0, range = 0.0..=100.0)]
    cfg: f64,
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
        let told = |port: &Option<In<Conditioning>>| {
            port.as_ref()
                .map(|port| facts.of::<ConditioningFacts, _>(port).map(|facts| *facts))
        };
        let (positive, negative) = (told(&self.positive), told(&self.negative));
        let Some(latent) = facts.of::<LatentFacts, _>(&self.latent) else {
            return Ok(());
        };
        fit::check(&unet, *latent, positive, negative)?;
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
        let about = unet.about();
        let told = |side: &Option<Arc<Conditioning>>| side.as_ref().map(|c| Some(c.facts()));
        fit::check(about, start.facts(), told(&positive), told(&negative))?;
        if negative.is_none() && self.cfg != 1.0 {
            ctx.reporter()
                .note("without `negative`, `cfg` does nothing");
        }
        let network = unet.network(&machine, &ctx.reporter())?;
        let [positive, negative] = [positive, negative].map(|c| c.map(|c| c.condition(&machine)));
        let sampling = Sampling {
            machine: &machine,
            about,
            network: &network,
            sampler: &self.sampler.0,
            walk: self.walk(),
            cfg: self.cfg,
            seed: self.seed,
        };
        let positive = positive.unwrap_or_default();
        let numbers = sampling.walk(&start.numbers, positive, negative, &ctx.reporter())?;
        Ok(Latent {
            numbers,
            space: Some(about.space),
        })
    }
}
