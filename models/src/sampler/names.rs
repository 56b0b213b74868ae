//! Samplers and schedules by the names of ComfyUI, A1111 and diffusers.
//!
//! One table says for each name which of our samplers it is, with which settings. Where a name
//! stands for the same arithmetic twice (`ddim` and `euler` in ComfyUI, `ddpm` and
//! `euler_ancestral`, the `_gpu` ones, whose Brownian motion here is the CPU's) the rows are
//! alike.

use std::sync::LazyLock;

use super::{Bh, DeisTime, FinalAlpha, FinalSigma, SaHabits, Sampler, SolverType, StepNoise};
use crate::choice::{Choice, Kind, Part, Value, find};
use crate::schedule::{Aligned, SigmaSchedule, Spacing};

/// The steps' noise of ComfyUI on the CPU.
const FRESH: StepNoise = StepNoise::Fresh { plus: 1 };

/// Where diffusers' DPM-Solver family walks.
const OPEN: SigmaSchedule = SigmaSchedule::Spaced {
    spacing: Spacing::LinspaceOpen,
};

/// A row: the names, the sampler, and settings that differ from its usual ones.
struct Row {
    names: &'static [&'static str],
    sampler: Sampler,
}

/// Any type of a setting.
trait Any {
    fn set(&self, sampler: Sampler, field: &str) -> Option<Sampler>;
}

impl<P: Part + Clone> Any for P {
    fn set(&self, sampler: Sampler, field: &str) -> Option<Sampler> {
        sampler.with(field, self.clone())
    }
}

fn row(names: &'static [&'static str], sampler: &str, settings: &[(&str, &dyn Any)]) -> Row {
    let usual = Sampler::usual(sampler).expect("the table names samplers there are");
    let set = |sampler, (field, part): &(&str, &dyn Any)| part.set(sampler, field);
    let sampler = settings.iter().try_fold(usual, set);
    Row {
        names,
        sampler: sampler.expect("the table names settings there are"),
    }
}

/// ComfyUI's, in its order, with A1111's labels.
#[rustfmt::skip]
static COMFY_UI: LazyLock<Vec<Row>> = LazyLock::new(|| vec![
    row(&["euler", "Euler"], "Euler", &[]),
    row(&["euler_cfg_pp"], "EulerCfgPp", &[("noise", &FRESH)]),
    row(&["euler_ancestral", "Euler a"], "EulerAncestral", &[("noise", &FRESH)]),
    row(&["euler_ancestral_cfg_pp"], "EulerCfgPp", &[("eta", &1.0), ("noise", &FRESH)]),
    row(&["heun", "Heun"], "Heun", &[]),
    row(&["heunpp2"], "HeunPp2", &[]),
    row(&["dpm_2", "DPM2"], "Dpm2", &[("discard_penultimate", &true)]),
    row(
        &["dpm_2_ancestral", "DPM2 a"],
        "Dpm2Ancestral",
        &[("noise", &FRESH), ("discard_penultimate", &true)],
    ),
    row(&["lms", "LMS"], "Lms", &[]),
    row(&["dpm_fast", "DPM fast"], "DpmFast", &[("noise", &FRESH)]),
    row(&["dpm_adaptive", "DPM adaptive"], "DpmAdaptive", &[("noise", &FRESH)]),
    row(&["dpmpp_2s_ancestral", "DPM++ 2S a"], "DpmPlusPlus2SAncestral", &[("noise", &FRESH)]),
    row(&["dpmpp_2s_ancestral_cfg_pp"], "DpmPlusPlus2SAncestralCfgPp", &[("noise", &FRESH)]),
    row(&["dpmpp_sde", "DPM++ SDE"], "DpmPlusPlusSde", &[]),
    row(&["dpmpp_sde_gpu"], "DpmPlusPlusSde", &[]),
    row(&["dpmpp_2m", "DPM++ 2M"], "DpmPlusPlus2M", &[]),
    row(&["dpmpp_2m_cfg_pp"], "DpmPlusPlus2MCfgPp", &[]),
    row(&["dpmpp_2m_sde", "DPM++ 2M SDE"], "DpmPlusPlus2MSde", &[]),
    row(&["dpmpp_2m_sde_gpu"], "DpmPlusPlus2MSde", &[]),
    row(
        &["dpmpp_2m_sde_heun", "DPM++ 2M SDE Heun"],
        "DpmPlusPlus2MSde",
        &[("solver_type", &SolverType::Heun)],
    ),
    row(&["dpmpp_2m_sde_heun_gpu"], "DpmPlusPlus2MSde", &[("solver_type", &SolverType::Heun)]),
    row(&["dpmpp_3m_sde", "DPM++ 3M SDE"], "DpmPlusPlus3MSde", &[]),
    row(&["dpmpp_3m_sde_gpu"], "DpmPlusPlus3MSde", &[]),
    row(&["ddpm"], "EulerAncestral", &[("noise", &FRESH)]),
    row(&["lcm", "LCM"], "Lcm", &[("boundary", &false), ("noise", &FRESH)]),
    row(&["ipndm"], "Ipndm", &[]),
    row(&["ipndm_v"], "IpndmV", &[]),
    row(&["deis"], "Deis", &[]),
    row(&["res_multistep"], "ResMultistep", &[("noise", &FRESH)]),
    row(&["res_multistep_cfg_pp"], "ResMultistep", &[("cfg_pp", &true), ("noise", &FRESH)]),
    row(&["res_multistep_ancestral"], "ResMultistep", &[("eta", &1.0), ("noise", &FRESH)]),
    row(
        &["res_multistep_ancestral_cfg_pp"],
        "ResMultistep",
        &[("eta", &1.0), ("cfg_pp", &true), ("noise", &FRESH)],
    ),
    row(&["gradient_estimation"], "GradientEstimation", &[]),
    row(&["gradient_estimation_cfg_pp"], "GradientEstimation", &[("cfg_pp", &true)]),
    row(&["er_sde"], "ErSde", &[("noise", &FRESH)]),
    row(&["seeds_2"], "Seeds2", &[("noise", &FRESH)]),
    row(&["seeds_3"], "Seeds3", &[("noise", &FRESH)]),
    row(&["sa_solver"], "SaSolver", &[("noise", &FRESH)]),
    row(&["sa_solver_pece"], "SaSolver", &[("pece", &true), ("noise", &FRESH)]),
    row(&["ddim", "DDIM"], "Euler", &[]),
    row(
        &["uni_pc", "UniPC"],
        "UniPc",
        &[("bh", &Bh::Bh1), ("last_sigma", &0.001), ("discard_penultimate", &true)],
    ),
    row(&["uni_pc_bh2"], "UniPc", &[("last_sigma", &0.001), ("discard_penultimate", &true)]),
]);

/// diffusers' classes, with the settings they have when left alone.
#[rustfmt::skip]
static DIFFUSERS: LazyLock<Vec<Row>> = LazyLock::new(|| vec![
    row(
        &["DDPMScheduler"],
        "Ddpm",
        &[("spacing", &Spacing::Leading { offset: 0 })],
    ),
    row(
        &["DDIMScheduler"],
        "Ddim",
        &[("spacing", &Spacing::Leading { offset: 0 }), ("end", &FinalAlpha::One)],
    ),
    row(&["DDIMInverseScheduler"], "DdimInverse", &[]),
    row(&["PNDMScheduler"], "Pndm", &[]),
    row(&["EulerDiscreteScheduler"], "Euler", &[("schedule", &SigmaSchedule::Linspace)]),
    row(
        &["EulerAncestralDiscreteScheduler"],
        "EulerAncestral",
        &[("schedule", &SigmaSchedule::Linspace)],
    ),
    row(&["HeunDiscreteScheduler"], "Heun", &[("schedule", &SigmaSchedule::Linspace)]),
    row(&["KDPM2DiscreteScheduler"], "Dpm2", &[("schedule", &SigmaSchedule::Linspace)]),
    row(
        &["KDPM2AncestralDiscreteScheduler"],
        "Dpm2Ancestral",
        &[("schedule", &SigmaSchedule::Linspace)],
    ),
    row(
        &["LMSDiscreteScheduler"],
        "Lms",
        &[("end_clean", &false), ("schedule", &SigmaSchedule::Linspace)],
    ),
    row(
        &["DPMSolverSDEScheduler"],
        "DpmPlusPlusSde",
        &[("schedule", &SigmaSchedule::Linspace)],
    ),
    row(&["DPMSolverMultistepScheduler"], "DpmMultistep", &[]),
    row(&["DPMSolverSinglestepScheduler"], "DpmSinglestep", &[]),
    row(
        &["DEISMultistepScheduler"],
        "Deis",
        &[
            ("order", &2_usize),
            ("time", &DeisTime::LogRho),
            ("lower_order_final", &true),
            ("end", &FinalSigma::Least),
            ("schedule", &OPEN),
        ],
    ),
    row(&["UniPCMultistepScheduler"], "UniPc", &[("order", &2_usize)]),
    row(&["IPNDMScheduler"], "Ipndm", &[("end_clean", &false)]),
    row(&["LCMScheduler"], "Lcm", &[]),
    row(&["TCDScheduler"], "Tcd", &[]),
    row(
        &["SASolverScheduler"],
        "SaSolver",
        &[
            ("predictor_order", &2_usize),
            ("corrector_order", &2_usize),
            ("habits", &SaHabits::Diffusers),
            ("end", &FinalSigma::Least),
            ("schedule", &OPEN),
        ],
    ),
    row(&["RePaintScheduler"], "RePaint", &[]),
    row(
        &["EDMEulerScheduler"],
        "Euler",
        &[("schedule", &SigmaSchedule::Karras { rho: 7.0 })],
    ),
    row(
        &["EDMDPMSolverMultistepScheduler"],
        "DpmMultistep",
        &[("schedule", &SigmaSchedule::Karras { rho: 7.0 })],
    ),
]);

/// ComfyUI's schedulers in its order, then others'.
const SCHEDULERS: [(&str, Option<SigmaSchedule>); 17] = [
    ("simple", Some(SigmaSchedule::Simple)),
    ("sgm_uniform", Some(SigmaSchedule::SgmUniform)),
    ("karras", Some(SigmaSchedule::Karras { rho: 7.0 })),
    ("exponential", Some(SigmaSchedule::Exponential)),
    ("ddim_uniform", Some(SigmaSchedule::DdimUniform)),
    (
        "beta",
        Some(SigmaSchedule::Beta {
            alpha: 0.6,
            beta: 0.6,
        }),
    ),
    ("normal", Some(SigmaSchedule::Normal)),
    (
        "linear_quadratic",
        Some(SigmaSchedule::LinearQuadratic { threshold: 0.025 }),
    ),
    ("kl_optimal", Some(SigmaSchedule::KlOptimal)),
    (
        "polyexponential",
        Some(SigmaSchedule::PolyExponential { rho: 1.0 }),
    ),
    (
        "laplace",
        Some(SigmaSchedule::Laplace { mu: 0.0, beta: 0.5 }),
    ),
    (
        "align_your_steps",
        Some(SigmaSchedule::AlignYourSteps {
            model: Aligned::Sd1,
        }),
    ),
    (
        "align_your_steps_sdxl",
        Some(SigmaSchedule::AlignYourSteps {
            model: Aligned::Sdxl,
        }),
    ),
    ("leading", Some(SigmaSchedule::Leading { offset: 0 })),
    ("trailing", Some(SigmaSchedule::Trailing)),
    ("linspace", Some(SigmaSchedule::Linspace)),
    ("own", None),
];

fn rows() -> impl Iterator<Item = &'static Row> {
    COMFY_UI.iter().chain(DIFFUSERS.iter())
}

/// A sampler's name in another tool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SamplerName(&'static str);

/// A scheduler's name in another tool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SchedulerName(&'static str);

impl SamplerName {
    /// What stands first in ComfyUI's list.
    pub const EULER: Self = Self("euler");

    /// The name, where it is known.
    pub fn new(name: &str) -> Option<Self> {
        find(&Self::all(), name).map(Self)
    }

    /// What to write for a name that holds a scheduler's too, as A1111's labels did:
    /// `DPM++ 2M Karras`.
    pub fn instead(name: &str) -> Option<String> {
        let breaks = name.match_indices([' ', '_']);
        let (sampler, scheduler) = breaks.rev().find_map(|(at, _)| {
            let scheduler = name[at + 1..].replace(' ', "_");
            Some((Self::new(&name[..at])?, SchedulerName::new(&scheduler)?))
        })?;
        let (sampler, scheduler) = (sampler.0, scheduler.0);
        Some(format!(
            "a sampler and a scheduler are named apart: write `sampler: \"{sampler}\", \
             scheduler: \"{scheduler}\"`"
        ))
    }

    /// Every name that is known: ComfyUI's, A1111's, diffusers'.
    pub fn all() -> Vec<&'static str> {
        rows().flat_map(|row| row.names.iter().copied()).collect()
    }

    /// ComfyUI's names, in its order.
    pub fn comfy_ui() -> Vec<&'static str> {
        COMFY_UI.iter().map(|row| row.names[0]).collect()
    }

    /// The sampler it is, with its own schedule.
    pub fn sampler(self) -> &'static Sampler {
        let row = rows().find(|row| row.names.contains(&self.0));
        &row.expect("only known names are made").sampler
    }

    /// Whether the name is one of diffusers' classes.
    pub fn is_diffusers(self) -> bool {
        DIFFUSERS.iter().any(|row| row.names.contains(&self.0))
    }

    /// The name as text.
    pub fn as_str(self) -> &'static str {
        self.0
    }
}

impl SchedulerName {
    /// Equal strides in time.
    pub const NORMAL: Self = Self("normal");

    /// The name, where it is known.
    pub fn new(name: &str) -> Option<Self> {
        find(&Self::all(), name).map(Self)
    }

    /// What to write for a name that is unknown: nothing is known of such.
    pub fn instead(_name: &str) -> Option<String> {
        None
    }

    /// Every name that is known, ComfyUI's nine first.
    pub fn all() -> Vec<&'static str> {
        SCHEDULERS.iter().map(|(name, _)| *name).collect()
    }

    /// The schedule it is; `None` for the sampler's own.
    pub fn schedule(self) -> Option<SigmaSchedule> {
        let row = SCHEDULERS.iter().find(|(name, _)| *name == self.0);
        row.and_then(|(_, schedule)| schedule.clone())
    }

    /// The name as text.
    pub fn as_str(self) -> &'static str {
        self.0
    }
}

macro_rules! names {
    ($($name:ident),+) => {$(
        impl Part for $name {
            fn kind() -> Kind {
                Kind::Name { known: $name::all, instead: $name::instead }
            }
            fn to_value(&self) -> Value {
                Value::Name(self.0)
            }
            fn of_value(value: &Value) -> Option<Self> {
                match value {
                    Value::Name(name) => Self::new(name),
                    _ => None,
                }
            }
        }
    )+};
}

names!(SamplerName, SchedulerName);

impl Sampler {
    /// The sampler that ComfyUI, A1111 or diffusers know by `name`, with its own schedule.
    ///
    /// ```
    /// use ldm_models::sampler::Sampler;
    /// assert_eq!(Sampler::named("DPM++ 2M"), Sampler::named("dpmpp_2m"));
    /// assert_eq!(Sampler::named("dpmpp_4m"), None);
    /// ```
    pub fn named(name: &str) -> Option<Self> {
        SamplerName::new(name).map(|name| name.sampler().clone())
    }

    /// This on other noise levels; itself where it walks whole timesteps.
    pub fn on(&self, schedule: SigmaSchedule) -> Self {
        self.with("schedule", schedule)
            .unwrap_or_else(|| self.clone())
    }
}

impl SigmaSchedule {
    /// The schedule that ComfyUI knows by `name`, or the one of k-diffusion and diffusers.
    pub fn named(name: &str) -> Option<Self> {
        SchedulerName::new(name).and_then(SchedulerName::schedule)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `comfy/samplers.py` of ComfyUI at a125cd8.
    #[test]
    fn every_name_of_comfyui_is_known_in_its_order() {
        let names = SamplerName::comfy_ui();
        assert_eq!(names.len(), 42);
        assert_eq!((names[0], names[41]), ("euler", "uni_pc_bh2"));
        let schedulers = "simple sgm_uniform karras exponential ddim_uniform beta normal \
                          linear_quadratic kl_optimal";
        let schedulers: Vec<&str> = schedulers.split_whitespace().collect();
        assert_eq!(SchedulerName::all()[..9], schedulers);
    }

    #[test]
    fn every_name_is_a_sampler_within_its_ranges() {
        for name in SamplerName::all() {
            let sampler = Sampler::named(name).unwrap();
            assert_eq!(sampler.check(), Ok(()), "{name}");
        }
        let mut names = SamplerName::all();
        names.sort_unstable();
        names.dedup();
        assert_eq!(
            names.len(),
            SamplerName::all().len(),
            "a name is there twice"
        );
    }

    #[test]
    fn a_label_with_a_scheduler_in_it_is_told_how_to_write_both() {
        for (label, sampler, scheduler) in [
            ("DPM++ 2M Karras", "DPM++ 2M", "karras"),
            ("DPM++ 2M SDE Exponential", "DPM++ 2M SDE", "exponential"),
            ("DPM++ SDE Karras", "DPM++ SDE", "karras"),
            ("Euler SGM Uniform", "Euler", "sgm_uniform"),
            ("dpmpp_2m_karras", "dpmpp_2m", "karras"),
        ] {
            let said = SamplerName::instead(label).unwrap();
            let wanted = format!("`sampler: \"{sampler}\", scheduler: \"{scheduler}\"`");
            assert!(said.ends_with(&wanted), "{said}");
            assert_eq!(SamplerName::new(label), None, "{label}");
        }
        for other in ["DPM++ 4M Karras", "Euler Kerras", "Karras", "Euler  "] {
            assert_eq!(SamplerName::instead(other), None, "{other}");
        }
    }

    #[test]
    fn capitals_make_no_other_name() {
        assert_eq!(SamplerName::new("Euler A").unwrap().as_str(), "Euler a");
        assert_eq!(SamplerName::new("Heun").unwrap().as_str(), "Heun");
        assert_eq!(SamplerName::new("dpm++ 2m").unwrap().as_str(), "DPM++ 2M");
        assert_eq!(SchedulerName::new("Karras").unwrap().as_str(), "karras");
        // Names that only capitals tell apart are of one sampler.
        for name in SamplerName::all() {
            let lower = Sampler::named(&name.to_lowercase());
            assert_eq!(Sampler::named(name), lower, "{name}");
        }
    }

    #[test]
    fn a_schedule_is_set_where_there_are_noise_levels() {
        let karras = SigmaSchedule::named("karras").unwrap();
        let euler = Sampler::named("euler").unwrap().on(karras.clone());
        assert_eq!(
            euler,
            Sampler::Euler {
                churn: super::super::Churn::Off,
                schedule: karras
            }
        );
        let ddim = Sampler::ddim_compvis(0.0);
        assert_eq!(ddim.on(SigmaSchedule::Simple), ddim);
        assert_eq!(SigmaSchedule::named("own"), None);
    }
}
