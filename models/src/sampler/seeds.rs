//! SEEDS: exponential steps for the stochastic equation.

use burn::tensor::Tensor;

use super::math::{combine, exp, expm1, lambda, sigma_of};
use super::{Run, Stopped};
use crate::schedule::Level;

/// SEEDS-2 of Gonzalez et al. 2023 (arXiv 2305.14267), ComfyUI's `seeds_2`: an exponential
/// step for the stochastic equation with its inner point at `r`. Two network calls a step,
/// one for the last.
///
/// `x` is variance exploding with noise `levels[0]`.
pub fn seeds_2(
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
        let h = lambda(next) - lambda(sigma);
        let mid = sigma_of(lambda(sigma) + r * h);
        let mut brew = Brew::new(h * eta, eta > 0.0 && s_noise > 0.0);
        // Step 1
        let phi = -expm1(-r * h * (eta + 1.0));
        let x2 = combine(&[(mid / sigma * exp(-r * h * eta), &x), (phi, &clean)]);
        let x2 = brew.stir(run, x2, (sigma, mid), r, mid * s_noise);
        let clean2 = run.denoise_at(&x2, mid)?;
        // Step 2
        let (phi, fac) = (-expm1(-h * (eta + 1.0)), 1.0 / (2.0 * r));
        let decay = next / sigma * exp(-h * eta);
        let weights = [
            (decay, &x),
            (phi * (1.0 - fac), &clean),
            (phi * fac, &clean2),
        ];
        x = brew.stir(run, combine(&weights), (mid, next), 1.0, next * s_noise);
    }
    Ok(x)
}

/// SEEDS-3 of the same paper, ComfyUI's `seeds_3`, with inner points at `r1` and `r2`. Three
/// network calls a step, one for the last.
///
/// `x` is variance exploding with noise `levels[0]`.
pub fn seeds_3(
    run: &mut Run<'_>,
    mut x: Tensor<4>,
    levels: &[Level],
    (eta, s_noise): (f64, f64),
    (r1, r2): (f64, f64),
) -> Result<Tensor<4>, Stopped> {
    for pair in levels.windows(2) {
        let (sigma, next) = (pair[0].sigma, pair[1].sigma);
        let clean = run.denoise(&x, pair[0])?;
        if next == 0.0 {
            x = clean;
            continue;
        }
        let h = lambda(next) - lambda(sigma);
        let h_eta = h * (eta + 1.0);
        let [mid1, mid2] = [r1, r2].map(|r| sigma_of(lambda(sigma) + r * h));
        let decay = |to: f64, r: f64| to / sigma * exp(-r * h * eta);
        let phi_1 = |h: f64| expm1(-h); // h·φ₁(h)
        let phi_2 = |h: f64| (expm1(-h) + h) / -h; // h·φ₂(h)
        let mut brew = Brew::new(h * eta, eta > 0.0 && s_noise > 0.0);
        // Step 1
        let x2 = combine(&[(decay(mid1, r1), &x), (-phi_1(r1 * h_eta), &clean)]);
        let x2 = brew.stir(run, x2, (sigma, mid1), r1, mid1 * s_noise);
        let clean2 = run.denoise_at(&x2, mid1)?;
        // Step 2
        let a2 = r2 / r1 * phi_2(r2 * h_eta);
        let a1 = phi_1(r2 * h_eta) - a2;
        let x3 = combine(&[(decay(mid2, r2), &x), (-a1, &clean), (-a2, &clean2)]);
        let x3 = brew.stir(run, x3, (mid1, mid2), r2, mid2 * s_noise);
        let clean3 = run.denoise_at(&x3, mid2)?;
        // Step 3
        let b3 = phi_2(h_eta) / r2;
        let b1 = phi_1(h_eta) - b3;
        x = combine(&[(decay(next, 1.0), &x), (-b1, &clean), (-b3, &clean3)]);
        x = brew.stir(run, x, (mid2, next), 1.0, next * s_noise);
    }
    Ok(x)
}

/// The noise of one step of SEEDS, built up from its parts.
struct Brew {
    /// ηh of the whole step.
    h: f64,
    /// Up to which share of the step noise was drawn.
    done: f64,
    noise: Option<Tensor<4>>,
    wanted: bool,
}

impl Brew {
    fn new(h: f64, wanted: bool) -> Self {
        Self {
            h,
            done: 0.0,
            noise: None,
            wanted,
        }
    }

    /// Adds the noise of the step up to its share `r` to `x`, in units of `scale`; the part
    /// from `from` to `to` is new.
    fn stir(
        &mut self,
        run: &mut Run<'_>,
        x: Tensor<4>,
        (from, to): (f64, f64),
        r: f64,
        scale: f64,
    ) -> Tensor<4> {
        if !self.wanted {
            return x;
        }
        let part = (r - self.done) * self.h;
        let fresh = run.noise(&x, from, to) * (-expm1(-2.0 * part)).sqrt();
        let noise = match self.noise.take() {
            Some(noise) => noise * exp(-part) + fresh,
            None => fresh,
        };
        (self.done, self.noise) = (r, Some(noise.clone()));
        x + noise * scale
    }
}
