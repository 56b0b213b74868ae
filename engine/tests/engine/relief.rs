//! A device that runs out of memory: what goes, which way is gone next, and what keys say of it.

use std::sync::atomic::AtomicUsize;

use crate::lab::{Lab, Shortage};

/// Ten letters, which `Fold` folds by letters or, to spare memory, by words.
const FOLD: &str = r#"Graph(nodes: {
    "text": Say(text: "ten little"), "folded": Fold(words: "text"), "loud": Shout(words: "folded"),
}, outputs: { "said": "folded", "cried": "loud" })"#;

const NARROWER: &str = "memory ran out; going on by words";

fn times(times: usize) -> Shortage {
    Shortage {
        times: AtomicUsize::new(times),
        ..Shortage::default()
    }
}

fn lab() -> Lab {
    let mut lab = Lab::new(FOLD);
    lab.host.numerics = "gpu".to_owned();
    lab
}

#[test]
fn what_rests_goes_first_and_then_a_smaller_way_is_gone() {
    let mut lab = lab();
    let resting = |left| Shortage {
        resting: AtomicUsize::new(2),
        ..times(left)
    };
    let again = lab.short(resting(1)).run_all();
    again.ran(["text", "folded", "loud"]);
    again.gave("said", "ten little by letters");
    let went = "memory ran out; 2 books went, trying again";
    assert_eq!(again.notes(), [went]);

    let mut lab = self::lab();
    let smaller = lab.short(resting(2)).run_all();
    smaller.ran(["text", "folded", "loud"]);
    smaller.gave("said", "ten little by words");
    assert_eq!(smaller.notes(), [went, NARROWER]);
    assert_eq!(smaller.begun("folded"), 1, "it is told to begin but once");
}

#[test]
fn a_result_of_the_smaller_way_is_stored_under_its_own_key_alone() {
    let mut lab = lab();
    lab.short(times(1))
        .run_all()
        .gave("said", "ten little by words");
    // With memory enough it is not found.
    let enough = lab.run_all();
    enough.ran(["folded", "loud"]);
    enough.gave("said", "ten little by letters");
    assert_eq!(enough.notes(), [""; 0]);
    assert_eq!(
        enough.because("folded").as_deref(),
        Some("numerics were gpu, by words, now gpu")
    );
    // Planning that goes the smaller way from the start finds it.
    lab.host.memory = 99;
    let planned = lab.run_all();
    planned.ran([]).gave("said", "ten little by words");
}

#[test]
fn where_memory_runs_out_again_the_result_of_the_smaller_way_is_found() {
    let mut lab = lab();
    lab.restart().short(times(1)).run_all();
    lab.restart().short(times(1));
    let ran = lab.run_all();
    ran.ran([]).kept(["text", "folded", "loud"]);
    ran.gave("said", "ten little by words");
    assert_eq!(ran.notes(), [NARROWER]);
}

#[test]
fn where_no_way_is_smaller_the_error_says_what_to_do_and_nothing_is_stored() {
    let mut lab = lab();
    lab.short(times(2));
    let ran = lab.run_all();
    ran.ran(["text"]);
    assert_eq!(ran.report.done.failed, ["folded"]);
    assert_eq!(ran.report.done.blocked, ["loud"]);
    let failure = ran.report.failures[0].to_string();
    assert!(failure.contains("cannot fold"), "{failure}");
    assert!(failure.contains("fewer letters"), "{failure}");
    lab.run_all().ran(["folded", "loud"]);
}

#[test]
fn a_panic_for_want_of_memory_is_no_bug_and_any_other_is() {
    let mut lab = lab();
    let panics = |left| Shortage {
        panics: true,
        ..times(left)
    };
    lab.short(panics(1))
        .run_all()
        .gave("said", "ten little by words");
    let mut lab = self::lab();
    let ran = lab.short(panics(2)).run_all();
    let failure = ran.report.failures[0].to_string();
    assert!(failure.contains("cannot fold: no room"), "{failure}");
    assert!(!failure.contains("panicked"), "{failure}");
    let mut lab = Lab::new(
        r#"Graph(nodes: { "text": Say(text: "a"),
        "bad": Fail(words: "text", panic: true) }, outputs: { "x": "bad" })"#,
    );
    let ran = lab.short(times(0)).run_all();
    let failure = ran.report.failures[0].to_string();
    assert!(failure.contains("panicked: the floor"), "{failure}");
}

#[test]
fn planning_that_does_not_know_the_ways_goes_on_in_one_all_the_same() {
    let mut lab = Lab::new(
        r#"Graph(nodes: {
            "title": Title(text: "ten little"), "text": Say(text: Link("title")),
            "folded": Fold(words: "text"),
        }, outputs: { "said": "folded" })"#,
    );
    let ran = lab.short(times(1)).run_all();
    ran.gave("said", "ten little by words");
    assert_eq!(ran.notes(), [NARROWER]);
    lab.run_all()
        .ran(["folded"])
        .gave("said", "ten little by letters");
}
