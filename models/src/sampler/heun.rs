//! Heun's method, and its weighted form Heun++.

use burn::tensor::Tensor;

use super::math::{combine, slope};
use super::{Churn, Run, Stopped};
use crate::schedule::Level;

/// Karras et al. 2022, algorithm 2: second order, two network calls a step and one for the
/// last. k-diffusion and ComfyUI: `heun`.
///
/// `x` is variance exploding with noise `levels[0]`.
pub fn heun(
    run: &mut Run<'_>,
    mut x: Tensor<4>,
    levels: &[Level],
    churn: Churn,
) -> Result<Tensor<4>, Stopped> {
    for pair in levels.windows(2) {
        let (raised, at) = churn.raise(run, x, pair[0], levels.len() - 1);
        let clean = run.denoise(&raised, at)?;
        let d = slope(&raised, &clean, at.sigma);
        let step = pair[1].sigma - at.sigma;
        x = raised.clone() + d.clone() * step;
        if pair[1].sigma > 0.0 {
            let clean = run.denoise(&x, pair[1])?;
            let d2 = slope(&x, &clean, pair[1].sigma);
            x = raised + (d + d2) * (0.5 * step);
        }
    }
    Ok(x)
}

/// Heun++ (ComfyUI: `heunpp2`): the slopes at this level and the next two, weighted by the
/// noise there. Three network calls a step, two for the last but one and one for the last.
///
/// `x` is variance exploding with noise `levels[0]`.
pub fn heun_pp2(
    run: &mut Run<'_>,
    mut x: Tensor<4>,
    levels: &[Level],
    churn: Churn,
) -> Result<Tensor<4>, Stopped> {
    let (first, last) = (levels[0].sigma, levels.len() - 1);
    for i in 0..last {
        let (raised, at) = churn.raise(run, x, levels[i], last);
        let clean = run.denoise(&raised, at)?;
        let d = slope(&raised, &clean, at.sigma);
        let step = levels[i + 1].sigma - at.sigma;
        x = raised.clone() + d.clone() * step;
        if i + 1 == last {
            break;
        }
        let next = levels[i + 1];
        let d2 = slope(&x, &run.denoise(&x, next)?, next.sigma);
        if i + 2 == last {
            let w2 = next.sigma / (2.0 * first);
            x = combine(&[(1.0, &raised), ((1.0 - w2) * step, &d), (w2 * step, &d2)]);
            continue;
        }
        let after = levels[i + 2];
        let x3 = x + d2.clone() * (after.sigma - next.sigma);
        let d3 = slope(&x3, &run.denoise(&x3, after)?, after.sigma);
        let (w2, w3) = (next.sigma / (3.0 * first), after.sigma / (3.0 * first));
        let mean = combine(&[(1.0 - w2 - w3, &d), (w2, &d2), (w3, &d3)]);
        x = raised + mean * step;
    }
    Ok(x)
}
