//! `SetClass`: a conditioning for a picture of one class.

use ldm_engine::{Ctx, Facts, In, Node, Result};

use crate::array::Array;
use crate::concat_latent::before;
use crate::values::{Conditioning, Entry, EntryFacts};

/// Tells a UNet with classes of its own which one the picture is of.
///
/// For networks that add a class to the timestep. Models that look at a class as at a word have a
/// class embedder: see `ClassEncode`.
///
/// ```ron
/// "one_class": SetClass(class: 3)
/// ```
#[derive(Node)]
pub(crate) struct SetClass {
    /// What else is told; without it the class stands alone.
    conditioning: Option<In<Conditioning>>,
    /// The class's number, counted from 0.
    #[node(range = 0..=1000000)]
    class: usize,
}

impl Node for SetClass {
    type Out = Conditioning;

    fn facts(&self, facts: &mut Facts<'_>) -> Result<()> {
        if let Some(told) = before(facts, self.conditioning.as_ref()) {
            let vector = Some([1, 1]);
            facts.give(told.each(|entry| EntryFacts { vector, ..entry }));
        }
        Ok(())
    }

    fn run(&self, ctx: &mut Ctx<'_>) -> Result<Conditioning> {
        let told = ctx.get(&self.conditioning).unwrap_or_default();
        Ok(told.each(|entry| Entry {
            vector: Some(Array::new([1, 1], vec![self.class as f32])),
            ..entry
        }))
    }
}
