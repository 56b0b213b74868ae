//! The formulas of noise levels: each gives `n` of them, falling, without the last 0.

use libm::{atan, exp, expm1, log, pow, tan};

use super::beta::quantile;
use super::linspace;

/// Equal strides in σ^(1/ρ): Karras et al. 2022, eq. 5.
pub(super) fn karras(n: usize, low: f64, high: f64, rho: f64) -> Vec<f64> {
    let root = |sigma: f64| pow(sigma, 1.0 / rho);
    linspace(root(high), root(low), n)
        .map(|r| pow(r, rho))
        .collect()
}

/// Equal strides in ln σ.
pub(super) fn exponential(n: usize, low: f64, high: f64) -> Vec<f64> {
    linspace(log(high), log(low), n).map(exp).collect()
}

/// ln σ falls as the power ρ of a line. k-diffusion: `get_sigmas_polyexponential`.
pub(super) fn poly_exponential(n: usize, low: f64, high: f64, rho: f64) -> Vec<f64> {
    linspace(1.0, 0.0, n)
        .map(|ramp| exp(pow(ramp, rho) * log(high / low) + log(low)))
        .collect()
}

/// The continuous variance-preserving process of Song et al. 2021 (arXiv 2011.13456), from
/// time 1 to `eps_s`. k-diffusion: `get_sigmas_vp`.
pub(super) fn vp(n: usize, beta_d: f64, beta_min: f64, eps_s: f64) -> Vec<f64> {
    linspace(1.0, eps_s, n)
        .map(|t| expm1(beta_d * t * t / 2.0 + beta_min * t).sqrt())
        .collect()
}

/// Equal strides in the arc tangent of σ. ComfyUI: `kl_optimal`.
pub(super) fn kl_optimal(n: usize, low: f64, high: f64) -> Vec<f64> {
    linspace(atan(high), atan(low), n).map(tan).collect()
}

/// ln σ at the quantiles of a Laplace law. ComfyUI: `get_sigmas_laplace`.
pub(super) fn laplace(n: usize, low: f64, high: f64, mu: f64, beta: f64) -> Vec<f64> {
    linspace(0.0, 1.0, n)
        .map(|x: f64| {
            let off = 0.5 - x;
            let sign = if off == 0.0 { 0.0 } else { off.signum() };
            let log_sigma = mu - beta * sign * log(1.0 - 2.0 * off.abs() + 1e-5);
            exp(log_sigma).clamp(low, high)
        })
        .collect()
}

/// A line for the first half, then a parabola that meets it smoothly and ends at 0. ComfyUI:
/// `linear_quadratic`.
pub(super) fn linear_quadratic(n: usize, high: f64, threshold: f64) -> Vec<f64> {
    if n == 1 {
        return vec![high];
    }
    let linear = (n / 2) as f64;
    let quadratic = n as f64 - linear;
    let rest = linear - threshold * n as f64;
    let a = rest / (linear * quadratic * quadratic);
    let b = threshold / linear - 2.0 * rest / (quadratic * quadratic);
    let done = |i: f64| {
        if i < linear {
            i * threshold / linear
        } else {
            a * i * i + b * i + a * linear * linear
        }
    };
    (0..n).map(|i| (1.0 - done(i as f64)) * high).collect()
}

/// σ at the quantiles of a beta law between the ends. diffusers: `use_beta_sigmas`.
pub(super) fn beta(n: usize, low: f64, high: f64, alpha: f64, beta: f64) -> Vec<f64> {
    linspace(0.0, 1.0, n)
        .map(|x| low + quantile(1.0 - x, alpha, beta) * (high - low))
        .collect()
}

/// The levels of a table of eleven, between its entries on a line in ln σ.
pub(super) fn log_interpolated(n: usize, table: &[f64]) -> Vec<f64> {
    let last = table.len() - 1;
    (0..n)
        .map(|i| {
            let at = i as f64 * last as f64 / n as f64;
            let low = (at as usize).min(last - 1);
            let w = at - low as f64;
            exp((1.0 - w) * log(table[low]) + w * log(table[low + 1]))
        })
        .collect()
}

/// The levels of a flow whose time is shifted, in units of the clean latent. diffusers:
/// `use_flow_sigmas`, whose σ/(1 − σ) these are.
pub(super) fn flow(n: usize, shift: f64, timesteps: usize) -> Vec<f64> {
    linspace(1.0 / timesteps as f64, 1.0, n + 1)
        .take(n)
        .map(|alpha| {
            let sigma = 1.0 - alpha;
            let shifted = shift * sigma / (1.0 + (shift - 1.0) * sigma);
            shifted / (1.0 - shifted)
        })
        .collect()
}
