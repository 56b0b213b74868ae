//! Networks, samplers, schedules, tokenizers, weight files, training and metrics.
//!
//! Promises
//! - Knows no graph: a long loop takes a callback that answers go on or stop.
//! - Every tensor operation that costs time goes through `ldm_kernels`, so kernels
//!   can get faster without a network changing.
//! - Nothing here prints, exits, reads the environment or asks the clock.
//! - A wrong file or a wrong number is an `Err`, never a panic.
//!
//! Not here: what a node is (`ldm-nodes`), which device to use (`ldm_kernels::device`).

pub mod adapter;
pub mod autoencoder;
pub mod choice;
pub mod conditioner;
pub mod control;
pub mod error;
pub mod guidance;
pub mod inspect;
pub mod inversion;
pub mod metrics;
pub mod nn;
pub mod noise;
pub mod prediction;
pub mod prompt;
pub mod resize;
pub mod sampler;
pub mod schedule;
pub mod text;
pub mod tiles;
pub mod tokenizer;
pub mod train;
pub mod unet;
pub mod upscale;
pub mod weights;

// Programs reach these through this crate: no room above it knows the kernels.
pub use ldm_kernels::{bench, device, memory, prepare, read};
