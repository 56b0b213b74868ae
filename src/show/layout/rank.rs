//! Columns: the longest way from a beginning, then closer to what is fed.

use super::Thread;

/// The column of each block, so that every link leads to a later one. A block that feeds more
/// than it is fed stands right before the first block that it feeds: its links become short.
pub(crate) fn columns(count: usize, links: &[Thread]) -> Vec<usize> {
    let (mut into, mut out) = (vec![Vec::new(); count], vec![Vec::new(); count]);
    for link in links {
        into[link.to].push(link.from);
        out[link.from].push(link.to);
    }
    let order = sorted(&into, &out);
    let mut columns = vec![0; count];
    for at in &order {
        let before = into[*at].iter().map(|from: &usize| columns[*from] + 1);
        columns[*at] = before.max().unwrap_or(0);
    }
    for at in order
        .iter()
        .rev()
        .filter(|at| out[**at].len() > into[**at].len())
    {
        let first = out[*at].iter().map(|to: &usize| columns[*to]).min();
        columns[*at] = first.expect("it feeds more than nothing") - 1;
    }
    columns
}

/// All blocks, each after those that feed it.
fn sorted(into: &[Vec<usize>], out: &[Vec<usize>]) -> Vec<usize> {
    let mut missing: Vec<usize> = into.iter().map(Vec::len).collect();
    let mut order: Vec<usize> = (0..into.len()).filter(|at| missing[*at] == 0).collect();
    let mut done = 0;
    while let Some(at) = order.get(done).copied() {
        done += 1;
        for to in &out[at] {
            missing[*to] -= 1;
            if missing[*to] == 0 {
                order.push(*to);
            }
        }
    }
    assert_eq!(done, into.len(), "a plan has no circles");
    order
}
