//! UniPC: Zhao et al. 2023 (arXiv 2302.04867).

use std::collections::VecDeque;

use burn::tensor::Tensor;

use super::math::{combine, expm1, lambda, solve};
use super::{Run, Stopped};
use crate::choice::choices;
use crate::schedule::Level;

choices! {
    /// The function B(h) of UniPC.
    #[derive(Copy)]
    pub enum Bh {
        /// h: ComfyUI's `uni_pc`.
        Bh1,
        /// eʰ − 1: ComfyUI's `uni_pc_bh2`, diffusers' default.
        Bh2,
    }
}

/// ComfyUI's `uni_pc` and `uni_pc_bh2`, diffusers' `UniPCMultistepScheduler`: algorithms 7
/// and 8 for the clean latent. One network call a step, on the predicted state; what it gives
/// corrects that state before the next prediction.
///
/// `x` is variance exploding with noise `levels[0]`; `order` 1..=4 falls towards the end.
pub fn uni_pc(
    run: &mut Run<'_>,
    mut x: Tensor<4>,
    levels: &[Level],
    order: usize,
    bh: Bh,
) -> Result<Tensor<4>, Stopped> {
    let steps = levels.len() - 1;
    let mut m = VecDeque::from([run.denoise(&x, levels[0])?]); // the newest first
    for (i, pair) in levels.windows(2).enumerate() {
        let (s, t) = (pair[0].sigma, pair[1].sigma);
        if t == 0.0 {
            return Ok(m[0].clone());
        }
        let p = order.min(i + 1).min(steps - i);
        let h = lambda(t) - lambda(s);
        let back = |k: usize| (lambda(levels[i - k].sigma) - lambda(s)) / h; // rₖ
        let r: Vec<f64> = (1..p).map(back).chain([1.0]).collect();
        let d: Vec<Tensor<4>> = (1..p)
            .map(|k| (m[k].clone() - m[0].clone()) / r[k - 1])
            .collect();
        let base = combine(&[(t / s, &x), (1.0 - t / s, &m[0])]);
        let along = |rhos: &[f64], last: Option<&Tensor<4>>| {
            let scale = -bh.value(-h);
            let terms = rhos.iter().map(|rho| scale * rho).zip(d.iter().chain(last));
            let mut terms: Vec<(f64, &Tensor<4>)> = terms.collect();
            terms.push((1.0, &base));
            combine(&terms)
        };
        // Predict
        x = along(&rhos(&r, h, bh, p - 1), None);
        if i + 1 == steps {
            break;
        }
        // Correct
        let fresh = run.denoise(&x, pair[1])?;
        let d_t = fresh.clone() - m[0].clone();
        x = along(&rhos(&r, h, bh, p), Some(&d_t));
        m.push_front(fresh);
        m.truncate(order);
    }
    Ok(x)
}

impl Bh {
    fn value(self, h: f64) -> f64 {
        match self {
            Self::Bh1 => h,
            Self::Bh2 => expm1(h),
        }
    }
}

/// The weights of the first `n` differences: ½ for the least system of each kind, as in the
/// paper's code, else the solution of R ρ = b.
fn rhos(r: &[f64], h: f64, bh: Bh, n: usize) -> Vec<f64> {
    match n {
        0 => return Vec::new(),
        1 => return vec![0.5],
        _ => {}
    }
    let (hh, mut factorial) = (-h, 1.0);
    let mut phi = expm1(hh) / hh - 1.0;
    let (mut rows, mut right) = (Vec::new(), Vec::new());
    for k in 1..=n {
        rows.push(r[..n].iter().map(|r| r.powi(k as i32 - 1)).collect());
        right.push(phi * factorial / bh.value(hh));
        factorial *= (k + 1) as f64;
        phi = phi / hh - 1.0 / factorial;
    }
    solve(rows, right)
}
