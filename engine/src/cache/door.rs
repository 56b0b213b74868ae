//! The cache's door to the file system: every call it makes, so that tests can break each.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::Path;
use std::time::SystemTime;

/// What a listing tells of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Listed {
    /// Its length in bytes.
    pub bytes: u64,
    /// When it was last used: the cache touches what it reads.
    pub used: SystemTime,
}

/// The file system as the cache sees it.
pub trait Door: Send + Sync {
    /// The first bytes of a file, at most `most`.
    ///
    /// # Errors
    /// What the file system says.
    fn read(&self, path: &Path, most: u64) -> io::Result<Vec<u8>>;

    /// Writes `parts` one after another to `beside`, a new file, and renames it to `path`.
    /// When `lasting`, the bytes are on the disk before the name is.
    ///
    /// # Errors
    /// What the file system says; `beside` may then be left.
    fn write(&self, beside: &Path, path: &Path, parts: &[&[u8]], lasting: bool) -> io::Result<()>;

    /// Makes a folder and those above it.
    ///
    /// # Errors
    /// What the file system says.
    fn make_folder(&self, path: &Path) -> io::Result<()>;

    /// Every plain file of a folder by name; none when there is no such folder.
    ///
    /// # Errors
    /// What the file system says.
    fn list(&self, folder: &Path) -> io::Result<Vec<(String, Listed)>>;

    /// What is known of a file.
    ///
    /// # Errors
    /// What the file system says.
    fn look(&self, path: &Path) -> io::Result<Listed>;

    /// Marks a file as used now.
    ///
    /// # Errors
    /// What the file system says.
    fn touch(&self, path: &Path) -> io::Result<()>;

    /// Removes a file.
    ///
    /// # Errors
    /// What the file system says.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Makes a file and holds its lock, until what is returned is dropped or the process dies.
    ///
    /// # Errors
    /// What the file system says.
    fn hold(&self, path: &Path) -> io::Result<File>;

    /// Whether a living process holds the lock of a file.
    fn is_held(&self, path: &Path) -> bool;
}

/// The file system itself.
#[derive(Debug, Clone, Copy, Default)]
pub struct Real;

impl Listed {
    fn of(meta: &fs::Metadata) -> Self {
        Self {
            bytes: meta.len(),
            used: meta.modified().unwrap_or(SystemTime::UNIX_EPOCH),
        }
    }
}

impl Door for Real {
    fn read(&self, path: &Path, most: u64) -> io::Result<Vec<u8>> {
        let file = File::open(path)?;
        let bytes = file.metadata()?.len().min(most);
        let mut read = Vec::with_capacity(usize::try_from(bytes).unwrap_or(0));
        file.take(most).read_to_end(&mut read)?;
        Ok(read)
    }

    fn write(&self, beside: &Path, path: &Path, parts: &[&[u8]], lasting: bool) -> io::Result<()> {
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(beside)?;
        let written = parts
            .iter()
            .try_for_each(|part| file.write_all(part))
            .and_then(|()| if lasting { file.sync_data() } else { Ok(()) })
            .and_then(|()| fs::rename(beside, path));
        if written.is_err() {
            // What remains is swept later.
            let _ = fs::remove_file(beside);
        }
        written
    }

    fn make_folder(&self, path: &Path) -> io::Result<()> {
        fs::create_dir_all(path)
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<(String, Listed)>> {
        let entries = match fs::read_dir(folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let mut found = Vec::new();
        for entry in entries {
            let entry = entry?;
            // A file may go between its listing and this: another process sweeps, too.
            let Ok(meta) = entry.metadata() else { continue };
            if let (true, Ok(name)) = (meta.is_file(), entry.file_name().into_string()) {
                found.push((name, Listed::of(&meta)));
            }
        }
        Ok(found)
    }

    fn look(&self, path: &Path) -> io::Result<Listed> {
        fs::metadata(path).map(|meta| Listed::of(&meta))
    }

    fn touch(&self, path: &Path) -> io::Result<()> {
        File::open(path)?.set_modified(SystemTime::now())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn hold(&self, path: &Path) -> io::Result<File> {
        let file = File::create(path)?;
        file.try_lock()?;
        Ok(file)
    }

    fn is_held(&self, path: &Path) -> bool {
        let Ok(file) = File::open(path) else {
            return false;
        };
        matches!(file.try_lock(), Err(fs::TryLockError::WouldBlock))
    }
}
