//! Churn: noise that is added before a step, for a solver to take away again.

use burn::tensor::Tensor;

use super::Run;
use crate::choice::choices;
use crate::schedule::{Level, ScheduleError};

choices! {
    /// Whether noise is added before each step.
    #[derive(Copy)]
    pub enum Churn {
        /// None is.
        Off,
        /// As Karras et al. 2022, algorithm 2: k-diffusion's `s_churn` and its kin.
        On {
            /// How much, over all steps.
            s_churn: f64 [0.0..=1000.0] = 40.0,
            /// The least noise level that is churned.
            s_tmin: f64 [0.0..=1e6] = 0.0,
            /// The greatest.
            s_tmax: f64 [0.0..=1e6] = 1e6,
            /// Scales the noise that is added; 1 keeps its variance right.
            s_noise: f64 [0.0..=10.0] = 1.0,
        },
    }
}

impl Churn {
    /// Errors where it is of no noise level.
    pub(super) fn check(self) -> Result<(), ScheduleError> {
        match self {
            Self::On { s_tmin, s_tmax, .. } if s_tmin > s_tmax => Err(ScheduleError::Exclude(
                "no noise level lies from `s_tmin` up to a lower `s_tmax`: exchange the two",
            )),
            _ => Ok(()),
        }
    }

    /// Lines 4 to 6 of algorithm 2: `x` and its level, raised to σ̂ where there is churn. The
    /// walk has `steps`.
    pub(super) fn raise(
        self,
        run: &mut Run<'_>,
        x: Tensor<4>,
        level: Level,
        steps: usize,
    ) -> (Tensor<4>, Level) {
        let sigma = level.sigma;
        match self {
            Self::On {
                s_churn,
                s_tmin,
                s_tmax,
                s_noise,
            } if s_churn > 0.0 && (s_tmin..=s_tmax).contains(&sigma) => {
                let gamma = (s_churn / steps as f64).min(std::f64::consts::SQRT_2 - 1.0);
                let hat = sigma * (gamma + 1.0);
                let spread = (hat * hat - sigma * sigma).sqrt() * s_noise;
                let x = x.clone() + run.noise(&x, sigma, hat) * spread;
                (x, Level::of(hat, run.schedule()))
            }
            _ => (x, level),
        }
    }
}
