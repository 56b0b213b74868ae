//! Long chains and large graphs: time in proportion, no stack overflow.

use crate::lab::Lab;

#[test]
fn a_chain_of_100_000_nodes_plans_runs_and_is_kept() {
    let mut nodes = String::from("\"n0\": Say(text: \"a\"),");
    for i in 1..100_000 {
        nodes += &format!("\"n{i}\":Shout(words:\"n{}\"),", i - 1);
    }
    let lab = Lab::new(&format!("Graph(nodes: {{{nodes}}})"));
    let first = lab.run("n99999");
    // All shouts after the second say the same: equal keys, one run.
    assert_eq!(
        first.report.done.ran.len() + first.report.done.kept.len(),
        100_000
    );
    lab.run("n99999").ran([]);
}

#[test]
fn a_long_cycle_is_an_error() {
    let mut nodes = String::from("\"n0\": Shout(words: \"n49999\"),");
    for i in 1..50_000 {
        nodes += &format!("\"n{i}\":Shout(words:\"n{}\"),", i - 1);
    }
    let errors = Lab::new(&format!("Graph(nodes: {{{nodes}}})")).errors();
    assert!(errors.contains("… (50000 nodes)"), "{}", &errors[..200]);
}
