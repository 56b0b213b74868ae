//! Euler's method with noise added back at each step.

use burn::tensor::Tensor;

use super::{Draw, OnStep, Stopped, tell};
use crate::prediction::Denoiser;
use crate::schedule::Level;

/// k-diffusion's `sample_euler_ancestral`: a step of Euler down to σ↓, then noise of
/// σ↑ up to the next level, σ↓² + σ↑² = σₚ². With `eta` 1 the split is that of ancestral
/// sampling (DDPM) in the measure of σ; with 0 it is [`euler`](super::euler).
///
/// `x` is variance exploding with noise `levels[0]`; `levels` fall and end in 0. The last
/// step draws nothing (diffusers draws there and multiplies by 0). diffusers has neither
/// `eta` nor `s_noise`: both are 1.
pub fn euler_ancestral(
    model: &Denoiser<'_>,
    mut x: Tensor<4>,
    levels: &[Level],
    eta: f64,
    s_noise: f64,
    draw: &mut Draw<'_>,
    on_step: &mut OnStep<'_>,
) -> Result<Tensor<4>, Stopped> {
    for (i, pair) in levels.windows(2).enumerate() {
        let (sigma, next) = (pair[0].sigma, pair[1].sigma);
        let clean = model.denoise(x.clone(), pair[0]);
        tell(on_step, i, levels.len() - 1, &clean)?;
        let (next2, sigma2) = (next * next, sigma * sigma);
        let up = (eta * (next2 * (sigma2 - next2) / sigma2).sqrt()).min(next);
        let down = (next2 - up * up).sqrt();
        let d = (x.clone() - clean) / sigma; // dx/dσ
        x = x + d * (down - sigma);
        if next > 0.0 {
            x = x.clone() + draw(&x) * (up * s_noise);
        }
    }
    Ok(x)
}
