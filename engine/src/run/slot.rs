//! What the scheduler knows of each node.

use std::sync::Arc;

use crate::key::KeyParts;
use crate::plan::{Bound, Plan};
use crate::value::{Identity, Storage, Value};

/// How far a node is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    Unneeded,
    /// Identities that come in are not all known, or a linked setting's value is not.
    Waiting,
    /// Its files are being hashed.
    Hashing,
    /// Its result is known.
    Kept,
    /// It must run and waits for values.
    Wanted,
    /// It runs.
    Running,
    Ran,
    Failed,
    Blocked,
    Cancelled,
}

/// What the scheduler knows of a node.
pub(super) struct Slot {
    pub(super) phase: Phase,
    /// Parents whose identities are not known yet.
    pub(super) unknown: usize,
    /// Parents whose values it waits for.
    pub(super) lacking: usize,
    /// Nodes that wait for this one's values.
    pub(super) waiters: Vec<usize>,
    /// Nodes that feed it, each once.
    pub(super) parents: Vec<usize>,
    /// Nodes that it feeds.
    pub(super) children: Vec<usize>,
    /// Children that may still ask for its values.
    pub(super) users: usize,
    /// Whether it counts among the users of its parents.
    pub(super) uses_parents: bool,
    pub(super) is_root: bool,
    pub(super) bound: Option<Arc<Bound>>,
    pub(super) parts: Option<Arc<KeyParts>>,
    pub(super) files: Vec<Identity>,
    /// Identity and storage of each output, once known.
    pub(super) outputs: Option<Vec<Option<(Identity, Storage)>>>,
    pub(super) held: Vec<Option<Value>>,
    /// It runs only to open handles again: it counts as kept.
    pub(super) quiet: bool,
    pub(super) wrote: Vec<String>,
}

/// Every node that this one needs, once.
pub(super) fn distinct_parents(plan: &Plan, node: usize) -> Vec<usize> {
    let mut parents: Vec<usize> = plan.nodes[node].parents().collect();
    parents.sort_unstable();
    parents.dedup();
    parents
}

/// The slots of a plan before anything ran.
pub(super) fn slots(plan: &Plan) -> Vec<Slot> {
    let slot = |node: &crate::plan::Planned| Slot {
        phase: if node.needed {
            Phase::Waiting
        } else {
            Phase::Unneeded
        },
        unknown: 0,
        lacking: 0,
        waiters: Vec::new(),
        parents: Vec::new(),
        children: Vec::new(),
        users: 0,
        uses_parents: true,
        is_root: false,
        bound: None,
        parts: None,
        files: Vec::new(),
        outputs: None,
        held: vec![None; node.kind.outputs.len()],
        quiet: false,
        wrote: Vec::new(),
    };
    let mut slots: Vec<Slot> = plan.nodes.iter().map(slot).collect();
    for node in (0..slots.len()).filter(|node| plan.nodes[*node].needed) {
        let parents = distinct_parents(plan, node);
        for parent in &parents {
            slots[*parent].children.push(node);
            slots[*parent].users += 1;
        }
        slots[node].unknown = parents.len();
        slots[node].parents = parents;
    }
    for root in &plan.roots {
        slots[root.node].is_root = !root.wanted.is_empty();
    }
    slots
}
