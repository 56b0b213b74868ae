//! Euler's method over noise levels.

use burn::tensor::Tensor;

use super::math::slope;
use super::{Churn, Run, Stopped};
use crate::schedule::Level;

/// Karras et al. 2022 (arXiv 2206.00364), algorithm 2 without its correction: one network
/// call a step, first order. k-diffusion and ComfyUI call it `euler`.
///
/// `x` is variance exploding with noise `levels[0]`; where `levels` end in 0 the result is
/// clean.
pub fn euler(
    run: &mut Run<'_>,
    mut x: Tensor<4>,
    levels: &[Level],
    churn: Churn,
) -> Result<Tensor<4>, Stopped> {
    for pair in levels.windows(2) {
        let (raised, at) = churn.raise(run, x, pair[0], levels.len() - 1);
        let clean = run.denoise(&raised, at)?;
        let d = slope(&raised, &clean, at.sigma);
        x = raised + d * (pair[1].sigma - at.sigma);
    }
    Ok(x)
}
