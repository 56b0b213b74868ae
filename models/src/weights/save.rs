//! From a network's parameters to a file.
//!
//! Promises
//! - Written beside its place and renamed into it: whole or absent.
//! - The same tensors and notes give the same bytes: names and notes are sorted.
//! - One tensor is on the host at a time.

use std::collections::BTreeMap;
use std::io::{BufWriter, Write};
use std::path::Path;

use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::Tensor;
use half::f16;
use serde_json::{Map, Value, json};

use super::Place;
use crate::error::{Error, Result};

/// The type that numbers are written as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SaveAs {
    /// Four bytes, nothing lost.
    F32,
    /// Two bytes, rounded to the nearest.
    F16,
}

impl SaveAs {
    fn name(self) -> &'static str {
        match self {
            Self::F32 => "F32",
            Self::F16 => "F16",
        }
    }

    fn size(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 => 2,
        }
    }
}

/// Writes `network` to `path` under its own names (`Family::Native`).
///
/// # Errors
/// The folder is not there or not writable; a number too large for `as_type`.
pub fn save<M: Module>(network: &M, path: &Path, as_type: SaveAs) -> Result<()> {
    let mut writer = TensorWriter::default();
    writer.add("", network);
    writer.write(path, as_type)
}

/// Gathers the tensors of one file.
#[derive(Debug, Default)]
pub struct TensorWriter {
    tensors: BTreeMap<String, (Vec<usize>, Tensor<1>)>,
    notes: BTreeMap<String, String>,
}

impl TensorWriter {
    /// Adds all parameters of `network`, their names behind `prefix`.
    pub fn add<M: Module>(&mut self, prefix: &str, network: &M) {
        let place = Place::default();
        network.visit(&mut Gather {
            place,
            prefix,
            tensors: &mut self.tensors,
        });
    }

    /// Adds one tensor.
    pub fn tensor<const D: usize>(&mut self, name: &str, tensor: &Tensor<D>) {
        let shape = tensor.dims();
        let flat = tensor.clone().reshape([shape.iter().product::<usize>()]);
        self.tensors.insert(name.to_owned(), (shape.to_vec(), flat));
    }

    /// Adds a note to the header.
    pub fn note(&mut self, key: &str, value: &str) {
        self.notes.insert(key.to_owned(), value.to_owned());
    }

    /// Writes everything that was added to `path`.
    ///
    /// # Errors
    /// The folder is not there or not writable; a number too large for `as_type`; the
    /// device failed.
    pub fn write(self, path: &Path, as_type: SaveAs) -> Result<()> {
        let header = self.header(as_type);
        replace(path, |out| {
            let cannot = |source| Error::file(path, "cannot be written", source);
            out.write_all(&(header.len() as u64).to_le_bytes())
                .map_err(cannot)?;
            out.write_all(header.as_bytes()).map_err(cannot)?;
            for (name, (_, tensor)) in self.tensors {
                let bytes = encode(path, &name, tensor, as_type)?;
                out.write_all(&bytes).map_err(cannot)?;
            }
            Ok(())
        })
    }

    fn header(&self, as_type: SaveAs) -> String {
        let mut header = Map::new();
        if !self.notes.is_empty() {
            header.insert("__metadata__".to_owned(), json!(self.notes));
        }
        let mut start = 0;
        for (name, (shape, _)) in &self.tensors {
            let end = start + shape.iter().product::<usize>() * as_type.size();
            let entry = json!({
                "dtype": as_type.name(), "shape": shape, "data_offsets": [start, end],
            });
            header.insert(name.clone(), entry);
            start = end;
        }
        let mut header = Value::Object(header).to_string();
        // Spaces bring the tensors to a multiple of 8, where any reader may cast them.
        header.extend(std::iter::repeat_n(
            ' ',
            header.len().next_multiple_of(8) - header.len(),
        ));
        header
    }
}

struct Gather<'a> {
    place: Place,
    prefix: &'a str,
    tensors: &'a mut BTreeMap<String, (Vec<usize>, Tensor<1>)>,
}

impl ModuleVisitor for Gather<'_> {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.place.enter(name, container);
    }

    fn exit_module(&mut self, _: &str, container: &str) {
        self.place.exit(container);
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let name = format!("{}{}", self.prefix, self.place.path());
        let tensor = param.val();
        let shape = tensor.dims();
        let flat = tensor.reshape([shape.iter().product::<usize>()]);
        self.tensors.insert(name, (shape.to_vec(), flat));
    }
}

fn encode(path: &Path, name: &str, tensor: Tensor<1>, as_type: SaveAs) -> Result<Vec<u8>> {
    let data = tensor
        .try_into_data()
        .map_err(|e| Error::device(&e))?
        .convert::<f32>();
    let numbers = data
        .as_slice::<f32>()
        .map_err(|_| Error::bug("f32 that are not f32"))?;
    match as_type {
        SaveAs::F32 => Ok(numbers.iter().flat_map(|x| x.to_le_bytes()).collect()),
        SaveAs::F16 => {
            let small = |x: &f32| f16::from_f32(*x).is_finite() || !x.is_finite();
            match numbers.iter().find(|x| !small(x)) {
                Some(large) => Err(Error::wrong_file(
                    path,
                    format!("cannot be written as f16: `{name}` holds {large}; save as f32"),
                )),
                None => Ok(numbers
                    .iter()
                    .flat_map(|x| f16::from_f32(*x).to_le_bytes())
                    .collect()),
            }
        }
    }
}

/// Writes `bytes` to `path`, which is whole or as it was at any instant.
///
/// # Errors
/// The folder is not there or not writable.
pub fn write_atomically(path: &Path, bytes: &[u8]) -> Result<()> {
    replace(path, |out| {
        out.write_all(bytes)
            .map_err(|source| Error::file(path, "cannot be written", source))
    })
}

/// Fills a file beside `path`, then renames it into place.
fn replace(path: &Path, fill: impl FnOnce(&mut dyn Write) -> Result<()>) -> Result<()> {
    let cannot = |source| Error::file(path, "cannot be written", source);
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let mut builder = tempfile::Builder::new();
    builder.prefix(".writing-").suffix(".tmp");
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666)); // less the umask
    let beside = builder.tempfile_in(folder).map_err(cannot)?;
    let mut out = BufWriter::with_capacity(1 << 20, beside.as_file());
    fill(&mut out)?;
    out.flush().map_err(cannot)?;
    drop(out);
    beside.as_file().sync_all().map_err(cannot)?;
    beside.persist(path).map_err(|e| cannot(e.error))?;
    Ok(())
}
