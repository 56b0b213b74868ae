//! What a network predicts, settled once: samplers see only the clean latent and the noise.
//!
//! A network is trained to give the noise ε, the clean latent x₀ or the velocity
//! v = √ᾱ ε − √(1−ᾱ) x₀ (Salimans and Ho 2022, arXiv 2202.00512). Samplers walk one of
//! two states that differ by a factor only:
//!
//! ```text
//! variance preserving (DDPM, DDIM)   xₜ = √ᾱₜ x₀ + √(1−ᾱₜ) ε     indexed by t
//! variance exploding  (Euler)        x  = x₀ + σ ε = xₜ/√ᾱₜ       indexed by σ
//! ```
//!
//! A fourth kind, EDM (Karras et al. 2022, table 1), is preconditioned another way: see
//! [`Prediction::Edm`].
//!
//! Promises
//! - The network always gets the variance-preserving xₜ and a timestep, whole or between
//!   two, whichever state a sampler walks (EDM gets its own).
//! - x₀ is never clipped: latents have no bounds (CompVis sets `clip_denoised=False`;
//!   diffusers' `clip_sample=True` must be turned off to compare).
//!
//! Not here: guidance, which is a network too (`guidance`); steps (`sampler`).

use burn::tensor::{DType, Tensor, TensorData};
use serde::{Deserialize, Serialize};

use crate::schedule::{Level, NoiseSchedule};

/// What a network was trained to predict.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Prediction {
    /// The noise ε. CompVis: `eps`, diffusers: `epsilon`. Every released model of the paper.
    #[default]
    Epsilon,
    /// The clean latent x₀. CompVis: `x0`, diffusers: `sample`.
    X0,
    /// The velocity v = √ᾱ ε − √(1−ᾱ) x₀. diffusers: `v_prediction`; CompVis has none.
    Velocity,
    /// F of Karras et al. 2022: x₀ = σ_d²/(σ²+σ_d²) x + σ σ_d/√(σ²+σ_d²) F with σ_d = ½, where
    /// the network gets x/√(σ²+σ_d²) and ¼ ln σ for a timestep. diffusers' `EDM…` schedulers,
    /// ComfyUI's `edm_playground_v2.5`; the schedule is [`Betas::Edm`](crate::schedule::Betas).
    Edm,
}

/// σ_data of [`Prediction::Edm`], squared.
pub(crate) const EDM_DATA2: f64 = 0.25;

impl Prediction {
    /// What training compares the network's output with.
    ///
    /// `x0` and `noise` are `[b, c, h, w]`, `t` has a timestep for each of the `b`.
    pub fn target(
        self,
        schedule: &NoiseSchedule,
        x0: Tensor<4>,
        noise: Tensor<4>,
        t: &[usize],
    ) -> Tensor<4> {
        match self {
            Self::Epsilon => noise,
            Self::X0 => x0,
            Self::Velocity => {
                let (signal, spread) = scales(schedule, &x0, t);
                noise * signal - x0 * spread
            }
            Self::Edm => {
                // With x = x₀ + σ ε of x₀ = c_skip x + c_out F, and σ = spread/signal.
                let (signal, spread) = scales(schedule, &x0, t);
                let sigma = spread / signal;
                let norm = (sigma.clone() * sigma.clone() + EDM_DATA2).sqrt();
                (x0 * sigma.clone() - noise * EDM_DATA2) / (norm * EDM_DATA2.sqrt())
            }
        }
    }
}

/// xₜ = √ᾱₜ x₀ + √(1−ᾱₜ) ε, eq. 4 of Ho et al. 2020, with a timestep for each item.
///
/// `x0` and `noise` are `[b, c, h, w]`, `t` has `b` timesteps of the schedule.
pub fn add_noise(
    schedule: &NoiseSchedule,
    x0: Tensor<4>,
    noise: Tensor<4>,
    t: &[usize],
) -> Tensor<4> {
    let (signal, spread) = scales(schedule, &x0, t);
    x0 * signal + noise * spread
}

/// √ᾱₜ and √(1−ᾱₜ) as `[b, 1, 1, 1]`, like `x` in device and dtype.
fn scales(schedule: &NoiseSchedule, x: &Tensor<4>, t: &[usize]) -> (Tensor<4>, Tensor<4>) {
    assert_eq!(
        x.dims()[0],
        t.len(),
        "one timestep for each item of the batch"
    );
    let column = |value: &dyn Fn(f64) -> f64| -> Tensor<4> {
        let values: Vec<f32> = t
            .iter()
            .map(|&t| value(schedule.alpha_bar(t)) as f32)
            .collect();
        let data = TensorData::new(values, [t.len(), 1, 1, 1]);
        Tensor::<4>::from_data(data, (&x.device(), DType::F32)).cast(x.dtype())
    };
    (column(&|a| a.sqrt()), column(&|a| (1.0 - a).sqrt()))
}

/// Something that predicts from a noisy latent and its timestep: a U-Net with its
/// conditioning, a [`Guided`](crate::guidance::Guided) pair of these, or a closure in a test.
pub trait Network {
    /// `x [b, c, h, w]` in the variance-preserving state, one timestep for the whole batch
    /// → the prediction, `[b, c, h, w]`.
    fn predict(&self, x: Tensor<4>, t: f64) -> Tensor<4>;

    /// The same, and beside it what the negative condition alone predicts: the samplers of
    /// the CFG++ family (Chung et al. 2024, arXiv 2406.08070) step along that one.
    ///
    /// A network without guidance gives its prediction twice.
    fn predict_both(&self, x: Tensor<4>, t: f64) -> Both {
        let guided = self.predict(x, t);
        Both {
            negative: guided.clone(),
            guided,
        }
    }

    /// Hears before a walk at which timesteps it will be asked, in their order, as far as the
    /// sampler knows: what depends on nothing else may be made for many of them at once.
    fn ahead(&self, timesteps: &[f64]);
}

/// Two predictions for one state.
pub struct Both {
    /// Under guidance, `[b, c, h, w]`.
    pub guided: Tensor<4>,
    /// Under the negative condition alone, `[b, c, h, w]`.
    pub negative: Tensor<4>,
}

impl<F: Fn(Tensor<4>, f64) -> Tensor<4>> Network for F {
    fn predict(&self, x: Tensor<4>, t: f64) -> Tensor<4> {
        self(x, t)
    }

    fn ahead(&self, _timesteps: &[f64]) {}
}

/// A network with its schedule and the meaning of its output: all that a sampler sees.
pub struct Denoiser<'a> {
    network: &'a dyn Network,
    schedule: &'a NoiseSchedule,
    prediction: Prediction,
}

/// The level of a variance-preserving state that holds the noise of `alpha_bar`, while the network
/// is told `t`.
pub(crate) fn level(alpha_bar: f64, t: f64) -> Level {
    let sigma = (1.0 - alpha_bar).sqrt() / alpha_bar.sqrt();
    Level { sigma, t }
}

/// A prediction taken apart: xₜ = √ᾱₜ x0 + √(1−ᾱₜ) eps.
pub struct Guess {
    /// The clean latent, `[b, c, h, w]`.
    pub x0: Tensor<4>,
    /// The noise, `[b, c, h, w]`.
    pub eps: Tensor<4>,
}

impl<'a> Denoiser<'a> {
    /// `network` gives `prediction` over the timesteps of `schedule`.
    pub fn new(
        network: &'a dyn Network,
        schedule: &'a NoiseSchedule,
        prediction: Prediction,
    ) -> Self {
        Self {
            network,
            schedule,
            prediction,
        }
    }

    /// The schedule the network was trained on.
    pub fn schedule(&self) -> &NoiseSchedule {
        self.schedule
    }

    /// Tells the network before a walk at which levels it will be asked.
    pub fn ahead(&self, levels: impl Iterator<Item = Level>) {
        let noisy = levels.filter(|level| level.sigma > 0.0);
        let asked = noisy.map(|level| self.asked(level));
        self.network.ahead(&asked.collect::<Vec<f64>>());
    }

    /// What the network is told of a level above 0.
    fn asked(&self, level: Level) -> f64 {
        match self.prediction {
            Prediction::Edm => 0.25 * libm::log(level.sigma),
            _ => level.t,
        }
    }

    /// The clean latent and the noise in a variance-preserving `x` at timestep `t`.
    pub fn guess(&self, x: Tensor<4>, t: usize) -> Guess {
        self.guess_at(x, self.schedule.alpha_bar(t), t as f64)
    }

    /// The same for an `x` that holds the noise of `alpha_bar`, while the network is told `t`.
    pub fn guess_at(&self, x: Tensor<4>, alpha_bar: f64, t: f64) -> Guess {
        let (signal, spread) = (alpha_bar.sqrt(), (1.0 - alpha_bar).sqrt());
        let from_x0 = |x: Tensor<4>, x0: Tensor<4>| Guess {
            eps: (x - x0.clone() * signal) / spread,
            x0,
        };
        if self.prediction == Prediction::Edm {
            let x0 = self.denoise(x.clone() / signal, level(alpha_bar, t));
            return from_x0(x, x0);
        }
        let out = self.network.predict(x.clone(), t);
        match self.prediction {
            Prediction::X0 | Prediction::Edm => from_x0(x, out),
            // Of nothing but noise ε tells nothing; the signal of diffusers' 2⁻²⁴ stands in.
            Prediction::Epsilon => Guess {
                x0: (x - out.clone() * spread) / if signal > 0.0 { signal } else { 1.0 / 4096.0 },
                eps: out,
            },
            Prediction::Velocity => Guess {
                x0: x.clone() * signal - out.clone() * spread,
                eps: out * signal + x * spread,
            },
        }
    }

    /// The clean latent in a variance-exploding `x` at a level above 0: the D(x; σ) of
    /// Karras et al. 2022.
    pub fn denoise(&self, x: Tensor<4>, level: Level) -> Tensor<4> {
        let (input, t) = self.input(x.clone(), level);
        self.take_apart(x, self.network.predict(input, t), level.sigma)
    }

    /// The same under guidance and under the negative condition alone, in this order.
    pub fn denoise_both(&self, x: Tensor<4>, level: Level) -> (Tensor<4>, Tensor<4>) {
        let (input, t) = self.input(x.clone(), level);
        let both = self.network.predict_both(input, t);
        (
            self.take_apart(x.clone(), both.guided, level.sigma),
            self.take_apart(x, both.negative, level.sigma),
        )
    }

    /// What the network gets for a variance-exploding `x`.
    fn input(&self, x: Tensor<4>, level: Level) -> (Tensor<4>, f64) {
        let sigma2 = level.sigma * level.sigma;
        let data2 = match self.prediction {
            Prediction::Edm => EDM_DATA2,
            _ => 1.0,
        };
        (x / (sigma2 + data2).sqrt(), self.asked(level))
    }

    /// The clean latent in what the network made of a variance-exploding `x`.
    fn take_apart(&self, x: Tensor<4>, out: Tensor<4>, sigma: f64) -> Tensor<4> {
        match self.prediction {
            Prediction::Epsilon => x - out * sigma,
            Prediction::X0 => out,
            Prediction::Velocity => {
                let norm = (sigma * sigma + 1.0).sqrt(); // 1/√ᾱ
                x / (norm * norm) - out * (sigma / norm)
            }
            Prediction::Edm => {
                let norm2 = sigma * sigma + EDM_DATA2;
                x * (EDM_DATA2 / norm2) + out * (sigma * (EDM_DATA2 / norm2).sqrt())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::noise::Noise;
    use crate::schedule::ScheduleConfig;
    use burn::tensor::Device;

    const SHAPE: [usize; 4] = [2, 3, 4, 4];

    fn schedule() -> NoiseSchedule {
        ScheduleConfig::scaled_linear(0.0015, 0.0195)
            .init()
            .unwrap()
    }

    fn draw(seed: u64) -> Tensor<4> {
        Noise::new(seed).tensor(SHAPE, &Device::flex())
    }

    fn assert_close(got: Tensor<4>, want: Tensor<4>, tolerance: f32) {
        let apart = (got - want).abs().max().into_scalar::<f32>();
        assert!(apart <= tolerance, "{apart} apart");
    }

    /// A network that knows the answer gives it back through each parametrisation.
    #[test]
    fn each_prediction_of_the_truth_is_taken_apart_into_the_truth() {
        let (s, x0, eps) = (schedule(), draw(1), draw(2));
        for kind in [Prediction::Epsilon, Prediction::X0, Prediction::Velocity] {
            for t in [0, 1, 300, 700] {
                let truth = kind.target(&s, x0.clone(), eps.clone(), &[t, t]);
                let network = |_: Tensor<4>, asked: f64| {
                    assert!((asked - t as f64).abs() < 1e-9, "{asked} for {t}");
                    truth.clone()
                };
                let model = Denoiser::new(&network, &s, kind);
                let x = add_noise(&s, x0.clone(), eps.clone(), &[t, t]);
                let guess = model.guess(x.clone(), t);
                // Dividing by √ᾱ or √(1−ᾱ) enlarges the rounding of f32.
                assert_close(guess.x0, x0.clone(), 2e-6 / s.alpha_bar(t).sqrt() as f32);
                assert_close(
                    guess.eps,
                    eps.clone(),
                    2e-6 / (1.0 - s.alpha_bar(t)).sqrt() as f32,
                );
                let exploding = x / s.alpha_bar(t).sqrt();
                let clean = model.denoise(exploding, Level::of(s.sigma(t), &s));
                assert_close(clean, x0.clone(), 4e-6 * (1.0 + s.sigma(t)) as f32);
            }
        }
    }

    #[test]
    fn the_network_sees_the_variance_preserving_state_from_both_sides() {
        let (s, x) = (schedule(), draw(3));
        let seen = std::cell::RefCell::new(Vec::new());
        let network = |x: Tensor<4>, t: f64| {
            seen.borrow_mut().push((x.clone(), t));
            x
        };
        let model = Denoiser::new(&network, &s, Prediction::Epsilon);
        model.guess(x.clone(), 640);
        model.denoise(x / s.alpha_bar(640).sqrt(), Level::of(s.sigma(640), &s));
        let mut seen = seen.take();
        let ((b, tb), (a, ta)) = (seen.pop().unwrap(), seen.pop().unwrap());
        assert!((ta - tb).abs() < 1e-9);
        assert_close(b, a, 2e-6);
    }

    #[test]
    fn noise_is_added_by_each_items_own_timestep() {
        let (s, x0, eps) = (schedule(), draw(4), draw(5));
        let x = add_noise(&s, x0.clone(), eps.clone(), &[10, 900]);
        for (item, t) in [(0, 10), (1, 900)] {
            let a = s.alpha_bar(t);
            let [x, x0, eps] = [&x, &x0, &eps].map(|x| x.clone().narrow(0, item, 1));
            assert_close(x, x0 * a.sqrt() + eps * (1.0 - a).sqrt(), 1e-6);
        }
    }

    #[test]
    fn the_velocity_is_the_one_of_salimans_and_ho() {
        let (s, x0, eps) = (schedule(), draw(6), draw(7));
        let v = Prediction::Velocity.target(&s, x0.clone(), eps.clone(), &[400, 400]);
        let a = s.alpha_bar(400);
        assert_close(v, eps * a.sqrt() - x0 * (1.0 - a).sqrt(), 1e-6);
    }
}
