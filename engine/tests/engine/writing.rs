//! Writing: templates, names taken, what may not be left, what keeps an effect.

use crate::lab::Lab;

fn saver(path: &str) -> Lab {
    Lab::new(&format!(
        "Graph(inputs: {{ \"seed\": Int(7), \"who\": Text(\"a/b\") }}, nodes: {{
            \"a\": Say(text: \"a\"), \"save\": Save(words: \"a\", path: {path:?}, copies: 2),
        }})"
    ))
}

#[test]
fn templates_know_graph_node_index_and_inputs() {
    let lab = saver("{graph}/{node}-{seed}-{who}-{{x}}-{index}.txt");
    let ran = lab.run_all();
    let wanted = ["lab/save-7-a_b-{x}-0.txt", "lab/save-7-a_b-{x}-1.txt"];
    for (path, name) in ran.report.done.outputs.iter().zip(wanted) {
        assert!(path.ends_with(name), "{path}");
        assert_eq!(lab.out(name).as_deref(), Some("a"));
    }
}

#[test]
fn later_files_of_a_template_without_index_get_a_number() {
    let lab = saver("x.txt");
    lab.run_all();
    assert!(lab.out("x.txt").is_some() && lab.out("x-1.txt").is_some());
}

#[test]
fn the_same_bytes_are_kept_and_other_content_takes_the_next_free_name() {
    let mut lab = saver("x-{index}.txt");
    lab.run_all().ran(["a", "save"]);
    let again = lab.set("a.text", "b").run_all();
    again.ran(["a", "save"]);
    assert_eq!(lab.out("x-0.txt").as_deref(), Some("a"));
    assert_eq!(lab.out("x-0-2.txt").as_deref(), Some("b"));
    assert!(again.events.iter().any(|event| matches!(
        event,
        ldm_engine::Event::Note { message, .. } if message.contains("x-0-2.txt")
    )));
    lab.cache = ldm_engine::Cache::new(1000);
    lab.sets.clear();
    lab.run_all().ran(["a", "save"]);
    assert!(lab.out("x-0-3.txt").is_none());
}

#[test]
fn overwrite_replaces() {
    let mut lab = saver("x-{index}.txt");
    lab.run_all();
    lab.host.overwrite = true;
    lab.set("a.text", "b").run_all();
    assert_eq!(lab.out("x-0.txt").as_deref(), Some("b"));
    assert!(lab.out("x-0-2.txt").is_none());
}

#[test]
fn what_the_same_node_wrote_before_is_replaced_and_nothing_else() {
    let mut lab = saver("x-{index}.txt");
    lab.file("out/x-1.txt", "of somebody");
    lab.host.own = Some(Default::default());
    lab.run_all();
    lab.set("a.text", "b").run_all();
    assert_eq!(lab.out("x-0.txt").as_deref(), Some("b"));
    assert_eq!(lab.out("x-1.txt").as_deref(), Some("of somebody"));
    assert_eq!(lab.out("x-1-2.txt").as_deref(), Some("b"));
    lab.file("out/x-0.txt", "touched up by hand");
    lab.set("a.text", "c").run_all();
    assert_eq!(lab.out("x-0.txt").as_deref(), Some("touched up by hand"));
    assert_eq!(lab.out("x-0-2.txt").as_deref(), Some("c"));
}

#[test]
fn a_node_does_not_replace_what_another_one_wrote() {
    let mut lab = Lab::new(
        r#"Graph(nodes: {
            "a": Say(text: "a"), "b": Say(text: "b"),
            "first": Save(words: "a", path: "x.txt"),
            "second": Save(words: "b", path: "x.txt"),
        })"#,
    );
    lab.host.own = Some(Default::default());
    lab.host.threads = 1;
    lab.run_all();
    let ran = lab.set("b.text", "c").run_all();
    ran.ran(["b", "second"]).kept(["a", "first"]);
    let mut said = [lab.out("x.txt"), lab.out("x-2.txt")];
    said.sort();
    assert_eq!(said, [Some("a".to_owned()), Some("c".to_owned())]);
    assert_eq!(lab.out("x-3.txt"), None);
}

#[test]
fn an_effect_is_kept_while_its_files_stand_else_it_alone_runs_again() {
    let lab = saver("x-{index}.txt");
    lab.run_all().ran(["a", "save"]);
    lab.run_all().ran([]).kept(["a", "save"]);
    std::fs::remove_file(lab.host.out.join("x-1.txt")).expect("it stands");
    let ran = lab.run_all();
    ran.ran(["save"]).kept(["a"]);
    assert_eq!(
        ran.because("save").as_deref(),
        Some("its files are gone or changed")
    );
    std::fs::write(lab.host.out.join("x-1.txt"), "other").expect("writable");
    lab.run_all().ran(["save"]);
}

#[test]
fn paths_that_leave_the_output_folder_are_refused_while_planning() {
    for path in [
        "../x.txt",
        "/etc/x.txt",
        "a/../../x.txt",
        "",
        "a/",
        "{graph}/../{index}",
    ] {
        let lab = saver(path);
        let errors = lab.errors();
        assert!(
            errors.starts_with("error: `save.path`:"),
            "{path}: {errors}"
        );
        assert!(errors.contains("lab.ron:2:65"), "{path}: {errors}");
    }
    assert!(saver("{sed}.txt").errors().contains("did you mean `seed`?"));
    assert!(saver("{seed.txt").errors().contains("`{` stands alone"));
}

#[cfg(unix)]
#[test]
fn links_that_leave_the_output_folder_are_refused() {
    let lab = saver("sub/x.txt");
    let elsewhere = lab.folder.path().join("elsewhere");
    std::fs::create_dir_all(&elsewhere).expect("folders");
    std::fs::create_dir_all(&lab.host.out).expect("folders");
    std::os::unix::fs::symlink(&elsewhere, lab.host.out.join("sub")).expect("a link");
    let ran = lab.run_all();
    assert_eq!(ran.report.done.failed, ["save"]);
    assert!(ran.report.failures[0].message.contains("link out of"));
    assert!(!elsewhere.join("x.txt").exists());
}

#[test]
fn a_recipe_is_a_graph_that_runs() {
    let lab = Lab::new(
        r#"Graph(inputs: { "seed": Int(3) }, nodes: {
            "unused": Say(text: "no"),
            "text": Say(text: "a \"b\""), "noise": Noise(seed: Input("seed"), shape: Square),
            "mix": Join(a: "text", b: "noise"),
            "story": Story(words: "mix", path: "story.ron"),
        })"#,
    );
    lab.run_all();
    let story = lab.out("story.ron").expect("it was written");
    assert!(
        !story.contains("unused") && !story.contains(lab.folder.path().to_str().expect("utf8"))
    );
    let mut retold = Lab::new(&story);
    retold.cache = lab.cache;
    retold
        .run("mix")
        .ran([])
        .gave("mix.words", "a \"b\" noise 3 square");
}
