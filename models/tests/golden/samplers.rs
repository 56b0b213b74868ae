//! Noise, schedules and samplers held to recordings of torch, diffusers, CompVis and
//! k-diffusion (`tests/reference/{noise,schedules,samplers}.py`).
//!
//! The samplers ran there in f64. Ours, in f32, must stay within max(4 × the error of
//! torch's own f32 run, 1e-5) of each state's standard deviation, at every step; noise
//! within 1e-6; tables, made in f64 on both sides, within 1e-9 of themselves.

use std::cell::{Cell, RefCell};
use std::ops::ControlFlow;

use burn::tensor::{Device, Tensor, TensorData};
use ldm_models::guidance::{Condition, Ground, Guidance, Guided};
use ldm_models::noise::Noise;
use ldm_models::prediction::{Denoiser, Network, Prediction};
use ldm_models::sampler::{
    Churn, Run as Walking, Step, Variance, ddim, ddpm, euler, euler_ancestral,
};
use ldm_models::schedule::{Betas, Level, NoiseSchedule, ScheduleConfig, SigmaSchedule, Spacing};
use ldm_models::unet::Told;

use crate::recorded::Recording;

#[test]
fn noise_is_torchs_for_several_seeds_sizes_batches_and_calls() {
    let file = Recording::open("noise");
    let mut streams = std::collections::HashMap::new();
    let (mut tested, mut worst) = (0, 0.0f64);
    for key in file.keys() {
        let want = file.get(key);
        let parts: Vec<&str> = key.split('.').collect();
        let seed: u64 = parts[0][1..].parse().unwrap();
        let got = match parts[1..] {
            // Calls of one generator, one after the other; their names sort in order.
            [call, _] if call.starts_with("calls") => {
                let stream = streams.entry(seed).or_insert_with(|| Noise::new(seed));
                stream.randn(&[want.len()])
            }
            [size] => match size.split_at(1) {
                ("n", n) => Noise::new(seed).randn(&[n.parse().unwrap()]),
                (_, dims) => {
                    let shape: Vec<usize> = dims.split('x').map(|d| d.parse().unwrap()).collect();
                    Noise::new(seed).randn(&shape)
                }
            },
            _ => panic!("what is `{key}`?"),
        };
        assert_eq!(got.len(), want.len(), "{key}");
        let apart = got.iter().zip(want).map(|(&g, w)| (f64::from(g) - w).abs());
        let apart = apart.fold(0.0, f64::max);
        assert!(apart <= 1e-6, "{key}: {apart}");
        (tested, worst) = (tested + 1, worst.max(apart));
    }
    assert!(tested >= 50, "{tested} draws, the worst {worst} apart");
}

/// Asserts that two lists agree to 1e-9 of each number.
fn same(what: &str, got: &[f64], want: &[f64]) {
    assert_eq!(got.len(), want.len(), "{what}: how many");
    for (i, (g, w)) in got.iter().zip(want).enumerate() {
        assert!(
            (g - w).abs() <= 1e-9 * w.abs(),
            "{what}[{i}]: {g} is not {w}"
        );
    }
}

/// `0.0015_0.0195` as two numbers.
fn pair(text: &str) -> (f64, f64) {
    let (start, end) = text.split_once('_').unwrap();
    (start.parse().unwrap(), end.parse().unwrap())
}

fn paper() -> NoiseSchedule {
    ScheduleConfig::scaled_linear(0.0015, 0.0195)
        .init()
        .unwrap()
}

#[test]
fn alphas_and_sigmas_are_those_of_compvis_and_k_diffusion() {
    let file = Recording::open("schedules");
    let mut tested = 0;
    for key in file.keys().filter(|key| key.starts_with("compvis.")) {
        let (name, rest) = key["compvis.".len()..].split_once('.').unwrap();
        let (numbers, table) = rest.rsplit_once('.').unwrap();
        let (start, end) = pair(numbers);
        let betas = Betas::from_compvis(name, start, end).unwrap();
        let config = ScheduleConfig {
            betas,
            ..ScheduleConfig::scaled_linear(start, end)
        };
        let schedule = config.init().unwrap();
        let got: Vec<f64> = match table {
            "alphas_cumprod" => (0..1000).map(|t| schedule.alpha_bar(t)).collect(),
            "sigmas" => (0..1000).map(|t| schedule.sigma(t)).collect(),
            "betas" => (0..1000)
                .map(|t| {
                    1.0 - schedule.alpha_bar(t)
                        / if t > 0 {
                            schedule.alpha_bar(t - 1)
                        } else {
                            1.0
                        }
                })
                .collect(),
            _ => panic!("what is `{key}`?"),
        };
        same(key, &got, file.get(key));
        tested += 1;
    }
    assert!(tested >= 15, "{tested}");
}

#[test]
fn diffusers_f32_alphas_drift_by_no_more_than_we_say() {
    let file = Recording::open("schedules");
    for key in file.keys().filter(|key| key.starts_with("diffusers.")) {
        let (_, rest) = key["diffusers.".len()..].split_once('.').unwrap();
        let (start, end) = pair(rest.strip_suffix(".alphas_cumprod").unwrap());
        let schedule = ScheduleConfig::scaled_linear(start, end).init().unwrap();
        let drift = file.get(key).iter().enumerate();
        let drift = drift
            .map(|(t, a)| (a / schedule.alpha_bar(t) - 1.0).abs())
            .fold(0.0, f64::max);
        assert!(drift <= 2e-6, "{key}: {drift}");
    }
}

#[test]
fn timesteps_are_those_of_compvis_and_diffusers() {
    let file = Recording::open("schedules");
    let mut tested = 0;
    let keys = file
        .keys()
        .filter_map(|key| Some((key, key.strip_prefix("ddim.")?)));
    for (key, name) in keys {
        let Some((kind, steps)) = name.rsplit_once(".s") else {
            continue;
        };
        let (Ok(steps), want) = (steps.parse::<usize>(), file.get(key)) else {
            continue;
        };
        let spacing = match kind {
            "compvis.uniform" => Spacing::CompVis,
            "compvis.quad" => Spacing::Quad,
            "diffusers.leading" => Spacing::Leading { offset: 1 },
            "diffusers.trailing" => Spacing::Trailing,
            // Of one step diffusers makes timestep 0; `Spacing` says that we do not.
            "diffusers.linspace" if steps == 1 => continue,
            "diffusers.linspace" => Spacing::Linspace,
            _ => continue,
        };
        // CompVis lists them rising, repeats some, and may go one past the table.
        let mut want: Vec<usize> = want.iter().map(|&t| (t as usize).min(999)).collect();
        want.sort_unstable_by(|a, b| b.cmp(a));
        want.dedup();
        assert_eq!(spacing.timesteps(steps, 1000).unwrap(), want, "{key}");
        tested += 1;
    }
    assert!(tested >= 80, "{tested}");
}

#[test]
fn noise_levels_are_those_of_k_diffusion_and_diffusers() {
    let (file, schedule) = (Recording::open("schedules"), paper());
    let mut tested = 0;
    for key in file.keys() {
        let Some(name) = key.strip_suffix(".sigmas") else {
            continue;
        };
        let Some((kind, steps)) = name.rsplit_once(".s") else {
            continue;
        };
        let way = match kind {
            "k.normal" => SigmaSchedule::Normal,
            "k.karras" => SigmaSchedule::Karras { rho: 7.0 },
            "euler.diffusers.leading" => SigmaSchedule::Leading { offset: 1 },
            "euler.diffusers.trailing" => SigmaSchedule::Trailing,
            "euler.diffusers.linspace" if steps == "1" => continue,
            "euler.diffusers.linspace" => SigmaSchedule::Linspace,
            _ => continue,
        };
        let levels = way.levels(steps.parse().unwrap(), &schedule).unwrap();
        let sigmas: Vec<f64> = levels.iter().map(|level| level.sigma).collect();
        same(key, &sigmas, file.get(key));
        if kind != "k.karras" {
            // One step of `leading` is timestep 1, and 0 is nothing to take a part of.
            let times: Vec<f64> = levels[..levels.len() - 1]
                .iter()
                .map(|l| l.t + 1.0)
                .collect();
            let want = file.get(&format!("{name}.timesteps"));
            same(
                key,
                &times,
                &want.iter().map(|t| t + 1.0).collect::<Vec<_>>(),
            );
        }
        tested += 1;
    }
    assert!(tested >= 30, "{tested}");
    let of = |sigma: &f64| schedule.timestep_of(*sigma);
    let between: Vec<f64> = file.get("k.between.sigmas").iter().map(of).collect();
    same("k.between", &between, file.get("k.between.timesteps"));
}

const SHAPE: [usize; 4] = [2, 1, 3, 4];
const N: usize = 24;

fn tensor(values: &[f64], shape: [usize; 4]) -> Tensor<4> {
    let values: Vec<f32> = values.iter().map(|&v| v as f32).collect();
    Tensor::from_data(TensorData::new(values, shape), &Device::flex())
}

/// The largest difference in units of the standard deviation of `want`.
fn error(got: Tensor<4>, want: &[f64]) -> f64 {
    let mean = want.iter().sum::<f64>() / N as f64;
    let var = want.iter().map(|w| (w - mean).powi(2)).sum::<f64>() / N as f64;
    let got = got.into_data().iter::<f64>().collect::<Vec<_>>();
    got.iter()
        .zip(want)
        .map(|(g, w)| (g - w).abs())
        .fold(0.0, f64::max)
        / var.sqrt()
}

/// What a test changes in a sampler to see whether the recording would tell.
#[derive(Clone, Copy)]
struct Twist {
    /// An exponent: 1.01 makes every β 1 % larger.
    alpha_bar: f64,
    eta: f64,
    s_noise: f64,
    variance: Variance,
    /// Lands on the other end: 1 for ᾱ₀ and the other way round.
    other_end: bool,
    prediction: Option<Prediction>,
    /// Gives each step the noise of the next.
    early_noise: bool,
}

const AS_RECORDED: Twist = Twist {
    alpha_bar: 1.0,
    eta: 1.0,
    s_noise: 1.0,
    variance: Variance::Small,
    other_end: false,
    prediction: None,
    early_noise: false,
};

/// A recorded run.
struct Run<'a> {
    file: &'a Recording,
    name: &'a str,
}

impl Run<'_> {
    fn all(file: &Recording) -> Vec<Run<'_>> {
        let names = file.keys().filter_map(|key| key.strip_suffix(".timesteps"));
        names.map(|name| Run { file, name }).collect()
    }

    fn column(&self, key: &str) -> &[f64] {
        self.file.get(&format!("{}.{key}", self.name))
    }

    fn row(&self, key: &str, i: usize) -> &[f64] {
        &self.column(key)[i * N..(i + 1) * N]
    }

    fn times(&self) -> Vec<usize> {
        self.column("timesteps")
            .iter()
            .map(|&t| t as usize)
            .collect()
    }

    fn tolerance(&self) -> f64 {
        (4.0 * self.file.number(&format!("{}.f32_error", self.name))).max(1e-5)
    }

    fn eta(&self) -> f64 {
        let Some((_, rest)) = self.name.split_once("eta") else {
            return 0.0;
        };
        rest.split(".s").next().unwrap().parse().unwrap()
    }

    /// The number of steps that was asked for.
    fn asked(&self) -> usize {
        self.name.rsplit_once(".s").unwrap().1.parse().unwrap()
    }

    fn prediction(&self) -> Prediction {
        match self.name {
            name if name.contains(".x0.") => Prediction::X0,
            name if name.contains(".v.") => Prediction::Velocity,
            _ => Prediction::Epsilon,
        }
    }

    /// The stand-in that the recording used, with guidance where it had guidance.
    fn network(&self) -> Box<dyn Network + '_> {
        let (a, b) = (self.file.number("a"), self.file.number("b"));
        if !self.name.contains("cfg5") {
            return Box::new(move |x: Tensor<4>, t: f64| x * a + t.sin() * b);
        }
        let bare = move |x: Tensor<4>, t: Tensor<1>, told: Told| {
            let t = f64::from(t.into_data().iter::<f32>().next().unwrap());
            let [batch, _, h, w] = x.dims();
            let shift = told.context.expect("guided").reshape([batch, 1, h, w]);
            x * a + t.sin() * b + shift
        };
        let condition =
            |key| Condition::tokens(tensor(self.column(key), [1, 1, 3, 4]).squeeze_dim(0));
        let (positive, negative) = (vec![condition("cond")], vec![condition("uncond")]);
        let ground = Ground {
            shape: SHAPE,
            multiple: 1,
            schedule: paper(),
            prediction: self.prediction(),
            device: Device::flex(),
        };
        let guidance = Guidance::Plain { cfg: 5.0 };
        Box::new(Guided::new(bare, ground, guidance, positive, Some(negative)).unwrap())
    }

    /// Walks our sampler through this run's noise; the worst error of any state, preview
    /// or timestep.
    fn worst(&self, twist: Twist) -> f64 {
        let table = paper();
        let bent = (0..1000)
            .map(|t| table.alpha_bar(t).powf(twist.alpha_bar))
            .collect();
        let schedule = NoiseSchedule::from_alpha_bars(bent).unwrap();
        let (network, seen) = (self.network(), RefCell::new(Vec::new()));
        let watched = |x: Tensor<4>, t: f64| {
            seen.borrow_mut().push((x.clone(), t));
            network.predict(x, t)
        };
        let prediction = twist.prediction.unwrap_or(self.prediction());
        let model = Denoiser::new(&watched, &schedule, prediction);
        let (at, steps) = (Cell::new(0), self.column("timesteps").len());
        let previews = RefCell::new(Vec::new());
        let mut on_step = |step: Step<'_>| {
            at.set(step.index);
            previews.borrow_mut().push(step.clean.clone());
            ControlFlow::Continue(())
        };
        let mut draw = |_: &Tensor<4>| {
            let i = if twist.early_noise {
                (at.get() + 1) % steps
            } else {
                at.get()
            };
            tensor(self.row("noise", i), SHAPE)
        };
        let x = tensor(self.row("x", 0), SHAPE);
        let eta = self.eta() * twist.eta;
        let family = self.name.split('.').next().unwrap();
        let mut run = Walking::new(&model, &mut draw, &mut on_step, steps);
        let last = match family {
            "ddim" => {
                let one = self.name.contains("_one") != twist.other_end;
                let end = if one { 1.0 } else { schedule.alpha_bar(0) };
                ddim(&mut run, x, &self.times(), end, eta)
            }
            "ddpm" => ddpm(&mut run, x, &self.chain(), twist.variance),
            "euler" => euler(&mut run, x, &self.levels(&schedule), Churn::Off),
            "euler_ancestral" => {
                let eta = if self.name.contains(".k.") {
                    eta
                } else {
                    twist.eta
                };
                let levels = self.levels(&schedule);
                euler_ancestral(&mut run, x, &levels, eta, twist.s_noise)
            }
            _ => panic!("what is `{}`?", self.name),
        };
        let (mut states, previews) = (seen.into_inner(), previews.into_inner());
        states.push((last.unwrap(), f64::NAN));
        let mut worst = 0.0f64;
        for (i, (state, t)) in states.into_iter().enumerate().take(steps + 1) {
            let norm = match family {
                "ddim" | "ddpm" => 1.0,
                _ => (1.0 + self.column("sigmas")[i].powi(2)).sqrt(),
            };
            worst = worst.max(error(state * norm, self.row("x", i)));
            if i < steps {
                worst = worst.max(error(previews[i].clone(), self.row("x0", i)));
                worst = worst.max((t - self.column("timesteps")[i]).abs());
            }
        }
        worst
    }

    /// The timesteps, and for a stretch of a longer chain the one after it.
    fn chain(&self) -> Vec<usize> {
        let mut times = self.times();
        if self.name.contains("compvis") && times.last() != Some(&0) {
            times.push(times[times.len() - 1] - 1);
        }
        times
    }

    fn levels(&self, schedule: &NoiseSchedule) -> Vec<Level> {
        let way = match self.name {
            name if name.contains(".karras.") => SigmaSchedule::Karras { rho: 7.0 },
            name if name.contains(".leading.") => SigmaSchedule::Leading { offset: 1 },
            name if name.contains(".trailing.") => SigmaSchedule::Trailing,
            name if name.contains(".linspace.") => SigmaSchedule::Linspace,
            _ => SigmaSchedule::Normal,
        };
        way.levels(self.asked(), schedule).unwrap()
    }
}

/// How many runs of a family there are, and their worst error; but those that are met step by
/// step.
pub(crate) fn worst_of(family: &str) -> (usize, f64) {
    let file = Recording::open("samplers");
    let runs = Run::all(&file);
    let of = |run: &&Run<'_>| run.name.split('.').next() == Some(family);
    let whole = |run: &&Run<'_>| !run.name.contains("trailing_one");
    let errors = runs
        .iter()
        .filter(of)
        .filter(whole)
        .map(|run| run.worst(AS_RECORDED));
    errors.fold((0, 0.0), |(count, worst), off| (count + 1, off.max(worst)))
}

#[test]
fn every_sampler_stays_with_its_recording_at_every_step() {
    let file = Recording::open("samplers");
    let runs = Run::all(&file);
    assert!(runs.len() >= 40, "{}", runs.len());
    // diffusers' own rule for the step before, t − 1000/7, is met step by step below.
    for run in runs.iter().filter(|run| !run.name.contains("trailing_one")) {
        let worst = run.worst(AS_RECORDED);
        assert!(
            worst <= run.tolerance(),
            "{}: {worst} > {}",
            run.name,
            run.tolerance()
        );
    }
}

#[test]
fn ddim_steps_land_where_diffusers_trailing_spacing_lands() {
    let (file, schedule) = (Recording::open("samplers"), paper());
    let runs: Vec<Run<'_>> = Run::all(&file);
    let runs = runs.iter().filter(|run| run.name.contains("trailing_one"));
    let mut tested = 0;
    for run in runs {
        assert_eq!(run.times(), Spacing::Trailing.timesteps(7, 1000).unwrap());
        let network = run.network();
        let model = Denoiser::new(network.as_ref(), &schedule, run.prediction());
        for (i, &t) in run.times().iter().enumerate() {
            let end = t
                .checked_sub(1000 / 7)
                .map_or(1.0, |p| schedule.alpha_bar(p));
            let x = tensor(run.row("x", i), SHAPE);
            let mut draw = |_: &Tensor<4>| tensor(run.row("noise", i), SHAPE);
            let mut go_on = |_: Step<'_>| ControlFlow::Continue(());
            let mut walking = Walking::new(&model, &mut draw, &mut go_on, 1);
            let x = ddim(&mut walking, x, &[t], end, run.eta()).unwrap();
            let off = error(x, run.row("x", i + 1));
            assert!(off <= run.tolerance(), "{} step {i}: {off}", run.name);
            tested += 1;
        }
    }
    assert_eq!(tested, 3 * 7);
}

#[test]
fn the_walks_that_samplers_plan_are_the_recorded_ones() {
    let file = Recording::open("samplers");
    for run in Run::all(&file)
        .iter()
        .filter(|run| run.name.starts_with("dd"))
    {
        let spacing = match run.name {
            name if name.starts_with("ddpm.compvis") => continue,
            name if name.contains("trailing") => Spacing::Trailing,
            name if name.contains("compvis") => Spacing::CompVis,
            _ => Spacing::Leading { offset: 1 },
        };
        assert_eq!(
            run.times(),
            spacing.timesteps(run.asked(), 1000).unwrap(),
            "{}",
            run.name
        );
    }
}

#[test]
fn a_changed_sampler_does_not_pass_for_the_recorded_one() {
    let file = Recording::open("samplers");
    let all = Twist {
        alpha_bar: 0.99,
        ..AS_RECORDED
    };
    let eta = Twist {
        eta: 0.99,
        ..AS_RECORDED
    };
    let s_noise = Twist {
        s_noise: 1.01,
        ..AS_RECORDED
    };
    let other_end = Twist {
        other_end: true,
        ..AS_RECORDED
    };
    let large = Twist {
        variance: Variance::Large,
        ..AS_RECORDED
    };
    let early_noise = Twist {
        early_noise: true,
        ..AS_RECORDED
    };
    let mut tested = 0;
    for run in Run::all(&file)
        .iter()
        .filter(|run| !run.name.contains("trailing_one"))
    {
        let noisy = run.column("noise").iter().any(|z| *z != 0.0);
        let mut check = |what: &str, twist: Twist| {
            let worst = run.worst(twist);
            let least = 2.0 * run.tolerance();
            assert!(worst > least, "{}: {what} goes unseen: {worst}", run.name);
            tested += 1;
        };
        for other in [Prediction::Epsilon, Prediction::X0, Prediction::Velocity] {
            if other != run.prediction() {
                check(
                    "another prediction",
                    Twist {
                        prediction: Some(other),
                        ..AS_RECORDED
                    },
                );
            }
        }
        check("1 % of β", all);
        match run.name.split('.').next().unwrap() {
            "ddim" => {
                check("the other end", other_end);
                if run.eta() > 0.0 {
                    check("1 % of η", eta);
                    check("another step's noise", early_noise);
                }
            }
            // Near the end of the chain β and β̃ are far apart, at its start they meet.
            "ddpm" if noisy && !run.name.contains("999to") => check("the large variance", large),
            "euler_ancestral" if run.eta() > 0.0 || run.name.contains("diffusers") => {
                check("1 % of η", eta);
                check("1 % of s_noise", s_noise);
                check("another step's noise", early_noise);
            }
            _ => {}
        }
    }
    assert!(tested >= 150, "{tested}");
}
