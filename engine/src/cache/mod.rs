//! The cache: results found again by what went into them.
//!
//! Two tables, as build systems have them: *actions* (key → identity of each output, files an
//! effect wrote) and *objects* (identity → value), each with a tier in memory and one on disk.
//! Records outlive objects, so what was evicted is not made again while nothing that runs needs
//! it.
//!
//! Promises
//! - A key that was stored is found, in this process or, with a folder, in another, until its
//!   record is evicted; what is found is what was stored.
//! - What is read from the folder enters memory, so that it is read once.
//!
//! Not here: when to look and what a key is (`run`, `key`).

mod disk;
mod door;
mod entry;
mod memory;
mod whole;

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub use disk::{Count, Disk, Stat, Swept};
pub use door::{Door, Listed, Reading, Real, Writing};
pub(crate) use entry::Sort;
use memory::Memory;
pub(crate) use memory::Record;

use crate::event;
use crate::files::FileTable;
use crate::key::{KeyParts, Labels};
use crate::value::{DataType, Identity, Value};

/// Results of runs. Shared by reference; every call locks briefly.
#[derive(Debug)]
pub struct Cache {
    memory: Mutex<Memory>,
    disk: Option<Arc<Disk>>,
    files: FileTable,
    /// What is known of each plan's last run.
    past: Mutex<HashMap<String, Past>>,
}

/// The keys of a plan's last run by node; cloning shares it.
#[derive(Debug, Default, Clone)]
pub(crate) struct Past(Arc<Mutex<Keys>>);

#[derive(Debug, Default)]
struct Keys {
    nodes: HashMap<Arc<str>, Before>,
    /// Whether a key moved since the folder was told.
    moved: bool,
}

/// The parts of a node's last key: cheap to keep where they were made.
#[derive(Debug)]
pub(crate) enum Before {
    Here(Arc<KeyParts>),
    Elsewhere(Labels),
}

impl Cache {
    /// A cache of this process, whose objects may hold `budget` bytes of memory.
    pub fn new(budget: u64) -> Self {
        Self {
            memory: Mutex::new(Memory::new(budget)),
            disk: None,
            files: FileTable::default(),
            past: Mutex::default(),
        }
    }

    /// The same with a folder behind it, which outlives the process.
    #[must_use]
    pub fn on_disk(mut self, disk: Disk) -> Self {
        let disk = Arc::new(disk);
        self.files = FileTable::behind(disk.clone());
        self.disk = Some(disk);
        self
    }

    /// The folder behind it.
    pub fn disk(&self) -> Option<&Disk> {
        self.disk.as_deref()
    }

    /// Content hashes of files.
    pub fn files(&self) -> &FileTable {
        &self.files
    }

    /// Bytes of memory that objects hold now.
    pub fn used(&self) -> u64 {
        self.memory().used()
    }

    /// Drops every object and handle from memory; records stay.
    pub fn drop_objects(&self) {
        self.memory().drop_objects();
    }

    /// What is known of the run with that key, and where that stood.
    pub(crate) fn find(&self, key: &Identity) -> Option<(Arc<Record>, event::From)> {
        if let Some(record) = self.memory().record(key) {
            return Some((record, event::From::Memory));
        }
        let record = Arc::new(self.disk.as_ref()?.record(key)?);
        self.memory().keep_record(*key, record.clone());
        Some((record, event::From::Disk))
    }

    /// The value of that identity, if kept. The descriptor says how to read it from disk.
    pub(crate) fn value(&self, identity: &Identity, data: DataType) -> Option<Value> {
        if let Some(value) = self.memory().value(identity) {
            return Some(value);
        }
        let (value, seconds) = self.disk.as_ref()?.value(identity, data)?;
        self.memory().keep(&value, seconds);
        Some(value)
    }

    /// Bytes of the value of that identity where it lies, without reading it.
    pub(crate) fn lies(&self, identity: &Identity) -> Option<u64> {
        let here = self.memory().object(identity);
        here.or_else(|| self.disk.as_ref()?.object(identity))
    }

    /// Keeps a record and what of its values may be kept, in memory.
    pub(crate) fn store(&self, key: Identity, record: Arc<Record>, values: &[Option<Value>]) {
        let mut memory = self.memory();
        for value in values.iter().flatten() {
            memory.keep(value, record.seconds);
        }
        memory.keep_record(key, record);
    }

    /// Writes the same to the folder, if there is one. Slow: the disk has it when this returns.
    pub(crate) fn store_on_disk(
        &self,
        key: &Identity,
        kind: &str,
        record: &Record,
        values: &[Option<Value>],
    ) {
        if let Some(disk) = &self.disk {
            disk.store(key, kind, record, values);
        }
    }

    /// What is known of the last run of that plan, here or in another process.
    pub(crate) fn past(&self, plan: &str) -> Past {
        let mut all = self.past.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(past) = all.get(plan) {
            return past.clone();
        }
        let elsewhere = |disk: &Arc<Disk>| disk.ron(Sort::Plan, &place(plan));
        let read: Option<BTreeMap<String, Labels>> = self.disk.as_ref().and_then(elsewhere);
        let labels = read.unwrap_or_default().into_iter();
        let nodes = labels.map(|(node, labels)| (node.into(), Before::Elsewhere(labels)));
        let keys = Keys {
            nodes: nodes.collect(),
            moved: false,
        };
        let past = Past(Arc::new(Mutex::new(keys)));
        all.insert(plan.to_owned(), past.clone());
        past
    }

    /// Writes the keys of a plan's last run to the folder; nodes that it no longer has go.
    pub(crate) fn keep_past<'a>(
        &self,
        plan: &str,
        past: &Past,
        nodes: impl Iterator<Item = &'a str>,
    ) {
        let Some(disk) = &self.disk else { return };
        let mut keys = past.keys();
        if !std::mem::take(&mut keys.moved) {
            return;
        }
        let kept: BTreeMap<&str, Labels> = nodes
            .filter_map(|node| Some((node, keys.nodes.get(node)?.labels())))
            .collect();
        drop(keys);
        disk.keep_ron(Sort::Plan, &place(plan), &kept);
    }

    /// What went wrong with the folder since this was last asked, each thing told once.
    pub(crate) fn complaints(&self) -> Vec<String> {
        let Some(disk) = &self.disk else {
            return Vec::new();
        };
        let dropped = match disk.dropped() {
            0 => None,
            1 => Some("one entry of the cache was damaged; it was dropped".to_owned()),
            n => Some(format!(
                "{n} entries of the cache were damaged; they were dropped"
            )),
        };
        dropped.into_iter().chain(disk.complaint()).collect()
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Past {
    /// The parts of a node's key in the last run.
    pub(crate) fn before(&self, node: &str) -> Option<Labels> {
        self.keys().nodes.get(node).map(Before::labels)
    }

    /// The same, where that run was in this process.
    pub(crate) fn here(&self, node: &str) -> Option<Arc<KeyParts>> {
        match self.keys().nodes.get(node)? {
            Before::Here(parts) => Some(parts.clone()),
            Before::Elsewhere(_) => None,
        }
    }

    /// Makes room for the keys of so many nodes: a table that grows hashes all names again.
    pub(crate) fn reserve(&self, nodes: usize) {
        let mut keys = self.keys();
        let more = nodes.saturating_sub(keys.nodes.len());
        keys.nodes.reserve(more);
    }

    /// Remembers the parts of a node's key.
    pub(crate) fn remember(&self, node: &Arc<str>, parts: &Arc<KeyParts>) {
        let mut keys = self.keys();
        let here = Before::Here(parts.clone());
        let before = keys.nodes.insert(node.clone(), here);
        keys.moved |= before.as_ref().map(Before::key) != Some(parts.key());
    }

    fn keys(&self) -> MutexGuard<'_, Keys> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Before {
    fn key(&self) -> Identity {
        match self {
            Self::Here(parts) => parts.key(),
            Self::Elsewhere(labels) => labels.key,
        }
    }

    pub(crate) fn labels(&self) -> Labels {
        match self {
            Self::Here(parts) => parts.labels(),
            Self::Elsewhere(labels) => labels.clone(),
        }
    }
}

/// The name under which the folder keeps what belongs to a path.
pub(crate) fn place(path: impl AsRef<Path>) -> Identity {
    let path = path.as_ref();
    let whole = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    Identity::of(&[whole.as_os_str().as_encoded_bytes()])
}
