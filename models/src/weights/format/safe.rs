//! The header of a safetensors file.
//!
//! Promise: it is checked in whole before a tensor is read: its length against the file's,
//! each tensor's bytes against its shape and type, no overlap, no gap.

use std::path::Path;

use safetensors::{SafeTensorError, SafeTensors};

use super::super::cast::row_major;
use super::super::file::{Layout, View};
use crate::error::{Error, Result};

/// Bytes before the header, which say how long it is.
const PREAMBLE: usize = 8;

pub(super) fn read(path: &Path, bytes: &[u8]) -> Result<Layout> {
    if bytes.len() < PREAMBLE {
        return Err(not_one(path, &format!("it has {} bytes", bytes.len())));
    }
    let (length, header) =
        SafeTensors::read_metadata(bytes).map_err(|e| unsound(path, bytes, &e))?;
    let data = PREAMBLE + length;
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

fn not_one(path: &Path, why: &str) -> Error {
    let what = format!("is no whole safetensors file: {why}; fetch or save it again");
    Error::wrong_file(path, what)
}
