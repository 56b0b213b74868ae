//! The files that nodes read: which hold something else than what a run found in them.
//!
//! A file that moved is restless until it has lain still for a while; only then is it hashed. So
//! a copy of gigabytes is not hashed over and over, and the same content saved again is nothing.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use ldm_engine::{FileTable, Identity, Plan};

/// Files that nodes read.
#[derive(Default)]
pub(super) struct Reads {
    /// Moved, and not known to be at rest.
    restless: HashSet<PathBuf>,
    /// Of other content than when the last run began.
    changed: HashSet<PathBuf>,
    /// The content that is known, as runs found it.
    contents: HashMap<PathBuf, Identity>,
}

impl Reads {
    /// Whether some have not come to rest.
    pub(super) fn are_restless(&self) -> bool {
        !self.restless.is_empty()
    }

    /// Files of other content than when the last run began.
    pub(super) fn changed(&self) -> &HashSet<PathBuf> {
        &self.changed
    }

    /// A run begins: it reads what is there now.
    pub(super) fn begin(&mut self) {
        self.changed.clear();
    }

    /// Those of `moved` that the plan reads are restless: what they hold is not known.
    pub(super) fn stir(&mut self, moved: &[PathBuf], plan: &Plan) {
        let is_read = |path: &&PathBuf| plan.reads().any(|read| read == path.as_path());
        for path in moved.iter().filter(is_read) {
            self.changed.remove(path);
            self.restless.insert(path.clone());
        }
    }

    /// All are at rest: those of another content than was known have changed, and those that
    /// are gone, until they come back.
    pub(super) fn settle(&mut self, table: &FileTable) {
        for path in self.restless.drain() {
            let now = table.identity(&path).ok();
            if now.is_none() || now != self.contents.get(&path).copied() {
                self.contents.extend(now.map(|now| (path.clone(), now)));
                self.changed.insert(path);
            }
        }
    }

    /// Remembers what a run of `plan` read. `moved` tells what moved since it began: that may not
    /// be what it read.
    pub(super) fn learn(
        &mut self,
        plan: &Plan,
        table: &FileTable,
        moved: impl FnOnce() -> Vec<PathBuf>,
    ) -> Vec<PathBuf> {
        let known = |path: &&Path| !self.changed.contains(*path) && !self.restless.contains(*path);
        let hashed = plan
            .reads()
            .filter(known)
            .filter_map(|path| Some((path.to_owned(), table.identity(path).ok()?)));
        self.contents = hashed.collect();
        let moved = moved();
        for path in &moved {
            self.contents.remove(path);
        }
        moved
    }
}
