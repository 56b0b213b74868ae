//! A device whose memory runs out: put in where numbers are read back, as a GPU tells it.

use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;

use ldm_engine::{Relief, Report, Run};

use super::{Lab, MODEL, tiling};
use crate::Machine;
use crate::values::{Image, Latent};

/// Two pictures under guidance, and one of 256 px decoded.
const PAINT: &str = r#"
    "latent": Denoise(
        unet: "model", latent: "noise", positive: "wanted", negative: "empty",
        sampler: Ddim(eta: 0.5), steps: 3, cfg: 3.0, seed: 5,
    ),
    "photo": LoadImage(path: "images/scene.png"),
    "scaled": ImageScale(image: "photo", width: 256, height: 256, method: Bicubic),
    "large": VaeEncode(vae: "model", image: "scaled", tiling: Off),
    "image": VaeDecode(vae: "model", latent: "large"),
"#;

const APART: &str = "memory ran out; going on with a call of the network for each condition";
const ONE_BY_ONE: &str =
    "memory ran out; going on with a call of the network for each condition of each picture";
const OFFLOADED: &str =
    "memory ran out; going on with the weights in the host's memory, and the smallest calls";

/// A laboratory where the next `times` readings fail.
fn short(times: usize) -> Lab {
    let mut lab = Lab::new();
    let machine: Arc<Machine> = lab.host.extensions.get().unwrap();
    lab.host.relief = Some(machine as Arc<dyn Relief>);
    fail(&lab, times);
    lab
}

fn fail(lab: &Lab, times: usize) {
    let machine: Arc<Machine> = lab.host.extensions.get().unwrap();
    machine.reading.failing.store(times, SeqCst);
}

/// Runs one node when all that it needs is there.
fn run(lab: &mut Lab, times: usize, node: &str) -> Report {
    fail(lab, 0);
    lab.run(&nodes(), &["wanted", "empty", "noise", "large"]);
    fail(lab, times);
    let ran = lab.run(&nodes(), &[node]);
    let machine: Arc<Machine> = lab.host.extensions.get().unwrap();
    assert_eq!(machine.reading.failing.load(SeqCst), 0, "all faults came");
    ran
}

fn nodes() -> String {
    format!("{MODEL}{PAINT}")
}

fn latent(ran: &Report) -> Vec<f32> {
    let latent = ran.values["latent.latent"].get::<Latent>().unwrap();
    latent.numbers.numbers().to_vec()
}

fn image(ran: &Report) -> Vec<f32> {
    let image = ran.values["image.image"].get::<Image>().unwrap();
    image.pixels().numbers().to_vec()
}

/// The largest difference.
fn off(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter()
        .zip(b)
        .map(|(a, b)| (a - b).abs())
        .fold(0.0, f32::max)
}

#[test]
fn a_walk_goes_on_in_smaller_calls_and_comes_to_the_same_latent() {
    let whole = latent(&run(&mut short(0), 0, "latent"));
    let all = [APART, ONE_BY_ONE, OFFLOADED];
    for times in 1..=3 {
        let ways = &all[..times];
        let mut lab = short(0);
        // The text encoder rests, so it goes first, and the walk is tried again.
        let ran = run(&mut lab, 1 + times, "latent");
        assert_eq!(ran.done.ran, ["latent"]);
        let went = "of weights that rested were dropped, trying again";
        assert!(lab.notes[0].ends_with(went), "{:?}", lab.notes);
        assert_eq!(lab.notes[1..], *ways);
        let far = off(&latent(&ran), &whole);
        assert!(far < 1e-4, "{far} after {ways:?}");
    }
}

#[test]
fn a_latent_of_smaller_calls_is_found_only_where_memory_runs_out_again() {
    let mut lab = short(0);
    run(&mut lab, 3, "latent");
    fail(&lab, 0);
    let enough = lab.run(&nodes(), &["latent"]);
    assert_eq!(
        enough.done.ran,
        ["latent"],
        "it is not found under its best key"
    );
    assert!(lab.notes.is_empty(), "{:?}", lab.notes);

    let mut lab = short(0);
    run(&mut lab, 2, "latent");
    fail(&lab, 1);
    let again = lab.run(&nodes(), &["latent"]);
    assert!(again.done.ran.is_empty(), "{:?}", again.done.ran);
    assert_eq!(lab.notes, [APART], "nothing rested, and the rest was known");
}

#[test]
fn a_picture_is_decoded_in_tiles_and_says_so_in_its_graph() {
    let mut lab = short(0);
    let save = r#""save": SaveImage(image: "image", path: "a.png"),"#;
    let nodes = format!("{}{save}", nodes());
    lab.run(&nodes, &["large"]);
    fail(&lab, 1);
    let tiled = lab.run(&nodes, &["image", "save"]);
    assert_eq!(tiled.done.ran, ["image", "save"]);
    let tiles = "memory ran out; going on in tiles of 128 px that share 16 px";
    assert_eq!(lab.notes[0], tiles);
    let text = String::from_utf8_lossy(&lab.file("save")).into_owned();
    assert!(
        text.contains("tiling: Tiles(size: 128, overlap: 16)"),
        "the graph in the file"
    );
    // Little memory from the start takes the same way and finds the same picture.
    lab.host.memory = 3 << 20;
    let planned = lab.run(&nodes, &["image"]);
    assert!(planned.done.ran.is_empty(), "{:?}", planned.done.ran);
    assert_eq!(image(&planned), image(&tiled));
    // With memory enough there is no such picture.
    lab.host.memory = u64::MAX;
    let whole = lab.run(&nodes, &["image"]);
    assert_eq!(whole.done.ran, ["image"]);
    let far = tiling::off(&image(&whole), &image(&tiled));
    assert!(
        far > 0.0 && far < 1.0,
        "fresh weights make the most of seams: {far}"
    );
}

#[test]
fn where_nothing_smaller_is_left_the_error_says_what_to_do() {
    let mut lab = short(0);
    lab.run(&nodes(), &["large"]);
    let plan = lab.plan(&nodes(), &["image"]).unwrap();
    // The device fails for good: at once, and in tiles.
    fail(&lab, usize::MAX);
    let ran = Run::new(&plan, &lab.host, &lab.cache).go(&mut |_| {});
    assert_eq!(ran.done.failed, ["image"]);
    let words = ran.failures[0].to_string();
    assert!(
        words.contains("the decoded picture: the memory of the device ran out"),
        "{words}"
    );
    assert!(
        words.contains("make the picture or the batch smaller"),
        "{words}"
    );
    // Nothing of it was stored, and half-read weights are not used.
    fail(&lab, 0);
    let ran = Run::new(&plan, &lab.host, &lab.cache).go(&mut |_| {});
    assert_eq!(ran.done.ran, ["image"]);
    let whole = run(&mut short(0), 0, "image");
    assert_eq!(image(&ran), image(&whole));
}
