//! A kind of node: its name, help, signature and nature, made from the struct by the derive.
//!
//! Everything that prints about nodes (help, reference page, completions, errors) reads this.
//! The list of kinds is explicit and ordered; nothing registers itself.

use std::collections::HashMap;
use std::sync::Arc;

use crate::node::{AnyNode, Arity, Node, Outputs, Parts};
use crate::setting::{Mismatch, SettingInfo};
use crate::value::DataType;

/// What a run of the node means for the world and the cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Nature {
    /// Gives the same for the same; its result is kept.
    Pure,
    /// Writes files; kept while they stand. A root of the graph.
    Effect,
    /// Gives something new each time; always runs, is never stored.
    Volatile,
}

/// Where a node runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lane {
    /// On the pool of CPU threads, beside others.
    Cpu,
    /// On the device's one thread.
    Device,
}

/// A port of a kind.
#[derive(Debug, Clone)]
pub struct PortInfo {
    /// The field's name.
    pub name: &'static str,
    /// The field's doc comment.
    pub doc: &'static str,
    /// What it takes.
    pub data: DataType,
    /// How many links.
    pub arity: Arity,
}

/// An output of a kind.
#[derive(Debug, Clone)]
pub struct OutputInfo {
    /// What follows the dot in `"model.vae"`.
    pub name: String,
    /// The field's doc comment.
    pub doc: &'static str,
    /// What it gives.
    pub data: DataType,
    /// Whether a file may turn out not to have it.
    pub optional: bool,
}

/// What a node's struct declares.
#[derive(Debug, Clone)]
pub struct Declaration {
    /// The struct's name.
    pub name: &'static str,
    /// Raised when the same settings and inputs give another result than before.
    pub version: u32,
    /// The struct's doc comment without its example.
    pub doc: &'static str,
    /// The RON example of the doc comment: one line of a graph's `nodes`.
    pub example: &'static str,
    /// Pure, effect or volatile.
    pub nature: Nature,
    /// CPU pool or device thread.
    pub lane: Lane,
    /// Whether the numerics (backend, instruction set, dtype) enter its key.
    pub computes: bool,
    /// Ports in field order.
    pub ports: Vec<PortInfo>,
    /// Settings in field order.
    pub settings: Vec<SettingInfo>,
}

type Build = fn(&Parts<'_>) -> Result<Box<dyn AnyNode>, Vec<Mismatch>>;

/// A kind of node.
#[derive(Clone)]
pub struct Kind {
    /// What its struct declares.
    pub declaration: Declaration,
    /// What it gives, in order.
    pub outputs: Vec<OutputInfo>,
    build: Build,
}

/// The kind of a node struct: `kind::<TextEncode>()`.
pub fn kind<N: Node>() -> Kind {
    Kind {
        declaration: N::declare(),
        outputs: N::Out::declare(),
        build: |parts| N::build(parts).map(|node| Box::new(node) as Box<dyn AnyNode>),
    }
}

impl std::ops::Deref for Kind {
    type Target = Declaration;
    fn deref(&self) -> &Declaration {
        &self.declaration
    }
}

impl std::fmt::Debug for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.declaration.fmt(f)
    }
}

impl Kind {
    /// First sentence of the help.
    pub fn summary(&self) -> &str {
        self.doc.split("\n\n").next().unwrap_or("")
    }

    /// The port of that name and its number.
    pub fn port(&self, name: &str) -> Option<(usize, &PortInfo)> {
        self.declaration
            .ports
            .iter()
            .enumerate()
            .find(|(_, port)| port.name == name)
    }

    /// The setting of that name.
    pub fn setting(&self, name: &str) -> Option<&SettingInfo> {
        self.declaration
            .settings
            .iter()
            .find(|setting| setting.name == name)
    }

    /// Names of all fields, ports first.
    pub fn fields(&self) -> impl Iterator<Item = &'static str> + '_ {
        let ports = self.declaration.ports.iter().map(|port| port.name);
        ports.chain(self.declaration.settings.iter().map(|setting| setting.name))
    }

    pub(crate) fn build(&self, parts: &Parts<'_>) -> Result<Box<dyn AnyNode>, Vec<Mismatch>> {
        (self.build)(parts)
    }
}

/// The kinds a graph may use, in the order of the reference page.
#[derive(Debug, Clone, Default)]
pub struct Kinds {
    list: Vec<Arc<Kind>>,
    by_name: HashMap<&'static str, usize>,
}

impl Kinds {
    /// The kinds of a node library.
    ///
    /// # Panics
    /// When two kinds share a name: a fault of the library's list.
    pub fn new(list: impl IntoIterator<Item = Kind>) -> Self {
        let mut kinds = Self::default();
        for kind in list {
            let before = kinds
                .by_name
                .insert(kind.declaration.name, kinds.list.len());
            assert!(
                before.is_none(),
                "two kinds are named {}",
                kind.declaration.name
            );
            kinds.list.push(Arc::new(kind));
        }
        kinds
    }

    /// The kind of that name.
    pub fn get(&self, name: &str) -> Option<&Arc<Kind>> {
        self.by_name.get(name).map(|at| &self.list[*at])
    }

    /// All kinds in order.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Kind>> {
        self.list.iter()
    }
}
