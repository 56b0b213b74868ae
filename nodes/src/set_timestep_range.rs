//! `SetTimestepRange`: a conditioning for part of the walk.

use ldm_engine::{Ctx, Error, Facts, In, Node, Result};
use ldm_models::guidance::Span;

use crate::values::{Conditioning, ConditioningFacts, Entry};

/// Lets a conditioning count in part of the walk only.
///
/// `start` and `end` are shares of the timesteps of training: 0 is pure noise, 1 the finished
/// picture. They are shares of the steps, too, where the sampler's steps are evenly spaced in
/// time. What a picture is about is settled early, its detail late.
///
/// ```ron
/// "early": SetTimestepRange(conditioning: "wanted", start: 0.0, end: 0.4)
/// ```
#[derive(Node)]
pub(crate) struct SetTimestepRange {
    /// What is to count in that part.
    conditioning: In<Conditioning>,
    /// Where the part begins.
    #[node(default = 0.0, range = 0.0..=1.0)]
    start: f64,
    /// Where it ends.
    #[node(default = 1.0, range = 0.0..=1.0)]
    end: f64,
}

impl Node for SetTimestepRange {
    type Out = Conditioning;

    fn facts(&self, facts: &mut Facts<'_>) -> Result<()> {
        let (start, end) = (self.start, self.end);
        if start >= end {
            let message = format!("the range begins at {start} and ends at {end}");
            return Err(Error::at("end", message).hint("0 is pure noise, 1 the finished picture"));
        }
        if let Some(told) = facts.of::<ConditioningFacts, _>(&self.conditioning) {
            facts.give((*told).clone());
        }
        Ok(())
    }

    fn run(&self, ctx: &mut Ctx<'_>) -> Result<Conditioning> {
        let (start, end) = (self.start, self.end);
        let told = ctx.get(&self.conditioning);
        let span = Span { start, end };
        Ok(told.each(|entry| Entry { span, ..entry }))
    }
}
