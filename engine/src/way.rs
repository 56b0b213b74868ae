//! Ways: the same work done at once, or in parts that take less memory and give other bits.
//!
//! Promises
//! - Which way is taken follows from what the work needs and from [`Host::memory`], never from
//!   what is free at the moment. Only a node whose device ran out of memory goes a later one.
//! - A result of one way is never found for another. Where planning knows the ways, the one that
//!   is taken enters the key, unless it is the best; where it does not, `Host::memory` does. A way
//!   that was gone after memory ran out always does.
//!
//! Not here: what the ways are (a kind's `facts`).
//!
//! [`Host::memory`]: crate::Host::memory

use std::collections::HashMap;
use std::sync::Arc;

use serde::Serialize;

use crate::literal::Lit;
use crate::plan::{Bound, Planned};

/// One of the ways in which a node can do its work.
#[derive(Debug, Clone, PartialEq)]
pub struct Way {
    /// Bytes of memory that it takes at the most.
    pub bytes: u64,
    /// How it goes about it: `in tiles of 512 px`. Part of the key.
    pub words: String,
    /// The setting that asks for just this, whatever the memory: what a picture that was made so
    /// carries in its graph.
    pub asked: Option<(&'static str, Lit)>,
}

/// The way that a node goes because the best one takes too much memory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Narrowed {
    /// How it goes about its work.
    pub way: String,
    /// Bytes of memory that the best way would take.
    pub wanted: u64,
    /// Bytes of memory that one node's work may take.
    pub memory: u64,
}

impl Narrowed {
    /// What `node` does for want of memory; nothing when it does its best, or when planning did
    /// not know.
    pub(crate) fn of(node: &Planned, bound: &Bound, memory: u64) -> Option<Self> {
        let at = known(node, bound, memory).filter(|at| *at > 0)?;
        Some(Self {
            way: node.ways[at].words.clone(),
            wanted: node.ways[0].bytes,
            memory,
        })
    }
}

/// The way to go when memory runs out on the one before it.
#[derive(Debug, Clone)]
pub(crate) struct Narrower {
    /// Its number among all.
    pub(crate) at: usize,
    pub(crate) way: Way,
}

impl Narrower {
    /// The one after number `at`, if there is any.
    pub(crate) fn after(ways: &[Way], at: usize) -> Option<Self> {
        let (at, way) = (at + 1, ways.get(at + 1)?.clone());
        Some(Self { at, way })
    }
}

/// Nodes that go a later way since memory ran out on them, by number.
pub(crate) type Narrowings = HashMap<usize, Narrower>;

/// The setting that asks for what `node` does for want of memory, after it ran out or before.
pub(crate) fn asked<'a>(
    node: &'a Planned,
    narrower: Option<&'a Narrower>,
    memory: u64,
) -> Option<(&'static str, &'a Lit)> {
    let way = match narrower {
        Some(narrower) => &narrower.way,
        None => &node.ways[known(node, node.bound.as_ref()?, memory).filter(|at| *at > 0)?],
    };
    let (name, lit) = way.asked.as_ref()?;
    Some((name, lit))
}

/// The number of the first way that takes no more than `memory`, else of the last.
pub(crate) fn fitting(ways: &[Way], memory: u64) -> usize {
    let fits = ways.iter().position(|way| way.bytes <= memory);
    fits.unwrap_or(ways.len().saturating_sub(1))
}

/// Which way `node` goes, where planning knew.
pub(crate) fn known(node: &Planned, bound: &Bound, memory: u64) -> Option<usize> {
    (bound.node.has_ways() && !node.ways.is_empty()).then(|| fitting(&node.ways, memory))
}

/// The host's numerics, and what `memory` adds to them for this node before it runs.
pub(crate) fn numerics(
    node: &Planned,
    bound: &Bound,
    numerics: &Arc<str>,
    memory: u64,
) -> Arc<str> {
    match known(node, bound, memory) {
        None if bound.node.has_ways() => format!("{numerics}, within {memory} bytes").into(),
        None | Some(0) => numerics.clone(),
        Some(at) => with(numerics, &node.ways[at]),
    }
}

/// The host's numerics on one way.
pub(crate) fn with(numerics: &str, way: &Way) -> Arc<str> {
    format!("{numerics}, {}", way.words).into()
}
