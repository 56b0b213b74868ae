//! The U-Nets that were released, by their numbers of parameters.

use burn::tensor::Device;

use super::super::{Heads, LabelConfig, UNetConfig};
use crate::nn::parameter_count;

/// For latents of three channels; told nothing.
fn paper(width: usize, mult: &[usize], attention: &[usize], heads: Heads) -> UNetConfig {
    UNetConfig {
        in_channels: 3,
        out_channels: 3,
        model_channels: width,
        channel_mult: mult.to_vec(),
        num_res_blocks: 2,
        attention_resolutions: attention.to_vec(),
        heads,
        context_dim: None,
        transformer_depth: vec![1],
        groups: 32,
        middle_depth: None,
        label: None,
        scale_shift: false,
        resblock_updown: false,
    }
}

impl UNetConfig {
    fn channels(self, from: usize, to: usize) -> Self {
        Self {
            in_channels: from,
            out_channels: to,
            ..self
        }
    }

    fn told(self, context: usize) -> Self {
        Self {
            context_dim: Some(context),
            ..self
        }
    }

    fn deep(self, depths: &[usize], middle: usize) -> Self {
        Self {
            transformer_depth: depths.to_vec(),
            middle_depth: Some(middle),
            ..self
        }
    }

    fn pooled(self, vector: usize) -> Self {
        Self {
            label: Some(LabelConfig::Vector(vector)),
            ..self
        }
    }
}

fn check(systems: &[(&str, f64, UNetConfig)]) {
    for (name, millions, config) in systems {
        let network = config.init(&Device::flex(), 0).unwrap();
        let count = parameter_count(&network) as f64 / 1e6;
        assert!(
            (count - millions).abs() < 0.006,
            "{name}: {count} M, wanted {millions} M"
        );
    }
}

/// Counts by the paper's layers, which agree with those it prints.
#[test]
fn the_papers_unets_have_the_papers_sizes() {
    let (by32, count) = (Heads::Width(32), Heads::Count);
    let four = |width, heads| paper(width, &[1, 2, 3, 4], &[8, 4, 2], heads);
    let text = |heads| paper(192, &[1, 2, 3, 5], &[8, 4, 2], heads);
    let f8 = |width, heads| paper(width, &[1, 2, 4, 4], &[4, 2, 1], heads).channels(4, 4);
    let updown = |config| UNetConfig {
        resblock_updown: true,
        ..config
    };
    let churches = paper(192, &[1, 2, 2, 4, 4], &[1, 2, 4, 8], count(8)).channels(4, 4);
    let churches = UNetConfig {
        scale_shift: true,
        ..updown(churches)
    };
    let cin = paper(256, &[1, 2, 4], &[4, 2, 1], by32).channels(4, 4);
    let rdm = paper(448, &[1, 2, 3, 4], &[4, 2, 1], by32).channels(16, 16);
    let sr = paper(160, &[1, 2, 2, 4], &[16, 8], by32).channels(6, 3);
    let semantic = paper(128, &[1, 4, 8], &[32, 16, 8], count(8)).channels(6, 3);
    check(&[
        ("celeba", 274.06, four(224, by32)),
        ("churches", 294.97, churches),
        ("cin", 394.98, cin.told(512)),
        ("cin-v2", 400.92, text(count(1)).told(512)),
        ("txt2img", 872.30, f8(320, count(8)).told(1280)),
        ("sd-1", 859.52, f8(320, count(8)).told(768)),
        ("text2img256", 403.62, text(by32).told(640)),
        ("layout", 246.28, four(128, by32).told(512).deep(&[3], 3)),
        ("bsr_sr", 113.62, sr),
        (
            "inpainting_big",
            387.25,
            updown(four(256, count(8)).channels(7, 3)),
        ),
        ("semantic", 215.23, semantic),
        ("rdm", 1335.48, rdm.told(768)),
    ]);
}

/// Counts of `UNet2DConditionModel` of diffusers 0.42, made from the released `config.json`s.
#[test]
fn later_unets_have_their_sizes() {
    let by64 = Heads::Width(64);
    let sd2 = paper(320, &[1, 2, 4, 4], &[4, 2, 1], by64).channels(4, 4);
    let xl = paper(320, &[1, 2, 4], &[2, 4], by64).channels(4, 4);
    let refiner = paper(384, &[1, 2, 4, 4], &[2, 4], by64).channels(4, 4);
    let refiner = refiner.told(1280).deep(&[0, 4, 4, 0], 4).pooled(2560);
    check(&[
        ("sd-2.1", 865.91, sd2.told(1024)),
        (
            "sdxl",
            2567.46,
            xl.told(2048).deep(&[0, 2, 10], 10).pooled(2816),
        ),
        ("sdxl-refiner", 2259.53, refiner),
    ]);
}
