//! Weight files: reading, writing, naming, and the manifest of a model.
//!
//! ```text
//! safetensors, checkpoint, parts ── format, pickle ── TensorFile ──┐
//! names and shapes ── detect ── config ── init (nothing made) ─────┼── load ── network
//! family of names ── KeyTable ─────────────────────────────────────┘
//! ```
//!
//! A file is read at the places that are asked for (`part`), in bands (`stream`), which are put
//! in the order that is wanted (`gather`) and the type that is wanted (`cast`) as they come.
//! `folder` finds a network's files where there are several; `manifest` is our own folder.
//!
//! Promises
//! - A file is believed only after its header was held against its length; nothing is
//!   allocated in proportion to what a header claims, and nothing in a pickle is run.
//! - All tensors that are missing, spare or misshapen are told at once.
//! - A written file is whole or absent, and the same tensors give the same bytes.
//!
//! Not here: adapters, which change weights while they are loaded (`adapter`).

mod cast;
pub mod detect;
mod file;
pub mod folder;
mod format;
mod gather;
pub mod keys;
mod load;
pub mod manifest;
mod part;
mod pickle;
mod save;
mod stream;
#[cfg(test)]
mod tests;

pub(crate) use cast::FLOATS;
pub use file::{TensorFile, content_hash};
pub use keys::{ClipNames, Family, KeyTable};
pub(crate) use load::plan;
pub use load::{
    Aim, Contents, Filling, Heard, Listen, NoPatch, Patch, Types, contents, faults, load,
};
pub use manifest::{LatentSpec, Manifest};
pub use save::{SaveAs, TensorWriter, save, write_atomically};

/// Follows the names of a module's parts: `down.0.blocks.1.res.conv1.weight`.
///
/// The variant of an enum adds no name, so that a path says where a part stands and not
/// which kind of part stands there.
#[derive(Debug, Default)]
struct Place(Vec<String>);

impl Place {
    fn enter(&mut self, name: &str, container: &str) {
        if !container.starts_with("Enum:") {
            self.0.push(name.to_owned());
        }
    }

    fn exit(&mut self, container: &str) {
        if !container.starts_with("Enum:") {
            self.0.pop();
        }
    }

    fn path(&self) -> String {
        self.0.join(".")
    }

    /// Whether this is something of that name.
    fn is_at(&self, name: &str) -> bool {
        self.0.last().is_some_and(|last| last == name)
    }
}
