//! `SetMask`: a conditioning for the places that a mask covers.

use ldm_engine::{Ctx, Facts, In, Node, Result};

use crate::values::{Conditioning, ConditioningFacts, Entry, EntryFacts, Mask, PictureFacts};

/// Lets a conditioning count where a mask is 1, less where it is less, and not where it is 0.
///
/// The network still sees the whole picture, or the area that `SetArea` keeps it to; with
/// `area: Mask` that is the box around the mask. A mask of another size than the picture is
/// stretched to it.
///
/// ```ron
/// "where": SetMask(conditioning: "wanted", mask: "photo")
/// ```
#[derive(Node)]
pub(crate) struct SetMask {
    /// What the mask is for.
    conditioning: In<Conditioning>,
    /// Where it counts: one mask, or one for each picture.
    mask: In<Mask>,
}

impl Node for SetMask {
    type Out = Conditioning;

    fn facts(&self, facts: &mut Facts<'_>) -> Result<()> {
        let mask = facts.of::<PictureFacts, _>(&self.mask).map(|mask| *mask);
        let told = facts.of::<ConditioningFacts, _>(&self.conditioning);
        if let (Some(told), Some(mask)) = (told, mask) {
            let mask = Some(mask);
            facts.give(told.each(|entry| EntryFacts { mask, ..entry }));
        }
        Ok(())
    }

    fn run(&self, ctx: &mut Ctx<'_>) -> Result<Conditioning> {
        let (told, mask) = (ctx.get(&self.conditioning), ctx.get(&self.mask));
        Ok(told.each(|entry| {
            let mask = Some((*mask).clone());
            Entry { mask, ..entry }
        }))
    }
}
