//! One file on disk, read at the places that are asked for.
//!
//! Promises
//! - Reading is by position and not through a map: a file that becomes shorter meanwhile is an
//!   error, and what was read counts as no memory of this process.
//! - All reads are of the file that was opened, whatever stands under its name by then.
//!
//! Not here: what the bytes mean (`format`, `stream`).

use std::fs::File;
use std::io::{self, ErrorKind};
use std::ops::Range;
use std::path::{Path, PathBuf};

use memmap2::Mmap;

use super::file::Layout;
use super::format;
use crate::error::{Error, Result};

/// As many bytes as are hashed at a time.
const BLOCK: usize = 1 << 20;

/// An open file whose header was checked.
#[derive(Debug)]
pub(super) struct Part {
    path: PathBuf,
    file: File,
    pickled: bool,
}

impl Part {
    /// Reads and checks the header of `file`; messages call it `path`.
    ///
    /// # Errors
    /// It cannot be read, is empty, holds no weights, or contradicts itself.
    pub(super) fn of(file: &File, path: &Path) -> Result<(Self, Layout)> {
        let cannot = |source| Error::file(path, "cannot be read", source);
        if file.metadata().map_err(cannot)?.len() == 0 {
            let what = "is empty: it has 0 bytes; fetch or save it again";
            return Err(Error::wrong_file(path, what));
        }
        // SAFETY: the map is private to this process, read-only and gone when this returns.
        // Bytes that another process changes meanwhile are checked like any others; writers of
        // this project rename a new file into place and change none.
        let bytes = unsafe { Mmap::map(file) }.map_err(cannot)?;
        let part = Self {
            path: path.to_path_buf(),
            file: file.try_clone().map_err(cannot)?,
            pickled: format::is_pickled(&bytes),
        };
        Ok((part, format::read(path, &bytes)?))
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether it is a checkpoint of PyTorch.
    pub(super) fn pickled(&self) -> bool {
        self.pickled
    }

    /// The bytes from `at` on, as many as `into` takes.
    ///
    /// # Errors
    /// They cannot be read, or are there no longer.
    pub(super) fn read(&self, at: usize, into: &mut [u8]) -> Result<()> {
        read_exact_at(&self.file, into, at as u64).map_err(|source| match source.kind() {
            ErrorKind::UnexpectedEof => {
                let what = "became shorter while it was read; load it when it is written whole";
                Error::wrong_file(&self.path, what)
            }
            _ => Error::file(&self.path, "cannot be read", source),
        })
    }

    /// Tells the system that the bytes of `span` are read soon; where it has no such advice to
    /// take, or refuses it, nothing changes.
    pub(super) fn soon(&self, span: Range<usize>) {
        #[cfg(target_os = "linux")]
        if let Some(length) = std::num::NonZeroU64::new(span.len() as u64) {
            let advice = rustix::fs::Advice::WillNeed;
            rustix::fs::fadvise(&self.file, span.start as u64, Some(length), advice).ok();
        }
        #[cfg(not(target_os = "linux"))]
        let _ = span;
    }

    /// The blake3 hash of the whole file.
    ///
    /// # Errors
    /// It cannot be read.
    pub(super) fn hash(&self) -> Result<blake3::Hash> {
        let cannot = |source| Error::file(&self.path, "cannot be read", source);
        let length = self.file.metadata().map_err(cannot)?.len() as usize;
        let mut hasher = blake3::Hasher::new();
        let mut bytes = vec![0; BLOCK];
        for at in (0..length).step_by(BLOCK) {
            let bytes = &mut bytes[..BLOCK.min(length - at)];
            self.read(at, bytes)?;
            hasher.update(bytes);
        }
        Ok(hasher.finalize())
    }
}

#[cfg(unix)]
fn read_exact_at(file: &File, into: &mut [u8], at: u64) -> io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, into, at)
}

#[cfg(windows)]
fn read_exact_at(file: &File, mut into: &mut [u8], mut at: u64) -> io::Result<()> {
    while !into.is_empty() {
        match std::os::windows::fs::FileExt::seek_read(file, into, at) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(read) => {
                into = &mut into[read..];
                at += read as u64;
            }
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}
