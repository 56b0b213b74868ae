//! `ConcatLatent`: a latent that the network sees beside the noisy one.

use std::sync::Arc;

use ldm_engine::{Ctx, Error, Facts, In, Node, Result};

use crate::values::{Conditioning, ConditioningFacts, Latent, LatentFacts};

/// Adds a latent's channels to a conditioning.
///
/// For networks with more input channels than a latent has, as inpainting and super-resolution
/// have: `Denoise` sets these channels behind the noisy ones at every step.
///
/// ```ron
/// "shown": ConcatLatent(conditioning: "wanted", latent: "start")
/// ```
#[derive(Node)]
pub(crate) struct ConcatLatent {
    /// What to add to; without it the channels stand alone.
    conditioning: Option<In<Conditioning>>,
    /// What the network should see, of the size that is denoised.
    latent: In<Latent>,
}

impl Node for ConcatLatent {
    type Out = Conditioning;

    fn facts(&self, facts: &mut Facts<'_>) -> Result<()> {
        let there = before(facts, self.conditioning.as_ref());
        let latent = facts.of::<LatentFacts, _>(&self.latent);
        if let (Some(there), Some(l)) = (there, latent) {
            let added = [l.batch, l.channels, l.height, l.width];
            facts.give(there.with_channels(added).map_err(at_latent)?);
        }
        Ok(())
    }

    fn run(&self, ctx: &mut Ctx<'_>) -> Result<Conditioning> {
        let latent = ctx.get(&self.latent);
        let there = ctx.get(&self.conditioning).unwrap_or_default();
        there.with_channels(&latent.numbers).map_err(at_latent)
    }
}

/// What is known of a conditioning that channels are added to, which may be left out.
pub(crate) fn before(
    facts: &Facts<'_>,
    port: Option<&In<Conditioning>>,
) -> Option<Arc<ConditioningFacts>> {
    match port {
        None => Some(Arc::default()),
        Some(port) => facts.of::<ConditioningFacts, _>(port),
    }
}

fn at_latent(error: Error) -> Error {
    let hint = error.hint_text().unwrap_or_default().to_owned();
    Error::at("latent", error.message()).hint(hint)
}
