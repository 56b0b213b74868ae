//! Gradient estimation: Euler's step, corrected by how the slope changed.

use burn::tensor::Tensor;

use super::math::slope;
use super::{Run, Stopped};
use crate::schedule::Level;

/// ComfyUI's `gradient_estimation`: Permenter and Yuan 2023 (arXiv 2306.04848), with γ 2 in
/// the paper. One network call a step.
///
/// `x` is variance exploding with noise `levels[0]`; a step to 0 gives the clean latent. With
/// `cfg_pp` the slope is the negative condition's: ComfyUI's `gradient_estimation_cfg_pp`.
pub fn gradient_estimation(
    run: &mut Run<'_>,
    mut x: Tensor<4>,
    levels: &[Level],
    gamma: f64,
    cfg_pp: bool,
) -> Result<Tensor<4>, Stopped> {
    let mut before: Option<Tensor<4>> = None;
    for pair in levels.windows(2) {
        let (sigma, next) = (pair[0].sigma, pair[1].sigma);
        let (clean, along) = if cfg_pp {
            run.denoise_both(&x, pair[0])?
        } else {
            let clean = run.denoise(&x, pair[0])?;
            (clean.clone(), clean)
        };
        if next == 0.0 {
            x = clean;
            continue;
        }
        let d = slope(&x, &along, sigma);
        x = clean + d.clone() * next;
        if let Some(old) = before {
            x = x + (d.clone() - old) * ((gamma - 1.0) * (next - sigma));
        }
        before = Some(d);
    }
    Ok(x)
}
