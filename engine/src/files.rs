//! Files that nodes read: found, opened, and known by their content.
//!
//! Promises
//! - A hash is taken again whenever path, device, inode, size, mtime or ctime moved, and when the
//!   file was hashed within two seconds of its mtime (git's racy rule).
//! - What is opened is what was hashed: a file that changed in between is an error, not a wrong
//!   picture.
//!
//! Not here: where to look for a file (`paths`).

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use crate::cache::{Disk, Sort, place};
use crate::error::{Error, Result};
use crate::value::{Hasher, Identity};

/// A file entry younger than this when hashed could change again without its mtime moving.
const RACY: Duration = Duration::from_secs(2);
/// Smaller files are hashed faster than their hash is looked up.
const LARGE: u64 = 256 << 10;
/// Most files that a folder named by one setting may hold.
const MOST_FILES: usize = 10_000;
/// Deepest folder below one that a setting names.
const DEEPEST: usize = 8;

/// What the file system says of a file; when it moves, the content may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    mtime: (i64, i64),
    ctime: (i64, i64),
}

impl Stamp {
    #[cfg(unix)]
    fn of(meta: &std::fs::Metadata) -> Self {
        use std::os::unix::fs::MetadataExt;
        Self {
            device: meta.dev(),
            inode: meta.ino(),
            size: meta.size(),
            mtime: (meta.mtime(), meta.mtime_nsec()),
            ctime: (meta.ctime(), meta.ctime_nsec()),
        }
    }

    /// Whether the content could change again without the stamp moving. A time in the future
    /// tells nothing, so it counts as racy.
    fn is_racy(&self) -> bool {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let (seconds, nanos) = self.mtime;
        let mtime = u64::try_from(seconds)
            .ok()
            .zip(u32::try_from(nanos).ok())
            .map(|(seconds, nanos)| Duration::new(seconds, nanos));
        let age = now
            .ok()
            .zip(mtime)
            .map(|(now, mtime)| now.checked_sub(mtime));
        age.flatten().is_none_or(|age| age < RACY)
    }

    #[cfg(not(unix))]
    fn of(meta: &std::fs::Metadata) -> Self {
        let since = meta
            .modified()
            .ok()
            .and_then(|t| t.duration_since(SystemTime::UNIX_EPOCH).ok());
        let mtime = since.map_or((0, 0), |t| {
            (t.as_secs() as i64, i64::from(t.subsec_nanos()))
        });
        Self {
            device: 0,
            inode: 0,
            size: meta.len(),
            mtime,
            ctime: (0, 0),
        }
    }
}

/// Content hashes of files, each valid for one stamp.
#[derive(Debug, Default)]
pub struct FileTable {
    entries: Mutex<HashMap<PathBuf, Entry>>,
    /// Keeps the hashes of large files for other processes.
    disk: Option<Arc<Disk>>,
    /// Whether hashes from the folder are believed.
    rehash: AtomicBool,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    stamp: Stamp,
    identity: Identity,
    trusted: bool,
}

/// An entry as the cache folder keeps it: only what is trusted.
#[derive(Serialize, Deserialize)]
struct Known {
    stamp: Stamp,
    identity: Identity,
}

impl FileTable {
    /// The content hash of a file, or of a folder (names and hashes of the files below it,
    /// hidden ones left out).
    ///
    /// # Errors
    /// When it cannot be read, or a folder holds too many files.
    pub fn identity(&self, path: &Path) -> Result<Identity> {
        if !path.is_dir() {
            return self.file(path).map(|file| file.identity);
        }
        let mut hasher = Hasher::default();
        for (inside, identity) in self.contents(path)? {
            hasher.part(inside.as_bytes()).part(&identity.0);
        }
        Ok(hasher.finish())
    }

    /// Every file that the content hash of a folder is made of: its path inside the folder and
    /// its own content hash, in order. Of a file, itself with an empty path.
    ///
    /// # Errors
    /// When one cannot be read, or a folder holds too many files.
    pub fn contents(&self, path: &Path) -> Result<Vec<(String, Identity)>> {
        if !path.is_dir() {
            return Ok(vec![(String::new(), self.file(path)?.identity)]);
        }
        let mut found = Vec::new();
        list_folder(path, "", 0, &mut found)?;
        found.sort();
        let hashed = found.into_iter().map(|inside| {
            let identity = self.file(&path.join(&inside))?.identity;
            Ok((inside, identity))
        });
        hashed.collect()
    }

    /// A file and its content hash, to be opened now or later.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn file(&self, path: &Path) -> Result<FileRef> {
        self.file_by(path, hash)
    }

    /// The same with the hash taken by the caller.
    fn file_by(
        &self,
        path: &Path,
        hash: impl FnOnce(&mut File) -> io::Result<Identity>,
    ) -> Result<FileRef> {
        let mut file = open(path)?;
        let stamp = stamp(&file, path)?;
        if let Some(identity) = self.known(path, stamp) {
            return Ok(FileRef {
                path: path.to_owned(),
                identity,
                stamp,
            });
        }
        let identity = hash(&mut file).map_err(|e| failed(path, &e))?;
        let after = self::stamp(&file, path)?;
        if after != stamp {
            let message = format!("{} changed while it was read", path.display());
            return Err(Error::new(message).hint("run again when it is whole"));
        }
        self.learn(path, stamp, identity);
        Ok(FileRef {
            path: path.to_owned(),
            identity,
            stamp,
        })
    }

    /// The hash of a file with that stamp, if it is known and trusted.
    fn known(&self, path: &Path, stamp: Stamp) -> Option<Identity> {
        let here = self.lock().get(path).copied();
        if let Some(entry) = here.filter(|entry| entry.stamp == stamp) {
            return entry.trusted.then_some(entry.identity);
        }
        let disk = self.disk.as_ref().filter(|_| stamp.size >= LARGE)?;
        if self.rehash.load(Ordering::Relaxed) {
            return None;
        }
        let known: Known = disk.ron(Sort::File, &place(path))?;
        if known.stamp != stamp {
            return None;
        }
        let (identity, trusted) = (known.identity, true);
        let entry = Entry {
            stamp,
            identity,
            trusted,
        };
        self.lock().insert(path.to_owned(), entry);
        Some(identity)
    }

    fn learn(&self, path: &Path, stamp: Stamp, identity: Identity) {
        let trusted = !stamp.is_racy();
        let entry = Entry {
            stamp,
            identity,
            trusted,
        };
        self.lock().insert(path.to_owned(), entry);
        if let Some(disk) = self
            .disk
            .as_ref()
            .filter(|_| trusted && stamp.size >= LARGE)
        {
            disk.keep_ron(Sort::File, &place(path), &Known { stamp, identity });
        }
    }

    /// A table that keeps what it learns in the cache folder.
    pub(crate) fn behind(disk: Arc<Disk>) -> Self {
        Self {
            disk: Some(disk),
            ..Self::default()
        }
    }

    /// Distrusts every entry: `--rehash`.
    pub fn forget(&self) {
        self.rehash.store(true, Ordering::Relaxed);
        self.lock().clear();
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<PathBuf, Entry>> {
        self.entries
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// A file known by its content. Cheap to keep in a handle and to open later.
#[derive(Debug, Clone)]
pub struct FileRef {
    path: PathBuf,
    identity: Identity,
    stamp: Stamp,
}

impl FileRef {
    /// The hash of its content.
    pub fn identity(&self) -> Identity {
        self.identity
    }

    /// Where it is, for messages; open it with [`FileRef::open`].
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Opens it, making sure that its content is still what was hashed.
    ///
    /// # Errors
    /// When it cannot be read or has changed.
    pub fn open(&self) -> Result<OpenFile> {
        let mut opened = OpenFile::open(&self.path)?;
        let now = stamp(&opened.file, &self.path)?;
        if now != self.stamp || now.is_racy() {
            let now = hash(&mut opened.file).map_err(|e| failed(&self.path, &e))?;
            opened
                .file
                .seek(SeekFrom::Start(0))
                .map_err(|e| failed(&self.path, &e))?;
            if now != self.identity {
                let message = format!("{} changed while it was in use", self.path.display());
                return Err(Error::new(message).hint("run again"));
            }
        }
        Ok(opened)
    }
}

/// A file open for reading, which remembers its path for messages.
#[derive(Debug)]
pub struct OpenFile {
    file: File,
    path: PathBuf,
}

impl OpenFile {
    pub(crate) fn open(path: &Path) -> Result<Self> {
        Ok(Self {
            file: open(path)?,
            path: path.to_owned(),
        })
    }

    /// Where it is, for messages.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its length in bytes.
    ///
    /// # Errors
    /// When the file system does not say.
    pub fn size(&self) -> Result<u64> {
        Ok(self
            .file
            .metadata()
            .map_err(|e| failed(&self.path, &e))?
            .len())
    }

    /// All of it, when it is at most `most` bytes.
    ///
    /// # Errors
    /// When it is longer or cannot be read.
    pub fn read_all(mut self, most: u64) -> Result<Vec<u8>> {
        let size = self.size()?;
        if size > most {
            let name = self.path.display();
            return Err(Error::new(format!(
                "{name} has {size} bytes, at most {most} are read"
            )));
        }
        let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or(0));
        let limited = (&mut self.file).take(most).read_to_end(&mut bytes);
        limited.map_err(|e| failed(&self.path, &e))?;
        Ok(bytes)
    }

    /// The file itself, for memory mapping.
    pub fn into_file(self) -> File {
        self.file
    }
}

impl Read for OpenFile {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.file.read(buffer)
    }
}

impl Seek for OpenFile {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.file.seek(to)
    }
}

fn open(path: &Path) -> Result<File> {
    let file = File::open(path).map_err(|e| failed(path, &e))?;
    match path.is_dir() {
        true => Err(Error::new(format!(
            "{} is a folder, a file is wanted",
            path.display()
        ))),
        false => Ok(file),
    }
}

fn failed(path: &Path, error: &io::Error) -> Error {
    Error::new(format!("cannot read {}: {error}", path.display()))
}

fn hash(file: &mut File) -> io::Result<Identity> {
    read_ahead(file);
    let mut hasher = blake3::Hasher::new();
    let mut buffer = vec![0; 128 * 1024];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(Identity(*hasher.finalize().as_bytes())),
            read => hasher.update(&buffer[..read]),
        };
    }
}

/// Lets the disk work further ahead than it would, so that it does not wait for the hash.
fn read_ahead(file: &File) {
    // It is advice: where none is taken, the file is read as ever.
    #[cfg(target_os = "linux")]
    let _ = rustix::fs::fadvise(file, 0, None, rustix::fs::Advice::Sequential);
    #[cfg(not(target_os = "linux"))]
    let _ = file;
}

fn stamp(file: &File, path: &Path) -> Result<Stamp> {
    let meta = file.metadata().map_err(|e| failed(path, &e))?;
    Ok(Stamp::of(&meta))
}

fn list_folder(root: &Path, below: &str, depth: usize, found: &mut Vec<String>) -> Result<()> {
    let folder = root.join(below);
    for entry in std::fs::read_dir(&folder).map_err(|e| failed(&folder, &e))? {
        let entry = entry.map_err(|e| failed(&folder, &e))?;
        let Ok(name) = entry.file_name().into_string() else {
            continue;
        };
        if name.starts_with('.') {
            continue;
        }
        let inside = if below.is_empty() {
            name
        } else {
            format!("{below}/{name}")
        };
        if root.join(&inside).is_dir() && depth < DEEPEST {
            list_folder(root, &inside, depth + 1, found)?;
        } else if root.join(&inside).is_file() {
            found.push(inside);
        }
        if found.len() > MOST_FILES {
            let name = root.display();
            return Err(Error::new(format!(
                "{name} holds more than {MOST_FILES} files"
            )));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    /// Long enough for a file's times to move on any clock that file systems keep.
    const TICK: Duration = Duration::from_millis(30);

    #[test]
    fn a_file_that_changes_while_it_is_hashed_is_an_error_and_is_not_learnt() {
        let table = FileTable::default();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("weights");
        // Longer, and of the same length: the first byte, which was hashed already.
        for (from, bytes) in [(SeekFrom::End(0), "more"), (SeekFrom::Start(0), "W")] {
            std::fs::write(&path, "weights").unwrap();
            let changing = |file: &mut File| {
                let identity = hash(file);
                std::thread::sleep(TICK);
                let mut other = File::options().write(true).open(&path)?;
                other.seek(from)?;
                other.write_all(bytes.as_bytes())?;
                identity
            };
            let error = table.file_by(&path, changing).unwrap_err();
            let words = format!("{} changed while it was read", path.display());
            assert_eq!(error.message(), words);
            assert_eq!(error.hint_text(), Some("run again when it is whole"));
            let now = table.file(&path).unwrap().identity();
            let wanted = blake3::hash(&std::fs::read(&path).unwrap());
            assert_eq!(now.0, *wanted.as_bytes(), "{from:?}");
        }
    }
}
