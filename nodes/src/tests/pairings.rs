//! What cannot work is told while planning, at the field it comes from.

use super::{Lab, MODEL, Tiny};

fn check(lab: &Lab, nodes: &str, wanted: &[&str]) {
    let said = lab.refusal(&format!("{MODEL}{nodes}"));
    for words in wanted {
        assert!(said.contains(words), "wanted {words:?} in:\n{said}");
    }
}

#[test]
fn sizes_that_cannot_be_are_planning_errors() {
    let lab = Lab::new();
    let latent = |size: &str| format!(r#""bad": EmptyLatent(vae: "model", {size}),"#);
    check(
        &lab,
        &latent("width: 33, height: 16"),
        &["takes a multiple of 8, found 33", "width: 40"],
    );
    check(
        &lab,
        &latent("width: 0, height: 16"),
        &["`bad.width` takes 1 to 16384, found 0"],
    );
    check(&lab, &latent("width: 8, height: -8"), &["height"]);
    check(&lab, &latent("width: 8, height: 99999999999"), &["height"]);
    let absurd = "width: 16384, height: 16384, batch: 4096";
    check(&lab, &latent(absurd), &["holds nothing, or over 1 GiB"]);
    let nodes = r#""odd": EmptyLatent(vae: "model", width: 8, height: 16),
        "bad": Denoise(unet: "model", latent: "odd", positive: "wanted"),"#;
    check(
        &lab,
        nodes,
        &["multiples of 2, found 1×2", "multiples of 16"],
    );
    let nodes = r#""scenes": WorldDataset(count: 10, size: 20),
        "scene": DatasetImage(dataset: "scenes", index: 3),
        "bad": VaeEncode(vae: "model", image: "scene"),"#;
    check(
        &lab,
        nodes,
        &["multiples of 8, found 20×20", "crop it to 16×16"],
    );
    let nodes = r#""scenes": WorldDataset(count: 10),
        "bad": DatasetImage(dataset: "scenes", index: 8, count: 3),"#;
    check(&lab, nodes, &["3 from number 8 on, but the dataset has 10"]);
    let nodes = r#""scenes": WorldDataset(count: 5000, size: 4096),
        "bad": DatasetImage(dataset: "scenes", count: 4096),"#;
    check(
        &lab,
        nodes,
        &["4096 pictures of 4096×4096 are none or over 1 GiB"],
    );
}

#[test]
fn parts_of_two_models_do_not_meet() {
    let lab = Lab::new();
    lab.model(
        "wide",
        &Tiny {
            channels: 3,
            width: 6,
            ..Tiny::default()
        },
    );
    lab.model(
        "loud",
        &Tiny {
            scale: 0.25,
            ..Tiny::default()
        },
    );
    let other = |name: &str, node: &str| {
        format!(r#""other": LoadModel(path: "weights/{name}"), "bad": {node},"#)
    };
    let nodes = other(
        "wide",
        r#"Denoise(unet: "other", latent: "noise", positive: "wanted")"#,
    );
    check(
        &lab,
        &nodes,
        &["`bad.latent`", "makes latents of 3 channels, found 2"],
    );
    let nodes = other("wide", r#"VaeDecode(vae: "other", latent: "noise")"#);
    check(&lab, &nodes, &["wants latents of 3 channels, found 2"]);
    let nodes = other("loud", r#"VaeDecode(vae: "other", latent: "noise")"#);
    check(
        &lab,
        &nodes,
        &["the latent is scaled by 0.5, this autoencoder by 0.25"],
    );
    let nodes = other(
        "loud",
        r#"Denoise(unet: "other", latent: "noise", positive: "wanted")"#,
    );
    check(
        &lab,
        &nodes,
        &[
            "the latent is scaled by 0.5, this UNet by 0.25",
            "`LoadVae(path: …, scale: …)`",
        ],
    );
    let nodes = other(
        "wide",
        r#"Denoise(unet: "model", latent: "noise", positive: "told")"#,
    ) + r#""told": TextEncode(text_encoder: "other", text: "a"),"#;
    check(&lab, &nodes, &["takes tokens 4 wide, found 6"]);
    let nodes = other(
        "wide",
        r#"ConcatConditioning(conditioning: ["wanted", "told"])"#,
    ) + r#""told": TextEncode(text_encoder: "other", text: "a"),"#;
    check(&lab, &nodes, &["4 wide", "6 wide"]);
    let nodes = other(
        "loud",
        r#"SaveModel(unet: "model", vae: "other", path: "mixed")"#,
    );
    check(&lab, &nodes, &["scale 0.5, the autoencoder's 0.25"]);
}

#[test]
fn a_network_is_told_what_it_needs_and_no_more() {
    let lab = Lab::new();
    let denoise = |rest: &str| format!(r#""bad": Denoise(unet: "model", latent: "noise"{rest}),"#);
    check(
        &lab,
        &denoise(""),
        &["needs a conditioning with tokens", "TextEncode"],
    );
    check(
        &lab,
        &denoise(r#", negative: "empty""#),
        &["needs a conditioning"],
    );
    let nodes = denoise(r#", positive: "shown""#)
        + r#""shown": ConcatLatent(conditioning: "wanted", latent: "noise"),"#;
    check(
        &lab,
        &nodes,
        &["takes 2 channels: the latent's 2 and 0 more, found 2 more"],
    );
    let nodes = denoise(r#", positive: "wanted", steps: 800, denoise: 0.5"#);
    check(&lab, &nodes, &["800 steps"]);
    check(
        &lab,
        &denoise(r#", positive: "wanted", cfg: NaN"#),
        &["cfg"],
    );
    check(
        &lab,
        &denoise(r#", positive: "wanted", sampler: Dim()"#),
        &["Ddim"],
    );
    check(
        &lab,
        &denoise(r#", positive: "wanted", sampler: Ddim(eta: 2.0)"#),
        &["eta"],
    );
    check(
        &lab,
        r#""bad": SaveModel(path: "nothing"),"#,
        &["nothing to save"],
    );
}

#[test]
fn files_that_are_not_what_they_should_be_are_planning_errors() {
    let lab = Lab::new();
    let put = |name: &str, bytes: &[u8]| {
        std::fs::write(lab.folder.path().join(name), bytes).unwrap();
    };
    put("words.png", b"this is no picture");
    put("words.safetensors", b"this is no tensor");
    check(
        &lab,
        r#""bad": LoadImage(path: "words.png"),"#,
        &["words.png is no picture"],
    );
    check(
        &lab,
        r#""bad": LoadImage(path: "weights"),"#,
        &["is a folder"],
    );
    check(
        &lab,
        r#""bad": LoadImage(path: "none.png"),"#,
        &["none.png"],
    );
    let nodes = r#""bad": LoadLatent(path: "words.safetensors"),"#;
    check(
        &lab,
        nodes,
        &["neither a safetensors file nor a checkpoint"],
    );
    let nodes = r#""bad": LoadLatent(path: "weights/text/vae.safetensors"),"#;
    check(&lab, nodes, &["has no tensor `latent`"]);
    let nodes = r#""bad": LoadModel(path: "images"),"#;
    check(&lab, nodes, &["model.ron"]);
    check(
        &lab,
        r#""bad": LoadModel(path: "words.png"),"#,
        &["is no folder"],
    );
    let nodes = r#""opaque": DatasetImage(dataset: "scenes"),
        "scenes": WorldDataset(count: 1),
        "bad": LoadImage(path: "grey.png"), "out": SaveImage(image: "bad.mask", path: "a.png"),"#;
    image::GrayImage::new(8, 8)
        .save(lab.folder.path().join("grey.png"))
        .unwrap();
    check(&lab, nodes, &["mask"]);
}

#[test]
fn weights_that_are_cut_or_of_another_network_are_planning_errors() {
    let lab = Lab::new();
    lab.model(
        "other",
        &Tiny {
            channels: 3,
            ..Tiny::default()
        },
    );
    let weights = lab.folder.path().join("weights");
    let whole = std::fs::read(weights.join("text/unet.safetensors")).unwrap();
    std::fs::write(
        weights.join("text/unet.safetensors"),
        &whole[..whole.len() - 1],
    )
    .unwrap();
    let said = lab.refusal(MODEL);
    assert!(
        said.contains("unet.safetensors is no whole safetensors file"),
        "{said}"
    );
    std::fs::copy(
        weights.join("other/unet.safetensors"),
        weights.join("text/unet.safetensors"),
    )
    .unwrap();
    let said = lab.refusal(MODEL);
    assert!(
        said.contains("tensors are not those of the network that this is taken for"),
        "{said}"
    );
    std::fs::write(weights.join("text/unet.safetensors"), whole).unwrap();
    std::fs::write(weights.join("text/tokenizer.json"), "{}").unwrap();
    let said = lab.refusal(MODEL);
    assert!(said.contains("this is no tokenizer"), "{said}");
}

#[test]
fn files_are_written_under_the_output_folder_and_by_their_kind() {
    let lab = Lab::new();
    let save = |path: &str| {
        format!(
            r#""photo": LoadImage(path: "images/scene.png"),
            "bad": SaveImage(image: "photo", path: "{path}"),"#
        )
    };
    check(&lab, &save("../a.png"), &["leaves the output folder"]);
    check(&lab, &save("/tmp/a.png"), &["leaves the output folder"]);
    check(&lab, &save("a.jpg"), &["`a.jpg` does not end in `.png`"]);
    check(&lab, &save("{seed}.png"), &["no input `seed`"]);
    let nodes = r#""bad": SaveLatent(latent: "noise", path: "a.png"),"#;
    check(&lab, nodes, &["does not end in `.safetensors`"]);
    check(
        &lab,
        r#""bad": SaveModel(vae: "model", path: "../model"),"#,
        &["leaves"],
    );
}
