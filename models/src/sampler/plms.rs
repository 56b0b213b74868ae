//! PNDM: Liu et al. 2022 (arXiv 2202.09778), pseudo numerical methods over timesteps.

use std::collections::VecDeque;

use burn::tensor::Tensor;

use super::ipndm::ADAMS_BASHFORTH;
use super::math::combine;
use super::{Run, Stopped};

/// The transfer of eq. 11 between two ᾱ along ε: a step of DDIM without noise.
fn transfer(x: &Tensor<4>, eps: &Tensor<4>, from: f64, to: f64) -> Tensor<4> {
    let scale = (to / from).sqrt();
    let along = (1.0 - to).sqrt() - scale * (1.0 - from).sqrt();
    combine(&[(scale, x), (along, eps)])
}

/// Σ wₖ εₖ with Adams and Bashforth's weights, the newest first.
fn extrapolated(eps: &VecDeque<Tensor<4>>) -> Tensor<4> {
    let weights = ADAMS_BASHFORTH[eps.len() - 1].iter().copied();
    combine(&weights.zip(eps).collect::<Vec<_>>())
}

/// CompVis's `plms`, diffusers' `PNDMScheduler` with `skip_prk_steps`: a linear multistep of
/// fourth order, begun with a step of Heun. One network call a step, and one more.
///
/// `x` is variance preserving with the noise of `times[0]`; the last step lands on ᾱ = `end`.
pub fn plms(
    run: &mut Run<'_>,
    mut x: Tensor<4>,
    times: &[usize],
    end: f64,
) -> Result<Tensor<4>, Stopped> {
    let table = run.schedule();
    let mut eps: VecDeque<Tensor<4>> = VecDeque::new(); // the newest first
    for (i, &t) in times.iter().enumerate() {
        let a = table.alpha_bar(t);
        let a_p = times.get(i + 1).map_or(end, |&p| table.alpha_bar(p));
        eps.push_front(run.guess(&x, t)?.eps);
        eps.truncate(4);
        let mut mean = extrapolated(&eps);
        if i == 0 {
            let ahead = transfer(&x, &mean, a, a_p);
            // At the end of a walk of one step the network is told timestep 0.
            let p = times.get(1).copied().unwrap_or(0);
            mean = (mean + run.guess_at(&ahead, a_p, p)?.eps) * 0.5;
        }
        x = transfer(&x, &mean, a, a_p);
    }
    Ok(x)
}

/// diffusers' `PNDMScheduler` with its Runge-Kutta steps: the paper's F-PNDM. Four network
/// calls for each of the first three steps, then one a step.
///
/// `x` is variance preserving with the noise of `times[0]`; the last step lands on ᾱ = `end`.
/// `times` fall in equal strides and are four at least; half-way timesteps round down.
pub fn pndm(
    run: &mut Run<'_>,
    mut x: Tensor<4>,
    times: &[usize],
    end: f64,
) -> Result<Tensor<4>, Stopped> {
    let table = run.schedule();
    let half = (times[0] - times[1]) / 2;
    let mut eps: VecDeque<Tensor<4>> = VecDeque::new(); // the newest first
    for pair in times[..4].windows(2) {
        let (t, p, mid) = (pair[0], pair[1], pair[1] + half);
        let a = table.alpha_bar(t);
        let to = |e: &Tensor<4>, at: usize| transfer(&x, e, a, table.alpha_bar(at));
        let e1 = run.guess(&x, t)?.eps;
        let e2 = run.guess(&to(&e1, t - half), mid)?.eps;
        let e3 = run.guess(&to(&e2, mid), mid)?.eps;
        let e4 = run.guess(&to(&e3, mid - half), p)?.eps;
        let sixth = 1.0 / 6.0;
        let weights = [
            (sixth, &e1),
            (2.0 * sixth, &e2),
            (2.0 * sixth, &e3),
            (sixth, &e4),
        ];
        x = to(&combine(&weights), p);
        eps.push_front(e1);
    }
    for (i, &t) in times.iter().enumerate().skip(3) {
        let a_p = times.get(i + 1).map_or(end, |&p| table.alpha_bar(p));
        eps.push_front(run.guess(&x, t)?.eps);
        eps.truncate(4);
        x = transfer(&x, &extrapolated(&eps), table.alpha_bar(t), a_p);
    }
    Ok(x)
}
