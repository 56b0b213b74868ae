//! LCM and TCD: samplers of models distilled to need a few steps.

use burn::tensor::Tensor;

use super::{Run, Stopped};
use crate::schedule::Level;

/// LCM: Luo et al. 2023 (arXiv 2310.04378), algorithm of multistep sampling: to the clean
/// latent, and back to the next level with new noise. One network call a step.
///
/// `x` is variance exploding with noise `levels[0]`. `boundary` holds the result to the state
/// where there is hardly noise, as diffusers' `LCMScheduler` does with its
/// `timestep_scaling`; ComfyUI's `lcm` leaves it to the model.
pub fn lcm(
    run: &mut Run<'_>,
    mut x: Tensor<4>,
    levels: &[Level],
    boundary: Option<f64>,
) -> Result<Tensor<4>, Stopped> {
    for pair in levels.windows(2) {
        let (sigma, next) = (pair[0].sigma, pair[1].sigma);
        let mut clean = run.denoise(&x, pair[0])?;
        if let Some(scaling) = boundary {
            let t2 = (pair[0].t * scaling).powi(2);
            let data2 = 0.25; // σ_data²
            let c_skip = data2 / (t2 + data2) / (sigma * sigma + 1.0).sqrt();
            clean = clean * (t2 / (t2 + data2)).sqrt() + x * c_skip;
        }
        x = clean;
        if next > 0.0 {
            x = x.clone() + run.noise(&x, sigma, next) * next;
        }
    }
    Ok(x)
}

/// TCD: Zheng et al. 2024 (arXiv 2402.19159), algorithm 4, diffusers' `TCDScheduler`: down
/// past the next timestep to a share `1 − eta` of it, and back with new noise. One network
/// call a step.
///
/// `x` is variance preserving with the noise of `times[0]`. The last step lands on ᾱ₀.
pub fn tcd(
    run: &mut Run<'_>,
    mut x: Tensor<4>,
    times: &[usize],
    eta: f64,
) -> Result<Tensor<4>, Stopped> {
    for (i, &t) in times.iter().enumerate() {
        let next = times.get(i + 1).copied();
        let s = ((1.0 - eta) * next.unwrap_or(0) as f64) as usize;
        let guess = run.guess(&x, t)?;
        let a_s = run.schedule().alpha_bar(s);
        x = guess.x0 * a_s.sqrt() + guess.eps * (1.0 - a_s).sqrt();
        if let Some(next) = next.filter(|_| eta > 0.0) {
            let kept = run.schedule().alpha_bar(next) / a_s;
            x = x.clone() * kept.sqrt() + run.draw(&x) * (1.0 - kept).sqrt();
        }
    }
    Ok(x)
}
