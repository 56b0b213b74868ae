//! The DPM-Solver family as diffusers has it: four algorithms, up to third order, in multiple
//! or single steps.
//!
//! In the measure of σ: what diffusers writes with α and σ is here with α = 1.

use std::collections::VecDeque;

use burn::tensor::Tensor;

use super::math::{combine, exp, expm1, lambda, slope};
use super::{Run, SolverType, Stopped};
use crate::choice::choices;
use crate::schedule::Level;

choices! {
    /// Which equation is solved, and for what.
    #[derive(Copy)]
    pub enum Algorithm {
        /// `dpmsolver++`: for the clean latent.
        DpmSolverPlusPlus,
        /// `dpmsolver`: for the noise; the last level must be above 0.
        DpmSolver,
        /// `sde-dpmsolver++`: with noise at each step, for the clean latent.
        SdeDpmSolverPlusPlus,
        /// `sde-dpmsolver`: with noise at each step, for the noise; at most second order.
        SdeDpmSolver,
    }
}

/// The settings of [`dpm_multistep`] and [`dpm_singlestep`].
#[derive(Clone, Copy, Debug)]
pub struct Dpm {
    /// Which equation.
    pub algorithm: Algorithm,
    /// How a second-order step uses the slope.
    pub solver: SolverType,
    /// How many results a step uses, 1..=3.
    pub order: usize,
    /// Whether the last steps of a walk are of lower order: of fewer than 15 steps for
    /// [`dpm_multistep`].
    pub lower_order_final: bool,
    /// Whether the last step is of first order in any case.
    pub euler_at_final: bool,
}

/// xₜ = state·x + Σ cᵢ Dᵢ + noise·z.
struct Weights {
    state: f64,
    d: [f64; 3],
    noise: f64,
}

impl Dpm {
    /// What the network's answer is made into: the clean latent or the noise.
    fn convert(&self, x: &Tensor<4>, clean: Tensor<4>, sigma: f64) -> Tensor<4> {
        match self.algorithm {
            Algorithm::DpmSolverPlusPlus | Algorithm::SdeDpmSolverPlusPlus => clean,
            Algorithm::DpmSolver | Algorithm::SdeDpmSolver => slope(x, &clean, sigma),
        }
    }

    /// The weights of a step from σₛ to σₜ; D₀ a result, D₁ and D₂ its derivatives in λ. With
    /// `exact` D₁ has its integral's weight whatever the solver type.
    fn weights(&self, s: f64, t: f64, exact: bool) -> Weights {
        let h = lambda(t) - lambda(s);
        let heun = exact || self.solver == SolverType::Heun;
        // The integrals of e^(k u), and with u and u²/2, over the step, each up to a factor.
        let phi = |k: f64| {
            let one = expm1(k * h);
            let two = one / (k * h) - 1.0;
            [one, if heun { two } else { 0.5 * one }, two / (k * h) - 0.5]
        };
        let minus = |phi: [f64; 3], c: f64| phi.map(|p| -c * p);
        let (state, d, noise) = match self.algorithm {
            Algorithm::DpmSolverPlusPlus => (t / s, minus(phi(-1.0), 1.0), 0.0),
            Algorithm::SdeDpmSolverPlusPlus => {
                let [one, two, three] = phi(-2.0);
                // diffusers' ½ in D₂'s weight has the other sign than the integral's.
                let noise = t * (-expm1(-2.0 * h)).sqrt();
                (t / s * exp(-h), [-one, -two, -three - 1.0], noise)
            }
            Algorithm::DpmSolver => (1.0, minus(phi(1.0), t), 0.0),
            Algorithm::SdeDpmSolver => {
                let noise = t * expm1(2.0 * h).sqrt();
                (1.0, minus(phi(1.0), 2.0 * t), noise)
            }
        };
        Weights { state, d, noise }
    }

    /// One step from `x` at σₛ to σₜ, by as many of D₀, D₁, D₂ as there are.
    fn step(
        &self,
        run: &mut Run<'_>,
        x: &Tensor<4>,
        (s, t): (f64, f64),
        ds: &[Tensor<4>],
        exact: bool,
    ) -> Tensor<4> {
        if t == 0.0 {
            return ds[0].clone();
        }
        let weights = self.weights(s, t, exact);
        let mut terms = vec![(weights.state, x)];
        terms.extend(weights.d.into_iter().zip(ds));
        let x = combine(&terms);
        if weights.noise == 0.0 {
            return x;
        }
        x.clone() + run.noise(&x, s, t) * weights.noise
    }
}

/// diffusers' `DPMSolverMultistepScheduler` and `EDMDPMSolverMultistepScheduler`; the
/// algorithms are Lu et al. 2022 (arXiv 2206.00927 and 2211.01095). One network call a step.
///
/// `x` is variance exploding with noise `levels[0]`.
pub fn dpm_multistep(
    run: &mut Run<'_>,
    mut x: Tensor<4>,
    levels: &[Level],
    how: Dpm,
) -> Result<Tensor<4>, Stopped> {
    let steps = levels.len() - 1;
    let lower = how.lower_order_final && steps < 15;
    let mut m = VecDeque::new(); // the newest first
    for (i, pair) in levels.windows(2).enumerate() {
        let (s, t) = (pair[0].sigma, pair[1].sigma);
        let clean = run.denoise(&x, pair[0])?;
        m.push_front(how.convert(&x, clean, s));
        m.truncate(how.order);
        let order = match steps - i {
            1 if how.euler_at_final || lower || t == 0.0 => 1,
            2 if lower => m.len().min(2),
            _ => m.len(),
        };
        let back = |k: usize| lambda(levels[i + 1 - k].sigma) - lambda(levels[i - k].sigma);
        let mut ds: Vec<Tensor<4>> = vec![m[0].clone()];
        if order >= 2 {
            let (h, h_0) = (back(0), back(1));
            let d10 = (m[0].clone() - m[1].clone()) * (h / h_0);
            ds.push(d10.clone());
            if order == 3 {
                let (r0, r1) = (h_0 / h, back(2) / h);
                let d11 = (m[1].clone() - m[2].clone()) / r1;
                let d2 = (d10.clone() - d11) / (r0 + r1);
                ds[1] = d10 + d2.clone() * r0;
                ds.push(d2);
            }
        }
        x = how.step(run, &x, (s, t), &ds, order == 3);
    }
    Ok(x)
}

/// diffusers' `DPMSolverSinglestepScheduler`: blocks of one, two or three network calls, each
/// begun anew from the block's first state. One network call a step.
///
/// `x` is variance exploding with noise `levels[0]`.
pub fn dpm_singlestep(
    run: &mut Run<'_>,
    mut x: Tensor<4>,
    levels: &[Level],
    how: Dpm,
) -> Result<Tensor<4>, Stopped> {
    let orders = orders(levels, how);
    let mut start = x.clone(); // of the block
    let mut m: VecDeque<Tensor<4>> = VecDeque::new(); // the newest first
    for (i, pair) in levels.windows(2).enumerate() {
        let clean = run.denoise(&x, pair[0])?;
        m.push_front(how.convert(&x, clean, pair[0].sigma));
        m.truncate(3);
        let order = orders[i].min(m.len());
        if order == 1 {
            start = x;
        }
        let (s, t) = (levels[i + 1 - order].sigma, pair[1].sigma);
        let from = |at: usize| lambda(levels[at].sigma) - lambda(s);
        let (h, oldest) = (lambda(t) - lambda(s), m[order - 1].clone());
        let mut ds = vec![oldest.clone()];
        match order {
            2 => ds.push((m[0].clone() - oldest) * (h / from(i))),
            3 => {
                let (r0, r1) = (from(i) / h, from(i - 1) / h);
                let d10 = (m[1].clone() - oldest.clone()) / r1;
                let d11 = (m[0].clone() - oldest) / r0;
                if how.solver == SolverType::Midpoint {
                    ds.push(d11);
                } else {
                    ds.push(combine(&[(r0 / (r0 - r1), &d10), (-r1 / (r0 - r1), &d11)]));
                    ds.push((d11 - d10) * (2.0 / (r0 - r1)));
                }
            }
            _ => {}
        }
        x = how.step(run, &start, (s, t), &ds, order == 3);
    }
    Ok(x)
}

/// The order of each step: blocks of 1, 2, …, and what is left over at the end.
fn orders(levels: &[Level], how: Dpm) -> Vec<usize> {
    let (steps, order) = (levels.len() - 1, how.order);
    let ends_clean = levels[steps].sigma == 0.0;
    let mut orders: Vec<usize> = (0..steps).map(|i| i % order + 1).collect();
    // Steps that fill their blocks end in two lower ones instead, as in the paper.
    if (how.lower_order_final || ends_clean) && steps.is_multiple_of(order) {
        orders[steps - 1] = 1;
    }
    if ends_clean || how.euler_at_final {
        orders[steps - 1] = 1;
    }
    orders
}
