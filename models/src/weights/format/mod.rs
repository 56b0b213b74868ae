//! The kinds of file that hold tensors, told apart by their first bytes.
//!
//! Promises
//! - The name of a file decides nothing.
//! - What is no weights is named for what it is: a web page, a pointer of git-lfs.
//! - A file is believed only where its claims were held against its length.

mod safe;
#[cfg(test)]
mod tests;
mod torch;
mod zip;

pub(super) use torch::dtype_of;

use std::path::Path;

use super::file::Layout;
use crate::error::{Error, Result};

/// Where the tensors of the file at `path`, which has these `bytes` (at least one), stand.
///
/// # Errors
/// It is no file of weights, or one that contradicts itself.
pub(super) fn read(path: &Path, bytes: &[u8]) -> Result<Layout> {
    match Kind::of(bytes) {
        Kind::Safetensors => safe::read(path, bytes),
        Kind::Zip => torch::read_zip(path, bytes),
        Kind::Pickle => torch::read_stream(path, bytes),
        Kind::Other(what) => Err(Error::wrong_file(path, what)),
    }
}

/// Whether a pickle says what the file with these bytes holds.
pub(super) fn is_pickled(bytes: &[u8]) -> bool {
    matches!(Kind::of(bytes), Kind::Zip | Kind::Pickle)
}

/// What a file is.
enum Kind {
    Safetensors,
    Zip,
    Pickle,
    /// Nothing with weights; the rest of a sentence about it.
    Other(&'static str),
}

/// How a file of git-lfs begins where its content was not fetched.
const LFS: &[u8] = b"version https://git-lfs";

/// Where a tar archive says that it is one.
const TAR: (usize, &[u8]) = (257, b"ustar");

impl Kind {
    fn of(bytes: &[u8]) -> Self {
        let text = bytes.trim_ascii_start();
        if bytes.starts_with(b"PK\x03\x04") || bytes.starts_with(b"PK\x05\x06") {
            return Self::Zip;
        }
        if bytes.starts_with(LFS) {
            return Self::Other("is a pointer of git-lfs, not the weights; run `git lfs pull`");
        }
        if bytes.starts_with(b"GGUF") {
            return Self::Other("is a GGUF file, wanted safetensors or a checkpoint of PyTorch");
        }
        if bytes.starts_with(b"\x1f\x8b") {
            return Self::Other("is compressed with gzip; unpack it first");
        }
        if bytes.get(TAR.0..).is_some_and(|b| b.starts_with(TAR.1)) {
            return Self::Other(
                "is a tar archive; if PyTorch before 0.1.10 wrote it, save it again with a newer \
                 one",
            );
        }
        // A length comes first in a safetensors file; of less than 16 MiB, byte 3 is 0.
        if text.starts_with(b"<") && bytes.get(3) != Some(&0) {
            return Self::Other(
                "is a web page, not weights: it begins with `<`; fetch the file that the page \
                 links to",
            );
        }
        if text.starts_with(b"{") && bytes.get(3) != Some(&0) {
            return Self::Other(
                "is text in JSON, not weights; name a file of tensors, or the folder",
            );
        }
        // Protocols 2 to 5 begin with their number; torch.save writes 2.
        let pickle = matches!(bytes, [0x80, 0..=5, ..]) && !header_follows(bytes);
        match pickle || oldest_pickle(bytes) {
            true => Self::Pickle,
            false => Self::Safetensors,
        }
    }
}

/// Whether byte 8 opens the header of a safetensors file.
fn header_follows(bytes: &[u8]) -> bool {
    bytes.get(8) == Some(&b'{')
}

/// Whether this is a pickle of protocol 0 or 1, which has no number: it begins with a name
/// (`c`), a mark (`(`), an empty dictionary or list, and is no safetensors file.
fn oldest_pickle(bytes: &[u8]) -> bool {
    let opens = matches!(bytes[0], b'c' | b'(' | b'}' | b']' | b'i');
    opens && !header_follows(bytes) && bytes.get(3) != Some(&0)
}
