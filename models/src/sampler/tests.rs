//! Every sampler against the papers' formulas in f64, with replayed noise.
//!
//! The formulas are written here in another form than in the samplers (DDPM by eq. 11,
//! Euler as a step along ε), so that an error would have to be made twice.
//! Recorded tensors of diffusers and CompVis are in `models/tests/golden`.

use std::cell::{Cell, RefCell};

use burn::tensor::{Device, Tensor, TensorData};

use super::plan::Way;
use super::*;
use crate::choice::Choice;
use crate::noise::Noise;
use crate::prediction::{Denoiser, Network, Prediction};
use crate::schedule::{Level, NoiseSchedule, ScheduleConfig, SigmaSchedule, Spacing};

const SHAPE: [usize; 4] = [2, 3, 4, 4];
const N: usize = 96;

/// In units of the result's standard deviation (design: "Numbers that agree").
const TOLERANCE: f64 = 1e-5;

fn paper() -> NoiseSchedule {
    ScheduleConfig::scaled_linear(0.0015, 0.0195)
        .init()
        .unwrap()
}

/// ε of a made-up network: depends on the state and on the timestep.
fn eps(x: f64, t: f64) -> f64 {
    0.6 * x + 0.3 * (t / 90.0).sin()
}

fn fake(x: Tensor<4>, t: f64) -> Tensor<4> {
    x * 0.6 + 0.3 * (t / 90.0).sin()
}

fn tensor(values: &[f64]) -> Tensor<4> {
    let values: Vec<f32> = values.iter().map(|&v| v as f32).collect();
    Tensor::from_data(TensorData::new(values, SHAPE), &Device::flex())
}

fn values(x: Tensor<4>) -> Vec<f64> {
    x.into_data().iter::<f64>().collect()
}

/// Recorded draws, to be replayed on both sides.
fn draws(count: usize) -> Vec<Vec<f64>> {
    let mut noise = Noise::new(11);
    (0..count)
        .map(|_| noise.randn(&[N]).into_iter().map(f64::from).collect())
        .collect()
}

fn silent(_: Step<'_>) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

/// What the sampler makes of the recorded draws, from zeros.
fn run(sampler: &Sampler, schedule: &NoiseSchedule, walk: Walk, latent: &[f64]) -> Vec<f64> {
    let mut recorded = draws(60).into_iter();
    let mut draw = |_: &Tensor<4>| tensor(&recorded.next().expect("enough were recorded"));
    let model = Denoiser::new(&fake, schedule, Prediction::Epsilon);
    values(
        sampler
            .sample(&model, tensor(latent), walk, &mut draw, &mut silent)
            .unwrap(),
    )
}

/// The largest difference in units of the standard deviation of `want`.
fn error(got: &[f64], want: &[f64]) -> f64 {
    let mean = want.iter().sum::<f64>() / want.len() as f64;
    let var = want.iter().map(|w| (w - mean) * (w - mean)).sum::<f64>() / want.len() as f64;
    let most = got
        .iter()
        .zip(want)
        .map(|(g, w)| (g - w).abs())
        .fold(0.0, f64::max);
    most / var.sqrt()
}

/// Walks each value by itself through `step(x, i, noise)`, which gives the next x.
fn by_hand(
    start: impl Fn(f64) -> f64,
    steps: usize,
    step: impl Fn(f64, usize, f64) -> f64,
) -> Vec<f64> {
    let draws = draws(steps + 1);
    let walk = |k: usize| (0..steps).fold(start(draws[0][k]), |x, i| step(x, i, draws[i + 1][k]));
    (0..N).map(walk).collect()
}

/// Eq. 11 and 6 of Ho et al., then Algorithm 2, over `times`.
fn ddpm_by_hand(s: &NoiseSchedule, times: &[usize], large: bool) -> Vec<f64> {
    by_hand(
        |z| z,
        times.len(),
        |x, i, z| {
            let t = times[i];
            let a = s.alpha_bar(t);
            let a_p = times.get(i + 1).map_or(1.0, |&p| s.alpha_bar(p));
            let (alpha, beta) = (a / a_p, 1.0 - a / a_p);
            let mean = (x - beta / (1.0 - a).sqrt() * eps(x, t as f64)) / alpha.sqrt();
            let var = if large {
                beta
            } else {
                beta * (1.0 - a_p) / (1.0 - a)
            };
            if i + 1 < times.len() {
                mean + var.sqrt() * z
            } else {
                mean
            }
        },
    )
}

/// Eq. 12 and 16 of Song et al. over `times`, landing on `end`.
fn ddim_by_hand(s: &NoiseSchedule, times: &[usize], eta: f64, end: f64) -> Vec<f64> {
    by_hand(
        |z| z,
        times.len(),
        |x, i, z| {
            let t = times[i];
            let a = s.alpha_bar(t);
            let a_p = times.get(i + 1).map_or(end, |&p| s.alpha_bar(p));
            let e = eps(x, t as f64);
            let sigma = eta * ((1.0 - a_p) / (1.0 - a)).sqrt() * (1.0 - a / a_p).sqrt();
            let x0 = (x - (1.0 - a).sqrt() * e) / a.sqrt();
            a_p.sqrt() * x0 + (1.0 - a_p - sigma * sigma).max(0.0).sqrt() * e + sigma * z
        },
    )
}

/// dx = ε dσ to σ↓, then noise of σ↑.
fn euler_by_hand(levels: &[Level], eta: f64, s_noise: f64) -> Vec<f64> {
    by_hand(
        |z| z * (1.0 + levels[0].sigma.powi(2)).sqrt(),
        levels.len() - 1,
        |x, i, z| {
            let (sigma, next) = (levels[i].sigma, levels[i + 1].sigma);
            let e = eps(x / (1.0 + sigma * sigma).sqrt(), levels[i].t);
            let up = eta * next * (1.0 - next * next / (sigma * sigma)).sqrt();
            x + e * ((next * next - up * up).sqrt() - sigma) + z * up * s_noise
        },
    )
}

const ZEROS: [f64; N] = [0.0; N];

fn usual(name: &str) -> Sampler {
    Sampler::usual(name).unwrap()
}

fn euler_on(schedule: SigmaSchedule) -> Sampler {
    usual("Euler").on(schedule)
}

fn ancestral_of(eta: f64, s_noise: f64, schedule: SigmaSchedule) -> Sampler {
    let sampler = usual("EulerAncestral").with("eta", eta).unwrap();
    sampler.with("s_noise", s_noise).unwrap().on(schedule)
}

#[test]
fn ddpm_follows_the_posterior_of_ho_et_al() {
    let s = paper();
    for (variance, large) in [(Variance::Small, false), (Variance::Large, true)] {
        for spacing in [Spacing::CompVis, Spacing::Linspace, Spacing::Trailing] {
            let times = spacing.timesteps(12, 1000).unwrap();
            let got = run(
                &Sampler::Ddpm { variance, spacing },
                &s,
                Walk::whole(12),
                &ZEROS,
            );
            let off = error(&got, &ddpm_by_hand(&s, &times, large));
            assert!(off <= TOLERANCE, "{variance:?} {spacing:?}: {off}");
        }
    }
}

#[test]
fn ddim_follows_song_et_al_for_every_eta_and_both_ends() {
    let s = paper();
    for eta in [0.0, 0.3, 1.0] {
        for (sampler, end) in [
            (Sampler::ddim_compvis(eta), s.alpha_bar(0)),
            (Sampler::ddim_diffusers(eta), 1.0),
        ] {
            let Sampler::Ddim { spacing, .. } = sampler else {
                panic!("a Ddim")
            };
            let times = spacing.timesteps(20, 1000).unwrap();
            let got = run(&sampler, &s, Walk::whole(20), &ZEROS);
            let off = error(&got, &ddim_by_hand(&s, &times, eta, end));
            assert!(off <= TOLERANCE, "{sampler:?}: {off}");
        }
    }
}

#[test]
fn euler_and_its_ancestral_form_follow_the_ode() {
    let s = paper();
    for schedule in [SigmaSchedule::Normal, SigmaSchedule::Karras { rho: 7.0 }] {
        let levels = schedule.levels(15, &s).unwrap();
        let euler = euler_on(schedule.clone());
        let got = run(&euler, &s, Walk::whole(15), &ZEROS);
        let off = error(&got, &euler_by_hand(&levels, 0.0, 0.0));
        assert!(off <= TOLERANCE, "{schedule:?}: {off}");
        for (eta, s_noise) in [(1.0, 1.0), (0.5, 1.0), (1.0, 1.1), (0.0, 1.0)] {
            let sampler = ancestral_of(eta, s_noise, schedule.clone());
            let got = run(&sampler, &s, Walk::whole(15), &ZEROS);
            let off = error(&got, &euler_by_hand(&levels, eta, s_noise));
            assert!(off <= TOLERANCE, "{sampler:?}: {off}");
        }
    }
}

/// A sampler that were wrong by a little would be caught: each of these is.
#[test]
fn a_small_change_in_any_sampler_is_far_outside_the_tolerance() {
    let s = paper();
    let bent = NoiseSchedule::from_alpha_bars((0..1000).map(|t| s.alpha_bar(t) * 0.99).collect());
    let bent = bent.unwrap();
    let walk = Walk::whole(20);
    let levels = SigmaSchedule::Normal;
    let ancestral = |eta, s_noise| ancestral_of(eta, s_noise, levels.clone());
    let ddpm = |variance, spacing| Sampler::Ddpm { variance, spacing };
    let ddim = |eta, spacing, end| Sampler::Ddim { eta, spacing, end };
    let (small, compvis) = (Variance::Small, Spacing::CompVis);
    let offset = Spacing::Leading { offset: 2 };
    let pairs = [
        (ddpm(small, compvis), ddpm(Variance::Large, compvis)),
        (ddpm(small, compvis), ddpm(small, offset)),
        (Sampler::ddim_compvis(0.5), Sampler::ddim_compvis(0.505)),
        (
            Sampler::ddim_compvis(0.0),
            ddim(0.0, compvis, FinalAlpha::One),
        ),
        (
            Sampler::ddim_compvis(0.0),
            ddim(0.0, offset, FinalAlpha::First),
        ),
        (ancestral(1.0, 1.0), ancestral(0.99, 1.0)),
        (ancestral(1.0, 1.0), ancestral(1.0, 1.01)),
        (
            euler_on(SigmaSchedule::Karras { rho: 7.0 }),
            euler_on(SigmaSchedule::Karras { rho: 7.07 }),
        ),
    ];
    for (right, wrong) in pairs {
        let want = run(&right, &s, walk, &ZEROS);
        let off = error(&run(&wrong, &s, walk, &ZEROS), &want);
        assert!(
            off > 10.0 * TOLERANCE,
            "{wrong:?} passes for {right:?}: {off}"
        );
        let off = error(&run(&right, &bent, walk, &ZEROS), &want);
        assert!(
            off > 10.0 * TOLERANCE,
            "{right:?} does not feel its ᾱ: {off}"
        );
    }
}

#[test]
fn ddim_without_noise_is_euler_in_another_measure() {
    let s = paper();
    let spacing = Spacing::Leading { offset: 1 };
    let ddim = Sampler::Ddim {
        eta: 0.0,
        spacing,
        end: FinalAlpha::One,
    };
    let euler = euler_on(SigmaSchedule::Leading { offset: 1 });
    let walk = Walk::whole(25);
    let want = run(&euler, &s, walk, &ZEROS);
    let off = error(&run(&ddim, &s, walk, &ZEROS), &want);
    assert!(off <= TOLERANCE, "{off}");
}

#[test]
fn ddpm_ddim_of_eta_one_and_ancestral_euler_are_one_sampler() {
    let s = paper();
    let spacing = Spacing::Leading { offset: 1 };
    let walk = Walk::whole(25);
    let ddpm = run(
        &Sampler::Ddpm {
            variance: Variance::Small,
            spacing,
        },
        &s,
        walk,
        &ZEROS,
    );
    let ddim = Sampler::Ddim {
        eta: 1.0,
        spacing,
        end: FinalAlpha::One,
    };
    let off = error(&run(&ddim, &s, walk, &ZEROS), &ddpm);
    assert!(off <= TOLERANCE, "ddim {off}");
    let schedule = SigmaSchedule::Leading { offset: 1 };
    let ancestral = ancestral_of(1.0, 1.0, schedule);
    let off = error(&run(&ancestral, &s, walk, &ZEROS), &ddpm);
    assert!(off <= TOLERANCE, "ancestral {off}");
}

/// Every sampler with its usual settings, but those that want a mask or go the other way.
fn all() -> Vec<Sampler> {
    let names = Sampler::variants().iter().map(|variant| variant.name);
    names
        .filter(|name| !["RePaint", "DdimInverse"].contains(name))
        .map(usual)
        .collect()
}

#[test]
fn a_network_that_knows_the_answer_is_led_to_it() {
    let s = paper();
    let answer = values(Noise::new(5).tensor(SHAPE, &Device::flex()));
    let network = |_: Tensor<4>, _: f64| tensor(&answer);
    let model = Denoiser::new(&network, &s, Prediction::X0);
    let one = Sampler::Ddim {
        eta: 0.0,
        spacing: Spacing::CompVis,
        end: FinalAlpha::One,
    };
    // These leave a trace of noise.
    let traces = [
        "Ddim",
        "Plms",
        "Pndm",
        "Tcd",
        "DpmFast",
        "DpmAdaptive",
        "Lcm",
    ];
    let traces: Vec<Sampler> = traces.into_iter().map(usual).collect();
    let clean = all().into_iter().filter(|s| !traces.contains(s));
    for sampler in clean.chain([one]) {
        let mut noise = Noise::new(6);
        let mut draw = |x: &Tensor<4>| noise.like(x);
        let latent = Tensor::zeros(SHAPE, &Device::flex());
        let x = sampler
            .sample(&model, latent, Walk::whole(10), &mut draw, &mut silent)
            .unwrap();
        let off = error(&values(x), &answer);
        assert!(off <= TOLERANCE, "{sampler:?}: {off}");
    }
}

#[test]
fn the_callback_hears_of_every_network_call_in_order() {
    let s = paper();
    let adaptive = usual("DpmAdaptive");
    for sampler in all().into_iter().filter(|s| *s != adaptive) {
        for walk in [
            Walk::whole(7),
            Walk {
                steps: 7,
                denoise: 0.5,
            },
        ] {
            let calls = Cell::new(0);
            let network = |x: Tensor<4>, t: f64| {
                calls.set(calls.get() + 1);
                fake(x, t)
            };
            let mut heard = Vec::new();
            let mut on_step = |step: Step<'_>| {
                assert_eq!(step.clean.dims(), SHAPE);
                assert_eq!(calls.get(), step.index + 1, "told right after its call");
                heard.push((step.index, step.of));
                ControlFlow::Continue(())
            };
            let model = Denoiser::new(&network, &s, Prediction::Epsilon);
            let mut noise = Noise::new(1);
            let mut draw = |x: &Tensor<4>| noise.like(x);
            let latent = Tensor::zeros(SHAPE, &Device::flex());
            sampler
                .sample(&model, latent, walk, &mut draw, &mut on_step)
                .unwrap();
            let of = sampler.calls(walk, &s).unwrap();
            assert_eq!(calls.get(), of, "{sampler:?}");
            assert_eq!(heard, (0..of).map(|i| (i, of)).collect::<Vec<_>>());
        }
    }
}

/// Notes what it is told of a walk before and what it is then asked.
#[derive(Default)]
struct Asked {
    ahead: RefCell<Vec<f64>>,
    asked: RefCell<Vec<f64>>,
}

impl Network for Asked {
    fn predict(&self, x: Tensor<4>, t: f64) -> Tensor<4> {
        self.asked.borrow_mut().push(t);
        x * 0.5
    }

    fn ahead(&self, timesteps: &[f64]) {
        assert!(self.asked.borrow().is_empty(), "before the walk");
        self.ahead.replace(timesteps.to_vec());
    }
}

#[test]
fn a_network_knows_ahead_at_which_timesteps_it_will_be_asked() {
    let (s, walk) = (paper(), Walk::whole(9));
    for prediction in [Prediction::Epsilon, Prediction::Edm] {
        for sampler in all() {
            let network = Asked::default();
            let model = Denoiser::new(&network, &s, prediction);
            let latent = Tensor::zeros(SHAPE, &Device::flex());
            let mut draw = |x: &Tensor<4>| x.ones_like();
            let walked = sampler.sample(&model, latent, walk, &mut draw, &mut silent);
            walked.unwrap();
            let (ahead, asked) = (network.ahead.take(), network.asked.take());
            assert_eq!(ahead[0], asked[0], "{sampler:?}");
            // Those of one call a step go nowhere else.
            let stops = match sampler.way(walk, &s).unwrap() {
                Way::Times(times, _) => times.len(),
                Way::Levels(levels) => levels.iter().filter(|level| level.sigma > 0.0).count(),
            };
            if asked.len() == stops && !matches!(sampler, Sampler::DpmFast { .. }) {
                assert_eq!(ahead, asked, "{sampler:?}");
            }
        }
    }
}

#[test]
fn a_stop_ends_the_walk_at_that_step() {
    let s = paper();
    for sampler in all() {
        let calls = Cell::new(0);
        let network = |x: Tensor<4>, t: f64| {
            calls.set(calls.get() + 1);
            fake(x, t)
        };
        let model = Denoiser::new(&network, &s, Prediction::Epsilon);
        let mut noise = Noise::new(1);
        let mut draw = |x: &Tensor<4>| noise.like(x);
        let mut on_step = |step: Step<'_>| match step.index {
            3 => ControlFlow::Break(()),
            _ => ControlFlow::Continue(()),
        };
        let latent = Tensor::zeros(SHAPE, &Device::flex());
        let got = sampler.sample(&model, latent, Walk::whole(20), &mut draw, &mut on_step);
        assert_eq!(got.err(), Some(SampleError::Stopped(Stopped)));
        assert_eq!(calls.get(), 4);
    }
}

#[test]
fn noise_is_drawn_before_the_first_step_and_then_only_where_it_counts() {
    let s = paper();
    let count = |sampler: Sampler| {
        let drawn = Cell::new(0);
        let mut draw = |x: &Tensor<4>| {
            drawn.set(drawn.get() + 1);
            x.zeros_like()
        };
        let model = Denoiser::new(&fake, &s, Prediction::Epsilon);
        let latent = Tensor::zeros(SHAPE, &Device::flex());
        sampler
            .sample(&model, latent, Walk::whole(10), &mut draw, &mut silent)
            .unwrap();
        drawn.get()
    };
    let ddim = Sampler::ddim_compvis(0.5);
    let [ddpm, euler, ancestral] = ["Ddpm", "Euler", "EulerAncestral"].map(usual);
    assert_eq!(
        (count(ddpm), count(ddim), count(euler), count(ancestral)),
        (10, 11, 1, 10)
    );
    assert_eq!(count(Sampler::ddim_compvis(0.0)), 1);
}

#[test]
fn denoise_walks_the_last_steps_of_a_longer_way() {
    let s = paper();
    let leading = Spacing::Leading { offset: 1 };
    let half = Walk {
        steps: 10,
        denoise: 0.5,
    }
    .timesteps(leading, &s)
    .unwrap();
    assert_eq!(half, leading.timesteps(20, 1000).unwrap()[10..]);
    // 20 / 0.3 = 66.67: the way is laid out for 66.
    let third = Walk {
        steps: 20,
        denoise: 0.3,
    }
    .levels(&SigmaSchedule::Normal, &s)
    .unwrap();
    assert_eq!(third, SigmaSchedule::Normal.levels(66, &s).unwrap()[46..]);
    assert_eq!((third.len(), third[20]), (21, Level::CLEAN));
    // CompVis lays out 167 steps for 150; the last 75 are walked.
    let compvis = Walk {
        steps: 75,
        denoise: 0.5,
    }
    .timesteps(Spacing::CompVis, &s)
    .unwrap();
    assert_eq!((compvis.len(), compvis[74]), (75, 1));
    let none = Walk {
        steps: 10,
        denoise: 0.0,
    };
    assert!(none.timesteps(leading, &s).unwrap().is_empty());
    assert_eq!(
        none.levels(&SigmaSchedule::Normal, &s).unwrap(),
        [Level::CLEAN]
    );
}

/// The state handed to the network's first call, as variance preserving.
fn first_state(sampler: &Sampler, walk: Walk, latent: &[f64]) -> Option<(Vec<f64>, f64)> {
    let s = paper();
    let first = RefCell::new(None);
    let network = |x: Tensor<4>, t: f64| {
        first
            .borrow_mut()
            .get_or_insert_with(|| (values(x.clone()), t));
        fake(x, t)
    };
    let model = Denoiser::new(&network, &s, Prediction::Epsilon);
    let mut recorded = draws(60).into_iter();
    let mut draw = |_: &Tensor<4>| tensor(&recorded.next().expect("enough were recorded"));
    let x = sampler
        .sample(&model, tensor(latent), walk, &mut draw, &mut silent)
        .unwrap();
    if walk.denoise == 0.0 {
        assert_eq!(values(x), latent, "nothing is done");
        assert_eq!(recorded.len(), 60, "nothing is drawn");
    }
    first.into_inner()
}

#[test]
fn a_walk_starts_from_plain_noise_or_from_the_latent_noised_to_its_first_step() {
    let s = paper();
    let latent = values(Noise::new(8).tensor(SHAPE, &Device::flex()));
    let z = &draws(1)[0];
    // The state is known by the timestep told: of samplers that tell it as it is.
    let exact = |sampler: &Sampler| sampler.told() == Told::Between;
    for sampler in all().into_iter().filter(exact) {
        let (x, _) = first_state(&sampler, Walk::whole(10), &ZEROS).unwrap();
        assert!(
            error(&x, z) <= TOLERANCE,
            "{sampler:?} starts from the noise itself"
        );
        let walk = Walk {
            steps: 10,
            denoise: 0.6,
        };
        let (x, t) = first_state(&sampler, walk, &latent).unwrap();
        let a = 1.0 / (1.0 + s.sigma_between(t).powi(2));
        let want: Vec<f64> = latent
            .iter()
            .zip(z)
            .map(|(x0, z)| a.sqrt() * x0 + (1.0 - a).sqrt() * z)
            .collect();
        assert!(
            error(&x, &want) <= TOLERANCE,
            "{sampler:?} starts at timestep {t}"
        );
        assert!(
            (500.0..700.0).contains(&t),
            "{sampler:?} starts at timestep {t}"
        );
        assert_eq!(
            first_state(
                &sampler,
                Walk {
                    steps: 10,
                    denoise: 0.0
                },
                &latent
            ),
            None
        );
    }
}

#[test]
fn a_setting_out_of_range_is_an_error_before_any_work() {
    let s = paper();
    let says = |sampler: Sampler, walk: Walk, want: &str| {
        let got = sampler.calls(walk, &s).unwrap_err().to_string();
        assert!(got.contains(want), "{got}");
    };
    let euler = usual("Euler");
    let walk = Walk::whole(10);
    says(
        Sampler::ddim_compvis(1.5),
        walk,
        "`eta` is 1.5, but it must lie in 0..=1",
    );
    says(Sampler::ddim_compvis(f64::NAN), walk, "`eta` is NaN");
    says(
        euler.clone(),
        Walk {
            steps: 10,
            denoise: f64::NAN,
        },
        "`denoise` is NaN",
    );
    says(
        euler.clone(),
        Walk {
            steps: 10,
            denoise: 1.01,
        },
        "`denoise` is 1.01",
    );
    says(euler.clone(), Walk::whole(0), "0 steps");
    says(
        Sampler::ddim_compvis(0.0),
        Walk::whole(1001),
        "1001 steps do not fit 1000 timesteps",
    );
    let faint = Walk {
        steps: 50,
        denoise: 0.01,
    };
    says(
        Sampler::ddim_compvis(0.0),
        faint,
        "a walk of 5000, but this sampler has 1000 timesteps",
    );
    assert_eq!(
        euler.calls(faint, &s),
        Ok(50),
        "between timesteps there is room"
    );
    let most = Walk {
        steps: 1000,
        denoise: 1e-300,
    };
    says(euler, most, "raise `denoise`");
}

#[test]
fn settings_that_leave_no_step_to_take_are_refused_before_any_work() {
    let said = |sampler: &Sampler| sampler.check().unwrap_err().to_string();
    let churn = |s_tmin, s_tmax| Churn::On {
        s_churn: 40.0,
        s_tmin,
        s_tmax,
        s_noise: 1.0,
    };
    for name in ["Euler", "Heun", "HeunPp2", "Dpm2"] {
        let on = |churn: Churn| usual(name).with("churn", churn).unwrap();
        let crossed = said(&on(churn(4.0, 1.0)));
        assert!(
            crossed.contains("`s_tmin` up to a lower `s_tmax`"),
            "{crossed}"
        );
        assert_eq!(on(churn(1.0, 1.0)).check(), Ok(()));
    }
    let seeds = |r1: f64, r2: f64| {
        let seeds = usual("Seeds3").with("r1", r1).unwrap();
        seeds.with("r2", r2).unwrap()
    };
    assert!(said(&seeds(0.5, 0.5)).contains("give `r1` below `r2`"));
    assert!(seeds(0.6, 0.5).check().is_err());
    assert_eq!(seeds(0.5, 0.6).check(), Ok(()));
}

#[test]
fn ddim_leads_back_what_it_led_to_noise() {
    let s = paper();
    let eps = Noise::new(5).tensor(SHAPE, &Device::flex());
    let network = |_: Tensor<4>, _: f64| eps.clone();
    let model = Denoiser::new(&network, &s, Prediction::Epsilon);
    let latent: Tensor<4> = Noise::new(8).tensor(SHAPE, &Device::flex());
    let mut none = |_: &Tensor<4>| -> Tensor<4> { panic!("nothing is drawn") };
    let inverse = usual("DdimInverse");
    let walk = Walk::whole(20);
    let noise = inverse.sample(&model, latent.clone(), walk, &mut none, &mut silent);
    let mut start = Some(noise.unwrap());
    let mut draw = |_: &Tensor<4>| start.take().expect("the start alone is drawn");
    let zeros = Tensor::zeros(SHAPE, &Device::flex());
    let ddim = Sampler::ddim_diffusers(0.0);
    let back = ddim
        .sample(&model, zeros, walk, &mut draw, &mut silent)
        .unwrap();
    let off = error(&values(back), &values(latent));
    // The way down multiplies the rounding of the way up by 1/√ᾱ.
    assert!(off <= 1e-4, "{off}");
}

#[test]
fn repaint_keeps_what_no_mask_covers_and_wants_a_mask() {
    let s = paper();
    let sampler = usual("RePaint").with("jump_length", 3_usize).unwrap();
    let model = Denoiser::new(&fake, &s, Prediction::Epsilon);
    let latent: Tensor<4> = Noise::new(8).tensor(SHAPE, &Device::flex());
    let ones = |columns| Tensor::ones([1, 1, 4, columns], &Device::flex());
    let mask = Tensor::cat(vec![ones(3) * 0.0, ones(1)], 3);
    let start = Start {
        latent: latent.clone(),
        mask: Some(mask),
    };
    let mut noise = Seeded::new(3);
    let x = sampler
        .sample(&model, start, Walk::whole(9), &mut noise, &mut silent)
        .unwrap();
    let left = |x: Tensor<4>| x.narrow(3, 0, 3);
    let kept = (left(x.clone()) - left(latent.clone()))
        .abs()
        .max()
        .into_scalar::<f32>();
    assert_eq!(kept, 0.0);
    let anew = (x - latent.clone()).abs().max().into_scalar::<f32>();
    assert!(anew > 0.1, "{anew}");
    let got = sampler.sample(&model, latent, Walk::whole(9), &mut noise, &mut silent);
    assert_eq!(got.err(), Some(SampleError::NoMask));
}

#[test]
fn steps_draw_from_the_stream_that_was_asked_for() {
    let x = Tensor::<4>::zeros(SHAPE, &Device::flex());
    let drawn = |how: StepNoise| {
        let mut noise = Seeded::new(42);
        let start = values(noise.start(&x));
        noise.prepare(how, 0.03, 14.6, &x);
        (start, values(noise.step(&x, 14.6, 3.0)))
    };
    let stream = |seed| {
        let mut noise = Noise::new(seed);
        [(); 2].map(|()| values(noise.like(&x)))
    };
    let [first, second] = stream(42);
    assert_eq!(drawn(StepNoise::Continue), (first.clone(), second));
    assert_eq!(
        drawn(StepNoise::Fresh { plus: 0 }),
        (first.clone(), first.clone())
    );
    assert_eq!(
        drawn(StepNoise::Fresh { plus: 1 }),
        (first.clone(), stream(43)[0].clone())
    );
    assert_eq!(drawn(StepNoise::Brownian).0, first);
}

/// Walks that end: on a network whose answer is no number, and on one that never settles.
#[test]
fn the_adaptive_sampler_gives_up_where_no_step_is_short_enough() {
    let s = paper();
    let sampler = usual("DpmAdaptive");
    let latent = || Tensor::<4>::zeros(SHAPE, &Device::flex());
    let nan = |x: Tensor<4>, _: f64| x * f64::NAN;
    let model = Denoiser::new(&nan, &s, Prediction::Epsilon);
    let got = sampler.sample(
        &model,
        latent(),
        Walk::whole(9),
        &mut Seeded::new(1),
        &mut silent,
    );
    assert_eq!(got.err(), Some(SampleError::NoNumber));
    let wild = Cell::new(1.0);
    let network = |x: Tensor<4>, _: f64| {
        wild.set(-wild.get());
        x * (1e6 * wild.get())
    };
    let model = Denoiser::new(&network, &s, Prediction::Epsilon);
    let got = sampler.sample(
        &model,
        latent(),
        Walk::whole(9),
        &mut Seeded::new(1),
        &mut silent,
    );
    assert!(matches!(
        got,
        Err(SampleError::Unsettled | SampleError::NoNumber)
    ));
}

#[test]
fn a_name_stands_for_its_sampler_on_its_schedule_told_whole_timesteps() {
    let s = paper();
    let seen = RefCell::new(Vec::new());
    let network = |x: Tensor<4>, t: f64| {
        seen.borrow_mut().push(t);
        fake(x, t)
    };
    let model = Denoiser::new(&network, &s, Prediction::Epsilon);
    let named = usual("Named")
        .with("sampler", SamplerName::new("dpm_2").unwrap())
        .unwrap();
    let named = named
        .with("scheduler", SchedulerName::new("karras").unwrap())
        .unwrap();
    let mut noise = Seeded::new(3);
    let latent = Tensor::zeros(SHAPE, &Device::flex());
    named
        .sample(&model, latent, Walk::whole(5), &mut noise, &mut silent)
        .unwrap();
    let seen = seen.into_inner();
    assert!(seen.iter().all(|t| t.fract() == 0.0), "{seen:?}");
    // Six levels were laid out and the last above 0 left out.
    let karras = SigmaSchedule::Karras { rho: 7.0 }.levels(6, &s).unwrap();
    let wanted = karras[..5]
        .iter()
        .map(|level| s.nearest_timestep(level.sigma));
    assert_eq!(
        seen.iter().copied().step_by(2).collect::<Vec<_>>(),
        wanted.collect::<Vec<_>>()
    );
}
