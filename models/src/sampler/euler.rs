//! Euler's method over noise levels.

use burn::tensor::Tensor;

use super::{OnStep, Stopped, tell};
use crate::prediction::Denoiser;
use crate::schedule::Level;

/// Karras et al. 2022 (arXiv 2206.00364), algorithm 1 without its correction: one network
/// call a step, first order. k-diffusion and ComfyUI call it `euler`; without churn.
///
/// `x` is variance exploding with noise `levels[0]`; `levels` fall and end in 0, so the
/// result is clean.
pub fn euler(
    model: &Denoiser<'_>,
    mut x: Tensor<4>,
    levels: &[Level],
    on_step: &mut OnStep<'_>,
) -> Result<Tensor<4>, Stopped> {
    for (i, pair) in levels.windows(2).enumerate() {
        let (sigma, next) = (pair[0].sigma, pair[1].sigma);
        let clean = model.denoise(x.clone(), pair[0]);
        tell(on_step, i, levels.len() - 1, &clean)?;
        let d = (x.clone() - clean) / sigma; // dx/dσ, eq. 3
        x = x + d * (next - sigma);
    }
    Ok(x)
}
