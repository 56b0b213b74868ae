//! Any bytes give an error or a plan, never a panic; half of the graphs start valid and are
//! changed once.

use ldm_engine::{Graph, Options, Plan, Source};
use proptest::prelude::*;
use std::path::Path;

use crate::lab::kinds;

const VALID: &str = r##"// A comment.
Graph(
    format: 1,
    inputs: { "prompt": Text("a \"red\" house"), "seed": Int(42), "x": Float(1.5e-3) },
    nodes: {
        "text": Say(text: Input("prompt"), weight: 0x10), /* /* nested */ */
        "noise": Noise(seed: Input("seed"), shape: Round(size: 2.0)),
        "mix": Join(a: "text", b: "noise.words", between: r#"," "#),
        "row": Row(words: ["text", "mix"], last: "noise"),
        "title": Title(text: "linked"),
        "said": Say(text: Link("title")),
        "save": Save(words: "row", path: "{graph}-{seed}-{index}.txt"),
    },
    outputs: { "result": "mix" },
)"##;

/// Whether it plans; the point is that it comes back at all.
fn plans(text: &str, sets: Vec<String>) -> bool {
    let Ok(graph) = Graph::parse(Source::new("p.ron", text), Path::new("p.ron")) else {
        return false;
    };
    let plan = Plan::new(
        &graph,
        &kinds(),
        &Options {
            sets,
            ..Options::default()
        },
    );
    if let Err(errors) = &plan {
        assert!(!errors.0.is_empty() && !errors.to_string().is_empty());
    }
    plan.is_ok()
}

#[test]
fn the_valid_graph_is_valid() {
    assert!(plans(VALID, vec![]));
}

/// A valid graph with one stretch of characters replaced.
fn changed_once() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        Just(String::new()),
        "[(){}\\[\\]\":,./*#'r\\\\a-zA-Z0-9 \n-]{1,4}",
        "\\PC{1,3}",
        Just("Input(\"prompt\")".to_owned()),
        Just("\"mix\"".to_owned()),
        Just("-1".to_owned()),
        Just("NaN".to_owned()),
    ];
    let length = VALID.chars().count();
    (0..length, 0..12_usize, piece).prop_map(|(at, cut, piece)| {
        let mut chars: Vec<char> = VALID.chars().collect();
        let end = (at + cut).min(chars.len());
        chars.splice(at..end, piece.chars());
        chars.into_iter().collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..Default::default() })]

    #[test]
    fn any_text_gives_an_error_or_a_plan(text in "\\PC{0,200}") {
        plans(&text, vec![]);
    }

    #[test]
    fn any_bytes_give_an_error_or_a_plan(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        plans(&String::from_utf8_lossy(&bytes), vec![]);
    }

    #[test]
    fn graphs_of_rons_own_characters_give_an_error_or_a_plan(
        text in "(Graph\\(|nodes|:|\\{|\\}|\\(|\\)|\\[|\\]|\"|'|a|r#|//|/\\*|\\*/|,|1|\\.|-|\\\\| |\n){0,60}"
    ) {
        plans(&text, vec![]);
    }

    #[test]
    fn a_valid_graph_changed_once_gives_an_error_or_a_plan(text in changed_once()) {
        plans(&text, vec![]);
    }

    #[test]
    fn any_set_flag_gives_an_error_or_a_plan(
        target in "(prompt|seed|x|noise\\.shape|text\\.weight|save\\.path|mix|\\PC{0,5})",
        value in "(\\PC{0,20}|[0-9.eE+-]{0,8}|Round\\(size: [0-9.]{0,4}\\)|\\({0,80})",
    ) {
        plans(VALID, vec![format!("{target}={value}")]);
    }
}
