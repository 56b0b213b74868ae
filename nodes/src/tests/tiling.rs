//! Autoencoders in tiles: when, what is said of it, and that keys know.

use ldm_engine::{Event, Run, Stop};

use super::Lab;
use crate::values::{Image, Latent};

/// A picture of 256 px, there and back.
const THERE: &str = r#"
    "model": LoadModel(path: "weights/text"),
    "photo": LoadImage(path: "images/scene.png"),
    "large": ImageScale(image: "photo", width: 256, height: 256, method: Bicubic),
    "latent": VaeEncode(vae: "model", image: "large"),
    "drawn": VaeEncode(vae: "model", image: "large", seed: 3),
    "image": VaeDecode(vae: "model", latent: "latent"),
"#;
const ROOTS: [&str; 3] = ["latent", "drawn", "image"];

/// Less than the tiny autoencoder takes for 256 px at once, and more than for 128.
const LITTLE: u64 = 3 << 20;

fn numbers(report: &ldm_engine::Report, name: &str) -> Vec<f32> {
    let value = &report.values[name];
    let latent = value.get::<Latent>().map(|x| x.numbers.numbers().to_vec());
    latent.unwrap_or_else(|| value.get::<Image>().unwrap().pixels().numbers().to_vec())
}

/// The mean of the differences, in standard deviations of `b`.
pub(super) fn off(a: &[f32], b: &[f32]) -> f32 {
    let mean = |x: &mut dyn Iterator<Item = f32>| x.sum::<f32>() / b.len() as f32;
    let middle = mean(&mut b.iter().copied());
    let var = mean(&mut b.iter().map(|x| (x - middle) * (x - middle)));
    mean(&mut a.iter().zip(b).map(|(a, b)| (a - b).abs())) / var.sqrt()
}

#[test]
fn little_memory_makes_tiles_and_says_so_and_much_does_not() {
    let mut lab = Lab::new();
    let whole = lab.run(THERE, &ROOTS);
    assert!(lab.notes.is_empty(), "{:?}", lab.notes);
    lab.host.memory = LITTLE;
    let tiled = lab.run(THERE, &ROOTS);
    // The decoder's picture came from other latents; the rest is kept.
    assert_eq!(tiled.done.ran, ["latent", "drawn", "image"]);
    let said = lab.notes.clone();
    assert_eq!(said.len(), 3, "{said:?}");
    for words in &said {
        let tiles = "9 tiles, in tiles of 128 px that share 16 px: at once it would take ";
        assert!(words.starts_with(tiles), "{words}");
    }
    for name in ["latent.latent", "drawn.latent", "image.image"] {
        let far = off(&numbers(&tiled, name), &numbers(&whole, name));
        // Fresh weights make the most of what norms see; the picture is of other latents, too.
        assert!(far > 0.0 && far < 1.0, "{name} is {far} off");
    }
    // Each finds its own again.
    assert!(lab.run(THERE, &ROOTS).done.ran.is_empty());
    lab.host.memory = u64::MAX;
    let again = lab.run(THERE, &ROOTS);
    assert!(again.done.ran.is_empty());
    assert_eq!(
        numbers(&again, "image.image"),
        numbers(&whole, "image.image")
    );
}

#[test]
fn a_setting_wants_tiles_or_none_whatever_the_memory() {
    let mut lab = Lab::new();
    let whole = numbers(&lab.run(THERE, &ROOTS), "image.image");
    lab.host.memory = LITTLE;
    let with = |decoding: &str| {
        let nodes = THERE.replace(r#"vae: "model", image: "large""#, {
            r#"vae: "model", image: "large", tiling: Off"#
        });
        let decode = format!(r#"latent: "latent", tiling: {decoding}"#);
        nodes.replace(r#"latent: "latent""#, &decode)
    };
    let ran = lab.run(&with("Off"), &["image"]);
    assert_eq!(numbers(&ran, "image.image"), whole);
    assert!(lab.notes.is_empty(), "{:?}", lab.notes);
    let ran = lab.run(&with("Tiles()"), &["image"]);
    assert_eq!(
        numbers(&ran, "image.image"),
        whole,
        "one tile of 512 px holds all"
    );
    let ran = lab.run(&with("Tiles(size: 128, overlap: 32)"), &["image"]);
    let far = off(&numbers(&ran, "image.image"), &whole);
    assert!(far > 0.0 && far < 0.5, "{far}");
    assert!(
        lab.notes.is_empty(),
        "it stands in the graph: {:?}",
        lab.notes
    );
}

#[test]
fn tiles_that_cannot_be_cut_are_planning_errors() {
    let lab = Lab::new();
    let refusal = |tiles: &str| {
        let save = r#""save": SaveImage(image: "image", path: "a.png"),"#;
        let latent = format!(r#"latent: "latent", tiling: {tiles}"#);
        lab.refusal(&format!("{THERE}{save}").replace(r#"latent: "latent""#, &latent))
    };
    let said = refusal("Tiles(size: 100)");
    assert!(
        said.contains("`size` is 100, wanted a multiple of 8"),
        "{said}"
    );
    assert!(said.contains("write 104"), "{said}");
    let said = refusal("Tiles(size: 64, overlap: 64)");
    assert!(
        said.contains("`overlap` is 64, wanted less than the tiles' 64"),
        "{said}"
    );
}

#[test]
fn tiles_are_told_of_and_a_stop_is_heard_between_them() {
    let mut lab = Lab::new();
    lab.host.memory = LITTLE;
    lab.run(THERE, &["latent"]);
    let nodes = THERE.replace("VaeDecode(", "VaeDecode(tiling: Tiles(size: 128), ");
    let plan = lab.plan(&nodes, &["image"]).unwrap();
    let (stop, mut steps) = (Stop::new(), Vec::new());
    let run = Run::new(&plan, &lab.host, &lab.cache).stopped_by(stop.clone());
    let report = run.go(&mut |event| {
        if let Event::Node(node) = event
            && let (Some(step), Some(all)) = (node.step, node.steps)
        {
            steps.push((step, all));
            stop.stop();
        }
    });
    assert_eq!(report.done.cancelled, ["image"]);
    assert_eq!(steps[0], (1, 9));
    assert!(steps.len() < 9, "{steps:?}");
}

#[test]
fn what_a_network_is_shown_is_encoded_in_tiles_too() {
    let mut lab = Lab::new();
    let nodes = format!(
        r#"{THERE}
        "hole": InpaintConditioning(vae: "model", image: "large", mask: "photo"),
        "instructed": InstructConditioning(vae: "model", image: "large"),"#
    );
    lab.run(&nodes, &["hole", "instructed"]);
    assert!(lab.notes.is_empty(), "{:?}", lab.notes);
    lab.host.memory = LITTLE;
    let ran = lab.run(&nodes, &["hole", "instructed"]);
    assert_eq!(ran.done.ran, ["hole", "instructed"]);
    assert_eq!(lab.notes.len(), 2, "{:?}", lab.notes);
}
