//! Walking: from a latent and its noise through a sampler's function to a clean latent.

use burn::tensor::Tensor;

use super::plan::Way;
use super::*;
use crate::prediction::{self, Denoiser};
use crate::schedule::Level;

/// Where a walk starts from.
pub struct Start {
    /// The latent, `[b, c, h, w]`: zeros to start from nothing.
    pub latent: Tensor<4>,
    /// Where the latent is made anew, 1, and where it is kept, 0; `[1 or b, 1 or c, h, w]`.
    /// Only `RePaint` reads it.
    pub mask: Option<Tensor<4>>,
}

impl From<Tensor<4>> for Start {
    fn from(latent: Tensor<4>) -> Self {
        Self { latent, mask: None }
    }
}

impl Sampler {
    /// Walks a latent `[b, c, h, w]` (zeros to start from nothing) down to a clean one.
    ///
    /// The start noise is the first thing drawn from `noise`. At `denoise` 1 it is the whole
    /// state: variance 1 whatever the first timestep, as CompVis and diffusers start, with
    /// the latent added as faintly as the first timestep keeps it. Below 1 the latent is
    /// noised to the first timestep of what is walked. At 0 nothing is drawn and the latent
    /// comes back. Errors as [`Sampler::calls`], and when `on_step` says stop.
    pub fn sample(
        &self,
        model: &Denoiser<'_>,
        start: impl Into<Start>,
        walk: Walk,
        noise: &mut dyn NoiseSource,
        on_step: &mut OnStep<'_>,
    ) -> Result<Tensor<4>, SampleError> {
        let Start { latent, mask } = start.into();
        let (schedule, sampler) = (model.schedule(), self.resolved());
        let way = sampler.way(walk, schedule)?;
        let calls = sampler.calls_on(&way);
        if calls == 0 {
            return Ok(latent);
        }
        match way {
            Way::Times(times, stride) => {
                let a = schedule.alpha_bar(times[0]);
                let x = match sampler {
                    Self::DdimInverse { .. } => latent.clone(),
                    _ => preserving(latent.clone(), noise.start(&latent), walk, a),
                };
                noise.prepare(sampler.step_noise(), 0.0, 1.0, &x);
                let level = |&t: &usize| prediction::level(schedule.alpha_bar(t), t as f64);
                let run = Run::new(model, noise, on_step, calls);
                let mut run = run.ahead(times.iter().map(level));
                sampler.over_times(&mut run, x, (&times, stride), (&latent, mask.as_ref()))
            }
            Way::Levels(levels) => {
                let spread = self.spread(walk, levels[0].sigma, schedule);
                let x = latent.clone() + noise.start(&latent) * spread;
                let (most, least) = ends(&levels);
                noise.prepare(sampler.step_noise(), least.sigma, most.sigma, &x);
                let run = Run::new(model, noise, on_step, calls).telling(self.told());
                let mut run = run.ahead(levels.iter().copied());
                sampler.over_levels(&mut run, x, &levels)
            }
        }
    }

    /// The samplers over whole timesteps; `x` is variance preserving.
    fn over_times(
        &self,
        run: &mut Run<'_>,
        x: Tensor<4>,
        (times, stride): (&[usize], usize),
        (latent, mask): (&Tensor<4>, Option<&Tensor<4>>),
    ) -> Result<Tensor<4>, SampleError> {
        let table = run.schedule();
        let walked = match *self {
            Self::Ddpm { variance, .. } => ddpm(run, x, times, variance),
            Self::Ddim { eta, end, .. } => ddim(run, x, times, end.alpha_bar(table), eta),
            Self::DdimInverse { start, .. } => ddim_inverse(run, x, times, start.alpha_bar(table)),
            Self::Plms { end, .. } => plms(run, x, times, end.alpha_bar(table)),
            Self::Pndm { end, .. } => pndm(run, x, times, end.alpha_bar(table)),
            Self::Tcd { eta, .. } => tcd(run, x, times, eta),
            Self::RePaint { eta, .. } => {
                let mask = mask.ok_or(SampleError::NoMask)?;
                repaint(run, x, (times, stride), (latent, mask), eta)
            }
            _ => unreachable!("the others walk noise levels"),
        };
        Ok(walked?)
    }

    /// The samplers over noise levels; `x` is variance exploding.
    fn over_levels(
        &self,
        run: &mut Run<'_>,
        x: Tensor<4>,
        levels: &[Level],
    ) -> Result<Tensor<4>, SampleError> {
        let walked = match *self {
            Self::Euler { churn, .. } => euler(run, x, levels, churn),
            Self::EulerAncestral { eta, s_noise, .. } => {
                euler_ancestral(run, x, levels, eta, s_noise)
            }
            Self::EulerCfgPp { eta, s_noise, .. } => euler_cfg_pp(run, x, levels, eta, s_noise),
            Self::Heun { churn, .. } => heun(run, x, levels, churn),
            Self::HeunPp2 { churn, .. } => heun_pp2(run, x, levels, churn),
            Self::Dpm2 { churn, .. } => dpm_2(run, x, levels, churn),
            Self::Dpm2Ancestral { eta, s_noise, .. } => {
                dpm_2_ancestral(run, x, levels, eta, s_noise)
            }
            Self::Lms {
                order, end_clean, ..
            } => lms(run, x, levels, order, end_clean),
            Self::DpmFast { eta, s_noise, .. } => {
                dpm_fast(run, x, ends(levels), levels.len() - 1, eta, s_noise)
            }
            Self::DpmAdaptive { .. } => {
                return dpm_adaptive(run, x, ends(levels), self.adaptive());
            }
            Self::DpmPlusPlus2SAncestral { eta, s_noise, .. } => {
                dpmpp_2s_ancestral(run, x, levels, eta, s_noise)
            }
            Self::DpmPlusPlus2SAncestralCfgPp { eta, s_noise, .. } => {
                dpmpp_2s_ancestral_cfg_pp(run, x, levels, eta, s_noise)
            }
            Self::DpmPlusPlusSde {
                eta, s_noise, r, ..
            } => dpmpp_sde(run, x, levels, eta, s_noise, r),
            Self::DpmPlusPlus2M { .. } => dpmpp_2m(run, x, levels),
            Self::DpmPlusPlus2MCfgPp { .. } => dpmpp_2m_cfg_pp(run, x, levels),
            Self::DpmPlusPlus2MSde {
                eta,
                s_noise,
                solver_type,
                ..
            } => dpmpp_2m_sde(run, x, levels, eta, s_noise, solver_type),
            Self::DpmPlusPlus3MSde { eta, s_noise, .. } => {
                dpmpp_3m_sde(run, x, levels, eta, s_noise)
            }
            Self::DpmMultistep { .. } => dpm_multistep(run, x, levels, self.dpm()),
            Self::DpmSinglestep { .. } => dpm_singlestep(run, x, levels, self.dpm()),
            Self::Deis {
                order,
                time,
                lower_order_final,
                ..
            } => deis(run, x, levels, (order, time), lower_order_final),
            Self::UniPc { order, bh, .. } => uni_pc(run, x, levels, order, bh),
            Self::Ipndm {
                order, end_clean, ..
            } => ipndm(run, x, levels, order, end_clean),
            Self::IpndmV { order, .. } => ipndm_v(run, x, levels, order),
            Self::Lcm {
                boundary,
                timestep_scaling,
                ..
            } => lcm(run, x, levels, boundary.then_some(timestep_scaling)),
            Self::SaSolver { .. } => sa_solver(run, x, levels, self.sa()),
            Self::ResMultistep {
                eta,
                s_noise,
                cfg_pp,
                ..
            } => res_multistep(run, x, levels, (eta, s_noise), cfg_pp),
            Self::GradientEstimation { gamma, cfg_pp, .. } => {
                gradient_estimation(run, x, levels, gamma, cfg_pp)
            }
            Self::ErSde {
                max_stage, s_noise, ..
            } => er_sde(run, x, levels, max_stage, s_noise),
            Self::Seeds2 {
                eta, s_noise, r, ..
            } => seeds_2(run, x, levels, eta, s_noise, r),
            Self::Seeds3 {
                eta,
                s_noise,
                r1,
                r2,
                ..
            } => seeds_3(run, x, levels, (eta, s_noise), (r1, r2)),
            _ => unreachable!("the others walk timesteps"),
        };
        Ok(walked?)
    }

    fn adaptive(&self) -> Adaptive {
        let &Self::DpmAdaptive {
            order,
            rtol,
            atol,
            h_init,
            pcoeff,
            icoeff,
            dcoeff,
            accept_safety,
            eta,
            s_noise,
            ..
        } = self
        else {
            unreachable!("asked of `DpmAdaptive` alone")
        };
        Adaptive {
            order,
            rtol,
            atol,
            h_init,
            pcoeff,
            icoeff,
            dcoeff,
            accept_safety,
            eta,
            s_noise,
        }
    }

    fn dpm(&self) -> Dpm {
        let (algorithm, solver, order, lower_order_final, euler_at_final) = match *self {
            Self::DpmMultistep {
                algorithm,
                order,
                solver_type,
                lower_order_final,
                euler_at_final,
                ..
            } => (
                algorithm,
                solver_type,
                order,
                lower_order_final,
                euler_at_final,
            ),
            Self::DpmSinglestep {
                algorithm,
                order,
                solver_type,
                lower_order_final,
                ..
            } => (algorithm, solver_type, order, lower_order_final, false),
            _ => unreachable!("asked of the DPM-Solver family alone"),
        };
        Dpm {
            algorithm,
            solver,
            order,
            lower_order_final,
            euler_at_final,
        }
    }

    fn sa(&self) -> SaSolver {
        let &Self::SaSolver {
            predictor_order,
            corrector_order,
            pece,
            eta,
            s_noise,
            habits,
            ..
        } = self
        else {
            unreachable!("asked of `SaSolver` alone")
        };
        SaSolver {
            predictor_order,
            corrector_order,
            eta,
            s_noise,
            pece,
            habits,
        }
    }
}

/// The first state of a walk over timesteps: √ᾱ x₀ + √(1−ᾱ) ε, or plain ε for the whole way.
fn preserving(latent: Tensor<4>, noise: Tensor<4>, walk: Walk, alpha_bar: f64) -> Tensor<4> {
    let spread = if walk.is_whole() {
        1.0
    } else {
        (1.0 - alpha_bar).sqrt()
    };
    latent * alpha_bar.sqrt() + noise * spread
}

/// The greatest and the least noise level above 0.
fn ends(levels: &[Level]) -> (Level, Level) {
    let noisy = levels.iter().rfind(|level| level.sigma > 0.0);
    (levels[0], *noisy.unwrap_or(&levels[0]))
}
