//! The model that ships, and the picture that README shows.

use crate::lab::{Lab, root, utf8};

/// What `graphs/txt2img.ron` writes on so many threads.
fn picture(lab: &Lab, threads: &str) -> Vec<u8> {
    let graph = root().join("graphs/txt2img.ron");
    let words = [
        "run",
        utf8(&graph),
        "--no-cache",
        "--threads",
        threads,
        "--out",
        threads,
    ];
    lab.run(words).code(0);
    lab.read(&format!("{threads}/txt2img-42.png"))
        .expect("the picture")
}

#[test]
fn the_first_command_makes_the_picture_of_the_readme_whatever_the_threads() {
    let lab = Lab::new();
    let one = picture(&lab, "1");
    assert!(
        one == picture(&lab, "2"),
        "one thread and two make one picture"
    );
    assert!(one == picture(&lab, "2"), "and again");
    // Other instruction sets round otherwise; their pictures differ in what no eye sees.
    #[cfg(target_arch = "x86_64")]
    if std::is_x86_feature_detected!("avx2") && std::is_x86_feature_detected!("fma") {
        let shown = std::fs::read(root().join("graphs/images/txt2img.png"));
        assert!(
            one == shown.expect("the picture of README.md"),
            "it is the one shown"
        );
    }
}

#[test]
fn the_weights_are_of_a_size_that_ships() {
    let folder = std::fs::read_dir(root().join("weights/text")).expect("the model");
    let bytes: u64 = folder
        .map(|entry| {
            entry
                .and_then(|entry| entry.metadata())
                .expect("a file")
                .len()
        })
        .sum();
    assert!(bytes < 10 << 20, "{bytes} bytes");
}

#[test]
fn every_picture_that_a_shipped_graph_draws_can_be_verified() {
    // In the repository, as README's reader is, so that what pictures name is found upward.
    let out = tempfile::tempdir_in(root()).expect("a folder in the repository");
    let lab = Lab::new();
    for (graph, picture) in [
        ("graphs/txt2img.ron", "txt2img-42.png"),
        ("graphs/img2img.ron", "img2img-1.png"),
        ("graphs/reconstruct.ron", "reconstruct.png"),
        ("graphs/scene.ron", "scene.png"),
        ("graphs/areas.ron", "areas-4.png"),
        ("graphs/inpaint.ron", "inpaint-1.png"),
    ] {
        let graph = root().join(graph);
        lab.run(["run", utf8(&graph), "--out", utf8(out.path())])
            .code(0);
        let verified = lab.run(["verify", utf8(&out.path().join(picture))]);
        assert!(
            verified.code(0).out.contains("the same pixels"),
            "{}",
            verified.out
        );
    }
}
