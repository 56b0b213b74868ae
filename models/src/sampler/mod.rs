//! Samplers: from noise to a clean latent, one flat function each.
//!
//! Promises
//! - A sampler sees a [`Denoiser`] and knows nothing of eps, x0 or v, of guidance, or of
//!   where noise comes from.
//! - Noise is handed in, so a test can replay a recorded one. Given the stream that drew
//!   the start noise, each step draws from where the last draw stopped, as diffusers does
//!   with a CPU generator; k-diffusion and ComfyUI start another stream for the steps.
//! - The callback hears of each network call, and stops the walk there if it says so.
//!
//! Not here: masks, and noise by area.

mod ddim;
mod ddpm;
mod euler;
mod euler_ancestral;

pub use ddim::{FinalAlpha, ddim};
pub use ddpm::{Variance, ddpm};
pub use euler::euler;
pub use euler_ancestral::euler_ancestral;

use std::ops::ControlFlow;

use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use crate::prediction::Denoiser;
use crate::schedule::{Level, NoiseSchedule, ScheduleError, SigmaSchedule, Spacing, within};

/// Draws noise of the shape, device and dtype of a latent: `|x| noise.like(x)` with a
/// [`Noise`](crate::noise::Noise), or a replay in a test.
pub type Draw<'a> = dyn FnMut(&Tensor<4>) -> Tensor<4> + 'a;

/// Hears of each step, and answers go on or stop.
pub type OnStep<'a> = dyn FnMut(Step<'_>) -> ControlFlow<()> + 'a;

/// Where a walk is.
#[derive(Clone, Copy, Debug)]
pub struct Step<'a> {
    /// The step under way, from 0.
    pub index: usize,
    /// How many there are.
    pub of: usize,
    /// The clean latent as the network now sees it, `[b, c, h, w]`: a preview.
    pub clean: &'a Tensor<4>,
}

/// The callback said stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("stopped between two steps")]
pub struct Stopped;

/// Why there is no latent.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum SampleError {
    /// The callback said stop.
    #[error(transparent)]
    Stopped(#[from] Stopped),
    /// The sampler's settings or the number of steps do not fit the schedule.
    #[error(transparent)]
    Schedule(#[from] ScheduleError),
}

/// A sampler with its settings, as a graph writes it: `Ddim(eta: 0.0)`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub enum Sampler {
    /// Ho et al. 2020, noise at every step.
    Ddpm {
        /// How much noise a step adds.
        #[serde(default)]
        variance: Variance,
        /// Which timesteps are visited.
        #[serde(default)]
        spacing: Spacing,
    },
    /// Song et al. 2021. The defaults are CompVis's: see [`Sampler::ddim_compvis`].
    Ddim {
        /// 0 adds no noise, 1 as much as DDPM.
        #[serde(default)]
        eta: f64,
        /// Which timesteps are visited.
        #[serde(default)]
        spacing: Spacing,
        /// Where the last step lands.
        #[serde(default)]
        end: FinalAlpha,
    },
    /// Euler's method, first order, without noise.
    Euler {
        /// Which noise levels are visited.
        #[serde(default)]
        schedule: SigmaSchedule,
    },
    /// Euler's method with noise added back at each step.
    EulerAncestral {
        /// 0 is Euler, 1 as much noise as the schedule allows.
        #[serde(default = "one")]
        eta: f64,
        /// Scales the noise that is added; 1 keeps its variance right.
        #[serde(default = "one")]
        s_noise: f64,
        /// Which noise levels are visited.
        #[serde(default)]
        schedule: SigmaSchedule,
    },
}

fn one() -> f64 {
    1.0
}

/// How much of the way is walked: `steps` and the strength `denoise`.
///
/// `denoise` means what it means in ComfyUI: the way is laid out for `steps / denoise`
/// steps, rounded down, and its last `steps` are walked, so that a latent starts part-way
/// down and the number of network calls stays. At 1 the whole way is walked (longer than
/// `steps` where [`Spacing::CompVis`] says so); at 0 none of it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Walk {
    /// Steps to take, from 1.
    pub steps: usize,
    /// The strength, 0..=1.
    pub denoise: f64,
}

impl Walk {
    /// The whole way in `steps`.
    pub fn whole(steps: usize) -> Self {
        Self {
            steps,
            denoise: 1.0,
        }
    }

    /// The timesteps walked, noisiest first.
    pub fn timesteps(
        self,
        spacing: Spacing,
        schedule: &NoiseSchedule,
    ) -> Result<Vec<usize>, ScheduleError> {
        let most = schedule.timesteps();
        let mut times = spacing.timesteps(self.laid_out(most)?, most)?;
        times.drain(..self.skipped(times.len()));
        Ok(times)
    }

    /// The noise levels walked, falling, and a last 0.
    pub fn levels(
        self,
        way: SigmaSchedule,
        schedule: &NoiseSchedule,
    ) -> Result<Vec<Level>, ScheduleError> {
        let total = self.laid_out(way.most(schedule))?;
        let mut levels = way.levels(total, schedule)?;
        levels.drain(..self.skipped(total));
        Ok(levels)
    }

    /// Over how many steps the whole way is laid out.
    fn laid_out(self, most: usize) -> Result<usize, ScheduleError> {
        let Self { steps, denoise } = self;
        within("denoise", denoise, 0.0, 1.0)?;
        if self.is_whole() || denoise == 0.0 {
            return Ok(steps);
        }
        let total = (steps as f64 / denoise) as usize;
        if total > most && steps <= most {
            return Err(ScheduleError::Denoise {
                steps,
                denoise,
                total,
                most,
            });
        }
        Ok(total)
    }

    /// How many of `total` steps lie before the ones walked.
    fn skipped(self, total: usize) -> usize {
        match self.denoise {
            0.0 => total,
            _ if self.is_whole() => 0,
            _ => total.saturating_sub(self.steps),
        }
    }

    /// Whether the walk starts from nothing but noise. ComfyUI's own threshold.
    fn is_whole(self) -> bool {
        self.denoise > 0.9999
    }
}

impl Sampler {
    /// DDIM as CompVis walks it: timesteps 1, 1 + c, …, and a last step that lands on ᾱ₀.
    pub fn ddim_compvis(eta: f64) -> Self {
        Self::Ddim {
            eta,
            spacing: Spacing::CompVis,
            end: FinalAlpha::First,
        }
    }

    /// DDIM by the defaults of diffusers' scheduler: timesteps 0, c, …, and a last step that
    /// lands on ᾱ = 1. (Its pipelines for latent diffusion set `steps_offset=1` and
    /// `set_alpha_to_one=False`, which is [`Sampler::ddim_compvis`] where steps divide 1000.)
    pub fn ddim_diffusers(eta: f64) -> Self {
        Self::Ddim {
            eta,
            spacing: Spacing::Leading { offset: 0 },
            end: FinalAlpha::One,
        }
    }

    /// Errors when a setting is out of range.
    pub fn check(&self) -> Result<(), ScheduleError> {
        match self {
            Self::Ddim { eta, .. } => within("eta", *eta, 0.0, 1.0),
            Self::EulerAncestral { eta, s_noise, .. } => {
                within("eta", *eta, 0.0, 1.0)?;
                within("s_noise", *s_noise, 0.0, 10.0)
            }
            Self::Ddpm { .. } | Self::Euler { .. } => Ok(()),
        }
    }

    /// How often a run will call the network; errors as the run would, without running.
    pub fn calls(&self, walk: Walk, schedule: &NoiseSchedule) -> Result<usize, ScheduleError> {
        self.check()?;
        match *self {
            Self::Ddpm { spacing, .. } | Self::Ddim { spacing, .. } => {
                Ok(walk.timesteps(spacing, schedule)?.len())
            }
            Self::Euler { schedule: way } | Self::EulerAncestral { schedule: way, .. } => {
                Ok(walk.levels(way, schedule)?.len() - 1)
            }
        }
    }

    /// Walks `latent [b, c, h, w]` (zeros to start from nothing) down to a clean one.
    ///
    /// The start noise is the first thing drawn from `draw`. At `denoise` 1 it is the whole
    /// state: variance 1 whatever the first timestep, as CompVis and diffusers start, with
    /// the latent added as faintly as the first timestep keeps it. Below 1 the latent is
    /// noised to the first timestep of what is walked. At 0 nothing is drawn and the latent
    /// comes back. Errors as [`Sampler::calls`], and when `on_step` says stop.
    pub fn sample(
        &self,
        model: &Denoiser<'_>,
        latent: Tensor<4>,
        walk: Walk,
        draw: &mut Draw<'_>,
        on_step: &mut OnStep<'_>,
    ) -> Result<Tensor<4>, SampleError> {
        let schedule = model.schedule();
        if self.calls(walk, schedule)? == 0 {
            return Ok(latent);
        }
        let noise = draw(&latent);
        match *self {
            Self::Ddpm { variance, spacing } => {
                let times = walk.timesteps(spacing, schedule)?;
                let x = preserving(latent, noise, walk, schedule.alpha_bar(times[0]));
                Ok(ddpm(model, x, &times, variance, draw, on_step)?)
            }
            Self::Ddim { eta, spacing, end } => {
                let times = walk.timesteps(spacing, schedule)?;
                let x = preserving(latent, noise, walk, schedule.alpha_bar(times[0]));
                Ok(ddim(
                    model,
                    x,
                    &times,
                    end.alpha_bar(schedule),
                    eta,
                    draw,
                    on_step,
                )?)
            }
            Self::Euler { schedule: way } => {
                let levels = walk.levels(way, schedule)?;
                let x = exploding(latent, noise, walk, levels[0].sigma);
                Ok(euler(model, x, &levels, on_step)?)
            }
            Self::EulerAncestral {
                eta,
                s_noise,
                schedule: way,
            } => {
                let levels = walk.levels(way, schedule)?;
                let x = exploding(latent, noise, walk, levels[0].sigma);
                Ok(euler_ancestral(
                    model, x, &levels, eta, s_noise, draw, on_step,
                )?)
            }
        }
    }
}

/// The first state of DDPM and DDIM: √ᾱ x₀ + √(1−ᾱ) ε, or plain ε for the whole way.
fn preserving(latent: Tensor<4>, noise: Tensor<4>, walk: Walk, alpha_bar: f64) -> Tensor<4> {
    let spread = if walk.is_whole() {
        1.0
    } else {
        (1.0 - alpha_bar).sqrt()
    };
    latent * alpha_bar.sqrt() + noise * spread
}

/// The same state in the measure of Euler, divided by √ᾱ = 1/√(σ²+1).
fn exploding(latent: Tensor<4>, noise: Tensor<4>, walk: Walk, sigma: f64) -> Tensor<4> {
    let spread = if walk.is_whole() {
        (sigma * sigma + 1.0).sqrt()
    } else {
        sigma
    };
    latent + noise * spread
}

/// Tells the callback of a step, and turns its stop into an error.
fn tell(
    on_step: &mut OnStep<'_>,
    index: usize,
    of: usize,
    clean: &Tensor<4>,
) -> Result<(), Stopped> {
    match on_step(Step { index, of, clean }) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(()) => Err(Stopped),
    }
}

#[cfg(test)]
mod tests;
