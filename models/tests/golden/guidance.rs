//! Guidance that is brought back to its spread, held to diffusers and to ComfyUI's formula.

use burn::tensor::{Device, Tensor};
use ldm_models::guidance::{Condition, Ground, Guidance, Guided, RescaleOf};
use ldm_models::prediction::{Network, Prediction};
use ldm_models::schedule::ScheduleConfig;
use ldm_models::unet::Told;

use crate::recorded::Recording;

/// What is guided, and how.
struct Case {
    prediction: Prediction,
    of: RescaleOf,
    t: f64,
}

impl Case {
    /// What a name of the recording stands for.
    fn of(name: &str) -> Option<Self> {
        let parts: Vec<&str> = name.split('.').collect();
        let (kind, t) = match parts[..] {
            ["diffusers", "guided"] => ("eps", "t500"),
            ["velocity", kind, t, "guided"] => (kind, t),
            _ => return None,
        };
        let prediction = match kind {
            "v" => Prediction::Velocity,
            "x0" => Prediction::X0,
            _ => Prediction::Epsilon,
        };
        let of = match parts[0] {
            "diffusers" => RescaleOf::Output,
            _ => RescaleOf::Velocity,
        };
        let t = t[1..].parse().unwrap();
        Some(Self { prediction, of, t })
    }

    /// How far our result is from what was recorded, of its standard deviation.
    fn error(&self, file: &Recording, name: &str) -> f64 {
        let device = Device::flex();
        let open = |key: &str| file.tensor::<4>(key, &device);
        let (positive, negative) = (open("positive"), open("negative"));
        // The tokens say which side is asked.
        let network = |_: Tensor<4>, _: Tensor<1>, told: Told| {
            let side = told.context.unwrap().reshape([4, 1, 1, 1]);
            let (n, p) = (negative.clone(), positive.clone());
            let both = Tensor::cat(vec![n.clone(), n], 0);
            let other = Tensor::cat(vec![p.clone(), p], 0);
            both * (-side.clone() + 1.0) + other * side
        };
        let side = |number: f64| vec![Condition::tokens(Tensor::full([1, 1, 1], number, &device))];
        let ground = Ground {
            shape: [2, 4, 6, 6],
            multiple: 1,
            schedule: ScheduleConfig::scaled_linear(0.0015, 0.0195)
                .init()
                .unwrap(),
            prediction: self.prediction,
            device: device.clone(),
        };
        let guidance = Guidance::Rescaled {
            cfg: file.number("cfg"),
            phi: file.number("phi"),
            of: self.of,
        };
        let guided = Guided::new(network, ground, guidance, side(1.0), Some(side(0.0))).unwrap();
        let got = guided.predict(open("x"), self.t).into_data();
        let want = file.get(name);
        let mean = want.iter().sum::<f64>() / want.len() as f64;
        let spread = want.iter().map(|w| (w - mean).powi(2)).sum::<f64>();
        let std = (spread / (want.len() - 1) as f64).sqrt();
        let apart = got.iter::<f64>().zip(want).map(|(g, w)| (g - w).abs());
        apart.fold(0.0, f64::max) / std
    }
}

#[test]
fn rescaled_guidance_is_that_of_diffusers_and_comfyui() {
    let file = Recording::open("guidance");
    let mut tested = 0;
    for name in file.keys() {
        let Some(case) = Case::of(name) else { continue };
        let bound = (4.0 * file.number(&format!("{name}.error"))).max(1e-5);
        let error = case.error(&file, name);
        assert!(error <= bound, "{name}: {error:.1e} over {bound:.1e}");
        tested += 1;
        // What is rescaled matters, unless it is the same thing.
        let of = match case.of {
            RescaleOf::Output => RescaleOf::Velocity,
            RescaleOf::Velocity => RescaleOf::Output,
        };
        let same = case.prediction == Prediction::Velocity;
        let other = Case { of, ..case }.error(&file, name);
        assert!(
            same || other > 100.0 * bound,
            "{name}: {other:.1e} by mistake"
        );
    }
    assert_eq!(tested, 10);
}
