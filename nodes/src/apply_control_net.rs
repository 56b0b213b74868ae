//! `ApplyControlNet`: a picture that steers.

use std::sync::Arc;

use ldm_engine::{Ctx, Error, Facts, In, Node, Result};
use ldm_models::guidance::Span;

use crate::values::{
    Conditioning, ConditioningFacts, ControlAbout, ControlNet, Entry, EntryFacts, Hint, HintFacts,
    Image, PictureFacts,
};

/// Steers by a picture: its edges, its depth, a pose, whatever the ControlNet was trained on.
///
/// The picture is brought to the size of what is drawn, its middle cut out where the shape is
/// another. Several in a chain add up. What only `positive` is steered by is also pushed by `cfg`;
/// give both sides the same to steer without that, as ComfyUI does.
///
/// ```ron
/// "steered": ApplyControlNet(
///     conditioning: "wanted", control_net: "edges", image: "photo", strength: 0.8, end: 0.9,
/// )
/// ```
#[derive(Node)]
pub(crate) struct ApplyControlNet {
    /// What the picture should show.
    conditioning: In<Conditioning>,
    /// The ControlNet, or the T2I-Adapter.
    control_net: In<ControlNet>,
    /// What to steer by, as the network was trained to see it.
    image: In<Image>,
    /// How strongly; 0 not at all.
    #[node(default = 1.0, range = 0.0..=10.0)]
    strength: f64,
    /// Where in the walk it begins: 0 is pure noise, 1 the finished picture.
    #[node(default = 0.0, range = 0.0..=1.0)]
    start: f64,
    /// Where in the walk it ends.
    #[node(default = 1.0, range = 0.0..=1.0)]
    end: f64,
}

impl ApplyControlNet {
    fn span(&self) -> Result<Span> {
        let (start, end) = (self.start, self.end);
        if start >= end {
            let message = format!("the range begins at {start} and ends at {end}");
            return Err(Error::at("end", message).hint("0 is pure noise, 1 the finished picture"));
        }
        Ok(Span { start, end })
    }
}

impl Node for ApplyControlNet {
    type Out = Conditioning;

    fn facts(&self, facts: &mut Facts<'_>) -> Result<()> {
        self.span()?;
        let told = facts.of::<ConditioningFacts, _>(&self.conditioning);
        let about = facts.of::<ControlAbout, _>(&self.control_net);
        let image = facts.of::<PictureFacts, _>(&self.image);
        let (Some(told), Some(about), Some(image)) = (told, about, image) else {
            return Ok(());
        };
        if self.strength == 0.0 {
            facts.give((*told).clone());
            return Ok(());
        }
        let hint = HintFacts {
            network: Arc::new(about.config.clone()),
            batch: image.batch,
        };
        facts.give(told.each(|mut entry: EntryFacts| {
            entry.hints.push(hint.clone());
            entry
        }));
        Ok(())
    }

    fn run(&self, ctx: &mut Ctx<'_>) -> Result<Conditioning> {
        let (told, network) = (ctx.get(&self.conditioning), ctx.get(&self.control_net));
        // Told so, nothing is added, and nothing below has to be made again.
        if self.strength == 0.0 {
            return Ok((*told).clone());
        }
        let hint = Hint {
            network: (*network).clone(),
            image: Arc::new(ctx.get(&self.image).pixels().clone()),
            strength: self.strength,
            span: self.span()?,
        };
        Ok(told.each(|mut entry: Entry| {
            entry.hints.push(hint.clone());
            entry
        }))
    }
}
