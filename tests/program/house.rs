//! The house: which crate may know which, who may print, and that nobody opens a network.
//! Read from manifests and sources, so that an arrow drawn backwards fails before it is used.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::lab::root;

/// Every crate with the crates of ours that it may use.
const ARROWS: [(&str, &str, &[&str]); 6] = [
    ("ldm-graph", "", &["ldm-engine", "ldm-nodes"]),
    (
        "ldm-nodes",
        "nodes",
        &["ldm-engine", "ldm-models", "ldm-world"],
    ),
    ("ldm-models", "models", &["ldm-kernels"]),
    ("ldm-kernels", "kernels", &[]),
    ("ldm-engine", "engine", &["ldm-engine-derive"]),
    ("ldm-world", "world", &[]),
];

/// The crates below the command, by folder.
const ROOMS: [&str; 6] = [
    "engine",
    "engine/derive",
    "nodes",
    "models",
    "kernels",
    "world",
];

/// Names in the sections of a manifest that a build of the program uses.
fn dependencies(manifest: &str) -> Vec<String> {
    let mut section = "";
    let mut names = Vec::new();
    for line in manifest.lines().map(str::trim) {
        if line.starts_with('[') {
            section = line.trim_matches(['[', ']']);
            if let Some(name) = section.strip_prefix("dependencies.") {
                names.push(name.to_owned());
            }
            continue;
        }
        let used = section == "dependencies"
            || (section.starts_with("target.") && section.ends_with(".dependencies"));
        let end = line.find(['.', ' ', '=']).unwrap_or(0);
        if used && end > 0 && !line.starts_with('#') {
            names.push(line[..end].to_owned());
        }
    }
    names
}

fn manifest(folder: &str) -> String {
    let path = root().join(folder).join("Cargo.toml");
    std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// Every source file of a room with its code: without comments, and without its tests.
fn sources(folder: &str) -> Vec<(PathBuf, String)> {
    let mut files = Vec::new();
    collect(&root().join(folder).join("src"), &mut files);
    assert!(!files.is_empty(), "{folder} has sources");
    files.sort();
    let code = |path: PathBuf| {
        let text = std::fs::read_to_string(&path).expect("a source file");
        let product = text.split("#[cfg(test)]").next().unwrap_or("");
        let lines = product
            .lines()
            .map(|line| line.split("//").next().unwrap_or(""));
        (path, lines.collect::<Vec<_>>().join("\n"))
    };
    files.into_iter().map(code).collect()
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("a source folder") {
        let path = entry.expect("an entry").path();
        let is_test = path.file_stem().is_some_and(|stem| stem == "tests");
        if path.is_dir() && !is_test {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") && !is_test {
            files.push(path);
        }
    }
}

/// Asserts that none of these words stands in the code of a room.
#[track_caller]
fn never(folder: &str, words: &[&str]) {
    for (path, code) in sources(folder) {
        for word in words {
            assert!(!code.contains(word), "{} has `{word}`", path.display());
        }
    }
}

#[test]
fn dependencies_of_a_manifest_are_read() {
    let text = "[dependencies]\na.workspace = true\nb = { version = \"1\" }\n# c = 1\n\n\
                [dev-dependencies]\nd = \"1\"\n[target.'cfg(unix)'.dependencies]\ne = \"1\"\n";
    assert_eq!(dependencies(text), ["a", "b", "e"]);
}

#[test]
fn the_arrows_between_the_crates_hold() {
    for (name, folder, allowed) in ARROWS {
        let found = dependencies(&manifest(folder));
        assert!(
            !found.is_empty() || allowed.is_empty(),
            "{name} has dependencies"
        );
        for other in found.iter().filter(|other| other.starts_with("ldm-")) {
            assert!(
                allowed.contains(&other.as_str()),
                "{name} must not use {other}"
            );
        }
    }
}

#[test]
fn the_command_and_the_engine_know_no_tensors() {
    for folder in ["", "engine", "engine/derive", "world"] {
        let found = dependencies(&manifest(folder));
        for other in &found {
            let tensors = other.starts_with("burn") || other.starts_with("cubecl");
            assert!(!tensors, "`{folder}` uses {other}");
        }
        never(folder, &["burn::"]);
    }
    for refused in ["image", "clap", "tokio"] {
        let found = dependencies(&manifest("engine"));
        assert!(
            !found.iter().any(|other| other == refused),
            "the engine uses {refused}"
        );
    }
}

#[test]
fn only_kernels_names_a_backend() {
    let backends = [
        "burn_flex",
        "burn_cubecl",
        "burn_cuda",
        "burn_dispatch",
        "cubecl",
    ];
    for folder in ["", "engine", "nodes", "models", "world"] {
        never(folder, &backends);
        for other in dependencies(&manifest(folder)) {
            let backend = other.replace('-', "_");
            assert!(
                !backends.contains(&backend.as_str()),
                "`{folder}` uses {other}"
            );
        }
    }
}

#[test]
fn only_the_command_prints_exits_or_reads_the_environment() {
    let mut words = vec![
        "io::stdout",
        "io::stderr",
        "process::exit",
        "env::var",
        "env::args",
    ];
    words.extend(["println!", "print!", "eprintln!", "eprint!", "dbg!"]);
    for folder in ROOMS {
        never(folder, &words);
    }
}

#[test]
fn nothing_opens_a_network() {
    for folder in ROOMS.into_iter().chain([""]) {
        never(
            folder,
            &["std::net", "TcpStream", "UdpSocket", "TcpListener"],
        );
    }
}

#[test]
fn no_crate_that_speaks_to_a_network_is_linked() {
    let arguments = "tree --offline --locked --edges normal --prefix none --format {p} \
                     --target x86_64-unknown-linux-gnu --package ldm-graph";
    let mut command = Command::new(env!("CARGO"));
    let output = command
        .args(arguments.split_whitespace())
        .current_dir(root())
        .output();
    let output = output.expect("cargo starts");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let tree = String::from_utf8_lossy(&output.stdout);
    let linked: Vec<&str> = tree
        .lines()
        .filter_map(|line| line.split(' ').next())
        .collect();
    assert!(
        linked.contains(&"burn") && linked.contains(&"ldm-engine"),
        "{linked:?}"
    );
    let refused = [
        "reqwest",
        "hyper",
        "ureq",
        "curl",
        "isahc",
        "attohttpc",
        "surf",
        "h2",
        "rustls",
        "native-tls",
        "openssl",
        "tokio",
        "async-std",
        "hf-hub",
        "socket2",
        "quinn",
    ];
    for name in refused {
        assert!(!linked.contains(&name), "{name} is linked");
    }
}

#[test]
fn files_are_of_a_length_that_can_be_read() {
    for folder in ROOMS.into_iter().chain([""]) {
        for (path, _) in sources(folder) {
            let text = std::fs::read_to_string(&path).expect("a source file");
            let product = text.split("#[cfg(test)]\nmod ").next().unwrap_or("");
            let (lines, name) = (product.lines().count(), path.display());
            assert!(lines <= 700, "{name} has {lines} lines");
            assert!(
                text.starts_with("//!"),
                "{name} does not say what it is for"
            );
            let wide = text.lines().find(|line| line.chars().count() > 100);
            assert!(
                wide.is_none_or(|line| line.contains("http")),
                "{name}: {wide:?}"
            );
        }
    }
}
