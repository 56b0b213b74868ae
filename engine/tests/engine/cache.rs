//! The promises of the cache that a memory tier can keep.

use ldm_engine::{Event, State};

use crate::lab::{Lab, Ran};

const MIX: &str = r#"Graph(nodes: {
    "text": Say(text: "a lighthouse"),
    "noise": Noise(seed: 1),
    "mix": Join(a: "text", b: "noise"),
})"#;

#[test]
fn a_new_seed_reruns_only_what_it_reaches() {
    let mut lab = Lab::new(MIX);
    lab.run("mix").ran(["text", "noise", "mix"]);
    lab.run("mix").ran([]).kept(["text", "noise", "mix"]);
    lab.set("noise.seed", 2).run("mix").ran(["noise", "mix"]);
}

#[test]
fn promise_1_equal_keys_give_equal_results_whatever_the_thread_count() {
    let text = r#"Graph(nodes: {
        "a": Say(text: "a"), "b": Say(text: "b"), "n": Noise(seed: 5),
        "ab": Join(a: "a", b: "b"), "bn": Join(a: "b", b: "n"),
        "all": Row(words: ["ab", "bn", "a"], last: "n"),
    })"#;
    let results = [1, 2, 5].map(|threads| {
        let mut lab = Lab::new(text);
        lab.host.threads = threads;
        let ran = lab.run("all");
        ran.report.values["all.words"].identity()
    });
    assert_eq!(results[0], results[1]);
    assert_eq!(results[0], results[2]);
}

#[test]
fn promise_2_early_cut_off_nothing_below_an_unchanged_result_runs() {
    let mut lab = Lab::new(
        r#"Graph(nodes: {
            "text": Say(text: "quiet"),
            "loud": Shout(words: "text"),
            "twice": Join(a: "loud", b: "loud"),
            "save": Save(words: "twice"),
        })"#,
    );
    lab.run_all().ran(["text", "loud", "twice", "save"]);
    let again = lab.set("text.text", "QUIET").run_all();
    again.ran(["text", "loud"]).kept(["twice", "save"]);
}

#[test]
fn promise_4_the_memory_tier_keeps_to_its_byte_budget() {
    let mut lab = Lab::new(
        r#"Graph(nodes: {
            "a": Say(text: "a", weight: 600), "b": Say(text: "b", weight: 500),
            "c": Say(text: "c", weight: 2000),
            "row": Row(words: ["a", "b", "c"]),
        })"#,
    );
    lab.cache = ldm_engine::Cache::new(1000);
    for seed in 0..20 {
        lab.set("a.text", seed)
            .run("row")
            .gave("row.words", &format!("{seed},b,c"));
        assert!(
            lab.cache.used() <= 1000,
            "{} bytes are held",
            lab.cache.used()
        );
        assert!(lab.cache.used() > 0);
    }
}

#[test]
fn promise_6_changing_one_node_reruns_its_cone_and_nothing_else() {
    let text = r#"Graph(nodes: {
        "a": Say(text: "a"), "b": Say(text: "b"), "c": Say(text: "c"),
        "ab": Join(a: "a", b: "b"), "bc": Join(a: "b", b: "c"),
        "top": Join(a: "ab", b: "bc"), "other": Shout(words: "c"),
        "one": Save(words: "top", path: "one.txt"), "two": Save(words: "other", path: "two.txt"),
    })"#;
    let fresh = || {
        let mut lab = Lab::new(text);
        lab.host.overwrite = true;
        lab.run_all().kept([]);
        lab
    };
    fresh()
        .set("a.text", "x")
        .run_all()
        .ran(["a", "ab", "top", "one"]);
    fresh()
        .set("b.text", "x")
        .run_all()
        .ran(["b", "ab", "bc", "top", "one"]);
    let all = ["c", "bc", "top", "other", "one", "two"];
    fresh().set("c.text", "x").run_all().ran(all);
    fresh()
        .set("top.between", "-")
        .run_all()
        .ran(["top", "one"]);
    fresh().set("other.most", 50).run_all().ran(["other"]);
}

#[test]
fn an_unseen_change_of_one_comment_or_a_nodes_name_runs_nothing() {
    let mut lab = Lab::new(MIX);
    lab.run("mix").ran(["text", "noise", "mix"]);
    lab.text = MIX.replace("Graph(", "// A comment.\nGraph( /* another */ ");
    lab.run("mix").ran([]);
    lab.text = MIX.replace("noise\"", "hiss\"");
    lab.run("mix").ran([]).kept(["text", "hiss", "mix"]);
    lab.text = r#"Graph(nodes: {
        "mix": Join(b: "noise", a: "text"),
        "noise": Noise(shape: Round(size: 1), seed: 1),
        "text": Say(weight: 8, text: "a lighthouse"),
    })"#
    .to_owned();
    lab.run("mix").ran([]);
}

#[test]
fn a_setting_that_equals_its_default_is_no_change() {
    let mut lab = Lab::new(r#"Graph(nodes: { "n": Noise() })"#);
    lab.run("n").ran(["n"]);
    lab.set("n.shape", "Round").run("n").ran([]);
    lab.set("n.shape", "Round(size: 1.0)").run("n").ran([]);
    lab.set("n.seed", 0).run("n").ran([]);
    lab.set("n.shape", "Square").run("n").ran(["n"]);
}

#[test]
fn minus_zero_is_zero() {
    let mut lab = Lab::new(r#"Graph(nodes: { "s": Scale(size: 0.0) })"#);
    lab.run("s").ran(["s"]);
    lab.set("s.size", "-0.0").run("s").ran([]);
    lab.set("s.size", "0").run("s").ran([]);
}

#[test]
fn an_evicted_value_is_not_made_again_below_a_kept_one() {
    let lab = Lab::new(
        r#"Graph(nodes: {
            "text": Say(text: "a"), "loud": Shout(words: "text"), "save": Save(words: "loud"),
        })"#,
    );
    lab.run_all().ran(["text", "loud", "save"]);
    lab.cache.drop_objects();
    lab.run_all().ran([]).kept(["text", "loud", "save"]);
}

#[test]
fn an_evicted_value_is_made_again_when_a_node_below_must_run() {
    let mut lab = Lab::new(
        r#"Graph(nodes: {
            "text": Say(text: "a"), "loud": Shout(words: "text"),
            "mix": Join(a: "loud", b: "loud"),
        })"#,
    );
    lab.run("mix").ran(["text", "loud", "mix"]);
    lab.cache.drop_objects();
    let ran: Ran = lab.set("mix.between", "-").run("mix");
    ran.ran(["text", "loud", "mix"]).gave("mix.words", "A-A");
}

#[test]
fn a_wanted_value_that_was_evicted_is_made_again() {
    let lab = Lab::new(r#"Graph(nodes: { "text": Say(text: "a") }, outputs: {"said": "text"})"#);
    lab.run_all().ran(["text"]).gave("said", "a");
    lab.run_all().ran([]).gave("said", "a");
    lab.cache.drop_objects();
    lab.run_all().ran(["text"]).gave("said", "a");
}

#[test]
fn a_volatile_node_always_runs_and_keys_decide_below_it() {
    let mut lab = Lab::new(r#"Graph(nodes: { "clock": Clock(), "loud": Shout(words: "clock") })"#);
    lab.run("loud").ran(["clock", "loud"]);
    lab.run("loud").ran(["clock", "loud"]);
    lab.set("clock.step", 1_000_000_000);
    lab.run("loud").ran(["clock", "loud"]);
    lab.run("loud").ran(["clock"]).kept(["loud"]);
}

#[test]
fn numerics_enter_the_keys_of_kinds_that_compute_and_no_others() {
    let mut lab = Lab::new(MIX);
    lab.host.numerics = "cpu, avx2".to_owned();
    lab.run("mix").ran(["text", "noise", "mix"]);
    lab.host.numerics = "cpu, avx512".to_owned();
    lab.run("mix").ran(["noise"]).kept(["text", "mix"]);
}

#[test]
fn a_run_says_why() {
    let mut lab = Lab::new(MIX);
    assert_eq!(lab.run("mix").because("mix").as_deref(), Some("it is new"));
    let ran = lab.set("noise.seed", 2).run("mix");
    assert_eq!(ran.because("noise").as_deref(), Some("`seed` was 1, now 2"));
    assert_eq!(
        ran.because("mix").as_deref(),
        Some("`b` gets something else")
    );
    let ran = lab.set("noise.shape", "Square").run("mix");
    assert_eq!(
        ran.because("noise").as_deref(),
        Some("`shape` was Round, now Square")
    );
}

#[test]
fn an_evicted_value_is_made_again_once_for_all_who_ask() {
    let mut lab = Lab::new(
        r#"Graph(nodes: {
            "text": Say(text: "a"), "loud": Shout(words: "text"),
            "x": Join(a: "loud", b: "text"), "y": Join(a: "text", b: "loud", between: "-"),
            "row": Row(words: ["x", "y"], last: "loud"), "end": Join(a: "row", b: "row"),
        })"#,
    );
    lab.cache = ldm_engine::Cache::new(0);
    lab.run("row").ran(["text", "loud", "x", "y", "row"]);
    let ran = lab.set("end.between", "+").run("end");
    ran.ran(["text", "loud", "x", "y", "row", "end"]);
    ran.gave("end.words", "A a,a-A,A+A a,a-A,A");
    let starts = ran
        .events
        .iter()
        .filter(|event| matches!(event, Event::Node(node) if node.state == State::Running));
    assert_eq!(starts.count(), 6);
}

#[test]
fn a_value_that_was_let_go_is_made_again_when_it_is_wanted_after_all() {
    let mut lab = Lab::new(
        r#"Graph(nodes: {
            "text": Say(text: "quiet"), "loud": Shout(words: "text"),
            "twice": Join(a: "loud", b: "loud"), "end": Join(a: "twice", b: "twice"),
        })"#,
    );
    lab.cache = ldm_engine::Cache::new(0);
    lab.run("end").ran(["text", "loud", "twice", "end"]);
    // `twice` is kept by early cut-off, so `loud` is let go; then `end` wants `twice` made again.
    let ran = lab
        .set("text.text", "QUIET")
        .set("end.between", "+")
        .run("end");
    ran.ran(["text", "loud", "twice", "end"])
        .gave("end.words", "QUIET QUIET+QUIET QUIET");
}
