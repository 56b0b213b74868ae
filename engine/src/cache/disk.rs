//! The disk tier: the cache folder, shared by any number of processes.
//!
//! ```text
//! objects/<identity>   a value's bytes           files/<hash of path>   a file's content hash
//! actions/<key>        what a run gave           plans/<hash of path>   the keys of the last run
//! tmp/<process>-<n>    being written             tmp/<process>.lock     held while it lives
//! ```
//!
//! The folder is its own index: nothing has to agree with anything else, so a file that is gone,
//! old or damaged is a miss and nothing more.
//!
//! Promises
//! - An entry is whole or absent: written beside, then renamed; checked whenever it is read; what
//!   is damaged is dropped.
//! - Entries keep to the budget. What goes first is large, cheap to make and long unused.
//! - A file system that refuses ends the writing, with one complaint, and not the run.
//! - Nothing is removed that this program did not write.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::door::{Door, Listed, Real};
use super::entry::{HEAD, Head, Sort, Unfit};
use super::memory::Record;
use super::whole;
use crate::value::{DataType, Identity, Storage, Value};

/// Names of files being written, and of the locks of those who write them.
const TEMPORARY: &str = "tmp";
/// Ends the name of a lock.
const LOCK: &str = ".lock";
/// Digits of a process's name.
const OWNER: usize = 16;
/// A process whose lock was swept before it held it, or whose folder was taken away, tries again.
const TRIES: usize = 3;
/// When room is made, so much of the budget is left filled: nine tenths.
const FILLED: (u64, u64) = (9, 10);
/// Records (actions, files, plans) may take one part in so many of the budget.
const RECORDS: u64 = 8;
/// No result costs nothing: what takes no time to make is still ordered by size and age.
const LEAST_COST: f64 = 1e-3;

/// The cache folder.
pub struct Disk {
    root: PathBuf,
    budget: u64,
    door: Box<dyn Door>,
    state: Mutex<State>,
    next: AtomicU64,
}

#[derive(Default)]
struct State {
    own: Option<Own>,
    /// Bytes of all entries, once they were counted; what others write is not seen.
    used: Option<u64>,
    fault: Option<String>,
    dropped: usize,
}

/// This process among those that write.
struct Own {
    name: String,
    _lock: File,
}

/// What there is of one sort of entries.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Count {
    /// How many.
    pub entries: usize,
    /// How many bytes.
    pub bytes: u64,
}

/// What the cache folder holds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Stat {
    /// Values.
    pub objects: Count,
    /// What is known of runs.
    pub actions: Count,
    /// Content hashes of files.
    pub files: Count,
    /// Graphs of which the last run is known.
    pub plans: Count,
    /// Files half written, by processes that live or died.
    pub temporary: Count,
    /// Files that are not the cache's.
    pub strange: usize,
}

/// What a sweep of the cache folder did.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Swept {
    /// Entries that are whole.
    pub whole: usize,
    /// Entries that were not what had been written, now removed.
    pub damaged: Vec<String>,
    /// Entries in the format of an older program, now removed.
    pub old: usize,
    /// Half-written files of processes that died, now removed.
    pub temporary: usize,
    /// Entries that the budget had no room for, now removed.
    pub evicted: usize,
    /// Bytes that were freed.
    pub freed: u64,
}

/// An entry that was listed.
struct Found {
    sort: Sort,
    name: Identity,
    listed: Listed,
}

impl Disk {
    /// The cache in folder `root`, of at most `budget` bytes. Nothing is read or made yet.
    pub fn new(root: impl Into<PathBuf>, budget: u64) -> Self {
        Self::through(root, budget, Real)
    }

    /// The same through a door of the caller's.
    pub fn through(root: impl Into<PathBuf>, budget: u64, door: impl Door + 'static) -> Self {
        Self {
            root: root.into(),
            budget,
            door: Box::new(door),
            state: Mutex::default(),
            next: AtomicU64::new(0),
        }
    }

    /// The folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The most bytes that entries may take.
    pub fn budget(&self) -> u64 {
        self.budget
    }

    /// Why nothing is written any more, told once.
    pub(crate) fn complaint(&self) -> Option<String> {
        self.lock()
            .fault
            .as_mut()
            .map(std::mem::take)
            .filter(|words| !words.is_empty())
    }

    /// Damaged entries that were found and dropped since this was last asked.
    pub(crate) fn dropped(&self) -> usize {
        std::mem::take(&mut self.lock().dropped)
    }

    // Reading.

    pub(super) fn record(&self, key: &Identity) -> Option<Record> {
        self.ron(Sort::Action, key)
    }

    /// The value of that identity, and the seconds that it took to make.
    pub(super) fn value(&self, identity: &Identity, data: DataType) -> Option<(Value, f64)> {
        let (head, body) = self.read(Sort::Object, identity)?;
        if head.label != label(data.name, data.format) {
            return None;
        }
        match (data.load)(body, *identity) {
            Ok(value) => Some((value, head.seconds)),
            Err(_) => {
                self.drop_entry(Sort::Object, identity);
                None
            }
        }
    }

    /// Bytes that an object takes, without reading it.
    pub(super) fn object(&self, identity: &Identity) -> Option<u64> {
        let file = self.door.open(&self.path(Sort::Object, identity));
        file.and_then(|file| file.look())
            .ok()
            .map(|listed| listed.bytes)
    }

    /// What was kept as RON under a name.
    pub(crate) fn ron<T: DeserializeOwned>(&self, sort: Sort, name: &Identity) -> Option<T> {
        let (_, body) = self.read(sort, name)?;
        let text = std::str::from_utf8(&body).ok();
        let read = text.and_then(|text| ron::from_str(text).ok());
        if read.is_none() {
            self.drop_entry(sort, name);
        }
        read
    }

    /// A whole entry; what is old or damaged goes.
    fn read(&self, sort: Sort, name: &Identity) -> Option<(Head, Vec<u8>)> {
        let path = self.path(sort, name);
        let mut file = self.door.open(&path).ok()?;
        match whole::read(sort, name, file.as_mut()).ok()? {
            Ok(entry) => {
                // Recency is worth no failure.
                let _ = file.touch();
                Some(entry)
            }
            Err(Unfit::New) => None,
            Err(Unfit::Old) => {
                let _ = self.door.remove(&path);
                None
            }
            Err(Unfit::Damaged) => {
                self.drop_entry(sort, name);
                None
            }
        }
    }

    fn drop_entry(&self, sort: Sort, name: &Identity) {
        let _ = self.door.remove(&self.path(sort, name));
        self.lock().dropped += 1;
    }

    // Writing.

    /// Keeps values and the record of the run that gave them.
    pub(super) fn store(
        &self,
        key: &Identity,
        kind: &str,
        record: &Record,
        values: &[Option<Value>],
    ) {
        let kept = values
            .iter()
            .flatten()
            .filter(|value| value.storage() == Storage::Object)
            .try_for_each(|value| self.keep_object(value, record.seconds));
        let kept = kept.and_then(|()| self.keep(Sort::Action, key, kind, record.seconds, record));
        self.noticed(kept);
    }

    /// Keeps something small under a name.
    pub(crate) fn keep_ron<T: Serialize>(&self, sort: Sort, name: &Identity, value: &T) {
        let kept = self.keep(sort, name, "-", 0.0, value);
        self.noticed(kept);
    }

    fn noticed(&self, kept: io::Result<()>) {
        if let Err(error) = kept {
            let words = format!(
                "results are no longer kept: cannot write to {}: {error}",
                self.root.display()
            );
            self.lock().fault.get_or_insert(words);
        }
    }

    fn keep_object(&self, value: &Value, seconds: f64) -> io::Result<()> {
        let name = value.identity();
        // What stands there may be damaged, which is why the value was made again.
        if self.read(Sort::Object, &name).is_some() {
            return Ok(());
        }
        let label = label(value.type_name(), value.format());
        match value.save() {
            Ok(body) => self.write(Sort::Object, &name, label, seconds, &body),
            // A type that cannot be written down is made again instead.
            Err(_) => Ok(()),
        }
    }

    fn keep<T: Serialize>(
        &self,
        sort: Sort,
        name: &Identity,
        label: &str,
        seconds: f64,
        value: &T,
    ) -> io::Result<()> {
        let text = ron::to_string(value).map_err(io::Error::other)?;
        self.write(sort, name, label.to_owned(), seconds, text.as_bytes())
    }

    fn write(
        &self,
        sort: Sort,
        name: &Identity,
        label: String,
        seconds: f64,
        body: &[u8],
    ) -> io::Result<()> {
        let bytes = (HEAD + body.len()) as u64;
        let refused = self.lock().fault.is_some();
        if refused || bytes > self.budget || !self.make_room(bytes)? {
            return Ok(());
        }
        let head = Head {
            label,
            seconds,
            bytes: body.len() as u64,
            sum: *name,
        };
        if !head.fits() {
            return Ok(());
        }
        let mut tries = 1..=TRIES;
        loop {
            match self.persist(sort, name, &head, body) {
                // Somebody took the folder away; a new one serves as well.
                Err(error) if error.kind() == ErrorKind::NotFound && tries.next() < Some(TRIES) => {
                    self.lock().own = None;
                }
                Err(error) => return Err(error),
                Ok(()) => break,
            }
        }
        if let Some(used) = &mut self.lock().used {
            *used += bytes;
        }
        Ok(())
    }

    /// Writes an entry beside and gives it its name.
    fn persist(&self, sort: Sort, name: &Identity, head: &Head, body: &[u8]) -> io::Result<()> {
        self.door.make_folder(&self.root.join(sort.folder()))?;
        let beside = self.temporary()?;
        // A record that a power cut tears is found damaged; a value is worth the wait.
        let lasting = sort == Sort::Object;
        let written = self
            .door
            .create(&beside)
            .and_then(|mut file| {
                whole::write(sort, name, head.clone(), body, file.as_mut(), lasting)
            })
            .and_then(|()| self.door.rename(&beside, &self.path(sort, name)));
        if written.is_err() {
            // What cannot be removed either is swept later.
            let _ = self.door.remove(&beside);
        }
        written
    }

    /// A name for a file being written, which says whose it is.
    fn temporary(&self) -> io::Result<PathBuf> {
        let folder = self.root.join(TEMPORARY);
        let mut state = self.lock();
        let own = match &mut state.own {
            Some(own) => own,
            none => {
                self.door.make_folder(&folder)?;
                let name = unique();
                let lock = self.door.hold(&folder.join(format!("{name}{LOCK}")))?;
                none.insert(Own { name, _lock: lock })
            }
        };
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        Ok(folder.join(format!("{}-{number}", own.name)))
    }

    // Sweeping.

    /// What there is.
    ///
    /// # Errors
    /// When the folder cannot be listed.
    pub fn stat(&self) -> io::Result<Stat> {
        let mut stat = Stat::default();
        for sort in Sort::ALL {
            let counted = match sort {
                Sort::Object => &mut stat.objects,
                Sort::Action => &mut stat.actions,
                Sort::File => &mut stat.files,
                Sort::Plan => &mut stat.plans,
            };
            for (name, listed) in self.door.list(&self.root.join(sort.folder()))? {
                match Identity::from_hex(&name) {
                    Some(_) => counted.add(listed.bytes),
                    None => stat.strange += 1,
                }
            }
        }
        for (name, listed) in self.door.list(&self.root.join(TEMPORARY))? {
            match owner(&name) {
                Some(_) if name.ends_with(LOCK) => {}
                Some(_) => stat.temporary.add(listed.bytes),
                None => stat.strange += 1,
            }
        }
        Ok(stat)
    }

    /// Reads every entry and removes what is not as it was written; `step` hears how many are
    /// done, and of how many, and answers whether to go on.
    ///
    /// # Errors
    /// When the folder cannot be listed.
    pub fn verify(&self, step: &mut dyn FnMut(usize, usize) -> bool) -> io::Result<Swept> {
        let mut swept = Swept::default();
        let all = self.entries(&Sort::ALL)?;
        for (done, found) in all.iter().enumerate() {
            if !step(done, all.len()) {
                break;
            }
            let opened = self.door.open(&self.path(found.sort, &found.name));
            let read = opened.and_then(|mut file| {
                whole::read(found.sort, &found.name, file.as_mut()).map(|read| read.map(drop))
            });
            if let Ok(read) = read {
                self.judge(found, read.err(), &mut swept);
            }
        }
        Ok(swept)
    }

    /// Removes what dead processes left, what older programs wrote, and what is over the budget.
    ///
    /// # Errors
    /// When the folder cannot be listed.
    pub fn gc(&self) -> io::Result<Swept> {
        let mut swept = Swept::default();
        self.sweep_temporary(&mut swept)?;
        for found in self.entries(&Sort::ALL)? {
            if let Ok(head) = self.head(&found) {
                self.judge(&found, head.err(), &mut swept);
            }
        }
        let (evicted, freed) = self.evict(0)?;
        swept.evicted = evicted;
        swept.freed += freed;
        swept.whole -= evicted.min(swept.whole);
        Ok(swept)
    }

    /// Removes every entry and what dead processes left.
    ///
    /// # Errors
    /// When the folder cannot be listed.
    pub fn clear(&self) -> io::Result<Swept> {
        let mut swept = Swept::default();
        self.sweep_temporary(&mut swept)?;
        for found in self.entries(&Sort::ALL)? {
            swept.evicted += usize::from(self.sweep(&found, &mut swept.freed));
        }
        self.lock().used = None;
        Ok(swept)
    }

    /// Counts an entry, and removes it where it is old or damaged.
    fn judge(&self, found: &Found, unfit: Option<Unfit>, swept: &mut Swept) {
        match unfit {
            None | Some(Unfit::New) => swept.whole += 1,
            Some(Unfit::Old) => swept.old += usize::from(self.sweep(found, &mut swept.freed)),
            Some(Unfit::Damaged) => {
                self.sweep(found, &mut swept.freed);
                let name = format!("{}/{}", found.sort.folder(), found.name);
                swept.damaged.push(name);
            }
        }
    }

    fn head(&self, found: &Found) -> io::Result<Result<Head, Unfit>> {
        let mut file = self.door.open(&self.path(found.sort, &found.name))?;
        whole::head(found.sort, file.as_mut())
    }

    fn sweep(&self, found: &Found, freed: &mut u64) -> bool {
        let removed = self
            .door
            .remove(&self.path(found.sort, &found.name))
            .is_ok();
        *freed += if removed { found.listed.bytes } else { 0 };
        removed
    }

    /// Removes files being written whose writer is dead.
    fn sweep_temporary(&self, swept: &mut Swept) -> io::Result<()> {
        let folder = self.root.join(TEMPORARY);
        let listed = self.door.list(&folder)?;
        let owners: BTreeSet<&str> = listed.iter().filter_map(|(name, _)| owner(name)).collect();
        for dead in owners {
            let lock = format!("{dead}{LOCK}");
            let has_lock = listed.iter().any(|(name, _)| *name == lock);
            let seized = self.door.seize(&folder.join(&lock));
            if has_lock && seized.is_none() {
                continue;
            }
            for (name, file) in listed.iter().filter(|(name, _)| owner(name) == Some(dead)) {
                let removed = self.door.remove(&folder.join(name)).is_ok();
                if removed && *name != lock {
                    swept.temporary += 1;
                    swept.freed += file.bytes;
                }
            }
        }
        Ok(())
    }

    /// Whether there is room for `bytes` more, once what is worth least has gone.
    fn make_room(&self, bytes: u64) -> io::Result<bool> {
        let known = self.lock().used;
        let used = match known {
            Some(used) => used,
            None => self.count()?,
        };
        if used + bytes > self.budget {
            self.evict(bytes)?;
        }
        Ok(self.lock().used.unwrap_or(0) + bytes <= self.budget)
    }

    fn count(&self) -> io::Result<u64> {
        let entries = self.entries(&Sort::ALL)?;
        let used = entries.iter().map(|found| found.listed.bytes).sum();
        self.lock().used = Some(used);
        Ok(used)
    }

    /// Removes what is worth least until `room` bytes are free and nine tenths of the budget
    /// are left filled; nothing when there is room. Answers how many went and their bytes.
    fn evict(&self, room: u64) -> io::Result<(usize, u64)> {
        let now = SystemTime::now();
        let age = |listed: &Listed| {
            let age = now.duration_since(listed.used).unwrap_or_default();
            age.as_secs_f64() + 1.0
        };
        let mut records = self.entries(&[Sort::Action, Sort::File, Sort::Plan])?;
        let mut objects = self.entries(&[Sort::Object])?;
        let total = |found: &[Found]| found.iter().map(|one| one.listed.bytes).sum::<u64>();
        let (mut of_records, mut of_objects) = (total(&records), total(&objects));
        let (mut evicted, mut freed) = (0, 0);
        let full = of_records + of_objects + room > self.budget;
        let filled = (self.budget / FILLED.1 * FILLED.0).saturating_sub(room);
        if full || of_records > self.budget / RECORDS {
            records.sort_by(|a, b| age(&b.listed).total_cmp(&age(&a.listed)));
            for found in &records {
                if of_records <= self.budget / RECORDS / 2 {
                    break;
                }
                if self.sweep(found, &mut freed) {
                    of_records -= found.listed.bytes;
                    evicted += 1;
                }
            }
        }
        if full {
            let worth = |found: &Found| {
                let head = self.head(found).ok().and_then(Result::ok);
                let cost = head.map_or(0.0, |head| head.seconds.max(0.0));
                #[allow(clippy::cast_precision_loss)]
                let held = found.listed.bytes as f64 * age(&found.listed);
                (cost + LEAST_COST) / held
            };
            objects.sort_by_cached_key(|found| worth(found).to_bits());
            for found in &objects {
                if of_records + of_objects <= filled {
                    break;
                }
                if self.sweep(found, &mut freed) {
                    of_objects -= found.listed.bytes;
                    evicted += 1;
                }
            }
        }
        self.lock().used = Some(of_records + of_objects);
        Ok((evicted, freed))
    }

    fn entries(&self, sorts: &[Sort]) -> io::Result<Vec<Found>> {
        let mut all = Vec::new();
        for sort in sorts {
            let listed = self.door.list(&self.root.join(sort.folder()))?;
            all.extend(listed.into_iter().filter_map(|(name, listed)| {
                let name = Identity::from_hex(&name)?;
                Some(Found {
                    sort: *sort,
                    name,
                    listed,
                })
            }));
        }
        Ok(all)
    }

    fn path(&self, sort: Sort, name: &Identity) -> PathBuf {
        self.root.join(sort.folder()).join(name.to_string())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        if let Some(own) = self.lock().own.take() {
            let lock = self
                .root
                .join(TEMPORARY)
                .join(format!("{}{LOCK}", own.name));
            let _ = self.door.remove(&lock);
        }
    }
}

impl std::fmt::Debug for Disk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "cache in {}", self.root.display())
    }
}

impl Count {
    fn add(&mut self, bytes: u64) {
        self.entries += 1;
        self.bytes += bytes;
    }
}

/// Whose file in the folder of files being written this is: the sixteen digits before `-3` or
/// `.lock`. Other names are not ours.
fn owner(name: &str) -> Option<&str> {
    let (owner, rest) = name.split_at_checked(OWNER)?;
    let hex = owner
        .bytes()
        .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    let number = rest
        .strip_prefix('-')
        .is_some_and(|n| n.parse::<u64>().is_ok());
    (hex && (number || rest == LOCK)).then_some(owner)
}

/// How an object's first line names its type.
fn label(name: &str, format: u32) -> String {
    format!("{name}/{format}")
}

/// A name that no other process has, nor another cache of this one.
fn unique() -> String {
    static CACHES: AtomicU64 = AtomicU64::new(0);
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let random = Identity::of(&[
        &std::process::id().to_le_bytes(),
        &now.unwrap_or_default().as_nanos().to_le_bytes(),
        &CACHES.fetch_add(1, Ordering::Relaxed).to_le_bytes(),
    ]);
    random.to_string()[..OWNER].to_owned()
}
