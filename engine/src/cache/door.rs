//! The cache's door to the file system: every call it makes, so that tests can break each.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Seek, Write};
use std::path::Path;
use std::time::SystemTime;

/// What is known of a file without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Listed {
    /// Its length in bytes.
    pub bytes: u64,
    /// When it was last used: the cache touches what it reads.
    pub used: SystemTime,
}

/// A file being read.
pub trait Reading: Read + Send {
    /// What is known of it.
    ///
    /// # Errors
    /// What the file system says.
    fn look(&self) -> io::Result<Listed>;

    /// Marks it as used now.
    ///
    /// # Errors
    /// What the file system says.
    fn touch(&self) -> io::Result<()>;
}

/// A file being written.
pub trait Writing: Write + Seek + Send {
    /// Waits until the disk has all of it.
    ///
    /// # Errors
    /// What the file system says.
    fn sync(&mut self) -> io::Result<()>;
}

/// The file system as the cache sees it. Every call answers what the file system says.
#[allow(clippy::missing_errors_doc)]
pub trait Door: Send + Sync {
    /// Opens a file to read it.
    fn open(&self, path: &Path) -> io::Result<Box<dyn Reading>>;

    /// Makes a file to write it; it is not there yet.
    fn create(&self, path: &Path) -> io::Result<Box<dyn Writing>>;

    /// Gives a file another name, in place of what has that name.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Makes a folder and those above it.
    fn make_folder(&self, path: &Path) -> io::Result<()>;

    /// Every plain file of a folder by name; none when there is no folder of that name.
    fn list(&self, folder: &Path) -> io::Result<Vec<(String, Listed)>>;

    /// Removes a file.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Makes a file and holds its lock, until what is returned is dropped or the process dies.
    fn hold(&self, path: &Path) -> io::Result<File>;

    /// The lock of a file that no living process holds; nothing when one does, or when there is
    /// no such file.
    fn seize(&self, path: &Path) -> Option<File>;
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

impl Reading for File {
    fn look(&self) -> io::Result<Listed> {
        self.metadata().map(|meta| Listed::of(&meta))
    }

    fn touch(&self) -> io::Result<()> {
        self.set_modified(SystemTime::now())
    }
}

impl Writing for File {
    fn sync(&mut self) -> io::Result<()> {
        self.sync_data()
    }
}

impl Door for Real {
    fn open(&self, path: &Path) -> io::Result<Box<dyn Reading>> {
        Ok(Box::new(File::open(path)?))
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn Writing>> {
        let file = OpenOptions::new().write(true).create_new(true).open(path)?;
        Ok(Box::new(file))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn make_folder(&self, path: &Path) -> io::Result<()> {
        fs::create_dir_all(path)
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<(String, Listed)>> {
        let entries = match fs::read_dir(folder) {
            Ok(entries) => entries,
            // A file where the folder should be holds no entries either.
            Err(error)
                if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) =>
            {
                return Ok(Vec::new());
            }
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

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn hold(&self, path: &Path) -> io::Result<File> {
        let file = File::create(path)?;
        file.try_lock()?;
        // Who sweeps holds the lock of what it removes: now it is there to stay, or gone.
        path.metadata().map(|_| file)
    }

    fn seize(&self, path: &Path) -> Option<File> {
        let file = File::open(path).ok()?;
        file.try_lock().ok().map(|()| file)
    }
}
