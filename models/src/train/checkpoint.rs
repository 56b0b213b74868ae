//! The state of a loop on disk: weights, moments, averages and the step.
//!
//! Promises
//! - Whole or absent: written beside and renamed.
//! - Names the settings it was made with; other settings are refused, not mixed.
//!
//! Not here: the finished model (`weights`).

use std::path::{Path, PathBuf};

use burn::tensor::{Device, Tensor, TensorData};

use super::error::{Result, TrainError};
use super::optimizer::{AdamW, Memory};
use crate::weights::{SaveAs, TensorFile, TensorWriter};

const FILE: &str = "checkpoint.safetensors";
const FINGERPRINT: &str = "fingerprint";
const STEPS: &str = "steps";

/// Where a loop keeps its state, and which loop it is.
pub(super) struct Checkpoint {
    path: PathBuf,
    fingerprint: String,
}

impl Checkpoint {
    /// The state of the loop `fingerprint` under the folder `work`.
    pub(super) fn new(work: &Path, fingerprint: &str) -> Self {
        Self {
            path: work.join(FILE),
            fingerprint: fingerprint.to_owned(),
        }
    }

    /// Writes the state of `optimizer`, which holds the weights too.
    pub(super) fn write(&self, optimizer: &AdamW) -> Result<()> {
        let mut file = TensorWriter::default();
        file.note(FINGERPRINT, &self.fingerprint);
        file.note(STEPS, &optimizer.steps.to_string());
        for (path, memory) in &optimizer.memory {
            let Memory { w, m, v, ema } = memory;
            for (part, tensor) in [("w", w), ("m", m), ("v", v), ("ema", ema)] {
                file.tensor(&format!("{part}/{path}"), tensor);
            }
        }
        Ok(file.write(&self.path, SaveAs::F32)?)
    }

    /// Fills `optimizer` when a state stands there; a first run has none.
    pub(super) fn restore(&self, optimizer: &mut AdamW, device: &Device) -> Result<()> {
        if !self.path.exists() {
            return Ok(());
        }
        let file = TensorFile::open(&self.path)?;
        let found = file.note(FINGERPRINT).unwrap_or_default().to_owned();
        if found != self.fingerprint {
            let wanted = self.fingerprint.clone();
            return Err(TrainError::Other {
                path: self.path.clone(),
                wanted,
                found,
            });
        }
        optimizer.steps = file.note(STEPS).and_then(|s| s.parse().ok()).unwrap_or(0);
        for name in file
            .names()
            .iter()
            .filter_map(|name| name.strip_prefix("w/"))
        {
            let part = |part: &str| -> Result<Tensor<1>> {
                let values = file.read(&format!("{part}/{name}"))?;
                let n = values.len();
                Ok(Tensor::from_data(TensorData::new(values, [n]), device))
            };
            let memory = Memory {
                w: part("w")?,
                m: part("m")?,
                v: part("v")?,
                ema: part("ema")?,
            };
            optimizer.memory.insert(name.to_owned(), memory);
        }
        Ok(())
    }
}
