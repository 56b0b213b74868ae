//! ControlNets and adapters: which one a file holds, and whom it fits.

use std::fs::File;
use std::io::Write;

use burn::tensor::Device;
use serde_json::{Map, json};

use super::*;
use crate::unet::{Heads, LabelConfig, UNetConfig};
use crate::weights::detect::NetworkJson;
use crate::weights::{Family, KeyTable, SaveAs, TensorFile, TensorWriter, faults};

/// Stable Diffusion 1, by its numbers.
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
        transformer_depth: vec![1, 1, 1, 0],
        middle_depth: Some(1),
        label: None,
        scale_shift: false,
        resblock_updown: false,
        groups: 32,
    }
}

fn sdxl() -> UNetConfig {
    UNetConfig {
        channel_mult: vec![1, 2, 4],
        attention_resolutions: vec![2, 4],
        heads: Heads::Width(64),
        context_dim: Some(2048),
        transformer_depth: vec![0, 2, 10],
        middle_depth: Some(10),
        label: Some(LabelConfig::Vector(2816)),
        ..sd1()
    }
}

fn net(unet: UNetConfig) -> ControlConfig {
    ControlConfig::Net(ControlNetConfig {
        unet,
        hint_channels: 3,
        hint_widths: vec![16, 32, 96, 256],
        pooled: false,
    })
}

fn adapter(kind: AdapterKind, in_channels: usize, xl: bool) -> ControlConfig {
    let skip = Place::Skip;
    ControlConfig::Adapter(AdapterConfig {
        kind,
        in_channels,
        factor: 8,
        unshuffle: if xl { 16 } else { 8 },
        channels: vec![320, 640, 1280, 1280],
        halved: if xl {
            vec![false, false, true, false]
        } else {
            vec![false, true, true, true]
        },
        blocks: if kind == AdapterKind::Full { 2 } else { 4 },
        places: if xl {
            vec![skip(3), skip(5), skip(8), Place::Middle]
        } else {
            vec![skip(2), skip(5), skip(8), skip(11)]
        },
    })
}

/// A file of the names and shapes that `config` has there, and of nothing but holes.
fn hollow(folder: &tempfile::TempDir, config: &ControlConfig, table: &KeyTable) -> TensorFile {
    let path = folder.path().join("empty.safetensors");
    TensorWriter::default().write(&path, SaveAs::F32).unwrap();
    let empty = TensorFile::open(&path).unwrap();
    let network = config.init(&Device::flex(), 0).unwrap();
    let (mut header, mut end) = (Map::new(), 0);
    for (name, mut shape) in faults(&network, &empty, table).missing {
        // Stable Diffusion 1 has convolutions around its transformers.
        let convolutions = matches!(config, ControlConfig::Net(net) if net.unet.label.is_none());
        if convolutions && name.ends_with("proj_in.weight") {
            shape.extend([1, 1]);
        }
        let start = end;
        end += 2 * shape.iter().product::<usize>();
        let entry = json!({ "dtype": "F16", "shape": shape, "data_offsets": [start, end] });
        header.insert(name, entry);
    }
    let header = serde_json::Value::Object(header).to_string();
    let path = folder.path().join("hollow.safetensors");
    let mut file = File::create(&path).unwrap();
    file.write_all(&(header.len() as u64).to_le_bytes())
        .unwrap();
    file.write_all(header.as_bytes()).unwrap();
    file.set_len((8 + header.len() + end) as u64).unwrap();
    TensorFile::open(&path).unwrap()
}

#[test]
fn the_released_shapes_are_recognised_under_every_name() {
    let both = [Family::CompVis, Family::Diffusers];
    let mut cases = Vec::new();
    for family in both {
        let prefixes: &[&str] = match family {
            Family::CompVis => &["control_model.", ""],
            _ => &[""],
        };
        for prefix in prefixes {
            cases.extend([sd1(), sdxl()].map(|unet| (net(unet), family, *prefix)));
        }
        for prefix in ["adapter.", ""] {
            let all = [
                adapter(AdapterKind::Full, 3, false),
                adapter(AdapterKind::Full, 1, false),
                adapter(AdapterKind::Full, 3, true),
                adapter(AdapterKind::Light, 3, false),
            ];
            cases.extend(all.map(|config| (config, family, prefix)));
        }
    }
    for (config, family, prefix) in cases {
        let folder = tempfile::tempdir().unwrap();
        let table = KeyTable::control(family, &config).under(prefix);
        let file = hollow(&folder, &config, &table);
        let found = recognise(&file, None).unwrap();
        let prefix = prefix.to_owned();
        let wanted = Recognised {
            config,
            family,
            prefix,
        };
        assert_eq!(found, wanted);
        let network = wanted.config.init(&Device::flex(), 0).unwrap();
        assert!(faults(&network, &file, &table).is_empty());
        assert_eq!(wanted.config.factor(), 8);
    }
}

/// Stable Diffusion 1's ControlNet as `json` beside the file has it.
fn beside(json: &str) -> Result<ControlNetConfig, String> {
    let config = net(sd1());
    let folder = tempfile::tempdir().unwrap();
    let table = KeyTable::control(Family::Diffusers, &config);
    let file = hollow(&folder, &config, &table);
    let json = NetworkJson::read(json)?;
    match recognise(&file, Some(&json)) {
        Ok(Recognised {
            config: ControlConfig::Net(net),
            ..
        }) => Ok(net),
        Ok(other) => panic!("not a ControlNet: {other:?}"),
        Err(error) => Err(error.to_string()),
    }
}

#[test]
fn a_config_beside_the_file_says_what_shapes_do_not() {
    let found =
        beside(r#"{"attention_head_dim": [5, 10, 20, 20], "norm_num_groups": 16}"#).unwrap();
    assert_eq!(
        (found.unet.heads, found.unet.groups),
        (Heads::Width(64), 16)
    );
    let found = beside(r#"{"attention_head_dim": 4, "global_pool_conditions": true}"#).unwrap();
    assert_eq!((found.unet.heads, found.pooled), (Heads::Count(4), true));
}

#[test]
fn a_config_that_says_another_network_than_the_shapes_is_told_with_both() {
    for (json, wanted) in [
        ("[]", "is no config.json"),
        (
            r#"{"controlnet_conditioning_channel_order": "bgr"}"#,
            r#"order is "bgr", but only "rgb""#,
        ),
        (
            r#"{"_class_name": "UNet2DConditionModel"}"#,
            "_class_name is UNet2DConditionModel, but its tensors are those of ControlNetModel",
        ),
        (
            r#"{"cross_attention_dim": 1024}"#,
            "cross_attention_dim is 1024, but its tensors say 768",
        ),
        (
            r#"{"conditioning_channels": 1}"#,
            "conditioning_channels is 1, but its tensors say 3",
        ),
        (
            r#"{"block_out_channels": [320, 640]}"#,
            "block_out_channels is [320,640], but its tensors say [320,640,1280,1280]",
        ),
        (r#"{"attention_head_dim": [8, 8]}"#, "have [8, 8] heads"),
    ] {
        let found = beside(json).unwrap_err();
        assert!(found.contains(wanted), "{json}: {found}");
    }
}

#[test]
fn a_file_of_something_else_is_refused_by_what_it_holds() {
    let refusal = |name: &str| {
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut writer = TensorWriter::default();
        writer.tensor(name, &Tensor::<1>::ones([1], &Device::flex()));
        writer.write(file.path(), SaveAs::F32).unwrap();
        let file = TensorFile::open(file.path()).unwrap();
        recognise(&file, None).unwrap_err().to_string()
    };
    let other = refusal("model.diffusion_model.out.0.weight");
    assert!(
        other.contains("found `model.diffusion_model.out.0.weight`"),
        "{other}"
    );
    let lora = refusal("lora_controlnet");
    assert!(lora.contains("Control-LoRA"), "{lora}");
}

#[test]
fn what_was_made_for_another_model_is_told_with_both_sides() {
    let said = |config: &ControlConfig, unet: &UNetConfig| match config.fits(unet) {
        Ok(()) => "fits".to_owned(),
        Err(error) => error.to_string(),
    };
    let full = adapter(AdapterKind::Full, 3, false);
    let xl = adapter(AdapterKind::Full, 3, true);
    for (config, unet) in [(net(sd1()), sd1()), (net(sdxl()), sdxl())] {
        assert_eq!(said(&config, &unet), "fits");
    }
    // An inpainting U-Net sees more channels, of which a ControlNet knows nothing.
    let inpaint = UNetConfig {
        in_channels: 9,
        ..sd1()
    };
    assert_eq!(said(&net(sd1()), &inpaint), "fits");
    assert_eq!(said(&full, &sd1()), "fits");
    assert_eq!(said(&xl, &sdxl()), "fits");
    let wide = UNetConfig {
        context_dim: Some(1024),
        ..sd1()
    };
    let cases = [
        (
            net(sd1()),
            sdxl(),
            "ControlNet: gives features [320 at 1/1, 320 at 1/1, 320 at 1/1, 320 at 1/2, 640 at 1/2",
        ),
        (
            net(sd1()),
            wide,
            "looks at tokens 768 wide, those of this U-Net are 1024 wide",
        ),
        (
            full,
            sdxl(),
            "T2I-Adapter: gives features [320 at 1/1, 640 at 1/2, 1280 at 1/4, 1280 at 1/8]",
        ),
        (
            xl,
            sd1(),
            "1280 at 1/4, 1280 at 1/4], this U-Net has [320 at 1/2, 640 at 1/2, 1280 at 1/4, 1280 at 1/8]",
        ),
    ];
    for (config, unet, wanted) in cases {
        let said = said(&config, &unet);
        assert!(said.contains(wanted), "wanted {wanted:?} in {said:?}");
    }
}

#[test]
fn a_fresh_control_net_adds_nothing_and_a_pooled_one_adds_the_same_everywhere() {
    let unet = UNetConfig {
        model_channels: 4,
        channel_mult: vec![1, 2],
        num_res_blocks: 1,
        attention_resolutions: vec![],
        transformer_depth: vec![1],
        heads: Heads::Count(1),
        context_dim: None,
        groups: 2,
        ..sd1()
    };
    for pooled in [false, true] {
        let config = ControlConfig::Net(ControlNetConfig {
            unet: unet.clone(),
            hint_channels: 3,
            hint_widths: vec![2, 3],
            pooled,
        });
        let device = Device::flex();
        let network = Arc::new(config.init(&device, 1).unwrap());
        let x = Tensor::ones([2, 4, 4, 6], &device);
        let hint = Tensor::ones([1, 3, 8, 12], &device);
        let control = network.hear(&Told::default(), hint, &[])(x, 1.0);
        let shapes: Vec<[usize; 4]> = control.skips.iter().map(Tensor::dims).collect();
        let size = |h, w| if pooled { [1, 1] } else { [h, w] };
        let of = |c, [h, w]: [usize; 2]| [2, c, h, w];
        let (fine, coarse) = (size(4, 6), size(2, 3));
        assert_eq!(
            shapes,
            [of(4, fine), of(4, fine), of(4, coarse), of(8, coarse)]
        );
        let all = control.skips.into_iter().chain(control.middle);
        for given in all {
            assert_eq!(given.abs().max().into_scalar::<f32>(), 0.0);
        }
    }
}
