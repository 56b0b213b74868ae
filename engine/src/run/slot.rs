//! What the scheduler knows of each node.

use std::sync::Arc;

use crate::cache::Record;
use crate::key::KeyParts;
use crate::plan::{Bound, Plan, Planned};
use crate::value::{Identity, Value};

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
    /// Children that may still ask for its values.
    pub(super) users: usize,
    /// Whether it counts among the users of its parents.
    pub(super) uses_parents: bool,
    pub(super) is_root: bool,
    pub(super) bound: Option<Arc<Bound>>,
    pub(super) parts: Option<Arc<KeyParts>>,
    pub(super) files: Vec<Identity>,
    /// What is known of its run, this one or an earlier.
    pub(super) record: Option<Arc<Record>>,
    /// The values of its outputs that are at hand; empty where none is.
    pub(super) held: Vec<Option<Value>>,
    /// It runs only to open handles again: it counts as kept.
    pub(super) quiet: bool,
}

impl Slot {
    /// The identity of an output, if it is known and there.
    pub(super) fn output(&self, output: usize) -> Option<Identity> {
        let (identity, _) = (*self.record.as_ref()?.outputs.get(output)?)?;
        Some(identity)
    }

    /// The value of an output, if it is at hand.
    pub(super) fn held(&self, output: usize) -> Option<&Value> {
        self.held.get(output)?.as_ref()
    }
}

/// The slots of a plan before anything ran.
pub(super) fn slots(plan: &Plan) -> Vec<Slot> {
    let slot = |(number, node): (usize, &Planned)| Slot {
        phase: match node.needed {
            true => Phase::Waiting,
            false => Phase::Unneeded,
        },
        unknown: plan.parents.of(number).len(),
        lacking: 0,
        waiters: Vec::new(),
        users: plan.children.of(number).len(),
        uses_parents: true,
        is_root: false,
        bound: None,
        parts: None,
        files: Vec::new(),
        record: None,
        held: Vec::new(),
        quiet: false,
    };
    let mut slots: Vec<Slot> = plan.nodes.iter().enumerate().map(slot).collect();
    for root in &plan.roots {
        slots[root.node].is_root = !root.wanted.is_empty();
    }
    slots
}
