//! DDIM: Song et al. 2021 (arXiv 2010.02502).

use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use super::{Draw, OnStep, Stopped, tell};
use crate::prediction::Denoiser;
use crate::schedule::NoiseSchedule;

/// Where the last step of [`ddim`] lands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum FinalAlpha {
    /// On ᾱ₀: a trace of noise stays. CompVis; diffusers' `set_alpha_to_one=False`.
    #[default]
    First,
    /// On 1: the clean latent. diffusers' `set_alpha_to_one=True`.
    One,
}

impl FinalAlpha {
    /// The ᾱ it names.
    pub fn alpha_bar(self, schedule: &NoiseSchedule) -> f64 {
        match self {
            Self::First => schedule.alpha_bar(0),
            Self::One => 1.0,
        }
    }
}

/// Eq. 12, with σ of eq. 16, between a timestep t and the next one visited, p.
///
/// `x` is variance preserving with the noise of `times[0]`; the last step lands on ᾱₚ =
/// `end`. (diffusers takes p = t − timesteps/steps instead of the next one visited: the
/// same for CompVis and leading spacings, and where steps divide the timesteps.)
/// With `eta` above 0 every step draws, as in diffusers; at 0 none does, while CompVis
/// draws and multiplies by 0.
pub fn ddim(
    model: &Denoiser<'_>,
    mut x: Tensor<4>,
    times: &[usize],
    end: f64,
    eta: f64,
    draw: &mut Draw<'_>,
    on_step: &mut OnStep<'_>,
) -> Result<Tensor<4>, Stopped> {
    let alpha_bar = |t: usize| model.schedule().alpha_bar(t);
    for (i, &t) in times.iter().enumerate() {
        let a = alpha_bar(t);
        let a_p = times.get(i + 1).map_or(end, |&p| alpha_bar(p));
        let guess = model.guess(x, t);
        tell(on_step, i, times.len(), &guess.x0)?;
        let sigma = eta * ((1.0 - a_p) / (1.0 - a) * (1.0 - a / a_p)).max(0.0).sqrt();
        let towards = (1.0 - a_p - sigma * sigma).max(0.0).sqrt(); // "direction pointing to xₜ"
        x = guess.x0 * a_p.sqrt() + guess.eps * towards;
        if eta > 0.0 {
            x = x.clone() + draw(&x) * sigma;
        }
    }
    Ok(x)
}
