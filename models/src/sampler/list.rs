//! Every sampler with its settings: what a graph can write.
//!
//! The names are the field's; `names` maps ComfyUI's and diffusers' to them.

use super::names::{SamplerName, SchedulerName};
use super::{
    Algorithm, Bh, Churn, DeisTime, FinalAlpha, SaHabits, SolverType, StepNoise, Variance,
};
use crate::choice::choices;
use crate::schedule::{SigmaSchedule, Spacing};

choices! {
    /// Where a walk over noise levels ends.
    #[derive(Copy)]
    pub enum FinalSigma {
        /// At the clean latent: diffusers' `zero`.
        Zero,
        /// At the model's least noise: diffusers' `sigma_min`.
        Least,
    }

    /// How the noise is taken away, step by step.
    pub enum Sampler {
        /// Ho et al. 2020: noise is added back at every step.
        Ddpm {
            /// How much noise a step adds back.
            variance: Variance = Variance::Small,
            /// Which timesteps are visited.
            spacing: Spacing = Spacing::CompVis,
        },
        /// Song et al. 2021, with the paper's timesteps unless told otherwise.
        Ddim {
            /// 0 adds no noise back, 1 as much as DDPM.
            eta: f64 [0.0..=1.0] = 0.0,
            /// Which timesteps are visited.
            spacing: Spacing = Spacing::CompVis,
            /// Where the last step lands.
            end: FinalAlpha = FinalAlpha::First,
        },
        /// DDIM backwards: gives the noise that DDIM would make the latent of.
        DdimInverse {
            /// Which timesteps are visited, upwards.
            spacing: Spacing = Spacing::Leading { offset: 0 },
            /// Where the first step starts.
            start: FinalAlpha = FinalAlpha::One,
        },
        /// Liu et al. 2022 without its Runge-Kutta steps: the paper's `plms`, diffusers' PNDM.
        Plms {
            /// Which timesteps are visited.
            spacing: Spacing = Spacing::CompVis,
            /// Where the last step lands.
            end: FinalAlpha = FinalAlpha::First,
        },
        /// Liu et al. 2022: three Runge-Kutta steps of four calls, then one call a step.
        Pndm {
            /// Added to every timestep: diffusers' `steps_offset`.
            offset: usize [0..=1000] = 0,
            /// Where the last step lands.
            end: FinalAlpha = FinalAlpha::First,
        },
        /// Euler's method: first order, one call a step, no noise added back.
        Euler {
            /// Noise added before each step.
            churn: Churn = Churn::Off,
            /// Which noise levels are visited.
            schedule: SigmaSchedule = SigmaSchedule::Normal,
        },
        /// Euler's method with noise added back at each step.
        EulerAncestral {
            /// 0 is Euler, 1 as much noise as the schedule allows.
            eta: f64 [0.0..=1.0] = 1.0,
            /// Scales the noise that is added back; 1 keeps its variance right.
            s_noise: f64 [0.0..=10.0] = 1.0,
            /// Where that noise comes from.
            noise: StepNoise = StepNoise::Continue,
            /// Which noise levels are visited.
            schedule: SigmaSchedule = SigmaSchedule::Normal,
        },
        /// Euler along the noise that the negative condition sees (CFG++); wants a small `cfg`.
        EulerCfgPp {
            /// 0 adds no noise, 1 as much as the schedule allows.
            eta: f64 [0.0..=1.0] = 0.0,
            /// Scales the noise that is added; 1 keeps its variance right.
            s_noise: f64 [0.0..=10.0] = 1.0,
            /// Where that noise comes from.
            noise: StepNoise = StepNoise::Continue,
            /// Which noise levels are visited.
            schedule: SigmaSchedule = SigmaSchedule::Normal,
        },
        /// Heun's method: second order, two calls a step.
        Heun {
            /// Noise added before each step.
            churn: Churn = Churn::Off,
            /// Which noise levels are visited.
            schedule: SigmaSchedule = SigmaSchedule::Normal,
        },
        /// Heun's method over three levels, weighted by their noise: up to three calls a step.
        HeunPp2 {
            /// Noise added before each step.
            churn: Churn = Churn::Off,
            /// Which noise levels are visited.
            schedule: SigmaSchedule = SigmaSchedule::Normal,
        },
        /// DPM-Solver-2: second order by a step to the middle, two calls a step.
        Dpm2 {
            /// Noise added before each step.
            churn: Churn = Churn::Off,
            /// Lays out one step more and leaves its last level above 0 out, as ComfyUI does
            /// for this one.
            discard_penultimate: bool = false,
            /// Which noise levels are visited.
            schedule: SigmaSchedule = SigmaSchedule::Normal,
        },
        /// DPM-Solver-2 with noise added back at each step.
        Dpm2Ancestral {
            /// 0 adds no noise, 1 as much as the schedule allows.
            eta: f64 [0.0..=1.0] = 1.0,
            /// Scales the noise that is added; 1 keeps its variance right.
            s_noise: f64 [0.0..=10.0] = 1.0,
            /// Where that noise comes from.
            noise: StepNoise = StepNoise::Continue,
            /// Lays out one step more and leaves its last level above 0 out, as ComfyUI does
            /// for this one.
            discard_penultimate: bool = false,
            /// Which noise levels are visited.
            schedule: SigmaSchedule = SigmaSchedule::Normal,
        },
        /// Linear multistep: a polynomial through past slopes, one call a step.
        Lms {
            /// How many slopes are used.
            order: usize [1..=8] = 4,
            /// Whether a last step to 0 gives the clean latent, as in ComfyUI, or is a step like
            /// the others, as in k-diffusion and diffusers.
            end_clean: bool = true,
            /// Which noise levels are visited.
            schedule: SigmaSchedule = SigmaSchedule::Normal,
        },
        /// DPM-Solver of third order in equal steps, `steps` calls in all.
        DpmFast {
            /// 0 adds no noise, 1 as much as the schedule allows.
            eta: f64 [0.0..=1.0] = 0.0,
            /// Scales the noise that is added; 1 keeps its variance right.
            s_noise: f64 [0.0..=10.0] = 1.0,
            /// Where that noise comes from.
            noise: StepNoise = StepNoise::Continue,
            /// Between which noise levels.
            schedule: SigmaSchedule = SigmaSchedule::Normal,
        },
        /// DPM-Solver that chooses its own steps; `steps` only says how it is laid out.
        DpmAdaptive {
            /// The order of the better of the two solutions compared.
            order: usize [2..=3] = 3,
            /// How large an error may be beside the state.
            rtol: f64 [0.0001..=10.0] = 0.05,
            /// How large an error may be anyhow.
            atol: f64 [0.000001..=10.0] = 0.0078,
            /// The first step, in the logarithm of the noise.
            h_init: f64 [0.0001..=10.0] = 0.05,
            /// The step size's answer to the last error.
            pcoeff: f64 [-10.0..=10.0] = 0.0,
            /// Its answer to the sum of errors.
            icoeff: f64 [-10.0..=10.0] = 1.0,
            /// Its answer to the change of errors.
            dcoeff: f64 [-10.0..=10.0] = 0.0,
            /// A step is kept when the next may be at least this share of it.
            accept_safety: f64 [0.0..=1.5] = 0.81,
            /// 0 adds no noise, 1 as much as the schedule allows.
            eta: f64 [0.0..=1.0] = 0.0,
            /// Scales the noise that is added; 1 keeps its variance right.
            s_noise: f64 [0.0..=10.0] = 1.0,
            /// Where that noise comes from.
            noise: StepNoise = StepNoise::Continue,
            /// Between which noise levels.
            schedule: SigmaSchedule = SigmaSchedule::Normal,
        },
        /// DPM-Solver++(2S) with noise added back at each step: two calls a step.
        DpmPlusPlus2SAncestral {
            /// 0 adds no noise, 1 as much as the schedule allows.
            eta: f64 [0.0..=1.0] = 1.0,
            /// Scales the noise that is added; 1 keeps its variance right.
            s_noise: f64 [0.0..=10.0] = 1.0,
            /// Where that noise comes from.
            noise: StepNoise = StepNoise::Continue,
            /// Which noise levels are visited.
            schedule: SigmaSchedule = SigmaSchedule::Normal,
        },
        /// The same along the negative condition (CFG++); wants a small `cfg`.
        DpmPlusPlus2SAncestralCfgPp {
            /// 0 adds no noise, 1 as much as the schedule allows.
            eta: f64 [0.0..=1.0] = 1.0,
            /// Scales the noise that is added; 1 keeps its variance right.
            s_noise: f64 [0.0..=10.0] = 1.0,
            /// Where that noise comes from.
            noise: StepNoise = StepNoise::Continue,
            /// Which noise levels are visited.
            schedule: SigmaSchedule = SigmaSchedule::Normal,
        },
        /// DPM-Solver++ for the stochastic equation: two calls a step.
        DpmPlusPlusSde {
            /// 0 adds no noise, 1 as much as the schedule allows.
            eta: f64 [0.0..=1.0] = 1.0,
            /// Scales the noise that is added; 1 keeps its variance right.
            s_noise: f64 [0.0..=10.0] = 1.0,
            /// Where in a step its second call stands.
            r: f64 [0.01..=1.0] = 0.5,
            /// Where that noise comes from.
            noise: StepNoise = StepNoise::Brownian,
            /// Which noise levels are visited.
            schedule: SigmaSchedule = SigmaSchedule::Normal,
        },
        /// DPM-Solver++(2M): second order from the step before, one call a step.
        DpmPlusPlus2M {
            /// Which noise levels are visited.
            schedule: SigmaSchedule = SigmaSchedule::Normal,
        },
        /// The same along the negative condition (CFG++); wants a small `cfg`.
        DpmPlusPlus2MCfgPp {
            /// Which noise levels are visited.
            schedule: SigmaSchedule = SigmaSchedule::Normal,
        },
        /// DPM-Solver++(2M) for the stochastic equation: one call a step.
        DpmPlusPlus2MSde {
            /// 0 adds no noise, 1 as much as the schedule allows.
            eta: f64 [0.0..=1.0] = 1.0,
            /// Scales the noise that is added; 1 keeps its variance right.
            s_noise: f64 [0.0..=10.0] = 1.0,
            /// How the slope is used.
            solver_type: SolverType = SolverType::Midpoint,
            /// Where that noise comes from.
            noise: StepNoise = StepNoise::Brownian,
            /// Which noise levels are visited.
            schedule: SigmaSchedule = SigmaSchedule::Normal,
        },
        /// DPM-Solver++(3M) for the stochastic equation: third order, one call a step.
        DpmPlusPlus3MSde {
            /// 0 adds no noise, 1 as much as the schedule allows.
            eta: f64 [0.0..=1.0] = 1.0,
            /// Scales the noise that is added; 1 keeps its variance right.
            s_noise: f64 [0.0..=10.0] = 1.0,
            /// Where that noise comes from.
            noise: StepNoise = StepNoise::Brownian,
            /// Which noise levels are visited.
            schedule: SigmaSchedule = SigmaSchedule::Normal,
        },
        /// diffusers' DPM-Solver in multiple steps: four algorithms, up to third order.
        DpmMultistep {
            /// Which equation is solved, and for what.
            algorithm: Algorithm = Algorithm::DpmSolverPlusPlus,
            /// How many results a step uses.
            order: usize [1..=3] = 2,
            /// How a second-order step uses the slope.
            solver_type: SolverType = SolverType::Midpoint,
            /// Whether the last steps are of lower order, where there are fewer than 15.
            lower_order_final: bool = true,
            /// Whether the last step is of first order in any case.
            euler_at_final: bool = false,
            /// Where the walk ends.
            end: FinalSigma = FinalSigma::Zero,
            /// Where that noise comes from.
            noise: StepNoise = StepNoise::Continue,
            /// Which noise levels are visited.
            schedule: SigmaSchedule = SigmaSchedule::Spaced { spacing: Spacing::LinspaceOpen },
        },
        /// diffusers' DPM-Solver in single steps: blocks of one to three calls.
        DpmSinglestep {
            /// Which equation is solved, and for what.
            algorithm: Algorithm = Algorithm::DpmSolverPlusPlus,
            /// How many results a step uses.
            order: usize [1..=3] = 2,
            /// How a second-order step uses the slope.
            solver_type: SolverType = SolverType::Midpoint,
            /// Whether the last steps are of lower order.
            lower_order_final: bool = true,
            /// Where the walk ends.
            end: FinalSigma = FinalSigma::Zero,
            /// Where that noise comes from.
            noise: StepNoise = StepNoise::Continue,
            /// Which noise levels are visited.
            schedule: SigmaSchedule = SigmaSchedule::Spaced { spacing: Spacing::LinspaceOpen },
        },
        /// Zhang and Chen 2022: polynomials in another time than the noise, one call a step.
        Deis {
            /// How many slopes are used.
            order: usize [1..=4] = 3,
            /// In which time the polynomials are drawn.
            time: DeisTime = DeisTime::Tab,
            /// Whether the last of fewer than 15 steps are of lower order.
            lower_order_final: bool = false,
            /// Where the walk ends.
            end: FinalSigma = FinalSigma::Zero,
            /// Which noise levels are visited.
            schedule: SigmaSchedule = SigmaSchedule::Normal,
        },
        /// Zhao et al. 2023: a predictor whose next call corrects it, one call a step.
        UniPc {
            /// How many results a step uses.
            order: usize [1..=4] = 3,
            /// The function B(h).
            bh: Bh = Bh::Bh2,
            /// The noise left at the end; ComfyUI leaves 0.001.
            last_sigma: f64 [0.0..=1.0] = 0.0,
            /// Lays out one step more and leaves its last level above 0 out, as ComfyUI does
            /// for this one.
            discard_penultimate: bool = false,
            /// Which noise levels are visited.
            schedule: SigmaSchedule = SigmaSchedule::Spaced { spacing: Spacing::LinspaceOpen },
        },
        /// Adams and Bashforth's weights on past slopes, one call a step.
        Ipndm {
            /// How many slopes are used.
            order: usize [1..=4] = 4,
            /// Whether a last step to 0 gives the clean latent, as in ComfyUI, or is a step like
            /// the others, as in diffusers.
            end_clean: bool = true,
            /// Which noise levels are visited.
            schedule: SigmaSchedule = SigmaSchedule::Normal,
        },
        /// The same with weights that follow the lengths of the steps.
        IpndmV {
            /// How many slopes are used.
            order: usize [1..=4] = 4,
            /// Which noise levels are visited.
            schedule: SigmaSchedule = SigmaSchedule::Normal,
        },
        /// Luo et al. 2023, for models distilled to a few steps: to the clean latent and back.
        Lcm {
            /// Whether the result is held to the state near the end, as diffusers does.
            boundary: bool = true,
            /// How fast that hold is let go; diffusers' `timestep_scaling`.
            timestep_scaling: f64 [0.1..=1000.0] = 10.0,
            /// Where that noise comes from.
            noise: StepNoise = StepNoise::Continue,
            /// Which noise levels are visited.
            schedule: SigmaSchedule = SigmaSchedule::Spaced {
                spacing: Spacing::Distilled { original: 50 },
            },
        },
        /// Zheng et al. 2024, for models distilled to a few steps: past the next and back.
        Tcd {
            /// How far past: 0 not at all, 1 to the clean latent.
            eta: f64 [0.0..=1.0] = 0.3,
            /// Which timesteps are visited.
            spacing: Spacing = Spacing::Distilled { original: 50 },
        },
        /// Xue et al. 2023: a stochastic Adams method with a predictor and a corrector.
        SaSolver {
            /// How many results a prediction uses.
            predictor_order: usize [1..=4] = 3,
            /// How many results a correction uses.
            corrector_order: usize [0..=4] = 4,
            /// Evaluates the corrected state again: two calls a step.
            pece: bool = false,
            /// How much noise is added in the middle of the way; 0 is none.
            eta: f64 [0.0..=10.0] = 1.0,
            /// Scales the noise that is added; 1 keeps its variance right.
            s_noise: f64 [0.0..=10.0] = 1.0,
            /// Whose habits.
            habits: SaHabits = SaHabits::ComfyUi,
            /// Where the walk ends.
            end: FinalSigma = FinalSigma::Zero,
            /// Where that noise comes from.
            noise: StepNoise = StepNoise::Continue,
            /// Which noise levels are visited.
            schedule: SigmaSchedule = SigmaSchedule::Normal,
        },
        /// Zhang et al. 2023: exponential multistep of second order, one call a step.
        ResMultistep {
            /// 0 adds no noise, 1 as much as the schedule allows.
            eta: f64 [0.0..=1.0] = 0.0,
            /// Scales the noise that is added; 1 keeps its variance right.
            s_noise: f64 [0.0..=10.0] = 1.0,
            /// Where that noise comes from.
            noise: StepNoise = StepNoise::Continue,
            /// Along the negative condition (CFG++); wants a small `cfg`.
            cfg_pp: bool = false,
            /// Which noise levels are visited.
            schedule: SigmaSchedule = SigmaSchedule::Normal,
        },
        /// Permenter and Yuan 2023: Euler, corrected by how the slope changed.
        GradientEstimation {
            /// How far the change is followed; 1 is Euler.
            gamma: f64 [0.0..=10.0] = 2.0,
            /// Along the negative condition (CFG++); wants a small `cfg`.
            cfg_pp: bool = false,
            /// Which noise levels are visited.
            schedule: SigmaSchedule = SigmaSchedule::Normal,
        },
        /// Cui et al. 2023: the extended reverse-time equation, one call a step.
        ErSde {
            /// How many results a step uses.
            max_stage: usize [1..=3] = 3,
            /// Scales the noise that is added; 1 keeps its variance right.
            s_noise: f64 [0.0..=10.0] = 1.0,
            /// Where that noise comes from.
            noise: StepNoise = StepNoise::Continue,
            /// Which noise levels are visited.
            schedule: SigmaSchedule = SigmaSchedule::Normal,
        },
        /// Gonzalez et al. 2023: exponential steps for the stochastic equation, two calls each.
        Seeds2 {
            /// 0 adds no noise, 1 as much as the schedule allows.
            eta: f64 [0.0..=1.0] = 1.0,
            /// Scales the noise that is added; 1 keeps its variance right.
            s_noise: f64 [0.0..=10.0] = 1.0,
            /// Where in a step its second call stands.
            r: f64 [0.01..=1.0] = 0.5,
            /// Where that noise comes from.
            noise: StepNoise = StepNoise::Continue,
            /// Which noise levels are visited.
            schedule: SigmaSchedule = SigmaSchedule::Normal,
        },
        /// The same of third order: three calls a step.
        Seeds3 {
            /// 0 adds no noise, 1 as much as the schedule allows.
            eta: f64 [0.0..=1.0] = 1.0,
            /// Scales the noise that is added; 1 keeps its variance right.
            s_noise: f64 [0.0..=10.0] = 1.0,
            /// Where in a step its second call stands.
            r1: f64 [0.01..=1.0] = 1.0 / 3.0,
            /// Where in a step its third call stands.
            r2: f64 [0.01..=1.0] = 2.0 / 3.0,
            /// Where that noise comes from.
            noise: StepNoise = StepNoise::Continue,
            /// Which noise levels are visited.
            schedule: SigmaSchedule = SigmaSchedule::Normal,
        },
        /// Lugmayr et al. 2022: inpaints with any model by walking back and forth; wants a mask,
        /// and walks the whole way whatever `denoise` is.
        RePaint {
            /// 0 adds no noise back, 1 as much as DDPM.
            eta: f64 [0.0..=1.0] = 0.0,
            /// How many steps a jump back takes.
            jump_length: usize [1..=1000] = 10,
            /// How often each stretch is walked.
            jump_n_sample: usize [1..=1000] = 10,
        },
        /// A sampler and a scheduler by the names that ComfyUI's users know.
        ///
        /// The network is told whole timesteps and steps' noise is ComfyUI's. diffusers' classes
        /// and the labels of A1111 are known too.
        Named {
            /// The sampler's name: `dpmpp_2m_sde`, `euler_ancestral` and the like.
            sampler: SamplerName = SamplerName::EULER,
            /// The scheduler's name: `karras`, `sgm_uniform` and the like; `own` is what the
            /// sampler has when left alone.
            scheduler: SchedulerName = SchedulerName::NORMAL,
        },
    }
}

impl Sampler {
    /// DDIM as CompVis walks it: timesteps 1, 1 + c, …, and a last step that lands on ᾱ₀.
    pub fn ddim_compvis(eta: f64) -> Self {
        Self::Ddim {
            eta,
            spacing: Spacing::CompVis,
            end: FinalAlpha::First,
        }
    }

    /// DDIM by the defaults of diffusers' scheduler: timesteps 0, c, …, and a last step that
    /// lands on ᾱ = 1. (Its pipelines for latent diffusion set `steps_offset=1` and
    /// `set_alpha_to_one=False`, which is [`Sampler::ddim_compvis`] where steps divide 1000.)
    pub fn ddim_diffusers(eta: f64) -> Self {
        Self::Ddim {
            eta,
            spacing: Spacing::Leading { offset: 0 },
            end: FinalAlpha::One,
        }
    }
}
