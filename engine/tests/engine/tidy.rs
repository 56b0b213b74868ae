//! The engine's own house: what it may depend on.

#[test]
fn the_engine_depends_on_no_tensor_image_clap_or_async_crate() {
    let manifest = include_str!("../../Cargo.toml");
    let sections = manifest.split("\n[").filter_map(|section| {
        let (title, lines) = section.split_once(']')?;
        let ours = title == "dependencies" || title.ends_with(".dependencies");
        ours.then_some(lines)
    });
    let names: Vec<&str> = sections
        .flat_map(str::lines)
        .filter_map(|line| line.split(['.', ' ', '=']).next())
        .filter(|name| !name.is_empty() && !name.starts_with('#'))
        .collect();
    let allowed = [
        "ldm-engine-derive",
        "blake3",
        "petgraph",
        "ron",
        "serde",
        "strsim",
        "tempfile",
        "rustix",
    ];
    assert_eq!(
        names, allowed,
        "a new dependency of the engine is a decision"
    );
}

#[test]
fn no_crate_below_the_engine_is_a_tensor_image_clap_or_async_crate() {
    let lock = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.lock"))
        .expect("the workspace has a lock file");
    let mut todo = vec!["ldm-engine".to_owned()];
    let mut seen: Vec<String> = Vec::new();
    while let Some(name) = todo.pop() {
        if seen.contains(&name) {
            continue;
        }
        for package in lock
            .split("[[package]]")
            .filter(|p| p.contains(&format!("name = \"{name}\"\n")))
        {
            let list = package
                .split_once("dependencies = [")
                .map_or("", |(_, list)| list);
            let names = list
                .split(']')
                .next()
                .unwrap_or("")
                .split('"')
                .skip(1)
                .step_by(2);
            todo.extend(
                names
                    .filter_map(|entry| entry.split(' ').next())
                    .map(str::to_owned),
            );
        }
        seen.push(name);
    }
    assert!(
        seen.contains(&"blake3".to_owned()),
        "the walk found dependencies"
    );
    for refused in [
        "burn",
        "image",
        "clap",
        "tokio",
        "async-std",
        "miette",
        "ldm-models",
    ] {
        let found = seen
            .iter()
            .find(|n| *n == refused || n.starts_with(&format!("{refused}-")));
        assert_eq!(found, None, "the engine must not depend on it");
    }
}
