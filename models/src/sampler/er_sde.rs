//! ER-SDE: solvers of the extended reverse-time equation.

use burn::tensor::Tensor;

use super::math::{exp, pow};
use super::{Run, Stopped};
use crate::schedule::Level;

/// Points of the sums that stand for integrals.
const POINTS: usize = 200;

/// ComfyUI's `er_sde`: Cui et al. 2023 (arXiv 2309.06169), their solvers 1 to 3 by `stages`.
/// One network call a step.
///
/// `x` is variance exploding with noise `levels[0]`; a step to 0 gives the clean latent.
pub fn er_sde(
    run: &mut Run<'_>,
    mut x: Tensor<4>,
    levels: &[Level],
    stages: usize,
    s_noise: f64,
) -> Result<Tensor<4>, Stopped> {
    let at = |i: usize| levels[i].sigma;
    let (mut old, mut old_d): (Option<Tensor<4>>, Option<Tensor<4>>) = (None, None);
    for (i, pair) in levels.windows(2).enumerate() {
        let (s, t) = (pair[0].sigma, pair[1].sigma);
        let clean = run.denoise(&x, pair[0])?;
        if t == 0.0 {
            return Ok(clean);
        }
        // Stage 1
        let r = phi(t) / phi(s);
        x = x * r + clean.clone() * (1.0 - r);
        if let Some(old) = old.filter(|_| stages >= 2) {
            // Stage 2
            let (dt, [one, two]) = (t - s, integrals(s, t));
            let d = (clean.clone() - old) / (s - at(i - 1));
            x = x + d.clone() * (dt + one * phi(t));
            if let Some(old_d) = old_d.filter(|_| stages >= 3) {
                // Stage 3
                let dd = (d.clone() - old_d) / ((s - at(i - 2)) / 2.0);
                x = x + dd * (dt * dt / 2.0 + two * phi(t));
            }
            old_d = Some(d);
        } else {
            old_d = None;
        }
        if s_noise > 0.0 {
            let up = (t * t - s * s * r * r).max(0.0).sqrt();
            x = x.clone() + run.noise(&x, s, t) * (up * s_noise);
        }
        old = Some(clean);
    }
    Ok(x)
}

/// The paper's φ(σ) for its ER-SDE 5: how fast noise is taken away.
fn phi(sigma: f64) -> f64 {
    sigma * (exp(pow(sigma, 0.3)) + 10.0)
}

/// ∫ 1/φ and ∫ (σ − s)/φ from t up to s, as sums over points from t on.
fn integrals(s: f64, t: f64) -> [f64; 2] {
    let stride = (s - t) / POINTS as f64;
    let mut sums = [0.0; 2];
    for point in 0..POINTS {
        let sigma = t + point as f64 * stride;
        sums[0] += 1.0 / phi(sigma);
        sums[1] += (sigma - s) / phi(sigma);
    }
    sums.map(|sum| sum * stride)
}
