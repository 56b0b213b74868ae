//! Facts: what is known of a value before it exists.
//!
//! A node library has its own fact types (a latent's channels and scale, a model's widths). They
//! travel along the links while planning, so that a wrong pairing is an error with a place and
//! not a wrong picture. The engine carries them and knows none.
//!
//! Promise: planning reads what `facts` opens and nothing else; it hashes nothing.

use std::any::{Any, TypeId};
use std::path::Path;
use std::sync::Arc;

use crate::error::Result;
use crate::files::OpenFile;
use crate::kind::Kind;
use crate::node::{In, Port};
use crate::paths::Located;
use crate::setting::ReadPath;
use crate::value::Data;
use crate::way::Way;

/// Facts of one output, at most one of each type.
#[derive(Clone, Default)]
pub struct FactSet {
    facts: Vec<(TypeId, Arc<dyn Any + Send + Sync>)>,
    /// Why this output will not be there, where planning found that; in words, or none.
    pub(crate) absent: Option<String>,
}

impl FactSet {
    /// The fact of type `F`, if known.
    pub fn get<F: Send + Sync + 'static>(&self) -> Option<Arc<F>> {
        let (_, fact) = self.facts.iter().find(|(id, _)| *id == TypeId::of::<F>())?;
        Arc::clone(fact).downcast().ok()
    }

    fn put<F: Send + Sync + 'static>(&mut self, fact: F) {
        let id = TypeId::of::<F>();
        self.facts.retain(|(known, _)| *known != id);
        self.facts.push((id, Arc::new(fact)));
    }
}

impl std::fmt::Debug for FactSet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} facts", self.facts.len())
    }
}

/// What a kind's `facts` sees and gives.
pub struct Facts<'a> {
    pub(crate) kind: &'a Kind,
    /// Facts on all links, port by port.
    pub(crate) inputs: &'a [FactSet],
    pub(crate) outputs: Vec<FactSet>,
    pub(crate) reads: &'a [Located],
    pub(crate) ways: Vec<Way>,
}

impl Facts<'_> {
    /// The fact of type `F` on a port, if the port is linked and the fact known.
    ///
    /// ```ignore
    /// if let Some(latent) = facts.of::<LatentFacts, _>(&self.latent) { … }
    /// ```
    pub fn of<F: Send + Sync + 'static, T: Data>(&self, port: &In<T>) -> Option<Arc<F>> {
        self.inputs.get(port.link)?.get()
    }

    /// The facts of type `F` on every link of a port, in order; unknown ones are `None`.
    pub fn all<F: Send + Sync + 'static, P: Port>(&self, port: &P) -> Vec<Option<Arc<F>>> {
        port.ins().iter().map(|one| self.of(one)).collect()
    }

    /// States a fact of the first output.
    pub fn give<F: Send + Sync + 'static>(&mut self, fact: F) {
        if let Some(first) = self.outputs.first_mut() {
            first.put(fact);
        }
    }

    /// States a fact of the output of that name.
    ///
    /// # Panics
    /// When the kind has no such output: a fault of the kind.
    pub fn give_on<F: Send + Sync + 'static>(&mut self, output: &str, fact: F) {
        self.output(output).put(fact);
    }

    /// States that an optional output will not be there, so that links to it are errors.
    ///
    /// # Panics
    /// When the kind has no such output: a fault of the kind.
    pub fn absent(&mut self, output: &str) {
        self.absent_because(output, "");
    }

    /// The same, and why: what links to the output are told, with what to do.
    ///
    /// # Panics
    /// When the kind has no such output: a fault of the kind.
    pub fn absent_because(&mut self, output: &str, why: impl Into<String>) {
        self.output(output).absent = Some(why.into());
    }

    /// States in what ways the work can be done, the best first: a run goes the first that its
    /// host's memory holds, else the last.
    pub fn ways(&mut self, ways: Vec<Way>) {
        self.ways = ways;
    }

    fn output(&mut self, name: &str) -> &mut FactSet {
        let at = self.kind.outputs.iter().position(|info| info.name == name);
        &mut self.outputs[at.expect("a kind names its own outputs")]
    }

    /// Where the file or folder is that a setting names, for messages.
    ///
    /// # Errors
    /// When the setting was not looked for: a fault of the kind.
    pub fn place(&self, path: &ReadPath) -> Result<&Path> {
        Ok(&Located::of(self.reads, path)?.path)
    }

    /// Opens a file that a setting names, to read its header.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn open(&self, path: &ReadPath) -> Result<OpenFile> {
        Located::of(self.reads, path)?.open("")
    }

    /// Opens a file inside a folder that a setting names.
    ///
    /// # Errors
    /// When it cannot be opened, or `inside` leaves the folder.
    pub fn open_in(&self, path: &ReadPath, inside: &str) -> Result<OpenFile> {
        Located::of(self.reads, path)?.open(inside)
    }

    /// Whether a setting names a folder.
    pub fn is_folder(&self, path: &ReadPath) -> bool {
        Located::of(self.reads, path).is_ok_and(|located| located.path.is_dir())
    }
}
