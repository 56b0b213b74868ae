//! Parts: a graph used as a node.

use crate::lab::Lab;

const PART: &str = r#"Graph(
    inputs: { "words": Required(Words), "between": Text("+"), "weight": Int(8) },
    nodes: {
        "loud": Shout(words: Input("words")),
        "tail": Say(text: "tail", weight: Input("weight")),
        "end": Join(a: "loud", b: "tail", between: Input("between")),
    },
    outputs: { "result": "end" },
)"#;

fn lab(fields: &str) -> Lab {
    let lab = Lab::new(&format!(
        "Graph(inputs: {{ \"sign\": Text(\"~\") }}, nodes: {{
            \"a\": Say(text: \"a\"),
            \"twice\": Part(graph: \"parts/twice.ron\", {fields}),
            \"out\": Join(a: \"twice\", b: \"twice.result\"),
        }})"
    ));
    lab.file("parts/twice.ron", PART);
    lab
}

#[test]
fn a_part_becomes_nodes_with_its_name_before_theirs() {
    let lab = lab(r#"words: "a""#);
    let ran = lab.run("out");
    ran.ran(["a", "out", "twice/loud", "twice/tail", "twice/end"]);
    ran.gave("out.words", "A+tail A+tail");
    lab.run("twice").ran([]);
}

#[test]
fn a_parts_inputs_take_literals_links_and_inputs() {
    lab(r#"words: "a", between: "-""#)
        .run("out")
        .gave("out.words", "A-tail A-tail");
    lab(r#"words: "a", between: Input("sign")"#)
        .run("out")
        .gave("out.words", "A~tail A~tail");
    let mut linked = lab(r#"words: "a", between: Link("t")"#);
    linked.text = linked
        .text
        .replace("\"a\": Say", "\"t\": Title(text: \"=\"), \"a\": Say");
    linked.run("out").gave("out.words", "A=tail A=tail");
}

#[test]
fn set_reaches_into_parts() {
    let mut lab = lab(r#"words: "a""#);
    lab.run("out");
    lab.set("twice/tail.text", "end")
        .run("out")
        .gave("out.words", "A+end A+end");
    lab.set("twice.between", "&")
        .run("out")
        .gave("out.words", "A&end A&end");
    lab.set("sign", "unused").run("out").ran([]);
}

#[test]
fn errors_of_a_part_stand_in_their_own_files() {
    let errors = lab(r#"wrds: "a", weight: "heavy""#).errors();
    assert!(
        errors.contains("the part `twice` has no input `wrds`"),
        "{errors}"
    );
    assert!(errors.contains("did you mean `words`?"), "{errors}");
    assert!(
        errors.contains("`twice.weight` wants Int, found Text"),
        "{errors}"
    );
    assert!(
        errors.contains("`twice` needs `words`, a Words"),
        "{errors}"
    );
    let lab = lab(r#"words: "a""#);
    lab.file(
        "parts/twice.ron",
        &PART.replace("\"loud\", b", "\"lod\", b"),
    );
    let errors = lab.errors();
    assert!(errors.contains("there is no node `lod`"), "{errors}");
    assert!(errors.contains("parts/twice.ron:6:24"), "{errors}");
}

#[test]
fn a_part_that_contains_itself_is_refused() {
    let lab = lab(r#"words: "a""#);
    let nested = PART.replace(
        "\"tail\": Say",
        "\"again\": Part(graph: \"twice.ron\", words: Input(\"words\")), \"tail\": Say",
    );
    lab.file("parts/twice.ron", &nested);
    assert!(lab.errors().contains("`again` contains itself"));
}

#[test]
fn a_part_run_by_itself_says_what_it_lacks() {
    let errors = Lab::new(PART).errors();
    assert!(
        errors.contains("the input `words`, a Words, is required"),
        "{errors}"
    );
    assert!(errors.contains("use it as `Part(graph: …)`"), "{errors}");
}

#[test]
fn parts_in_parts_work() {
    let lab = Lab::new(
        r#"Graph(nodes: {
            "a": Say(text: "a"), "p": Part(graph: "outer.ron", w: "a"), "o": Shout(words: "p"),
        })"#,
    );
    lab.file("parts/twice.ron", PART).file(
        "outer.ron",
        r#"Graph(inputs: { "w": Required(Words), "mark": Text("^") }, nodes: {
            "in": Part(graph: "parts/twice.ron", words: Input("w"), between: Input("mark")),
        }, outputs: { "r": "in.result" })"#,
    );
    lab.run("o")
        .gave("o.words", "A^TAIL")
        .ran(["a", "o", "p/in/loud", "p/in/tail", "p/in/end"]);
}

#[test]
fn a_wrong_link_into_a_part_is_told_once_and_where_it_stands() {
    let told = |fields: &str, wanted: &str| {
        let mut lab = lab(fields);
        lab.text = lab
            .text
            .replace("\"a\": Say", "\"n\": Number(value: 1), \"a\": Say");
        let errors = lab.errors();
        assert!(errors.contains(wanted), "{errors}");
        assert!(errors.contains("lab.ron:3:"), "{errors}");
        assert_eq!(errors.matches("error:").count(), 1, "{errors}");
    };
    told(r#"words: "b""#, "there is no node `b`");
    told(
        r#"words: "n""#,
        "`twice.words` wants Words, but `n` gives Int",
    );
    told(
        r#"words: 5"#,
        "`twice.words` wants Words, but `5` gives Int",
    );
    told(r#"words: Input("x")"#, "the graph has no input `x`");
    told(
        r#"words: "a", between: Link("n")"#,
        "`twice.between` wants Text",
    );
    told(
        r#"words: "a", between: Link("gone")"#,
        "there is no node `gone`",
    );
}
