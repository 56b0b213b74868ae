//! `ApplyLora`: an adapter's change of a model.

use std::sync::Arc;

use ldm_engine::{Ctx, Error, Facts, In, Node, Outputs, ReadPath, Reporter, Result};
use ldm_models::adapter::{Adapter, Part};

use crate::values::{About, Model, TextEncoder, TextEncoderAbout, Unet, UnetAbout, adapter};

/// Changes a model by an adapter: LoRA, LoCon, LoHa, LoKr, DoRA and their kin.
///
/// The change is made as the weights are read, so any number can follow one another. While
/// planning, the adapter's names and shapes are held against the networks: one made for another
/// family is an error. Layers that a network lacks are told.
///
/// ```ron
/// "styled": ApplyLora(
///     unet: "model", text_encoder: "model", path: "style.safetensors",
///     strength: 0.8, text_strength: 0.8,
/// )
/// ```
#[derive(Node)]
pub(crate) struct ApplyLora {
    /// The network that predicts the noise.
    unet: Option<In<Unet>>,
    /// The text encoder.
    text_encoder: Option<In<TextEncoder>>,
    /// The adapter.
    path: ReadPath,
    /// How much of its change of the UNet: 0 is none, 1 as it was trained.
    #[node(default = 1.0, range = -100.0..=100.0)]
    strength: f64,
    /// How much of its change of the text encoder.
    #[node(default = 1.0, range = -100.0..=100.0)]
    text_strength: f64,
}

/// What an adapter gives: what came in, changed.
#[derive(Outputs)]
pub(crate) struct Adapted {
    /// The UNet, where one came in.
    unet: Option<Unet>,
    /// The text encoder, where one came in.
    text_encoder: Option<TextEncoder>,
}

impl ApplyLora {
    /// Whether the adapter is for anything that is linked.
    fn is_for(&self, adapter: &Adapter) -> Result<()> {
        let (unet, text) = (self.unet.is_some(), self.text_encoder.is_some());
        if !unet && !text {
            let nothing = Error::new("has nothing to change");
            return Err(nothing.hint("link `unet`, `text_encoder` or both"));
        }
        if (unet && adapter.is_for(Part::Unet)) || (text && adapter.is_for(Part::Text)) {
            return Ok(());
        }
        let part = adapter.targets()[0].part().name();
        let message = format!("the adapter is for a {part}, which is not linked");
        Err(Error::at("path", message).hint("link it, or use another adapter"))
    }
}

/// Holds the adapter against one network; the answer is what is left out.
fn check<A: About>(about: &A, adapter: &Arc<Adapter>) -> Result<Vec<String>> {
    let fit = about.fit(adapter)?;
    let left_out = fit.map(|fit| fit.check()).transpose();
    let left_out = left_out.map_err(|e| Error::at("path", e.to_string()).hint(HINT))?;
    Ok(left_out.unwrap_or_default())
}

const HINT: &str = "use an adapter that was trained on a model of the same family";

fn changed<A: About>(
    model: &Model<A>,
    (file, strength): (&ldm_engine::FileRef, f64),
    adapter: &Arc<Adapter>,
    reporter: &Reporter,
) -> Result<Model<A>> {
    for left_out in check(model.about(), adapter)? {
        reporter.note(left_out);
    }
    Ok(model.adapted(file.clone(), strength))
}

impl Node for ApplyLora {
    type Out = Adapted;

    fn facts(&self, facts: &mut Facts<'_>) -> Result<()> {
        let adapter = facts.open(&self.path).and_then(adapter);
        let adapter = adapter.map_err(|e| Error::at("path", e.message()))?;
        self.is_for(&adapter)?;
        let unet = self
            .unet
            .as_ref()
            .map(|port| facts.of::<UnetAbout, _>(port));
        match unet {
            Some(Some(about)) => {
                check(&*about, &adapter)?;
                facts.give_on("unet", (*about).clone());
            }
            Some(None) => {}
            None => facts.absent("unet"),
        }
        let text = self.text_encoder.as_ref();
        match text.map(|port| facts.of::<TextEncoderAbout, _>(port)) {
            Some(Some(about)) => {
                check(&*about, &adapter)?;
                facts.give_on("text_encoder", (*about).clone());
            }
            Some(None) => {}
            None => facts.absent("text_encoder"),
        }
        Ok(())
    }

    fn run(&self, ctx: &mut Ctx<'_>) -> Result<Adapted> {
        let (file, reporter) = (ctx.file(&self.path)?, ctx.reporter());
        let adapter = adapter(file.open()?)?;
        self.is_for(&adapter)?;
        if let [first, ..] = adapter.leftover() {
            let count = adapter.leftover().len();
            reporter.note(format!(
                "{count} tensors of the adapter are not understood and left out: `{first}` …"
            ));
        }
        let unet = ctx.get(&self.unet);
        let unet = unet.map(|m| changed(&m, (&file, self.strength), &adapter, &reporter));
        let text = ctx.get(&self.text_encoder);
        let text = text.map(|m| changed(&m, (&file, self.text_strength), &adapter, &reporter));
        Ok(Adapted {
            unet: unet.transpose()?,
            text_encoder: text.transpose()?,
        })
    }
}
