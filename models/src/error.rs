//! What can go wrong with a model: its numbers and its files.
//!
//! Promises
//! - A message is lower case, without a full stop, names both sides (what was wanted,
//!   what was found) and ends in what to do.
//! - All faults of a file's tensors are told at once.
//!
//! Not here: faults of a graph file (`ldm-engine`), of a device (`ldm_kernels::device`).

use std::fmt;
use std::path::{Path, PathBuf};

use crate::weights::FLOATS;

/// The result of this crate's fallible functions.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A fault in a model's configuration, in its files, or in its training.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A configuration that describes no network.
    #[error("{network}: {why}")]
    Config {
        /// The network the configuration is for.
        network: &'static str,
        /// Which field, what it holds, what it should hold.
        why: String,
    },
    /// A file that cannot be used.
    #[error("{} {what}{}", path.display(), because(source.as_deref()))]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it and what to do, as the rest of a sentence.
        what: String,
        /// What the system or a library said.
        source: Option<Box<dyn std::error::Error + Send + Sync>>,
    },
    /// A weight file whose tensors are not those the network needs.
    #[error("{}: {faults}", path.display())]
    Tensors {
        /// The weight file.
        path: PathBuf,
        /// Every tensor at fault.
        faults: Box<TensorFaults>,
    },
    /// A listener said stop.
    #[error("stopped while a network was loaded")]
    Stopped,
    /// The device failed: out of memory, a launch, a read.
    #[error("the device failed: {0}")]
    Device(String),
    /// A broken invariant of this crate.
    #[error("a bug in this program: {0}")]
    Bug(&'static str),
}

impl Error {
    /// A [`Error::Config`] for `network`.
    pub fn config(network: &'static str, why: impl Into<String>) -> Self {
        let why = why.into();
        Self::Config { network, why }
    }

    /// `path` cannot be used: `what`, and the `source` that said so.
    pub fn file(
        path: &Path,
        what: impl Into<String>,
        source: impl std::error::Error + Send + Sync + 'static,
    ) -> Self {
        let (path, what) = (path.to_path_buf(), what.into());
        Self::File {
            path,
            what,
            source: Some(Box::new(source)),
        }
    }

    /// `path` was read and is not what it should be: `what`.
    pub fn wrong_file(path: &Path, what: impl Into<String>) -> Self {
        let (path, what) = (path.to_path_buf(), what.into());
        Self::File {
            path,
            what,
            source: None,
        }
    }

    /// What the device said.
    pub fn device(said: &impl fmt::Display) -> Self {
        Self::Device(said.to_string())
    }

    /// A broken invariant, where a result is at hand to say so.
    pub fn bug(what: &'static str) -> Self {
        Self::Bug(what)
    }
}

fn because(source: Option<&(dyn std::error::Error + Send + Sync)>) -> String {
    source
        .map(|source| format!(": {source}"))
        .unwrap_or_default()
}

/// Where a file's tensors and a network's parameters part ways.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TensorFaults {
    /// Tensors the network needs and the file lacks, with the shape wanted.
    pub missing: Vec<(String, Vec<usize>)>,
    /// Tensors of the file that the network has no place for, with the shape found.
    pub spare: Vec<(String, Vec<usize>)>,
    /// Tensors of another shape: name, wanted, found.
    pub misshapen: Vec<(String, Vec<usize>, Vec<usize>)>,
    /// Tensors that hold no floating-point numbers: name and the type found.
    pub mistyped: Vec<(String, String)>,
}

impl TensorFaults {
    /// Whether the file and the network agree.
    pub fn is_empty(&self) -> bool {
        self.missing.is_empty()
            && self.spare.is_empty()
            && self.misshapen.is_empty()
            && self.mistyped.is_empty()
    }
}

/// As many tensors of one fault as are spelled out before the rest is counted.
const SHOWN: usize = 8;

impl fmt::Display for TensorFaults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the tensors are not those of the network that this is taken for"
        )?;
        list(f, "misshapen", &self.misshapen, |(name, wanted, found)| {
            format!("`{name}` is {found:?}, wanted {wanted:?}")
        })?;
        list(f, "missing", &self.missing, |(name, wanted)| {
            format!("`{name}`, wanted {wanted:?}")
        })?;
        list(f, "spare", &self.spare, |(name, found)| {
            format!("`{name}` {found:?}")
        })?;
        list(f, "of a wrong type", &self.mistyped, |(name, found)| {
            format!("`{name}` holds {found}, wanted {FLOATS}")
        })?;
        write!(
            f,
            "\nuse a whole file, with the configuration that it was made with"
        )
    }
}

/// One line for the fault's name, then one a tensor.
fn list<T>(
    f: &mut fmt::Formatter<'_>,
    fault: &str,
    tensors: &[T],
    line: impl Fn(&T) -> String,
) -> fmt::Result {
    if tensors.is_empty() {
        return Ok(());
    }
    write!(f, "\n  {} {fault}:", tensors.len())?;
    for tensor in tensors.iter().take(SHOWN) {
        write!(f, "\n    {}", line(tensor))?;
    }
    match tensors.len().saturating_sub(SHOWN) {
        0 => Ok(()),
        more => write!(f, "\n    and {more} more"),
    }
}
