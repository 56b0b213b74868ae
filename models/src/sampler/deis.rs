//! DEIS: Zhang and Chen 2022 (arXiv 2204.13902). Polynomials through past slopes, integrated
//! over the step in another time than σ.

use std::collections::VecDeque;

use burn::tensor::Tensor;

use super::math::{exp, lagrange, log, slope};
use super::{Run, Stopped};
use crate::choice::choices;
use crate::schedule::Level;

choices! {
    /// In which time the polynomials of DEIS are drawn.
    #[derive(Copy)]
    pub enum DeisTime {
        /// In the logarithm of σ: diffusers' `logrho`.
        LogRho,
        /// In the time of a variance-preserving process from 0.002 to 80: ComfyUI's `tab`.
        Tab,
    }
}

/// ComfyUI's `deis` and diffusers' `DEISMultistepScheduler`, of order 1 to 4. One network
/// call a step.
///
/// `x` is variance exploding with noise `levels[0]`; a step to 0 is of first order. With
/// `lower_order_final` so is the last step of fewer than 15, and the one before it of second.
pub fn deis(
    run: &mut Run<'_>,
    mut x: Tensor<4>,
    levels: &[Level],
    (order, time): (usize, DeisTime),
    lower_order_final: bool,
) -> Result<Tensor<4>, Stopped> {
    let steps = levels.len() - 1;
    let lower = lower_order_final && steps < 15;
    let mut slopes: VecDeque<Tensor<4>> = VecDeque::new(); // the newest first
    for (i, pair) in levels.windows(2).enumerate() {
        let (sigma, next) = (pair[0].sigma, pair[1].sigma);
        let clean = run.denoise(&x, pair[0])?;
        slopes.push_front(slope(&x, &clean, sigma));
        slopes.truncate(order);
        let used = match steps - i {
            _ if next == 0.0 => 1,
            1 if lower => 1,
            2 if lower => slopes.len().min(2),
            _ => slopes.len(),
        };
        let past: Vec<f64> = (0..used).map(|k| levels[i - k].sigma).collect();
        let weights = match time {
            _ if used == 1 => vec![next - sigma],
            DeisTime::LogRho => log_rho(&past, next),
            DeisTime::Tab => tab(&past, next),
        };
        for (c, d) in weights.into_iter().zip(&slopes) {
            x = x + d.clone() * c;
        }
    }
    Ok(x)
}

/// ∫ of each Lagrange polynomial in ln ρ over ρ, from the first of `past` to `next`.
fn log_rho(past: &[f64], next: f64) -> Vec<f64> {
    let start = past[0];
    // In units of the start, whose logarithm is then 0.
    let nodes: Vec<f64> = past.iter().map(|rho| log(rho / start)).collect();
    let (end, log_end) = (next / start, log(next / start));
    // ∫ lnᵏρ dρ = ρ lnᵏρ − k ∫ lnᵏ⁻¹ρ dρ
    let mut moments = vec![end - 1.0];
    for k in 1..past.len() {
        let last = moments[k - 1];
        moments.push(end * log_end.powi(k as i32) - k as f64 * last);
    }
    let integral = |j| -> f64 {
        let poly = lagrange(&nodes, j);
        poly.iter().zip(&moments).map(|(c, m)| c * m).sum()
    };
    (0..past.len()).map(|j| start * integral(j)).collect()
}

/// Points of the sum that ComfyUI takes for the integral.
const POINTS: usize = 10_000;

/// The same in the time t of ln α = −½(β₁ − β₀)t² − β₀t, by ComfyUI's sum over equal strides,
/// both ends included.
fn tab(past: &[f64], next: f64) -> Vec<f64> {
    let vp = Vp::new(1e-3, 0.002, 80.0);
    let nodes: Vec<f64> = past.iter().map(|&sigma| vp.time(sigma)).collect();
    let (start, end) = (nodes[0], vp.time(next));
    let polys: Vec<Vec<f64>> = (0..nodes.len()).map(|j| lagrange(&nodes, j)).collect();
    let mut sums = vec![0.0; nodes.len()];
    for i in 0..POINTS {
        let t = start + (end - start) * i as f64 / (POINTS - 1) as f64;
        let rate = vp.rate(t);
        for (sum, poly) in sums.iter_mut().zip(&polys) {
            *sum += rate * poly.iter().rev().fold(0.0, |value, c| value * t + c);
        }
    }
    let stride = (end - start) / POINTS as f64;
    sums.into_iter().map(|sum| sum * stride).collect()
}

/// The variance-preserving process that reaches two given σ at two given times.
struct Vp {
    beta_d: f64,
    beta_min: f64,
}

impl Vp {
    /// σ is `low` at time `eps` and `high` at 1.
    fn new(eps: f64, low: f64, high: f64) -> Self {
        let [low, high] = [low, high].map(|sigma: f64| log(sigma * sigma + 1.0));
        let beta_d = 2.0 * (low / eps - high) / (eps - 1.0);
        Self {
            beta_d,
            beta_min: high - 0.5 * beta_d,
        }
    }

    /// When σ is reached.
    fn time(&self, sigma: f64) -> f64 {
        let (d, min) = (self.beta_d, self.beta_min);
        ((min * min + 2.0 * d * log(sigma * sigma + 1.0)).sqrt() - min) / d
    }

    /// dσ/dt.
    fn rate(&self, t: f64) -> f64 {
        let log_alpha = -0.5 * t * t * self.beta_d - t * self.beta_min;
        let alpha = exp(log_alpha);
        0.5 * (t * self.beta_d + self.beta_min) / (alpha * (1.0 - alpha)).sqrt()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_weights_of_either_time_sum_to_the_step() {
        // Of a constant slope every order makes Euler's step.
        let past = [7.0, 9.5, 12.0];
        let sum: f64 = log_rho(&past, 5.0).iter().sum();
        assert!((sum + 2.0).abs() < 1e-12, "{sum}");
        let sum: f64 = tab(&past, 5.0).iter().sum();
        assert!((sum + 2.0).abs() < 2e-4, "a sum over 10 000 points: {sum}");
    }

    #[test]
    fn the_process_reaches_its_two_levels() {
        let vp = Vp::new(1e-3, 0.002, 80.0);
        assert!((vp.time(0.002) - 1e-3).abs() < 1e-9);
        assert!((vp.time(80.0) - 1.0).abs() < 1e-12);
    }
}
