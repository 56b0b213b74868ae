//! The run: a plan being carried out.
//!
//! Promises
//! - What is kept is not run; what is run is needed; every planned node ends in exactly one list.
//! - One failing branch stops what hangs below it and nothing else; a panic in a node is caught
//!   and reported as a bug of its kind.
//! - A stop is obeyed at the next step; what had finished stays kept.
//! - A node whose device ran out of memory goes on in a smaller way where it has one; its result
//!   is stored under the key of that way alone.
//! - Equal graphs give equal results whatever the number of threads.
//!
//! ```text
//! settle   a node's key is known once the identities that come in are; found: kept
//! want     not found: its inputs' values are fetched, or made again where they were evicted
//! start    on the CPU pool or the device's thread (`lanes`), told by way of the `outbox`
//! finish   identities go down the wires, results into the cache
//! ```
//!
//! Not here: what a key is (`key`), how long results are kept (`cache`).

mod explain;
mod lanes;
mod outbox;
mod schedule;
mod slot;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use crate::cache::{Cache, Record};
use crate::ctx::{Extensions, Stop};
use crate::diagnostic::Diagnostic;
use crate::event::{Done, Event};
use crate::paths::Own;
use crate::plan::Plan;
use crate::relief::Relief;
use crate::value::{Data, Value};

pub use explain::{Fate, Outlook};
pub(crate) use outbox::Events;

/// What a program lends to runs.
#[derive(Debug, Clone)]
pub struct Host {
    /// Where effects write.
    pub out: PathBuf,
    /// Whether other content is replaced.
    pub overwrite: bool,
    /// What earlier runs of this program wrote, which later ones may replace; `None` when
    /// nothing is to be replaced.
    pub own: Option<Own>,
    /// Where previews may be put.
    pub previews: Option<PathBuf>,
    /// Where long nodes keep unfinished work, to continue in another run.
    pub work: Option<PathBuf>,
    /// CPU threads.
    pub threads: usize,
    /// Everything that may change bits: backend family, dtype, kernel revision, instruction set.
    /// Enters the keys of kinds that compute.
    pub numerics: String,
    /// Bytes of memory that one node's work may take, where it can be done in parts: decides
    /// which [`Way`](crate::Way) is gone, and so enters keys.
    pub memory: u64,
    /// The device, a weight pool, …
    pub extensions: Extensions,
    /// Where nodes on the device's lane do their work.
    pub within: Within,
    /// What is done when the memory of a device runs out.
    pub relief: Option<Arc<dyn Relief>>,
}

/// Does the work of a node on the device's lane: at once on that lane's thread, unless the
/// program knows a better place, such as a pool that the device computes with. Whatever the
/// place, one node is at work at a time.
#[derive(Clone, Default)]
pub struct Within(Option<Arc<Place>>);

type Work<'a> = &'a mut (dyn FnMut() + Send);
type Place = dyn Fn(Work<'_>) + Send + Sync;

impl Within {
    /// Work is done by `place`, which calls it once and returns when it is done.
    pub fn new(place: impl Fn(Work<'_>) + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(place)))
    }

    /// Does `work`.
    pub(crate) fn call<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let Some(place) = &self.0 else { return work() };
        let (mut work, mut done) = (Some(work), None);
        place(&mut || done = work.take().map(|work| work()));
        done.expect("the place calls the work once")
    }
}

impl std::fmt::Debug for Within {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.0.is_some() {
            "within a place"
        } else {
            "within its thread"
        })
    }
}

impl Default for Host {
    /// Writes to `out`, uses one thread and all memory, lends nothing.
    fn default() -> Self {
        Self {
            out: PathBuf::from("out"),
            overwrite: false,
            own: None,
            previews: None,
            work: None,
            threads: 1,
            numerics: String::new(),
            memory: u64::MAX,
            extensions: Extensions::default(),
            within: Within::default(),
            relief: None,
        }
    }
}

/// A plan about to be carried out.
#[derive(Debug)]
pub struct Run<'a> {
    pub(crate) plan: &'a Plan,
    pub(crate) host: &'a Host,
    pub(crate) cache: &'a Cache,
    pub(crate) stop: Stop,
}

impl<'a> Run<'a> {
    /// A run of `plan`.
    pub fn new(plan: &'a Plan, host: &'a Host, cache: &'a Cache) -> Self {
        Self {
            plan,
            host,
            cache,
            stop: Stop::new(),
        }
    }

    /// Takes the token by which the run can be stopped.
    #[must_use]
    pub fn stopped_by(mut self, stop: Stop) -> Self {
        self.stop = stop;
        self
    }

    /// Carries the plan out. `listen` gets every event, on this thread.
    pub fn go(self, listen: &mut dyn FnMut(&Event)) -> Report {
        schedule::go(&self, listen)
    }
}

/// Whether the files that a run wrote stand with the hashes that it wrote; those of a run that
/// wrote none always do. Who overwrites wants them under their own names.
fn stands(run: &Run<'_>, record: &Record) -> bool {
    if run.host.overwrite && record.beside {
        return false;
    }
    record.wrote.iter().all(|(path, identity)| {
        let path = run.host.out.join(path);
        let found = || run.cache.files().identity(&path);
        path.is_file() && found().is_ok_and(|found| found == *identity)
    })
}

/// How a run ended.
#[derive(Debug, Default)]
pub struct Report {
    /// The lists of the last event.
    pub done: Done,
    /// What went wrong, in the order in which it did.
    pub failures: Vec<Diagnostic>,
    /// The values the run was for: the graph's `outputs` by name, or `node.output` of `--only`.
    pub values: BTreeMap<String, Value>,
}

impl Report {
    /// Whether nothing failed, was blocked or cancelled.
    pub fn is_complete(&self) -> bool {
        let done = &self.done;
        done.failed.is_empty() && done.blocked.is_empty() && done.cancelled.is_empty()
    }

    /// A value the run was for.
    pub fn value<T: Data>(&self, name: &str) -> Option<Arc<T>> {
        self.values.get(name)?.get()
    }
}
