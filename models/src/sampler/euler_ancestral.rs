//! Euler's method with noise added back at each step.

use burn::tensor::Tensor;

use super::math::{ancestral, slope};
use super::{Run, Stopped};
use crate::schedule::Level;

/// k-diffusion's `sample_euler_ancestral`: a step of Euler down to σ↓, then noise of
/// σ↑ up to the next level, σ↓² + σ↑² = σₚ². With `eta` 1 the split is that of ancestral
/// sampling (DDPM) in the measure of σ, which is what ComfyUI's `ddpm` computes; with 0 it
/// is [`euler`](super::euler).
///
/// `x` is variance exploding with noise `levels[0]`. A step to 0 draws nothing (diffusers
/// draws there and multiplies by 0). diffusers has neither `eta` nor `s_noise`: both are 1.
pub fn euler_ancestral(
    run: &mut Run<'_>,
    mut x: Tensor<4>,
    levels: &[Level],
    eta: f64,
    s_noise: f64,
) -> Result<Tensor<4>, Stopped> {
    for pair in levels.windows(2) {
        let (sigma, next) = (pair[0].sigma, pair[1].sigma);
        let clean = run.denoise(&x, pair[0])?;
        let (down, up) = ancestral(sigma, next, eta);
        x = x.clone() + slope(&x, &clean, sigma) * (down - sigma);
        if next > 0.0 {
            x = x.clone() + run.noise(&x, sigma, next) * (up * s_noise);
        }
    }
    Ok(x)
}
