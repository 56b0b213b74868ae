//! How β grows over training's timesteps, and a schedule as a manifest writes it.

use std::f64::consts::FRAC_PI_2;

use serde::{Deserialize, Serialize};

use super::{MOST_STEPS, NoiseSchedule, ScheduleError, linspace, within};

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
    /// No β at all: ln σ rises on a line, as Karras et al. 2022 (EDM) train. ComfyUI:
    /// `ModelSamplingContinuousEDM`; diffusers: the range of its `EDM…` schedulers.
    Edm {
        /// The least noise; 0.002 in the paper.
        sigma_min: f64,
        /// The most noise; 80 in the paper.
        sigma_max: f64,
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

    /// ᾱ for each of `n` timesteps.
    fn alpha_bars(self, n: usize) -> Vec<f64> {
        let fall = |alpha_bar: &mut f64, beta: f64| {
            *alpha_bar *= 1.0 - beta;
            Some(*alpha_bar)
        };
        match self {
            Self::Edm {
                sigma_min,
                sigma_max,
            } => linspace(libm::log(sigma_min), libm::log(sigma_max), n)
                .map(|log| 1.0 / (1.0 + libm::exp(2.0 * log)))
                .collect(),
            _ => self.values(n).into_iter().scan(1.0, fall).collect(),
        }
    }

    /// β for each of `n` timesteps.
    pub(super) fn values(self, n: usize) -> Vec<f64> {
        match self {
            Self::Edm { .. } => Vec::new(),
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
            Self::Edm {
                sigma_min,
                sigma_max,
            } => {
                within("sigma_min", sigma_min, 1e-6, 1e6)?;
                return within("sigma_max", sigma_max, sigma_min * 1.001, 1e6);
            }
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

/// A schedule as a manifest writes it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScheduleConfig {
    /// The curve of β.
    pub betas: Betas,
    /// How many timesteps the model was trained on.
    #[serde(default = "thousand")]
    pub timesteps: usize,
    /// Whether the last timestep was made nothing but noise.
    #[serde(default, skip_serializing_if = "ZeroSnr::is_no")]
    pub rescale_zero_snr: ZeroSnr,
}

/// Whether ᾱ is shifted and scaled so that the last timestep is nothing but noise, and ᾱ₀
/// stays: Lin et al. 2023 (arXiv 2305.08891), algorithm 1. Models trained so predict the
/// velocity.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum ZeroSnr {
    /// ᾱ is left as training's β make it.
    #[default]
    No,
    /// diffusers' `rescale_betas_zero_snr`: the last ᾱ is 0, and 2⁻²⁴ where a finite σ is
    /// needed.
    Diffusers,
    /// ComfyUI's `zsnr`: the last ᾱ is 4.9e-8, a σ of 4519.
    ComfyUi,
}

impl ZeroSnr {
    fn is_no(&self) -> bool {
        *self == Self::No
    }

    /// ᾱ, rescaled where that is wanted.
    fn rescale(self, mut alpha_bars: Vec<f64>) -> Vec<f64> {
        let end = match self {
            Self::No => return alpha_bars,
            Self::Diffusers => 0.0,
            Self::ComfyUi => 4.897_345_189_085_343_5e-8,
        };
        let last = alpha_bars.len() - 1;
        let (first, low) = (alpha_bars[0].sqrt(), alpha_bars[last].sqrt());
        for a in &mut alpha_bars {
            let root = (a.sqrt() - low) * first / (first - low);
            *a = root * root;
        }
        alpha_bars[last] = end;
        alpha_bars
    }
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
            rescale_zero_snr: ZeroSnr::No,
        }
    }

    /// The range of Karras et al. 2022 for images: σ from 0.002 to 80.
    pub fn edm() -> Self {
        Self {
            betas: Betas::Edm {
                sigma_min: 0.002,
                sigma_max: 80.0,
            },
            timesteps: 1000,
            rescale_zero_snr: ZeroSnr::No,
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
        let alpha_bars = self.betas.alpha_bars(self.timesteps);
        NoiseSchedule::ending(self.rescale_zero_snr.rescale(alpha_bars))
    }
}
