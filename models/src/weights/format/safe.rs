//! The header of a safetensors file.
//!
//! Promise: it is checked in whole before a tensor is read: its length against the file's,
//! each tensor's bytes against its shape and type, no overlap, no gap, no name twice.

use std::collections::BTreeSet;
use std::fmt;
use std::path::Path;

use safetensors::{SafeTensorError, SafeTensors};
use serde::Deserialize;
use serde::de::{Error as _, IgnoredAny, MapAccess, Visitor};

use super::super::file::{Layout, View};
use super::super::gather::row_major;
use crate::error::{Error, Result};

/// Bytes before the header, which say how long it is.
const PREAMBLE: usize = 8;

pub(super) fn read(path: &Path, bytes: &[u8]) -> Result<Layout> {
    if let Some(why) = no_claim(bytes) {
        let what = format!(
            "is neither a safetensors file nor a checkpoint of PyTorch, or not a whole one: {why}; \
             fetch or save it again"
        );
        return Err(Error::wrong_file(path, what));
    }
    let (length, header) =
        SafeTensors::read_metadata(bytes).map_err(|e| unsound(path, bytes, &e))?;
    let data = PREAMBLE + length;
    let twice = |e| not_one(path, &format!("its header cannot be read ({e})"));
    serde_json::from_slice::<Once>(&bytes[PREAMBLE..data]).map_err(twice)?;
    let mut layout = Layout::default();
    for name in header.offset_keys() {
        let Some(info) = header.info(&name) else {
            continue;
        };
        let view = View {
            part: 0,
            start: data + info.data_offsets.0,
            dtype: info.dtype,
            strides: row_major(&info.shape),
            shape: info.shape.clone(),
        };
        layout.views.insert(name, view);
    }
    if let Some(notes) = header.metadata() {
        layout.notes.extend(notes.clone());
    }
    Ok(layout)
}

/// A header in which each name stands once; readers differ in which of two they take.
struct Once;

impl<'de> Deserialize<'de> for Once {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_map(Names)
    }
}

struct Names;

impl<'de> Visitor<'de> for Names {
    type Value = Once;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of tensors")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Once, A::Error> {
        let mut names = BTreeSet::new();
        while let Some((name, _)) = map.next_entry::<String, IgnoredAny>()? {
            if let Some(name) = names.replace(name) {
                return Err(A::Error::custom(format!("it has two entries for `{name}`")));
            }
        }
        Ok(Once)
    }
}

/// Says which of the header's claims does not hold.
fn unsound(path: &Path, bytes: &[u8], fault: &SafeTensorError) -> Error {
    let length = bytes.len();
    let claimed = bytes.first_chunk().map_or(0, |b| u64::from_le_bytes(*b));
    let why = match fault {
        SafeTensorError::HeaderTooLarge | SafeTensorError::InvalidHeaderLength => {
            format!("its first 8 bytes claim a header of {claimed} bytes, the file has {length}")
        }
        SafeTensorError::MetadataIncompleteBuffer => {
            format!("its header describes more or fewer bytes than the {length} that are there")
        }
        SafeTensorError::InvalidOffset(name) => {
            format!("its header places `{name}` over another tensor or after a gap")
        }
        SafeTensorError::TensorInvalidInfo => {
            "its header gives a tensor bytes that do not fit its shape and type".to_owned()
        }
        SafeTensorError::ValidationOverflow => {
            "its header gives a tensor a shape no memory could hold".to_owned()
        }
        other => format!("its header cannot be read ({other})"),
    };
    not_one(path, &why)
}

/// Why nothing speaks for this format, where nothing does.
fn no_claim(bytes: &[u8]) -> Option<String> {
    let length = bytes.len();
    let Some(claim) = bytes.first_chunk().map(|claim| u64::from_le_bytes(*claim)) else {
        return Some(format!("it has {length} bytes"));
    };
    let opens = bytes.get(PREAMBLE) == Some(&b'{');
    (!opens && claim > length as u64).then(|| {
        format!("its first 8 bytes claim a header of {claim} bytes, the file has {length}")
    })
}

fn not_one(path: &Path, why: &str) -> Error {
    let what = format!("is no whole safetensors file: {why}; fetch or save it again");
    Error::wrong_file(path, what)
}
