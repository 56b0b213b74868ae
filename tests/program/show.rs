//! Pictures of graphs: formats, files, and marks on what is kept.

use crate::lab::{Ended, Lab, models, root, utf8};

const SCENE: &str = r#"Graph(nodes: {
    "scenes": WorldDataset(seed: 1, count: 4),
    "scene": DatasetImage(dataset: "scenes", index: 2),
    "save": SaveImage(image: "scene", path: "scene.png"),
    "spare": DatasetImage(dataset: "scenes", index: 3),
})"#;

/// A folder with a graph that needs no weights.
fn lab() -> Lab {
    let lab = Lab::new();
    lab.write("scene.ron", SCENE);
    lab
}

/// `show` of that graph, with these flags.
fn show(lab: &Lab, flags: &[&str]) -> Ended {
    lab.run(["show", "scene.ron"].iter().chain(flags))
}

fn written(lab: &Lab, name: &str) -> String {
    let bytes = lab.read(name).unwrap_or_default();
    String::from_utf8(bytes).expect("pictures are text")
}

#[test]
fn a_graph_is_printed_as_mermaid_unless_another_format_is_asked_for() {
    let lab = lab();
    let shown = show(&lab, &[]);
    assert_eq!(shown.code(0).err, "");
    for line in [
        "flowchart LR\n",
        "  n0[\"<b>scenes</b><br/>WorldDataset\"]\n",
        "  n0 -->|\"Dataset\"| n1\n",
        "  n1 -->|\"Image\"| n2\n",
        ":::unneeded\n",
    ] {
        assert!(
            shown.out.contains(line),
            "`{line}` is not in:\n{}",
            shown.out
        );
    }
    let dot = show(&lab, &["--format", "dot"]);
    assert!(dot.code(0).out.starts_with("digraph \"scene.ron\" {\n"));
    let svg = show(&lab, &["--format", "svg"]);
    assert!(svg.code(0).out.starts_with("<svg "));
    show(&lab, &["--format", "png"]).code(2).says("mermaid");
}

#[test]
fn the_format_of_a_file_follows_its_name() {
    let lab = lab();
    for (name, start) in [
        ("a.svg", "<svg "),
        ("a.mmd", "flowchart LR\n"),
        ("a.md", "```mermaid\nflowchart LR\n"),
        ("a.dot", "digraph "),
        ("a.gv", "digraph "),
    ] {
        let shown = show(&lab, &["-o", name]);
        shown.code(0).says("drew 4 nodes, 0 kept");
        assert_eq!(shown.out, "");
        assert!(written(&lab, name).starts_with(start), "{name}");
    }
    show(&lab, &["-o", "a.png", "--format", "dot"]).code(0);
    assert!(written(&lab, "a.png").starts_with("digraph "));
}

#[test]
fn a_name_that_tells_no_format_is_misuse_and_hears_what_there_is() {
    let lab = lab();
    for name in ["a.png", "a"] {
        let shown = show(&lab, &["-o", name]);
        shown
            .code(2)
            .says(".svg, .mmd, .md, .dot or .gv")
            .says("--format");
        assert_eq!(lab.read(name), None);
    }
}

#[test]
fn a_file_is_replaced_and_a_folder_is_not() {
    let lab = lab();
    lab.write("a.svg", "old");
    show(&lab, &["-q", "-o", "a.svg"]).code(0);
    assert!(written(&lab, "a.svg").ends_with("</svg>\n"));
    lab.write("folder.svg/inside", "old");
    show(&lab, &["-o", "folder.svg"]).code(2).says("is no file");
    show(&lab, &["-o", "none/a.svg"])
        .code(1)
        .says("cannot write none/a.svg");
}

#[test]
fn a_graph_with_an_error_leaves_the_picture_as_it_was() {
    let lab = lab();
    lab.write("a.svg", "old");
    let shown = show(&lab, &["--set", "scene.index=-1", "-o", "a.svg"]);
    shown.code(2).says("scene.index");
    assert_eq!(written(&lab, "a.svg"), "old");
}

#[test]
fn what_is_kept_is_marked_and_nothing_runs() {
    let lab = lab();
    let fresh = show(&lab, &["--format", "svg"]).out;
    assert!(fresh.contains("4 nodes, 0 kept"), "{fresh}");
    assert!(!lab.path("out").exists());
    lab.run(["run", "scene.ron"]).code(0);
    let svg = show(&lab, &["--format", "svg"]).out;
    assert!(svg.contains("<g class=\"kept\""), "{svg}");
    let mermaid = show(&lab, &[]).out;
    assert!(
        mermaid.contains("<b>save</b><br/>SaveImage\"]:::kept"),
        "{mermaid}"
    );
    assert!(mermaid.contains("classDef kept "), "{mermaid}");
    let other = show(&lab, &["--set", "scene.index=1"]).out;
    assert!(
        !other.contains("<b>save</b><br/>SaveImage\"]:::kept"),
        "{other}"
    );
}

#[test]
fn the_same_graph_with_the_same_kept_gives_the_same_bytes() {
    let lab = lab();
    lab.run(["run", "scene.ron"]).code(0);
    for format in ["svg", "mermaid", "dot"] {
        let drawn = || show(&lab, &["--format", format]).out;
        assert_eq!(drawn(), drawn(), "{format}");
    }
}

#[test]
fn a_graph_that_computes_is_drawn_without_talk_of_a_device() {
    let lab = Lab::new();
    let graph = root().join("graphs/txt2img.ron");
    let prompt = "prompt=</svg> \"quoted\" & \\ long long long long";
    let arguments = ["show", utf8(&graph), "--models", utf8(models())];
    let flags = ["--set", prompt, "--format", "svg"];
    let shown = lab.run(arguments.into_iter().chain(flags));
    assert_eq!(shown.code(0).err, "");
    let svg = shown.out;
    for words in [
        ">Latent<",
        ">Vae<",
        ">text_encoder<",
        ">seed<",
        "&lt;/svg&gt; \\&quot;quoted",
    ] {
        assert!(svg.contains(words), "`{words}` is not in:\n{svg}");
    }
    assert_eq!(svg.matches("</svg>").count(), 1);
    assert!(svg.contains('…'), "a long value is shortened");
}

#[test]
fn nodes_of_a_part_stand_in_its_frame() {
    let graph = root().join("tests/graphs/good/part.ron");
    let show = |format| {
        Lab::new()
            .run(["show", utf8(&graph), "--format", format])
            .out
    };
    assert!(show("svg").contains("<rect class=\"frame\""));
    assert!(show("mermaid").contains("  subgraph g0[\"inner\"]\n    n1["));
    assert!(show("dot").contains("  subgraph cluster_0 {\n"));
}
