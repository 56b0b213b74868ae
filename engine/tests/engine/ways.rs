//! Ways: the same work at once or in parts, as memory allows, and what that does to keys.

use ldm_engine::{FileTable, Lock, Locker, Narrowed};

use crate::lab::Lab;

/// Ten letters: at once `Fold` takes 100 bytes.
const FOLD: &str = r#"Graph(nodes: {
    "text": Say(text: "ten little"), "folded": Fold(words: "text"),
}, outputs: { "said": "folded" })"#;

#[test]
fn memory_decides_the_way_and_a_result_of_one_is_never_found_for_the_other() {
    let mut lab = Lab::new(FOLD);
    lab.host.numerics = "cpu".to_owned();
    let whole = lab.run("folded");
    whole.ran(["text", "folded"]);
    whole.gave("folded.words", "ten little by letters");
    lab.host.memory = 99;
    let parts = lab.run("folded");
    parts.ran(["folded"]).kept(["text"]);
    parts.gave("folded.words", "ten little by words");
    assert_eq!(
        parts.because("folded").as_deref(),
        Some("numerics were cpu, now cpu, by words")
    );
    // Less memory makes no third result, and what was whole is found again.
    lab.host.memory = 1;
    lab.run("folded").ran([]);
    lab.host.memory = 100;
    let again = lab.run("folded");
    again.ran([]).gave("folded.words", "ten little by letters");
}

#[test]
fn a_way_that_is_settled_by_a_setting_leaves_memory_out_of_the_key() {
    let mut lab = Lab::new(FOLD);
    lab.set("folded.finely", true);
    lab.run("folded").ran(["text", "folded"]);
    lab.host.memory = 1;
    let ran = lab.run("folded");
    ran.ran([]).gave("folded.words", "ten little by letters");
}

#[test]
fn where_planning_does_not_know_the_ways_memory_itself_is_in_the_key() {
    let mut lab = Lab::new(
        r#"Graph(nodes: {
            "title": Title(text: "ten little"), "text": Say(text: Link("title")),
            "folded": Fold(words: "text"),
        }, outputs: { "said": "folded" })"#,
    );
    lab.host.memory = 99;
    let ran = lab.run("folded");
    ran.ran(["title", "text", "folded"]);
    ran.gave("folded.words", "ten little by words");
    lab.run("folded").ran([]);
    lab.host.memory = 100;
    let ran = lab.run("folded");
    ran.ran(["folded"]);
    ran.gave("folded.words", "ten little by letters");
    assert_eq!(lab.outlook("folded").narrowed, None, "not known in advance");
}

#[test]
fn explain_tells_what_is_done_for_want_of_memory() {
    let mut lab = Lab::new(FOLD);
    assert_eq!(lab.outlook("folded").narrowed, None);
    lab.host.memory = 99;
    let narrowed = Narrowed {
        way: "by words".to_owned(),
        wanted: 100,
        memory: 99,
    };
    assert_eq!(lab.outlook("folded").narrowed, Some(narrowed));
    assert_eq!(lab.outlook("text").narrowed, None);
}

#[test]
fn a_lock_notices_that_memory_makes_another_way_of_it() {
    let lab = Lab::new(FOLD);
    let plan = lab.plan(&[]).expect("a plan");
    let lock = |memory| {
        let locker = Locker {
            program: "0.1.0",
            device: "cpu",
            numerics: "cpu",
            memory,
        };
        Lock::of(&plan, &locker, &FileTable::default()).expect("a lock")
    };
    assert_eq!(lock(100).compare(&lock(1 << 40), &plan), []);
    let found = lock(100).compare(&lock(99), &plan);
    let messages: Vec<&str> = found.iter().map(|one| one.message.as_str()).collect();
    assert_eq!(messages, [r#"`folded.way` was unset, is "by words""#]);
    let text = lock(99).to_string();
    let source = ldm_engine::Source::new("lab.ron.lock", text);
    assert_eq!(Lock::parse(&source).expect("it reads back"), lock(99));
}
