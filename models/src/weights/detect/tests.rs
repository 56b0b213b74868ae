//! Headers of the released models, made from their configurations and told back from names and
//! shapes alone; and the few facts that numbers tell.
//!
//! The files are all holes but for their headers: nothing is drawn, nothing is written.

use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use burn::module::Module;
use burn::tensor::Device;

use super::super::load::plan;
use super::*;
use crate::autoencoder::{KlAutoencoderConfig, VqAutoencoderConfig};
use crate::text::{ClipConfig, TextTransformerConfig};
use crate::unet::{Heads, LabelConfig};

/// A file in the making: names, shapes, and numbers for the few that have any.
#[derive(Default)]
struct Holes {
    tensors: Vec<(String, Vec<usize>)>,
    numbers: Vec<(String, Vec<f32>)>,
}

impl Holes {
    /// The tensors of a network; projections around transformers as layers or convolutions.
    fn network<M: Module>(mut self, network: &M, table: &KeyTable, linear: bool) -> Self {
        for (_, source) in plan(network, table) {
            let mut shape = source.shape.clone();
            let projects = source.key.contains("proj_in.w") || source.key.contains("proj_out.w");
            if projects && !linear && shape.len() == 2 {
                shape.extend([1, 1]);
            }
            if !self.tensors.iter().any(|(name, _)| *name == source.key) {
                self.tensors.push((source.key, shape));
            }
        }
        self
    }

    fn tensor(mut self, name: &str, shape: &[usize], numbers: &[f32]) -> Self {
        self.tensors.push((name.to_owned(), shape.to_vec()));
        self.numbers.push((name.to_owned(), numbers.to_vec()));
        self
    }

    fn file(self, folder: &Path) -> TensorFile {
        TensorFile::open(&self.write(folder)).unwrap()
    }

    fn write(self, folder: &Path) -> PathBuf {
        let (mut header, mut at) = (serde_json::Map::new(), 0u64);
        let mut places = vec![];
        for (name, shape) in &self.tensors {
            let end = at + 4 * shape.iter().product::<usize>() as u64;
            let entry = serde_json::json!({
                "dtype": "F32", "shape": shape, "data_offsets": [at, end],
            });
            header.insert(name.clone(), entry);
            places.push((name.clone(), at));
            at = end;
        }
        let header = serde_json::to_vec(&header).unwrap();
        let path = folder.join("a.safetensors");
        let mut file = File::create(&path).unwrap();
        file.write_all(&(header.len() as u64).to_le_bytes())
            .unwrap();
        file.write_all(&header).unwrap();
        let data = 8 + header.len() as u64;
        file.set_len(data + at).unwrap();
        for (name, numbers) in &self.numbers {
            let place = places.iter().find(|(other, _)| other == name).unwrap().1;
            file.seek(SeekFrom::Start(data + place)).unwrap();
            for number in numbers {
                file.write_all(&number.to_le_bytes()).unwrap();
            }
        }
        path
    }
}

fn sd1() -> UNetConfig {
    UNetConfig {
        in_channels: 4,
        out_channels: 4,
        model_channels: 320,
        channel_mult: vec![1, 2, 4, 4],
        num_res_blocks: 2,
        attention_resolutions: vec![1, 2, 4],
        heads: Heads::Count(8),
        context_dim: Some(768),
        transformer_depth: vec![1],
        middle_depth: None,
        label: None,
        scale_shift: false,
        resblock_updown: false,
        groups: 32,
    }
}

fn pixels(from: usize, wide: usize, mult: &[usize], attends: &[usize]) -> UNetConfig {
    UNetConfig {
        in_channels: from,
        out_channels: 3,
        model_channels: wide,
        channel_mult: mult.to_vec(),
        attention_resolutions: attends.to_vec(),
        heads: Heads::Width(32),
        context_dim: None,
        ..sd1()
    }
}

/// `reference/ldm.md` §1b and the configurations of Stability's models.
fn released() -> Vec<(Kind, bool, UNetConfig)> {
    let faces = pixels(3, 224, &[1, 2, 3, 4], &[2, 4, 8]);
    let tokens = |wide, mult: &[usize], context| UNetConfig {
        context_dim: Some(context),
        ..pixels(3, wide, mult, &[2, 4, 8])
    };
    vec![
        (Kind::Unconditional, false, faces.clone()),
        (
            Kind::Churches,
            false,
            UNetConfig {
                in_channels: 4,
                out_channels: 4,
                model_channels: 192,
                channel_mult: vec![1, 2, 2, 4, 4],
                attention_resolutions: vec![1, 2, 4, 8],
                heads: Heads::Count(8),
                context_dim: None,
                scale_shift: true,
                resblock_updown: true,
                ..sd1()
            },
        ),
        (
            Kind::Classes,
            false,
            UNetConfig {
                model_channels: 256,
                channel_mult: vec![1, 2, 4],
                heads: Heads::Width(32),
                context_dim: Some(512),
                ..sd1()
            },
        ),
        (
            Kind::Classes,
            false,
            UNetConfig {
                heads: Heads::Count(1),
                ..tokens(192, &[1, 2, 3, 5], 512)
            },
        ),
        (Kind::Text, false, tokens(192, &[1, 2, 3, 5], 640)),
        (
            Kind::Text,
            false,
            UNetConfig {
                context_dim: Some(1280),
                ..sd1()
            },
        ),
        (
            Kind::Layout,
            false,
            UNetConfig {
                transformer_depth: vec![3],
                ..tokens(128, &[1, 2, 3, 4], 512)
            },
        ),
        (
            Kind::SuperResolution,
            false,
            pixels(6, 160, &[1, 2, 2, 4], &[8]),
        ),
        (
            Kind::Inpaint,
            false,
            UNetConfig {
                heads: Heads::Count(8),
                resblock_updown: true,
                ..pixels(7, 256, &[1, 2, 3, 4], &[2, 4, 8])
            },
        ),
        (
            Kind::Semantic,
            false,
            UNetConfig {
                heads: Heads::Count(8),
                ..pixels(6, 128, &[1, 4, 8], &[])
            },
        ),
        (
            Kind::Retrieval,
            false,
            UNetConfig {
                in_channels: 16,
                out_channels: 16,
                model_channels: 448,
                channel_mult: vec![1, 2, 3, 4],
                heads: Heads::Width(32),
                ..sd1()
            },
        ),
        (Kind::Sd1, false, sd1()),
        (
            Kind::Sd1,
            false,
            UNetConfig {
                in_channels: 9,
                ..sd1()
            },
        ),
        (
            Kind::Sd1,
            false,
            UNetConfig {
                in_channels: 8,
                ..sd1()
            },
        ),
        (
            Kind::Sd2,
            true,
            UNetConfig {
                context_dim: Some(1024),
                heads: Heads::Width(64),
                ..sd1()
            },
        ),
        (
            Kind::Sdxl,
            true,
            UNetConfig {
                channel_mult: vec![1, 2, 4],
                attention_resolutions: vec![2, 4],
                transformer_depth: vec![0, 2, 10],
                context_dim: Some(2048),
                heads: Heads::Width(64),
                label: Some(LabelConfig::Vector(2816)),
                ..sd1()
            },
        ),
        (
            Kind::SdxlRefiner,
            true,
            UNetConfig {
                model_channels: 384,
                attention_resolutions: vec![2, 4],
                transformer_depth: vec![4],
                context_dim: Some(1280),
                heads: Heads::Width(64),
                label: Some(LabelConfig::Vector(2560)),
                ..sd1()
            },
        ),
    ]
}

#[test]
fn every_released_unet_is_told_by_its_header_under_either_familys_names() {
    let folder = tempfile::tempdir().unwrap();
    for (kind, linear, config) in released() {
        let network = config.init(&Device::flex(), 0).unwrap();
        for (family, prefix) in [
            (Family::CompVis, "model.diffusion_model."),
            (Family::CompVis, ""),
            (Family::Diffusers, ""),
        ] {
            let table = KeyTable::unet(family, &config).under(prefix);
            let file = Holes::default()
                .network(&network, &table, linear)
                .file(folder.path());
            let found = unet(&file, None).unwrap().unwrap();
            assert_eq!(found.part.config, config, "{kind} {family:?}");
            assert_eq!(
                (found.part.family, &found.part.prefix[..]),
                (family, prefix)
            );
            assert_eq!(found.kind, kind);
            let faults = crate::weights::faults(&network, &file, &found.part.table());
            assert!(faults.is_empty(), "{kind} {faults}");
        }
    }
}

#[test]
fn every_released_kl_autoencoder_is_told_by_its_header() {
    let folder = tempfile::tempdir().unwrap();
    let config = |ch_mult: &[usize], attends: &[usize], channels| KlAutoencoderConfig {
        in_channels: 3,
        ch: 128,
        ch_mult: ch_mult.to_vec(),
        num_res_blocks: 2,
        attn_resolutions: attends.to_vec(),
        resolution: 256,
        z_channels: channels,
        embed_dim: channels,
        groups: 32,
    };
    for (config, factor) in [
        (config(&[1, 2, 4], &[], 3), 4),
        (config(&[1, 2, 4, 4], &[], 4), 8),
        (config(&[1, 1, 2, 2, 4], &[16], 16), 16),
        (config(&[1, 1, 2, 2, 4, 4], &[16, 8], 64), 32),
    ] {
        let config = VaeConfig::Kl(config);
        let network = config.init(&Device::flex(), 0).unwrap();
        for (family, prefix) in [
            (Family::CompVis, "first_stage_model."),
            (Family::CompVis, ""),
            (Family::Diffusers, ""),
        ] {
            let part = Part {
                config: config.clone(),
                family,
                prefix: prefix.to_owned(),
            };
            let file = Holes::default().network(&network, &part.table(), true);
            let found = vae(&file.file(folder.path()), None).unwrap();
            assert_eq!(found, Some(part), "factor {factor}");
        }
        let scale = if factor == 8 { 0.18215 } else { 1.0 };
        assert_eq!(scale_alone(&config), scale);
    }
}

#[test]
fn every_released_vq_autoencoder_is_told_by_its_header() {
    let folder = tempfile::tempdir().unwrap();
    for (ch_mult, attends, channels, codes, attention) in [
        (&[1, 2, 4][..], &[][..], 3, 8192, true),
        (&[1, 2, 4], &[], 3, 8192, false),
        (&[1, 2, 2, 4], &[32], 4, 16384, true),
        (&[1, 2, 2, 4], &[32], 4, 256, true),
        (&[1, 1, 2, 2, 4], &[16], 8, 16384, true),
    ] {
        let config = VaeConfig::Vq(VqAutoencoderConfig {
            in_channels: 3,
            ch: 128,
            ch_mult: ch_mult.to_vec(),
            num_res_blocks: 2,
            attn_resolutions: attends.to_vec(),
            resolution: 256,
            attention,
            z_channels: channels,
            embed_dim: channels,
            codes,
            groups: 32,
        });
        let network = config.init(&Device::flex(), 0).unwrap();
        for family in [Family::CompVis, Family::Diffusers] {
            let part = Part {
                config: config.clone(),
                family,
                prefix: String::new(),
            };
            let file = Holes::default().network(&network, &part.table(), true);
            let found = vae(&file.file(folder.path()), None).unwrap();
            assert_eq!(found, Some(part), "{codes} codes");
        }
        assert_eq!(scale_alone(&config), 1.0);
    }
}

#[test]
fn every_released_text_encoder_is_told_by_its_header() {
    let folder = tempfile::tempdir().unwrap();
    let bert = TextTransformerConfig {
        vocab_size: 30522,
        max_length: 77,
        width: 1280,
        layers: 32,
        heads: 8,
        head_width: 64,
    };
    let two = TextConfig::TwoClips {
        first: ClipConfig::vit_l().for_xl(),
        second: ClipConfig::big_g(),
    };
    for (config, prefix) in [
        (TextConfig::Bert(bert), "cond_stage_model.transformer."),
        (TextConfig::Clip(ClipConfig::vit_l()), "cond_stage_model."),
        (TextConfig::Clip(ClipConfig::vit_h()), "cond_stage_model."),
        (two, "conditioner.embedders."),
        (
            TextConfig::Clip(ClipConfig::big_g()),
            "conditioner.embedders.0.",
        ),
    ] {
        let part = Part {
            config,
            family: Family::CompVis,
            prefix: prefix.to_owned(),
        };
        let network = part.config.init(&Device::flex(), 0).unwrap();
        let file = Holes::default().network(&network, &part.table(), true);
        let found = text(&file.file(folder.path()), None).unwrap();
        assert_eq!(found, Some(part));
    }
}

#[test]
fn what_makes_a_conditioning_of_classes_and_maps_is_told_too() {
    let folder = tempfile::tempdir().unwrap();
    let classes = "cond_stage_model.embedding.weight";
    let map = "cond_stage_model.channel_mapper.weight";
    let file = Holes::default()
        .tensor(classes, &[1001, 512], &[])
        .file(folder.path());
    let found = class_embedder(&file).unwrap();
    assert_eq!((found.config.classes, found.config.width), (1001, 512));
    let network = found.config.init(&Device::flex(), 0).unwrap();
    assert!(crate::weights::faults(&network, &file, &found.table()).is_empty());
    assert_eq!(spatial_rescaler(&file), None);
    let file = Holes::default()
        .tensor(map, &[3, 182, 1, 1], &[])
        .file(folder.path());
    let found = spatial_rescaler(&file).unwrap();
    assert_eq!(
        (found.config.in_channels, found.config.out_channels),
        (182, 3)
    );
    let network = found.config.init(&Device::flex(), 0).unwrap();
    assert!(crate::weights::faults(&network, &file, &found.table()).is_empty());
    assert_eq!(class_embedder(&file), None);
}

#[test]
fn the_noise_of_training_and_the_scale_are_those_that_the_checkpoint_keeps() {
    let folder = tempfile::tempdir().unwrap();
    let config = sd1();
    let network = config.init(&Device::flex(), 0).unwrap();
    let table = KeyTable::unet(Family::CompVis, &config).under("model.diffusion_model.");
    let holes = || Holes::default().network(&network, &table, false);
    let betas = |curve: &dyn Fn(f64) -> f64| -> Vec<f32> {
        (0..1000)
            .map(|i| curve(f64::from(i) / 999.0) as f32)
            .collect()
    };
    let line = |from: f64, to: f64| move |t: f64| from + (to - from) * t;
    let root = line(0.0015f64.sqrt(), 0.0155f64.sqrt());
    let scaled = betas(&|t| root(t).powi(2));
    let plain = betas(&line(0.0001, 0.02));
    for (table, wanted) in [
        (
            Some(scaled),
            Betas::ScaledLinear {
                start: 0.0015,
                end: 0.0155,
            },
        ),
        (
            Some(plain),
            Betas::Linear {
                start: 0.0001,
                end: 0.02,
            },
        ),
        // A table of no known curve is as good as none.
        (
            Some([0.5, 0.1].repeat(500)),
            Betas::ScaledLinear {
                start: 0.00085,
                end: 0.012,
            },
        ),
        (
            None,
            Betas::ScaledLinear {
                start: 0.00085,
                end: 0.012,
            },
        ),
    ] {
        let mut holes = holes();
        if let Some(table) = table {
            holes = holes
                .tensor("betas", &[1000], &table)
                .tensor("scale_factor", &[], &[0.2]);
        }
        let scale = if holes.numbers.is_empty() {
            0.18215
        } else {
            f64::from(0.2f32)
        };
        let found = unet(&holes.file(folder.path()), None).unwrap().unwrap();
        assert_eq!(found.schedule.betas, wanted);
        assert_eq!(found.scale, scale);
    }
}

#[test]
fn stable_diffusion_2_predicts_the_velocity_where_its_bias_spreads() {
    let folder = tempfile::tempdir().unwrap();
    let config = UNetConfig {
        context_dim: Some(1024),
        heads: Heads::Width(64),
        ..sd1()
    };
    let network = config.init(&Device::flex(), 0).unwrap();
    let prefix = "model.diffusion_model.";
    let table = KeyTable::unet(Family::CompVis, &config).under(prefix);
    let name = format!("{prefix}{SPREAD_BIAS}");
    for (spread, marked, wanted) in [
        (0.08, false, Prediction::Epsilon),
        (0.1, false, Prediction::Velocity),
        (0.08, true, Prediction::Velocity),
    ] {
        let mut holes = Holes::default().network(&network, &table, true);
        let bias: Vec<f32> = (0..320)
            .map(|i| if i % 2 == 0 { spread } else { -spread })
            .collect();
        holes.numbers.push((name.clone(), bias));
        if marked {
            holes = holes.tensor("v_pred", &[], &[0.0]);
        }
        let found = unet(&holes.file(folder.path()), None).unwrap().unwrap();
        assert_eq!(found.prediction, wanted, "{spread}");
    }
}

#[test]
fn a_configuration_beside_the_weights_tells_what_shapes_do_not() {
    let folder = tempfile::tempdir().unwrap();
    let config = UNetConfig {
        model_channels: 64,
        ..sd1()
    };
    let network = config.init(&Device::flex(), 0).unwrap();
    let table = KeyTable::unet(Family::Diffusers, &config);
    let file = Holes::default()
        .network(&network, &table, false)
        .file(folder.path());
    let found = |json: &str| {
        let json = NetworkJson::read(json).unwrap();
        unet(&file, Some(&json)).map(|found| found.unwrap().part.config)
    };
    let heads = |json: &str| found(json).unwrap().heads;
    assert_eq!(heads("{}"), Heads::Count(8));
    assert_eq!(heads(r#"{"attention_head_dim": 4}"#), Heads::Count(4));
    assert_eq!(
        heads(r#"{"attention_head_dim": [2, 4, 8, 8]}"#),
        Heads::Width(32)
    );
    let both = r#"{"attention_head_dim": 4, "num_attention_heads": 16}"#;
    assert_eq!(heads(both), Heads::Count(16));
    let plain = r#"{"_class_name": "UNet2DModel", "attention_head_dim": 16}"#;
    assert_eq!(heads(plain), Heads::Width(16));
    assert_eq!(found(r#"{"norm_num_groups": 16}"#).unwrap().groups, 16);
    for (json, wanted) in [
        (
            r#"{"act_fn": "gelu"}"#,
            "says act_fn is \"gelu\", but only \"silu\" is known here",
        ),
        (
            r#"{"freq_shift": 1}"#,
            "says freq_shift is 1, but only 0 is known here",
        ),
        (
            r#"{"encoder_hid_dim_type": "text_proj"}"#,
            "only null is known here",
        ),
        (
            r#"{"attention_head_dim": [2, 4, 8, 16]}"#,
            "neither of one number nor of one width",
        ),
        (
            r#"{"norm_num_groups": 7}"#,
            "wanted a multiple of groups, 7",
        ),
    ] {
        let said = found(json).unwrap_err().to_string();
        assert!(said.contains(wanted), "wanted {wanted:?} in {said:?}");
    }
}

#[test]
fn marks_for_comfyui_tell_the_noise_of_training() {
    let folder = tempfile::tempdir().unwrap();
    let network = sd1().init(&Device::flex(), 0).unwrap();
    let table = KeyTable::unet(Family::CompVis, &sd1());
    let with = |marks: &[&str]| {
        let mut holes = Holes::default().network(&network, &table, false);
        for mark in marks {
            holes = holes.tensor(mark, &[], &[0.0]);
        }
        let file = holes.file(folder.path());
        let found = unet(&file, None).map(|found| {
            let found = found.unwrap();
            (found.prediction, found.schedule.rescale_zero_snr)
        });
        let faults = crate::weights::faults(&network, &file, &table);
        (found.map_err(|e| e.to_string()), faults.is_empty())
    };
    let (epsilon, velocity) = (Prediction::Epsilon, Prediction::Velocity);
    assert_eq!(with(&[]), (Ok((epsilon, ZeroSnr::No)), true));
    let zero = (Ok((velocity, ZeroSnr::ComfyUi)), true);
    assert_eq!(with(&["v_pred", "ztsnr"]), zero);
    assert_eq!(with(&["v_pred"]), (Ok((velocity, ZeroSnr::No)), true));
    assert_eq!(with(&["ztsnr"]), (Ok((epsilon, ZeroSnr::No)), true));
    for mark in ["edm_mean", "edm_vpred.sigma_max"] {
        let said = with(&[mark]).0.unwrap_err();
        assert!(
            said.contains(&format!("as its tensor `{mark}` says")),
            "{said}"
        );
    }
}

#[test]
fn a_unet_that_lost_its_middle_in_distilling_is_told() {
    let folder = tempfile::tempdir().unwrap();
    for (family, middle) in [
        (Family::CompVis, "middle_block.1."),
        (Family::Diffusers, "mid_block.attentions.0."),
    ] {
        let network = sd1().init(&Device::flex(), 0).unwrap();
        let table = KeyTable::unet(family, &sd1());
        let mut holes = Holes::default().network(&network, &table, true);
        holes.tensors.retain(|(name, _)| !name.starts_with(middle));
        let said = unet(&holes.file(folder.path()), None).unwrap_err();
        assert!(said.to_string().contains("not in its middle"), "{said}");
    }
}

#[test]
fn what_is_no_network_is_none() {
    let folder = tempfile::tempdir().unwrap();
    for names in [
        &["a.weight"][..],
        &["conv_in.weight", "conv_out.weight"],
        &[
            "input_blocks.0.0.weight",
            "out.2.weight",
            "output_blocks.0.0.in_layers.2.weight",
        ],
        &["lora_unet_down_blocks_0.lora_up.weight"],
    ] {
        let mut holes = Holes::default();
        for name in names {
            holes = holes.tensor(name, &[0, 3], &[]);
        }
        let file = holes.file(folder.path());
        assert_eq!(unet(&file, None).unwrap(), None);
        assert_eq!(vae(&file, None).unwrap(), None);
        assert_eq!(text(&file, None).unwrap(), None);
    }
}
