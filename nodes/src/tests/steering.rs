//! Pictures that steer, in graphs: ControlNets and T2I-Adapters of a few channels.

use std::path::Path;

use burn::tensor::{Device, Tensor};
use ldm_models::control::{AdapterConfig, AdapterKind, ControlConfig, ControlNetConfig, Place};
use ldm_models::noise::Noise;
use ldm_models::unet::{Heads, UNetConfig};
use ldm_models::weights::{Family, KeyTable, SaveAs, TensorFile, TensorWriter, faults};

use super::{Lab, MODEL, Tiny};
use crate::values::{Conditioning, Latent};

/// A folder of diffusers with a ControlNet for the lab's model, but that it looks at tokens
/// `context` wide.
pub(super) fn make_control_net(folder: &Path, context: usize) {
    std::fs::create_dir_all(folder).unwrap();
    let unet = UNetConfig {
        in_channels: 2,
        out_channels: 2,
        model_channels: 4,
        channel_mult: vec![1, 2],
        num_res_blocks: 1,
        attention_resolutions: vec![1],
        heads: Heads::Count(2),
        context_dim: Some(context),
        transformer_depth: vec![1, 0],
        middle_depth: Some(1),
        label: None,
        scale_shift: false,
        resblock_updown: false,
        groups: 2,
    };
    let config = ControlConfig::Net(ControlNetConfig {
        unet,
        hint_channels: 3,
        hint_widths: vec![3, 4, 4, 6],
        pooled: false,
    });
    let json =
        r#"{"_class_name": "ControlNetModel", "norm_num_groups": 2, "attention_head_dim": 2}"#;
    std::fs::write(folder.join("config.json"), json).unwrap();
    let path = folder.join("diffusion_pytorch_model.safetensors");
    make(&path, &config, Family::Diffusers);
}

/// An adapter for a model of two blocks a level, under the released code's names.
fn make_adapter(path: &Path) {
    let config = ControlConfig::Adapter(AdapterConfig {
        kind: AdapterKind::Full,
        in_channels: 3,
        factor: 8,
        unshuffle: 8,
        channels: vec![4, 8],
        halved: vec![false, true],
        blocks: 2,
        places: vec![Place::Skip(2), Place::Skip(5)],
    });
    make(path, &config, Family::CompVis);
}

/// A network of noise, under the names of `family`.
fn make(path: &Path, config: &ControlConfig, family: Family) {
    TensorWriter::default().write(path, SaveAs::F32).unwrap();
    let empty = TensorFile::open(path).unwrap();
    let device = Device::flex();
    let network = config.init(&device, 0).unwrap();
    let wanted = faults(&network, &empty, &KeyTable::control(family, config)).missing;
    let (mut writer, mut noise) = (TensorWriter::default(), Noise::new(5));
    for (name, shape) in wanted {
        let inner: usize = shape.iter().skip(1).product();
        let flat: Tensor<1> = noise.tensor([shape.iter().product()], &device);
        // Biases are small, or they would drown what the hint says.
        let share = if name.ends_with(".bias") { 0.1 } else { 1.5 };
        let flat = flat * (share / (inner as f64).sqrt());
        match shape[..] {
            [n] => writer.tensor(&name, &flat.reshape([n])),
            [a, b] => writer.tensor(&name, &flat.reshape([a, b])),
            [a, b, c, d] => writer.tensor(&name, &flat.reshape([a, b, c, d])),
            _ => panic!("{name} has {shape:?}"),
        }
    }
    writer.write(path, SaveAs::F32).unwrap();
}

/// The latent under these nodes, of which one is called `told`.
fn walk(lab: &mut Lab, nodes: &str) -> Vec<f32> {
    let report = lab.run(&graph(nodes), &["latent"]);
    let latent = report.value::<Latent>("latent.latent").unwrap();
    latent.numbers.numbers().to_vec()
}

fn graph(nodes: &str) -> String {
    format!(
        r#"{MODEL}
        "photo": LoadImage(path: "images/scene.png"),
        "net": LoadControlNet(path: "weights/control"),
        {nodes}
        "latent": Denoise(
            unet: "model", latent: "noise", positive: "told", negative: "empty",
            sampler: Euler(), steps: 4, seed: 3,
        ),"#
    )
}

fn steered(more: &str) -> String {
    format!(
        r#""told": ApplyControlNet(
            conditioning: "wanted", control_net: "net", image: "photo", {more}
        ),"#
    )
}

const PLAIN: &str = r#""told": SetStrength(conditioning: "wanted", strength: 1.0),"#;

/// The largest difference, of the largest number.
fn apart(a: &[f32], b: &[f32]) -> f32 {
    let most = a.iter().fold(0.0f32, |most, x| most.max(x.abs()));
    let off = a.iter().zip(b).map(|(a, b)| (a - b).abs());
    off.fold(0.0, f32::max) / most
}

#[test]
fn a_hint_its_strength_and_its_range_each_matter() {
    let mut lab = Lab::new();
    let turned = r#""turned": ImageScale(image: "photo", width: 8, height: 32),
        "told": ApplyControlNet(conditioning: "wanted", control_net: "net", image: "turned"),"#;
    let all = [
        PLAIN.to_owned(),
        steered(""),
        steered("strength: 0.5"),
        steered("end: 0.5"),
        steered("start: 0.5"),
        turned.to_owned(),
    ];
    let mut seen: Vec<Vec<f32>> = Vec::new();
    for nodes in &all {
        let latent = walk(&mut lab, nodes);
        for other in &seen {
            assert!(apart(other, &latent) > 1e-3, "{nodes}");
        }
        seen.push(latent);
    }
}

#[test]
fn at_strength_0_and_outside_its_range_nothing_is_added_to_the_bit() {
    let mut lab = Lab::new();
    let plain = walk(&mut lab, PLAIN);
    assert!(walk(&mut lab, &steered("strength: 0.0")) == plain);
    assert!(
        !lab.loads.iter().any(|name| name == "ControlNet"),
        "{:?}",
        lab.loads
    );
    // Four steps of Euler are at 0, 1/3, 2/3 and the end of the walk.
    assert!(walk(&mut lab, &steered("start: 0.4, end: 0.6")) == plain);
    assert!(walk(&mut lab, &steered("start: 0.4, end: 0.7")) != plain);
}

#[test]
fn hints_in_a_chain_add_up() {
    let mut lab = Lab::new();
    let chain = |first: f64, second: f64| {
        format!(
            r#""once": ApplyControlNet(
                conditioning: "wanted", control_net: "net", image: "photo", strength: {first},
            ),
            "told": ApplyControlNet(
                conditioning: "once", control_net: "net", image: "photo", strength: {second},
            ),"#
        )
    };
    let whole = walk(&mut lab, &steered("strength: 0.75"));
    let split = walk(&mut lab, &chain(0.5, 0.25));
    assert!(apart(&whole, &split) < 1e-4, "{}", apart(&whole, &split));
    assert!(apart(&whole, &walk(&mut lab, &chain(0.5, 0.5))) > 1e-3);
}

#[test]
fn a_hint_of_any_size_is_brought_to_the_latents() {
    let mut lab = Lab::new();
    let exact = walk(&mut lab, &steered(""));
    // Twice as high and wide, each pixel four times: the nearest one is the same.
    let large = r#""large": ImageScale(image: "photo", width: 64, height: 32, method: Nearest),
        "told": ApplyControlNet(conditioning: "wanted", control_net: "net", image: "large"),"#;
    assert!(walk(&mut lab, large) == exact);
}

#[test]
fn an_adapter_steers_too() {
    let mut lab = Lab::new();
    let two = Tiny {
        blocks: 2,
        ..Tiny::default()
    };
    lab.model("two", &two);
    make_adapter(&lab.folder.path().join("weights/adapter.safetensors"));
    let mut walk = |nodes: &str| {
        let nodes = graph(nodes).replace("weights/text", "weights/two");
        let nodes = nodes.replace("weights/control", "weights/adapter.safetensors");
        let report = lab.run(&nodes, &["latent"]);
        let latent = report.value::<Latent>("latent.latent").unwrap();
        latent.numbers.numbers().to_vec()
    };
    let (plain, full) = (walk(PLAIN), walk(&steered("")));
    assert!(apart(&plain, &full) > 1e-3);
    assert!(apart(&full, &walk(&steered("strength: 0.5"))) > 1e-3);
    assert!(walk(&steered("strength: 0.0")) == plain);
}

#[test]
fn a_conditioning_tells_by_whom_it_is_steered() {
    let mut lab = Lab::new();
    let mut told = |nodes: &str| {
        let report = lab.run(&graph(nodes), &["told"]);
        report.value::<Conditioning>("told.conditioning").unwrap()
    };
    let (plain, none) = (told(PLAIN), told(&steered("strength: 0.0")));
    assert_eq!(plain, none);
    let steered = told(&steered("strength: 0.5, end: 0.5"));
    assert_eq!(steered.entries.len(), 1);
    let hint = &steered.entries[0].hints[0];
    assert_eq!((hint.strength, hint.span.end), (0.5, 0.5));
    assert_ne!(
        ldm_engine::Data::identity(&*steered),
        ldm_engine::Data::identity(&*plain)
    );
}

#[test]
fn what_was_made_for_another_model_is_refused_while_planning() {
    let lab = Lab::new();
    make_control_net(&lab.folder.path().join("weights/wide"), 6);
    make_adapter(&lab.folder.path().join("weights/adapter.safetensors"));
    let refusal = |net: &str| {
        let save = r#""save": SaveLatent(latent: "latent", path: "a.safetensors"),"#;
        lab.refusal(&(graph(&steered("")).replace("weights/control", net) + save))
    };
    let wide = refusal("weights/wide");
    assert!(
        wide.contains("looks at tokens 6 wide, those of this U-Net are 4 wide"),
        "{wide}"
    );
    let adapter = refusal("weights/adapter.safetensors");
    assert!(
        adapter.contains("gives features [4 at 1/1, 8 at 1/2], this U-Net has"),
        "{adapter}"
    );
    let other = refusal("weights/x2.safetensors");
    assert!(
        other.contains("is no ControlNet or T2I-Adapter: found"),
        "{other}"
    );
    let folder = refusal("images");
    assert!(folder.contains("is a folder without weights"), "{folder}");
    let range = lab.refusal(&graph(&steered("start: 0.5, end: 0.5")));
    assert!(
        range.contains("the range begins at 0.5 and ends at 0.5"),
        "{range}"
    );
}
