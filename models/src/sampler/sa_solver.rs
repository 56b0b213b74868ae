//! SA-Solver: the stochastic Adams method of Xue et al. 2023 (arXiv 2309.05019).

use std::collections::VecDeque;

use burn::tensor::Tensor;

use super::math::{combine, exp, expm1, lagrange, lambda};
use super::{Run, Stopped};
use crate::choice::choices;
use crate::schedule::{Level, NoiseSchedule};

choices! {
    /// Whose habits, where tools differ though the method is one.
    #[derive(Copy)]
    pub enum SaHabits {
        /// τ is that of the noise a step goes to; the last steps before none are of lower order.
        ComfyUi,
        /// τ is that of the timestep a step starts from; the last step is of first order; a
        /// second order takes the paper's simpler weights.
        Diffusers,
    }
}

/// The settings of [`sa_solver`].
#[derive(Clone, Copy, Debug)]
pub struct SaSolver {
    /// Results that a prediction uses, 1..=4.
    pub predictor_order: usize,
    /// Results that a correction uses, 0..=4.
    pub corrector_order: usize,
    /// τ between 20 % and 80 % of the way; 0 outside.
    pub eta: f64,
    /// Scales the noise.
    pub s_noise: f64,
    /// Whether the corrected state is evaluated again.
    pub pece: bool,
    /// Whose habits.
    pub habits: SaHabits,
}

/// ComfyUI's `sa_solver` and `sa_solver_pece`, diffusers' `SASolverScheduler`: algorithm 1 for
/// the clean latent. One network call a step, two with `pece` but for the first.
///
/// `x` is variance exploding with noise `levels[0]`.
pub fn sa_solver(
    run: &mut Run<'_>,
    mut x: Tensor<4>,
    levels: &[Level],
    how: SaSolver,
) -> Result<Tensor<4>, Stopped> {
    let steps = levels.len() - 1;
    let mut m: VecDeque<Tensor<4>> = VecDeque::new(); // the newest first
    let (mut predicted, mut tau, mut noise) = (x.clone(), 0.0, None);
    for i in 0..steps {
        let next = levels[i + 1].sigma;
        m.push_front(run.denoise(&predicted, levels[i])?);
        m.truncate(4);
        let (p, c) = how.orders(i, steps, levels[steps].sigma == 0.0);
        // Correct
        if i == 0 || c == 0 || (next == 0.0 && !how.pece) {
            x = predicted;
        } else {
            x = how.step(x, &m, levels, (i - 1, i, i), (c, tau));
            if let Some(noise) = noise {
                x = x + noise;
            }
            if how.pece {
                m[0] = run.denoise(&x, levels[i])?;
            }
        }
        if next == 0.0 {
            return Ok(m[0].clone());
        }
        // Predict
        tau = how.tau(run.schedule(), levels[i], next);
        predicted = how.step(x.clone(), &m, levels, (i, i + 1, i), (p, tau));
        noise = None;
        if tau > 0.0 && how.s_noise > 0.0 {
            let h = lambda(next) - lambda(levels[i].sigma);
            let up = next * (-expm1(-2.0 * tau * tau * h)).sqrt() * how.s_noise;
            let fresh = run.noise(&x, levels[i].sigma, next) * up;
            predicted = predicted + fresh.clone();
            noise = Some(fresh);
        }
    }
    Ok(predicted)
}

impl SaSolver {
    /// How many results step `i` of `steps` predicts and corrects with.
    fn orders(&self, i: usize, steps: usize, ends_clean: bool) -> (usize, usize) {
        let (p, c) = (
            self.predictor_order.min(i + 1),
            self.corrector_order.min(i + 1),
        );
        match self.habits {
            SaHabits::ComfyUi if ends_clean => (p.min(steps - 1 - i), c.min(steps - i)),
            SaHabits::ComfyUi => (p, c),
            SaHabits::Diffusers => (p.min(steps - i), c.min(steps - i + 2)),
        }
    }

    /// τ of the step from a level to the noise `next`.
    fn tau(&self, schedule: &NoiseSchedule, from: Level, next: f64) -> f64 {
        let inside = match self.habits {
            SaHabits::ComfyUi => {
                let [most, least] = [0.2, 0.8].map(|percent| schedule.sigma_at_percent(percent));
                (least..=most).contains(&next)
            }
            SaHabits::Diffusers => (200.0..=800.0).contains(&from.t.round()),
        };
        if inside { self.eta } else { 0.0 }
    }

    /// The step between two levels by the newest `order` results, without its noise. The
    /// newest is that of `newest`: of `from` for a prediction, of `to` for a correction.
    fn step(
        &self,
        x: Tensor<4>,
        m: &VecDeque<Tensor<4>>,
        levels: &[Level],
        (from, to, newest): (usize, usize, usize),
        (order, tau): (usize, f64),
    ) -> Tensor<4> {
        let at = |i: usize| lambda(levels[i].sigma);
        let h = at(to) - at(from);
        let decay = levels[to].sigma / levels[from].sigma * exp(-tau * tau * h);
        let nodes: Vec<f64> = (0..order).map(|k| at(newest - k) - at(to)).collect();
        let weights = match (order, self.habits) {
            (2, SaHabits::Diffusers) => simple(&nodes, h, 1.0 + tau * tau, newest == to),
            _ => adams(&nodes, h, 1.0 + tau * tau),
        };
        let mut terms = vec![(decay, &x)];
        terms.extend(weights.into_iter().zip(m));
        combine(&terms)
    }
}

/// Eq. 15 and 18: k ∫ e^(ku) of each Lagrange polynomial through `nodes`, over u from −h to 0.
fn adams(nodes: &[f64], h: f64, k: f64) -> Vec<f64> {
    // k ∫ e^(ku) uᵖ du = [uᵖ e^(ku)] − p/k times the one before.
    let mut moments = vec![-expm1(-k * h)];
    for p in 1..nodes.len() {
        let last = moments[p - 1];
        moments.push(-(-h).powi(p as i32) * exp(-k * h) - p as f64 / k * last);
    }
    let integral = |j| -> f64 {
        let poly = lagrange(nodes, j);
        poly.iter().zip(&moments).map(|(c, m)| c * m).sum()
    };
    (0..nodes.len()).map(integral).collect()
}

/// The weights of two results in the paper's appendix D, the newest first.
fn simple(nodes: &[f64], h: f64, k: f64, corrects: bool) -> Vec<f64> {
    let sum = -expm1(-k * h);
    if corrects {
        let newest = 0.5 * k * h;
        return vec![newest, sum - newest];
    }
    let older = 0.5 * k * h * h / (nodes[1] - nodes[0]);
    vec![sum - older, older]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_weights_of_every_order_sum_to_the_step() {
        let nodes = [-0.4, -0.9, -1.1, -1.8];
        for k in [1.0, 2.0] {
            for order in 1..=4 {
                let sum: f64 = adams(&nodes[..order], 0.4, k).iter().sum();
                assert!((sum + expm1(-k * 0.4)).abs() < 1e-12, "{order}: {sum}");
            }
            let sum: f64 = simple(&nodes, 0.4, k, false).iter().sum();
            assert!((sum + expm1(-k * 0.4)).abs() < 1e-12);
        }
    }
}
