//! The same bits whatever the number of threads: each count in a process of its own, since a
//! process has one pool of threads.

use std::process::Command;

use super::{Lab, MODEL};

/// Where the child puts its picture.
const OUT: &str = "LDM_TEST_PICTURE";

#[test]
fn a_picture_is_the_same_bytes_on_one_thread_and_on_two() {
    let folder = tempfile::tempdir().unwrap();
    let pictures = ["1", "2"].map(|threads| {
        let out = folder.path().join(threads);
        let child = Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "tests::threads::draws_for_its_parent",
                "--ignored",
            ])
            .env("RAYON_NUM_THREADS", threads)
            .env(OUT, &out)
            .output()
            .unwrap();
        assert!(
            child.status.success(),
            "{}",
            String::from_utf8_lossy(&child.stdout)
        );
        std::fs::read(&out).unwrap()
    });
    assert!(!pictures[0].is_empty());
    assert_eq!(pictures[0], pictures[1]);
}

#[test]
#[ignore = "run by the test above"]
fn draws_for_its_parent() {
    let Some(out) = std::env::var_os(OUT) else {
        return;
    };
    let mut lab = Lab::new();
    lab.host.threads = rayon_threads();
    let nodes = format!(
        r#"{MODEL}
        "large": EmptyLatent(vae: "model", width: 128, height: 128, batch: 2),
        "latent": Denoise(
            unet: "model", latent: "large", positive: "wanted", negative: "empty", steps: 3,
        ),
        "image": VaeDecode(vae: "model", latent: "latent"),
        "save": SaveImage(image: "image", columns: 2, path: "sheet.png"),"#
    );
    lab.run(&nodes, &[]);
    std::fs::write(out, lab.file("save")).unwrap();
}

/// The engine gets as many as the kernels.
fn rayon_threads() -> usize {
    std::env::var("RAYON_NUM_THREADS").unwrap().parse().unwrap()
}
