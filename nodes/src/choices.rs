//! Choices that several nodes share: samplers, which steps they visit, how guidance weighs.
//!
//! The words and defaults are those of `ldm_models`; here they get their help and become
//! settings of a graph.

use ldm_engine::Choice;
use ldm_models::guidance as models_guidance;
use ldm_models::sampler as models;
use ldm_models::schedule as models_schedule;

/// How the noise is taken away, step by step.
#[derive(Debug, Clone, Copy, PartialEq, Choice)]
pub enum Sampler {
    /// Ho et al. 2020: noise is added back at every step.
    Ddpm {
        /// How much noise a step adds back.
        #[node(default = Variance::Small)]
        variance: Variance,
        /// Which timesteps are visited.
        #[node(default = Spacing::CompVis)]
        spacing: Spacing,
    },
    /// Song et al. 2021, with the paper's timesteps unless told otherwise.
    Ddim {
        /// 0 adds no noise back, 1 as much as DDPM.
        #[node(default = 0.0, range = 0.0..=1.0)]
        eta: f64,
        /// Which timesteps are visited.
        #[node(default = Spacing::CompVis)]
        spacing: Spacing,
        /// Where the last step lands.
        #[node(default = FinalAlpha::First)]
        end: FinalAlpha,
    },
    /// Euler's method: first order, one call a step, no noise added back.
    Euler {
        /// Which noise levels are visited.
        #[node(default = SigmaSchedule::Normal)]
        schedule: SigmaSchedule,
    },
    /// Euler's method with noise added back at each step.
    EulerAncestral {
        /// 0 is Euler, 1 as much noise as the schedule allows.
        #[node(default = 1.0, range = 0.0..=1.0)]
        eta: f64,
        /// Scales the noise that is added back; 1 keeps its variance right.
        #[node(default = 1.0, range = 0.0..=10.0)]
        s_noise: f64,
        /// Which noise levels are visited.
        #[node(default = SigmaSchedule::Normal)]
        schedule: SigmaSchedule,
    },
}

/// How much noise a step of DDPM adds back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Choice)]
pub enum Variance {
    /// The posterior's, right when the picture is certain; diffusers' `fixed_small`.
    Small,
    /// β itself; diffusers' `fixed_large`.
    Large,
}

/// Where the last step of DDIM lands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Choice)]
pub enum FinalAlpha {
    /// On the first timestep, a trace of noise left: the paper's code.
    First,
    /// On the clean latent: diffusers' `set_alpha_to_one=True`.
    One,
}

/// Which timesteps a sampler over whole timesteps visits.
#[derive(Debug, Clone, Copy, PartialEq, Choice)]
pub enum Spacing {
    /// The paper's code: 1, 1 + c, 1 + 2c, …; more than asked for where steps do not divide.
    CompVis,
    /// The paper's `quad`: dense where there is little noise.
    Quad,
    /// diffusers' `leading`: 0, c, 2c, … plus the offset.
    Leading {
        /// Added to every timestep.
        #[node(default = 0, range = 0..=1000)]
        offset: usize,
    },
    /// diffusers' `trailing`: from the last timestep down in equal strides.
    Trailing,
    /// diffusers' `linspace`: from the last timestep to 0, both included.
    Linspace,
}

/// Which noise levels a sampler over noise levels visits.
#[derive(Debug, Clone, Copy, PartialEq, Choice)]
pub enum SigmaSchedule {
    /// Equal strides in time; ComfyUI's `normal`.
    Normal,
    /// Karras et al. 2022: equal strides in a root of the noise.
    Karras {
        /// How strongly the steps gather at little noise.
        #[node(default = 7.0, range = 0.1..=100.0)]
        rho: f64,
    },
    /// diffusers' `leading`; ComfyUI's `ddim_uniform` with `offset: 1`.
    Leading {
        /// Added to every timestep.
        #[node(default = 0, range = 0..=1000)]
        offset: usize,
    },
    /// diffusers' `trailing`.
    Trailing,
    /// diffusers' `linspace`: equal strides in time, the noise on a line.
    Linspace,
}

/// How `cfg` weighs the positive side against the negative one.
#[derive(Debug, Clone, Copy, PartialEq, Choice)]
pub enum Guidance {
    /// Away from the negative side, towards the positive one, `cfg` times as far.
    Plain,
    /// The same, brought back towards the spread of the positive side (Lin et al. 2023): against
    /// pictures that a high `cfg` makes too bright.
    Rescaled {
        /// How much of it is brought back; the paper takes 0.7.
        #[node(default = 0.7, range = 0.0..=1.0)]
        phi: f64,
        /// What is brought back.
        #[node(default = RescaleOf::Velocity)]
        of: RescaleOf,
    },
    /// InstructPix2Pix: `cfg` weighs the text alone, and the picture beside it is weighed apart.
    Image {
        /// How strongly the picture is kept to; 1 is not at all beyond what the text says.
        #[node(default = 1.5, range = 0.0..=100.0)]
        image_cfg: f64,
    },
}

/// What rescaled guidance brings back to its spread.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Choice)]
pub enum RescaleOf {
    /// The velocity, whatever the network predicts: ComfyUI's `RescaleCFG`.
    Velocity,
    /// What the network predicts: diffusers' `guidance_rescale`.
    Output,
}

impl Guidance {
    /// As the models say it, with the strength that goes with it.
    pub(crate) fn with(self, cfg: f64) -> models_guidance::Guidance {
        use models_guidance as models;
        match self {
            Self::Plain => models::Guidance::Plain { cfg },
            Self::Rescaled { phi, of } => models::Guidance::Rescaled {
                cfg,
                phi,
                of: match of {
                    RescaleOf::Velocity => models::RescaleOf::Velocity,
                    RescaleOf::Output => models::RescaleOf::Output,
                },
            },
            Self::Image { image_cfg: image } => models::Guidance::Image { cfg, image },
        }
    }
}

impl From<Sampler> for models::Sampler {
    fn from(choice: Sampler) -> Self {
        match choice {
            Sampler::Ddpm { variance, spacing } => {
                let variance = match variance {
                    Variance::Small => models::Variance::Small,
                    Variance::Large => models::Variance::Large,
                };
                Self::Ddpm {
                    variance,
                    spacing: spacing.into(),
                }
            }
            Sampler::Ddim { eta, spacing, end } => {
                let end = match end {
                    FinalAlpha::First => models::FinalAlpha::First,
                    FinalAlpha::One => models::FinalAlpha::One,
                };
                Self::Ddim {
                    eta,
                    spacing: spacing.into(),
                    end,
                }
            }
            Sampler::Euler { schedule } => Self::Euler {
                schedule: schedule.into(),
            },
            Sampler::EulerAncestral {
                eta,
                s_noise,
                schedule,
            } => Self::EulerAncestral {
                eta,
                s_noise,
                schedule: schedule.into(),
            },
        }
    }
}

impl From<Spacing> for models_schedule::Spacing {
    fn from(choice: Spacing) -> Self {
        match choice {
            Spacing::CompVis => Self::CompVis,
            Spacing::Quad => Self::Quad,
            Spacing::Leading { offset } => Self::Leading { offset },
            Spacing::Trailing => Self::Trailing,
            Spacing::Linspace => Self::Linspace,
        }
    }
}

impl From<SigmaSchedule> for models_schedule::SigmaSchedule {
    fn from(choice: SigmaSchedule) -> Self {
        match choice {
            SigmaSchedule::Normal => Self::Normal,
            SigmaSchedule::Karras { rho } => Self::Karras { rho },
            SigmaSchedule::Leading { offset } => Self::Leading { offset },
            SigmaSchedule::Trailing => Self::Trailing,
            SigmaSchedule::Linspace => Self::Linspace,
        }
    }
}
