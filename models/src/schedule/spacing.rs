//! Which timesteps a sampler over whole timesteps visits.

use crate::choice::choices;

use super::{ScheduleError, linspace};

choices! {
    /// Which timesteps a sampler over whole timesteps visits.
    #[derive(Copy)]
    pub enum Spacing {
        /// The paper's code: 1, 1 + c, 1 + 2c, …; more than asked for where steps do not divide.
        ///
        /// 150 of 1000 steps are 167, as there. Where CompVis runs past the table (3, 9, 27, …
        /// and all from 501 on) the last timestep stands in, and a step that would go nowhere
        /// is left out.
        CompVis,
        /// The paper's `quad`: dense where there is little noise. Repeats are left out.
        Quad,
        /// diffusers' `leading`: 0, c, 2c, … plus the offset.
        ///
        /// With `offset: 1` it agrees with `CompVis` where steps divide the timesteps.
        Leading {
            /// Added to every timestep: diffusers' `steps_offset`.
            offset: usize [0..=1000] = 0,
        },
        /// diffusers' `trailing`: from the last timestep down in equal strides.
        Trailing,
        /// diffusers' `linspace`: from the last timestep to 0, both included.
        ///
        /// A single step is the last timestep; diffusers takes timestep 0 there, where nothing
        /// can be drawn.
        Linspace,
        /// diffusers' `linspace` in its DPM-Solver family: laid out for one step more, and
        /// timestep 0 left out.
        LinspaceOpen,
        /// diffusers' `leading` in its DPM-Solver family: laid out for one step more, and the
        /// least timestep left out.
        LeadingOpen {
            /// Added to every timestep: diffusers' `steps_offset`.
            offset: usize [0..=1000] = 0,
        },
        /// The timesteps that LCM and TCD were distilled on, or as many of them as steps.
        Distilled {
            /// How many those were: diffusers' `original_inference_steps`.
            original: usize [1..=1000] = 50,
        },
    }
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
            Self::LinspaceOpen => linspace(0.0, (total - 1) as f64, steps + 1)
                .map(|t| t.round_ties_even() as usize)
                .skip(1)
                .collect(),
            Self::LeadingOpen { offset } => {
                let stride = total / (steps + 1);
                (1..=steps).map(|i| i * stride + offset).collect()
            }
            Self::Distilled { original } => distilled(steps, original, total)?,
        };
        let mut walk: Vec<usize> = rising.into_iter().rev().map(|t| t.min(total - 1)).collect();
        walk.dedup();
        Ok(walk)
    }
}

/// `steps` of the `original` timesteps k−1, 2k−1, … that a model was distilled on, rising.
fn distilled(steps: usize, original: usize, total: usize) -> Result<Vec<usize>, ScheduleError> {
    let known = original.min(total);
    if steps > known {
        return Err(ScheduleError::Steps { steps, most: known });
    }
    let k = total / known;
    let down = (0..steps).map(|i| (i as f64 * known as f64 / steps as f64) as usize);
    let mut times: Vec<usize> = down.map(|i| (known - i) * k - 1).collect();
    times.reverse();
    Ok(times)
}
