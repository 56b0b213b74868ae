//! DPM-Solver with its own steps: Lu et al. 2022 (arXiv 2206.00927), as k-diffusion has it.
//!
//! In the measure of σ: λ = −ln σ is the time, and ε = (x − D)/σ what the network gives.

use burn::tensor::Tensor;

use super::math::{ancestral, combine, expm1, lambda, sigma_of, slope};
use super::pid::Pid;
use super::{Run, SampleError, Stopped};
use crate::schedule::Level;

/// A network that needs more steps than this is no network whose error falls.
const MOST_TRIES: usize = 10_000;

/// The state and the slope at the start of a step, and the slopes found inside it.
struct Stage {
    x: Tensor<4>,
    lambda: f64,
    eps: Tensor<4>,
    /// ε at a third of the way, when a third-order step follows a second-order one.
    third: Option<Tensor<4>>,
}

impl Stage {
    /// x − σ(λ + h)·(eʰ − 1)·ε and what stands behind it: the first-order step by `h`.
    fn step(&self, h: f64, more: &[(f64, &Tensor<4>)]) -> Tensor<4> {
        let next = sigma_of(self.lambda + h);
        let mut terms = vec![(1.0, &self.x), (-next * expm1(h), &self.eps)];
        terms.extend(more.iter().map(|&(c, x)| (-next * c, x)));
        combine(&terms)
    }

    /// ε at `lambda + h` of the state `u`.
    fn eps_at(&self, run: &mut Run<'_>, u: &Tensor<4>, h: f64) -> Result<Tensor<4>, Stopped> {
        let sigma = sigma_of(self.lambda + h);
        Ok(slope(u, &run.denoise_at(u, sigma)?, sigma))
    }

    /// DPM-Solver-2, algorithm 4, with its inner point at `r1`.
    fn second(&mut self, run: &mut Run<'_>, h: f64, r1: f64) -> Result<Tensor<4>, Stopped> {
        let u1 = self.step(r1 * h, &[]);
        let eps1 = self.eps_at(run, &u1, r1 * h)?;
        let d1 = eps1.clone() - self.eps.clone();
        self.third = (r1 == THIRD).then_some(eps1);
        Ok(self.step(h, &[(expm1(h) / (2.0 * r1), &d1)]))
    }

    /// DPM-Solver-3, algorithm 5, with its inner points at a third and two thirds.
    fn third(&mut self, run: &mut Run<'_>, h: f64) -> Result<Tensor<4>, Stopped> {
        let (r1, r2) = (THIRD, 2.0 * THIRD);
        let eps1 = match self.third.take() {
            Some(eps1) => eps1,
            None => {
                let u1 = self.step(r1 * h, &[]);
                self.eps_at(run, &u1, r1 * h)?
            }
        };
        let d1 = eps1 - self.eps.clone();
        let phi = |h: f64| expm1(h) / h - 1.0;
        let u2 = self.step(r2 * h, &[(r2 / r1 * phi(r2 * h), &d1)]);
        let d2 = self.eps_at(run, &u2, r2 * h)? - self.eps.clone();
        Ok(self.step(h, &[(phi(h) / r2, &d2)]))
    }
}

const THIRD: f64 = 1.0 / 3.0;

/// Where a step from λ to λ' lands when `eta` adds noise after it, and that noise's σ.
fn lowered(lambda_s: f64, lambda_t: f64, end: f64, eta: f64) -> (f64, f64) {
    if eta == 0.0 {
        return (lambda_t, 0.0);
    }
    let (down, _) = ancestral(sigma_of(lambda_s), sigma_of(lambda_t), eta);
    let lands = end.min(lambda(down));
    let up2 = sigma_of(lambda_t).powi(2) - sigma_of(lands).powi(2);
    (lands, up2.max(0.0).sqrt())
}

/// k-diffusion's and ComfyUI's `dpm_fast`: equal steps in λ of third order, the last ones of
/// lower order so that there are `calls` network calls in all.
///
/// `x` is variance exploding with noise `most`; the result keeps the noise `least`.
pub fn dpm_fast(
    run: &mut Run<'_>,
    mut x: Tensor<4>,
    (most, least): (Level, Level),
    calls: usize,
    eta: f64,
    s_noise: f64,
) -> Result<Tensor<4>, Stopped> {
    let (start, end) = (lambda(most.sigma), lambda(least.sigma));
    let m = calls / 3 + 1;
    let mut orders = vec![3; m - 1];
    match calls % 3 {
        0 => {
            orders.truncate(m - 2);
            orders.extend([2, 1]);
        }
        rest => orders.push(rest),
    }
    for (i, order) in orders.into_iter().enumerate() {
        let at = |i: usize| start + (end - start) * i as f64 / m as f64;
        let (s, t) = (at(i), at(i + 1));
        let (lands, up) = lowered(s, t, end, eta);
        let (sigma, h) = (sigma_of(s), lands - s);
        let eps = slope(&x, &run.denoise_at(&x, sigma)?, sigma);
        let mut stage = Stage {
            x,
            lambda: s,
            eps,
            third: None,
        };
        x = match order {
            1 => stage.step(h, &[]),
            2 => stage.second(run, h, 0.5)?,
            _ => stage.third(run, h)?,
        };
        if eta > 0.0 {
            x = x.clone() + run.noise(&x, sigma, sigma_of(t)) * (up * s_noise);
        }
    }
    Ok(x)
}

/// How [`dpm_adaptive`] chooses its steps.
#[derive(Clone, Copy, Debug)]
pub struct Adaptive {
    /// 2 or 3: of the better of the two solutions compared.
    pub order: usize,
    /// How large an error may be beside the state.
    pub rtol: f64,
    /// How large an error may be anyhow.
    pub atol: f64,
    /// The first step in λ.
    pub h_init: f64,
    /// The controller's answer to the last error.
    pub pcoeff: f64,
    /// Its answer to the sum of errors.
    pub icoeff: f64,
    /// Its answer to the change of errors.
    pub dcoeff: f64,
    /// A step is kept when the next may be at least this share of it.
    pub accept_safety: f64,
    /// Noise added after each step.
    pub eta: f64,
    /// Scales that noise.
    pub s_noise: f64,
}

/// k-diffusion's and ComfyUI's `dpm_adaptive` (DPM-Solver-12 and -23): steps of the length
/// that keeps the difference of two orders below the tolerances.
///
/// `x` is variance exploding with noise `most`; the result keeps the noise `least`. Errors
/// when the difference never falls, or is no number.
pub fn dpm_adaptive(
    run: &mut Run<'_>,
    mut x: Tensor<4>,
    (most, least): (Level, Level),
    how: Adaptive,
) -> Result<Tensor<4>, SampleError> {
    let (start, end) = (lambda(most.sigma), lambda(least.sigma));
    let (mut s, mut before) = (start, x.clone());
    let mut pid = Pid::new(&how);
    for _ in 0..MOST_TRIES {
        if s >= end - 1e-5 {
            return Ok(x);
        }
        let t = end.min(s + pid.h);
        let (lands, up) = lowered(s, t, end, how.eta);
        let (sigma, h) = (sigma_of(s), lands - s);
        let done = ((s - start) / (end - start)).max(0.01);
        run.expect((run.calls() as f64 / done) as usize + how.order);
        let eps = slope(&x, &run.denoise_at(&x, sigma)?, sigma);
        let mut stage = Stage {
            x: x.clone(),
            lambda: s,
            eps,
            third: None,
        };
        let (low, high) = match how.order {
            2 => (stage.step(h, &[]), stage.second(run, h, 0.5)?),
            _ => (stage.second(run, h, THIRD)?, stage.third(run, h)?),
        };
        let error = difference(&low, &high, &before, how);
        if !error.is_finite() {
            return Err(SampleError::NoNumber);
        }
        if pid.accepts(error) {
            before = low;
            x = high;
            if how.eta > 0.0 {
                x = x.clone() + run.noise(&x, sigma, sigma_of(t)) * (up * how.s_noise);
            }
            s = t;
        }
    }
    Err(SampleError::Unsettled)
}

/// √ of the mean square of the difference, each place in units of what is allowed there.
fn difference(low: &Tensor<4>, high: &Tensor<4>, before: &Tensor<4>, how: Adaptive) -> f64 {
    let size = low.clone().abs().max_pair(before.clone().abs());
    let allowed = (size * how.rtol).clamp_min(how.atol);
    let parts = (low.clone() - high.clone()) / allowed;
    let mean = (parts.clone() * parts).mean().into_scalar::<f32>();
    f64::from(mean).sqrt()
}
