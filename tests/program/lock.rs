//! `ldm-graph lock` and `ldm-graph run --locked`.

use crate::lab::{Ended, Lab, make_model, models, utf8};

const GRAPH: &str = r#"Graph(
    inputs: { "prompt": Text("a red house"), "seed": Int(42) },
    nodes: {
        "model": LoadModel(path: "weights/text"),
        "wanted": TextEncode(text_encoder: "model", text: Input("prompt")),
        "noise": EmptyLatent(vae: "model", width: 16, height: 16),
        "latent": Denoise(
            unet: "model", latent: "noise", positive: "wanted",
            sampler: Ddim(eta: 0.0), steps: 2, seed: Input("seed"),
        ),
        "image": VaeDecode(vae: "model", latent: "latent"),
        "save": SaveImage(image: "image", path: "{seed}.png"),
    },
)
"#;

fn lab() -> Lab {
    let lab = Lab::new();
    lab.write("a.ron", GRAPH);
    lab
}

/// The program with the model at hand.
fn run<const N: usize>(lab: &Lab, arguments: [&str; N]) -> Ended {
    lab.run(arguments.into_iter().chain(["--models", utf8(models())]))
}

fn text(lab: &Lab) -> String {
    String::from_utf8(lab.read("a.ron.lock").expect("a lock file")).expect("text")
}

#[test]
fn a_lock_stands_beside_its_graph_and_a_run_is_held_to_it() {
    let lab = lab();
    let ended = run(&lab, ["lock", "a.ron"]);
    let said = "a.ron.lock: 6 nodes, 5 files, 1 seed\n";
    assert_eq!(ended.code(0).out, said);
    let lock = text(&lab);
    for wanted in [
        "Lock(\n    format: 1,",
        "    device: \"cpu\",",
        "kernels ",
        " f32\",",
        "\"Denoise\": 1,",
        "\"latent.seed\": 42,",
        "\"weights/text/unet.safetensors\": \"",
        "path: \"42.png\",",
        "text: \"a red house\",",
    ] {
        assert!(lock.contains(wanted), "`{wanted}` is not in:\n{lock}");
    }
    assert!(lock.ends_with(")\n"));
    let place = lab.path("").display().to_string();
    assert!(
        !lock.contains(place.trim_end_matches('/')) && !lock.contains("/tmp"),
        "{lock}"
    );
    run(&lab, ["run", "a.ron", "--locked"]).code(0);
    assert!(lab.read("out/42.png").is_some());
    // Comments and layout decide nothing.
    lab.write("a.ron", format!("// A house.\n{GRAPH}"));
    run(&lab, ["run", "a.ron", "--locked"]).code(0);
    run(&lab, ["lock", "a.ron"]).code(0);
    assert_eq!(text(&lab), lock, "the same plan gives the same text");
}

#[test]
fn all_that_differs_is_told_and_nothing_runs() {
    let lab = lab();
    run(&lab, ["lock", "a.ron"]).code(0);
    lab.write("a.ron", GRAPH.replace("steps: 2", "steps: 3"));
    let set = ["--set", "seed=7", "--set", "prompt=a lake"];
    let ended = run(
        &lab,
        ["run", "a.ron", "--locked", set[0], set[1], set[2], set[3]],
    );
    ended
        .code(2)
        .says("`latent.seed` was 42, is 7")
        .says("--> a.ron:9:54")
        .says("`latent.steps` was 2, is 3")
        .says("--> a.ron:9:")
        .says("`wanted.text` was \"a red house\", is \"a lake\"")
        .says("`save.path` was \"42.png\", is \"7.png\"")
        .says("lock anew with `ldm-graph lock a.ron`");
    assert_eq!(ended.err.matches("error:").count(), 4, "{}", ended.err);
    assert!(!lab.path("out").exists());
    // The same flags with the lock: they are locked with it.
    run(&lab, ["lock", "a.ron", set[0], set[1], set[2], set[3]]).code(0);
    run(
        &lab,
        ["run", "a.ron", "--locked", set[0], set[1], set[2], set[3]],
    )
    .code(0);
    run(&lab, ["run", "a.ron", "--locked"])
        .code(2)
        .says("`latent.seed` was 7, is 42");
}

#[test]
fn files_versions_and_numerics_are_held_to() {
    let lab = lab();
    make_model(&lab.path("weights/text"));
    run(&lab, ["lock", "a.ron"]).code(0);
    let lock = text(&lab);
    let unet = lab
        .read("weights/text/unet.safetensors")
        .expect("a network");
    let mut other = unet.clone();
    *other.last_mut().expect("bytes") ^= 1;
    lab.write("weights/text/unet.safetensors", &other);
    let ended = run(&lab, ["run", "a.ron", "--locked"]);
    ended
        .code(2)
        .says("the content of `weights/text/unet.safetensors` was ");
    assert_eq!(ended.err.matches("error:").count(), 1, "{}", ended.err);
    lab.write("weights/text/unet.safetensors", &unet);
    run(&lab, ["run", "a.ron", "--locked"]).code(0);

    lab.write(
        "a.ron.lock",
        lock.replace("\"Denoise\": 1", "\"Denoise\": 9"),
    );
    let ended = run(&lab, ["run", "a.ron", "--locked"]);
    ended
        .code(2)
        .says("error: Denoise has version 1, locked with 9");

    let ended = run(&lab, ["run", "a.ron", "--locked", "--dtype", "bf16"]);
    ended
        .code(2)
        .says("error: numerics were cpu: ")
        .says(" bf16");

    lab.write("a.ron.lock", lock.replace("program: \"", "program: \"9"));
    let ended = run(&lab, ["run", "a.ron", "--locked"]);
    ended.code(0).says("warning: locked by ldm-graph 9");
}

#[test]
fn a_lock_that_is_missing_broken_or_newer_is_a_misuse_with_its_place() {
    let lab = lab();
    let locked = || run(&lab, ["run", "a.ron", "--locked"]);
    let ended = locked();
    ended.code(2).says("there is no lock file a.ron.lock");
    ended.says("hint: `ldm-graph lock a.ron` writes one");
    run(&lab, ["lock", "a.ron"]).code(0);
    let lock = text(&lab);
    lab.write("a.ron.lock", &lock[..lock.len() / 2]);
    locked().code(2).says("--> a.ron.lock:");
    lab.write("a.ron.lock", lock.replace("format: 1", "format: 2"));
    locked()
        .code(2)
        .says("this lock has format 2")
        .says("--> a.ron.lock:3:13");
    lab.write("a.ron.lock", b"\xff\xfe\x00");
    locked().code(2).says("a.ron.lock is not UTF-8 text");
    lab.write("a.ron.lock", "");
    locked().code(2).says("a.ron.lock");
    assert!(!lab.path("out").exists());
    // Without the flag a lock is no matter.
    run(&lab, ["run", "a.ron"]).code(0);
}

#[test]
fn a_wrong_graph_is_not_locked() {
    let lab = lab();
    lab.write("a.ron", GRAPH.replace("\"noise\",", "\"nose\","));
    run(&lab, ["lock", "a.ron"])
        .code(2)
        .says("did you mean `noise`?");
    assert!(lab.read("a.ron.lock").is_none());
    lab.run(["lock", "missing.ron"]).code(2).says("missing.ron");
}

#[test]
fn a_watch_that_is_locked_tells_what_differs_and_runs_nothing() {
    let lab = lab();
    run(&lab, ["lock", "a.ron"]).code(0);
    lab.write("a.ron", GRAPH.replace("steps: 2", "steps: 3"));
    let words = [
        "watch",
        "a.ron",
        "--locked",
        "--json",
        "--models",
        utf8(models()),
    ];
    let mut command = lab.command(words);
    command.stdout(std::process::Stdio::piped());
    let mut child = command.spawn().expect("the program starts");
    let mut line = String::new();
    let mut lines = std::io::BufReader::new(child.stdout.take().expect("a pipe"));
    std::io::BufRead::read_line(&mut lines, &mut line).expect("an event");
    child.kill().expect("a kill");
    child.wait().expect("an end");
    assert!(line.contains(r#""event":"errors""#), "{line}");
    assert!(line.contains("`latent.steps` was 2, is 3"), "{line}");
    assert!(lab.read("out/42.png").is_none());
}
