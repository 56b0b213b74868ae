//! Improved PNDM: Adams and Bashforth's weights on past slopes, without a warm-up.

use std::collections::VecDeque;

use burn::tensor::Tensor;

use super::math::slope;
use super::{Run, Stopped};
use crate::schedule::Level;

/// Weights for equal steps, by how many slopes are used, the newest first.
pub(super) const ADAMS_BASHFORTH: [&[f64]; 4] = [
    &[1.0],
    &[3.0 / 2.0, -1.0 / 2.0],
    &[23.0 / 12.0, -16.0 / 12.0, 5.0 / 12.0],
    &[55.0 / 24.0, -59.0 / 24.0, 37.0 / 24.0, -9.0 / 24.0],
];

/// ComfyUI's `ipndm`, diffusers' `IPNDMScheduler`: the weights of equal steps whatever the
/// steps are. One network call a step; Zhang and Chen 2022 (arXiv 2204.13902), appendix.
///
/// `x` is variance exploding with noise `levels[0]`. With `end_clean` a step to 0 gives the
/// clean latent itself, as in ComfyUI; otherwise it is a step like the others.
pub fn ipndm(
    run: &mut Run<'_>,
    x: Tensor<4>,
    levels: &[Level],
    order: usize,
    end_clean: bool,
) -> Result<Tensor<4>, Stopped> {
    multistep(run, x, levels, (order, end_clean), |steps| {
        ADAMS_BASHFORTH[steps.len() - 1].to_vec()
    })
}

/// ComfyUI's `ipndm_v`: weights that follow the lengths of the steps. One network call a
/// step.
///
/// `x` is variance exploding with noise `levels[0]`; a step to 0 gives the clean latent.
pub fn ipndm_v(
    run: &mut Run<'_>,
    x: Tensor<4>,
    levels: &[Level],
    order: usize,
) -> Result<Tensor<4>, Stopped> {
    multistep(run, x, levels, (order, true), variable)
}

/// A step along Σ wₖ dₖ; `weights` sees the lengths of this step and of those before it, one
/// for each slope used.
fn multistep(
    run: &mut Run<'_>,
    mut x: Tensor<4>,
    levels: &[Level],
    (order, end_clean): (usize, bool),
    weights: impl Fn(&[f64]) -> Vec<f64>,
) -> Result<Tensor<4>, Stopped> {
    let mut slopes: VecDeque<Tensor<4>> = VecDeque::new(); // the newest first
    for (i, pair) in levels.windows(2).enumerate() {
        let clean = run.denoise(&x, pair[0])?;
        slopes.push_front(slope(&x, &clean, pair[0].sigma));
        slopes.truncate(order);
        if pair[1].sigma == 0.0 && end_clean {
            x = clean;
            continue;
        }
        let step = |k: usize| levels[i + 1 - k].sigma - levels[i - k].sigma;
        let steps: Vec<f64> = (0..slopes.len()).map(step).collect();
        for (w, d) in weights(&steps).into_iter().zip(&slopes) {
            x = x + d.clone() * (w * steps[0]);
        }
    }
    Ok(x)
}

/// The weights of `ipndm_v` for steps h₀ (this one), h₁, h₂, h₃ (the ones before).
///
/// They are ComfyUI's, after diff-sampler. The correction of third order is theirs too: for
/// unequal steps it is not the exact Adams-Bashforth one.
fn variable(h: &[f64]) -> Vec<f64> {
    let &[h0, h1, ..] = h else {
        return vec![1.0];
    };
    let w = h0 / h1;
    let mut weights = vec![1.0 + w / 2.0, -w / 2.0];
    let &[_, _, h2, ..] = h else {
        return weights;
    };
    let first = 1.0 - h0 / (3.0 * (h0 + h1));
    let c2 = 0.5 * (1.0 - h0 / (3.0 * (h0 + h1)) * (h0 * (h0 + h1)) / (h1 * (h1 + h2)));
    let r = h1 / h2;
    weights[0] += c2;
    weights[1] -= (1.0 + r) * c2;
    weights.push(c2 * r);
    let &[_, _, _, h3] = h else {
        return weights;
    };
    let half = 0.5 * first + (1.0 - h0 / (2.0 * (h0 + h1))) * h0 / (6.0 * (h0 + h1 + h2));
    let c3 = half * (h0 * (h0 + h1) * (h0 + h1 + h2)) / (h1 * (h1 + h2) * (h1 + h2 + h3));
    let q = h1 * (h1 + h2) / (h2 * (h2 + h3));
    weights[0] += c3;
    weights[1] -= (1.0 + r + q) * c3;
    weights[2] += (r + q * (1.0 + h2 / h3)) * c3;
    weights.push(-c3 * q * r);
    weights
}
