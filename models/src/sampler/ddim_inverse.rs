//! DDIM backwards: from a clean latent to the noise that DDIM would make it of.

use burn::tensor::Tensor;

use super::{Run, Stopped};

/// diffusers' `DDIMInverseScheduler`: eq. 12 of Song et al. 2021 without noise, walked
/// upwards. The network sees the state before a step and is told the timestep after it.
///
/// `x` is clean; `times` rise; the first step starts at ᾱ = `start`. The result is variance
/// preserving with the noise of the last timestep.
pub fn ddim_inverse(
    run: &mut Run<'_>,
    mut x: Tensor<4>,
    times: &[usize],
    start: f64,
) -> Result<Tensor<4>, Stopped> {
    let mut a = start;
    for &t in times {
        let a_next = run.schedule().alpha_bar(t);
        let guess = run.guess_at(&x, a, t)?;
        x = guess.x0 * a_next.sqrt() + guess.eps * (1.0 - a_next).sqrt();
        a = a_next;
    }
    Ok(x)
}
