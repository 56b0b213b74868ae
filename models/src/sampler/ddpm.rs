//! DDPM: the ancestral sampler of Ho et al. 2020 (arXiv 2006.11239), over any timesteps.

use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use super::{Draw, OnStep, Stopped, tell};
use crate::prediction::Denoiser;

/// How much noise a step of [`ddpm`] adds: σ² of section 3.2.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Variance {
    /// β̃ = (1−ᾱₚ)/(1−ᾱ)·β, right when x₀ is one point. CompVis: `v_posterior` 0,
    /// diffusers: `fixed_small`.
    #[default]
    Small,
    /// β, right when x₀ is Gaussian. CompVis: `v_posterior` 1, diffusers: `fixed_large`.
    Large,
}

/// Algorithm 2, with the posterior of eq. 6 and 7 between a timestep t and the next one
/// visited, p: α = ᾱ/ᾱₚ and β = 1 − α. Over every timestep it is the paper's own.
///
/// `x` is variance preserving with the noise of `times[0]`; the last step lands on ᾱₚ = 1
/// and adds no noise (the paper's "z = 0 if t = 1"; diffusers asks whether t is 0).
pub fn ddpm(
    model: &Denoiser<'_>,
    mut x: Tensor<4>,
    times: &[usize],
    variance: Variance,
    draw: &mut Draw<'_>,
    on_step: &mut OnStep<'_>,
) -> Result<Tensor<4>, Stopped> {
    let alpha_bar = |t: usize| model.schedule().alpha_bar(t);
    for (i, &t) in times.iter().enumerate() {
        let a = alpha_bar(t);
        let a_p = times.get(i + 1).map_or(1.0, |&p| alpha_bar(p));
        let (alpha, beta) = (a / a_p, 1.0 - a / a_p);
        let x0 = model.guess(x.clone(), t).x0;
        tell(on_step, i, times.len(), &x0)?;
        let mean_of_x0 = a_p.sqrt() * beta / (1.0 - a); // eq. 7
        let mean_of_x = alpha.sqrt() * (1.0 - a_p) / (1.0 - a);
        x = x0 * mean_of_x0 + x * mean_of_x;
        if i + 1 < times.len() {
            let sigma2 = match variance {
                Variance::Small => (1.0 - a_p) / (1.0 - a) * beta,
                Variance::Large => beta,
            };
            x = x.clone() + draw(&x) * sigma2.sqrt();
        }
    }
    Ok(x)
}
