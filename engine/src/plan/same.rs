//! What two plans have in common: which running nodes are still wanted after an edit.
//!
//! Two nodes do the same work when kind, version, keyed settings, files and, all the way up, what
//! comes in are the same. Names do not matter, nor the order of the file. Nothing is hashed but
//! the plans: a file counts as another one when the caller says that it moved.
//!
//! Not here: what differs in words (`change`), and whether a result is kept (`key`).

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use crate::setting::Shape;
use crate::value::{Hasher, Identity};

use super::{Plan, Planned, Wire};

/// What of one plan's work another plan wants too.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SameWork {
    /// Nodes of the plan before whose work the plan after wants, by their name there.
    pub nodes: HashSet<String>,
    /// Whether that is all that either of them does, and for the same outputs.
    pub all: bool,
}

impl SameWork {
    /// What of `before` the plan `after` still wants; `moved` are files that read otherwise now.
    pub fn between(before: &Plan, after: &Plan, moved: &HashSet<PathBuf>) -> Self {
        let (old, new) = (works(before, moved), works(after, &HashSet::new()));
        let wanted: HashSet<Identity> = needed(after, &new).into_iter().flatten().collect();
        let mut nodes = HashSet::new();
        let mut lost = false;
        let mut found = HashSet::new();
        for (node, work) in before
            .nodes
            .iter()
            .zip(&old)
            .filter(|(node, _)| node.needed)
        {
            match work.filter(|work| wanted.contains(work)) {
                Some(work) => {
                    nodes.insert(node.name.to_string());
                    found.insert(work);
                }
                None => lost = true,
            }
        }
        let all = !lost && found == wanted && roots(before, &old) == roots(after, &new);
        Self { nodes, all }
    }
}

fn needed(plan: &Plan, works: &[Option<Identity>]) -> Vec<Option<Identity>> {
    let pairs = plan.nodes.iter().zip(works);
    pairs
        .filter(|(node, _)| node.needed)
        .map(|(_, work)| *work)
        .collect()
}

/// The values that a run is for: which output of which work, under which name.
fn roots(plan: &Plan, works: &[Option<Identity>]) -> HashMap<String, (Option<Identity>, usize)> {
    let wanted = plan.roots.iter().flat_map(|root| {
        let of = |(output, name): &(usize, String)| (name.clone(), (works[root.node], *output));
        root.wanted.iter().map(of)
    });
    wanted.collect()
}

/// The work of each node; none where it hangs on a file that moved.
fn works(plan: &Plan, moved: &HashSet<PathBuf>) -> Vec<Option<Identity>> {
    let mut works = vec![None; plan.nodes.len()];
    for at in &plan.order {
        works[*at] = work(&plan.nodes[*at], &works, moved);
    }
    works
}

fn work(node: &Planned, above: &[Option<Identity>], moved: &HashSet<PathBuf>) -> Option<Identity> {
    let mut hasher = Hasher::default();
    hasher.part(node.kind.name.as_bytes());
    hasher.part(&node.kind.version.to_le_bytes());
    match &node.bound {
        Some(bound) => {
            if bound.reads.iter().any(|read| moved.contains(&read.path)) {
                return None;
            }
            for (name, value) in &bound.keyed {
                parts(&mut hasher, &["setting", name, value]);
            }
            for read in &bound.reads {
                parts(&mut hasher, &["file", &whole(&read.path)]);
            }
        }
        // Which file a link will name is not known yet.
        None if !moved.is_empty() && reads_by_link(node) => return None,
        None => {
            for (name, value) in &node.settings {
                parts(
                    &mut hasher,
                    &["written", &name.value, &value.value.to_string()],
                );
            }
            parts(&mut hasher, &["folder", &whole(&node.folder)]);
        }
    }
    let ports = node.kind.declaration.ports.iter().zip(&node.ports);
    let ports = ports.flat_map(|(info, wires)| wires.iter().map(|wire| (info.name, wire)));
    for (name, wire) in ports.chain(node.linked()) {
        parts(&mut hasher, &["wire", name]);
        match wire {
            Wire::Value(value) => hasher.part(&value.identity().0),
            Wire::Node { node, output } => {
                hasher.part(&above[*node]?.0).part(&output.to_le_bytes())
            }
        };
    }
    Some(hasher.finish())
}

/// Whether a link decides which file the node reads.
fn reads_by_link(node: &Planned) -> bool {
    let infos = node.kind.declaration.settings.iter();
    infos
        .filter(|info| node.linked().any(|(name, _)| name == info.name))
        .any(|info| matches!(info.shape.plain(), Shape::ReadPath))
}

fn parts(hasher: &mut Hasher, texts: &[&str]) {
    for text in texts {
        hasher.part(text.as_bytes());
    }
}

fn whole(path: &Path) -> String {
    let whole = std::path::absolute(path);
    whole
        .unwrap_or_else(|_| path.to_owned())
        .to_string_lossy()
        .into_owned()
}
