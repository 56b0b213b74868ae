//! The lock: all that decides what a plan gives, as plain data, so that a later run can be held
//! to it.
//!
//! Promises
//! - Kinds with their versions, settings, links, seeds, the content of every file and part, and
//!   for kinds that compute the numerics: what differs in any of them is told, all at once.
//! - The same plan gives the same text: sorted, without a date, a user or an absolute path.
//! - A lock file is written whole or not at all, and reads back as what was written.
//! - No lock file panics it, and a large one is refused: it may come from a stranger.
//!
//! ```text
//! mod      what is locked of a plan        compare  what differs from it now
//! text     how it is written and read
//! ```
//!
//! Not here: who asks for it and what follows (`run --locked` of the command).

mod compare;
mod text;

use std::collections::{BTreeMap, HashSet};
use std::ffi::OsString;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Serialize;

use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::files::FileTable;
use crate::graph::LARGEST;
use crate::literal::Lit;
use crate::node::Arity;
use crate::paths::persist;
use crate::place::Source;
use crate::plan::{Bound, Plan, Planned, Wire, bind};
use crate::setting::Shape;
use crate::value::Identity;
use crate::way::Narrowed;

/// The setting whose values stand in a table of their own.
const SEED: &str = "seed";
/// Stands among a node's fields for how it works where memory does not hold all of it at once.
const WAY: &str = "way";

/// All that decides what a plan gives.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Lock {
    /// The version of the program that wrote it.
    pub program: String,
    /// The kind of device; empty when nothing computes.
    pub device: String,
    /// What may change the bits of a result; empty when nothing computes.
    pub numerics: String,
    /// The version of every kind that is used.
    pub kinds: BTreeMap<String, u32>,
    /// Seeds by `node.seed`, as RON.
    pub seeds: BTreeMap<String, String>,
    /// Contents of the files that each node reads, by the path in the graph; a part reads its
    /// graph file.
    pub files: BTreeMap<String, BTreeMap<String, Identity>>,
    /// Every node that is run.
    pub nodes: BTreeMap<String, Locked>,
}

/// What is locked of a node.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Locked {
    /// Its kind.
    pub kind: String,
    /// Links, and settings that differ from their defaults, by field, as RON. The path of a file
    /// is not among them: its content is what decides.
    pub fields: BTreeMap<String, String>,
}

/// Who locks, and what it computes with.
#[derive(Debug, Clone, Copy)]
pub struct Locker<'a> {
    /// The program's version.
    pub program: &'a str,
    /// The kind of device: `cpu`, `cuda`.
    pub device: &'a str,
    /// As the [`Host`](crate::Host)'s.
    pub numerics: &'a str,
    /// As the [`Host`](crate::Host)'s.
    pub memory: u64,
}

impl Lock {
    /// Locks what a plan's needed nodes are made of, reading every file of theirs.
    ///
    /// # Errors
    /// Every file that cannot be read, and every path that comes through a link: which file that
    /// is shows only while running.
    pub fn of(plan: &Plan, locker: &Locker<'_>, files: &FileTable) -> Result<Self, Diagnostics> {
        let mut lock = Self {
            program: locker.program.to_owned(),
            ..Self::default()
        };
        let mut errors = Vec::new();
        let mut parts = HashSet::new();
        for node in plan.nodes.iter().filter(|node| node.needed) {
            let slashes = node.name.match_indices('/');
            parts.extend(slashes.map(|(at, _)| &node.name[..at]));
            if node.kind.computes {
                locker.device.clone_into(&mut lock.device);
                locker.numerics.clone_into(&mut lock.numerics);
            }
            if let Err(found) = lock.add(plan, node, (files, locker.memory)) {
                errors.extend(found);
            }
        }
        let needed = |part: &&crate::plan::PartFile| parts.contains(part.name.as_str());
        for part in plan.parts.iter().filter(needed) {
            let content = Identity(*blake3::hash(part.source.text.as_bytes()).as_bytes());
            let file = (as_written(&part.text), content);
            lock.files.insert(part.name.clone(), [file].into());
        }
        match errors.is_empty() {
            true => Ok(lock),
            false => Err(Diagnostics(errors)),
        }
    }

    fn add(
        &mut self,
        plan: &Plan,
        node: &Planned,
        (files, memory): (&FileTable, u64),
    ) -> Result<(), Vec<Diagnostic>> {
        let bound = match &node.bound {
            Some(bound) => bound.clone(),
            None => Arc::new(bind(node, Vec::new(), &plan.search)?),
        };
        refuse_linked_paths(node)?;
        let (kind, name) = (&node.kind, &node.name);
        self.kinds.insert(kind.name.to_owned(), kind.version);
        let mut fields = fields(plan, node, &bound);
        let is_linked = node.linked().any(|(field, _)| field == SEED);
        if let Some(info) = kind.setting(SEED).filter(|_| !is_linked) {
            let default = info.default.as_ref().map(ToString::to_string);
            if let Some(seed) = fields.remove(SEED).or(default) {
                self.seeds.insert(format!("{name}.{SEED}"), seed);
            }
        }
        let narrowed = Narrowed::of(node, &bound, memory);
        fields.extend(narrowed.map(|found| (WAY.to_owned(), Lit::Text(found.way).to_string())));
        let contents = contents(&bound, files).map_err(|error| vec![node.failure(&error)])?;
        if !contents.is_empty() {
            self.files.insert(name.to_string(), contents);
        }
        let locked = Locked {
            kind: kind.name.to_owned(),
            fields,
        };
        self.nodes.insert(name.to_string(), locked);
        Ok(())
    }

    /// Where the lock of a graph file lies: `txt2img.ron.lock`.
    pub fn beside(graph: &Path) -> PathBuf {
        let mut name = OsString::from(graph);
        name.push(".lock");
        name.into()
    }

    /// Reads a lock file.
    ///
    /// # Errors
    /// When it cannot be read, is too large, or is not what [`Lock::write`] writes.
    pub fn read(path: &Path) -> Result<Self, Diagnostic> {
        let name = path.display().to_string();
        let cannot = |error| Diagnostic::error(format!("cannot read {name}: {error}"));
        let file = std::fs::File::open(path).map_err(cannot)?;
        let mut bytes = Vec::new();
        let read = file.take(LARGEST + 1).read_to_end(&mut bytes);
        read.map_err(cannot)?;
        if bytes.len() as u64 > LARGEST {
            let most = LARGEST >> 20;
            let message = format!("{name} is larger than {most} MiB, no lock is");
            return Err(Diagnostic::error(message));
        }
        let text = String::from_utf8(bytes)
            .map_err(|_| Diagnostic::error(format!("{name} is not UTF-8 text")))?;
        Self::parse(&Source::new(name, text))
    }

    /// Writes a lock file, whole or not at all; one that stands there is replaced.
    ///
    /// # Errors
    /// When the file system refuses, or the lock is larger than can be read.
    pub fn write(&self, path: &Path) -> Result<(), Diagnostic> {
        let text = self.to_string();
        let name = path.display();
        if text.len() as u64 > LARGEST {
            let message = format!("{name} would be larger than {} MiB", LARGEST >> 20);
            return Err(Diagnostic::error(message).hint("lock a smaller graph, or `--only` a node"));
        }
        // Without a folder the name is beside nothing that a temporary file could stand in.
        let folder = path
            .parent()
            .filter(|folder| !folder.as_os_str().is_empty());
        let target = folder.map_or_else(|| Path::new(".").join(path), |_| path.to_owned());
        persist(&target, text.as_bytes(), true)
            .map_err(|error| Diagnostic::error(format!("cannot write {name}: {error}")))
    }
}

/// Links and settings by field, in the form that keys hash.
fn fields(plan: &Plan, node: &Planned, bound: &Bound) -> BTreeMap<String, String> {
    let mut fields: BTreeMap<String, String> = bound
        .keyed
        .iter()
        .map(|(name, value)| ((*name).to_owned(), value.clone()))
        .collect();
    // A setting that comes through a link was built from a stand-in.
    for (name, wire) in node.linked() {
        fields.insert(name.to_owned(), format!("Link({})", link(plan, wire)));
    }
    for (info, wires) in node.kind.declaration.ports.iter().zip(&node.ports) {
        let links: Vec<String> = wires.iter().map(|wire| link(plan, wire)).collect();
        let value = match (info.arity, links.as_slice()) {
            (_, []) => continue,
            (Arity::Many, links) => format!("[{}]", links.join(", ")),
            (_, links) => links[0].clone(),
        };
        fields.insert(info.name.to_owned(), value);
    }
    fields
}

/// `"model.vae"`, or a value that the graph itself holds: `Text("a lake")`.
fn link(plan: &Plan, wire: &Wire) -> String {
    let text = plan.describe(wire);
    match wire {
        Wire::Node { .. } => Lit::Text(text).to_string(),
        Wire::Value(value) => format!("{}({text})", value.type_name()),
    }
}

fn refuse_linked_paths(node: &Planned) -> Result<(), Vec<Diagnostic>> {
    let is_path = |name: &str| {
        let info = node.kind.setting(name);
        info.is_some_and(|info| *info.shape.plain() == Shape::ReadPath)
    };
    let linked = node.linked.iter().filter(|(name, ..)| is_path(&name.value));
    let refused: Vec<Diagnostic> = linked
        .map(|(name, span, _)| {
            let (node_name, field) = (&node.name, &name.value);
            let message = format!(
                "`{node_name}.{field}` comes through a link, so the file it reads cannot be locked"
            );
            let hint = format!("write the path in `{field}` itself, or as an input");
            Diagnostic::error(message)
                .at(&node.place_of(*span))
                .hint(hint)
        })
        .collect();
    match refused.is_empty() {
        true => Ok(()),
        false => Err(refused),
    }
}

/// The content of every file that a node reads, those of a folder one by one.
fn contents(bound: &Bound, files: &FileTable) -> crate::Result<BTreeMap<String, Identity>> {
    let mut all = BTreeMap::new();
    for located in &bound.reads {
        let written = as_written(&located.text);
        for (inside, identity) in files.contents(&located.path)? {
            let mut name = match inside.is_empty() {
                true => written.clone(),
                false => format!("{}/{inside}", written.trim_end_matches('/')),
            };
            // Two absolute paths may end in one name; they are told apart in the node's order.
            while all.contains_key(&name) {
                name.push('\'');
            }
            all.insert(name, identity);
        }
    }
    Ok(all)
}

/// A path of the graph; of an absolute one only the name, which says nothing of the machine.
fn as_written(text: &str) -> String {
    let path = Path::new(text);
    let name = path.file_name().filter(|_| path.is_absolute());
    name.map_or_else(
        || text.to_owned(),
        |name| name.to_string_lossy().into_owned(),
    )
}
