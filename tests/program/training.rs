//! Training that is killed with `kill -9`, and training that is asked for more steps: both go on.

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use serde_json::Value;

use crate::lab::{Chance, Lab};
use crate::running::{events, names};

/// An autoencoder and then a UNet of a few channels, on six scenes.
const TRAINING: &str = r#"Graph(
    inputs: { "steps": Int(60) },
    nodes: {
        "scenes": WorldDataset(seed: 1, count: 6, size: 16),
        "vae": TrainAutoencoder(
            dataset: "scenes", channels: 8, multipliers: [1, 1], blocks: 1, latent_channels: 4,
            norm_groups: 4, steps: 60, batch: 2, lr: 0.001, ema: 0.9, checkpoint_every: 7, seed: 5,
        ),
        "text": TrainDiffusion(
            dataset: "scenes", vae: "vae", channels: 8, multipliers: [1], blocks: 1,
            head_channels: 4, norm_groups: 4, context: 8, text_layers: 1, text_length: 16,
            steps: Input("steps"), batch: 2, lr: 0.001, ema: 0.9, checkpoint_every: 7, seed: 6,
        ),
        "save": SaveModel(
            unet: "text.unet", text_encoder: "text.text_encoder", vae: "vae", path: "trained",
        ),
    },
)"#;

/// Steps of each network.
const STEPS: u64 = 60;
/// Steps between checkpoints.
const EVERY: u64 = 7;

fn train(lab: &Lab, flags: &[&str]) -> Vec<Value> {
    lab.write("train.ron", TRAINING);
    let ended = lab.run([&["run", "train.ron", "--json"], flags].concat());
    events(ended.code(0))
}

/// Starts the training, ends it with SIGKILL when a node has told of so many steps, and gives
/// what it told.
fn killed_after(lab: &Lab, node: &str, steps: u64) -> Vec<Value> {
    lab.write("train.ron", TRAINING);
    let mut command = lab.command(["run", "train.ron", "--json"]);
    command.stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().expect("the program starts");
    let mut lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
    let mut told = Vec::new();
    while told.last().and_then(|last| step(last, node, STEPS)) < Some(steps) {
        let line = lines.next().expect("more steps").expect("text");
        told.push(serde_json::from_str(&line).expect("an event"));
    }
    assert!(child.try_wait().expect("a state").is_none(), "it lives");
    child.kill().expect("a kill");
    child.wait().expect("an end");
    told
}

/// The training step that an event tells of; pictures are encoded in steps of another number.
fn step(event: &Value, node: &str, steps: u64) -> Option<u64> {
    let own = event["node"] == node && event["state"] == "progress" && event["steps"] == steps;
    event["step"].as_u64().filter(|_| own)
}

/// The first training step of a run.
fn first(told: &[Value], node: &str, steps: u64) -> Option<u64> {
    told.iter().find_map(|event| step(event, node, steps))
}

/// The weights that were trained.
fn trained(lab: &Lab, out: &str) -> [Vec<u8>; 3] {
    let names = [
        "vae.safetensors",
        "unet.safetensors",
        "text_encoder.safetensors",
    ];
    let read = |name| lab.read(&format!("{out}/trained/{name}"));
    names.map(|name| read(name).unwrap_or_else(|| panic!("no {name}")))
}

#[test]
fn a_training_that_was_killed_ends_in_the_same_weights_as_one_that_was_not() {
    let (whole, lab) = (Lab::new(), Lab::new());
    train(&whole, &[]);
    let mut chance = Chance::new();
    let mut draw = || 1 + EVERY + chance.below(STEPS / 2);
    let (in_vae, in_text) = (draw(), draw());
    killed_after(&lab, "vae", in_vae);
    let second = killed_after(&lab, "text", in_text);
    let third = train(&lab, &[]);
    // The checkpoint of the step that was told of last may have been under way.
    let least = |killed: u64| Some((killed - 1) / EVERY * EVERY + 1);
    let (vae, text) = (first(&second, "vae", STEPS), first(&third, "text", STEPS));
    assert!(vae >= least(in_vae), "{vae:?} after {in_vae}");
    assert!(text >= least(in_text), "{text:?} after {in_text}");
    assert_eq!(first(&third, "vae", STEPS), None, "it had finished");
    assert!(trained(&lab, "out") == trained(&whole, "out"));
}

#[test]
fn raising_the_steps_goes_on_from_the_last_one() {
    let (whole, lab) = (Lab::new(), Lab::new());
    let more = ["--set", "steps=80", "--out", "more"];
    train(&whole, &more);
    train(&lab, &[]);
    let told = train(&lab, &more);
    assert_eq!(names(told.last().expect("events"), "ran"), ["text", "save"]);
    assert_eq!(first(&told, "text", 80), Some(STEPS + 1));
    assert!(trained(&lab, "more") == trained(&whole, "more"));
    assert!(trained(&lab, "more") != trained(&lab, "out"));
}
