//! ᾱ and σ of every timestep of training, and of what lies between two.

use super::{MOST_STEPS, ScheduleError};

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
        match alpha_bars.last() {
            Some(&value) if value <= 0.0 => Err(ScheduleError::Table {
                at: alpha_bars.len() - 1,
                value,
            }),
            _ => Self::ending(alpha_bars),
        }
    }

    /// The same, but the last ᾱ may be 0.
    pub(super) fn ending(alpha_bars: Vec<f64>) -> Result<Self, ScheduleError> {
        let (mut above, last) = (1.0, alpha_bars.len() - 1);
        for (at, &value) in alpha_bars.iter().enumerate() {
            let low = 0.0 < value || (at == last && value == 0.0);
            if !(low && value < above) {
                return Err(ScheduleError::Table { at, value });
            }
            above = value;
        }
        let log_sigmas = alpha_bars
            .iter()
            .map(|&a| {
                let a = not_zero(a);
                0.5 * libm::log((1.0 - a) / a)
            })
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
        let a = not_zero(self.alpha_bars[t]);
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
    /// As k-diffusion without `quantize`. ComfyUI takes the
    /// [nearest whole timestep](Self::nearest_timestep).
    pub fn timestep_of(&self, sigma: f64) -> f64 {
        let log = libm::log(sigma);
        let above = self.log_sigmas.partition_point(|&s| s <= log);
        let low = above.clamp(1, self.timesteps() - 1) - 1;
        let (a, b) = (self.log_sigmas[low], self.log_sigmas[low + 1]);
        low as f64 + ((log - a) / (b - a)).clamp(0.0, 1.0)
    }

    /// The whole timestep whose noise is nearest to `sigma`, measured in ln σ: what ComfyUI
    /// tells a network, and diffusers its DPM-Solver family.
    pub fn nearest_timestep(&self, sigma: f64) -> f64 {
        (self.timestep_of(sigma) - 0.5).ceil().max(0.0)
    }

    /// The σ at which `percent` of the timesteps lie behind, 0..=1: ComfyUI's
    /// `percent_to_sigma`, without end above 0 and 0 at 1.
    pub fn sigma_at_percent(&self, percent: f64) -> f64 {
        match percent {
            p if p <= 0.0 => f64::INFINITY,
            p if p >= 1.0 => 0.0,
            p => self.sigma_between((1.0 - p) * 999.0),
        }
    }
}

/// The ᾱ that a σ is made of: 2⁻²⁴ for 0, whose σ has no end.
fn not_zero(alpha_bar: f64) -> f64 {
    if alpha_bar == 0.0 {
        1.0 / f64::from(1 << 24)
    } else {
        alpha_bar
    }
}
