//! RES: exponential multistep of second order, with noise, and along the unguided slope.

use burn::tensor::Tensor;

use super::math::{ancestral, combine, expm1, lambda};
use super::{Run, Stopped};
use crate::schedule::Level;

/// ComfyUI's `res_multistep` (`eta` 0) and `res_multistep_ancestral`, after Zhang et al. 2023
/// (arXiv 2308.02157). One network call a step.
///
/// `x` is variance exploding with noise `levels[0]`. With `cfg_pp` the step goes along the
/// negative condition's slope, from the state moved by the difference: ComfyUI's
/// `res_multistep_cfg_pp` and `res_multistep_ancestral_cfg_pp`.
pub fn res_multistep(
    run: &mut Run<'_>,
    mut x: Tensor<4>,
    levels: &[Level],
    (eta, s_noise): (f64, f64),
    cfg_pp: bool,
) -> Result<Tensor<4>, Stopped> {
    let mut before: Option<(Tensor<4>, f64)> = None; // D and σ↓ of the step before
    for (i, pair) in levels.windows(2).enumerate() {
        let (sigma, next) = (pair[0].sigma, pair[1].sigma);
        let (clean, along) = if cfg_pp {
            run.denoise_both(&x, pair[0])?
        } else {
            let clean = run.denoise(&x, pair[0])?;
            (clean.clone(), clean)
        };
        let (down, up) = ancestral(sigma, next, eta);
        let ratio = down / sigma; // e⁻ʰ
        let moved = combine(&[(1.0, &x), (1.0, &clean), (-1.0, &along)]);
        x = match &before {
            Some((old, old_down)) if down > 0.0 => {
                let h = lambda(down) - lambda(sigma);
                let c2 = (lambda(levels[i - 1].sigma) - lambda(*old_down)) / h;
                let phi_1 = -expm1(-h) / h;
                let phi_2 = (phi_1 - 1.0) / -h;
                let (b1, b2) = (phi_1 - phi_2 / c2, phi_2 / c2);
                combine(&[(ratio, &moved), (h * b1, &along), (h * b2, old)])
            }
            _ => combine(&[(1.0, &clean), (ratio, &x), (-ratio, &along)]),
        };
        if next > 0.0 && eta > 0.0 {
            x = x.clone() + run.noise(&x, sigma, next) * (up * s_noise);
        }
        before = Some((along, down));
    }
    Ok(x)
}
