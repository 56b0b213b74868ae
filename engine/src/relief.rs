//! Relief: what a program can do when the memory of a device runs out under a node.
//!
//! ```text
//! a node runs out of memory
//!   what rests in memory goes, if there was any, and the node tries again
//!   it goes the next of its ways, with the key of that way
//!   no way is left: it fails, and the error says what to do
//! ```
//!
//! Not here: in what ways work can be done (a kind tells them by [`Ctx::way`]), and that a
//! result is stored under the way that gave it (`run`).
//!
//! [`Ctx::way`]: crate::Ctx::way

use std::fmt::Debug;
use std::time::Instant;

use crate::error::Error;

/// What a program knows and can do about the memory of its device.
pub trait Relief: Debug + Send + Sync {
    /// The error for these words of a panic, or of an error that does not say so itself, where
    /// they say that memory ran out: libraries panic where an operation has no way to answer
    /// with an error.
    fn ran_out(&self, words: &str) -> Option<Error>;

    /// Lets go of all in the device's memory that can be made again; in words what went, if
    /// any of it had not been used `since`: only then may the same work fit now. Called on the
    /// thread that ran out, when nothing of the node is left.
    fn relieve(&self, since: Instant) -> Option<String>;
}
