//! Two plans of one file before and after an edit: what is the same work, and a run that is ended
//! for the sake of the next keeps what that still wants.

use std::collections::{BTreeSet, HashSet};
use std::path::PathBuf;

use crate::lab::{Lab, ring};
use ldm_engine::{Event, NodeEvent, Plan, Run, SameWork, State, Stop};

const GRAPH: &str = r#"Graph(
    inputs: { "end": Text("!") },
    nodes: {
        "a": Say(text: "a"), "b": Say(text: "b", weight: 8),
        "mix": Join(a: "a", b: "b", between: Input("end")),
        "loud": Shout(words: "mix"), "spare": Say(text: "spare"),
    },
    outputs: { "said": "loud" },
)"#;

fn plan(text: &str) -> Plan {
    Lab::new(text).plan(&[]).expect("a good graph")
}

/// What of `GRAPH` is the same work after an edit, and whether that is all.
#[track_caller]
fn after(from: &str, to: &str) -> (Vec<String>, bool) {
    assert!(GRAPH.contains(from), "{from}");
    let same = SameWork::between(
        &plan(GRAPH),
        &plan(&GRAPH.replace(from, to)),
        &HashSet::new(),
    );
    let nodes: BTreeSet<String> = same.nodes.into_iter().collect();
    (nodes.into_iter().collect(), same.all)
}

#[test]
fn what_does_not_change_the_work_leaves_all_of_it() {
    let all = ["a", "b", "loud", "mix"].map(str::to_owned).to_vec();
    let same = [
        ("Graph(", "// a word\nGraph("),
        (", weight: 8", ""),
        (
            "\"end\": Text(\"!\")",
            "\"end\": Text(\"!\"), \"more\": Int(1)",
        ),
        ("Input(\"end\")", "\"!\""),
        ("text: \"spare\"", "text: \"other\""),
    ];
    for (from, to) in same {
        assert_eq!(after(from, to), (all.clone(), true), "{to}");
    }
    let renamed = GRAPH.replace("\"mix\"", "\"both\"");
    let same = SameWork::between(&plan(GRAPH), &plan(&renamed), &HashSet::new());
    assert!(same.all, "names are no work");
    assert!(same.nodes.contains("mix"), "nodes are named as they were");
}

#[test]
fn an_edit_makes_its_cone_stale_and_nothing_else() {
    let cases: [(&str, &str, &[&str]); 7] = [
        ("text: \"a\"", "text: \"A\"", &["b"]),
        ("Text(\"!\")", "Text(\"?\")", &["a", "b"]),
        ("a: \"a\", b: \"b\"", "a: \"b\", b: \"a\"", &["a", "b"]),
        (
            "Shout(words: \"mix\")",
            "Shout(words: \"mix\", most: 9)",
            &["a", "b", "mix"],
        ),
        (
            "\"said\": \"loud\"",
            "\"said\": \"mix\"",
            &["a", "b", "mix"],
        ),
        (
            "\"said\": \"loud\"",
            "\"heard\": \"loud\"",
            &["a", "b", "loud", "mix"],
        ),
        (
            "\"said\": \"loud\"",
            "\"said\": \"loud\", \"more\": \"spare\"",
            &["a", "b", "loud", "mix"],
        ),
    ];
    for (from, to, valid) in cases {
        let (nodes, all) = after(from, to);
        assert_eq!(nodes, valid, "{to}");
        assert!(!all, "{to}");
    }
}

#[test]
fn a_file_that_moved_makes_its_readers_stale() {
    let lab = Lab::new(
        r#"Graph(nodes: {
            "one": Open(path: "one.txt"), "two": Open(path: "two.txt"),
            "first": Read(book: "one"), "second": Read(book: "two"),
        }, outputs: { "a": "first", "b": "second" })"#,
    );
    lab.file("one.txt", "1").file("two.txt", "2");
    let plan = lab.plan(&[]).expect("a good graph");
    let moved = |name: &str| -> HashSet<PathBuf> {
        plan.reads()
            .filter(|path| path.ends_with(name))
            .map(PathBuf::from)
            .collect()
    };
    assert!(SameWork::between(&plan, &plan, &moved("three.txt")).all);
    let same = SameWork::between(&plan, &plan, &moved("two.txt"));
    assert_eq!(
        same.nodes,
        HashSet::from(["one".to_owned(), "first".to_owned()])
    );
    assert!(!same.all);
}

#[test]
fn a_plan_knows_the_files_that_it_came_from() {
    let lab =
        Lab::new(r#"Graph(nodes: { "p": Part(graph: "parts/p.ron") }, outputs: { "x": "p.x" })"#);
    lab.file(
        "parts/p.ron",
        r#"Graph(nodes: { "q": Part(graph: "q.ron") }, outputs: { "x": "q.y" })"#,
    );
    lab.file(
        "parts/q.ron",
        r#"Graph(nodes: { "s": Say(text: "s") }, outputs: { "y": "s" })"#,
    );
    let plan = lab.plan(&[]).expect("a good graph");
    let names = plan
        .sources()
        .map(|path| path.file_name().expect("a file").to_owned());
    assert_eq!(
        names.collect::<HashSet<_>>(),
        ["lab.ron", "p.ron", "q.ron"].map(Into::into).into()
    );
}

/// Both wait at once; the run is ended but for the one that the next plan wants too.
#[test]
fn a_run_that_ends_for_the_next_lets_valid_nodes_finish_and_stops_stale_ones() {
    let mut lab = Lab::new(
        r#"Graph(nodes: {
            "a": Say(text: "a"),
            "valid": Wait(words: "a", until: "partial valid"),
            "stale": Wait(words: "a", until: "partial stale"),
            "row": Row(words: ["valid", "stale"]),
        }, outputs: { "row": "row" })"#,
    );
    let before = lab.plan(&[]).expect("a good graph");
    lab.set("stale.until", "partial next");
    let after = lab.plan(&[]).expect("a good graph");
    let stop = Stop::new();
    let mut stepped = HashSet::new();
    let run = Run::new(&before, &lab.host, &lab.cache).stopped_by(stop.clone());
    let report = run.go(&mut |event| match event {
        Event::Node(NodeEvent {
            node,
            state: State::Progress,
            ..
        }) => {
            let both = stepped.insert(node.clone()) && stepped.len() == 2;
            if both {
                stop.stop_all_but(SameWork::between(&before, &after, &HashSet::new()).nodes);
            }
        }
        // Only now may the other one end: it was not waited for.
        Event::Node(NodeEvent {
            node,
            state: State::Cancelled,
            ..
        }) if **node == *"stale" => {
            ring("partial valid");
            ring("partial next");
        }
        _ => {}
    });
    assert_eq!(report.done.ran, ["a", "valid"]);
    assert_eq!(report.done.cancelled, ["stale", "row"]);
    lab.run_all()
        .ran(["stale", "row"])
        .kept(["a", "valid"])
        .gave("row", "a,a");
}

#[test]
fn asked_twice_a_run_lets_only_finish_what_both_leave() {
    let lab = Lab::new(
        r#"Graph(nodes: {
            "a": Say(text: "a"),
            "one": Wait(words: "a", until: "never"), "two": Wait(words: "a", until: "never"),
        }, outputs: { "one": "one", "two": "two" })"#,
    );
    let plan = lab.plan(&[]).expect("a good graph");
    let stop = Stop::new();
    let mut stepped = HashSet::new();
    let run = Run::new(&plan, &lab.host, &lab.cache).stopped_by(stop.clone());
    let report = run.go(&mut |event| match event {
        Event::Node(NodeEvent {
            node,
            state: State::Progress,
            ..
        }) => {
            let both = stepped.insert(node.clone()) && stepped.len() == 2;
            if both {
                stop.stop_all_but(HashSet::from(["one".to_owned()]));
            }
        }
        Event::Node(NodeEvent {
            node,
            state: State::Cancelled,
            ..
        }) if **node == *"two" => {
            stop.stop_all_but(HashSet::from(["two".to_owned()]));
        }
        _ => {}
    });
    assert_eq!(report.done.cancelled, ["one", "two"]);
}
