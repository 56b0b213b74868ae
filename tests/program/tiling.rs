//! Pictures that `--memory` does not hold at once: what is told of them, and that their results
//! are kept apart.

use serde_json::Value;

use crate::lab::{Lab, models, utf8};
use crate::running::{events, names};

/// A picture of 256 px, for which the tiny autoencoder takes about 6 MiB at once.
const PICTURE: &str = r#"
    "model": LoadModel(path: "weights/text"),
    "latent": EmptyLatent(vae: "model", width: 256, height: 256),
    "image": VaeDecode(vae: "model", latent: "latent"),
    "save": SaveImage(image: "image", path: "picture.png", metadata: false),
"#;
const LITTLE: [&str; 2] = ["--memory", "4M"];

/// The messages of a run's notes, and the nodes that ran.
fn told(lab: &Lab, flags: &[&str]) -> (Vec<String>, Vec<String>) {
    let ended = lab.graph(PICTURE, &[flags, &["--json"]].concat());
    ended.code(0);
    let all = events(&ended);
    let notes = all.iter().filter(|event| event["event"] == "note");
    let message = |note: &Value| note["message"].as_str().unwrap_or_default().to_owned();
    let done = all.last().expect("a last event");
    (notes.map(message).collect(), names(done, "ran"))
}

#[test]
fn little_memory_means_tiles_which_are_told_of_and_kept_apart() {
    let lab = Lab::new();
    let (notes, ran) = told(&lab, &["--memory", "1G"]);
    assert_eq!((notes.len(), ran.len()), (0, 4));
    let whole = lab.read("out/picture.png");
    let (notes, ran) = told(&lab, &[&LITTLE[..], &["--overwrite"]].concat());
    assert_eq!(ran, ["image", "save"]);
    let words = "9 tiles, in tiles of 128 px that share 16 px: at once it would take 6.";
    assert!(notes.len() == 1 && notes[0].starts_with(words), "{notes:?}");
    assert_ne!(lab.read("out/picture.png"), whole);
    // Another process finds each under its own key.
    let (_, ran) = told(&lab, &LITTLE);
    assert_eq!(ran, [""; 0]);
    let (_, ran) = told(&lab, &["--memory", "1G", "--overwrite"]);
    assert_eq!(ran, ["save"]);
    assert_eq!(lab.read("out/picture.png"), whole);
}

#[test]
fn explain_tells_of_tiles_and_why() {
    let lab = Lab::new();
    lab.write("graph.ron", format!("Graph(nodes: {{{PICTURE}}})"));
    let explain = |flags: &[&str]| {
        let always = ["explain", "graph.ron", "--models", utf8(models())];
        lab.run([&always[..], flags].concat()).code(0).out.clone()
    };
    let line = |text: &str| {
        let mut lines = text.lines();
        let line = lines.find(|line| line.starts_with("image"));
        line.expect("a line of `image`").to_owned()
    };
    let much = explain(&["--memory", "1G"]);
    assert!(!much.contains("tiles"), "{much}");
    let little = line(&explain(&LITTLE));
    let words = "; in tiles of 128 px that share 16 px, as at once it would take 6.";
    assert!(little.contains(words), "{little}");
    assert!(
        little.ends_with("and `--memory` leaves 3.0 MiB"),
        "{little}"
    );
    let json = explain(&[&LITTLE[..], &["--json", "image"]].concat());
    let json: Value = serde_json::from_str(&json).expect("one object");
    assert_eq!(
        json["narrowed"]["way"],
        "in tiles of 128 px that share 16 px"
    );
    assert_eq!(json["narrowed"]["memory"], 3 << 20);
}

#[test]
fn a_picture_in_tiles_carries_a_graph_that_asks_for_them() {
    let lab = Lab::new();
    let plain = PICTURE.replace(", metadata: false", "");
    let ended = lab.graph(&plain, &LITTLE);
    ended.code(0).says("9 tiles");
    let verify = ["verify", "out/picture.png", "--models", utf8(models())];
    // With much memory, that of this machine.
    lab.run(verify).code(0);
}

#[test]
fn a_lock_of_a_picture_at_once_refuses_tiles() {
    let lab = Lab::new();
    lab.write("graph.ron", format!("Graph(nodes: {{{PICTURE}}})"));
    let models = ["--models", utf8(models())];
    lab.run([&["lock", "graph.ron"], &models[..]].concat())
        .code(0);
    let run = [&["run", "graph.ron", "--locked"], &models[..]].concat();
    lab.run(&run).code(0);
    let refused = lab.run([&run[..], &LITTLE].concat());
    let words = r#"`image.way` was unset, is "in tiles of 128 px that share 16 px""#;
    refused
        .code(2)
        .says(words)
        .says("run with the `--memory` that was locked with");
}
