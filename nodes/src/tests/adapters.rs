//! Adapters on a model of a few channels.

use ldm_engine::{Identity, Value};
use ldm_models::weights::{SaveAs, TensorWriter};

use super::{Lab, MODEL, Tiny};
use crate::Array;
use crate::values::Latent;

/// A middle layer of the small model's UNet, and one of its text encoder.
const UNET: &str = "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn2_to_k";
const TEXT: &str = "lora_te_model_layers_0_fc1";

/// Writes an adapter: tensors as matrices, their numbers small and all different.
pub(super) fn make_adapter(path: &std::path::Path, tensors: &[(String, [usize; 2])]) {
    let mut writer = TensorWriter::default();
    for (name, shape) in tensors {
        let count = shape[0] * shape[1];
        let numbers = (0..count).map(|i| (i as f32 + 1.0).sin() / 2.0).collect();
        let device = burn::tensor::Device::flex();
        let tensor = Array::new(*shape, numbers).tensor(&device, burn::tensor::DType::F32);
        writer.tensor(name, &tensor);
    }
    writer.write(path, SaveAs::F32).unwrap();
}

/// Up and down of one layer.
pub(super) fn low(layer: &str, out: usize, inputs: usize) -> [(String, [usize; 2]); 2] {
    let name = |piece: &str| format!("{layer}.lora_{piece}.weight");
    [(name("up"), [out, 2]), (name("down"), [2, inputs])]
}

/// The adapter that examples name: for both networks.
pub(super) fn make_style(folder: &std::path::Path) {
    let tensors = [low(UNET, 8, 4), low(TEXT, 16, 4)].concat();
    make_adapter(&folder.join("style.safetensors"), &tensors);
}

fn walk(name: &str, unet: &str, text: &str) -> String {
    format!(
        r#""said_{name}": TextEncode(text_encoder: "{text}", text: "a red house"),
        "{name}": Denoise(unet: "{unet}", latent: "noise", positive: "said_{name}", steps: 2),"#
    )
}

fn style(name: &str, of: &str, settings: &str) -> String {
    format!(
        r#""{name}": ApplyLora(
            unet: "{of}.unet", text_encoder: "{of}.text_encoder", path: "style.safetensors", {settings}
        ),"#
    )
}

fn latent(value: &Value) -> Vec<f32> {
    value.get::<Latent>().unwrap().numbers.numbers().to_vec()
}

#[test]
fn each_strength_changes_its_own_network() {
    let mut lab = Lab::new();
    let settings = [
        ("none", "strength: 0.0, text_strength: 0.0"),
        ("unet", "strength: 1.0, text_strength: 0.0"),
        ("text", "strength: 0.0, text_strength: 1.0"),
        ("both", ""),
        ("half", "strength: 0.5, text_strength: 0.5"),
        ("minus", "strength: -1.0, text_strength: 0.0"),
    ];
    let mut nodes = format!("{MODEL}{}", walk("plain", "model", "model"));
    for (name, settings) in settings {
        nodes += &style(&format!("s_{name}"), "model", settings);
        nodes += &walk(name, &format!("s_{name}"), &format!("s_{name}"));
    }
    let names = ["plain", "none", "unet", "text", "both", "half", "minus"];
    let changed = ["model", "s_none", "s_unet", "s_text"];
    let report = lab.run(&nodes, &[&names[..], &changed[..]].concat());
    let of = |name: &str| latent(&report.values[&format!("{name}.latent")]);
    assert_eq!(of("plain"), of("none"), "strength 0 is no adapter at all");
    let identity = |name: &str| report.values[name].identity();
    assert_eq!(identity("s_none.unet"), identity("model.unet"));
    assert_eq!(identity("s_text.unet"), identity("model.unet"));
    assert_eq!(
        identity("s_unet.text_encoder"),
        identity("model.text_encoder")
    );
    let changed: Vec<Vec<f32>> = names.iter().skip(2).map(|name| of(name)).collect();
    for (i, one) in changed.iter().enumerate() {
        assert!(*one != of("plain") && changed[..i].iter().all(|other| other != one));
    }
    // Plain, 1, 0.5 and −1 of the UNet; plain, 1 and 0.5 of the text encoder.
    let loads = |what: &str| lab.loads.iter().filter(|load| *load == what).count();
    assert_eq!((loads("Unet"), loads("TextEncoder")), (4, 3));
}

#[test]
fn adapters_follow_one_another_and_are_known_by_content_and_strength() {
    let mut lab = Lab::new();
    std::fs::copy(
        lab.folder.path().join("style.safetensors"),
        lab.folder.path().join("copy.safetensors"),
    )
    .unwrap();
    let other = [low(UNET, 8, 4), low(TEXT, 16, 4)].concat();
    let other: Vec<_> = other
        .into_iter()
        .chain([("x".to_owned(), [1, 1])])
        .collect();
    make_adapter(&lab.folder.path().join("other.safetensors"), &other);
    let copy = |text: String| text.replace("style.safetensors", "copy.safetensors");
    let other = |text: String| text.replace("style.safetensors", "other.safetensors");
    let nodes = [
        MODEL.to_owned(),
        style("a", "model", ""),
        copy(style("same", "model", "")),
        style("ab", "a", "strength: 0.5"),
        style("b", "model", "strength: 0.5"),
        style("ba", "b", ""),
        other(style("c", "model", "")),
        walk("one", "a", "a"),
        walk("two", "ab", "ab"),
        walk("again", "ba", "ba"),
    ]
    .concat();
    let only = [
        "one", "two", "again", "model", "a", "same", "ab", "b", "ba", "c",
    ];
    let report = lab.run(&nodes, &only);
    let identity = |name: &str| report.values[&format!("{name}.unet")].identity();
    assert_eq!(identity("a"), identity("same"), "the same bytes elsewhere");
    let all: Vec<Identity> = ["a", "ab", "b", "ba", "c", "model"].map(identity).to_vec();
    for (i, one) in all.iter().enumerate() {
        assert!(all[..i].iter().all(|other| other != one), "{i}");
    }
    let of = |name: &str| latent(&report.values[&format!("{name}.latent")]);
    assert_ne!(of("one"), of("two"));
    let close = of("two")
        .iter()
        .zip(of("again"))
        .all(|(a, b)| (a - b).abs() < 1e-2);
    assert!(close, "what only adds may come in any order");
    assert!(
        lab.notes
            .iter()
            .any(|note| note.contains("1 tensors of the adapter"))
    );
    // Nothing changed: nothing runs, and no weight is read.
    let report = lab.run(&nodes, &only);
    assert!(
        report.done.ran.is_empty() && lab.loads.is_empty(),
        "{:?}",
        report.done.ran
    );
}

#[test]
fn an_adapter_is_read_from_a_pickle() {
    let mut lab = Lab::new();
    let golden = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../tests/golden/checkpoints/adapter.pt"
    );
    std::fs::copy(golden, lab.folder.path().join("adapter.pt")).unwrap();
    let nodes = [
        MODEL,
        r#""s": ApplyLora(unet: "model", path: "adapter.pt"),"#,
        &walk("plain", "model", "model"),
        &walk("changed", "s", "model"),
    ]
    .concat();
    let report = lab.run(&nodes, &["plain", "changed"]);
    let of = |name: &str| latent(&report.values[&format!("{name}.latent")]);
    assert_ne!(of("plain"), of("changed"));
    let adapters = lab.notes.iter().filter(|note| note.contains("adapter"));
    assert_eq!(adapters.count(), 0, "all of it fits: {:?}", lab.notes);
}

#[test]
fn what_does_not_fit_is_told_while_planning() {
    let lab = Lab::new();
    lab.model(
        "wide",
        &Tiny {
            width: 6,
            ..Tiny::default()
        },
    );
    let path = |name: &str| lab.folder.path().join(name);
    make_adapter(&path("text.safetensors"), &low(TEXT, 16, 4));
    make_adapter(
        &path("alien.safetensors"),
        &low("lora_unet_double_blocks_0_img_attn_qkv", 8, 4),
    );
    std::fs::write(
        path("page.safetensors"),
        "<!DOCTYPE html><html>Not found</html>",
    )
    .unwrap();
    let check = |node: &str, wanted: &[&str]| {
        let said = lab.refusal(&format!(
            r#"{MODEL} "m": LoadModel(path: "weights/wide"), {node}"#
        ));
        for words in wanted {
            assert!(said.contains(words), "wanted {words:?} in:\n{said}");
        }
    };
    check(
        r#""bad": ApplyLora(unet: "m", path: "style.safetensors"),"#,
        &[
            "0 of 1 targets fit this UNet",
            "is for a weight of [8, 4], here it is [8, 6]",
            "same family",
        ],
    );
    check(
        r#""bad": ApplyLora(unet: "model", path: "alien.safetensors"),"#,
        &[
            "0 of 1 targets fit this UNet",
            "there is no `lora_unet_double_blocks_0_img_attn_qkv`",
        ],
    );
    let xl = "lora_unet_middle_block_1_transformer_blocks_3_attn2_to_k";
    make_adapter(&path("xl.safetensors"), &low(xl, 8, 2048));
    check(
        r#""bad": ApplyLora(unet: "model", path: "xl.safetensors"),"#,
        &["it is one for Stable Diffusion XL"],
    );
    check(
        r#""bad": ApplyLora(unet: "model", path: "text.safetensors"),"#,
        &["the adapter is for a text encoder, which is not linked"],
    );
    check(
        r#""bad": ApplyLora(path: "style.safetensors"),"#,
        &[
            "has nothing to change",
            "link `unet`, `text_encoder` or both",
        ],
    );
    check(
        r#""bad": ApplyLora(unet: "model", path: "page.safetensors"),"#,
        &["page.safetensors is a web page, not weights"],
    );
    check(
        r#""bad": ApplyLora(unet: "model", path: "latent.safetensors"),"#,
        &["is no adapter that is known here", "tensors like `latent`"],
    );
    check(
        r#""s": ApplyLora(text_encoder: "model", path: "text.safetensors"),
        "bad": Denoise(unet: "s", latent: "noise", positive: "wanted"),"#,
        &["unet"],
    );
}
