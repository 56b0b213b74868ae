//! Lists of conditions and noise masks, held to ComfyUI's own code.

use burn::tensor::{Device, Tensor, TensorData};
use ldm_models::guidance::{Area, Condition, Ground, Guidance, Guided, Keeping, Span};
use ldm_models::prediction::{Denoiser, Network, Prediction};
use ldm_models::schedule::{Level, NoiseSchedule, ScheduleConfig};
use ldm_models::unet::Told;

use crate::recorded::Recording;

const SHAPE: [usize; 4] = [2, 1, 16, 24];
/// How far a result may be from what was recorded in f64, of its largest number.
const BOUND: f64 = 1e-5;

/// The stand-in that the recording used, as a network is called here.
fn network(x: Tensor<4>, _: Tensor<1>, told: Told) -> Tensor<4> {
    let [batch, _, h, w] = x.dims();
    let tokens = told.context.unwrap().reshape([batch as i64, -1]);
    let g = tokens.mean_dim(1).reshape([batch, 1, 1, 1]);
    let places = (0..h).flat_map(|y| (0..w).map(move |x| y as f32 * 0.01 + x as f32 * 0.02));
    let ramp = TensorData::new(places.collect::<Vec<f32>>(), [1, 1, h, w]);
    x * g.clone() + Tensor::<4>::from_data(ramp, &Device::flex()) + g * 0.3
}

struct Case<'a> {
    file: &'a Recording,
    name: String,
}

impl Case<'_> {
    fn tensor<const D: usize>(&self, part: &str) -> Tensor<D> {
        let key = format!("{}.{part}", self.name);
        self.file.tensor(&key, &Device::flex())
    }

    fn side(&self, side: &str) -> Vec<Condition> {
        let keys = (0..).map(|i| format!("{}.{side}.{i}", self.name));
        let there = keys.take_while(|key| self.file.has(key));
        there.map(|key| self.condition(&key)).collect()
    }

    fn condition(&self, key: &str) -> Condition {
        let numbers = self.file.get(key);
        let whole = |at: usize| numbers[at] as usize;
        let (device, mask) = (Device::flex(), format!("{key}.mask"));
        Condition {
            tokens: Some(self.file.tensor(&format!("{key}.tokens"), &device)),
            area: (numbers[0] > 0.0).then(|| Area {
                y: whole(1),
                x: whole(2),
                height: whole(3),
                width: whole(4),
            }),
            mask: self
                .file
                .has(&mask)
                .then(|| self.file.tensor(&mask, &device)),
            strength: numbers[5],
            span: Span {
                start: numbers[6],
                end: numbers[7],
            },
            ..Condition::default()
        }
    }

    /// How far the clean latent by `network` is from `part`.
    fn error(&self, network: &dyn Network, schedule: &NoiseSchedule, part: &str) -> f64 {
        let t = self.file.get(&format!("{}.t", self.name))[0] as usize;
        let model = Denoiser::new(network, schedule, Prediction::Epsilon);
        let got = model.denoise(self.tensor("x"), Level::of(schedule.sigma(t), schedule));
        let want = self.file.get(&format!("{}.{part}", self.name));
        let most = want.iter().fold(0.0f64, |most, x| most.max(x.abs()));
        let got = got.into_data();
        let apart = got.iter::<f64>().zip(want).map(|(g, w)| (g - w).abs());
        apart.fold(0.0, f64::max) / most
    }
}

fn schedule() -> NoiseSchedule {
    let paper = ScheduleConfig::scaled_linear(0.0015, 0.0195);
    paper.init().unwrap()
}

/// Our error for a list of conditions, each changed first.
fn error_of_list(case: &Case<'_>, change: impl Fn(Condition) -> Condition) -> f64 {
    let schedule = schedule();
    let ground = Ground {
        shape: SHAPE,
        multiple: 1,
        schedule: schedule.clone(),
        prediction: Prediction::Epsilon,
        device: Device::flex(),
    };
    let guidance = Guidance::Plain {
        cfg: case.file.number("cfg"),
    };
    let side = |name| case.side(name).into_iter().map(&change).collect();
    let (positive, negative) = (side("positive"), Some(side("negative")));
    let guided = Guided::new(network, ground, guidance, positive, negative).unwrap();
    case.error(&guided, &schedule, "guided")
}

#[test]
fn lists_of_conditions_are_weighed_as_comfyui_weighs_them() {
    let file = Recording::open("conditioning");
    let (mut tested, mut told) = (0, [0; 4]);
    for n in 0.. {
        let name = format!("list.{n}");
        if !file.has(&format!("{name}.x")) {
            break;
        }
        let case = Case { file: &file, name };
        let error = error_of_list(&case, |one| one);
        assert!(error <= BOUND, "{}: {error:.1e}", case.name);
        // Each thing that conditions say is told apart from its being left out.
        let (area, mask, span) = (None, None, Span::WHOLE);
        let without = [
            error_of_list(&case, |one| Condition { area, ..one }),
            error_of_list(&case, |one| Condition {
                mask: mask.clone(),
                ..one
            }),
            error_of_list(&case, |one| Condition { span, ..one }),
            error_of_list(&case, |one| Condition {
                strength: 1.0,
                ..one
            }),
        ];
        for (count, error) in told.iter_mut().zip(without) {
            *count += usize::from(error > 1e-2);
        }
        tested += 1;
    }
    assert!(tested >= 20, "{tested}");
    assert!(told.iter().all(|count| *count >= 3), "{told:?}");
}

#[test]
fn what_a_mask_keeps_is_kept_as_comfyui_keeps_it() {
    let (file, schedule) = (Recording::open("conditioning"), schedule());
    let device = Device::flex();
    for n in 0..4 {
        let case = Case {
            file: &file,
            name: format!("keep.{n}"),
        };
        let told = || Told::tokens(Some(Tensor::full([2, 1, 5], 0.4, &device)));
        let bare = |x: Tensor<4>, _: f64| network(x, Tensor::zeros([2], &device), told());
        let keeping = Keeping {
            network: &bare,
            schedule: &schedule,
            prediction: Prediction::Epsilon,
            mask: case.tensor("mask"),
            latent: case.tensor("latent"),
            noise: case.tensor("noise"),
        };
        let error = case.error(&keeping, &schedule, "clean");
        assert!(error <= BOUND, "{n}: {error:.1e}");
        let all = case.error(&bare, &schedule, "clean");
        assert!(all > 1e-2, "{n}: a mask matters, {all:.1e}");
    }
}
