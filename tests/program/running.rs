//! `ldm-graph run`: what is written, what is said, how it ends.

use serde_json::Value;

use crate::lab::{Ended, Lab, models, utf8};

/// A small picture from text: every kind of node that the main job needs.
pub(crate) const PICTURE: &str = r#"
    "model": LoadModel(path: "weights/text"),
    "wanted": TextEncode(text_encoder: "model", text: "a red house"),
    "empty": TextEncode(text_encoder: "model", text: ""),
    "noise": EmptyLatent(vae: "model", width: 32, height: 32, batch: 2),
    "latent": Denoise(
        unet: "model", latent: "noise", positive: "wanted", negative: "empty",
        sampler: Ddim(eta: 0.0), steps: 4, cfg: 3.0, seed: 1,
    ),
    "image": VaeDecode(vae: "model", latent: "latent"),
    "save": SaveImage(image: "image", path: "a-{index}.png"),
    "spare": TextEncode(text_encoder: "model", text: "by the lake"),
"#;

/// The events that a run printed, one a line.
pub(crate) fn events(ended: &Ended) -> Vec<Value> {
    let parse = |line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"));
    ended.out.lines().map(parse).collect()
}

/// The nodes of one of the lists of the last event.
pub(crate) fn names(done: &Value, list: &str) -> Vec<String> {
    let list = done[list]
        .as_array()
        .unwrap_or_else(|| panic!("no `{list}` in {done}"));
    list.iter()
        .map(|name| name.as_str().expect("a name").to_owned())
        .collect()
}

#[test]
fn a_picture_is_written_below_out_and_its_path_printed() {
    let lab = Lab::new();
    let ended = lab.graph(PICTURE, &["--out", "pictures"]);
    ended.code(0).says("computing on the CPU").says(" ran");
    assert_eq!(ended.out, "pictures/a-0.png\npictures/a-1.png\n");
    let png = lab.read("pictures/a-0.png").expect("the picture");
    assert!(png.starts_with(b"\x89PNG"));
    let text = String::from_utf8_lossy(&png);
    assert!(
        text.contains("LoadModel(") && !text.contains("/tmp"),
        "it carries its graph"
    );
    assert!(lab.read("out/a-0.png").is_none());
}

#[test]
fn the_device_is_told_of_when_something_computes_and_not_before() {
    let lab = Lab::new();
    let said = |flags: &[&str]| lab.graph(PICTURE, flags).code(0).err.clone();
    let count = |said: &str| said.matches("computing on the CPU").count();
    assert_eq!(count(&said(&[])), 1);
    for quiet in [&[][..], &["--json"], &["--set", "save.path=b-{index}.png"]] {
        assert_eq!(count(&said(quiet)), 0, "{quiet:?}");
    }
    assert_eq!(count(&said(&["--json", "--set", "latent.seed=2"])), 1);
    let locked = lab.run(["lock", "graph.ron", "--models", utf8(models())]);
    assert_eq!(count(&locked.code(0).err), 0);
}

#[test]
fn an_output_folder_that_is_a_file_is_refused_before_anything_runs() {
    let lab = Lab::new();
    lab.write("taken", "a file");
    for (command, out) in [("run", "taken"), ("run", "taken/below"), ("watch", "taken")] {
        lab.write("graph.ron", format!("Graph(nodes: {{{PICTURE}}})"));
        let models = utf8(models());
        let ended = lab.run([command, "graph.ron", "--models", models, "--out", out]);
        let words = format!("error: taken is a file, `--out {out}` wants a folder there");
        assert_eq!(ended.code(2).err.trim_end(), words);
    }
    assert!(!lab.path("cache/ldm-graph/objects").exists());
}

#[test]
fn the_same_seed_gives_the_same_bytes_on_one_thread_and_on_two() {
    let lab = Lab::new();
    let mut pictures = Vec::new();
    for (out, threads) in [("one", "1"), ("two", "2"), ("again", "2")] {
        // Kept results would make this a comparison of a picture with itself.
        lab.graph(PICTURE, &["--out", out, "--threads", threads, "--no-cache"])
            .code(0);
        let read = |index| {
            lab.read(&format!("{out}/a-{index}.png"))
                .expect("a picture")
        };
        pictures.push([read(0), read(1)]);
    }
    assert!(pictures[0] == pictures[1] && pictures[1] == pictures[2]);
    assert_ne!(
        pictures[0][0], pictures[0][1],
        "a batch is not one picture twice"
    );
    lab.graph(PICTURE, &["--out", "other", "--set", "latent.seed=2"])
        .code(0);
    assert_ne!(lab.read("other/a-0.png").as_ref(), Some(&pictures[0][0]));
}

#[test]
fn what_stands_there_is_kept_or_avoided_or_overwritten() {
    let lab = Lab::new();
    lab.graph(PICTURE, &[]).code(0);
    let first = lab.read("out/a-0.png").expect("the picture");
    assert_eq!(lab.graph(PICTURE, &[]).out, "out/a-0.png\nout/a-1.png\n");
    assert!(
        lab.read("out/a-0-2.png").is_none(),
        "the same bytes are kept"
    );
    let other = ["--set", "latent.seed=2"];
    let ended = lab.graph(PICTURE, &other);
    assert_eq!(ended.code(0).out, "out/a-0-2.png\nout/a-1-2.png\n");
    ended.says("a-0.png holds something else; wrote a-0-2.png");
    assert_eq!(lab.read("out/a-0.png"), Some(first));
    let ended = lab.graph(PICTURE, &[&other[..], &["--overwrite"]].concat());
    assert_eq!(ended.code(0).out, "out/a-0.png\nout/a-1.png\n");
    assert_eq!(lab.read("out/a-0.png"), lab.read("out/a-0-2.png"));
}

#[test]
fn without_metadata_a_picture_carries_no_graph() {
    let lab = Lab::new();
    lab.graph(PICTURE, &["--no-metadata"]).code(0);
    let png = lab.read("out/a-0.png").expect("the picture");
    assert!(!String::from_utf8_lossy(&png).contains("LoadModel("));
}

#[test]
fn events_are_one_object_a_line_and_every_node_is_in_exactly_one_list() {
    let ended = Lab::new().graph(PICTURE, &["--json"]);
    ended.code(0);
    let events = events(&ended);
    assert_eq!(events[0], serde_json::json!({"event": "plan", "nodes": 8}));
    let done = events.last().expect("events");
    assert_eq!(done["event"], "done");
    let mut all = Vec::new();
    for list in ["ran", "kept", "unneeded", "failed", "blocked", "cancelled"] {
        all.extend(names(done, list));
    }
    all.sort();
    let planned = [
        "empty", "image", "latent", "model", "noise", "save", "spare", "wanted",
    ];
    assert_eq!(all, planned);
    assert_eq!(names(done, "unneeded"), ["spare"]);
    assert_eq!(names(done, "outputs"), ["out/a-0.png", "out/a-1.png"]);
    assert!(
        done["seconds"]
            .as_f64()
            .is_some_and(|seconds| seconds > 0.0)
    );
    for event in &events {
        let known = ["plan", "node", "load", "wrote", "note", "done"];
        assert!(
            known.contains(&event["event"].as_str().expect("a name")),
            "{event}"
        );
    }
    let progress = |event: &&Value| event["node"] == "latent" && event["state"] == "progress";
    let steps: Vec<_> = events.iter().filter(progress).collect();
    assert_eq!(steps.len(), 4);
    assert_eq!(
        (&steps[3]["step"], &steps[3]["steps"]),
        (&4.into(), &4.into())
    );
    assert!(
        events.iter().any(|event| event["event"] == "load"),
        "weights are loaded"
    );
}

#[test]
fn a_failed_run_ends_in_one_and_says_what_failed() {
    let lab = Lab::new();
    lab.write("out/sub", "a file where the folder should be");
    let ended = lab.graph(PICTURE, &["--json", "--set", "save.path=sub/a-{index}.png"]);
    ended.code(1).says("error: `save`").says("graph.ron:");
    let events = events(&ended);
    let done = events.last().expect("events");
    assert_eq!(names(done, "failed"), ["save"]);
    assert!(names(done, "ran").contains(&"image".to_owned()));
}

#[test]
fn a_wrong_graph_ends_in_two_before_anything_is_written() {
    let lab = Lab::new();
    lab.graph(PICTURE, &["--set", "latent.steps=0"])
        .code(2)
        .says("`latent.steps` takes 1 to");
    assert!(lab.read("out/a-0.png").is_none());
    lab.graph(PICTURE, &["--device", "cuda:99"])
        .code(2)
        .says("error: ");
}

#[test]
fn only_makes_a_node_the_root() {
    let ended = Lab::new().graph(PICTURE, &["--json", "--only", "spare"]);
    ended.code(0);
    let events = events(&ended);
    let done = events.last().expect("events");
    assert!(
        names(done, "unneeded").contains(&"save".to_owned()),
        "{done}"
    );
    assert!(names(done, "ran").contains(&"spare".to_owned()), "{done}");
}

#[test]
fn quiet_says_nothing_but_results_and_verbose_says_why() {
    let lab = Lab::new();
    let quiet = lab.graph(PICTURE, &["-q"]);
    assert_eq!(quiet.code(0).err, "");
    assert_eq!(quiet.out, "out/a-0.png\nout/a-1.png\n");
    lab.graph(PICTURE, &["-v", "--no-cache"])
        .code(0)
        .says("latent: runs")
        .says("loaded");
}

#[test]
fn a_budget_too_small_for_the_weights_is_told() {
    let ended = Lab::new().graph(PICTURE, &["--memory", "1k"]);
    ended.code(1).says("--memory");
}
