//! Shapes and reach of the U-Net.

mod released;

use super::*;
use burn::module::ModuleMapper;
use burn::module::Param;
use burn::tensor::{Device, Distribution};

fn tiny() -> UNetConfig {
    UNetConfig {
        in_channels: 4,
        out_channels: 3,
        model_channels: 8,
        channel_mult: vec![1, 2],
        num_res_blocks: 1,
        attention_resolutions: vec![2],
        heads: Heads::Width(4),
        context_dim: None,
        transformer_depth: vec![1],
        groups: 4,
        middle_depth: None,
        label: None,
        scale_shift: false,
        resblock_updown: false,
    }
}

fn random<const D: usize>(shape: [usize; D]) -> Tensor<D> {
    Tensor::random(shape, Distribution::Normal(0.0, 1.0), &Device::flex())
}

/// Parameters that start at zero, drawn after all, so that every branch counts.
struct Stir;

impl ModuleMapper for Stir {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        param.map(|x| x.clone() + Tensor::random_like(&x, Distribution::Normal(0.0, 0.2)))
    }
}

fn floats(x: Tensor<4>) -> Vec<f32> {
    x.into_data().try_to_vec().unwrap()
}

#[test]
fn the_latent_keeps_its_size_whatever_the_levels() {
    let deep = UNetConfig {
        channel_mult: vec![1, 2, 1],
        num_res_blocks: 2,
        attention_resolutions: vec![1, 4],
        heads: Heads::Count(2),
        ..tiny()
    };
    let flat = UNetConfig {
        channel_mult: vec![2],
        attention_resolutions: vec![],
        ..tiny()
    };
    let told = UNetConfig {
        context_dim: Some(6),
        transformer_depth: vec![2, 1],
        attention_resolutions: vec![1, 2],
        ..tiny()
    };
    let updown = UNetConfig {
        scale_shift: true,
        resblock_updown: true,
        ..deep.clone()
    };
    for config in [tiny(), deep, flat, told, updown] {
        let network = config.init(&Device::flex(), 1).unwrap();
        let context = config.context_dim.map(|dim| random([2, 5, dim]));
        let t = Tensor::from_data([0.0, 981.0], &Device::flex());
        let size = [2 * config.size_multiple(), 4 * config.size_multiple()];
        let out = network.forward(random([2, 4, size[0], size[1]]), t, Told::tokens(context));
        assert_eq!(out.dims(), [2, 3, size[0], size[1]]);
    }
}

#[test]
fn a_fresh_unet_predicts_zero() {
    let network = tiny().init(&Device::flex(), 1).unwrap();
    let t = Tensor::from_data([7.0], &Device::flex());
    let out = floats(network.forward(random([1, 4, 4, 4]), t, Told::default()));
    assert!(out.iter().all(|x| *x == 0.0));
}

#[test]
fn picture_time_and_context_all_reach_the_result() {
    let config = UNetConfig {
        context_dim: Some(6),
        ..tiny()
    };
    let network = config.init(&Device::flex(), 2).unwrap().map(&mut Stir);
    let (x, context) = (random([1, 4, 4, 4]), random([1, 5, 6]));
    let t = |t: f32| Tensor::<1>::from_data([t], &Device::flex());
    let run = |x: &Tensor<4>, time, context: &Tensor<3>| {
        let told = Told::tokens(Some(context.clone()));
        floats(network.forward(x.clone(), t(time), told))
    };
    let base = run(&x, 500.0, &context);
    assert_eq!(base, run(&x, 500.0, &context));
    assert_ne!(base, run(&(x.clone() * 2.0), 500.0, &context));
    assert_ne!(base, run(&x, 501.0, &context));
    assert_ne!(base, run(&x, 500.0, &(context * 2.0)));
}

#[test]
fn what_was_heard_serves_every_step() {
    let config = UNetConfig {
        context_dim: Some(6),
        transformer_depth: vec![1, 2],
        attention_resolutions: vec![1, 2],
        label: Some(LabelConfig::Classes(9)),
        ..tiny()
    };
    let network = config.init(&Device::flex(), 2).unwrap().map(&mut Stir);
    let told = Told {
        context: Some(random([2, 5, 6])),
        label: Some(Tensor::from_data([[3.0], [8.0]], &Device::flex())),
        control: None,
    };
    let heard = network.hear(&told);
    // A long walk that knows its way but for what it asks at last, and one that does not.
    let way: Vec<f64> = (0..150).rev().map(f64::from).collect();
    let ahead = heard.clone().ahead(&way);
    for t in [149.0, 148.0, 149.0, 60.0, 0.0, 3.25, 12.0] {
        let x = random([2, 4, 4, 4]);
        let both = Tensor::from_data([t as f32; 2], &Device::flex());
        let wanted = floats(network.forward(x.clone(), both, told.clone()));
        for heard in [&heard, &ahead] {
            assert_eq!(floats(network.step(x.clone(), t, heard, None)), wanted);
        }
    }
}

#[test]
fn a_label_reaches_the_result_by_its_class_or_its_numbers() {
    let labels = [
        (LabelConfig::Classes(300), [[2.0], [299.0]]),
        (LabelConfig::Vector(1), [[0.25], [0.5]]),
    ];
    for (label, values) in labels {
        let config = UNetConfig {
            label: Some(label),
            ..tiny()
        };
        let network = config.init(&Device::flex(), 2).unwrap().map(&mut Stir);
        let (x, t) = (
            random([1, 4, 4, 4]),
            Tensor::<1>::from_data([3.0], &Device::flex()),
        );
        let [one, again, other] = [values[0], values[0], values[1]].map(|value| {
            let label = Some(Tensor::from_data([value], &Device::flex()));
            let told = Told {
                label,
                ..Told::default()
            };
            floats(network.forward(x.clone(), t.clone(), told))
        });
        assert_eq!(one, again);
        assert_ne!(one, other);
    }
}

#[test]
fn a_control_is_added_where_it_says() {
    let network = tiny().init(&Device::flex(), 2).unwrap().map(&mut Stir);
    let (x, t) = (
        random([2, 4, 4, 4]),
        Tensor::<1>::from_data([3.0, 4.0], &Device::flex()),
    );
    let run = |control: Control| {
        let told = Told {
            control: Some(control),
            ..Told::default()
        };
        floats(network.forward(x.clone(), t.clone(), told))
    };
    let plain = floats(network.forward(x.clone(), t.clone(), Told::default()));
    assert_eq!(plain, run(Control::default()));
    // Skips of `tiny`: conv_in, block, halving, block.
    let shapes = [[1, 8, 4, 4], [1, 8, 4, 4], [1, 8, 2, 2], [1, 16, 2, 2]];
    let skips = |at: usize, by: f32| -> Vec<Tensor<4>> {
        let fill =
            |(i, shape)| Tensor::full(shape, if i == at { by } else { 0.0 }, &Device::flex());
        shapes.into_iter().enumerate().map(fill).collect()
    };
    let mut seen = vec![plain.clone()];
    for at in 0..4 {
        let down = skips(at, 1.0).into_iter().map(Some).take(at + 1).collect();
        let [on_the_way, at_the_skip, nothing] = [
            Control {
                down,
                ..Control::default()
            },
            Control {
                skips: skips(at, 1.0),
                ..Control::default()
            },
            Control {
                skips: skips(at, 0.0),
                ..Control::default()
            },
        ]
        .map(run);
        assert_eq!(nothing, plain);
        seen.extend([on_the_way, at_the_skip]);
    }
    let middle = Some(Tensor::ones([1, 16, 2, 2], &Device::flex()));
    seen.push(run(Control {
        middle,
        ..Control::default()
    }));
    for (i, one) in seen.iter().enumerate() {
        assert!(
            seen[..i].iter().all(|other| other != one),
            "{i} repeats another"
        );
    }
}

#[test]
fn every_parameter_has_a_gradient() {
    struct Without(Vec<String>, burn::tensor::Gradients, Vec<String>);
    impl burn::module::ModuleVisitor for Without {
        fn enter_module(&mut self, name: &str, _: &str) {
            self.2.push(name.to_owned());
        }
        fn exit_module(&mut self, _: &str, _: &str) {
            self.2.pop();
        }
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            if param.val().grad(&self.1).is_none() {
                self.0.push(self.2.join("."));
            }
        }
    }
    let device = Device::flex().autodiff();
    let plain = UNetConfig {
        context_dim: Some(6),
        ..tiny()
    };
    let modern = UNetConfig {
        scale_shift: true,
        resblock_updown: true,
        label: Some(LabelConfig::Vector(5)),
        ..plain.clone()
    };
    for config in [plain, modern] {
        let network = config.init(&device, 2).unwrap();
        let x = Tensor::<4>::from_data(random([1, 4, 4, 4]).into_data(), &device);
        let context = Tensor::<3>::from_data(random([1, 5, 6]).into_data(), &device);
        let told = Told {
            context: Some(context),
            label: Some(Tensor::from_data(random([1, 5]).into_data(), &device)),
            control: None,
        };
        let t = Tensor::from_data([3.0], &device);
        let loss = network.forward(x, t, told).square().mean();
        let mut without = Without(vec![], loss.backward(), vec![]);
        network.visit(&mut without);
        assert!(without.0.is_empty(), "{:?}", without.0);
    }
}

#[test]
fn a_wrong_number_is_refused_by_its_field() {
    let cases = [
        (
            UNetConfig {
                model_channels: 6,
                ..tiny()
            },
            "model_channels is 6, wanted a multiple of groups, 4",
        ),
        (
            UNetConfig {
                heads: Heads::Count(3),
                ..tiny()
            },
            "heads is Count(3), which does not divide a level of 16 channels; \
             use a divisor of it",
        ),
        (
            UNetConfig {
                heads: Heads::Width(0),
                ..tiny()
            },
            "heads is Width(0), which does not divide a level of 16 channels; \
             use a divisor of it",
        ),
        (
            UNetConfig {
                channel_mult: vec![],
                ..tiny()
            },
            "channel_mult's length is 0, wanted 1 to 16",
        ),
        (
            UNetConfig {
                transformer_depth: vec![1, 1, 1],
                ..tiny()
            },
            "transformer_depth has 3 numbers, wanted 1 or one for each of the 2 levels of \
             channel_mult",
        ),
        (
            UNetConfig {
                context_dim: Some(0),
                ..tiny()
            },
            "context_dim is 0, wanted 1 to 1048576",
        ),
        (
            UNetConfig {
                transformer_depth: vec![1, 0],
                ..tiny()
            },
            "transformer_depth is 0 where there is attention, wanted 1 to 1024",
        ),
        (
            UNetConfig {
                attention_resolutions: vec![1],
                transformer_depth: vec![1, 0],
                ..tiny()
            },
            "middle_depth is 0 where there is attention, wanted 1 to 1024",
        ),
        (
            UNetConfig {
                label: Some(LabelConfig::Classes(0)),
                ..tiny()
            },
            "label is 0, wanted 1 to 1048576",
        ),
    ];
    for (config, wanted) in cases {
        let said = config.init(&Device::flex(), 0).unwrap_err().to_string();
        assert_eq!(said, format!("U-Net: {wanted}"));
    }
}
