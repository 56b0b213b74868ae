//! The program remembers: what a second process runs, what `explain` and `cache` say, and what a
//! kill or a full disk costs.

use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::lab::{Chance, Ended, Lab, models, utf8};
use crate::running::{PICTURE, events, names};

/// The lists of the last event.
fn done(ended: &Ended) -> Value {
    events(ended).pop().expect("events")
}

fn loads(ended: &Ended) -> Vec<String> {
    let what = |event: &Value| Some(event["what"].as_str()?.to_owned());
    let loads = events(ended).into_iter();
    loads
        .filter(|event| event["event"] == "load")
        .filter_map(|event| what(&event))
        .collect()
}

#[test]
fn in_a_second_process_nothing_runs_and_what_is_saved_is_kept() {
    let lab = Lab::new();
    lab.graph(PICTURE, &["--json"]).code(0);
    let again = lab.graph(PICTURE, &["--json"]);
    let done = done(again.code(0));
    assert_eq!(names(&done, "ran"), [""; 0]);
    assert!(names(&done, "kept").contains(&"save".to_owned()));
    assert_eq!(names(&done, "outputs"), ["out/a-0.png", "out/a-1.png"]);
    assert!(loads(&again).is_empty(), "no weight is read");
}

#[test]
fn after_a_picture_is_deleted_only_its_save_runs() {
    let lab = Lab::new();
    lab.graph(PICTURE, &[]).code(0);
    let picture = lab.read("out/a-1.png");
    std::fs::remove_file(lab.path("out/a-1.png")).expect("it was there");
    let again = lab.graph(PICTURE, &["--json"]);
    assert_eq!(names(&done(again.code(0)), "ran"), ["save"]);
    assert!(loads(&again).is_empty(), "no weight is read");
    assert_eq!(lab.read("out/a-1.png"), picture);
}

#[test]
fn a_new_seed_in_a_new_process_runs_its_cone_and_loads_each_model_once() {
    let lab = Lab::new();
    lab.graph(PICTURE, &[]).code(0);
    let other = lab.graph(PICTURE, &["--json", "--set", "latent.seed=2"]);
    assert_eq!(
        names(&done(other.code(0)), "ran"),
        ["latent", "image", "save"]
    );
    let mut loaded = loads(&other);
    loaded.sort();
    assert_eq!(
        loaded,
        ["Unet", "Vae"],
        "the text encoder is not needed, the others once"
    );
}

#[test]
fn a_caption_that_reads_the_same_runs_its_encoder_and_stops_there() {
    let lab = Lab::new();
    lab.graph(PICTURE, &[]).code(0);
    let same = lab.graph(PICTURE, &["--json", "--set", "wanted.text=a  red house"]);
    assert_eq!(names(&done(same.code(0)), "ran"), ["wanted"]);
    let other = lab.graph(PICTURE, &["--json", "--set", "wanted.text=a blue house"]);
    let cone = ["wanted", "latent", "image", "save"];
    assert_eq!(names(&done(other.code(0)), "ran"), cone);
}

#[test]
fn a_latent_that_was_evicted_below_a_kept_picture_is_not_made_again() {
    let lab = Lab::new();
    lab.graph(PICTURE, &[]).code(0);
    let objects = std::fs::read_dir(lab.path("cache/ldm-graph/objects")).expect("objects");
    let paths = objects.map(|entry| entry.expect("an entry").path());
    let is_latent = |path: &std::path::PathBuf| {
        let bytes = std::fs::read(path).expect("an object");
        bytes.starts_with(b"ldm-graph object 1 Latent/")
    };
    let latents: Vec<_> = paths.filter(is_latent).collect();
    assert_eq!(latents.len(), 2, "the noise and the picture's");
    for latent in latents {
        std::fs::remove_file(latent).expect("it was there");
    }
    assert_eq!(
        names(&done(lab.graph(PICTURE, &["--json"]).code(0)), "ran"),
        [""; 0]
    );
    std::fs::remove_file(lab.path("out/a-0.png")).expect("it was there");
    let again = lab.graph(PICTURE, &["--json"]);
    assert_eq!(names(&done(again.code(0)), "ran"), ["save"]);
}

#[test]
fn without_a_cache_nothing_is_found_and_nothing_kept() {
    let lab = Lab::new();
    let all = [
        "model", "wanted", "empty", "noise", "latent", "image", "save",
    ];
    for _ in 0..2 {
        let ended = lab.graph(PICTURE, &["--json", "--no-cache"]);
        assert_eq!(names(&done(ended.code(0)), "ran"), all);
    }
    assert!(!lab.path("cache/ldm-graph/objects").exists());
}

#[test]
fn the_cache_is_where_the_flag_or_the_environment_says() {
    let lab = Lab::new();
    lab.graph(PICTURE, &["--cache", "here"]).code(0);
    assert!(lab.path("here/objects").is_dir());
    let mut command = lab.command(["run", "graph.ron", "--json", "--models", utf8(models())]);
    let output = command.env("LDM_GRAPH_CACHE", "here").output();
    let ended = Ended::of(output.expect("the program starts"));
    assert_eq!(names(&done(ended.code(0)), "ran"), [""; 0]);
    assert!(!lab.path("cache/ldm-graph/objects").exists());
    let stat = lab.run(["cache", "stat", "--cache", "here"]);
    assert!(
        stat.code(0).out.starts_with("here\nobjects"),
        "{}",
        stat.out
    );
}

#[test]
fn explain_says_what_would_run_and_why_in_a_new_process() {
    let lab = Lab::new();
    lab.graph(PICTURE, &[]).code(0);
    let explain = |flags: &[&str]| {
        let mut words = vec!["explain", "graph.ron", "--models", utf8(models())];
        words.extend(flags);
        lab.run(words)
    };
    let kept = explain(&[]);
    kept.code(0);
    for node in ["model", "wanted", "latent", "save"] {
        let line = kept.out.lines().find(|line| line.starts_with(node));
        assert!(
            line.is_some_and(|line| line.contains("kept on disk")),
            "{}",
            kept.out
        );
    }
    let spare = kept.out.lines().find(|line| line.starts_with("spare"));
    assert!(spare.is_some_and(|line| line.contains("not needed")));
    let changed = explain(&["--set", "latent.cfg=4"]);
    assert!(
        changed.out.contains("runs: `cfg` was 3.0, now 4.0"),
        "{}",
        changed.out
    );
    assert!(
        changed
            .out
            .contains("runs, unless what comes from `latent` is unchanged")
    );
    let one = explain(&["latent", "--json", "--set", "latent.cfg=4"]);
    let line: Value = serde_json::from_str(&one.out).expect("one object");
    assert_eq!(line["node"], "latent");
    assert_eq!(line["fate"]["runs"]["because"], "`cfg` was 3.0, now 4.0");
    explain(&["laten"]).code(2).says("did you mean `latent`?");
    // Asking changed nothing.
    let ended = lab.graph(PICTURE, &["--json"]);
    assert_eq!(names(&done(&ended), "ran"), [""; 0]);
}

#[test]
fn the_cache_is_verified_swept_and_cleared() {
    let lab = Lab::new();
    lab.graph(PICTURE, &[]).code(0);
    let objects = lab.path("cache/ldm-graph/objects");
    let first = std::fs::read_dir(&objects).expect("objects").next();
    let path = first.expect("an object").expect("an entry").path();
    let mut bytes = std::fs::read(&path).expect("its bytes");
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    std::fs::write(&path, bytes).expect("written");
    let verified = lab.run(["cache", "verify"]);
    verified.code(0).says("was damaged; it was removed");
    assert!(
        verified.out.contains("removed 1 damaged"),
        "{}",
        verified.out
    );
    let swept = lab.run(["cache", "gc"]);
    assert!(
        swept.code(0).out.contains("nothing to remove"),
        "{}",
        swept.out
    );
    lab.run(["cache", "gc", "--cache-size", "2K"]).code(0);
    let stat = lab.run(["cache", "stat"]);
    assert!(stat.out.contains("of 16.0 GiB"), "{}", stat.out);
    lab.graph(PICTURE, &["--cache-size", "10M"]).code(0);
    let kernels = lab.path("cache/ldm-graph/kernels");
    std::fs::create_dir_all(&kernels).expect("a folder");
    for name in ["gpu.db", "gpu.db-wal", "mine.db"] {
        std::fs::write(kernels.join(name), [0; 1024]).expect("a file");
    }
    let stat = lab.run(["cache", "stat"]).code(0).out.clone();
    assert!(
        stat.contains("2.0 KiB of a GPU's kernels besides"),
        "{stat}"
    );
    lab.run(["cache", "clear"]).code(0);
    let left = std::fs::read_dir(&kernels).expect("what is left");
    let left: Vec<_> = left
        .map(|entry| entry.expect("an entry").file_name())
        .collect();
    assert_eq!(left, ["mine.db"], "what is not ours stays");
    let ended = lab.graph(PICTURE, &["--json"]);
    assert_eq!(names(&done(&ended), "ran").len(), 7);
}

#[cfg(unix)]
#[test]
fn a_disk_that_takes_no_more_costs_one_warning_and_not_the_picture() {
    let lab = Lab::new();
    lab.graph(PICTURE, &["--no-cache", "--out", "wanted"])
        .code(0);
    // Pictures are smaller than this; latents and images are not.
    let program = env!("CARGO_BIN_EXE_ldm-graph");
    let models = utf8(models());
    let line = format!("ulimit -f 8; exec {program} run graph.ron --models {models}");
    let mut command = std::process::Command::new("bash");
    command.args(["-c", &line]).current_dir(lab.path("."));
    command
        .env("XDG_CACHE_HOME", lab.path("cache"))
        .env_remove("LDM_GRAPH_CACHE");
    let ended = Ended::of(command.output().expect("a shell"));
    ended.code(0).says("warning: results are no longer kept");
    assert_eq!(ended.err.matches("warning:").count(), 1, "{}", ended.err);
    assert_eq!(lab.read("out/a-0.png"), lab.read("wanted/a-0.png"));
}

/// The slow run, started and not waited for.
fn start(lab: &Lab, flags: &[&str]) -> Child {
    let mut words = vec!["run", "graph.ron", "--models", utf8(models())];
    words.extend(flags);
    let mut command = lab.command(words);
    let silent = command.stdout(Stdio::null()).stderr(Stdio::null());
    silent.spawn().expect("the program starts")
}

#[test]
fn a_run_that_was_killed_goes_on_from_what_had_finished() {
    let lab = Lab::new();
    let slow = ["--json", "--set", "latent.steps=400"];
    let alone = [&slow[..], &["--no-cache", "--out", "slow"]].concat();
    let started = Instant::now();
    lab.graph(PICTURE, &alone).code(0);
    let mut longest = started.elapsed();
    let mut chance = Chance::new();
    let mut killed = 0;
    while killed < 5 {
        let longest_us = longest.as_micros().try_into().expect("it fits");
        let mut child = start(&lab, &slow);
        std::thread::sleep(Duration::from_micros(chance.below(longest_us)));
        match child.try_wait().expect("a state") {
            None => killed += 1,
            // The machine has become faster: the next one is killed sooner.
            Some(_) => longest /= 2,
        }
        child.kill().expect("a kill");
        child.wait().expect("an end");
        let flags = [&slow[..], &["--overwrite"]].concat();
        lab.graph(PICTURE, &flags).code(0);
        let [found, wanted] = ["out/a-0.png", "slow/a-0.png"].map(|name| lab.read(name));
        assert!(found.is_some() && found == wanted, "kill {killed}");
        lab.run(["cache", "gc"]).code(0);
        let left = std::fs::read_dir(lab.path("cache/ldm-graph/tmp")).expect("the folder");
        let left: Vec<_> = left.map(|file| file.expect("a file").path()).collect();
        assert!(left.is_empty(), "kill {killed} left {left:?}");
        // The results go, so that the next one has something to do.
        lab.run(["cache", "clear"]).code(0);
    }
}

#[test]
fn two_processes_share_a_folder_for_the_same_graph_and_for_two() {
    let lab = Lab::new();
    let seeds = ["latent.seed=1", "latent.seed=2"];
    let picture = |out: &str| lab.read(&format!("{out}/a-1.png")).expect("a picture");
    let wanted = seeds.map(|seed| {
        lab.graph(PICTURE, &["--no-cache", "--out", seed, "--set", seed])
            .code(0);
        picture(seed)
    });
    assert_ne!(wanted[0], wanted[1]);
    for [first, second] in [[0, 0], [0, 1], [1, 1], [1, 0]] {
        let begin = |seed: usize, out| start(&lab, &["--set", seeds[seed], "--out", out]);
        let both = [begin(first, "first"), begin(second, "second")];
        for mut child in both {
            assert!(child.wait().expect("an end").success());
        }
        assert!(picture("first") == wanted[first] && picture("second") == wanted[second]);
        let verified = lab.run(["cache", "verify"]);
        assert!(
            !verified.code(0).out.contains("damaged"),
            "{}",
            verified.out
        );
        // What one of them kept is found by the next.
        let again = lab.graph(
            PICTURE,
            &["--json", "--set", seeds[first], "--out", "first"],
        );
        assert_eq!(names(&done(again.code(0)), "ran"), [""; 0]);
        lab.run(["cache", "clear"]).code(0);
        for out in ["first", "second"] {
            std::fs::remove_dir_all(lab.path(out)).expect("it was written");
        }
    }
}

/// A folder on another file system than the lab's; on the same one where the machine has no other.
#[cfg(unix)]
#[allow(clippy::print_stderr)]
fn elsewhere(lab: &Lab) -> tempfile::TempDir {
    use std::os::unix::fs::MetadataExt;
    let device = |path: &Path| path.metadata().ok().map(|meta| meta.dev());
    let here = device(&lab.path("."));
    let places = ["/dev/shm", "/var/tmp", "/run", env!("CARGO_TARGET_TMPDIR")].map(Path::new);
    let other = places.into_iter().filter(|place| device(place) != here);
    let found = other
        .filter_map(|place| tempfile::tempdir_in(place).ok())
        .next();
    found.unwrap_or_else(|| {
        eprintln!("this machine has one file system: the cache is on that of the graph");
        tempfile::tempdir().expect("a temporary folder")
    })
}

#[cfg(unix)]
#[test]
fn the_cache_may_lie_on_another_file_system_than_graph_and_output() {
    let lab = Lab::new();
    let folder = elsewhere(&lab);
    let cache = folder.path().join("cache");
    let cache = ["--cache", utf8(&cache)];
    let flags = [&["--json"], &cache[..]].concat();
    let ended = lab.graph(PICTURE, &flags);
    assert_eq!(names(&done(ended.code(0)), "ran").len(), 7);
    assert!(!ended.err.contains("warning"), "{}", ended.err);
    let again = lab.graph(PICTURE, &flags);
    let last = done(again.code(0));
    assert_eq!(names(&last, "ran"), [""; 0]);
    assert_eq!(names(&last, "kept").len(), 7);
    let verified = lab.run([&["cache", "verify"], &cache[..]].concat());
    verified.code(0);
    assert!(!verified.out.contains("damaged"), "{}", verified.out);
    assert!(!lab.path("cache/ldm-graph/objects").exists());
}
