//! Training: the loop, its optimiser, its checkpoints, and what is trained.
//!
//! ```text
//! data ── batch of step n ──> loss ──> gradients ──> AdamW ──> weights, EMA
//!                              │                                  │
//!                    autoencoder | diffusion             checkpoint, every minutes
//! ```
//!
//! Promises
//! - Step `n` sees the same batch, noise and dropout whatever came before: a loop that
//!   was killed and resumes is step by step equal to one that was not.
//! - A checkpoint is whole or absent, and says which settings it belongs to.
//! - The callback is asked at every step and may stop the loop; nothing is lost then.
//!
//! Not here: the adversarial and perceptual terms of the paper's first stages (they need
//! a discriminator and LPIPS weights), mixed precision.

mod checkpoint;
mod data;
mod draw;
mod error;
mod latents;
mod optimizer;
mod run;

pub mod autoencoder;
pub mod diffusion;

pub use data::Dataset;
pub use draw::Draw;
pub use error::{Result, TrainError};
pub use optimizer::{AdamW, AdamWSettings};
pub use run::{Schedule, Step, Trained, train};

#[cfg(test)]
mod tests;
