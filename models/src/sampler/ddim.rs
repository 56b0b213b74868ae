//! DDIM: Song et al. 2021 (arXiv 2010.02502).

use burn::tensor::Tensor;

use super::{Run, Stopped};
use crate::choice::choices;
use crate::schedule::NoiseSchedule;

choices! {
    /// Where the last step of DDIM lands.
    #[derive(Copy)]
    pub enum FinalAlpha {
        /// On the first timestep, a trace of noise left: the paper's code, and diffusers'
        /// `set_alpha_to_one=False`.
        First,
        /// On the clean latent: diffusers' `set_alpha_to_one=True`.
        One,
    }
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
    run: &mut Run<'_>,
    mut x: Tensor<4>,
    times: &[usize],
    end: f64,
    eta: f64,
) -> Result<Tensor<4>, Stopped> {
    let table = run.schedule();
    for (i, &t) in times.iter().enumerate() {
        let a = table.alpha_bar(t);
        let a_p = times.get(i + 1).map_or(end, |&p| table.alpha_bar(p));
        let guess = run.guess(&x, t)?;
        let sigma = eta * ((1.0 - a_p) / (1.0 - a) * (1.0 - a / a_p)).max(0.0).sqrt();
        let towards = (1.0 - a_p - sigma * sigma).max(0.0).sqrt(); // "direction pointing to xₜ"
        x = guess.x0 * a_p.sqrt() + guess.eps * towards;
        if eta > 0.0 {
            x = x.clone() + run.draw(&x) * sigma;
        }
    }
    Ok(x)
}
