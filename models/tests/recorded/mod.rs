//! Tensors recorded from the originals by `tests/reference/*.py`.

use std::collections::{BTreeMap, HashMap};

use safetensors::{Dtype, SafeTensors};

/// One golden file, every number as f64.
pub(crate) struct Recording {
    tensors: BTreeMap<String, Vec<f64>>,
    meta: HashMap<String, String>,
}

impl Recording {
    /// Reads `tests/golden/<name>.safetensors`.
    pub(crate) fn open(name: &str) -> Self {
        let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/golden");
        let bytes = std::fs::read(format!("{root}/{name}.safetensors")).unwrap();
        let (_, header) = SafeTensors::read_metadata(&bytes).unwrap();
        let file = SafeTensors::deserialize(&bytes).unwrap();
        let read = |key: &str| (key.to_owned(), numbers(&file, key));
        Self {
            tensors: file.names().into_iter().map(read).collect(),
            meta: header.metadata().clone().unwrap(),
        }
    }

    /// The numbers of a tensor, row by row.
    pub(crate) fn get(&self, key: &str) -> &[f64] {
        self.tensors
            .get(key)
            .unwrap_or_else(|| panic!("`{key}` was not recorded"))
    }

    /// A number of the file's metadata.
    pub(crate) fn number(&self, key: &str) -> f64 {
        self.meta[key].parse().unwrap()
    }

    /// The names of tensors, sorted.
    pub(crate) fn keys(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }
}

fn numbers(file: &SafeTensors<'_>, key: &str) -> Vec<f64> {
    let tensor = file.tensor(key).unwrap();
    let data = tensor.data();
    match tensor.dtype() {
        Dtype::F64 => data
            .as_chunks()
            .0
            .iter()
            .map(|b| f64::from_le_bytes(*b))
            .collect(),
        Dtype::F32 => data
            .as_chunks()
            .0
            .iter()
            .map(|b| f32::from_le_bytes(*b).into())
            .collect(),
        Dtype::I64 => data
            .as_chunks()
            .0
            .iter()
            .map(|b| i64::from_le_bytes(*b) as f64)
            .collect(),
        other => panic!("`{key}` is in {other:?}"),
    }
}
