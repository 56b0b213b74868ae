//! The noise schedule: β, ᾱ and σ over training's timesteps, and which of them a
//! sampler visits.
//!
//! Letters are those of Ho et al. 2020 (arXiv 2006.11239) and Song et al. 2021
//! (arXiv 2010.02502): αₜ = 1 − βₜ, ᾱₜ = α₀·…·αₜ, and with Karras et al. 2022
//! (arXiv 2206.00364) σₜ = √((1 − ᾱₜ)/ᾱₜ). Timesteps count from 0.
//!
//! Promises
//! - Tables are computed and kept in f64, as CompVis does. diffusers computes them in
//!   f32: its ᾱ drifts from these by up to 2e-6 of itself.
//! - Every walk falls strictly and stays inside the table. CompVis's own list runs past
//!   its end for some numbers of steps (an index error there); here the end is kept.
//! - σ is this schedule's own: the often seen 0.029..14.6 holds for one of the five.
//!
//! Not here: what a step does (`sampler`), what a network predicts (`prediction`).

use std::f64::consts::FRAC_PI_2;

use serde::{Deserialize, Serialize};

/// More steps than any walk needs; a larger number is a slip, not a wish.
const MOST_STEPS: usize = 1_000_000;

/// Why a schedule, or a walk over it, cannot be made.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ScheduleError {
    /// A β that is no probability, or a pair in the wrong order.
    #[error(
        "`betas` go from {start} to {end}, but β must rise inside 0..1: give 0 < start <= end < 1"
    )]
    Betas {
        /// The first β.
        start: f64,
        /// The last β.
        end: f64,
    },
    /// Fewer than two timesteps, or absurdly many.
    #[error("`timesteps` is {0}, but a schedule has 2 to 1000000: the paper uses 1000")]
    Timesteps(usize),
    /// A table of ᾱ that does not fall from below 1 to above 0.
    #[error(
        "ᾱ at timestep {at} is {value}, but ᾱ must fall strictly between 1 and 0: check the table"
    )]
    Table {
        /// The first timestep where it goes wrong.
        at: usize,
        /// The value found there.
        value: f64,
    },
    /// Zero steps, or more than there are timesteps.
    #[error("{steps} steps do not fit {most} timesteps: ask for 1 to {most}")]
    Steps {
        /// The steps that were asked for (after dividing by `denoise`).
        steps: usize,
        /// How many there are to visit.
        most: usize,
    },
    /// `steps / denoise` is out of reach for this walk.
    #[error(
        "{steps} steps at `denoise` {denoise} are the end of a walk of {total}, but this sampler \
         has {most} timesteps: raise `denoise` or lower `steps`"
    )]
    Denoise {
        /// The steps that were asked for.
        steps: usize,
        /// The strength that was asked for.
        denoise: f64,
        /// The length of the whole walk, of which `steps` are the end.
        total: usize,
        /// How many timesteps there are.
        most: usize,
    },
    /// A setting of a sampler or of a walk that is outside its range.
    #[error("`{name}` is {value}, but it must lie in {low}..={high}: give a value inside")]
    Setting {
        /// The setting's name.
        name: &'static str,
        /// The value found.
        value: f64,
        /// The least value allowed.
        low: f64,
        /// The greatest value allowed.
        high: f64,
    },
}

/// Errors unless `value` lies in `low..=high`; NaN never does.
pub(crate) fn within(
    name: &'static str,
    value: f64,
    low: f64,
    high: f64,
) -> Result<(), ScheduleError> {
    let inside = (low..=high).contains(&value);
    inside.then_some(()).ok_or(ScheduleError::Setting {
        name,
        value,
        low,
        high,
    })
}

/// How β grows over training's timesteps. CompVis and diffusers use the same words for
/// different curves, so each variant says both names.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub enum Betas {
    /// The square of a line from √start to √end.
    /// CompVis calls it `linear`, diffusers `scaled_linear`. Every latent diffusion
    /// model of the paper uses it.
    ScaledLinear {
        /// The first β.
        start: f64,
        /// The last β.
        end: f64,
    },
    /// A line from start to end. CompVis: `sqrt_linear`, diffusers: `linear`.
    Linear {
        /// The first β.
        start: f64,
        /// The last β.
        end: f64,
    },
    /// The square root of a line from start to end. CompVis: `sqrt`; diffusers has none.
    Sqrt {
        /// The square of the first β.
        start: f64,
        /// The square of the last β.
        end: f64,
    },
    /// ᾱ falls as a squared cosine (Nichol and Dhariwal 2021, arXiv 2102.09672, eq. 17),
    /// β at most 0.999. CompVis: `cosine`, diffusers: `squaredcos_cap_v2`.
    Cosine,
}

impl Betas {
    /// The curve that a CompVis configuration means by `beta_schedule: name`.
    pub fn from_compvis(name: &str, start: f64, end: f64) -> Option<Self> {
        match name {
            "linear" => Some(Self::ScaledLinear { start, end }),
            "sqrt_linear" => Some(Self::Linear { start, end }),
            "sqrt" => Some(Self::Sqrt { start, end }),
            "cosine" => Some(Self::Cosine),
            _ => None,
        }
    }

    /// The curve that a diffusers configuration means by `"beta_schedule": name`.
    pub fn from_diffusers(name: &str, start: f64, end: f64) -> Option<Self> {
        match name {
            "scaled_linear" => Some(Self::ScaledLinear { start, end }),
            "linear" => Some(Self::Linear { start, end }),
            "squaredcos_cap_v2" => Some(Self::Cosine),
            _ => None,
        }
    }

    /// β for each of `n` timesteps.
    fn values(self, n: usize) -> Vec<f64> {
        match self {
            Self::ScaledLinear { start, end } => linspace(start.sqrt(), end.sqrt(), n)
                .map(|b| b * b)
                .collect(),
            Self::Linear { start, end } => linspace(start, end, n).collect(),
            Self::Sqrt { start, end } => linspace(start, end, n).map(f64::sqrt).collect(),
            Self::Cosine => (0..n).map(|t| cosine_beta(t, n)).collect(),
        }
    }

    fn check(self) -> Result<(), ScheduleError> {
        let (start, end) = match self {
            Self::ScaledLinear { start, end } | Self::Linear { start, end } => (start, end),
            Self::Sqrt { start, end } => (start, end),
            Self::Cosine => return Ok(()),
        };
        let fine = 0.0 < start && start <= end && end < 1.0;
        fine.then_some(())
            .ok_or(ScheduleError::Betas { start, end })
    }
}

/// β of the cosine curve: 1 − ᾱ(t + 1)/ᾱ(t), capped, with ᾱ(t) = cos²(…) offset by 0.008.
fn cosine_beta(t: usize, n: usize) -> f64 {
    let alpha_bar = |t: usize| {
        let angle = (t as f64 / n as f64 + 0.008) / 1.008 * FRAC_PI_2;
        libm::cos(angle).powi(2)
    };
    (1.0 - alpha_bar(t + 1) / alpha_bar(t)).clamp(0.0, 0.999)
}

/// `n` values from `from` to `to`, both included; one value is `from`.
fn linspace(from: f64, to: f64, n: usize) -> impl DoubleEndedIterator<Item = f64> {
    let step = (to - from) / (n.max(2) - 1) as f64;
    (0..n).map(move |i| {
        if i > 0 && i + 1 == n {
            to
        } else {
            from + i as f64 * step
        }
    })
}

/// A schedule as a manifest writes it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScheduleConfig {
    /// The curve of β.
    pub betas: Betas,
    /// How many timesteps the model was trained on.
    #[serde(default = "thousand")]
    pub timesteps: usize,
}

fn thousand() -> usize {
    1000
}

impl ScheduleConfig {
    /// The paper's curve over 1000 timesteps. Its pairs of β: (.0015, .0195) for most
    /// systems, (.00085, .012) for text to image; `models/ldm/*/config.yaml` of CompVis.
    pub fn scaled_linear(start: f64, end: f64) -> Self {
        Self {
            betas: Betas::ScaledLinear { start, end },
            timesteps: 1000,
        }
    }

    /// Errors when β leaves 0..1 or there are fewer than 2 timesteps.
    pub fn check(&self) -> Result<(), ScheduleError> {
        if !(2..=MOST_STEPS).contains(&self.timesteps) {
            return Err(ScheduleError::Timesteps(self.timesteps));
        }
        self.betas.check()
    }

    /// The tables. Errors as [`ScheduleConfig::check`].
    pub fn init(&self) -> Result<NoiseSchedule, ScheduleError> {
        self.check()?;
        let fall = |alpha_bar: &mut f64, beta: f64| {
            *alpha_bar *= 1.0 - beta;
            Some(*alpha_bar)
        };
        let betas = self.betas.values(self.timesteps);
        NoiseSchedule::from_alpha_bars(betas.into_iter().scan(1.0, fall).collect())
    }
}

/// ᾱ and σ for every timestep of training.
#[derive(Clone, Debug, PartialEq)]
pub struct NoiseSchedule {
    alpha_bars: Vec<f64>,
    /// ln σ, rising: what σ and t are interpolated on.
    log_sigmas: Vec<f64>,
}

impl NoiseSchedule {
    /// The schedule with these ᾱ. Errors unless they fall strictly inside 1..0.
    pub fn from_alpha_bars(alpha_bars: Vec<f64>) -> Result<Self, ScheduleError> {
        if !(2..=MOST_STEPS).contains(&alpha_bars.len()) {
            return Err(ScheduleError::Timesteps(alpha_bars.len()));
        }
        let mut above = 1.0;
        for (at, &value) in alpha_bars.iter().enumerate() {
            if !(0.0 < value && value < above) {
                return Err(ScheduleError::Table { at, value });
            }
            above = value;
        }
        let log_sigmas = alpha_bars
            .iter()
            .map(|a| 0.5 * libm::log((1.0 - a) / a))
            .collect();
        Ok(Self {
            alpha_bars,
            log_sigmas,
        })
    }

    /// How many timesteps training had.
    pub fn timesteps(&self) -> usize {
        self.alpha_bars.len()
    }

    /// ᾱ of timestep `t`. `t` must be below [`NoiseSchedule::timesteps`].
    pub fn alpha_bar(&self, t: usize) -> f64 {
        self.alpha_bars[t]
    }

    /// σ of timestep `t`: the noise in units of the clean latent.
    pub fn sigma(&self, t: usize) -> f64 {
        let a = self.alpha_bars[t];
        ((1.0 - a) / a).sqrt()
    }

    /// σ of the first timestep, the least noise the model has seen.
    pub fn sigma_min(&self) -> f64 {
        self.sigma(0)
    }

    /// σ of the last timestep, the most noise the model has seen.
    pub fn sigma_max(&self) -> f64 {
        self.sigma(self.timesteps() - 1)
    }

    /// σ of a timestep between two, on a line in ln σ; beyond the ends, the end's.
    pub fn sigma_between(&self, t: f64) -> f64 {
        let last = self.timesteps() - 1;
        let low = (t.max(0.0) as usize).min(last - 1);
        let w = (t - low as f64).clamp(0.0, 1.0);
        libm::exp((1.0 - w) * self.log_sigmas[low] + w * self.log_sigmas[low + 1])
    }

    /// The timestep whose noise is `sigma`, on a line in ln σ; beyond the ends, the end.
    ///
    /// As k-diffusion without `quantize`. ComfyUI takes the nearest whole timestep, and
    /// diffusers interpolates on σ itself.
    pub fn timestep_of(&self, sigma: f64) -> f64 {
        let log = libm::log(sigma);
        let above = self.log_sigmas.partition_point(|&s| s <= log);
        let low = above.clamp(1, self.timesteps() - 1) - 1;
        let (a, b) = (self.log_sigmas[low], self.log_sigmas[low + 1]);
        low as f64 + ((log - a) / (b - a)).clamp(0.0, 1.0)
    }
}

/// Which timesteps a sampler over whole timesteps (DDPM, DDIM) visits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub enum Spacing {
    /// CompVis's `uniform`: 1, 1 + c, 1 + 2c, … with c = timesteps / steps rounded down.
    ///
    /// Where steps do not divide the timesteps this visits *more* than asked for: 150
    /// gives 167, as there. Where CompVis runs past the table (3, 9, 27, … and all from
    /// 501 on) the last timestep stands in, and a step that would go nowhere is left out.
    #[default]
    CompVis,
    /// CompVis's `quad`: dense where there is little noise. Repeats are left out.
    Quad,
    /// diffusers' `leading`: 0, c, 2c, … plus `offset`, as many as asked for. With
    /// `offset: 1` it agrees with `CompVis` where steps divide the timesteps.
    Leading {
        /// Added to every timestep: diffusers' `steps_offset`.
        #[serde(default)]
        offset: usize,
    },
    /// diffusers' `trailing`: from the last timestep downwards in equal strides.
    Trailing,
    /// diffusers' `linspace`: from the last timestep to 0, both included. A single step is
    /// the last timestep; diffusers takes timestep 0 there, where nothing can be drawn.
    Linspace,
}

impl Spacing {
    /// The timesteps of a walk of `steps`, noisiest first, each below `total`.
    ///
    /// Errors for 0 steps and for more steps than timesteps.
    pub fn timesteps(self, steps: usize, total: usize) -> Result<Vec<usize>, ScheduleError> {
        if !(1..=total).contains(&steps) {
            return Err(ScheduleError::Steps { steps, most: total });
        }
        let stride = total / steps;
        let ratio = total as f64 / steps as f64;
        let rising: Vec<usize> = match self {
            Self::CompVis => (0..total).step_by(stride).map(|t| t + 1).collect(),
            Self::Quad => linspace(0.0, (0.8 * total as f64).sqrt(), steps)
                .map(|root| (root * root) as usize + 1)
                .collect(),
            Self::Leading { offset } => (0..steps).map(|i| i * stride + offset).collect(),
            Self::Trailing => (0..steps)
                .map(|i| (total as f64 - i as f64 * ratio).round_ties_even() as usize - 1)
                .rev()
                .collect(),
            Self::Linspace => linspace((total - 1) as f64, 0.0, steps)
                .map(|t| t.round_ties_even() as usize)
                .rev()
                .collect(),
        };
        let mut walk: Vec<usize> = rising.into_iter().rev().map(|t| t.min(total - 1)).collect();
        walk.dedup();
        Ok(walk)
    }
}

/// Which σ a sampler over noise levels (Euler and its kin) visits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub enum SigmaSchedule {
    /// Equal strides in t from the last timestep to 0, σ between timesteps on a line in
    /// ln σ. k-diffusion's default; ComfyUI and A1111 call it `normal`.
    #[default]
    Normal,
    /// Equal strides in σ^(1/ρ) from the model's σ_max to σ_min: Karras et al. 2022
    /// (arXiv 2206.00364), eq. 5. diffusers takes the ends of its selected timesteps
    /// instead of the model's.
    Karras {
        /// How strongly the steps gather at little noise.
        #[serde(default = "seven")]
        rho: f64,
    },
    /// σ at the timesteps of [`Spacing::Leading`]: diffusers' `leading`, ComfyUI's
    /// `ddim_uniform` with `offset: 1`.
    Leading {
        /// Added to every timestep: diffusers' `steps_offset`.
        #[serde(default)]
        offset: usize,
    },
    /// σ at the timesteps of [`Spacing::Trailing`].
    Trailing,
    /// Equal strides in t, σ between timesteps on a line in σ: diffusers' `linspace`, but
    /// for a single step, as in [`Spacing::Linspace`].
    Linspace,
}

fn seven() -> f64 {
    7.0
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
    /// Where every walk over levels ends.
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
    /// The `steps` noise levels of a walk, falling, and [`Level::CLEAN`].
    ///
    /// Errors for 0 steps, for more than the walk has room for, and for a ρ outside 0.1..=100.
    pub fn levels(
        self,
        steps: usize,
        schedule: &NoiseSchedule,
    ) -> Result<Vec<Level>, ScheduleError> {
        let most = self.most(schedule);
        if !(1..=most).contains(&steps) {
            return Err(ScheduleError::Steps { steps, most });
        }
        let line = linspace((schedule.timesteps() - 1) as f64, 0.0, steps);
        let mut levels: Vec<Level> = match self {
            Self::Normal => line
                .map(|t| Level {
                    sigma: schedule.sigma_between(t),
                    t,
                })
                .collect(),
            Self::Linspace => line
                .map(|t| Level {
                    sigma: on_sigma(schedule, t),
                    t,
                })
                .collect(),
            Self::Karras { rho } => karras(steps, rho, schedule)?,
            Self::Leading { offset } => at(Spacing::Leading { offset }, steps, schedule)?,
            Self::Trailing => at(Spacing::Trailing, steps, schedule)?,
        };
        levels.push(Level::CLEAN);
        Ok(levels)
    }

    /// The most steps this walk has room for.
    pub fn most(self, schedule: &NoiseSchedule) -> usize {
        match self {
            Self::Normal | Self::Karras { .. } | Self::Linspace => MOST_STEPS,
            Self::Leading { .. } | Self::Trailing => schedule.timesteps(),
        }
    }
}

/// Eq. 5 of Karras et al. 2022.
fn karras(n: usize, rho: f64, schedule: &NoiseSchedule) -> Result<Vec<Level>, ScheduleError> {
    within("rho", rho, 0.1, 100.0)?;
    let root = |sigma: f64| libm::pow(sigma, 1.0 / rho);
    let ramp = linspace(root(schedule.sigma_max()), root(schedule.sigma_min()), n);
    Ok(ramp
        .map(|r| Level::of(libm::pow(r, rho), schedule))
        .collect())
}

/// The levels of whole timesteps.
fn at(
    spacing: Spacing,
    steps: usize,
    schedule: &NoiseSchedule,
) -> Result<Vec<Level>, ScheduleError> {
    let times = spacing.timesteps(steps, schedule.timesteps())?;
    Ok(times
        .into_iter()
        .map(|t| Level {
            sigma: schedule.sigma(t),
            t: t as f64,
        })
        .collect())
}

/// σ between timesteps on a line in σ, as numpy's `interp`.
fn on_sigma(schedule: &NoiseSchedule, t: f64) -> f64 {
    let low = t as usize;
    let high = (low + 1).min(schedule.timesteps() - 1);
    let w = t - low as f64;
    schedule.sigma(low) * (1.0 - w) + schedule.sigma(high) * w
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paper(start: f64, end: f64) -> NoiseSchedule {
        ScheduleConfig::scaled_linear(start, end).init().unwrap()
    }

    /// Values by CompVis's formula in f64 (`make_beta_schedule("linear", 1000, …)`).
    #[test]
    fn the_five_schedules_of_the_paper_have_their_alphas_and_sigmas() {
        let table = [
            (
                0.0015,
                0.0195,
                0.9985,
                0.1149220009,
                0.0001423040,
                0.038759,
                83.8225,
            ),
            (
                0.0015,
                0.0155,
                0.9985,
                0.1500700509,
                0.0006686652,
                0.038759,
                38.6590,
            ),
            (
                0.0015,
                0.0205,
                0.9985,
                0.1076767539,
                0.0000969109,
                0.038759,
                101.5764,
            ),
            (
                0.0015,
                0.015,
                0.9985,
                0.1552905563,
                0.0008125185,
                0.038759,
                35.0677,
            ),
            (
                0.00085,
                0.012,
                0.99915,
                0.2763326838,
                0.0046600985,
                0.029167,
                14.6146,
            ),
        ];
        for (start, end, first, middle, last, low, high) in table {
            let s = paper(start, end);
            let close = |got: f64, want: f64, unit: f64| {
                assert!(
                    (got - want).abs() <= 0.5001 * unit,
                    "{start} {end}: {got} not {want}"
                );
            };
            close(s.alpha_bar(0), first, 1e-10);
            close(s.alpha_bar(500), middle, 1e-10);
            close(s.alpha_bar(999), last, 1e-10);
            close(s.sigma_min(), low, 1e-6);
            close(s.sigma_max(), high, 1e-4);
        }
    }

    #[test]
    fn the_names_of_compvis_and_diffusers_are_told_apart() {
        let (a, b) = (0.001, 0.02);
        assert_eq!(
            Betas::from_compvis("linear", a, b),
            Betas::from_diffusers("scaled_linear", a, b)
        );
        assert_eq!(
            Betas::from_compvis("sqrt_linear", a, b),
            Betas::from_diffusers("linear", a, b)
        );
        assert_ne!(
            Betas::from_compvis("linear", a, b),
            Betas::from_diffusers("linear", a, b)
        );
        assert_eq!(Betas::from_compvis("scaled_linear", a, b), None);
        assert_eq!(Betas::from_diffusers("sqrt", a, b), None);
    }

    #[test]
    fn the_curves_start_and_end_where_they_say() {
        let ends = |betas: Betas| {
            let v = betas.values(1000);
            (v[0], v[999])
        };
        let near = |got: (f64, f64), want: (f64, f64)| {
            assert!(
                (got.0 - want.0).abs() < 1e-12 && (got.1 - want.1).abs() < 1e-12,
                "{got:?}"
            );
        };
        near(
            ends(Betas::ScaledLinear {
                start: 0.001,
                end: 0.02,
            }),
            (0.001, 0.02),
        );
        near(
            ends(Betas::Linear {
                start: 0.001,
                end: 0.02,
            }),
            (0.001, 0.02),
        );
        near(
            ends(Betas::Sqrt {
                start: 0.0001,
                end: 0.04,
            }),
            (0.01, 0.2),
        );
        assert_eq!(ends(Betas::Cosine).1, 0.999);
        let middle = Betas::ScaledLinear {
            start: 0.01,
            end: 0.09,
        }
        .values(3)[1];
        assert!(
            (middle - 0.04).abs() < 1e-12,
            "the line is drawn between roots: {middle}"
        );
    }

    #[test]
    fn compvis_spacing_gives_more_steps_than_asked_where_they_do_not_divide() {
        let of = |steps| Spacing::CompVis.timesteps(steps, 1000).unwrap();
        for (asked, given) in [(50, 50), (20, 20), (150, 167), (300, 334), (400, 500)] {
            let walk = of(asked);
            // 300 runs past the table at CompVis; the last timestep stands in.
            assert_eq!(walk.len(), given, "{asked}");
        }
        assert_eq!(of(50)[..3], [981, 961, 941]);
        assert_eq!(of(50)[49], 1);
        assert_eq!(of(3)[0], 999, "CompVis asks for timestep 1000 here");
    }

    #[test]
    fn every_walk_falls_strictly_inside_the_table() {
        let spacings = [
            Spacing::CompVis,
            Spacing::Quad,
            Spacing::Leading { offset: 0 },
            Spacing::Leading { offset: 1 },
            Spacing::Leading { offset: 5000 },
            Spacing::Trailing,
            Spacing::Linspace,
        ];
        for total in [2, 7, 999, 1000] {
            for spacing in spacings {
                for steps in 1..=total {
                    let walk = spacing.timesteps(steps, total).unwrap();
                    assert!(walk[0] < total, "{spacing:?} {steps}");
                    assert!(walk.windows(2).all(|w| w[0] > w[1]), "{spacing:?} {steps}");
                }
            }
        }
    }

    #[test]
    fn leading_with_offset_one_is_compvis_where_steps_divide() {
        for steps in (1..=500).filter(|s| 1000 % s == 0) {
            let leading = Spacing::Leading { offset: 1 }.timesteps(steps, 1000);
            assert_eq!(leading, Spacing::CompVis.timesteps(steps, 1000));
        }
    }

    #[test]
    fn trailing_ends_at_the_last_timestep_and_linspace_at_both_ends() {
        assert_eq!(
            Spacing::Trailing.timesteps(4, 1000).unwrap(),
            [999, 749, 499, 249]
        );
        assert_eq!(
            Spacing::Linspace.timesteps(4, 1000).unwrap(),
            [999, 666, 333, 0]
        );
        assert_eq!(
            Spacing::Leading { offset: 0 }.timesteps(4, 1000).unwrap(),
            [750, 500, 250, 0]
        );
    }

    #[test]
    fn sigma_and_timestep_are_each_others_inverse() {
        let s = paper(0.0015, 0.0195);
        for t in [0.0, 0.25, 1.0, 17.5, 500.0, 998.9, 999.0] {
            assert!((s.timestep_of(s.sigma_between(t)) - t).abs() < 1e-9, "{t}");
        }
        assert!((s.sigma_between(500.0) - s.sigma(500)).abs() < 1e-12);
        assert_eq!(s.timestep_of(0.0), 0.0);
        assert_eq!(s.timestep_of(1e-9), 0.0);
        assert_eq!(s.timestep_of(1e9), 999.0);
        assert_eq!(s.sigma_between(-5.0), s.sigma_between(0.0));
    }

    #[test]
    fn sigma_schedules_fall_from_the_models_sigma_to_zero() {
        let s = paper(0.00085, 0.012);
        for schedule in [
            SigmaSchedule::Normal,
            SigmaSchedule::Karras { rho: 7.0 },
            SigmaSchedule::Linspace,
        ] {
            for steps in [1, 2, 7, 20] {
                let levels = schedule.levels(steps, &s).unwrap();
                assert_eq!(levels.len(), steps + 1);
                let sigmas: Vec<f64> = levels.iter().map(|level| level.sigma).collect();
                assert!(sigmas.windows(2).all(|w| w[0] > w[1]));
                assert!((sigmas[0] / s.sigma_max() - 1.0).abs() < 1e-12);
                assert_eq!(sigmas[steps], 0.0);
                if steps > 1 {
                    assert!((sigmas[steps - 1] / s.sigma_min() - 1.0).abs() < 1e-12);
                }
            }
        }
        // Eq. 5 at i = 1 of 3, by hand: ((a + b) / 2)^7 with a, b the seventh roots.
        let (a, b) = (s.sigma_max().powf(1.0 / 7.0), s.sigma_min().powf(1.0 / 7.0));
        let middle = SigmaSchedule::Karras { rho: 7.0 }.levels(3, &s).unwrap()[1].sigma;
        assert!((middle / ((a + b) / 2.0).powi(7) - 1.0).abs() < 1e-12);
    }

    #[test]
    fn a_wrong_schedule_is_an_error_that_names_the_number() {
        let config = |start, end| ScheduleConfig::scaled_linear(start, end).check();
        for (start, end) in [
            (0.0, 0.1),
            (0.2, 0.1),
            (0.1, 1.0),
            (f64::NAN, 0.1),
            (0.1, f64::INFINITY),
        ] {
            assert!(
                matches!(config(start, end), Err(ScheduleError::Betas { .. })),
                "{start} {end}"
            );
        }
        let few = ScheduleConfig {
            betas: Betas::Cosine,
            timesteps: 1,
        };
        assert_eq!(few.init(), Err(ScheduleError::Timesteps(1)));
        let table = NoiseSchedule::from_alpha_bars(vec![0.9, 0.5, 0.5]);
        assert_eq!(table, Err(ScheduleError::Table { at: 2, value: 0.5 }));
        let steps = Spacing::CompVis.timesteps(0, 1000).unwrap_err().to_string();
        assert_eq!(
            steps,
            "0 steps do not fit 1000 timesteps: ask for 1 to 1000"
        );
        assert!(Spacing::Trailing.timesteps(1001, 1000).is_err());
        let s = paper(0.0015, 0.0195);
        assert!(
            SigmaSchedule::Karras { rho: f64::NAN }
                .levels(5, &s)
                .is_err()
        );
        assert!(SigmaSchedule::Normal.levels(0, &s).is_err());
        assert!(SigmaSchedule::Normal.levels(usize::MAX, &s).is_err());
    }

    #[test]
    fn schedules_read_as_a_person_writes_them() {
        let config: ScheduleConfig =
            ron::from_str("(betas: ScaledLinear(start: 0.0015, end: 0.0195))").unwrap();
        assert_eq!(config, ScheduleConfig::scaled_linear(0.0015, 0.0195));
        assert_eq!(
            ron::from_str::<SigmaSchedule>("Karras()").unwrap(),
            SigmaSchedule::Karras { rho: 7.0 }
        );
        assert!(ron::from_str::<SigmaSchedule>("Karras(roh: 7.0)").is_err());
    }
}
