//! Running: lists, events, failures, stopping, linked settings.

use crate::lab::{Lab, OPENED};
use ldm_engine::{Event, State};
use std::sync::atomic::Ordering;

#[test]
fn what_no_root_needs_is_checked_and_not_run() {
    let lab = Lab::new(
        r#"Graph(nodes: {
            "a": Say(text: "a"), "b": Say(text: "b"), "save": Save(words: "a"),
        })"#,
    );
    let ran = lab.run_all();
    ran.ran(["a", "save"]);
    assert_eq!(ran.report.done.unneeded, ["b"]);
}

#[test]
fn outputs_are_the_roots_where_nothing_is_saved() {
    let lab = Lab::new(
        r#"Graph(nodes: { "a": Say(text: "a"), "b": Say(text: "b") }, outputs: {"x": "b.words"})"#,
    );
    lab.run_all().ran(["b"]).gave("x", "b");
}

#[test]
fn one_failing_branch_does_not_stop_another() {
    let lab = Lab::new(
        r#"Graph(nodes: {
            "a": Say(text: "a"), "bad": Fail(words: "a"), "below": Shout(words: "bad"),
            "no": Save(words: "below", path: "no.txt"), "yes": Save(words: "a", path: "yes.txt"),
        })"#,
    );
    let ran = lab.run_all();
    ran.ran(["a", "yes"]);
    assert_eq!(ran.report.done.failed, ["bad"]);
    assert_eq!(ran.report.done.blocked, ["below", "no"]);
    assert!(!ran.report.is_complete());
    assert_eq!(lab.out("yes.txt").as_deref(), Some("a"));
    let error = ran.report.failures[0].to_string();
    assert!(
        error.starts_with("error: `bad.words`: are not what they seem\n"),
        "{error}"
    );
    assert!(error.contains("--> lab.ron:2:53"), "{error}");
    assert!(error.ends_with("hint: look again"), "{error}");
}

#[test]
fn a_panic_in_a_node_is_reported_as_a_bug() {
    let lab = Lab::new(
        r#"Graph(nodes: {
            "a": Say(text: "a"), "bad": Fail(words: "a", panic: true),
            "yes": Save(words: "a"), "no": Save(words: "bad"),
        })"#,
    );
    let ran = lab.run_all();
    assert_eq!(ran.report.done.failed, ["bad"]);
    assert_eq!(ran.report.done.blocked, ["no"]);
    let error = ran.report.failures[0].to_string();
    assert!(
        error.contains("Fail panicked: the floor gave way"),
        "{error}"
    );
    assert!(error.contains("bug"), "{error}");
}

#[test]
fn a_stop_is_obeyed_at_the_next_step_and_keeps_what_had_finished() {
    let mut lab = Lab::new(
        r#"Graph(nodes: {
            "a": Say(text: "a"), "slow": Slow(words: "a", steps: 9, stop_at: 4),
            "below": Shout(words: "slow"), "save": Save(words: "below"),
        })"#,
    );
    let ran = lab.run_all();
    ran.ran(["a"]);
    assert_eq!(ran.report.done.cancelled, ["slow", "below", "save"]);
    assert!(ran.report.failures.is_empty());
    let steps = ran
        .events
        .iter()
        .filter(|event| matches!(event, Event::Node(node) if node.state == State::Progress));
    assert_eq!(steps.count(), 4);
    let again = lab.set("slow.stop_at", "None").run_all();
    again.ran(["slow", "below", "save"]).kept(["a"]);
}

#[test]
fn events_read_as_the_design_says() {
    let lab = Lab::new(r#"Graph(nodes: { "a": Say(text: "a"), "save": Save(words: "a") })"#);
    let json = |event: &Event| serde_json::to_string(event).expect("events serialise");
    let first = lab.run_all();
    let lines: Vec<String> = first.events.iter().map(json).collect();
    assert_eq!(lines[0], r#"{"event":"plan","nodes":2}"#);
    let running = r#"{"event":"node","node":"a","state":"running","because":"it is new"}"#;
    assert_eq!(lines[1], running);
    let second = lab.run_all();
    let lines: Vec<String> = second.events.iter().map(json).collect();
    assert_eq!(
        lines[1],
        r#"{"event":"node","node":"a","state":"kept","from":"memory"}"#
    );
    let done = lines.last().expect("events");
    let path = lab.host.out.join("lab-0.txt").display().to_string();
    let wanted = format!(
        "{{\"event\":\"done\",\"ran\":[],\"kept\":[\"a\",\"save\"],\"unneeded\":[],\
         \"failed\":[],\"blocked\":[],\"cancelled\":[],\"outputs\":[{path:?}],\"seconds\":"
    );
    assert!(done.starts_with(&wanted), "{done}");
}

#[test]
fn a_setting_comes_through_a_link_and_keys_as_if_it_were_written() {
    let mut lab = Lab::new(
        r#"Graph(nodes: {
            "title": Title(text: " a lake "), "seven": Number(value: 7),
            "say": Say(text: Link("title"), weight: Link("seven")),
        })"#,
    );
    lab.run("say")
        .ran(["title", "seven", "say"])
        .gave("say.words", "a lake");
    lab.set("title.text", "a lake")
        .run("say")
        .ran(["title"])
        .kept(["seven", "say"]);
    lab.text = r#"Graph(nodes: {
        "say": Say(text: "a lake", weight: 7), "title": Title(text: ""),
    })"#
    .to_owned();
    lab.sets.clear();
    lab.run("say").ran([]).gave("say.words", "a lake");
}

#[test]
fn a_linked_setting_out_of_range_fails_with_its_place() {
    let lab = Lab::new(
        r#"Graph(nodes: {
            "n": Number(value: 0), "say": Say(text: "a", weight: Link("n")),
        })"#,
    );
    let ran = lab.run("say");
    assert_eq!(ran.report.done.failed, ["say"]);
    let error = ran.report.failures[0].to_string();
    assert!(
        error.contains("`say.weight` takes 1 to 1000000, found 0"),
        "{error}"
    );
    assert!(error.contains("lab.ron:2:66"), "{error}");
}

#[test]
fn an_int_is_taken_for_a_float_and_nothing_else_is_bent() {
    let lab = Lab::new(
        r#"Graph(
            inputs: { "x": Float(2), "n": Int(3) },
            nodes: { "s": Scale(size: Input("n"), by: Input("x")) },
        )"#,
    );
    lab.run("s").gave("s.words", "size 6 []");
}

#[test]
fn a_handle_is_opened_again_quietly_and_counts_as_kept() {
    let mut lab =
        Lab::new(r#"Graph(nodes: { "book": Open(path: "book.txt"), "read": Read(book: "book") })"#);
    lab.file("book.txt", "once upon a time");
    lab.run("read").ran(["book", "read"]);
    lab.set("read.seed", 2)
        .run("read")
        .ran(["read"])
        .kept(["book"]);
    lab.cache.drop_objects();
    let before = OPENED.load(Ordering::SeqCst);
    let ran = lab.set("read.seed", 3).run("read");
    ran.ran(["read"]).kept(["book"]);
    assert!(
        OPENED.load(Ordering::SeqCst) > before,
        "it was opened again"
    );
    let loads = ran
        .events
        .iter()
        .filter(|event| matches!(event, Event::Load { .. }));
    assert_eq!(loads.count(), 1);
    lab.cache.drop_objects();
    lab.run("read");
    lab.file("book.txt", "once upon a midnight dreary");
    lab.run("read").ran(["book", "read"]);
}

#[test]
fn a_wide_fan_runs_on_many_threads() {
    let mut nodes = String::from(r#""a": Say(text: "a"),"#);
    let mut names = Vec::new();
    for i in 0..200 {
        nodes += &format!("\"n{i}\": Shout(words: \"a\", most: {}),", i + 10);
        names.push(format!("\"n{i}\""));
    }
    let mut lab = Lab::new(&format!(
        "Graph(nodes: {{ {nodes} \"row\": Row(words: [{}]) }})",
        names.join(",")
    ));
    lab.host.threads = 8;
    let ran = lab.run("row");
    assert_eq!(ran.report.done.ran.len(), 202);
    lab.run("row").ran([]);
}

#[test]
fn nodes_of_the_device_run_within_the_place_that_the_program_lends() {
    let mut lab = Lab::new(
        r#"Graph(nodes: {
            "a": Say(text: "a"), "n": Noise(seed: 1), "m": Noise(seed: 2),
        }, outputs: {"a": "a", "n": "n", "m": "m"})"#,
    );
    let calls = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let counted = calls.clone();
    lab.host.within = ldm_engine::Within::new(move |work| {
        counted.fetch_add(1, Ordering::Relaxed);
        std::thread::scope(|scope| scope.spawn(work).join()).expect("the work does not panic");
    });
    lab.run_all().ran(["a", "n", "m"]);
    assert_eq!(calls.load(Ordering::Relaxed), 2);
}
