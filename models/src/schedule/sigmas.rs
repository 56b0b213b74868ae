//! Which noise levels a sampler over noise levels (Euler and its kin) visits.

use crate::choice::choices;

use super::{MOST_STEPS, NoiseSchedule, ScheduleError, Spacing, beta, curves, linspace};

choices! {
    /// Which noise levels a sampler over noise levels visits.
    pub enum SigmaSchedule {
        /// Equal strides in time; ComfyUI's `normal`.
        ///
        /// From the last timestep to 0, σ between timesteps on a line in ln σ: k-diffusion's
        /// default too.
        Normal,
        /// Karras et al. 2022: equal strides in a root of the noise.
        ///
        /// Eq. 5 of arXiv 2206.00364 over the model's range. diffusers' Euler takes the ends of
        /// its selected timesteps instead of the model's.
        Karras {
            /// How strongly the steps gather at little noise.
            rho: f64 [0.1..=100.0] = 7.0,
        },
        /// diffusers' `leading`; ComfyUI's `ddim_uniform` with `offset: 1` where steps divide.
        Leading {
            /// Added to every timestep: diffusers' `steps_offset`.
            offset: usize [0..=1000] = 0,
        },
        /// diffusers' `trailing`.
        Trailing,
        /// diffusers' `linspace`: equal strides in time, the noise on a line.
        Linspace,
        /// ComfyUI's `simple`: whole timesteps from the last down in equal strides.
        Simple,
        /// ComfyUI's `sgm_uniform`: `Normal` laid out for one step more, its last left out.
        SgmUniform,
        /// ComfyUI's `ddim_uniform`: timesteps 1, 1 + c, 1 + 2c, …; more than asked for where
        /// steps do not divide.
        DdimUniform,
        /// Equal strides in the logarithm of the noise; diffusers' `use_lu_lambdas` too.
        Exponential,
        /// The logarithm of the noise falls as a power of a line; 1 is `Exponential`.
        PolyExponential {
            /// That power.
            rho: f64 [0.1..=100.0] = 1.0,
        },
        /// The continuous variance-preserving process; its range is its own, not the model's.
        Vp {
            /// How fast the noise comes to grow.
            beta_d: f64 [0.1..=100.0] = 19.9,
            /// How fast it grows at first.
            beta_min: f64 [0.0..=10.0] = 0.1,
            /// The time of the least noise; the most is at 1.
            eps_s: f64 [1e-6..=0.5] = 0.001,
        },
        /// ComfyUI's `beta`: timesteps at the quantiles of a beta law, dense at both ends.
        /// Repeats are left out.
        Beta {
            /// Below 1 gathers at little noise.
            alpha: f64 [0.05..=50.0] = 0.6,
            /// Below 1 gathers at much noise.
            beta: f64 [0.05..=50.0] = 0.6,
        },
        /// diffusers' `use_beta_sigmas`: noise, not timesteps, at those quantiles.
        BetaSigmas {
            /// Below 1 gathers at little noise.
            alpha: f64 [0.05..=50.0] = 0.6,
            /// Below 1 gathers at much noise.
            beta: f64 [0.05..=50.0] = 0.6,
        },
        /// ComfyUI's `linear_quadratic`: slow on a line for half the steps, then faster.
        LinearQuadratic {
            /// Which share of the noise the line takes away.
            threshold: f64 [0.001..=0.5] = 0.025,
        },
        /// ComfyUI's `kl_optimal`: equal strides in the arc tangent of the noise.
        KlOptimal,
        /// The logarithm of the noise at the quantiles of a Laplace law. Repeats are left out.
        ///
        /// ComfyUI's node ends at the least noise; here the step to none follows.
        Laplace {
            /// The logarithm of the noise in the middle.
            mu: f64 [-10.0..=10.0] = 0.0,
            /// How far the law reaches.
            beta: f64 [0.01..=10.0] = 0.5,
        },
        /// Sabour et al. 2024: levels optimised for a family of models in ten steps, and
        /// between them on a line in the logarithm for other numbers.
        AlignYourSteps {
            /// Whose table.
            model: Aligned = Aligned::Sd1,
        },
        /// diffusers' `log_linear` for Euler: equal strides in the logarithm, the last step
        /// ending at the model's least noise.
        LogLinear,
        /// A flow's times, shifted, in units of the clean latent; diffusers' `use_flow_sigmas`.
        Flow {
            /// Above 1 stays longer at much noise.
            shift: f64 [0.01..=100.0] = 1.0,
        },
        /// The noise at whole timesteps.
        Spaced {
            /// Which timesteps.
            spacing: Spacing = Spacing::CompVis,
        },
        /// Levels written down, falling; the last may be 0. `steps` is one less than there are.
        Sigmas {
            /// The levels, in units of the clean latent.
            sigmas: Vec<f64> [0.0..=1e9] = vec![14.6146, 0.0],
        },
    }

    /// Whose table of levels.
    #[derive(Copy)]
    pub enum Aligned {
        /// Stable Diffusion 1.
        Sd1,
        /// Stable Diffusion XL.
        Sdxl,
    }
}

impl Aligned {
    /// Ten levels and the model's least, from Sabour et al. 2024 (arXiv 2404.14507).
    fn table(self) -> [f64; 11] {
        match self {
            Self::Sd1 => [
                14.6146412293,
                6.4745760956,
                3.8636745985,
                2.6946151520,
                1.8841921177,
                1.3943805092,
                0.9642583904,
                0.6523686016,
                0.3977456272,
                0.1515232662,
                0.0291671582,
            ],
            Self::Sdxl => [
                14.6146412293,
                6.3184485287,
                3.7681790315,
                2.1811480769,
                1.3405244945,
                0.8620721141,
                0.5550693289,
                0.3798540708,
                0.2332364134,
                0.1114188177,
                0.0291671582,
            ],
        }
    }
}

/// A noise level, and the timestep that the network is told for it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Level {
    /// The noise in units of the clean latent.
    pub sigma: f64,
    /// The timestep, whole or between two.
    pub t: f64,
}

impl Level {
    /// Where a walk ends that leaves no noise.
    pub const CLEAN: Self = Self { sigma: 0.0, t: 0.0 };

    /// Any σ, at the timestep whose noise it is.
    pub fn of(sigma: f64, schedule: &NoiseSchedule) -> Self {
        Self {
            sigma,
            t: schedule.timestep_of(sigma),
        }
    }
}

impl SigmaSchedule {
    /// The noise levels of a walk of `steps`, falling strictly, and where it ends:
    /// [`Level::CLEAN`] unless the schedule says otherwise.
    ///
    /// Errors for 0 steps, for more than the walk has room for, for a setting out of range
    /// and for written levels that do not fall.
    pub fn levels(
        &self,
        steps: usize,
        schedule: &NoiseSchedule,
    ) -> Result<Vec<Level>, ScheduleError> {
        use crate::choice::Choice;
        self.check()?;
        let most = self.most(schedule);
        if !(1..=most).contains(&steps) {
            return Err(ScheduleError::Steps { steps, most });
        }
        let mut levels = self.noisy(steps, schedule)?;
        levels.dedup_by(|next, before| next.sigma >= before.sigma);
        match self {
            Self::LogLinear => levels.push(Level::of(schedule.sigma_min(), schedule)),
            Self::Sigmas { sigmas } if sigmas.last() != Some(&0.0) => {}
            _ => levels.push(Level::CLEAN),
        }
        Ok(levels)
    }

    /// The levels of a walk but the last 0.
    fn noisy(&self, n: usize, schedule: &NoiseSchedule) -> Result<Vec<Level>, ScheduleError> {
        let (low, high) = (schedule.sigma_min(), schedule.sigma_max());
        let last = (schedule.timesteps() - 1) as f64;
        let line = |n| linspace(last, 0.0, n);
        let sigmas = match *self {
            Self::Normal => return Ok(line(n).map(|t| between(t, schedule)).collect()),
            Self::SgmUniform => {
                return Ok(line(n + 1).take(n).map(|t| between(t, schedule)).collect());
            }
            Self::Linspace => return Ok(line(n).map(|t| on_sigma(t, schedule)).collect()),
            Self::Leading { offset } => return at(Spacing::Leading { offset }, n, schedule),
            Self::Trailing => return at(Spacing::Trailing, n, schedule),
            Self::Spaced { spacing } => return at(spacing, n, schedule),
            Self::Simple | Self::DdimUniform | Self::Beta { .. } => {
                let times = self.whole(n, schedule.timesteps());
                return Ok(times.into_iter().map(|t| whole(t, schedule)).collect());
            }
            Self::Karras { rho } => curves::karras(n, low, high, rho),
            Self::Exponential => curves::exponential(n, low, high),
            Self::PolyExponential { rho } => curves::poly_exponential(n, low, high, rho),
            Self::Vp {
                beta_d,
                beta_min,
                eps_s,
            } => curves::vp(n, beta_d, beta_min, eps_s),
            Self::BetaSigmas { alpha, beta } => curves::beta(n, low, high, alpha, beta),
            Self::LinearQuadratic { threshold } => curves::linear_quadratic(n, high, threshold),
            Self::KlOptimal => curves::kl_optimal(n, low, high),
            Self::Laplace { mu, beta } => curves::laplace(n, low, high, mu, beta),
            Self::AlignYourSteps { model } => curves::log_interpolated(n, &model.table()),
            Self::LogLinear => {
                let mut sigmas = curves::exponential(n + 1, low, high);
                sigmas.truncate(n);
                sigmas
            }
            Self::Flow { shift } => curves::flow(n, shift, schedule.timesteps()),
            Self::Sigmas { ref sigmas } => written(n, sigmas)?,
        };
        Ok(sigmas.into_iter().map(|s| Level::of(s, schedule)).collect())
    }

    /// The whole timesteps of ComfyUI's schedules over these, falling.
    fn whole(&self, n: usize, total: usize) -> Vec<usize> {
        match *self {
            Self::Beta { alpha, beta } => (0..n)
                .map(|i| 1.0 - i as f64 / n as f64)
                .map(|p| beta::quantile(p, alpha, beta) * (total - 1) as f64)
                .map(|t| t.round_ties_even() as usize)
                .collect(),
            Self::DdimUniform => (1..total).step_by(total / n).rev().collect(),
            _ => (0..n)
                .map(|i| total - 1 - (i as f64 * (total as f64 / n as f64)) as usize)
                .collect(),
        }
    }

    /// The most steps this walk has room for.
    pub fn most(&self, schedule: &NoiseSchedule) -> usize {
        match self {
            Self::Leading { .. }
            | Self::Trailing
            | Self::Simple
            | Self::DdimUniform
            | Self::Spaced { .. } => schedule.timesteps(),
            _ => MOST_STEPS,
        }
    }
}

/// The level of a timestep between two, on a line in ln σ.
fn between(t: f64, schedule: &NoiseSchedule) -> Level {
    Level {
        sigma: schedule.sigma_between(t),
        t,
    }
}

/// The level of a whole timestep.
fn whole(t: usize, schedule: &NoiseSchedule) -> Level {
    Level {
        sigma: schedule.sigma(t),
        t: t as f64,
    }
}

/// The level of a timestep between two, on a line in σ, as numpy's `interp`.
fn on_sigma(t: f64, schedule: &NoiseSchedule) -> Level {
    let low = t as usize;
    let high = (low + 1).min(schedule.timesteps() - 1);
    let w = t - low as f64;
    Level {
        sigma: schedule.sigma(low) * (1.0 - w) + schedule.sigma(high) * w,
        t,
    }
}

/// The levels of whole timesteps.
fn at(
    spacing: Spacing,
    steps: usize,
    schedule: &NoiseSchedule,
) -> Result<Vec<Level>, ScheduleError> {
    let times = spacing.timesteps(steps, schedule.timesteps())?;
    Ok(times.into_iter().map(|t| whole(t, schedule)).collect())
}

/// Levels that were written down, but for a last 0 and where the walk ends.
fn written(steps: usize, sigmas: &[f64]) -> Result<Vec<f64>, ScheduleError> {
    let mut above = f64::INFINITY;
    for (at, &value) in sigmas.iter().enumerate() {
        let least = if at + 1 == sigmas.len() {
            0.0
        } else {
            f64::MIN_POSITIVE
        };
        if !(least <= value && value < above) {
            return Err(ScheduleError::Sigmas { at, value });
        }
        above = value;
    }
    let listed = sigmas.len().saturating_sub(1);
    if steps != listed {
        return Err(ScheduleError::Listed { steps, listed });
    }
    let ends_clean = sigmas.last() == Some(&0.0);
    Ok(sigmas[..if ends_clean { steps } else { steps + 1 }].to_vec())
}
