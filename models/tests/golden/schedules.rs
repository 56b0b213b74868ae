//! Noise levels, zero-terminal SNR and Brownian noise held to recordings of k-diffusion,
//! ComfyUI, diffusers and torchsde (`tests/reference/schedules.py`).
//!
//! Levels ran there in f64, but where a function names f32 itself: those agree to 2e-6 of
//! each, the others to 1e-9. Brownian noise agrees to 2e-5, torch's own f32 bridges being
//! that far from ours in f64.

use burn::tensor::{Device, Tensor};
use ldm_models::sampler::{NoiseSource, Seeded, StepNoise};
use ldm_models::schedule::{
    Aligned, NoiseSchedule, ScheduleConfig, SigmaSchedule, Spacing, ZeroSnr,
};

use crate::recorded::Recording;

fn config() -> ScheduleConfig {
    ScheduleConfig::scaled_linear(0.00085, 0.012)
}

fn table() -> NoiseSchedule {
    config().init().unwrap()
}

/// The schedule that a recorded name means, and how near it must be.
fn known(name: &str) -> Option<(SigmaSchedule, f64)> {
    if let Some(comfyui) = name.strip_prefix("comfyui.") {
        return Some(match comfyui {
            "laplace" => (SigmaSchedule::named("laplace")?, 1e-9),
            "ays_SD1" => (aligned(Aligned::Sd1), 1e-9),
            "ays_SDXL" => (aligned(Aligned::Sdxl), 1e-9),
            // It names torch.float.
            "kl_optimal" => (SigmaSchedule::KlOptimal, 2e-6),
            other => (SigmaSchedule::named(other)?, 1e-9),
        });
    }
    let spaced = |spacing| SigmaSchedule::Spaced { spacing };
    let schedule = match name {
        "k.polyexponential_1.0" => SigmaSchedule::PolyExponential { rho: 1.0 },
        "k.polyexponential_2.0" => SigmaSchedule::PolyExponential { rho: 2.0 },
        "k.vp" => SigmaSchedule::named("vp").unwrap_or(vp()),
        "diffusers.karras" => SigmaSchedule::Karras { rho: 7.0 },
        "diffusers.exponential" | "diffusers.lu_lambdas" => SigmaSchedule::Exponential,
        "diffusers.beta_sigmas" => SigmaSchedule::BetaSigmas {
            alpha: 0.6,
            beta: 0.6,
        },
        "diffusers.flow_1" => SigmaSchedule::Flow { shift: 1.0 },
        "diffusers.flow_3" => SigmaSchedule::Flow { shift: 3.0 },
        "diffusers.linspace" => spaced(Spacing::LinspaceOpen),
        "diffusers.leading" => spaced(Spacing::LeadingOpen { offset: 1 }),
        "diffusers.trailing" => SigmaSchedule::Trailing,
        "diffusers.euler_log_linear" => SigmaSchedule::LogLinear,
        _ => return None,
    };
    Some((schedule, 1e-9))
}

fn vp() -> SigmaSchedule {
    SigmaSchedule::Vp {
        beta_d: 19.9,
        beta_min: 0.1,
        eps_s: 1e-3,
    }
}

fn aligned(model: Aligned) -> SigmaSchedule {
    SigmaSchedule::AlignYourSteps { model }
}

/// Worst difference of our levels from the recorded ones, in parts of each.
fn worst(schedule: &SigmaSchedule, name: &str, steps: usize, want: &[f64]) -> f64 {
    let levels = schedule.levels(steps, &table()).unwrap();
    let mut want = want.to_vec();
    // ComfyUI's Laplace has no last 0; diffusers lists one after `log_linear` that no step
    // goes to; repeats are where no step goes anywhere.
    match name {
        "comfyui.laplace" => want.push(0.0),
        "diffusers.euler_log_linear" => assert_eq!(want.pop(), Some(0.0)),
        _ => {}
    }
    want.dedup();
    assert_eq!(levels.len(), want.len(), "{name} in {steps} steps");
    let flow = name.starts_with("diffusers.flow");
    let apart = levels.iter().zip(want).map(|(level, want)| {
        let got = if flow {
            level.sigma / (1.0 + level.sigma)
        } else {
            level.sigma
        };
        if want == 0.0 {
            got
        } else {
            (got / want - 1.0).abs()
        }
    });
    let worse = |worst: f64, off: f64| worst.max(if off.is_nan() { f64::INFINITY } else { off });
    apart.fold(0.0, worse)
}

#[test]
fn levels_are_those_of_every_tool_under_its_own_name() {
    let file = Recording::open("schedules");
    let (mut tested, mut faults) = (0, Vec::new());
    for key in file.keys() {
        let Some((name, steps)) = key
            .strip_prefix("sd.")
            .and_then(|key| key.rsplit_once(".s"))
        else {
            continue;
        };
        let (Ok(steps), Some((schedule, near))) = (steps.parse(), known(name)) else {
            continue;
        };
        let off = worst(&schedule, name, steps, file.get(key));
        if off > near {
            faults.push(format!("{key}: {off:.1e}"));
        }
        tested += 1;
    }
    assert!(faults.is_empty(), "{faults:#?}");
    assert!(tested >= 155, "{tested}");
}

#[test]
fn a_schedule_with_a_setting_off_by_a_little_is_told_apart() {
    let file = Recording::open("schedules");
    let wrong = [
        ("comfyui.karras", SigmaSchedule::Karras { rho: 7.01 }),
        (
            "comfyui.exponential",
            SigmaSchedule::PolyExponential { rho: 1.001 },
        ),
        (
            "k.polyexponential_2.0",
            SigmaSchedule::PolyExponential { rho: 2.002 },
        ),
        (
            "comfyui.beta",
            SigmaSchedule::Beta {
                alpha: 0.61,
                beta: 0.6,
            },
        ),
        (
            "diffusers.beta_sigmas",
            SigmaSchedule::BetaSigmas {
                alpha: 0.6,
                beta: 0.601,
            },
        ),
        (
            "comfyui.linear_quadratic",
            SigmaSchedule::LinearQuadratic { threshold: 0.0251 },
        ),
        ("comfyui.kl_optimal", SigmaSchedule::Karras { rho: 7.0 }),
        (
            "comfyui.laplace",
            SigmaSchedule::Laplace {
                mu: 0.001,
                beta: 0.5,
            },
        ),
        ("comfyui.ays_SD1", aligned(Aligned::Sdxl)),
        ("comfyui.normal", SigmaSchedule::Linspace),
        ("comfyui.simple", SigmaSchedule::Trailing),
        ("diffusers.flow_3", SigmaSchedule::Flow { shift: 3.003 }),
        ("diffusers.euler_log_linear", SigmaSchedule::SgmUniform),
    ];
    for (name, schedule) in wrong {
        let key = format!("sd.{name}.s7");
        let seen = std::panic::catch_unwind(|| worst(&schedule, name, 7, file.get(&key)));
        assert!(
            !seen.is_ok_and(|off| off < 1e-7),
            "{schedule:?} passes for {name}"
        );
    }
}

#[test]
fn distilled_timesteps_and_nearest_ones_are_diffusers_and_comfyuis() {
    let file = Recording::open("schedules");
    for steps in [2, 5, 7, 10, 20, 30] {
        let want = file.get(&format!("sd.diffusers.distilled.s{steps}"));
        let got = Spacing::Distilled { original: 50 }
            .timesteps(steps, 1000)
            .unwrap();
        let got: Vec<f64> = got.into_iter().map(|t| t as f64).collect();
        assert_eq!(got, want, "{steps} steps");
    }
    let (asked, want) = file.get("sd.comfyui.nearest").split_at(40);
    for (sigma, want) in asked.iter().zip(want) {
        assert_eq!(table().nearest_timestep(*sigma), *want, "{sigma}");
    }
}

#[test]
fn zero_terminal_snr_is_rescaled_as_each_tool_does() {
    let file = Recording::open("schedules");
    let rescaled = |rescale_zero_snr| {
        let config = ScheduleConfig {
            rescale_zero_snr,
            ..config()
        };
        config.init().unwrap()
    };
    let theirs = rescaled(ZeroSnr::Diffusers);
    for (t, want) in file.get("sd.zero_snr.diffusers").iter().enumerate() {
        assert!(
            (theirs.alpha_bar(t) - want).abs() <= 1e-9 * want,
            "ᾱ of {t}"
        );
    }
    assert_eq!(theirs.alpha_bar(999), 0.0);
    assert_eq!(theirs.sigma_max(), (f64::from(1 << 24) - 1.0).sqrt());
    let comfy = rescaled(ZeroSnr::ComfyUi);
    for (t, want) in file.get("sd.zero_snr.comfyui").iter().enumerate() {
        assert!((comfy.sigma(t) / want - 1.0).abs() <= 1e-9, "σ of {t}");
    }
}

#[test]
fn the_levels_of_edm_lie_on_a_line_in_their_logarithm() {
    let file = Recording::open("schedules");
    let edm = ScheduleConfig::edm().init().unwrap();
    for (t, want) in file.get("sd.edm.sigmas").iter().enumerate() {
        assert!((edm.sigma(t) / want - 1.0).abs() <= 1e-9, "σ of {t}");
    }
}

#[test]
fn brownian_noise_is_torchsdes_for_the_seed() {
    let (file, device) = (Recording::open("brownian"), Device::flex());
    let mut tested = 0;
    for seed in [0, 42, (1 << 33) + 5] {
        let range = file.get(&format!("s{seed}.range"));
        let x = Tensor::<4>::zeros([2, 1, 3, 4], &device);
        let mut noise = Seeded::new(seed);
        noise.prepare(StepNoise::Brownian, range[0], range[1], &x);
        for i in 0..8 {
            let levels = file.get(&format!("s{seed}.{i}.levels"));
            let want: Tensor<4> = file.tensor(&format!("s{seed}.{i}.noise"), &device);
            let got = noise.step(&x, levels[0], levels[1]);
            let apart = (got - want).abs().max().into_scalar::<f32>();
            assert!(apart <= 2e-5, "seed {seed}, from {levels:?}: {apart}");
            tested += 1;
        }
    }
    assert_eq!(tested, 24);
}
