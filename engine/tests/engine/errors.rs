//! Errors as a reader meets them: one `check` touches the API, the cases do not.

use crate::lab::Lab;

/// The graph with these nodes has exactly these errors; `…` at the end of a wanted line stands
/// for anything.
#[track_caller]
fn check(graph: &str, wanted: &str) {
    let errors = Lab::new(graph).errors();
    let wanted = wanted.trim();
    assert!(errors == wanted, "found:\n{errors}\n\nwanted:\n{wanted}");
}

/// The errors of the graph with these nodes hold every one of `wanted`.
#[track_caller]
fn check_holds(graph: &str, wanted: &[&str]) {
    let errors = Lab::new(graph).errors();
    for part in wanted {
        assert!(errors.contains(part), "wanted {part:?} in:\n{errors}");
    }
}

fn nodes(nodes: &str) -> String {
    format!("Graph(nodes: {{\n    {nodes}\n}}, outputs: {{}})")
}

#[test]
fn a_wrong_type_names_both_sides_and_the_node_that_fits() {
    check(
        "Graph(nodes: {
    \"seven\": Number(value: 7),
    \"text\": Say(text: \"a\"),
    \"loud\": Shout(words: \"seven\"),
})",
        r#"
error: `loud.words` wants Words, but `seven` gives Int
 --> lab.ron:4:28
  |
4 |     "loud": Shout(words: "seven"),
  |                          ^^^^^^^
hint: `text` gives a Words: `words: "text"`"#
            .replace("lab.ron:4:28", "lab.ron:4:26")
            .as_str(),
    );
}

#[test]
fn inside_a_choice_the_setting_at_fault_is_marked_and_not_the_choice() {
    check(
        "Graph(nodes: {
    \"s\": Noise(shape: Round(size: 9)),
}, outputs: {\"s\": \"s\"})",
        r#"
error: `size` takes 0.5 to 4.0, found 9
 --> lab.ron:2:35
  |
2 |     "s": Noise(shape: Round(size: 9)),
  |                                   ^"#,
    );
}

#[test]
fn all_errors_are_reported_at_once_in_the_order_of_the_file() {
    let errors = Lab::new(
        r#"Graph(nodes: {
            "a": Sai(text: "a"),
            "b": Say(txt: "b"),
            "c": Say(text: 5),
            "d": Join(a: "b", b: "e"),
            "f": Noise(seed: -1, shape: Sqare),
            "g": Shout(),
        })"#,
    )
    .errors();
    let lines: Vec<&str> = errors
        .lines()
        .filter(|line| line.starts_with("error"))
        .collect();
    assert_eq!(
        lines,
        [
            "error: there is no kind of node `Sai`",
            "error: `b` needs `text`",
            "error: `Say` has no field `txt`",
            "error: `c.text` wants Text, found Int",
            "error: there is no node `e`",
            "error: `f.seed` takes 0 to 18446744073709551615, found -1",
            "error: there is no `Sqare` to choose",
            "error: `g` needs `words`, a Words",
        ],
        "{errors}"
    );
    for hint in ["`Say`?", "`text`?", "`Square`?"] {
        assert!(
            errors.contains(&format!("did you mean {hint}")),
            "{hint} in {errors}"
        );
    }
}

#[test]
fn unknown_names_offer_the_nearest() {
    check_holds(
        &nodes(r#""a": Say(text: "x"), "b": Shout(words: "a.wrds")"#),
        &["`a` has no output `wrds`", "did you mean `words`?"],
    );
    check_holds(
        &nodes(r#""a": Say(text: Input("prmpt"))"#),
        &["the graph has no input `prmpt`"],
    );
    check_holds(
        &nodes(r#""abc": Say(text: "x"), "b": Shout(words: "abd")"#),
        &["there is no node `abd`", "did you mean `abc`?"],
    );
    check_holds(
        "Graph(nods: {}, nodes: {})",
        &["no field `nods`", "did you mean `nodes`?"],
    );
    check_holds(
        r#"Graph(inputs: {"a": Txt("x")}, nodes: {})"#,
        &["an input cannot be a `Txt`", "did you mean `Text`?"],
    );
    check_holds(
        r#"Graph(inputs: {"a": Required(Wrds)}, nodes: {})"#,
        &["there is no type `Wrds`", "did you mean `Words`?"],
    );
}

#[test]
fn settings_must_be_of_their_type_and_in_range() {
    let cases = [
        (
            r#""s": Scale(size: 11)"#,
            "`s.size` takes 0.0 to 10.0, found 11",
        ),
        (
            r#""s": Say(text: "", weight: -8)"#,
            "`s.weight` takes 1 to 1000000, found -8",
        ),
        (
            r#""s": Scale(size: NaN)"#,
            "`s.size` takes a finite number, found NaN",
        ),
        (
            r#""s": Scale(size: inf)"#,
            "`s.size` takes a finite number, found inf",
        ),
        (
            r#""s": Scale(size: "5")"#,
            "`s.size` wants Float, found Text",
        ),
        (
            r#""s": Scale(size: 1, more: [1, 10])"#,
            "`s.more` takes 0 to 9, found [1, 10]",
        ),
        (
            r#""s": Scale(size: 1, more: [1, "x"])"#,
            "`s.more` wants Int, found Text",
        ),
        (
            r#""s": Scale(size: 1, more: [300])"#,
            "takes 0 to 255, found 300",
        ),
        (
            r#""s": Scale(size: [1])"#,
            "`s.size` wants Float, found a list",
        ),
        (
            r#""s": Noise(seed: 1.5)"#,
            "`s.seed` wants Int, found Float",
        ),
        (
            r#""s": Noise(seed: 18446744073709551616)"#,
            "`s.seed` takes 0 to 18446744073709551615, found 18446744073709551616",
        ),
        (
            r#""s": Noise(shape: Round(size: 9))"#,
            "takes 0.5 to 4.0, found 9",
        ),
        (
            r#""s": Noise(shape: Round(sze: 1))"#,
            "`Round` has no field `sze`",
        ),
        (
            r#""s": Noise(shape: Round(1))"#,
            "`Round` takes named fields",
        ),
        (
            r#""s": Noise(shape: "Round")"#,
            "a choice is written without quotes: `Round`",
        ),
        (
            r#""s": Noise(shape: Round(size: Input("x")))"#,
            "`Input` and `Link` stand only as a field's whole value",
        ),
        (r#""s": Say(text: true)"#, "`s.text` wants Text, found Bool"),
        (r#""s": Say(text: Link(5))"#, "holds one name in quotes"),
        (
            r#""a": Say(text: ["b"])"#,
            "`a.text` wants Text, found a list",
        ),
        (
            r#""a": Say(text: {"b": 1})"#,
            "`a.text` wants Text, found a map",
        ),
    ];
    for (node, wanted) in cases {
        check_holds(&nodes(node), &[wanted, "lab.ron:2:"]);
    }
}

#[test]
fn ports_take_links_and_nothing_else() {
    let base = r#""a": Say(text: "x"), "n": Number(value: 1), "b": "#;
    let cases = [
        (
            "Shout(words: 5)",
            "`b.words` wants Words, but `5` gives Int",
        ),
        (
            "Shout(words: [\"a\"])",
            "wants a link to a Words, found a list",
        ),
        (
            "Shout(words: Euler)",
            "wants a link to a Words, found `Euler`",
        ),
        ("Shout(words: \"\")", "there is no node ``"),
        ("Shout(words: \"b\")", "`b` is linked to itself"),
        ("Row(words: [])", "`b.words` wants at least one link"),
        (
            "Row(words: [\"a\", \"n\"])",
            "`b.words` wants Words, but `n` gives Int",
        ),
        (
            "Shout(words: \"a\", words: \"a\")",
            "`b.words` is given twice",
        ),
        (
            "Say(text: Link(\"n\"))",
            "`b.text` wants Text, the link gives Int",
        ),
        (
            "Noise(shape: Link(\"n\"))",
            "only text, numbers, Bool and paths to read can be linked",
        ),
    ];
    for (node, wanted) in cases {
        check_holds(&nodes(&format!("{base}{node}")), &[wanted]);
    }
}

#[test]
fn a_cycle_is_told_as_a_round() {
    check_holds(
        &nodes(r#""a": Shout(words: "c"), "b": Shout(words: "a"), "c": Shout(words: "b")"#),
        &[
            "these nodes wait for each other: `a` → `c` → `b` → `a`",
            "and here",
        ],
    );
}

#[test]
fn facts_that_do_not_fit_are_an_error_while_planning() {
    check_holds(
        &nodes(r#""a": Say(text: "much too long"), "b": Shout(words: "a", most: 5)"#),
        &[
            "`b.words`: takes 5 letters, these are 13",
            "hint: shorten them",
            "lab.ron:2:56",
        ],
    );
}

#[test]
fn names_are_legal_and_given_once() {
    check_holds(
        r#"Graph(nodes: {"a b": Say(text: "x")})"#,
        &["`a b` is no legal name"],
    );
    check_holds(
        r#"Graph(nodes: {"hi/lo": Say(text: "x")})"#,
        &["`hi/lo` is no legal name"],
    );
    check_holds(
        r#"Graph(nodes: {5: Say(text: "x")})"#,
        &["a name is text in quotes"],
    );
    check_holds(
        "Graph(nodes: {\"a\": Say(text: \"x\"),\n\"a\": Say(text: \"y\")})",
        &["the name `a` is given twice", "lab.ron:2:1", "first here"],
    );
    check_holds(
        "Graph(nodes: {}, nodes: {})",
        &["the field `nodes` is given twice"],
    );
}

#[test]
fn the_file_itself_must_be_a_graph() {
    check_holds(
        r#"{"nodes": {}}"#,
        &["this looks like JSON; a graph file is RON"],
    );
    check_holds("(nodes: {})", &["need `Graph` before them"]);
    check_holds("Grph(nodes: {})", &["found `Grph`"]);
    check_holds(
        "",
        &["the text ends where a value is wanted", "lab.ron:1:1"],
    );
    check_holds("Graph(", &["this is not RON"]);
    check_holds(
        "Graph(nodes: {\"a\": Say(text: \"x}))",
        &["this is not RON"],
    );
    check_holds("Graph(nodes: {}) and more", &["this is not RON"]);
    check_holds(
        "#![enable(implicit_some)]\nGraph(nodes: {})",
        &["cannot enable RON extensions"],
    );
    check_holds(
        "Graph(format: 2, nodes: {})",
        &["has format 2, this program reads 1"],
    );
    check_holds("Graph(format: \"1\", nodes: {})", &["`format` is 1"]);
    check_holds("Graph()", &["`Graph` needs `nodes: {…}`"]);
    check_holds("Graph(nodes: [])", &["`nodes` is a map"]);
    check_holds("Graph(nodes: {\"a\": 5})", &["`a` is no node, found Int"]);
    check_holds(
        "Graph(nodes: {\"a\": Say(\"x\")})",
        &["`a` needs names for its fields"],
    );
    check_holds("Graph(nodes: {})", &["nothing to run"]);
    let deep = format!("Graph(nodes: {{\"a\": {}", "(".repeat(100_000));
    check_holds(&deep, &["brackets nest deeper than 48 levels"]);
}

#[test]
fn places_count_scalars_from_one() {
    check_holds(
        "// äöü\nGraph(nodes: {\n\t\"ä\": Say(text: \"x\")\n})",
        &["lab.ron:3:2", "`ä` is no legal name"],
    );
    check_holds(
        "Graph(nodes: { \"a\": Say(text: \"äöü\" /* 🦀 */, wight: 3) })",
        &["lab.ron:1:46"],
    );
}

#[test]
fn errors_of_set_flags_point_into_the_flag() {
    let text = r#"Graph(
        inputs: {"steps": Int(4), "prompt": Text("x")},
        nodes: {"a": Say(text: Input("prompt")), "n": Noise(seed: Input("steps"))},
    )"#;
    let errors = |set: &str| {
        let mut lab = Lab::new(text);
        lab.sets.push(set.to_owned());
        lab.plan(&["a"]).expect_err("it is wrong").to_string()
    };
    let error = errors("steps=many");
    assert!(
        error.contains("the input `steps` wants Int, found `many`"),
        "{error}"
    );
    assert!(error.contains("--> --set:1:7"), "{error}");
    assert!(errors("step=5").contains("did you mean `steps`?"));
    assert!(errors("steps").contains("has no `=`"));
    assert!(errors("n.seed=-1").contains("takes 0 to 18446744073709551615, found -1"));
    assert!(errors("n.shape=Round(size: 9)").contains("takes 0.5 to 4.0, found 9"));
    assert!(errors("n.seed=(").contains("this is not RON"));
    assert!(errors("n.sed=1").contains("did you mean `n.seed`?"));
    let mut lab = Lab::new(text);
    lab.set("prompt", "a \"red\" (house), = {fine}")
        .run("a")
        .gave("a.words", "a \"red\" (house), = {fine}");
}

#[test]
fn only_names_nodes() {
    let lab = Lab::new(&nodes(r#""abc": Say(text: "x")"#));
    let error = lab.plan(&["abd"]).expect_err("no such node").to_string();
    assert!(
        error.contains("there is no node `abd` for `--only`"),
        "{error}"
    );
    assert!(error.contains("did you mean `abc`?"), "{error}");
}

#[test]
fn a_file_that_is_not_text_or_too_large_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("a.ron");
    std::fs::write(&path, b"Graph(\n  \xff").expect("a file");
    let error = ldm_engine::Graph::read(&path)
        .expect_err("no UTF-8")
        .to_string();
    assert!(
        error.contains("is not UTF-8 text") && error.contains(":2:3"),
        "{error}"
    );
    std::fs::File::create(&path)
        .and_then(|file| file.set_len(100 << 20))
        .expect("a sparse file");
    let error = ldm_engine::Graph::read(&path)
        .expect_err("too large")
        .to_string();
    assert!(error.contains("is larger than 64 MiB"), "{error}");
    let gone = ldm_engine::Graph::read(&folder.path().join("gone.ron")).expect_err("gone");
    assert!(gone.to_string().contains("cannot read"));
}

#[test]
fn a_setting_that_is_wrong_is_not_also_told_to_be_missing() {
    let lab = Lab::new(
        r#"Graph(nodes: {
            "a": Say(text: Input("nothing")), "save": Save(words: "a", path: "../a.txt"),
        })"#,
    );
    let errors = lab.errors();
    assert_eq!(errors.matches("error: ").count(), 2, "{errors}");
    assert!(!errors.contains("needs"), "{errors}");
}

#[test]
fn no_control_character_of_a_graph_reaches_the_terminal_through_a_diagnostic() {
    let steering = "\u{1b}]0;mine\u{7}\u{1b}[2J";
    let graph = r#"Graph(nodes: { "book": Open(path: "PATH"), "r": Read(book: "book.book") })"#;
    for written in [steering, r"\u{1b}]0;mine\u{7}\u{1b}[2J"] {
        let said = Lab::new(&graph.replace("PATH", written)).errors();
        assert!(said.contains("]0;mine"), "{said:?}");
        let steers = |c: char| c.is_control() && c != '\n';
        assert!(!said.contains(steers), "{said:?}");
    }
}
