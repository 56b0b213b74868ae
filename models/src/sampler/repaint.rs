//! RePaint: inpainting by a model that never learnt to.

use burn::tensor::Tensor;

use super::{Run, Stopped};

/// Lugmayr et al. 2022 (arXiv 2201.09865), algorithm 1, as diffusers' `RePaintScheduler` has
/// it: a jump back adds the β of the timesteps from the last one visited on, up to a stride.
///
/// `x` is variance preserving with the noise of the first timestep; `times` are the path of
/// [`path`] in strides of `stride`, falling but for its jumps; `clean` is what is known, and
/// `mask [1 or b, 1 or c, h, w]` is 1 where it is made anew. One network call for each
/// timestep below the one before.
pub fn repaint(
    run: &mut Run<'_>,
    mut x: Tensor<4>,
    (times, stride): (&[usize], usize),
    (clean, mask): (&Tensor<4>, &Tensor<4>),
    eta: f64,
) -> Result<Tensor<4>, Stopped> {
    let table = run.schedule();
    let alpha_bar = |t: Option<usize>| t.map_or(1.0, |t| table.alpha_bar(t));
    let mut last = usize::MAX;
    for &t in times {
        if t > last {
            for s in last..last + stride {
                let alpha = table.alpha_bar(s) / alpha_bar(s.checked_sub(1)); // 1 − β
                x = x.clone() * alpha.sqrt() + run.draw(&x) * (1.0 - alpha).sqrt();
            }
            last = t;
            continue;
        }
        let (a, a_p) = (table.alpha_bar(t), alpha_bar(t.checked_sub(stride)));
        let guess = run.guess(&x, t)?;
        let noise = run.draw(&x);
        let sigma = eta * ((1.0 - a_p) / (1.0 - a) * (1.0 - a / a_p)).max(0.0).sqrt();
        let towards = (1.0 - a_p - sigma * sigma).max(0.0).sqrt();
        let unknown = guess.x0 * a_p.sqrt() + guess.eps * towards + noise.clone() * sigma;
        let known = clean.clone() * a_p.sqrt() + noise * (1.0 - a_p).sqrt();
        x = known.clone() + (unknown - known) * mask.clone();
        last = t;
    }
    Ok(x)
}

/// The timesteps of a walk of `steps` over `total`, and their stride; falling, with a jump of
/// `length` steps back up, `samples − 1` times, at each multiple of it: diffusers'
/// `set_timesteps`.
pub fn path(steps: usize, total: usize, length: usize, samples: usize) -> (Vec<usize>, usize) {
    let stride = total / steps;
    let mut jumps = vec![0; steps];
    for at in (0..steps.saturating_sub(length)).step_by(length) {
        jumps[at] = samples.saturating_sub(1);
    }
    let (mut path, mut t) = (Vec::new(), steps);
    while t >= 1 {
        t -= 1;
        path.push(t * stride);
        if jumps[t] > 0 {
            jumps[t] -= 1;
            for _ in 0..length {
                t += 1;
                path.push(t * stride);
            }
        }
    }
    (path, stride)
}
