//! Whole models, from a prompt to a picture, against diffusers and from both layouts.
//!
//! The recordings of `tests/reference/parity.py` hold no weights but how to draw them; here the
//! files are written anew, as a diffusers folder and as a single file, and the program runs the
//! graphs of `tests/graphs/parity` on them.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use ldm_models::noise::Noise;
use safetensors::tensor::{Dtype, TensorView};
use safetensors::{SafeTensors, serialize_to_file};
use serde_json::Value;

use crate::lab::{Lab, root};

/// One recorded model.
struct Recording {
    bytes: Vec<u8>,
    notes: HashMap<String, String>,
}

/// A tensor of a checkpoint.
struct Drawn {
    shape: Vec<usize>,
    numbers: Vec<f32>,
}

/// The folder's parts: name of the part, then name of the tensor.
type Parts = BTreeMap<String, BTreeMap<String, Drawn>>;

impl Recording {
    fn open(model: &str) -> Self {
        let path = root().join(format!("tests/golden/parity_{model}.safetensors"));
        let bytes = std::fs::read(path).expect("a recording");
        let (_, header) = SafeTensors::read_metadata(&bytes).expect("a recording");
        let notes = header.metadata().clone().expect("notes");
        Self { bytes, notes }
    }

    fn json(&self, note: &str) -> Value {
        serde_json::from_str(&self.notes[note]).expect("json")
    }

    fn numbers(&self, name: &str) -> Vec<f64> {
        let file = SafeTensors::deserialize(&self.bytes).expect("a recording");
        numbers(&file.tensor(name).expect("a recorded tensor"))
    }

    /// How far torch's own f32 run strays from the f64 one, in standard deviations.
    fn error_of_torch(&self, result: &str) -> f64 {
        self.notes[&format!("f32_error.{result}")]
            .parse()
            .expect("a number")
    }

    /// Draws the weights as the script did.
    fn parts(&self) -> Parts {
        let folder: BTreeMap<String, Vec<(String, Vec<usize>, String)>> =
            serde_json::from_str(&self.notes["folder"]).expect("json");
        let mut seed = 0;
        let mut draw = |(name, shape, letter): (String, Vec<usize>, String)| {
            let numbers = drawn(seed, &shape, &letter);
            seed += 1;
            (name, Drawn { shape, numbers })
        };
        folder
            .into_iter()
            .map(|(part, tensors)| (part, tensors.into_iter().map(&mut draw).collect()))
            .collect()
    }

    /// Writes the single file.
    fn write_single(&self, parts: &Parts, path: &Path) {
        let single: Vec<Vec<Value>> = serde_json::from_str(&self.notes["single"]).expect("json");
        let made = single.iter().map(|row| {
            let text = |value: &Value| value.as_str().expect("a name").to_owned();
            let shape = serde_json::from_value(row[1].clone()).expect("a shape");
            let sources: Vec<&Drawn> = row[3..].iter().map(|s| found(parts, &text(s))).collect();
            let numbers = match &text(&row[2])[..] {
                "turned" => turned(sources[0]),
                _ => sources.iter().flat_map(|s| s.numbers.clone()).collect(),
            };
            (text(&row[0]), Drawn { shape, numbers })
        });
        write(&made.collect(), path);
    }

    /// Writes the diffusers folder, but for its tokenizers.
    fn write_folder(&self, parts: &Parts, folder: &Path) {
        for (part, tensors) in parts {
            let text = part.starts_with("text_encoder") || part == "bert";
            let name = if text {
                "model"
            } else {
                "diffusion_pytorch_model"
            };
            std::fs::create_dir_all(folder.join(part)).expect("a folder");
            write(
                tensors,
                &folder.join(part).join(format!("{name}.safetensors")),
            );
        }
        for (part, config) in self.json("configs").as_object().expect("an object") {
            let (inside, name) = match &part[..] {
                "model_index" => (".", "model_index.json"),
                "scheduler" => ("scheduler", "scheduler_config.json"),
                part => (part, "config.json"),
            };
            std::fs::create_dir_all(folder.join(inside)).expect("a folder");
            let text = config.as_str().expect("text");
            std::fs::write(folder.join(inside).join(name), text).expect("a file");
        }
    }
}

/// `torch.randn` from `seed`, scaled and moved by the script's rule for `letter`.
fn drawn(seed: u64, shape: &[usize], letter: &str) -> Vec<f32> {
    let fan_in: usize = shape[1..].iter().product();
    let (mean, scale) = match letter {
        "g" => (1.0, 0.1),
        "s" => (0.0, 0.1),
        "b" | "e" => (0.0, 0.05),
        _ => (0.0, 1.0 / (fan_in as f64).sqrt()),
    };
    let scale = scale as f32;
    let noise = Noise::new(seed).randn(shape);
    noise.into_iter().map(|x| x * scale + mean).collect()
}

fn found<'a>(parts: &'a Parts, name: &str) -> &'a Drawn {
    let (part, tensor) = name.split_once('/').expect("a part's tensor");
    &parts[part][tensor]
}

fn turned(matrix: &Drawn) -> Vec<f32> {
    let (rows, columns) = (matrix.shape[0], matrix.shape[1]);
    (0..rows * columns)
        .map(|i| matrix.numbers[(i % rows) * columns + i / rows])
        .collect()
}

fn write(tensors: &BTreeMap<String, Drawn>, path: &Path) {
    let bytes: Vec<(&String, Vec<usize>, Vec<u8>)> = tensors
        .iter()
        .map(|(name, t)| {
            let bytes = t.numbers.iter().flat_map(|x| x.to_le_bytes()).collect();
            (name, t.shape.clone(), bytes)
        })
        .collect();
    let views = bytes.iter().map(|(name, shape, bytes)| {
        let view = TensorView::new(Dtype::F32, shape.clone(), bytes).expect("a sound tensor");
        (*name, view)
    });
    serialize_to_file(views, None, path).expect("a file");
}

fn numbers(view: &TensorView<'_>) -> Vec<f64> {
    let data = view.data();
    let each = |size: usize| data.chunks_exact(size);
    match view.dtype() {
        Dtype::F64 => each(8)
            .map(|b| f64::from_le_bytes(b.try_into().expect("eight")))
            .collect(),
        Dtype::F32 => each(4)
            .map(|b| f64::from(f32::from_le_bytes(b.try_into().expect("four"))))
            .collect(),
        Dtype::I32 => each(4)
            .map(|b| f64::from(i32::from_le_bytes(b.try_into().expect("four"))))
            .collect(),
        Dtype::U8 => data.iter().map(|b| f64::from(*b)).collect(),
        other => panic!("{other:?} is not recorded"),
    }
}

/// The largest difference, in standard deviations of what is wanted.
fn apart(got: &[f64], wanted: &[f64]) -> f64 {
    assert_eq!(got.len(), wanted.len());
    let n = wanted.len() as f64;
    let mean = wanted.iter().sum::<f64>() / n;
    let variance = wanted.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n;
    let most = got.iter().zip(wanted).map(|(a, b)| (a - b).abs());
    most.fold(0.0, f64::max) / variance.sqrt()
}

/// Runs `graph` on the checkpoint at `model` and holds what it writes to the recording.
fn hold(lab: &Lab, recording: &Recording, graph: &str, model: &str, more: &[&str]) {
    let graph = root().join(format!("tests/graphs/parity/{graph}.ron"));
    lab.write("graph.ron", std::fs::read(graph).expect("a graph"));
    let path = format!("model.path={model}");
    let mut words = vec!["run", "graph.ron", "--overwrite", "--set", &path];
    words.extend(more);
    lab.run(words).code(0);
    for sampler in ["ddim", "euler"] {
        let bytes = lab.read(&format!("out/{sampler}.safetensors"));
        let bytes = bytes.expect("a latent was saved");
        let file = SafeTensors::deserialize(&bytes).expect("a sound file");
        let got = numbers(&file.tensor("latent").expect("the latent"));
        let apart = apart(&got, &recording.numbers(sampler));
        let tolerance = (4.0 * recording.error_of_torch(sampler)).max(1e-5);
        assert!(
            apart <= tolerance,
            "{model}: {sampler} is {apart:.1e} of the standard deviation off, wanted {tolerance:.1e}"
        );
        let picture = pixels(&lab.read(&format!("out/{sampler}.png")).expect("a picture"));
        let wanted = recording.numbers(&format!("{sampler}.picture"));
        assert_eq!(picture.len(), wanted.len());
        let off = picture.iter().zip(&wanted);
        let off = off.filter(|(a, b)| (f64::from(**a) - **b).abs() > 1.0);
        assert!(
            off.count() * 1000 <= wanted.len(),
            "{model}: {sampler}'s picture"
        );
    }
}

/// The pixels of an RGB picture.
fn pixels(png: &[u8]) -> Vec<u8> {
    let mut reader = png::Decoder::new(std::io::Cursor::new(png))
        .read_info()
        .expect("a PNG");
    let mut pixels = vec![0; reader.output_buffer_size().expect("a small picture")];
    let frame = reader.next_frame(&mut pixels).expect("pixels");
    assert_eq!(frame.color_type, png::ColorType::Rgb);
    pixels.truncate(frame.buffer_size());
    pixels
}

/// Writes `model` in both layouts and holds each to its recording.
fn both_layouts(model: &str, graph: &str) {
    let (lab, recording) = (Lab::new(), Recording::open(model));
    let parts = recording.parts();
    recording.write_single(&parts, &lab.path("single.safetensors"));
    hold(&lab, &recording, graph, "single.safetensors", &[]);
    recording.write_folder(&parts, &lab.path("folder"));
    hold(&lab, &recording, graph, "folder", &[]);
}

#[test]
fn stable_diffusion_1_draws_what_diffusers_draws() {
    both_layouts("sd15", "text");
}

#[test]
fn stable_diffusion_2_draws_what_diffusers_draws() {
    both_layouts("sd21v", "velocity");
}

#[test]
fn stable_diffusion_xl_draws_what_diffusers_draws() {
    both_layouts("sdxl", "text");
}

#[test]
fn the_papers_text_model_draws_what_diffusers_draws() {
    let (lab, recording) = (Lab::new(), Recording::open("ldm_text"));
    let parts = recording.parts();
    lab.write("vocab.txt", vocabulary());
    recording.write_single(&parts, &lab.path("single.safetensors"));
    let words = ["--set", "model.vocab=vocab.txt"];
    hold(&lab, &recording, "text", "single.safetensors", &words);
    recording.write_folder(&parts, &lab.path("folder"));
    lab.write("folder/tokenizer/vocab.txt", vocabulary());
    hold(&lab, &recording, "text", "folder", &[]);
}

/// The script's vocabulary of BERT's size.
fn vocabulary() -> String {
    let mut words: Vec<String> = (0..30522).map(|i| format!("[unused{i}]")).collect();
    let special = [
        (0, "[PAD]"),
        (100, "[UNK]"),
        (101, "[CLS]"),
        (102, "[SEP]"),
        (103, "[MASK]"),
    ];
    for (at, word) in special {
        words[at] = word.into();
    }
    let text = "a photo ##graph of an astronaut rid ##ing horse , 4 ##k detail ##ed blur ##ry low \
                quality";
    for (at, word) in text.split_whitespace().enumerate() {
        words[1000 + at] = word.into();
    }
    words.join("\n") + "\n"
}

#[test]
fn a_model_that_fills_holes_draws_what_diffusers_draws() {
    let (lab, recording) = (Lab::new(), Recording::open("sd15_inpaint"));
    lab.write("photo.png", photo(&recording));
    let parts = recording.parts();
    recording.write_single(&parts, &lab.path("single.safetensors"));
    hold(&lab, &recording, "inpaint", "single.safetensors", &[]);
    recording.write_folder(&parts, &lab.path("folder"));
    hold(&lab, &recording, "inpaint", "folder", &[]);
}

/// The recorded picture as a PNG, transparent where the hole is.
fn photo(recording: &Recording) -> Vec<u8> {
    let (image, mask) = (recording.numbers("image"), recording.numbers("mask"));
    let n = mask.len();
    let side = n.isqrt();
    let shade = |x: f64| ((x + 1.0) * 127.5).round() as u8;
    let pixels: Vec<u8> = (0..n)
        .flat_map(|i| {
            let [r, g, b] = [0, 1, 2].map(|c| shade(image[c * n + i]));
            [r, g, b, if mask[i] > 0.5 { 0 } else { 255 }]
        })
        .collect();
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, side as u32, side as u32);
    encoder.set_color(png::ColorType::Rgba);
    let mut writer = encoder.write_header().expect("a header");
    writer.write_image_data(&pixels).expect("pixels");
    writer.finish().expect("an end");
    bytes
}

#[test]
fn a_model_of_classes_draws_what_diffusers_draws() {
    let (lab, recording) = (Lab::new(), Recording::open("cin256"));
    recording.write_single(&recording.parts(), &lab.path("single.safetensors"));
    hold(&lab, &recording, "classes", "single.safetensors", &[]);
}
