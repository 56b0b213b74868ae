//! Samplers: from noise to a clean latent, one flat function each.
//!
//! ```text
//! list      every sampler with its settings, as a graph writes it
//! names     ComfyUI's, A1111's and diffusers' names for them
//! walk      how much of the way is walked
//! plan      where a sampler goes, how often it calls the network
//! sample    from a latent through a sampler's function to a clean one
//! run       what a sampler's function sees: network, noise, callback
//! noises    where the noise comes from; brownian: a motion over noise levels
//! the rest  one file a family, in its paper's letters
//! ```
//!
//! Promises
//! - A sampler sees a [`Run`] and knows nothing of eps, x0 or v, of guidance, or of
//!   where noise comes from.
//! - Noise is handed in, so a test can replay a recorded one.
//! - The callback hears of each network call, and stops the walk there if it says so.
//! - Each is held to k-diffusion, diffusers or ComfyUI call by call: `docs/samplers.md`.
//!
//! Not here: masks but for RePaint, noise by area, and guidance.

mod brownian;
mod cfg_pp;
mod churn;
mod ddim;
mod ddim_inverse;
mod ddpm;
mod deis;
mod dpm_2;
mod dpm_diffusers;
mod dpm_solver;
mod dpmpp_multi;
mod dpmpp_single;
mod er_sde;
mod euler;
mod euler_ancestral;
mod gradient_estimation;
mod heun;
mod ipndm;
mod lcm;
mod list;
mod lms;
mod math;
mod names;
mod noises;
mod pid;
mod plan;
mod plms;
mod repaint;
mod res;
mod run;
mod sa_solver;
mod sample;
mod seeds;
mod uni_pc;
mod walk;

pub use brownian::BrownianTree;
pub use cfg_pp::{dpmpp_2m_cfg_pp, dpmpp_2s_ancestral_cfg_pp, euler_cfg_pp};
pub use churn::Churn;
pub use ddim::{FinalAlpha, ddim};
pub use ddim_inverse::ddim_inverse;
pub use ddpm::{Variance, ddpm};
pub use deis::{DeisTime, deis};
pub use dpm_2::{dpm_2, dpm_2_ancestral};
pub use dpm_diffusers::{Algorithm, Dpm, dpm_multistep, dpm_singlestep};
pub use dpm_solver::{Adaptive, dpm_adaptive, dpm_fast};
pub use dpmpp_multi::{SolverType, dpmpp_2m, dpmpp_2m_sde, dpmpp_3m_sde};
pub use dpmpp_single::{dpmpp_2s_ancestral, dpmpp_sde};
pub use er_sde::er_sde;
pub use euler::euler;
pub use euler_ancestral::euler_ancestral;
pub use gradient_estimation::gradient_estimation;
pub use heun::{heun, heun_pp2};
pub use ipndm::{ipndm, ipndm_v};
pub use lcm::{lcm, tcd};
pub use list::{FinalSigma, Sampler};
pub use lms::lms;
pub use names::{SamplerName, SchedulerName};
pub use noises::{NoiseSource, Seeded, StepNoise};
pub use plms::{plms, pndm};
pub use repaint::{path, repaint};
pub use res::res_multistep;
pub use run::{Run, Told};
pub use sa_solver::{SaHabits, SaSolver, sa_solver};
pub use sample::Start;
pub use seeds::{seeds_2, seeds_3};
pub use uni_pc::{Bh, uni_pc};
pub use walk::Walk;

use std::ops::ControlFlow;

use burn::tensor::Tensor;

use crate::schedule::ScheduleError;

/// Hears of each network call, and answers go on or stop.
pub type OnStep<'a> = dyn FnMut(Step<'_>) -> ControlFlow<()> + 'a;

/// Where a walk is.
#[derive(Clone, Copy, Debug)]
pub struct Step<'a> {
    /// The network call just made, from 0.
    pub index: usize,
    /// How many there are, or are likely to be.
    pub of: usize,
    /// The clean latent as the network now sees it, `[b, c, h, w]`: a preview.
    pub clean: &'a Tensor<4>,
}

/// The callback said stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("stopped between two steps")]
pub struct Stopped;

/// Why there is no latent.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum SampleError {
    /// The callback said stop.
    #[error(transparent)]
    Stopped(#[from] Stopped),
    /// The sampler's settings or the number of steps do not fit the schedule.
    #[error(transparent)]
    Schedule(#[from] ScheduleError),
    /// `RePaint` without a mask.
    #[error("`RePaint` makes anew what a mask shows, but there is no mask: give one")]
    NoMask,
    /// An adaptive sampler met a state that is no number.
    #[error("the network's answer is no number: the walk cannot choose its next step")]
    NoNumber,
    /// An adaptive sampler whose steps went on shrinking.
    #[error("`DpmAdaptive` found no step short enough: raise `rtol` or `atol`")]
    Unsettled,
}

#[cfg(test)]
mod tests;
