//! Signals and a reader that goes away.
#![cfg(unix)]

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, ChildStdout, Command, Stdio};

use serde_json::Value;

use crate::lab::{Ended, Lab, models, utf8};

/// Minutes of work in small steps.
const SLOW: &str = r#"Graph(nodes: {
    "model": LoadModel(path: "weights/text"),
    "wanted": TextEncode(text_encoder: "model", text: "a red house"),
    "noise": EmptyLatent(vae: "model", width: 256, height: 256, batch: 8),
    "latent": Denoise(unet: "model", latent: "noise", positive: "wanted", steps: 500, cfg: 1.0),
    "image": VaeDecode(vae: "model", latent: "latent"),
    "save": SaveImage(image: "image", path: "a.png"),
})"#;

/// The slow graph under way: it has made a step.
fn started(lab: &Lab) -> (Child, BufReader<ChildStdout>) {
    lab.write("slow.ron", SLOW);
    let arguments = ["run", "slow.ron", "--json", "--models", utf8(models())];
    let mut command = lab.command(arguments);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the program starts");
    let mut lines = BufReader::new(child.stdout.take().expect("a pipe"));
    let mut line = String::new();
    while !line.contains(r#""state":"progress""#) {
        line.clear();
        let read = lines.read_line(&mut line).expect("events are text");
        if read == 0 {
            let ended = Ended::of(child.wait_with_output().expect("the program ends"));
            panic!("it ended in {}:\n{}", ended.code, ended.err);
        }
    }
    (child, lines)
}

fn signal(child: &Child, name: &str) {
    let mut command = Command::new("sh");
    let status = command
        .args(["-c", &format!("kill -{name} {}", child.id())])
        .status();
    assert!(status.expect("there is a shell").success());
}

#[test]
fn a_signal_stops_at_the_next_step_and_keeps_what_had_finished() {
    for name in ["INT", "TERM"] {
        let lab = Lab::new();
        let (child, mut lines) = started(&lab);
        signal(&child, name);
        let mut rest = String::new();
        lines.read_to_string(&mut rest).expect("events are text");
        let ended = Ended::of(child.wait_with_output().expect("the program ends"));
        ended.code(130).says("stopping");
        let last = rest.lines().last().expect("events");
        let done: Value = serde_json::from_str(last).expect("an event");
        assert_eq!(done["event"], "done");
        assert_eq!(
            done["cancelled"],
            serde_json::json!(["latent", "image", "save"])
        );
        assert!(done["ran"].to_string().contains("wanted"), "{done}");
        assert!(lab.read("out/a.png").is_none());
    }
}

#[test]
fn a_second_signal_ends_it() {
    let lab = Lab::new();
    let (child, lines) = started(&lab);
    signal(&child, "INT");
    // The first may have ended it already.
    let _ = Command::new("sh")
        .args(["-c", &format!("kill -INT {}", child.id())])
        .status();
    drop(lines);
    let ended = Ended::of(child.wait_with_output().expect("the program ends"));
    ended.code(130);
}

#[test]
fn a_reader_that_goes_away_stops_the_run_quietly() {
    let lab = Lab::new();
    let (child, lines) = started(&lab);
    drop(lines);
    let ended = Ended::of(child.wait_with_output().expect("the program ends"));
    ended.code(130);
    assert!(
        !ended.err.contains("error") && !ended.err.contains("bug"),
        "{}",
        ended.err
    );
}
