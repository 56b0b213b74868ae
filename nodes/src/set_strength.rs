//! `SetStrength`: how much a conditioning counts beside others.

use ldm_engine::{Ctx, Facts, In, Node, Result};

use crate::values::{Conditioning, ConditioningFacts, Entry};

/// Says how much a conditioning counts beside those it is combined with.
///
/// Strengths are shares of their sum at each place: of 3 and 1 the first counts three quarters.
/// Alone, a conditioning counts wholly whatever its strength; 0 is not at all.
///
/// ```ron
/// "little": SetStrength(conditioning: "also", strength: 0.3)
/// ```
#[derive(Node)]
pub(crate) struct SetStrength {
    /// What is to count so much.
    conditioning: In<Conditioning>,
    /// How much.
    #[node(default = 1.0, range = 0.0..=10.0)]
    strength: f64,
}

impl Node for SetStrength {
    type Out = Conditioning;

    fn facts(&self, facts: &mut Facts<'_>) -> Result<()> {
        if let Some(told) = facts.of::<ConditioningFacts, _>(&self.conditioning) {
            facts.give((*told).clone());
        }
        Ok(())
    }

    fn run(&self, ctx: &mut Ctx<'_>) -> Result<Conditioning> {
        let strength = self.strength;
        let told = ctx.get(&self.conditioning);
        Ok(told.each(|entry| Entry { strength, ..entry }))
    }
}
