//! The cache: results found again by what went into them.
//!
//! Two tables, as build systems have them: *actions* (key → identity of each output, files an
//! effect wrote) and *objects* (identity → value). Records outlive objects, so what was evicted
//! is not made again while nothing that runs needs it.
//!
//! Promises
//! - Objects keep to the byte budget; eviction is by use and cost (GreedyDual-Size): what is
//!   cheap to make again and large goes first, what was not used for long ages.
//! - Handles are in no result tier; they are remembered apart and hold no weights for the cache.
//!
//! Not here: the disk tier, which stands behind the same four calls (`find`, `value`, `store`,
//! `last`); when to look (`run`).

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Mutex;

use crate::event;
use crate::files::FileTable;
use crate::key::KeyParts;
use crate::value::{DataType, Identity, Storage, Value};

/// Most records of actions in memory; each takes a few hundred bytes.
const MOST_RECORDS: usize = 1 << 20;
/// Most handles remembered.
const MOST_HANDLES: usize = 256;

/// What is known of one run of a node.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Record {
    /// Identity and storage of each output; `None` for an optional one that is not there.
    pub(crate) outputs: Vec<Option<(Identity, Storage)>>,
    /// Files written, under the output folder.
    pub(crate) wrote: Vec<(String, Identity)>,
    /// What the run cost.
    pub(crate) seconds: f64,
}

/// Results of the runs of this process. Shared by reference; every call locks briefly.
#[derive(Debug)]
pub struct Cache {
    tables: Mutex<Tables>,
    files: FileTable,
}

#[derive(Debug, Default)]
struct Tables {
    budget: u64,
    actions: HashMap<Identity, Record>,
    action_order: VecDeque<Identity>,
    objects: HashMap<Identity, Object>,
    queue: BTreeSet<(Priority, Identity)>,
    used: u64,
    /// Priority of the last eviction: what is used again starts from here.
    floor: f64,
    ticks: u64,
    handles: HashMap<Identity, Value>,
    handle_order: VecDeque<Identity>,
    last: HashMap<(String, String), KeyParts>,
}

#[derive(Debug)]
struct Object {
    value: Value,
    bytes: u64,
    cost: f64,
    priority: Priority,
}

/// Cost by size over the floor as ordered bits, then recency.
type Priority = (u64, u64);

impl Cache {
    /// A cache whose objects may hold `budget` bytes of memory.
    pub fn new(budget: u64) -> Self {
        let tables = Mutex::new(Tables {
            budget,
            ..Tables::default()
        });
        Self {
            tables,
            files: FileTable::default(),
        }
    }

    /// Content hashes of files read by this process.
    pub fn files(&self) -> &FileTable {
        &self.files
    }

    /// Bytes of memory that objects hold now.
    pub fn used(&self) -> u64 {
        self.lock().used
    }

    /// Drops every object and handle; records stay.
    pub fn drop_objects(&self) {
        let mut tables = self.lock();
        tables.objects.clear();
        tables.queue.clear();
        tables.handles.clear();
        tables.handle_order.clear();
        tables.used = 0;
    }

    /// What is known of the run with that key, and where that stood.
    pub(crate) fn find(&self, key: &Identity) -> Option<(Record, event::From)> {
        let record = self.lock().actions.get(key).cloned()?;
        Some((record, event::From::Memory))
    }

    /// The value of that identity, if kept. The descriptor says how to read it back from disk.
    pub(crate) fn value(&self, identity: &Identity, _data: DataType) -> Option<Value> {
        let mut tables = self.lock();
        if let Some(handle) = tables.handles.get(identity) {
            return Some(handle.clone());
        }
        tables.touch(identity)
    }

    /// Keeps a record and what of its values may be kept.
    pub(crate) fn store(&self, key: Identity, record: Record, values: &[Option<Value>]) {
        let mut tables = self.lock();
        for value in values.iter().flatten() {
            match value.storage() {
                Storage::Object => tables.keep(value, record.seconds),
                Storage::Handle => tables.keep_handle(value),
            }
        }
        tables.keep_record(key, record);
    }

    /// Remembers the parts of a node's key, and gives those before.
    pub(crate) fn last(&self, plan: &str, node: &str, parts: &KeyParts) -> Option<KeyParts> {
        let name = (plan.to_owned(), node.to_owned());
        self.lock().last.insert(name, parts.clone())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Tables> {
        self.tables
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Tables {
    fn keep_record(&mut self, key: Identity, record: Record) {
        if self.actions.insert(key, record).is_none() {
            self.action_order.push_back(key);
        }
        while self.actions.len() > MOST_RECORDS {
            let Some(oldest) = self.action_order.pop_front() else {
                break;
            };
            self.actions.remove(&oldest);
        }
    }

    fn keep_handle(&mut self, value: &Value) {
        if self
            .handles
            .insert(value.identity(), value.clone())
            .is_none()
        {
            self.handle_order.push_back(value.identity());
        }
        while self.handles.len() > MOST_HANDLES {
            let Some(oldest) = self.handle_order.pop_front() else {
                break;
            };
            self.handles.remove(&oldest);
        }
    }

    fn keep(&mut self, value: &Value, cost: f64) {
        let (identity, bytes) = (value.identity(), value.bytes());
        if bytes > self.budget || self.touch(&identity).is_some() {
            return;
        }
        while self.used + bytes > self.budget {
            let Some((priority, worst)) = self.queue.pop_first() else {
                break;
            };
            self.floor = f64::from_bits(priority.0);
            if let Some(object) = self.objects.remove(&worst) {
                self.used -= object.bytes;
            }
        }
        let priority = self.priority(cost, bytes);
        self.used += bytes;
        self.queue.insert((priority, identity));
        self.objects.insert(
            identity,
            Object {
                value: value.clone(),
                bytes,
                cost,
                priority,
            },
        );
    }

    fn touch(&mut self, identity: &Identity) -> Option<Value> {
        let object = self.objects.get(identity)?;
        let (cost, bytes) = (object.cost, object.bytes);
        let priority = self.priority(cost, bytes);
        let object = self.objects.get_mut(identity)?;
        self.queue.remove(&(object.priority, *identity));
        object.priority = priority;
        let value = object.value.clone();
        self.queue.insert((priority, *identity));
        Some(value)
    }

    /// Non-negative floats order as their bits do.
    #[allow(clippy::cast_precision_loss)]
    fn priority(&mut self, cost: f64, bytes: u64) -> Priority {
        self.ticks += 1;
        let worth = self.floor + cost.max(0.0) / bytes.max(1) as f64;
        (worth.to_bits(), self.ticks)
    }
}

impl std::fmt::Debug for KeyParts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "parts of {:?}", self.key())
    }
}
