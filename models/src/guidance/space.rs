//! What a network's output means at one timestep: the clean latent, the velocity, and back.
//!
//! The network is given x = s x₀ + n ε. Variance preserving, s = √ᾱ and n = √(1−ᾱ); preconditioned
//! as EDM, s = 1/√(σ²+¼) and n = σ s. With v = √ᾱ ε − √(1−ᾱ) x₀ each follows from x and any other.

use burn::tensor::Tensor;

use crate::prediction::{EDM_DATA2 as DATA2, Prediction};
use crate::schedule::NoiseSchedule;

/// A timestep, and what the network predicts there.
#[derive(Clone, Copy)]
pub(super) struct Space {
    /// What the clean latent is multiplied by in what the network is given.
    pub(super) signal: f64,
    /// What the noise is multiplied by.
    pub(super) spread: f64,
    prediction: Prediction,
}

impl Space {
    /// `t` is what the network is told: a timestep, or ¼ ln σ.
    pub(super) fn at(t: f64, schedule: &NoiseSchedule, prediction: Prediction) -> Self {
        let (sigma, norm2) = match prediction {
            Prediction::Edm => (sigma_of_edm(t), DATA2),
            _ => (schedule.sigma_between(t), 1.0),
        };
        let signal = 1.0 / (sigma * sigma + norm2).sqrt();
        Self {
            signal,
            spread: sigma * signal,
            prediction,
        }
    }

    /// The clean latent in `x [b, c, h, w]`, by the network's `out`.
    pub(super) fn clean(self, x: Tensor<4>, out: Tensor<4>) -> Tensor<4> {
        let Self { signal, spread, .. } = self;
        match self.prediction {
            Prediction::Epsilon => (x - out * spread) / signal,
            Prediction::X0 => out,
            Prediction::Velocity => x * signal - out * spread,
            Prediction::Edm => x * (DATA2 * signal) + out * (DATA2.sqrt() * spread),
        }
    }

    /// The output that says that `clean` is in `x`.
    pub(super) fn output(self, x: Tensor<4>, clean: Tensor<4>) -> Tensor<4> {
        let Self { signal, spread, .. } = self;
        match self.prediction {
            Prediction::Epsilon => (x - clean * signal) / spread,
            Prediction::X0 => clean,
            Prediction::Velocity => (x * signal - clean) / spread,
            Prediction::Edm => (clean - x * (DATA2 * signal)) / (DATA2.sqrt() * spread),
        }
    }

    /// The velocity that `out` means.
    pub(super) fn velocity(self, x: Tensor<4>, out: Tensor<4>) -> Tensor<4> {
        let Self { signal, spread, .. } = self;
        match self.prediction {
            Prediction::Epsilon => (out - x * spread) / signal,
            Prediction::X0 => (x * signal - out) / spread,
            Prediction::Velocity => out,
            Prediction::Edm => {
                let (state, s, n) = self.preserving(x.clone());
                (state * s - self.clean(x, out)) / n
            }
        }
    }

    /// The output that means the velocity `v`.
    pub(super) fn of_velocity(self, x: Tensor<4>, v: Tensor<4>) -> Tensor<4> {
        let Self { signal, spread, .. } = self;
        match self.prediction {
            Prediction::Epsilon => v * signal + x * spread,
            Prediction::X0 => x * signal - v * spread,
            Prediction::Velocity => v,
            Prediction::Edm => {
                let (state, s, n) = self.preserving(x.clone());
                self.output(x, state * s - v * n)
            }
        }
    }

    /// `x` in the variance-preserving measure, with √ᾱ and √(1−ᾱ).
    fn preserving(self, x: Tensor<4>) -> (Tensor<4>, f64, f64) {
        let norm = self.signal.hypot(self.spread);
        (x / norm, self.signal / norm, self.spread / norm)
    }
}

/// σ of the ¼ ln σ that a network of EDM is told.
pub(super) fn sigma_of_edm(t: f64) -> f64 {
    libm::exp(4.0 * t)
}
