//! Classifier-free guidance: away from the negative conditions, towards the positive ones.
//!
//! Ho and Salimans 2022 (arXiv 2207.12598), in the form every tool uses:
//! e = e_negative + cfg · (e_positive − e_negative).
//!
//! A side is a list of conditions, each of an area, under a mask, for part of the walk, with
//! a strength. What the side says is the mean of what the network says of each, weighted place
//! by place, by ComfyUI's rules (`area`, `mean`).
//!
//! Promises
//! - Conditions that can share a call do, `[negative, positive]` as in CompVis; which ones
//!   follows from shapes alone, unless each is to have a call of its own.
//! - At `cfg` 1, and without a negative side, only the positive one runs.
//! - A lone condition of the whole latent predicts what the network predicts, bit for bit,
//!   whatever its strength.
//! - What does not fit is an error before the first network call.

mod area;
mod bare;
mod call;
mod condition;
mod control;
mod each;
mod error;
mod keep;
mod mean;
mod part;
mod space;
#[cfg(test)]
mod tests;

pub use area::Area;
pub use bare::Bare;
pub use condition::{Condition, Span};
pub use control::{ControlHint, ControlModel, Steer};
pub use each::OneByOne;
pub use error::GuidanceError;
pub use keep::Keeping;

use std::cell::RefCell;
use std::rc::Rc;

use burn::tensor::{Device, Tensor};

use self::call::Call;
use self::mean::Mean;
use self::part::{Fit, Part};
use self::space::{Space, sigma_of_edm};
use crate::prediction::{Both, Network, Prediction};
use crate::schedule::NoiseSchedule;

/// How the sides are weighed against each other.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Guidance {
    /// e_n + cfg · (e_p − e_n).
    Plain {
        /// The strength; 1 is off.
        cfg: f64,
    },
    /// The same, brought back towards the spread of the positive side: Lin et al. 2023
    /// (arXiv 2305.08891) §3.4, eq. 14 to 16.
    Rescaled {
        /// The strength; 1 is off, and then nothing is rescaled.
        cfg: f64,
        /// φ: 0 leaves it as it is, 1 rescales wholly; the paper takes 0.7.
        phi: f64,
        /// What is rescaled.
        of: RescaleOf,
    },
    /// Text and image apart: e_0 + cfg · (e_p − e_n) + image · (e_n − e_0), where e_0 is the
    /// negative side without its image. Brooks et al. 2023 (arXiv 2211.09800), eq. 3.
    Image {
        /// The text's strength.
        cfg: f64,
        /// The image's strength; 1 is plain guidance by the text.
        image: f64,
    },
}

/// What [`Guidance::Rescaled`] brings back to its spread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RescaleOf {
    /// The velocity, whatever the network predicts: ComfyUI's `RescaleCFG`.
    Velocity,
    /// What the network predicts: diffusers' `guidance_rescale`. The same for networks that
    /// predict the velocity.
    Output,
}

/// What guidance must know of the latent and the network.
#[derive(Clone, Debug)]
pub struct Ground {
    /// The latent's, `[b, c, h, w]`.
    pub shape: [usize; 4],
    /// What height and width must be multiples of: `UNetConfig::size_multiple`.
    pub multiple: usize,
    /// The schedule of training.
    pub schedule: NoiseSchedule,
    /// What the network predicts.
    pub prediction: Prediction,
    /// Where the latent is.
    pub device: Device,
}

impl Ground {
    /// How much of the walk is left at timestep `t`: 1 at pure noise, 0 at the first timestep.
    fn left(&self, t: f64) -> f64 {
        let t = match self.prediction {
            // Told ¼ ln σ: the schedule's timesteps count ln σ evenly.
            Prediction::Edm => self.schedule.timestep_of(sigma_of_edm(t)),
            _ => t,
        };
        t / (self.schedule.timesteps().max(2) - 1) as f64
    }
}

/// A network under guidance: itself a [`Network`] that a sampler can walk.
///
/// What the bare networks make of their conditions is kept from step to step, so it stays on one
/// thread.
pub struct Guided<N: Bare> {
    network: N,
    ground: Ground,
    guidance: Guidance,
    /// The positive side is the last.
    sides: Vec<Vec<Rc<Part>>>,
    /// Whether no two conditions share a call.
    apart: bool,
    /// The timesteps at which it will be asked, as far as that is known.
    ahead: RefCell<Vec<f64>>,
    calls: RefCell<Calls<N::Heard>>,
}

/// The calls of a step.
struct Calls<H> {
    /// Which conditions, and which of their hints, they are made for: see [`Guided::counting`].
    counting: Vec<bool>,
    calls: Vec<Call<H>>,
}

impl<N: Bare> Guided<N> {
    /// Guides `network` by `guidance` for latents on `ground`.
    ///
    /// Prompts of different length are repeated to their least common multiple, as ComfyUI
    /// does: attention over repeated tokens gives what it gives over the tokens once. Where
    /// that takes more than four times the shorter one, they run in two calls.
    pub fn new(
        network: N,
        ground: Ground,
        guidance: Guidance,
        positive: Vec<Condition>,
        negative: Option<Vec<Condition>>,
    ) -> Result<Self, GuidanceError> {
        guidance.check()?;
        let mut sides = guidance.sides(positive, negative)?;
        area::mirror(&mut sides);
        let last = sides.len() - 1;
        let fit = |(side, conditions)| {
            let which = if side == last { "positive" } else { "negative" };
            let fit = Fit {
                which,
                side,
                ground: &ground,
            };
            fit.side(conditions)
        };
        let sides: Vec<Vec<Rc<Part>>> = sides
            .into_iter()
            .enumerate()
            .map(fit)
            .collect::<Result<_, _>>()?;
        let all: Vec<&Part> = sides.iter().rev().flatten().map(Rc::as_ref).collect();
        part::agree(&all)?;
        // Nobody counts yet, and of one or more conditions that is never so.
        let none = Calls {
            counting: Vec::new(),
            calls: Vec::new(),
        };
        Ok(Self {
            network,
            ground,
            guidance,
            sides,
            apart: false,
            ahead: RefCell::default(),
            calls: RefCell::new(none),
        })
    }

    /// Calls the network for each condition by itself: slower, in less memory.
    #[must_use]
    pub fn apart(self) -> Self {
        Self {
            apart: true,
            ..self
        }
    }

    /// What each side says of `x` at `t`.
    fn says(&self, x: &Tensor<4>, t: f64) -> Vec<Tensor<4>> {
        let left = self.ground.left(t);
        let counting = self.counting(left);
        let mut kept = self.calls.borrow_mut();
        if kept.counting != counting {
            let calls = self.calls(left);
            *kept = Calls { counting, calls };
        }
        let mut means: Vec<Mean<'_>> = self.sides.iter().map(|_| Mean::default()).collect();
        for call in &kept.calls {
            let all = call.predict(&self.network, x, t);
            for (part, e) in call.parts.iter().zip(all) {
                means[part.side].add(part, e);
            }
        }
        let blank = || self.space(t).output(x.clone(), x.zeros_like());
        means
            .into_iter()
            .map(|mean| mean.or_blank(x, blank))
            .collect()
    }

    /// Of each condition whether it counts with so much `left` of the walk, then of each of its
    /// hints.
    fn counting(&self, left: f64) -> Vec<bool> {
        let parts = self.sides.iter().flatten();
        let each = parts.flat_map(|part| {
            let hints = part.controls.iter().map(|hint| hint.span.holds(left));
            [part.counts(left)].into_iter().chain(hints)
        });
        each.collect()
    }

    /// The calls with so much `left` of the walk.
    fn calls(&self, left: f64) -> Vec<Call<N::Heard>> {
        let parts = self.sides.iter().flatten();
        let parts = parts.filter(|part| part.counts(left)).cloned();
        let shape = self.ground.shape;
        let groups = call::groups(parts, shape[0], self.apart).into_iter();
        let ahead = self.ahead.borrow();
        groups
            .map(|group| Call::new(&self.network, group, shape, left, &ahead))
            .collect()
    }

    fn space(&self, t: f64) -> Space {
        Space::at(t, &self.ground.schedule, self.ground.prediction)
    }

    /// `e`, guided away from what it was, with the spread of `positive`.
    fn rescaled(&self, x: Tensor<4>, t: f64, e: Tensor<4>, positive: Tensor<4>) -> Tensor<4> {
        match self.guidance {
            Guidance::Rescaled { phi, of, .. } => match of {
                RescaleOf::Output => rescale(e, positive, phi),
                RescaleOf::Velocity => {
                    let space = self.space(t);
                    let v = |e| space.velocity(x.clone(), e);
                    space.of_velocity(x.clone(), rescale(v(e), v(positive), phi))
                }
            },
            Guidance::Plain { .. } | Guidance::Image { .. } => e,
        }
    }
}

impl<N: Bare> Network for Guided<N> {
    fn predict(&self, x: Tensor<4>, t: f64) -> Tensor<4> {
        self.predict_both(x, t).guided
    }

    fn predict_both(&self, x: Tensor<4>, t: f64) -> Both {
        let mut says = self.says(&x, t);
        let positive = says.pop().expect("there is always a positive side");
        let Some(negative) = says.pop() else {
            let guided = positive.clone();
            return Both {
                guided,
                negative: positive,
            };
        };
        let away = (positive.clone() - negative.clone()) * self.guidance.cfg();
        let (guided, negative) = match (says.pop(), self.guidance) {
            (Some(bare), Guidance::Image { image, .. }) => {
                let kept = (negative - bare.clone()) * image;
                (bare.clone() + away + kept, bare)
            }
            _ => {
                let guided = self.rescaled(x, t, negative.clone() + away, positive);
                (guided, negative)
            }
        };
        Both { guided, negative }
    }

    fn ahead(&self, timesteps: &[f64]) {
        self.ahead.replace(timesteps.to_vec());
    }
}

impl Guidance {
    /// The strength of the positive side over the negative one.
    pub fn cfg(self) -> f64 {
        match self {
            Self::Plain { cfg } | Self::Rescaled { cfg, .. } | Self::Image { cfg, .. } => cfg,
        }
    }

    fn check(self) -> Result<(), GuidanceError> {
        let finite = |name, value: f64| {
            let bad = GuidanceError::Strength { name, value };
            value.is_finite().then_some(()).ok_or(bad)
        };
        finite("cfg", self.cfg())?;
        match self {
            Self::Plain { .. } => Ok(()),
            Self::Image { image, .. } => finite("image", image),
            Self::Rescaled { phi, .. } => {
                let bad = GuidanceError::Share {
                    name: "phi",
                    value: phi,
                };
                (0.0..=1.0).contains(&phi).then_some(()).ok_or(bad)
            }
        }
    }

    /// The sides that run, the positive one last.
    fn sides(
        self,
        positive: Vec<Condition>,
        negative: Option<Vec<Condition>>,
    ) -> Result<Vec<Vec<Condition>>, GuidanceError> {
        match self {
            Self::Image { image, .. } if image != 1.0 => {
                let negative = negative.ok_or(GuidanceError::NoImage)?;
                let bare = negative.iter().map(without_image).collect::<Option<_>>();
                Ok(vec![
                    bare.ok_or(GuidanceError::NoImage)?,
                    negative,
                    positive,
                ])
            }
            _ => Ok(match negative.filter(|_| self.cfg() != 1.0) {
                Some(negative) => vec![negative, positive],
                None => vec![positive],
            }),
        }
    }
}

/// The condition with zeros for the image that it carries in its channels.
fn without_image(condition: &Condition) -> Option<Condition> {
    let channels = condition.channels.as_ref()?.zeros_like();
    Some(Condition {
        channels: Some(channels),
        ..condition.clone()
    })
}

/// `e` with a share `phi` of it brought to the spread of `to`, each picture by itself.
fn rescale(e: Tensor<4>, to: Tensor<4>, phi: f64) -> Tensor<4> {
    let spread = |x: Tensor<4>| {
        let batch = x.dims()[0] as i64;
        x.reshape([batch, -1])
            .var(1)
            .sqrt()
            .reshape([batch, 1, 1, 1])
    };
    // A constant picture has no spread to bring anything to.
    let factor = spread(to) / spread(e.clone()).clamp_min(1e-30);
    e.clone() * factor * phi + e * (1.0 - phi)
}
