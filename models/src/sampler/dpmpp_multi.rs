//! DPM-Solver++ in multiple steps, as k-diffusion has it: one network call a step.

use burn::tensor::Tensor;

use super::math::{combine, exp, expm1, lambda};
use super::{Run, Stopped};
use crate::choice::choices;
use crate::schedule::Level;

choices! {
    /// How a second-order step uses the slope.
    #[derive(Copy)]
    pub enum SolverType {
        /// As at the middle of the step.
        Midpoint,
        /// By its exact integral.
        Heun,
    }
}

/// k-diffusion's and ComfyUI's `dpmpp_2m`: DPM-Solver++(2M), algorithm 2 of Lu et al. 2022
/// (arXiv 2211.01095).
///
/// `x` is variance exploding with noise `levels[0]`.
pub fn dpmpp_2m(
    run: &mut Run<'_>,
    mut x: Tensor<4>,
    levels: &[Level],
) -> Result<Tensor<4>, Stopped> {
    let mut before: Option<(Tensor<4>, f64)> = None; // D and h of the step before
    for pair in levels.windows(2) {
        let (sigma, next) = (pair[0].sigma, pair[1].sigma);
        let clean = run.denoise(&x, pair[0])?;
        let h = lambda(next) - lambda(sigma);
        let ratio = next / sigma; // e⁻ʰ
        x = match &before {
            Some((old, h_last)) if next > 0.0 => {
                let half = h / (2.0 * h_last); // 1/2r
                let d = combine(&[(1.0 + half, &clean), (-half, old)]);
                combine(&[(ratio, &x), (1.0 - ratio, &d)])
            }
            _ => combine(&[(ratio, &x), (1.0 - ratio, &clean)]),
        };
        before = Some((clean, h));
    }
    Ok(x)
}

/// k-diffusion's and ComfyUI's `dpmpp_2m_sde` and `dpmpp_2m_sde_heun`: DPM-Solver++(2M) for
/// the stochastic equation.
///
/// `x` is variance exploding with noise `levels[0]`.
pub fn dpmpp_2m_sde(
    run: &mut Run<'_>,
    mut x: Tensor<4>,
    levels: &[Level],
    eta: f64,
    s_noise: f64,
    solver: SolverType,
) -> Result<Tensor<4>, Stopped> {
    let mut before: Option<(Tensor<4>, f64)> = None;
    for pair in levels.windows(2) {
        let (sigma, next) = (pair[0].sigma, pair[1].sigma);
        let clean = run.denoise(&x, pair[0])?;
        if next == 0.0 {
            x = clean;
            continue;
        }
        let h = lambda(next) - lambda(sigma);
        let h_eta = h * (eta + 1.0);
        let phi_1 = -expm1(-h_eta);
        x = combine(&[(next / sigma * exp(-h * eta), &x), (phi_1, &clean)]);
        if let Some((old, h_last)) = before {
            let d = (clean.clone() - old) * (h / h_last); // 1/r
            let weight = match solver {
                SolverType::Heun => 1.0 - phi_1 / h_eta,
                SolverType::Midpoint => 0.5 * phi_1,
            };
            x = x + d * weight;
        }
        if eta > 0.0 && s_noise > 0.0 {
            let up = next * (-expm1(-2.0 * h * eta)).sqrt() * s_noise;
            x = x.clone() + run.noise(&x, sigma, next) * up;
        }
        before = Some((clean, h));
    }
    Ok(x)
}

/// k-diffusion's and ComfyUI's `dpmpp_3m_sde`: the same with one more step remembered.
///
/// `x` is variance exploding with noise `levels[0]`.
pub fn dpmpp_3m_sde(
    run: &mut Run<'_>,
    mut x: Tensor<4>,
    levels: &[Level],
    eta: f64,
    s_noise: f64,
) -> Result<Tensor<4>, Stopped> {
    // D and h of the two steps before.
    let mut before: Option<(Tensor<4>, f64)> = None;
    let mut earlier: Option<(Tensor<4>, f64)> = None;
    for pair in levels.windows(2) {
        let (sigma, next) = (pair[0].sigma, pair[1].sigma);
        let clean = run.denoise(&x, pair[0])?;
        if next == 0.0 {
            x = clean;
            continue;
        }
        let h = lambda(next) - lambda(sigma);
        let h_eta = h * (eta + 1.0);
        let phi_1 = -expm1(-h_eta);
        let phi_2 = 1.0 - phi_1 / h_eta;
        let phi_3 = phi_2 / h_eta - 0.5;
        x = combine(&[(next / sigma * exp(-h * eta), &x), (phi_1, &clean)]);
        if let Some((old, h_1)) = &before {
            let r0 = h_1 / h;
            let d0 = (clean.clone() - old.clone()) / r0;
            x = x + match &earlier {
                None => d0 * phi_2,
                Some((older, h_2)) => {
                    let r1 = h_2 / h;
                    let d1 = (old.clone() - older.clone()) / r1;
                    let d2 = (d0.clone() - d1) / (r0 + r1);
                    (d0 + d2.clone() * r0) * phi_2 - d2 * phi_3
                }
            };
        }
        if eta > 0.0 && s_noise > 0.0 {
            let up = next * (-expm1(-2.0 * h * eta)).sqrt() * s_noise;
            x = x.clone() + run.noise(&x, sigma, next) * up;
        }
        (earlier, before) = (before, Some((clean, h)));
    }
    Ok(x)
}
