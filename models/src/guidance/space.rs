//! What a network's output means at one timestep: the clean latent, the velocity, and back.
//!
//! With x = √ᾱ x₀ + √(1−ᾱ) ε and v = √ᾱ ε − √(1−ᾱ) x₀ each follows from x and any other. EDM's
//! network gets (x₀ + σ ε)/√(σ²+¼), and what it predicts stands in for the velocity.

use burn::tensor::Tensor;

use crate::prediction::{EDM_DATA2, Prediction};
use crate::schedule::NoiseSchedule;

/// A timestep, and what the network predicts there.
#[derive(Clone, Copy)]
pub(super) struct Space {
    /// √ᾱ, or what x₀ is multiplied by in EDM's x.
    pub(super) signal: f64,
    /// √(1−ᾱ), or what ε is multiplied by in EDM's x.
    pub(super) spread: f64,
    prediction: Prediction,
}

impl Space {
    pub(super) fn at(t: f64, schedule: &NoiseSchedule, prediction: Prediction) -> Self {
        if prediction == Prediction::Edm {
            let sigma = libm::exp(4.0 * t);
            let signal = 1.0 / (sigma * sigma + EDM_DATA2).sqrt();
            let spread = sigma * signal;
            return Self {
                signal,
                spread,
                prediction,
            };
        }
        let sigma = schedule.sigma_between(t);
        let signal = 1.0 / (sigma * sigma + 1.0).sqrt();
        Self {
            signal,
            spread: (1.0 - signal * signal).sqrt(),
            prediction,
        }
    }

    /// The clean latent in `x [b, c, h, w]`, by the network's `out`.
    pub(super) fn clean(self, x: Tensor<4>, out: Tensor<4>) -> Tensor<4> {
        match self.prediction {
            Prediction::Epsilon => (x - out * self.spread) / self.signal,
            Prediction::X0 => out,
            Prediction::Velocity => x * self.signal - out * self.spread,
            Prediction::Edm => {
                x * (EDM_DATA2 * self.signal) + out * (EDM_DATA2.sqrt() * self.spread)
            }
        }
    }

    /// The output that says that `clean` is in `x`.
    pub(super) fn output(self, x: Tensor<4>, clean: Tensor<4>) -> Tensor<4> {
        match self.prediction {
            Prediction::Epsilon => (x - clean * self.signal) / self.spread,
            Prediction::X0 => clean,
            Prediction::Velocity => (x * self.signal - clean) / self.spread,
            Prediction::Edm => {
                (clean - x * (EDM_DATA2 * self.signal)) / (EDM_DATA2.sqrt() * self.spread)
            }
        }
    }

    /// The velocity that `out` means.
    pub(super) fn velocity(self, x: Tensor<4>, out: Tensor<4>) -> Tensor<4> {
        match self.prediction {
            Prediction::Epsilon => (out - x * self.spread) / self.signal,
            Prediction::X0 => (x * self.signal - out) / self.spread,
            Prediction::Velocity | Prediction::Edm => out,
        }
    }

    /// The output that means the velocity `v`.
    pub(super) fn of_velocity(self, x: Tensor<4>, v: Tensor<4>) -> Tensor<4> {
        match self.prediction {
            Prediction::Epsilon => v * self.signal + x * self.spread,
            Prediction::X0 => x * self.signal - v * self.spread,
            Prediction::Velocity | Prediction::Edm => v,
        }
    }
}
