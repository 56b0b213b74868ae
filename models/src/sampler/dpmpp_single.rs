//! DPM-Solver++ in single steps with noise: the ancestral and the stochastic one.

use burn::tensor::Tensor;

use super::math::{ancestral, combine, lambda, sigma_of};
use super::{Run, Stopped};
use crate::schedule::Level;

/// k-diffusion's and ComfyUI's `dpmpp_2s_ancestral`: DPM-Solver++(2S) of Lu et al. 2022
/// (arXiv 2211.01095) down to σ↓, then noise of σ↑. Two network calls a step, one for the
/// last.
///
/// `x` is variance exploding with noise `levels[0]`.
pub fn dpmpp_2s_ancestral(
    run: &mut Run<'_>,
    mut x: Tensor<4>,
    levels: &[Level],
    eta: f64,
    s_noise: f64,
) -> Result<Tensor<4>, Stopped> {
    for pair in levels.windows(2) {
        let (sigma, next) = (pair[0].sigma, pair[1].sigma);
        let mut clean = run.denoise(&x, pair[0])?;
        let (down, up) = ancestral(sigma, next, eta);
        if down > 0.0 {
            let mid = (sigma * down).sqrt(); // r = 1/2
            let x2 = combine(&[(mid / sigma, &x), (1.0 - mid / sigma, &clean)]);
            clean = run.denoise_at(&x2, mid)?;
        }
        x = combine(&[(down / sigma, &x), (1.0 - down / sigma, &clean)]);
        if next > 0.0 {
            x = x.clone() + run.noise(&x, sigma, next) * (up * s_noise);
        }
    }
    Ok(x)
}

/// k-diffusion's and ComfyUI's `dpmpp_sde`, diffusers' `DPMSolverSDEScheduler`: DPM-Solver++
/// for the stochastic equation, with its inner point at `r` of the step. Two network calls a
/// step, one for the last.
///
/// Both noises of a step are of ways that begin at its level: they belong together in a
/// Brownian motion. `x` is variance exploding with noise `levels[0]`.
pub fn dpmpp_sde(
    run: &mut Run<'_>,
    mut x: Tensor<4>,
    levels: &[Level],
    eta: f64,
    s_noise: f64,
    r: f64,
) -> Result<Tensor<4>, Stopped> {
    for pair in levels.windows(2) {
        let (sigma, next) = (pair[0].sigma, pair[1].sigma);
        let clean = run.denoise(&x, pair[0])?;
        if next == 0.0 {
            x = clean;
            continue;
        }
        let mid = sigma_of(lambda(sigma) + r * (lambda(next) - lambda(sigma)));
        let step = |run: &mut Run<'_>, clean: &Tensor<4>, to: f64| {
            let (down, up) = ancestral(sigma, to, eta);
            let x = combine(&[(down / sigma, &x), (1.0 - down / sigma, clean)]);
            if eta > 0.0 && s_noise > 0.0 {
                x.clone() + run.noise(&x, sigma, to) * (up * s_noise)
            } else {
                x
            }
        };
        let x2 = step(run, &clean, mid);
        let clean2 = run.denoise_at(&x2, mid)?;
        let fac = 1.0 / (2.0 * r);
        let mean = combine(&[(1.0 - fac, &clean), (fac, &clean2)]);
        x = step(run, &mean, next);
    }
    Ok(x)
}
