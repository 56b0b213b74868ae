//! The files that matter, and whether they moved.
//!
//! Promises
//! - What the file system says of a file (who it is, how long, when written) decides whether it
//!   moved; the system's events only say when to look. Opening a file, as we do ourselves, is an
//!   event and no move, and a lost event is found by the next slow look.
//! - Folders are watched, not files: editors rename, truncate, write beside. A folder or a link
//!   that was replaced is watched anew.
//! - Where the system watches nothing more, looking more often does.
//!
//! Not here: what a move means (`watch`).

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fs::Metadata;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use notify::{RecommendedWatcher, RecursiveMode};
use notify_debouncer_mini::{Config, Debouncer, new_debouncer_opt};

/// How long events are gathered: what an editor does to save takes a few milliseconds, and a
/// person does not see a twentieth of a second.
pub(super) const DEBOUNCE: Duration = Duration::from_millis(50);
/// Time between two looks where events tell when to look: a full queue loses some, and network
/// folders have none.
const SLOW: Duration = Duration::from_secs(2);
/// Time between two looks where nothing tells.
const POLL: Duration = Duration::from_millis(500);
/// A look may take so much of the time: one part in twenty.
const SHARE: u32 = 20;
/// Deepest folder below one that a node reads, as the engine hashes it.
const DEEPEST: usize = 8;

/// The files that matter.
pub(super) struct Files {
    debouncer: Option<Debouncer<RecommendedWatcher>>,
    /// Each with how it stood at the last look; `None` when it was not there.
    wanted: BTreeMap<PathBuf, Option<u64>>,
    /// The same paths, also as they are called without links: events may use either.
    names: BTreeSet<PathBuf>,
    /// Watched folders, and who they were then.
    folders: BTreeMap<PathBuf, Option<u64>>,
    /// What we wrote ourselves.
    ignored: HashSet<PathBuf>,
    /// Why events cannot be relied on.
    fault: Option<String>,
    told: bool,
    /// How long the last look took.
    cost: Duration,
}

impl Files {
    /// Calls `heard` with paths that something happened to.
    pub(super) fn new(heard: impl Fn(Vec<PathBuf>) + Send + 'static) -> Self {
        let config = Config::default()
            .with_timeout(DEBOUNCE)
            .with_batch_mode(false);
        let debouncer = new_debouncer_opt(config, move |events: Result<Vec<_>, _>| {
            // An error says that events may be lost, which the slow look makes good.
            let events = events.unwrap_or_default().into_iter();
            heard(
                events
                    .map(|event: notify_debouncer_mini::DebouncedEvent| event.path)
                    .collect(),
            );
        });
        let fault = debouncer.as_ref().err().map(ToString::to_string);
        Self {
            debouncer: debouncer.ok(),
            wanted: BTreeMap::new(),
            names: BTreeSet::new(),
            folders: BTreeMap::new(),
            ignored: HashSet::new(),
            fault,
            told: false,
            cost: Duration::ZERO,
        }
    }

    /// These files and folders matter from now on, and no others. What is new and was written
    /// `since` counts as moved at the next look: it may have been read before that.
    pub(super) fn want(&mut self, paths: impl Iterator<Item = PathBuf>, since: SystemTime) {
        let before = std::mem::take(&mut self.wanted);
        for path in paths {
            let seen = before.get(&path).copied().unwrap_or_else(|| {
                let written = path.metadata().and_then(|meta| meta.modified());
                let fresh = written.is_ok_and(|written| written >= since);
                self.stamp(&path).filter(|_| !fresh)
            });
            self.wanted.insert(path, seen);
        }
        self.watch();
    }

    /// A file that we write ourselves does not matter.
    pub(super) fn ignore(&mut self, path: &str) {
        self.ignored.insert(whole(Path::new(path)));
    }

    /// Whether something happened to what matters.
    pub(super) fn concern(&self, paths: &[PathBuf]) -> bool {
        let near = |path: &PathBuf| {
            let mut names = self.names.iter();
            names.any(|name| name.starts_with(path) || path.starts_with(name))
        };
        paths
            .iter()
            .any(|path| near(path) && !self.is_at_rest(path))
    }

    /// Whether an event of a folder only says that it was opened: we do that at every look, so
    /// each would call for the next. What happens inside is told of by the name of what is there.
    fn is_at_rest(&self, path: &Path) -> bool {
        let Some(who) = identity(path) else {
            return false;
        };
        match self.folders.get(path) {
            Some(known) => *known == Some(who),
            None => self.names.iter().any(|name| path.starts_with(name)),
        }
    }

    /// What moved since the last look.
    pub(super) fn moved(&mut self) -> Vec<PathBuf> {
        let start = Instant::now();
        let mut wanted = std::mem::take(&mut self.wanted);
        let mut moved = Vec::new();
        for (path, seen) in &mut wanted {
            let stamp = self.stamp(path);
            if std::mem::replace(seen, stamp) != stamp {
                moved.push(path.clone());
            }
        }
        self.wanted = wanted;
        self.watch();
        self.cost = start.elapsed();
        moved
    }

    /// How long to wait for an event before looking all the same.
    pub(super) fn patience(&self) -> Duration {
        let usual = if self.fault.is_some() { POLL } else { SLOW };
        usual.max(self.cost * SHARE)
    }

    /// Why events cannot be relied on, said once.
    pub(super) fn fault(&mut self) -> Option<&str> {
        let fault = self.fault.as_deref().filter(|_| !self.told)?;
        self.told = true;
        Some(fault)
    }

    /// Watches the folders of all that matters: those that are new or were replaced, anew.
    fn watch(&mut self) {
        let mut folders = BTreeMap::new();
        self.names.clear();
        for path in self.wanted.keys() {
            let real = path.canonicalize().ok();
            for name in real.into_iter().chain([whole(path)]) {
                match name.is_dir() {
                    true => drop(folders.insert(name.clone(), RecursiveMode::Recursive)),
                    false => {
                        let above = name.parent().unwrap_or(Path::new("."));
                        let mode = RecursiveMode::NonRecursive;
                        folders.entry(above.to_owned()).or_insert(mode);
                    }
                }
                self.names.insert(name);
            }
        }
        let Some(debouncer) = &mut self.debouncer else {
            return;
        };
        let watcher = debouncer.watcher();
        self.folders.retain(|folder, who| {
            let stays = folders.contains_key(folder) && who.is_some() && *who == identity(folder);
            if !stays {
                // It may be gone, and its watch with it.
                let _ = watcher.unwatch(folder);
            }
            stays
        });
        for (folder, mode) in folders {
            let who = identity(&folder);
            if who.is_none() || self.folders.contains_key(&folder) {
                continue;
            }
            match watcher.watch(&folder, mode) {
                Ok(()) => drop(self.folders.insert(folder, who)),
                // It went away just now; the next look tries again.
                Err(_) if identity(&folder).is_none() => {}
                Err(error) => self.fault = Some(error.to_string()),
            }
        }
    }

    /// How a file, or all that is below a folder, stands; nothing when it is not there.
    fn stamp(&self, path: &Path) -> Option<u64> {
        let path = &whole(path);
        let meta = path.metadata().ok()?;
        if self.ignored.contains(path) {
            return Some(0);
        }
        let mut hasher = DefaultHasher::new();
        match meta.is_dir() {
            true => self.stamp_folder(path, 0, &mut hasher),
            false => stamp_file(&meta, &mut hasher),
        }
        Some(hasher.finish())
    }

    fn stamp_folder(&self, folder: &Path, depth: usize, hasher: &mut DefaultHasher) {
        let Ok(entries) = folder.read_dir() else {
            return;
        };
        let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
        paths.sort();
        for path in paths {
            let name = path.file_name().unwrap_or_default();
            let hidden = name.as_encoded_bytes().starts_with(b".");
            let Ok(meta) = path.metadata() else { continue };
            if hidden || self.ignored.contains(&path) {
                continue;
            }
            if !meta.is_dir() {
                name.hash(hasher);
                stamp_file(&meta, hasher);
            } else if depth < DEEPEST {
                name.hash(hasher);
                self.stamp_folder(&path, depth + 1, hasher);
            }
        }
    }
}

/// Events and what we wrote are told of by whole paths; what matters keeps the name it was given.
fn whole(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

fn stamp_file(meta: &Metadata, hasher: &mut DefaultHasher) {
    meta.len().hash(hasher);
    meta.modified().ok().hash(hasher);
    who(meta).hash(hasher);
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        (meta.ctime(), meta.ctime_nsec()).hash(hasher);
    }
}

/// Which folder stands there, if one does.
fn identity(folder: &Path) -> Option<u64> {
    let meta = folder.metadata().ok().filter(Metadata::is_dir)?;
    let mut hasher = DefaultHasher::new();
    who(&meta).hash(&mut hasher);
    // Numbers of folders are used again.
    meta.created().ok().hash(&mut hasher);
    Some(hasher.finish())
}

#[cfg(unix)]
fn who(meta: &Metadata) -> (u64, u64) {
    use std::os::unix::fs::MetadataExt;
    (meta.dev(), meta.ino())
}

#[cfg(not(unix))]
fn who(_meta: &Metadata) -> (u64, u64) {
    (0, 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOTHING: [PathBuf; 0] = [];

    fn wanting(folder: &Path, names: &[&str]) -> Files {
        let mut files = Files::new(|_| {});

        std::fs::create_dir_all(folder.join("in")).unwrap();
        let paths = names.iter().map(|name| folder.join(name));
        // Nothing counts as written after it was wanted.
        let since = SystemTime::now() + Duration::from_secs(3600);
        files.want(paths, since);
        files
    }

    #[test]
    fn opening_is_no_move_and_writing_removing_and_replacing_are() {
        let lab = tempfile::tempdir().unwrap();
        let graph = lab.path().join("a.ron");
        std::fs::write(&graph, "one").unwrap();
        let mut files = wanting(lab.path(), &["a.ron", "in"]);
        std::fs::read(&graph).unwrap();
        assert_eq!(files.moved(), NOTHING);
        std::fs::write(&graph, "two").unwrap();
        assert_eq!(files.moved(), std::slice::from_ref(&graph));
        std::fs::remove_file(&graph).unwrap();
        assert_eq!(files.moved(), std::slice::from_ref(&graph));
        assert_eq!(files.moved(), NOTHING);
        std::fs::write(lab.path().join("b.ron"), "two").unwrap();
        std::fs::rename(lab.path().join("b.ron"), &graph).unwrap();
        std::fs::write(lab.path().join("in/new.png"), "new").unwrap();
        assert_eq!(files.moved(), [graph, lab.path().join("in")]);
        assert!(files.concern(&[lab.path().join("in/new.png")]));
        assert!(!files.concern(&[lab.path().join("c.ron")]));
        assert!(
            !files.concern(&[lab.path().join("in")]),
            "it was only opened"
        );
    }

    #[test]
    fn what_we_write_ourselves_does_not_matter() {
        let lab = tempfile::tempdir().unwrap();
        let mut files = wanting(lab.path(), &["in"]);
        let ours = lab.path().join("in/ours.png");
        std::fs::write(&ours, "ours").unwrap();
        files.ignore(ours.to_str().unwrap());
        assert_eq!(files.moved(), NOTHING);
    }

    #[test]
    fn without_events_it_looks_more_often_and_says_so_once() {
        let lab = tempfile::tempdir().unwrap();
        let mut files = wanting(lab.path(), &["in"]);
        files.fault = None;
        assert_eq!((files.patience(), files.fault()), (SLOW, None));
        files.debouncer = None;
        files.fault = Some("no more watches".to_owned());
        assert_eq!(files.fault(), Some("no more watches"));
        assert_eq!((files.patience(), files.fault()), (POLL, None));
        std::fs::write(lab.path().join("in/a"), "a").unwrap();
        assert_eq!(files.moved(), [lab.path().join("in")]);
    }
}
