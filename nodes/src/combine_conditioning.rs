//! `CombineConditioning`: several conditionings side by side.

use ldm_engine::{Ctx, Facts, In, Node, Result};

use crate::values::{Conditioning, ConditioningFacts};

/// Puts several conditionings beside each other, each of which is followed.
///
/// The network is asked about each entry by itself, and what it says is averaged: by strength,
/// and where entries have an area or a mask, place by place. That takes as many network calls
/// as there are entries. `ConcatConditioning` lets the network look at several texts at once.
///
/// ```ron
/// "two": CombineConditioning(conditioning: ["wanted", "also"])
/// ```
#[derive(Node)]
pub(crate) struct CombineConditioning {
    /// What to put beside each other; the order makes no difference to what is said.
    conditioning: Vec<In<Conditioning>>,
}

impl Node for CombineConditioning {
    type Out = Conditioning;

    fn facts(&self, facts: &mut Facts<'_>) -> Result<()> {
        let parts = facts.all::<ConditioningFacts, _>(&self.conditioning);
        if let Some(parts) = parts.into_iter().collect::<Option<Vec<_>>>() {
            let entries = parts.iter().flat_map(|part| part.entries.clone());
            facts.give(ConditioningFacts {
                entries: entries.collect(),
            });
        }
        Ok(())
    }

    fn run(&self, ctx: &mut Ctx<'_>) -> Result<Conditioning> {
        let parts = ctx.get(&self.conditioning);
        let entries = parts.iter().flat_map(|part| part.entries.clone());
        Ok(Conditioning {
            entries: entries.collect(),
        })
    }
}
