//! Every kind's example, run; and the guard of the kinds' versions.
//!
//! The examples are lines of one graph: what one names, another gives. `versions.txt` holds the
//! identity of what each gave, beside its kind's version. `LDM_BLESS=1 cargo test` writes it
//! anew; read the difference before committing it.

use std::fmt::Write;
use std::path::Path;

use ldm_engine::{Data, Identity, Value};

use super::{Lab, two_clips};
use crate::list;
use crate::values::{Conditioning, Entry, Image, Latent};

/// What the examples name and no example gives.
const BESIDE: &str = r#"
    "empty": TextEncode(text_encoder: "model", text: ""),
    "also": TextEncode(text_encoder: "model", text: "by the lake"),
    "unseen": WorldDataset(seed: 2, count: 3),
    "sdxl": LoadModel(path: "weights/sdxl"),
    "cin": LoadModel(path: "weights/classes"),
    "landscapes": LoadModel(path: "weights/classes"),
    "map": LoadImage(path: "images/map.png"),
"#;

/// Settings that make an example quick; what it shows stays the same.
const QUICK: &[(&str, &str)] = &[
    ("steps: 50", "steps: 3"),
    ("steps: 2800", "steps: 2"),
    ("steps: 6000", "steps: 2"),
    ("batch: 64", "batch: 2"),
    ("count: 30000", "count: 8"),
    ("captions: 200", "captions: 3"),
];

/// How far numbers may lie apart, of themselves, on a machine with other numerics.
const CLOSE: f32 = 2e-3;

fn all_examples(lab: &Lab) -> String {
    let mut nodes = BESIDE.to_owned();
    for kind in lab.kinds.iter() {
        nodes += kind.example;
        nodes += ",\n";
    }
    QUICK
        .iter()
        .fold(nodes, |nodes, (slow, quick)| nodes.replace(slow, quick))
}

/// The name of the node that a kind's example is.
fn name_of(example: &str) -> &str {
    example
        .trim_start()
        .trim_start_matches('"')
        .split('"')
        .next()
        .unwrap()
}

#[test]
fn every_example_runs_and_no_result_moves_without_its_version() {
    let mut lab = Lab::new();
    lab.text_model("sdxl", two_clips());
    let nodes = all_examples(&lab);
    let names: Vec<String> = list()
        .iter()
        .map(|kind| name_of(kind.example).to_owned())
        .collect();
    let only: Vec<&str> = names.iter().map(String::as_str).collect();
    let report = lab.run(&nodes, &only);
    for name in &names {
        assert!(report.done.ran.contains(name), "`{name}` did not run");
    }
    let mut lines = Vec::new();
    for (kind, name) in list().iter().zip(&names) {
        for output in &kind.outputs {
            if let Some(value) = report.values.get(&format!("{name}.{}", output.name)) {
                let what = format!("{} {} {}", kind.name, kind.version, output.name);
                lines.push((what, value.identity(), sketch(value)));
            }
        }
        if let Some(files) = lab.wrote.get(name) {
            let bytes = files.iter().flat_map(|file| std::fs::read(file).unwrap());
            let identity = Identity::of(&[&bytes.collect::<Vec<u8>>()]);
            lines.push((
                format!("{} {} files", kind.name, kind.version),
                identity,
                String::new(),
            ));
        }
    }
    compare(&lab.host.numerics, &lines);
}

/// Eight of a value's numbers, where it has numbers.
fn sketch(value: &Value) -> String {
    let numbers = if let Some(image) = value.get::<Image>() {
        image.pixels().numbers().to_vec()
    } else if let Some(latent) = value.get::<Latent>() {
        latent.numbers.numbers().to_vec()
    } else if let Some(told) = value.get::<Conditioning>() {
        let of = |entry: &Entry| {
            let tokens = entry.tokens.iter().flat_map(|x| x.numbers());
            let channels = entry.channels.iter().flat_map(|x| x.numbers());
            tokens.chain(channels).copied().collect::<Vec<f32>>()
        };
        told.entries.iter().flat_map(of).collect()
    } else {
        return String::new();
    };
    let step = (numbers.len() / 8).max(1);
    let some: Vec<String> = numbers
        .iter()
        .step_by(step)
        .map(|x| format!("{x:.4}"))
        .collect();
    some.join(" ")
}

/// Holds what was found to what is recorded: identities where the numerics are those of the
/// record, else the sketches; kinds that only moved their version are recorded anew by hand.
fn compare(numerics: &str, found: &[(String, Identity, String)]) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/tests/versions.txt");
    let mut text = format!("{numerics}\n");
    for (what, identity, sketch) in found {
        let _ = writeln!(text, "{what}: {identity}: {sketch}");
    }
    if std::env::var_os("LDM_BLESS").is_some() {
        return std::fs::write(&path, text).unwrap();
    }
    let record = std::fs::read_to_string(&path).unwrap();
    let (recorded, lines) = record.split_once('\n').unwrap();
    let known: Vec<Vec<&str>> = lines
        .lines()
        .map(|line| line.split(": ").collect())
        .collect();
    assert_eq!(
        known.len(),
        found.len(),
        "a kind came or went: LDM_BLESS=1 records it"
    );
    for ((what, identity, sketch), known) in found.iter().zip(&known) {
        assert_eq!(
            what, known[0],
            "a version moved: LDM_BLESS=1 records what goes with it"
        );
        let told = "gives another result under the same version: raise the kind's version, or undo";
        if recorded == numerics {
            assert_eq!(identity.to_string(), known[1], "{what} {told}");
        } else {
            let numbers = |text: &str| -> Vec<f32> {
                text.split_whitespace()
                    .map(|x| x.parse().unwrap())
                    .collect()
            };
            let (new, old) = (
                numbers(sketch),
                numbers(known.get(2).copied().unwrap_or_default()),
            );
            let near = new
                .iter()
                .zip(&old)
                .all(|(a, b)| (a - b).abs() <= CLOSE * a.abs().max(1.0));
            assert!(
                new.len() == old.len() && near,
                "{what} {told}: {new:?} {old:?}"
            );
        }
    }
}

#[test]
fn data_comes_back_from_its_bytes_with_the_same_identity() {
    fn check<T: Data>(value: &Value) {
        if let Some(value) = value.get::<T>() {
            let back = T::load(value.save().unwrap().into_owned()).unwrap();
            assert_eq!(back.identity(), value.identity(), "{}", T::NAME);
        }
    }
    let mut lab = Lab::new();
    lab.text_model("sdxl", two_clips());
    let nodes = all_examples(&lab);
    let report = lab.run(&nodes, &["photo", "stored", "wanted", "shown", "score"]);
    assert!(report.values.len() >= 5, "{:?}", report.values.keys());
    for value in report.values.values() {
        check::<Image>(value);
        check::<crate::values::Mask>(value);
        check::<Latent>(value);
        check::<Conditioning>(value);
        check::<crate::values::Report>(value);
        assert!(value.bytes() > 0);
    }
}
