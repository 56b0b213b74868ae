//! One walk from noise to a latent: a network with its guidance, under a sampler.
//!
//! The state stays in f32, whatever the network computes in.

use std::cell::Cell;
use std::ops::ControlFlow;

use burn::tensor::{DType, Tensor};
use ldm_engine::{Error, Reporter, Result};
use ldm_models::guidance::{Bare, Condition, Ground, Guidance, Guided, Keeping};
use ldm_models::noise::Noise;
use ldm_models::prediction::{Denoiser, Network};
use ldm_models::sampler::{SampleError, Sampler, Seeded, Start, Walk};
use ldm_models::schedule::NoiseSchedule;
use ldm_models::unet::{Captured, Control, Heard, Told, UNet};

use crate::array::Array;
use crate::machine::Machine;
use crate::values::UnetAbout;

/// What a walk is made of besides its start.
pub(crate) struct Sampling<'a> {
    pub(crate) machine: &'a Machine,
    pub(crate) about: &'a UnetAbout,
    pub(crate) network: &'a UNet,
    pub(crate) sampler: &'a Sampler,
    pub(crate) walk: Walk,
    pub(crate) guidance: Guidance,
    pub(crate) seed: u64,
}

/// What the network is told.
pub(crate) struct Sides {
    pub(crate) positive: Vec<Condition>,
    pub(crate) negative: Option<Vec<Condition>>,
}

impl Sampling<'_> {
    /// Walks `start [b, c, h, w]` down to a clean latent of the same shape; with a mask
    /// `[1 or b, h, w]`, what it does not cover stays.
    ///
    /// # Errors
    /// What does not fit; a device that fails; a stop that was asked for.
    pub(crate) fn walk(
        &self,
        start: &Array<4>,
        sides: Sides,
        mask: Option<&Array<3>>,
        reporter: &Reporter,
    ) -> Result<Array<4>> {
        let schedule = self.about.schedule.init()?;
        let ground = Ground {
            shape: start.shape(),
            multiple: self.about.config.size_multiple(),
            schedule: schedule.clone(),
            prediction: self.about.prediction,
            device: self.machine.device().clone(),
        };
        let Sides { positive, negative } = sides;
        let said = Cell::new(false);
        let note = |text: &str| {
            if !said.replace(true) {
                reporter.note(text);
            }
        };
        let network = Typed {
            network: self.network,
            compute: self.machine.types().compute,
            captures: self.machine.captures(),
            note: &note,
        };
        let guided = Guided::new(network, ground, self.guidance, positive, negative)?;
        let device = self.machine.device();
        let latent = start.tensor(device, DType::F32);
        let mask = mask.map(|mask| mask.tensor(device, DType::F32).unsqueeze_dim(1));
        let clean = match mask {
            Some(mask) if !self.sampler.paints_by_mask() => {
                let keeping = Keeping {
                    network: &guided,
                    schedule: &schedule,
                    prediction: self.about.prediction,
                    mask,
                    latent: latent.clone(),
                    // What the sampler draws first.
                    noise: Noise::new(self.seed).like(&latent),
                };
                self.sample(&keeping, &schedule, latent.into(), reporter)?
            }
            mask => self.sample(&guided, &schedule, Start { latent, mask }, reporter)?,
        };
        Array::read(clean, "the denoised latent")
    }

    fn sample(
        &self,
        network: &dyn Network,
        schedule: &NoiseSchedule,
        start: Start,
        reporter: &Reporter,
    ) -> Result<Tensor<4>> {
        let model = Denoiser::new(network, schedule, self.about.prediction);
        let clean = self.sampler.sample(
            &model,
            start,
            self.walk,
            &mut Seeded::new(self.seed),
            &mut |step| match reporter.step(step.index as u64 + 1, step.of as u64) {
                Ok(()) => ControlFlow::Continue(()),
                Err(_) => ControlFlow::Break(()),
            },
        );
        clean.map_err(|e| match e {
            SampleError::Stopped(_) => Error::stopped(),
            other => at_its_field(&other),
        })
    }
}

/// The bare network, in the number type it computes in.
struct Typed<'a> {
    network: &'a UNet,
    compute: DType,
    captures: bool,
    note: &'a dyn Fn(&str),
}

/// What the bare network heard, and how its steps are taken.
enum Steps<'a> {
    Called(Box<Heard>),
    Captured(Box<Captured<'a>>),
}

impl<'a> Bare for Typed<'a> {
    type Heard = Steps<'a>;

    fn hear(&self, told: Told) -> Steps<'a> {
        let heard = self.network.hear(&Told {
            context: told.context.map(|tokens| tokens.cast(self.compute)),
            ..told
        });
        if !self.captures {
            return Steps::Called(Box::new(heard));
        }
        Steps::Captured(Box::new(Captured::new(self.network, heard, self.note)))
    }

    fn step(
        &self,
        x: Tensor<4>,
        t: Tensor<1>,
        heard: &Steps<'a>,
        control: Option<Control>,
    ) -> Tensor<4> {
        let control = control.map(|control| cast(control, self.compute));
        let x = x.cast(self.compute);
        let out = match heard {
            Steps::Called(heard) => self.network.step(x, t, heard, control),
            Steps::Captured(captured) => captured.step(x, t, control),
        };
        out.cast(DType::F32)
    }
}

fn cast(control: Control, dtype: DType) -> Control {
    let Control {
        down,
        skips,
        middle,
    } = control;
    Control {
        down: down.into_iter().map(|x| x.map(|x| x.cast(dtype))).collect(),
        skips: skips.into_iter().map(|x| x.cast(dtype)).collect(),
        middle: middle.map(|x| x.cast(dtype)),
    }
}

/// The error at the setting that would mend it.
pub(crate) fn at_its_field(error: &SampleError) -> Error {
    let field = match error {
        SampleError::Schedule(e) if e.is_of_steps() => "steps",
        _ => "sampler",
    };
    Error::at(field, error.to_string())
}
