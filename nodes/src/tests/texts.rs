//! Texts through the nodes: weights, embeddings, layers, and the two networks of XL.

use std::path::Path;

use ldm_models::text::{ClipConfig, Sizes, TextConfig};
use ldm_models::unet::LabelConfig;

use super::{Lab, MODEL, Tiny, two_clips};
use crate::values::{Conditioning, Entry, Latent};

fn encoded(lab: &mut Lab, nodes: &str, name: &str) -> Entry {
    let report = lab.run(nodes, &[name]);
    let told = report.value::<Conditioning>(&format!("{name}.conditioning"));
    told.unwrap().entries[0].clone()
}

fn xl(lab: &mut Lab, settings: &str) -> Entry {
    let nodes = format!(
        r#""sdxl": LoadModel(path: "weights/sdxl"),
        "told": TextEncode(text_encoder: "sdxl", {settings}),"#
    );
    encoded(lab, &nodes, "told")
}

/// A file of one embedding for each of the two networks.
fn make_embedding(lab: &Lab, name: &str, first: f32) {
    let bytes = |width: usize| -> Vec<u8> {
        let numbers = (0..2 * width).map(|i| first + i as f32);
        numbers.flat_map(f32::to_le_bytes).collect()
    };
    let (l, g) = (bytes(4), bytes(6));
    let view = |bytes, width| {
        let shape = vec![2, width];
        safetensors::tensor::TensorView::new(safetensors::Dtype::F32, shape, bytes).unwrap()
    };
    let tensors = [("clip_l", view(&l, 4)), ("clip_g", view(&g, 6))];
    let file = safetensors::serialize(tensors, None).unwrap();
    std::fs::write(lab.folder.path().join(name), file).unwrap();
}

#[test]
fn xl_reads_with_both_networks_and_gives_the_seconds_vector() {
    let mut lab = Lab::new();
    lab.text_model("sdxl", two_clips());
    let told = xl(&mut lab, r#"text: "a red house""#);
    assert_eq!(told.tokens.as_ref().unwrap().shape(), [1, 77, 10]);
    assert_eq!(told.vector.as_ref().unwrap().shape(), [1, 5]);
    let nodes = r#""sdxl": LoadModel(path: "weights/sdxl"),
        "told": TextEncodeSdxl(text_encoder: "sdxl", text: "a red house", crop_left: 8),"#;
    let sized = encoded(&mut lab, nodes, "told");
    let vector = sized.vector.unwrap();
    assert_eq!(vector.shape(), [1, 5 + 6 * 256]);
    assert_eq!(vector.numbers()[..5], *told.vector.unwrap().numbers());
    assert_eq!(sized.tokens, told.tokens);
    let other = nodes.replace("crop_left", r#"text_l: "a blue house", crop_left"#);
    let other = encoded(&mut lab, &other, "told").tokens.unwrap();
    let (a, b) = (other.numbers(), sized.tokens.as_ref().unwrap().numbers());
    let same =
        |at: usize, part: std::ops::Range<usize>| a[at * 10..][part.clone()] == b[at * 10..][part];
    assert!(
        !same(2, 0..4) && same(2, 4..10),
        "the first network reads other words"
    );
}

#[test]
fn a_long_text_takes_more_rows_and_weights_move_their_words_alone() {
    let mut lab = Lab::new();
    lab.text_model("sdxl", two_clips());
    let long = format!(r#"text: "{}""#, "house ".repeat(100));
    let told = xl(&mut lab, &long);
    assert_eq!(told.tokens.unwrap().shape(), [1, 154, 10]);
    let plain = xl(&mut lab, r#"text: "a red house""#);
    let weighted = xl(&mut lab, r#"text: "a (red:1.5) house""#);
    let (a, b) = (plain.tokens.unwrap(), weighted.tokens.unwrap());
    let same = |at: usize| a.numbers()[at * 10..][..10] == b.numbers()[at * 10..][..10];
    let moved: Vec<usize> = (0..77).filter(|at| !same(*at)).collect();
    assert_eq!(moved, [2], "BOS, a, red");
    assert_eq!(plain.vector, weighted.vector);
    let literal = xl(&mut lab, r#"text: "a (red:1.5) house", syntax: Plain"#);
    assert_ne!(literal.tokens.unwrap(), b);
}

#[test]
fn an_earlier_layer_gives_other_tokens_and_the_same_vector() {
    let mut lab = Lab::new();
    lab.text_model("sdxl", two_clips());
    let own = xl(&mut lab, r#"text: "a red house""#);
    let second = xl(&mut lab, r#"text: "a red house", clip_skip: 2"#);
    let last = xl(&mut lab, r#"text: "a red house", clip_skip: 1"#);
    assert_eq!(own, second, "XL was trained with the layer before the last");
    assert_ne!(own.tokens, last.tokens);
    assert_eq!(own.vector, last.vector);
    let said = lab.refusal(
        r#""sdxl": LoadModel(path: "weights/sdxl"),
        "told": TextEncode(text_encoder: "sdxl", text: "", clip_skip: 3),"#,
    );
    assert!(
        said.contains("layer 3 from the end was asked for, wanted 1 to 2"),
        "{said}"
    );
    let said = lab.refusal(&format!(
        r#"{MODEL} "told": TextEncode(text_encoder: "model", text: "", clip_skip: 2),"#
    ));
    assert!(
        said.contains("is of CLIP's text encoders") && said.contains("leave it out"),
        "{said}"
    );
}

#[test]
fn a_network_that_wants_sizes_is_told_those_of_the_picture_where_the_text_tells_none() {
    let mut lab = Lab::new();
    lab.text_model("sdxl", two_clips());
    let tiny = Tiny {
        width: 10,
        label: Some(LabelConfig::Vector(Sizes::width(5, true))),
        ..Tiny::default()
    };
    lab.model("xl", &tiny);
    let mut drawn = |text: &str| {
        let nodes = format!(
            r#""model": LoadModel(path: "weights/xl"),
            "sdxl": LoadModel(path: "weights/sdxl"),
            "noise": EmptyLatent(vae: "model", width: 32, height: 16),
            "told": {text},
            "latent": Denoise(unet: "model", latent: "noise", positive: "told", steps: 2),"#
        );
        let report = lab.run(&nodes, &["latent"]);
        let latent = report.value::<Latent>("latent.latent").unwrap();
        latent.numbers.numbers().to_vec()
    };
    let told = drawn(r#"TextEncode(text_encoder: "sdxl", text: "a")"#);
    let sized = |width: usize| {
        format!(
            r#"TextEncodeSdxl(
                text_encoder: "sdxl", text: "a", original_width: {width}, original_height: 16,
            )"#
        )
    };
    assert_eq!(told, drawn(&sized(32)));
    assert_ne!(told, drawn(&sized(64)));
}

#[test]
fn an_embedding_is_part_of_what_a_text_is() {
    let mut lab = Lab::new();
    lab.text_model("sdxl", two_clips());
    make_embedding(&lab, "cat.safetensors", 0.0);
    let settings = r#"text: "a embedding:cat", embeddings: ["cat.safetensors"]"#;
    let told = xl(&mut lab, settings);
    assert_eq!(told, xl(&mut lab, settings));
    make_embedding(&lab, "cat.safetensors", 0.5);
    assert_ne!(
        told.tokens,
        xl(&mut lab, settings).tokens,
        "the file's content counts"
    );
    std::fs::rename(
        lab.folder.path().join("cat.safetensors"),
        lab.folder.path().join("dog.safetensors"),
    )
    .unwrap();
    let told = |nodes: &str| {
        lab.refusal(&format!(
            r#""sdxl": LoadModel(path: "weights/sdxl"),
            "told": TextEncode(text_encoder: "sdxl", {nodes}),"#
        ))
    };
    let said = told(r#"text: "embedding:cat", embeddings: ["dog.safetensors"]"#);
    assert!(
        said.contains("calls `embedding:cat`, the embeddings given are: dog"),
        "{said}"
    );
    let said = told(r#"text: "embedding:cat""#);
    assert!(said.contains("and no embeddings are given"), "{said}");
    let said = told(r#"text: "", embeddings: ["dog.safetensors", "dog.safetensors"]"#);
    assert!(said.contains("two of the files are called `dog`"), "{said}");
    let said = told(r#"text: "", embeddings: ["images/scene.png"]"#);
    assert!(
        said.contains("neither a safetensors file nor a checkpoint"),
        "{said}"
    );
    let said = told(r#"text: "", embeddings: ["style.safetensors"]"#);
    let wanted = "style.safetensors is an adapter, no embedding: link the model through";
    assert!(said.contains(wanted), "{said}");
}

#[test]
fn an_embedding_is_read_from_a_pickle() {
    let mut lab = Lab::new();
    let narrow = ClipConfig {
        width: 4,
        layers: 1,
        heads: 1,
        feed: 8,
        ..ClipConfig::vit_l()
    };
    lab.text_model("sd1", TextConfig::Clip(narrow));
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden/checkpoints");
    let mut told = |file: &str, text: &str| {
        let name = file.rsplit_once('.').unwrap().0;
        std::fs::copy(golden.join(file), lab.folder.path().join(file)).unwrap();
        let nodes = format!(
            r#""sd1": LoadModel(path: "weights/sd1"),
            "told": TextEncode(
                text_encoder: "sd1", text: "a {text}", embeddings: ["{file}"],
            ),"#
        );
        encoded(&mut lab, &nodes.replace("NAME", name), "told")
            .tokens
            .unwrap()
    };
    let web_ui = told("embedding_web_ui.pt", "embedding:NAME");
    assert_eq!(web_ui, told("embedding_bare.pt", "embedding:NAME"));
    assert_eq!(web_ui, told("embedding_old.pt", "embedding:NAME"));
    assert_ne!(web_ui, told("embedding_web_ui.pt", "cat"));
    assert_ne!(
        web_ui,
        told("embedding_diffusers.bin", "embedding:NAME"),
        "of one vector"
    );
}

#[test]
fn an_embedding_for_another_model_and_a_text_encoder_without_vector_are_refused() {
    let lab = Lab::new();
    make_embedding(&lab, "cat.safetensors", 0.0);
    let narrow = ClipConfig {
        width: 8,
        layers: 1,
        heads: 2,
        feed: 8,
        ..ClipConfig::vit_l()
    };
    lab.text_model("sd1", TextConfig::Clip(narrow));
    let refusal = |node: &str| {
        lab.refusal(&format!(
            r#"{MODEL} "sd1": LoadModel(path: "weights/sd1"), "told": {node},"#
        ))
    };
    let called = r#"text: "embedding:cat", embeddings: ["cat.safetensors"]"#;
    let said = refusal(&format!(r#"TextEncode(text_encoder: "sd1", {called})"#));
    assert!(
        said.contains("vectors 4 wide, the text encoder's tokens are 8"),
        "{said}"
    );
    let said = refusal(&format!(r#"TextEncode(text_encoder: "model", {called})"#));
    assert!(said.contains("takes no embeddings"), "{said}");
    let said = refusal(r#"TextEncodeSdxl(text_encoder: "sd1", text: "")"#);
    assert!(
        said.contains("gives no vector for the whole text"),
        "{said}"
    );
}

#[test]
fn a_vocabulary_of_more_ids_than_the_embedding_has_rows_is_refused() {
    let lab = Lab::new();
    let short = ClipConfig {
        vocab_size: 40_000,
        pad: 0,
        end: Some(1),
        width: 8,
        layers: 1,
        heads: 2,
        feed: 8,
        ..ClipConfig::vit_l()
    };
    lab.text_model("short", TextConfig::Clip(short));
    let said = lab.refusal(r#""short": LoadModel(path: "weights/short"),"#);
    let wanted = "has ids up to 49407, wanted less than vocab_size, 40000";
    assert!(said.contains(wanted), "{said}");
}

#[test]
fn the_papers_text_encoder_takes_weights_too() {
    let mut lab = Lab::new();
    let nodes = format!(
        r#"{MODEL}
        "heavy": TextEncode(text_encoder: "model", text: "a (red:1.5) house"),"#
    );
    let plain = encoded(&mut lab, &nodes, "wanted").tokens.unwrap();
    let heavy = encoded(&mut lab, &nodes, "heavy").tokens.unwrap();
    let empty = encoded(&mut lab, &nodes, "empty").tokens.unwrap();
    let one = |of: &crate::Array<3>, at: usize| of.numbers()[at * 4..][..4].to_vec();
    for at in [0, 1, 3, 4, 5] {
        assert_eq!(one(&plain, at), one(&heavy, at), "{at}");
    }
    let (z, e) = (one(&plain, 2), one(&empty, 2));
    for (i, found) in one(&heavy, 2).into_iter().enumerate() {
        assert!((found - (e[i] + (z[i] - e[i]) * 1.5)).abs() < 1e-5);
    }
}

#[test]
fn a_text_encoder_with_clips_own_vocabulary_is_saved_and_loaded() {
    let mut lab = Lab::new();
    lab.text_model("sdxl", two_clips());
    let save = r#""sdxl": LoadModel(path: "weights/sdxl"),
        "save": SaveModel(text_encoder: "sdxl", path: "xl"),"#;
    lab.run(save, &[]);
    assert_eq!(lab.wrote["save"].len(), 2, "{:?}", lab.wrote);
    let told = xl(&mut lab, r#"text: "a""#);
    let again = encoded(
        &mut lab,
        r#""xl": LoadModel(path: "out/xl"),
        "told": TextEncode(text_encoder: "xl", text: "a"),"#,
        "told",
    );
    assert_eq!(told.tokens.unwrap().shape(), again.tokens.unwrap().shape());
}
