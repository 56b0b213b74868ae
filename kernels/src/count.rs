//! How often a kernel of ours served, and how often the reference.
//!
//! One relaxed addition is nothing beside an operation, so they are always counted.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

static OURS: AtomicU64 = AtomicU64::new(0);
static REFERENCE: AtomicU64 = AtomicU64::new(0);

/// Calls of this crate's operations since the process began, on all threads.
///
/// On a GPU products and convolutions are burn's own, within operations of ours that lay out what
/// they read and add what follows: those count as ours. An attention does where burn's flash kernel
/// can take it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dispatches {
    /// That ran a kernel of ours.
    pub ours: u64,
    /// That ran [`reference`](crate::reference).
    pub reference: u64,
}

/// What was called until now. Backward passes are not counted: they follow their forward.
pub fn dispatches() -> Dispatches {
    Dispatches {
        ours: OURS.load(Relaxed),
        reference: REFERENCE.load(Relaxed),
    }
}

/// Counts a call that a kernel of ours serves, or does not.
pub(crate) fn counted(ours: bool) -> bool {
    let counter = if ours { &OURS } else { &REFERENCE };
    counter.fetch_add(1, Relaxed);
    ours
}
