//! One walk from noise to a latent: a network with its guidance, under a sampler.
//!
//! The state stays in f32, whatever the network computes in.

use std::cell::Cell;
use std::ops::ControlFlow;

use burn::tensor::{DType, Tensor};
use ldm_engine::{Ctx, Error, Reporter, Result, Way};
use ldm_models::guidance::{Bare, Condition, Ground, Guidance, Guided, Keeping, OneByOne};
use ldm_models::noise::Noise;
use ldm_models::prediction::{Denoiser, Network};
use ldm_models::sampler::{SampleError, Sampler, Seeded, Start, Walk};
use ldm_models::schedule::NoiseSchedule;
use ldm_models::unet::{Captured, Control, Heard, Told, UNet};
use ldm_models::weights::Aim;

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
    pub(crate) asked: Asked,
}

/// How much the network is asked at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Asked {
    /// All conditions that can share a call, of all pictures.
    Together,
    /// Each condition, of all pictures.
    Apart,
    /// Each condition of each picture.
    OneByOne,
    /// The same of networks that the device has no room for.
    Offloaded,
}

impl Asked {
    /// How the network is asked for so many conditions of `batch` pictures: together, as long as
    /// the device's memory does not run out. What that takes nobody knows, so `--memory` has no
    /// say. To be chosen before the network is read, which may find no room.
    pub(crate) fn choose(ctx: &Ctx<'_>, conditions: usize, batch: usize) -> Self {
        let mut all = vec![(Self::Together, "")];
        if conditions > 1 {
            all.push((Self::Apart, "with a call of the network for each condition"));
        }
        if batch > 1 {
            let words = "with a call of the network for each condition of each picture";
            all.push((Self::OneByOne, words));
        }
        let words = "with the weights in the host's memory, and the smallest calls";
        all.push((Self::Offloaded, words));
        let way = |(_, words): &(Self, &str)| Way {
            bytes: 0,
            words: (*words).to_owned(),
            asked: None,
        };
        let ways: Vec<Way> = all.iter().map(way).collect();
        all[ctx.way(&ways)].0
    }

    /// What networks are read for.
    pub(crate) fn aim(self) -> Aim {
        match self {
            Self::Together | Self::Apart | Self::OneByOne => Aim::Run,
            Self::Offloaded => Aim::Offload,
        }
    }
}

/// What the network is told.
pub(crate) struct Sides {
    pub(crate) positive: Vec<Condition>,
    pub(crate) negative: Option<Vec<Condition>>,
}

impl Sides {
    /// What it is told of picture `at` of a batch.
    fn of_picture(&self, at: usize) -> Self {
        let of = |side: &Vec<Condition>| side.iter().map(|one| one.of_picture(at)).collect();
        Self {
            positive: of(&self.positive),
            negative: self.negative.as_ref().map(of),
        }
    }
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
        let said = Cell::new(false);
        let note = |text: &str| {
            if !said.replace(true) {
                reporter.note(text);
            }
        };
        let bare = Typed {
            network: self.network,
            compute: self.machine.types().compute,
            // What is brought over at each step has no place of its own to be captured with.
            captures: self.machine.captures() && self.asked != Asked::Offloaded,
            note: &note,
        };
        let guided = |ground, sides: Sides| -> Result<_> {
            let Sides { positive, negative } = sides;
            let guided = Guided::new(bare, ground, self.guidance, positive, negative)?;
            Ok(match self.asked {
                Asked::Together => guided,
                Asked::Apart | Asked::OneByOne | Asked::Offloaded => guided.apart(),
            })
        };
        let network: Box<dyn Network + '_> = match self.asked {
            Asked::Together | Asked::Apart => Box::new(guided(ground, sides)?),
            Asked::OneByOne | Asked::Offloaded => {
                let [batch, rest @ ..] = ground.shape;
                let shape = [1, rest[0], rest[1], rest[2]];
                let one = Ground { shape, ..ground };
                let each = (0..batch).map(|at| guided(one.clone(), sides.of_picture(at)));
                Box::new(OneByOne(each.collect::<Result<Vec<_>>>()?))
            }
        };
        let network = &*network;
        let device = self.machine.device();
        let latent = start.tensor(device, DType::F32);
        let mask = mask.map(|mask| mask.tensor(device, DType::F32).unsqueeze_dim(1));
        let clean = match mask {
            Some(mask) if !self.sampler.paints_by_mask() => {
                let keeping = Keeping {
                    network,
                    schedule: &schedule,
                    prediction: self.about.prediction,
                    mask,
                    latent: latent.clone(),
                    // What the sampler draws first.
                    noise: Noise::new(self.seed).like(&latent),
                };
                self.sample(&keeping, &schedule, latent.into(), reporter)?
            }
            mask => self.sample(network, &schedule, Start { latent, mask }, reporter)?,
        };
        self.machine.read(clean, "the denoised latent")
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
#[derive(Clone, Copy)]
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

    fn hear(&self, told: Told, ahead: &[f64]) -> Steps<'a> {
        let heard = self.network.hear(&Told {
            context: told.context.map(|tokens| tokens.cast(self.compute)),
            ..told
        });
        let heard = heard.ahead(ahead);
        if !self.captures {
            return Steps::Called(Box::new(heard));
        }
        Steps::Captured(Box::new(Captured::new(self.network, heard, self.note)))
    }

    fn step(&self, x: Tensor<4>, t: f64, heard: &Steps<'a>, control: Option<Control>) -> Tensor<4> {
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
