//! That hearing once for a walk changes no bit of it.

use std::cell::Cell;

use burn::module::{Module, ModuleMapper, Param};
use burn::tensor::Distribution;

use super::*;
use crate::control::{AdapterConfig, AdapterKind, ControlConfig, ControlNetConfig, Place};
use crate::unet::{Heads, Heard, LabelConfig, UNet, UNetConfig};

/// Timesteps of a walk that also goes back, as RePaint does.
const WALK: [f64; 6] = [990.0, 700.0, 400.0, 700.0, 250.0, 0.0];

/// Looks at tokens at both levels and in the middle, at one of them twice.
fn config() -> UNetConfig {
    UNetConfig {
        in_channels: 2,
        out_channels: 2,
        model_channels: 8,
        channel_mult: vec![1, 2],
        num_res_blocks: 1,
        attention_resolutions: vec![1, 2],
        heads: Heads::Width(4),
        context_dim: Some(4),
        transformer_depth: vec![1, 2],
        middle_depth: None,
        label: None,
        scale_shift: false,
        resblock_updown: false,
        groups: 4,
    }
}

/// Moves every number, so that what starts at zero counts too.
struct Shaken;

impl ModuleMapper for Shaken {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        param.map(|x| x.clone() + Tensor::random_like(&x, Distribution::Normal(0.0, 0.2)))
    }
}

fn unet(config: &UNetConfig) -> UNet {
    config.init(&Device::flex(), 3).unwrap().map(&mut Shaken)
}

/// Hears once, and counts it.
struct Keeps<'a> {
    unet: &'a UNet,
    heard: Cell<usize>,
}

impl Bare for Keeps<'_> {
    type Heard = Heard;

    fn hear(&self, told: Told, ahead: &[f64]) -> Heard {
        self.heard.set(self.heard.get() + 1);
        self.unet.hear(&told).ahead(ahead)
    }

    fn step(&self, x: Tensor<4>, t: f64, heard: &Heard, more: Option<Control>) -> Tensor<4> {
        self.unet.step(x, t, heard, more)
    }
}

/// Hears at every step.
struct Anew(Arc<dyn ControlModel>);

impl ControlModel for Anew {
    fn hear(self: Arc<Self>, told: &Told, hint: Tensor<4>, _ahead: &[f64]) -> Steer {
        let told = told.clone();
        Box::new(move |x, t| self.0.clone().hear(&told, hint.clone(), &[])(x, t))
    }
}

fn bits(x: Tensor<4>) -> Vec<u32> {
    let numbers: Vec<f32> = x.into_data().try_to_vec().unwrap();
    numbers.into_iter().map(f32::to_bits).collect()
}

/// Walks with a network that keeps what it heard, and with one that does not; gives how often
/// the first one heard.
fn same(unet: &UNet, guidance: Guidance, sides: impl Fn(bool) -> [Vec<Condition>; 2]) -> usize {
    let bench = Bench::default();
    let keeps = Keeps {
        unet,
        heard: Cell::new(0),
    };
    let forward = |x: Tensor<4>, t: Tensor<1>, told: Told| unet.forward(x, t, told);
    let ([p, n], [p2, n2]) = (sides(false), sides(true));
    let kept = Guided::new(keeps, bench.ground(), guidance, p, Some(n)).unwrap();
    let anew = Guided::new(forward, bench.ground(), guidance, p2, Some(n2)).unwrap();
    for (step, t) in WALK.into_iter().enumerate() {
        let x = draw(step as u64, SHAPE);
        let (got, wanted) = (kept.predict(x.clone(), t), anew.predict(x, t));
        assert!(bits(got) == bits(wanted), "at {t}");
    }
    kept.network.heard.get()
}

#[test]
fn a_pair_and_a_batch_are_heard_once() {
    let unet = unet(&config());
    let sides = |_| [vec![text(1, [3, 5, 4])], vec![text(2, [1, 5, 4])]];
    assert_eq!(same(&unet, plain(5.0), sides), 1);
    assert_eq!(same(&unet, plain(1.0), sides), 1);
    let apart = |_| [vec![text(1, [1, 7, 4])], vec![text(2, [1, 5, 4])]];
    assert_eq!(same(&unet, plain(5.0), apart), 2, "in two calls");
}

#[test]
fn areas_masks_and_ranges_are_heard_when_they_come() {
    let unet = unet(&config());
    let span = Span {
        start: 0.2,
        end: 0.5,
    };
    let sides = |_| {
        let ground = text(1, [1, 5, 4]);
        let area = Condition {
            area: boxed(4, 8, 8, 16),
            strength: 0.7,
            ..text(3, [1, 5, 4])
        };
        let masked = Condition {
            mask: Some(draw::<3>(7, [1, 16, 24]).abs()),
            span,
            ..text(4, [1, 10, 4])
        };
        [vec![ground, area, masked], vec![text(2, [1, 5, 4])]]
    };
    // Whole latents and areas are calls apart; the mask comes, goes, comes and goes.
    assert_eq!(same(&unet, plain(5.0), sides), 2 * 5);
}

#[test]
fn labels_are_heard_too() {
    let labelled = UNetConfig {
        label: Some(LabelConfig::Vector(6)),
        scale_shift: true,
        resblock_updown: true,
        ..config()
    };
    let sides = |_| {
        [1, 2].map(|seed| {
            vec![Condition {
                vector: Some(draw(seed, [1, 6])),
                ..text(seed, [1, 5, 4])
            }]
        })
    };
    assert_eq!(same(&unet(&labelled), plain(5.0), sides), 1);
}

#[test]
fn control_nets_and_adapters_hear_their_hints_once() {
    let unet = unet(&config());
    let net = ControlConfig::Net(ControlNetConfig {
        unet: config(),
        hint_channels: 1,
        hint_widths: vec![4, 8],
        pooled: false,
    });
    let adapter = ControlConfig::Adapter(AdapterConfig {
        kind: AdapterKind::Full,
        in_channels: 1,
        factor: 2,
        unshuffle: 2,
        channels: vec![8, 16],
        halved: vec![false, true],
        blocks: 1,
        places: vec![Place::Skip(1), Place::Middle],
    });
    let networks = [net, adapter].map(|config| -> Arc<dyn ControlModel> {
        let network = config.init(&Device::flex(), 5).unwrap();
        Arc::new(network.map(&mut Shaken))
    });
    let sides = |anew: bool| {
        let spans = [(0.0, 0.5), (0.25, 1.0)];
        let hints = networks.iter().zip(spans).map(|(network, (start, end))| {
            let network = network.clone();
            Arc::new(ControlHint {
                network: match anew {
                    true => Arc::new(Anew(network)),
                    false => network,
                },
                hint: draw(8, [1, 1, 32, 48]),
                strength: 0.8,
                span: Span { start, end },
            })
        });
        let controls: Vec<_> = hints.collect();
        [1, 2].map(|seed| {
            vec![Condition {
                controls: controls.clone(),
                ..text(seed, [1, 5, 4])
            }]
        })
    };
    // The net alone, both, the adapter alone, both, the adapter alone.
    assert_eq!(same(&unet, plain(5.0), sides), 5);
}
