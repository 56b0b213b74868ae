//! `SetArea`: a conditioning for part of the picture.

use ldm_engine::{Ctx, Facts, In, Node, Result};

use crate::values::{Area, Conditioning, ConditioningFacts, Entry, EntryFacts};

/// Keeps a conditioning to part of the picture.
///
/// The network sees that part alone when it is asked about it. Edges inside the picture fade
/// over 8 places of the latent, unless the conditioning has a mask too.
///
/// ```ron
/// "left": SetArea(conditioning: "wanted", area: Share(width: 0.5))
/// ```
#[derive(Node)]
pub(crate) struct SetArea {
    /// What to keep to the area.
    conditioning: In<Conditioning>,
    /// The part of the picture.
    area: Area,
}

impl Node for SetArea {
    type Out = Conditioning;

    fn facts(&self, facts: &mut Facts<'_>) -> Result<()> {
        let area = Some(self.area);
        if let Some(told) = facts.of::<ConditioningFacts, _>(&self.conditioning) {
            facts.give(told.each(|entry| EntryFacts { area, ..entry }));
        }
        Ok(())
    }

    fn run(&self, ctx: &mut Ctx<'_>) -> Result<Conditioning> {
        let area = Some(self.area);
        let told = ctx.get(&self.conditioning);
        Ok(told.each(|entry| Entry { area, ..entry }))
    }
}
