//! DDPM: the ancestral sampler of Ho et al. 2020 (arXiv 2006.11239), over any timesteps.

use burn::tensor::Tensor;

use super::{Run, Stopped};
use crate::choice::choices;

choices! {
    /// How much noise a step of DDPM adds back: σ² of section 3.2.
    #[derive(Copy)]
    pub enum Variance {
        /// The posterior's, right when the picture is certain; diffusers' `fixed_small`.
        ///
        /// β̃ = (1−ᾱₚ)/(1−ᾱ)·β; CompVis's `v_posterior` 0.
        Small,
        /// β itself; diffusers' `fixed_large`, CompVis's `v_posterior` 1.
        Large,
    }
}

/// Algorithm 2, with the posterior of eq. 6 and 7 between a timestep t and the next one
/// visited, p: α = ᾱ/ᾱₚ and β = 1 − α. Over every timestep it is the paper's own.
///
/// `x` is variance preserving with the noise of `times[0]`; the last step lands on ᾱₚ = 1
/// and adds no noise (the paper's "z = 0 if t = 1"; diffusers asks whether t is 0).
pub fn ddpm(
    run: &mut Run<'_>,
    mut x: Tensor<4>,
    times: &[usize],
    variance: Variance,
) -> Result<Tensor<4>, Stopped> {
    let table = run.schedule();
    for (i, &t) in times.iter().enumerate() {
        let a = table.alpha_bar(t);
        let a_p = times.get(i + 1).map_or(1.0, |&p| table.alpha_bar(p));
        let (alpha, beta) = (a / a_p, 1.0 - a / a_p);
        let x0 = run.guess(&x, t)?.x0;
        let mean_of_x0 = a_p.sqrt() * beta / (1.0 - a); // eq. 7
        let mean_of_x = alpha.sqrt() * (1.0 - a_p) / (1.0 - a);
        x = x0 * mean_of_x0 + x * mean_of_x;
        if i + 1 < times.len() {
            let sigma2 = match variance {
                Variance::Small => (1.0 - a_p) / (1.0 - a) * beta,
                Variance::Large => beta,
            };
            x = x.clone() + run.draw(&x) * sigma2.sqrt();
        }
    }
    Ok(x)
}
