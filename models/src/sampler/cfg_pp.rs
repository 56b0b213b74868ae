//! CFG++ (Chung et al. 2024, arXiv 2406.08070): steps to the guided clean latent along the
//! noise that the negative condition alone sees.
//!
//! Its weights of guidance are small: 0.6 to 2 where plain guidance has 5 to 12.

use burn::tensor::Tensor;

use super::math::{ancestral, combine, lambda, slope};
use super::{Run, Stopped};
use crate::schedule::Level;

/// ComfyUI's `euler_cfg_pp` (`eta` 0) and `euler_ancestral_cfg_pp`. One network call a step.
///
/// `x` is variance exploding with noise `levels[0]`; a step to 0 gives the clean latent.
pub fn euler_cfg_pp(
    run: &mut Run<'_>,
    mut x: Tensor<4>,
    levels: &[Level],
    eta: f64,
    s_noise: f64,
) -> Result<Tensor<4>, Stopped> {
    for pair in levels.windows(2) {
        let (sigma, next) = (pair[0].sigma, pair[1].sigma);
        let (clean, negative) = run.denoise_both(&x, pair[0])?;
        if next == 0.0 {
            x = clean;
            continue;
        }
        let (down, up) = ancestral(sigma, next, eta);
        x = clean + slope(&x, &negative, sigma) * down;
        if eta > 0.0 && s_noise > 0.0 {
            x = x.clone() + run.noise(&x, sigma, next) * (up * s_noise);
        }
    }
    Ok(x)
}

/// ComfyUI's `dpmpp_2s_ancestral_cfg_pp`. Two network calls a step, one for the last.
///
/// `x` is variance exploding with noise `levels[0]`.
pub fn dpmpp_2s_ancestral_cfg_pp(
    run: &mut Run<'_>,
    mut x: Tensor<4>,
    levels: &[Level],
    eta: f64,
    s_noise: f64,
) -> Result<Tensor<4>, Stopped> {
    for pair in levels.windows(2) {
        let (sigma, next) = (pair[0].sigma, pair[1].sigma);
        let (clean, negative) = run.denoise_both(&x, pair[0])?;
        let (down, up) = ancestral(sigma, next, eta);
        if down == 0.0 {
            x = clean;
        } else {
            let mid = (sigma * down).sqrt();
            let moved = x.clone() + clean.clone() - negative;
            let x2 = combine(&[(mid / sigma, &moved), (1.0 - mid / sigma, &clean)]);
            // ComfyUI moves the state by the negative seen last, which is now the middle's.
            let (clean2, negative) = run.denoise_both(&x2, Level::of(mid, run.schedule()))?;
            let moved = x + clean - negative;
            x = combine(&[(down / sigma, &moved), (1.0 - down / sigma, &clean2)]);
        }
        if next > 0.0 {
            x = x.clone() + run.noise(&x, sigma, next) * (up * s_noise);
        }
    }
    Ok(x)
}

/// ComfyUI's `dpmpp_2m_cfg_pp`. One network call a step.
///
/// `x` is variance exploding with noise `levels[0]`.
pub fn dpmpp_2m_cfg_pp(
    run: &mut Run<'_>,
    mut x: Tensor<4>,
    levels: &[Level],
) -> Result<Tensor<4>, Stopped> {
    let mut before: Option<(Tensor<4>, f64)> = None; // the negative's D and h of the last step
    for pair in levels.windows(2) {
        let (sigma, next) = (pair[0].sigma, pair[1].sigma);
        let (clean, negative) = run.denoise_both(&x, pair[0])?;
        let (h, ratio) = (lambda(next) - lambda(sigma), next / sigma);
        x = combine(&[(1.0, &clean), (-ratio, &negative), (ratio, &x)]);
        if let Some((old, h_last)) = before.filter(|_| next > 0.0) {
            let half = h / (2.0 * h_last); // 1/2r
            x = x + (clean - old) * ((1.0 - ratio) * half);
        }
        before = Some((negative, h));
    }
    Ok(x)
}
