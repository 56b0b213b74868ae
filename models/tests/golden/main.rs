//! What we compute, held to what others computed: the tensors in `tests/golden`.
//!
//! The scripts in `tests/reference` say how each was recorded, from whose code, and what the
//! files hold. Nothing here writes them.

#![allow(clippy::unwrap_used)] // A test may unwrap, and so may its helpers.

mod adapters;
mod autoencoders;
mod checkpoints;
mod conditioning;
mod control;
mod guidance;
mod networks;
mod page;
mod prompts;
mod recorded;
mod samplers;
mod schedules;
mod text;
mod tokens;
mod unets;
mod upscale;
mod walks;
