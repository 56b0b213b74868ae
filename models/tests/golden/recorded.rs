//! Tensors recorded from the originals by `tests/reference/*.py`.
//!
//! Files are read with the `safetensors` crate alone, so that a fault in our own reader
//! cannot make a comparison pass.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;

use burn::tensor::{Device, Int, Tensor, TensorData};
use safetensors::{Dtype, SafeTensors};

/// One golden file, every number as f64.
pub(crate) struct Recording {
    tensors: BTreeMap<String, (Vec<usize>, Vec<f64>)>,
    meta: HashMap<String, String>,
}

impl Recording {
    /// Reads `tests/golden/<name>.safetensors`.
    pub(crate) fn open(name: &str) -> Self {
        let bytes = std::fs::read(path(name)).unwrap();
        let (_, header) = SafeTensors::read_metadata(&bytes).unwrap();
        let file = SafeTensors::deserialize(&bytes).unwrap();
        let read = |key: &str| {
            let shape = file.tensor(key).unwrap().shape().to_vec();
            (key.to_owned(), (shape, numbers(&file, key)))
        };
        Self {
            tensors: file.names().into_iter().map(read).collect(),
            meta: header.metadata().clone().unwrap(),
        }
    }

    /// The numbers of a tensor, row by row.
    pub(crate) fn get(&self, key: &str) -> &[f64] {
        &self.entry(key).1
    }

    /// A tensor of `D` dimensions, in f32.
    pub(crate) fn tensor<const D: usize>(&self, key: &str, device: &Device) -> Tensor<D> {
        let (shape, numbers) = self.entry(key);
        let numbers: Vec<f32> = numbers.iter().map(|n| *n as f32).collect();
        Tensor::from_data(TensorData::new(numbers, shape.clone()), device)
    }

    /// A tensor of `D` dimensions of whole numbers.
    pub(crate) fn integers<const D: usize>(&self, key: &str, device: &Device) -> Tensor<D, Int> {
        let (shape, numbers) = self.entry(key);
        let numbers: Vec<i64> = numbers.iter().map(|n| *n as i64).collect();
        Tensor::from_data(TensorData::new(numbers, shape.clone()), device)
    }

    /// Whole numbers.
    pub(crate) fn whole(&self, key: &str) -> Vec<i64> {
        self.get(key).iter().map(|n| *n as i64).collect()
    }

    /// Bytes that are text.
    pub(crate) fn text(&self, key: &str) -> String {
        let bytes = self.get(key).iter().map(|n| *n as u8).collect();
        String::from_utf8(bytes).unwrap()
    }

    /// Texts that were written one after another, cut at their ends.
    pub(crate) fn texts(&self) -> Vec<String> {
        let (all, mut start) = (self.text("texts"), 0);
        let ends = self.whole("text_ends");
        let text = ends.iter().map(|end| {
            let text = all[start..*end as usize].to_owned();
            start = *end as usize;
            text
        });
        text.collect()
    }

    /// Whether a tensor was recorded.
    pub(crate) fn has(&self, key: &str) -> bool {
        self.tensors.contains_key(key)
    }

    /// A tensor of `[n, …]` as its `n` rows of four dimensions, in f32.
    pub(crate) fn rows(&self, key: &str) -> Vec<Tensor<4>> {
        let (shape, numbers) = self.entry(key);
        let row = |part: &[f64]| {
            let numbers: Vec<f32> = part.iter().map(|n| *n as f32).collect();
            Tensor::from_data(
                TensorData::new(numbers, shape[1..].to_vec()),
                &Device::flex(),
            )
        };
        numbers.chunks(numbers.len() / shape[0]).map(row).collect()
    }

    /// A number of the file's metadata.
    pub(crate) fn number(&self, key: &str) -> f64 {
        self.meta[key].parse().unwrap()
    }

    /// A text of the file's metadata.
    pub(crate) fn note(&self, key: &str) -> &str {
        &self.meta[key]
    }

    /// The names of tensors, sorted.
    pub(crate) fn keys(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    fn entry(&self, key: &str) -> &(Vec<usize>, Vec<f64>) {
        let entry = self.tensors.get(key);
        entry.unwrap_or_else(|| panic!("`{key}` was not recorded"))
    }
}

/// Where `tests/golden/<name>.safetensors` stands.
pub(crate) fn path(name: &str) -> PathBuf {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/golden");
    PathBuf::from(root).join(format!("{name}.safetensors"))
}

fn numbers(file: &SafeTensors<'_>, key: &str) -> Vec<f64> {
    let tensor = file.tensor(key).unwrap();
    let data = tensor.data();
    match tensor.dtype() {
        Dtype::F64 => each(data, f64::from_le_bytes),
        Dtype::F32 => each(data, |b| f32::from_le_bytes(b).into()),
        Dtype::I64 => each(data, |b| i64::from_le_bytes(b) as f64),
        Dtype::I32 => each(data, |b| i32::from_le_bytes(b).into()),
        Dtype::U16 => each(data, |b| u16::from_le_bytes(b).into()),
        Dtype::U8 => each(data, |b| u8::from_le_bytes(b).into()),
        other => panic!("`{key}` is in {other:?}"),
    }
}

fn each<const N: usize>(data: &[u8], number: impl Fn([u8; N]) -> f64) -> Vec<f64> {
    data.as_chunks().0.iter().map(|b| number(*b)).collect()
}
