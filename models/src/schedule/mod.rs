//! The noise schedule: β, ᾱ and σ over training's timesteps, and which of them a sampler
//! visits.
//!
//! Letters are those of Ho et al. 2020 (arXiv 2006.11239) and Song et al. 2021
//! (arXiv 2010.02502): αₜ = 1 − βₜ, ᾱₜ = α₀·…·αₜ, and with Karras et al. 2022
//! (arXiv 2206.00364) σₜ = √((1 − ᾱₜ)/ᾱₜ). Timesteps count from 0.
//!
//! ```text
//! betas     how β grows over training, and a schedule as a manifest writes it
//! table     ᾱ and σ of every timestep, and of what lies between
//! spacing   which timesteps are visited
//! sigmas    which noise levels are visited, timesteps or not
//! curves    the formulas of noise levels
//! beta      the quantiles of the beta distribution
//! ```
//!
//! Promises
//! - Tables are computed and kept in f64, as CompVis does. diffusers computes them in
//!   f32: its ᾱ drifts from these by up to 2e-6 of itself.
//! - Every walk falls strictly and stays inside the table. CompVis's own list runs past
//!   its end for some numbers of steps (an index error there); here the end is kept.
//! - σ is this schedule's own: the often seen 0.029..14.6 holds for one of the five.
//!
//! Not here: what a step does (`sampler`), what a network predicts (`prediction`).

mod beta;
mod betas;
mod curves;
mod sigmas;
mod spacing;
mod table;

pub use betas::{Betas, ScheduleConfig, ZeroSnr};
pub use sigmas::{Aligned, Level, SigmaSchedule};
pub use spacing::Spacing;
pub use table::NoiseSchedule;

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
    /// Noise levels that were written down do not fall.
    #[error(
        "`sigmas` has {value} at place {at}, but noise levels fall from each to the next, and \
         only the last may be 0"
    )]
    Sigmas {
        /// Which one, from 0.
        at: usize,
        /// The value found there.
        value: f64,
    },
    /// Noise levels that were written down are another number of steps than was asked for.
    #[error("`sigmas` lists {listed} steps, but {steps} are asked for: make `steps` {listed}")]
    Listed {
        /// The steps that were asked for (after dividing by `denoise`).
        steps: usize,
        /// The steps that the list makes.
        listed: usize,
    },
    /// Fewer steps than a method needs.
    #[error("{steps} steps are too few for this sampler: give it {least} at least")]
    Few {
        /// The steps there are.
        steps: usize,
        /// The fewest it can do.
        least: usize,
    },
    /// Settings of a sampler that exclude each other.
    #[error("{0}")]
    Exclude(&'static str),
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

impl ScheduleError {
    /// Whether another number of steps, or of `denoise`, would mend it; else a setting of the
    /// sampler would.
    pub fn is_of_steps(&self) -> bool {
        match self {
            Self::Steps { .. } | Self::Denoise { .. } | Self::Listed { .. } | Self::Few { .. } => {
                true
            }
            Self::Setting { name, .. } => *name == "denoise",
            _ => false,
        }
    }
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

#[cfg(test)]
mod tests;
