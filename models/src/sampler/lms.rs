//! Linear multistep over noise levels.

use std::collections::VecDeque;

use burn::tensor::Tensor;

use super::math::{lagrange, slope};
use super::{Run, Stopped};
use crate::schedule::Level;

/// k-diffusion's and ComfyUI's `lms`, diffusers' `LMSDiscreteScheduler`: the polynomial in σ
/// through the last `order` slopes, integrated over the step. One network call a step.
///
/// `x` is variance exploding with noise `levels[0]`. With `end_clean` a step to 0 gives the
/// clean latent itself, as in ComfyUI; otherwise it is a step like the others.
pub fn lms(
    run: &mut Run<'_>,
    mut x: Tensor<4>,
    levels: &[Level],
    order: usize,
    end_clean: bool,
) -> Result<Tensor<4>, Stopped> {
    let mut slopes: VecDeque<Tensor<4>> = VecDeque::new(); // the newest first
    for (i, pair) in levels.windows(2).enumerate() {
        let (sigma, next) = (pair[0].sigma, pair[1].sigma);
        let clean = run.denoise(&x, pair[0])?;
        slopes.push_front(slope(&x, &clean, sigma));
        slopes.truncate(order);
        if next == 0.0 && end_clean {
            x = clean;
            continue;
        }
        // Counted from this level, so that close levels lose no digits.
        let nodes: Vec<f64> = (0..slopes.len())
            .map(|k| levels[i - k].sigma - sigma)
            .collect();
        for (j, d) in slopes.iter().enumerate() {
            x = x + d.clone() * integral(&lagrange(&nodes, j), next - sigma);
        }
    }
    Ok(x)
}

/// ∫ of a polynomial, lowest power first, from 0 to `end`.
fn integral(poly: &[f64], end: f64) -> f64 {
    let terms = poly.iter().enumerate();
    terms
        .map(|(power, c)| c * end.powi(power as i32 + 1) / (power + 1) as f64)
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn polynomials_are_integrated_exactly() {
        // 1 − 4x + 3x² from 0 to −2.
        assert_eq!(integral(&[1.0, -4.0, 3.0], -2.0), -2.0 - 8.0 - 8.0);
    }
}
