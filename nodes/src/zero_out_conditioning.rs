//! `ZeroOutConditioning`: a conditioning that says nothing, in the shape of one that does.

use ldm_engine::{Ctx, Facts, In, Node, Result};

use crate::array::Array;
use crate::values::{Conditioning, ConditioningFacts, Entry};

/// Sets a conditioning's tokens and vector to zeros.
///
/// SDXL was trained so that this is what guidance pushes away from, where no negative text is
/// given. Channels, areas, masks and hints stay.
///
/// ```ron
/// "nothing": ZeroOutConditioning(conditioning: "wanted")
/// ```
#[derive(Node)]
pub(crate) struct ZeroOutConditioning {
    /// What to silence.
    conditioning: In<Conditioning>,
}

impl Node for ZeroOutConditioning {
    type Out = Conditioning;

    fn facts(&self, facts: &mut Facts<'_>) -> Result<()> {
        if let Some(told) = facts.of::<ConditioningFacts, _>(&self.conditioning) {
            facts.give((*told).clone());
        }
        Ok(())
    }

    fn run(&self, ctx: &mut Ctx<'_>) -> Result<Conditioning> {
        let told = ctx.get(&self.conditioning);
        Ok(told.each(|entry| Entry {
            tokens: entry.tokens.map(|x| Array::zeros(x.shape())),
            vector: entry.vector.map(|x| Array::zeros(x.shape())),
            ..entry
        }))
    }
}
