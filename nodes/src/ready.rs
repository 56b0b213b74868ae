//! Conditionings on a device, at the size of a latent: what guidance is told.

use std::sync::Arc;

use burn::tensor::{DType, Tensor};
use ldm_engine::{Error, Identity, Reporter, Result};
use ldm_models::guidance::{Condition, ControlHint};
use ldm_models::resize::Method;
use ldm_models::text::Sizes;
use ldm_models::unet::LabelConfig;
use ldm_models::weights::Aim;

use crate::array::Array;
use crate::image_scale::scaled;
use crate::machine::Machine;
use crate::sampling::Sides;
use crate::values::{Conditioning, Entry, Hint, UnetAbout};

/// Whether a text's vector of `found` numbers makes one of `wanted` with Stable Diffusion XL's
/// sizes behind it, or its refiner's.
pub(crate) fn completes(found: usize, wanted: usize) -> bool {
    [true, false]
        .map(|two| Sizes::width(found, two))
        .contains(&wanted)
}

/// Makes entries ready for a latent of one size.
pub(crate) struct Ready<'a> {
    machine: &'a Machine,
    reporter: &'a Reporter,
    /// The network that is told.
    about: &'a UnetAbout,
    /// The latent's height and width.
    size: [usize; 2],
    /// What the networks of hints are read for.
    aim: Aim,
    /// Hints that are ready: both sides of guidance commonly have the same.
    hints: Vec<(Identity, Arc<ControlHint>)>,
}

impl<'a> Ready<'a> {
    /// For the network of `about`, and latents of this height and width; networks of hints are
    /// read for this aim.
    pub(crate) fn new(
        (machine, reporter): (&'a Machine, &'a Reporter),
        about: &'a UnetAbout,
        size: [usize; 2],
        aim: Aim,
    ) -> Self {
        Self {
            machine,
            reporter,
            about,
            size,
            aim,
            hints: Vec::new(),
        }
    }

    /// Both sides of guidance; a negative side that shows no channels shows the positive one's.
    ///
    /// # Errors
    /// When an area does not fit, a class is none, or a hint's network cannot be read.
    pub(crate) fn sides(
        &mut self,
        positive: Option<&Conditioning>,
        negative: Option<&Conditioning>,
    ) -> Result<Sides> {
        let blank = Conditioning::default();
        let positive = self.side("positive", positive.unwrap_or(&blank))?;
        let negative = negative.map(|told| self.side("negative", told));
        let mut negative = negative.transpose()?;
        for condition in negative.iter_mut().flatten() {
            if condition.channels.is_none() {
                condition.channels = positive[0].channels.clone();
            }
        }
        Ok(Sides { positive, negative })
    }

    fn side(&mut self, port: &str, told: &Conditioning) -> Result<Vec<Condition>> {
        if !told.entries.iter().any(Entry::is_everywhere) {
            let note = format!(
                "no entry of `{port}` counts everywhere and always; where none does, it asks for \
                 a blank picture"
            );
            self.reporter.note(note);
        }
        let shown = port == "positive";
        let entries = told.entries.iter().map(|entry| self.entry(entry, shown));
        let ready: Result<_> = entries.collect();
        ready.map_err(|e: Error| {
            let hint = e.hint_text().map(str::to_owned);
            let at = Error::at(port, e.message());
            hint.map_or(at.clone(), |hint| at.hint(hint))
        })
    }

    fn entry(&mut self, entry: &Entry, shown: bool) -> Result<Condition> {
        let (size, factor) = (self.size, self.about.space.factor);
        let mask = entry.mask.as_ref().map(|mask| mask.resized(size));
        let area = entry.area;
        let area = area
            .map(|area| area.places(size, factor, mask.as_ref()))
            .transpose()?;
        self.check_class(entry.vector.as_ref())?;
        // Text encoders give a vector whether or not the network was trained with one.
        let vector = entry
            .vector
            .as_ref()
            .filter(|_| self.about.config.label.is_some());
        let vector = vector.map(|vector| self.sized(vector, shown));
        let hints = entry.hints.iter().map(|hint| self.hint(hint));
        let controls = hints.collect::<Result<_>>()?;
        Ok(Condition {
            tokens: self.tensor(entry.tokens.as_ref()),
            channels: self.tensor(entry.channels.as_ref()),
            vector: self.tensor(vector.as_ref()),
            area,
            mask: self.tensor(mask.as_ref()),
            strength: entry.strength,
            span: entry.span,
            controls,
        })
    }

    /// A text's vector, with the sizes of the picture behind it where the network wants them
    /// and nobody told any.
    fn sized(&self, vector: &Array<2>, shown: bool) -> Array<2> {
        let [batch, found] = vector.shape();
        let Some(LabelConfig::Vector(wanted)) = self.about.config.label else {
            return vector.clone();
        };
        let sizes = Sizes::of(self.size.map(|side| side * self.about.space.factor), shown);
        let rows = vector.numbers().chunks(found.max(1));
        let rows: Option<Vec<_>> = rows.map(|row| sizes.behind(row, wanted)).collect();
        rows.map_or_else(
            || vector.clone(),
            |rows| Array::new([batch, wanted], rows.concat()),
        )
    }

    /// Whether a class is one of the network's.
    fn check_class(&self, vector: Option<&Array<2>>) -> Result<()> {
        let Some(LabelConfig::Classes(classes)) = self.about.config.label else {
            return Ok(());
        };
        let numbers = vector.map_or(&[][..], Array::numbers);
        let wrong = |n: &&f32| n.fract() != 0.0 || **n < 0.0 || **n >= classes as f32;
        match numbers.iter().find(wrong) {
            None => Ok(()),
            Some(n) => Err(Error::new(format!(
                "this UNet knows classes 0 to {}, found {n}",
                classes - 1
            ))),
        }
    }

    fn hint(&mut self, hint: &Hint) -> Result<Arc<ControlHint>> {
        let identity = hint.identity();
        if let Some((_, ready)) = self.hints.iter().find(|(known, _)| *known == identity) {
            return Ok(ready.clone());
        }
        // As ComfyUI brings a hint to the latent's size.
        let size = self.size.map(|n| n * hint.network.about().config.factor());
        let image = scaled(&hint.image, size, Method::Nearest, true);
        let (machine, reporter) = (self.machine, self.reporter);
        let ready = Arc::new(ControlHint {
            network: hint.network.network_for(self.aim, machine, reporter)?,
            hint: image.tensor(self.machine.device(), DType::F32),
            strength: hint.strength,
            span: hint.span,
        });
        self.hints.push((identity, ready.clone()));
        Ok(ready)
    }

    fn tensor<const D: usize>(&self, array: Option<&Array<D>>) -> Option<Tensor<D>> {
        array.map(|array| array.tensor(self.machine.device(), DType::F32))
    }
}
