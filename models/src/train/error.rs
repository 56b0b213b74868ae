//! What can end a training loop before its last step.

use std::path::PathBuf;

use crate::error::Error as ModelError;

/// The result of this module's fallible functions.
pub type Result<T, E = TrainError> = std::result::Result<T, E>;

/// Why a loop ended early.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrainError {
    /// The callback asked for it; the state is written.
    #[error("stopped; the same command continues from here")]
    Stopped,
    /// The loss is no number any more.
    #[error("the loss is {loss} at step {step}: lower `lr`, or raise `warmup`")]
    Diverged {
        /// The step, counted from 1.
        step: u64,
        /// The loss found.
        loss: f64,
    },
    /// The folder holds the state of another training.
    #[error(
        "{} belongs to another training; give this one another folder, or delete it\n  \
         wanted {wanted}\n  found  {found}",
        path.display()
    )]
    Other {
        /// The checkpoint.
        path: PathBuf,
        /// The settings of this training.
        wanted: String,
        /// The settings found.
        found: String,
    },
    /// A text-conditional training met a picture without words.
    #[error("picture {index} has no caption; give every picture at least one")]
    NoCaption {
        /// Which picture, from 0.
        index: usize,
    },
    /// A caption that cannot be tokenised.
    #[error("caption of picture {index}: {why}")]
    Caption {
        /// Which picture, from 0.
        index: usize,
        /// What the tokenizer said.
        why: String,
    },
    /// The device failed to compute or to hand a tensor over.
    #[error("the device failed: {0}; lower `batch` if it ran out of memory")]
    Device(String),
    /// A fault of a network's configuration or of a file.
    #[error(transparent)]
    Model(#[from] ModelError),
}
