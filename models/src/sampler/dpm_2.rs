//! DPM-Solver-2 in the measure of σ: a step to the middle, then the whole step along the
//! slope found there.

use burn::tensor::Tensor;

use super::math::{ancestral, slope};
use super::{Churn, Run, Stopped};
use crate::schedule::Level;

/// k-diffusion's and ComfyUI's `dpm_2`, diffusers' `KDPM2DiscreteScheduler`: two network
/// calls a step and one for the last. The middle is the geometric one of both levels.
///
/// `x` is variance exploding with noise `levels[0]`.
pub fn dpm_2(
    run: &mut Run<'_>,
    mut x: Tensor<4>,
    levels: &[Level],
    churn: Churn,
) -> Result<Tensor<4>, Stopped> {
    for pair in levels.windows(2) {
        let (raised, at) = churn.raise(run, x, pair[0], levels.len() - 1);
        let (sigma, next) = (at.sigma, pair[1].sigma);
        let clean = run.denoise(&raised, at)?;
        let mut d = slope(&raised, &clean, sigma);
        if next > 0.0 {
            let mid = (sigma * next).sqrt();
            let x2 = raised.clone() + d * (mid - sigma);
            d = slope(&x2, &run.denoise_at(&x2, mid)?, mid);
        }
        x = raised + d * (next - sigma);
    }
    Ok(x)
}

/// k-diffusion's and ComfyUI's `dpm_2_ancestral`, diffusers'
/// `KDPM2AncestralDiscreteScheduler`: the same step down to σ↓, then noise of σ↑.
///
/// `x` is variance exploding with noise `levels[0]`.
pub fn dpm_2_ancestral(
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
        let mut d = slope(&x, &clean, sigma);
        if down > 0.0 {
            let mid = (sigma * down).sqrt();
            let x2 = x.clone() + d * (mid - sigma);
            d = slope(&x2, &run.denoise_at(&x2, mid)?, mid);
        }
        x = x + d * (down - sigma);
        if down > 0.0 {
            x = x.clone() + run.noise(&x, sigma, next) * (up * s_noise);
        }
    }
    Ok(x)
}
