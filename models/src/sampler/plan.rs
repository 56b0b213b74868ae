//! What a sampler will do: where it goes, how often it calls the network, what it draws.

use super::{Algorithm, FinalSigma, Sampler, StepNoise, Told, Walk, repaint::path};
use crate::choice::Choice;
use crate::schedule::{Level, NoiseSchedule, ScheduleError, SigmaSchedule, Spacing};

/// The stops of a walk.
#[derive(Debug, PartialEq)]
pub(super) enum Way {
    /// Whole timesteps, in the order in which they are visited, and their stride.
    Times(Vec<usize>, usize),
    /// Noise levels, falling, and where they end.
    Levels(Vec<Level>),
}

impl Sampler {
    /// Errors when a setting is out of range, or two settings exclude each other.
    pub fn check(&self) -> Result<(), ScheduleError> {
        Choice::check(self)?;
        match *self {
            Self::DpmMultistep {
                algorithm,
                order,
                end,
                ..
            }
            | Self::DpmSinglestep {
                algorithm,
                order,
                end,
                ..
            } => check_dpm(algorithm, order, end),
            Self::Euler { churn, .. }
            | Self::Heun { churn, .. }
            | Self::HeunPp2 { churn, .. }
            | Self::Dpm2 { churn, .. } => churn.check(),
            Self::Seeds3 { r1, r2, .. } if r1 >= r2 => Err(ScheduleError::Exclude(
                "the third call of a step comes behind its second: give `r1` below `r2`",
            )),
            _ => Ok(()),
        }
    }

    /// How often a run will call the network; errors as the run would, without running.
    ///
    /// `DpmAdaptive` finds out on its way: for it this is the number of steps asked for.
    pub fn calls(&self, walk: Walk, schedule: &NoiseSchedule) -> Result<usize, ScheduleError> {
        let sampler = self.resolved();
        Ok(sampler.calls_on(&sampler.way(walk, schedule)?))
    }

    /// Whether it inpaints by itself, and so wants a mask.
    pub fn paints_by_mask(&self) -> bool {
        matches!(self.resolved(), Self::RePaint { .. })
    }

    /// The sampler that a name stands for; itself where it is none.
    pub(super) fn resolved(&self) -> Self {
        let Self::Named { sampler, scheduler } = self else {
            return self.clone();
        };
        match scheduler.schedule() {
            Some(schedule) => sampler.sampler().on(schedule),
            None => sampler.sampler().clone(),
        }
    }

    /// How often the network is called on the way.
    pub(super) fn calls_on(&self, way: &Way) -> usize {
        let (n, ends_clean) = match way {
            Way::Times(times, _) => (times.len(), true),
            Way::Levels(levels) => (levels.len() - 1, levels.last() == Some(&Level::CLEAN)),
        };
        // Steps of several stages have but one where they go to 0.
        let full = n - usize::from(ends_clean && n > 0);
        match self {
            _ if n == 0 => 0,
            Self::Plms { .. } => n + 1,
            Self::Pndm { .. } => n + 9,
            Self::RePaint { .. } => match way {
                Way::Times(times, _) => 1 + times.windows(2).filter(|w| w[1] < w[0]).count(),
                Way::Levels(_) => n,
            },
            Self::Heun { .. }
            | Self::Dpm2 { .. }
            | Self::Dpm2Ancestral { .. }
            | Self::DpmPlusPlus2SAncestral { .. }
            | Self::DpmPlusPlus2SAncestralCfgPp { .. }
            | Self::DpmPlusPlusSde { .. }
            | Self::Seeds2 { .. } => n + full,
            Self::Seeds3 { .. } => n + 2 * full,
            Self::HeunPp2 { .. } => (3 * n - 3).max(1),
            Self::SaSolver { pece: true, .. } => 2 * n - 1,
            _ => n,
        }
    }

    /// The stops of the walk.
    pub(super) fn way(&self, walk: Walk, schedule: &NoiseSchedule) -> Result<Way, ScheduleError> {
        self.check()?;
        if let Some((sigmas, but_one)) = self.sigmas() {
            let mut levels = if but_one {
                walk.levels_but_one(sigmas, schedule)?
            } else {
                walk.levels(sigmas, schedule)?
            };
            self.end(&mut levels, schedule);
            return self.long_enough(Way::Levels(levels));
        }
        let spacing = match *self {
            Self::Ddpm { spacing, .. }
            | Self::Ddim { spacing, .. }
            | Self::DdimInverse { spacing, .. }
            | Self::Plms { spacing, .. }
            | Self::Tcd { spacing, .. } => spacing,
            Self::Pndm { offset, .. } => Spacing::Leading { offset },
            _ => Spacing::Leading { offset: 0 },
        };
        let mut times = walk.timesteps(spacing, schedule)?;
        let mut stride = 0;
        match *self {
            Self::DdimInverse { .. } => times.reverse(),
            Self::RePaint {
                jump_length,
                jump_n_sample,
                ..
            } if !times.is_empty() => {
                let all = schedule.timesteps();
                (times, stride) = path(times.len(), all, jump_length, jump_n_sample);
            }
            _ => {}
        }
        self.long_enough(Way::Times(times, stride))
    }

    /// Errors where a walk is too short for its method.
    fn long_enough(&self, way: Way) -> Result<Way, ScheduleError> {
        let n = match &way {
            Way::Times(times, _) => times.len(),
            Way::Levels(levels) => levels.len() - 1,
        };
        let least = match self {
            Self::Pndm { .. } => 4,
            Self::DpmFast { .. } | Self::DpmAdaptive { .. } => 2,
            _ => 0,
        };
        match n {
            0 => Ok(way),
            n if n < least => Err(ScheduleError::Few { steps: n, least }),
            _ => Ok(way),
        }
    }

    /// Puts the end of the walk where the settings say.
    fn end(&self, levels: &mut [Level], schedule: &NoiseSchedule) {
        let ends_clean = levels.len() > 1 && levels.last() == Some(&Level::CLEAN);
        let sigma = match *self {
            Self::DpmMultistep { end, .. }
            | Self::DpmSinglestep { end, .. }
            | Self::Deis { end, .. }
            | Self::SaSolver { end, .. }
                if end == FinalSigma::Least =>
            {
                schedule.sigma_min()
            }
            Self::UniPc { last_sigma, .. } => last_sigma,
            _ => return,
        };
        if let Some(last) = levels.last_mut().filter(|_| ends_clean && sigma > 0.0) {
            *last = Level::of(sigma, schedule);
        }
    }

    /// The noise levels it walks, and whether the last above 0 is left out; `None` where it
    /// walks whole timesteps.
    pub(super) fn sigmas(&self) -> Option<(&SigmaSchedule, bool)> {
        match self {
            Self::Dpm2 {
                schedule,
                discard_penultimate,
                ..
            }
            | Self::Dpm2Ancestral {
                schedule,
                discard_penultimate,
                ..
            }
            | Self::UniPc {
                schedule,
                discard_penultimate,
                ..
            } => Some((schedule, *discard_penultimate)),
            Self::Euler { schedule, .. }
            | Self::EulerAncestral { schedule, .. }
            | Self::EulerCfgPp { schedule, .. }
            | Self::Heun { schedule, .. }
            | Self::HeunPp2 { schedule, .. }
            | Self::Lms { schedule, .. }
            | Self::DpmFast { schedule, .. }
            | Self::DpmAdaptive { schedule, .. }
            | Self::DpmPlusPlus2SAncestral { schedule, .. }
            | Self::DpmPlusPlus2SAncestralCfgPp { schedule, .. }
            | Self::DpmPlusPlusSde { schedule, .. }
            | Self::DpmPlusPlus2M { schedule }
            | Self::DpmPlusPlus2MCfgPp { schedule }
            | Self::DpmPlusPlus2MSde { schedule, .. }
            | Self::DpmPlusPlus3MSde { schedule, .. }
            | Self::DpmMultistep { schedule, .. }
            | Self::DpmSinglestep { schedule, .. }
            | Self::Deis { schedule, .. }
            | Self::Ipndm { schedule, .. }
            | Self::IpndmV { schedule, .. }
            | Self::Lcm { schedule, .. }
            | Self::SaSolver { schedule, .. }
            | Self::ResMultistep { schedule, .. }
            | Self::GradientEstimation { schedule, .. }
            | Self::ErSde { schedule, .. }
            | Self::Seeds2 { schedule, .. }
            | Self::Seeds3 { schedule, .. } => Some((schedule, false)),
            Self::Ddpm { .. }
            | Self::Ddim { .. }
            | Self::DdimInverse { .. }
            | Self::Plms { .. }
            | Self::Pndm { .. }
            | Self::Tcd { .. }
            | Self::RePaint { .. }
            | Self::Named { .. } => None,
        }
    }

    /// Where the noise of its steps comes from.
    pub(super) fn step_noise(&self) -> StepNoise {
        match *self {
            Self::EulerAncestral { noise, .. }
            | Self::EulerCfgPp { noise, .. }
            | Self::Dpm2Ancestral { noise, .. }
            | Self::DpmFast { noise, .. }
            | Self::DpmAdaptive { noise, .. }
            | Self::DpmPlusPlus2SAncestral { noise, .. }
            | Self::DpmPlusPlus2SAncestralCfgPp { noise, .. }
            | Self::DpmPlusPlusSde { noise, .. }
            | Self::DpmPlusPlus2MSde { noise, .. }
            | Self::DpmPlusPlus3MSde { noise, .. }
            | Self::DpmMultistep { noise, .. }
            | Self::DpmSinglestep { noise, .. }
            | Self::Lcm { noise, .. }
            | Self::SaSolver { noise, .. }
            | Self::ResMultistep { noise, .. }
            | Self::ErSde { noise, .. }
            | Self::Seeds2 { noise, .. }
            | Self::Seeds3 { noise, .. } => noise,
            _ => StepNoise::Continue,
        }
    }

    /// Which timesteps its network is told.
    pub(super) fn told(&self) -> Told {
        match self {
            Self::Named { sampler, .. } if !sampler.is_diffusers() => Told::Nearest,
            Self::Named { .. } => self.resolved().told(),
            Self::DpmMultistep { .. }
            | Self::DpmSinglestep { .. }
            | Self::Deis { .. }
            | Self::UniPc { .. }
            | Self::SaSolver { .. } => Told::Nearest,
            _ => Told::Between,
        }
    }

    /// The spread of the start noise in a walk over noise levels from `sigma`.
    ///
    /// A whole walk starts from noise of variance σ² + 1, as if the latent had variance 1;
    /// diffusers' Euler and its kin take σ² on `trailing` and `linspace`, and ComfyUI does
    /// wherever the first level is not the model's last. A part of a walk starts from σ².
    pub(super) fn spread(&self, walk: Walk, sigma: f64, schedule: &NoiseSchedule) -> f64 {
        let resolved = self.resolved();
        let plain = match (self, resolved.sigmas()) {
            _ if !walk.is_whole() => true,
            (Self::Named { sampler, .. }, _) if !sampler.is_diffusers() => {
                sigma < schedule.sigma_max() * (1.0 - 1e-5)
            }
            (_, Some((SigmaSchedule::DdimUniform, _))) => true,
            (_, Some((SigmaSchedule::Trailing | SigmaSchedule::Linspace, _))) => {
                resolved.told() == Told::Between
            }
            _ => false,
        };
        if plain {
            sigma
        } else {
            (sigma * sigma + 1.0).sqrt()
        }
    }
}

/// Errors where the settings of diffusers' DPM-Solvers exclude each other.
fn check_dpm(algorithm: Algorithm, order: usize, end: FinalSigma) -> Result<(), ScheduleError> {
    let for_noise = matches!(algorithm, Algorithm::DpmSolver | Algorithm::SdeDpmSolver);
    if for_noise && end == FinalSigma::Zero {
        return Err(ScheduleError::Exclude(
            "an `algorithm` for the noise cannot end at none: give `end: Least`",
        ));
    }
    if algorithm == Algorithm::SdeDpmSolver && order == 3 {
        return Err(ScheduleError::Exclude(
            "`algorithm: SdeDpmSolver` has no third order: give `order` 1 or 2",
        ));
    }
    Ok(())
}
