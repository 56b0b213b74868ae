//! The one narrow door between a node and the world.
//!
//! A node reaches its inputs, files, outputs, progress, the device and whatever else a program
//! lends it only through here: that is what makes keys cover all that `run` can read. Random
//! numbers come from seeds, and seeds are settings.

use std::any::{Any, TypeId, type_name};
use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use crate::error::{Error, Result};
use crate::event::{Event, NodeEvent, State};
use crate::files::{FileRef, FileTable, OpenFile};
use crate::node::Port;
use crate::paths::{Located, Writer, Written};
use crate::run::Events;
use crate::setting::{ReadPath, WritePath};
use crate::value::{Identity, Value};
use crate::way::{self, Narrower, Way};

/// Asks a run to stop; cloning shares it. The first Ctrl-C calls [`Stop::stop`].
#[derive(Debug, Clone, Default)]
pub struct Stop(Arc<Asked>);

#[derive(Debug, Default)]
struct Asked {
    all: AtomicBool,
    /// Whether `but` was ever filled: asked at every step, so without a lock.
    ending: AtomicBool,
    /// Nodes that may go on to their end although the run ends.
    but: Mutex<Option<HashSet<String>>>,
}

impl Stop {
    /// A token that nobody has used yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks the run to stop at its next step.
    pub fn stop(&self) {
        self.0.all.store(true, Ordering::Relaxed);
    }

    /// Asks the run to end early: those of `nodes` that are running go on to their end, the
    /// others stop at their next step, and none starts. Asked again, only those in both sets go
    /// on; a later [`Stop::stop`] stops these, too.
    pub fn stop_all_but(&self, mut nodes: HashSet<String>) {
        let mut but = self.but();
        if let Some(before) = but.take() {
            nodes.retain(|node| before.contains(node));
        }
        *but = Some(nodes);
        self.0.ending.store(true, Ordering::Release);
    }

    /// Whether it was asked to.
    pub fn is_stopped(&self) -> bool {
        self.0.all.load(Ordering::Relaxed)
    }

    /// Whether the run starts nothing more.
    pub(crate) fn is_ending(&self) -> bool {
        self.is_stopped() || self.0.ending.load(Ordering::Acquire)
    }

    /// Whether a node that runs is to stop.
    pub(crate) fn stops(&self, node: &str) -> bool {
        let stale = || {
            let but = self.but();
            but.as_ref().is_some_and(|nodes| !nodes.contains(node))
        };
        self.is_stopped() || (self.is_ending() && stale())
    }

    fn but(&self) -> MutexGuard<'_, Option<HashSet<String>>> {
        self.0.but.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Things a program lends to its nodes, one of each type: the device, a weight pool.
#[derive(Clone, Default)]
pub struct Extensions(HashMap<TypeId, Arc<dyn Any + Send + Sync>>);

impl Extensions {
    /// Lends `value`; the one of the same type before it is taken back.
    pub fn insert<T: Send + Sync + 'static>(&mut self, value: T) {
        self.0.insert(TypeId::of::<T>(), Arc::new(value));
    }

    /// What was lent of type `T`.
    pub fn get<T: Send + Sync + 'static>(&self) -> Option<Arc<T>> {
        Arc::clone(self.0.get(&TypeId::of::<T>())?).downcast().ok()
    }
}

impl std::fmt::Debug for Extensions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} extensions", self.0.len())
    }
}

/// Tells the run's listener about one node; cloning and sending to other threads is fine.
#[derive(Debug, Clone)]
pub struct Reporter {
    pub(crate) node: Arc<str>,
    pub(crate) events: Events,
    pub(crate) stop: Stop,
}

impl Reporter {
    /// `step` of `steps` are done, counted from 1; the answer is whether to go on.
    ///
    /// # Errors
    /// `Error::stopped()` when the run was asked to stop.
    pub fn step(&self, step: u64, steps: u64) -> Result<()> {
        let event = NodeEvent {
            step: Some(step),
            steps: Some(steps),
            ..NodeEvent::new(&self.node, State::Progress)
        };
        self.send(Event::Node(event));
        self.go_on()
    }

    /// Whether to go on, without telling of progress.
    ///
    /// # Errors
    /// `Error::stopped()` when the run was asked to stop.
    pub fn go_on(&self) -> Result<()> {
        if self.stop.stops(&self.node) {
            Err(Error::stopped())
        } else {
            Ok(())
        }
    }

    /// Tells that weights were read.
    pub fn loaded(&self, what: impl Into<String>, bytes: u64, seconds: f64) {
        let node = self.node.to_string();
        self.send(Event::Load {
            node,
            what: what.into(),
            bytes,
            seconds,
        });
    }

    /// Says something to the reader that is no failure.
    pub fn note(&self, message: impl Into<String>) {
        self.send(Event::Note {
            node: self.node.to_string(),
            message: message.into(),
        });
    }

    fn send(&self, event: Event) {
        self.events.send(event);
    }
}

/// What a node's `run` may reach.
pub struct Ctx<'a> {
    pub(crate) reporter: Reporter,
    /// What came in on all links, port by port.
    pub(crate) inputs: &'a [Value],
    pub(crate) reads: &'a [Located],
    pub(crate) read_identities: &'a [Identity],
    pub(crate) files: &'a FileTable,
    pub(crate) writer: &'a Writer,
    pub(crate) wrote: Vec<Written>,
    pub(crate) extensions: &'a Extensions,
    pub(crate) previews: Option<&'a Path>,
    pub(crate) work: Option<&'a Path>,
    pub(crate) threads: usize,
    pub(crate) recipe: &'a dyn Fn() -> String,
    /// Which way the key says, where planning knew the ways or memory ran out on a better one.
    pub(crate) way: Option<usize>,
    pub(crate) memory: u64,
    /// The way to go when memory runs out on this one.
    pub(crate) narrower: OnceLock<Narrower>,
}

impl Ctx<'_> {
    /// What came in: `Arc<T>` of an `In<T>`, `Option<Arc<T>>` of an `Option<In<T>>`,
    /// `Vec<Arc<T>>` of a `Vec<In<T>>`.
    pub fn get<P: Port>(&self, port: &P) -> P::Got {
        let value = |at: &crate::node::In<P::Data>| {
            let value = self.inputs[at.link].get::<P::Data>();
            value.expect("planning checked the type of every link")
        };
        port.gather(value)
    }

    /// The identities of what came in, for handles that are made of other handles.
    pub fn identities<P: Port>(&self, port: &P) -> Vec<Identity> {
        let identity = |at: &crate::node::In<P::Data>| self.inputs[at.link].identity();
        port.ins().iter().map(identity).collect()
    }

    /// Where the file or folder is that a setting names, for messages.
    ///
    /// # Errors
    /// When the setting was not looked for: a fault of the kind.
    pub fn place(&self, path: &ReadPath) -> Result<&Path> {
        Ok(&Located::of(self.reads, path)?.path)
    }

    /// Opens a file that a setting names; its content is what the key was made of.
    ///
    /// # Errors
    /// When it cannot be read or changed since.
    pub fn open(&self, path: &ReadPath) -> Result<OpenFile> {
        self.file(path)?.open()
    }

    /// A file that a setting names, to keep in a handle and open later.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn file(&self, path: &ReadPath) -> Result<FileRef> {
        self.file_in(path, "")
    }

    /// A file inside a folder that a setting names, to keep in a handle and open later.
    ///
    /// # Errors
    /// When it cannot be read, or `inside` leaves the folder.
    pub fn file_in(&self, path: &ReadPath, inside: &str) -> Result<FileRef> {
        self.files
            .file(&Located::of(self.reads, path)?.inside(inside)?)
    }

    /// The content hash of a file or folder that a setting names, as it entered the key.
    ///
    /// # Errors
    /// When the setting was not looked for: a fault of the kind.
    pub fn content(&self, path: &ReadPath) -> Result<Identity> {
        let at = self
            .reads
            .iter()
            .position(|located| located.text == path.text());
        let found = at.and_then(|at| self.read_identities.get(at));
        found
            .copied()
            .ok_or_else(|| Error::new(format!("`{}` was not hashed", path.text())))
    }

    /// Writes file number `index` of a template under the output folder. What was written is
    /// the node's result: it is kept while these files stand.
    ///
    /// # Errors
    /// When the path leaves the folder, or the file system refuses.
    pub fn write(&mut self, path: &WritePath, index: usize, bytes: &[u8]) -> Result<&Written> {
        let name = crate::template::with_index(path.text(), index);
        let written = self.writer.write(self.name(), &name, bytes)?;
        if let Some(taken) = &written.instead_of {
            let message = format!("{taken} holds something else; wrote {}", written.path);
            self.reporter.note(message);
        }
        self.tell(written);
        Ok(self.wrote.last().expect("one was just pushed"))
    }

    /// Writes a whole folder of files under the output folder: `fill` fills an empty one, which
    /// is then renamed into place, never half-written.
    ///
    /// # Errors
    /// When the path leaves the output folder, `fill` fails, or the file system refuses.
    pub fn write_folder(
        &mut self,
        path: &WritePath,
        fill: impl FnOnce(&Path) -> Result<()>,
    ) -> Result<()> {
        let name = crate::template::with_index(path.text(), 0);
        let files = self.writer.write_folder(self.name(), &name, fill)?;
        if let Some(taken) = files.first().and_then(|file| file.instead_of.as_ref()) {
            let message = format!("{taken} holds something else; wrote beside it");
            self.reporter.note(message);
        }
        files.into_iter().for_each(|file| self.tell(file));
        Ok(())
    }

    fn tell(&mut self, written: Written) {
        let path = self.writer.out().join(&written.path).display().to_string();
        let node = self.reporter.node.to_string();
        self.reporter.send(Event::Wrote {
            node,
            path,
            kept: written.kept,
        });
        self.wrote.push(written);
    }

    /// `step` of `steps` are done, counted from 1; the answer is whether to go on.
    ///
    /// # Errors
    /// `Error::stopped()` when the run was asked to stop: return it with `?`.
    pub fn step(&mut self, step: u64, steps: u64) -> Result<()> {
        self.reporter.step(step, steps)
    }

    /// Progress, loads and notes, for code that outlives the borrow of `ctx` or runs elsewhere.
    pub fn reporter(&self) -> Reporter {
        self.reporter.clone()
    }

    /// The token by which the run is asked to stop.
    pub fn stop(&self) -> &Stop {
        &self.reporter.stop
    }

    /// What the program lends of type `T`: the device, a weight pool.
    ///
    /// # Errors
    /// When it lends none: a fault of the program.
    pub fn extension<T: Send + Sync + 'static>(&self) -> Result<Arc<T>> {
        let name = type_name::<T>();
        self.extensions
            .get()
            .ok_or_else(|| Error::new(format!("the program lends no {name}")))
    }

    /// Where previews may be put; nothing when they are not wanted.
    pub fn previews(&self) -> Option<&Path> {
        self.previews
    }

    /// The folder of the unfinished work that `of` names, the same in every run: checkpoints of
    /// a long loop. It is there when this returns. Never a reason for another result.
    ///
    /// # Errors
    /// When the program keeps no such work, or the folder cannot be made.
    pub fn work(&self, of: &[&[u8]]) -> Result<PathBuf> {
        let Some(root) = self.work else {
            return Err(Error::new("this program keeps no unfinished work"));
        };
        let folder = root.join(&Identity::of(of).to_string()[..32]);
        std::fs::create_dir_all(&folder)
            .map_err(|e| Error::new(format!("cannot make {}: {e}", folder.display())))?;
        Ok(folder)
    }

    /// CPU threads a node may use for itself. Never a reason for another result.
    pub fn threads(&self) -> usize {
        self.threads
    }

    /// The number of the way that is gone, of `ways` as `facts` tells them: what planning found,
    /// where it knew them; a later one after memory ran out. For kinds that answer
    /// [`Node::has_ways`](crate::Node::has_ways), or whose ways all take 0 bytes for all that is
    /// known: the memory of others is in no key. To be asked once.
    pub fn way(&self, ways: &[Way]) -> usize {
        let way = self.way.unwrap_or_else(|| way::fitting(ways, self.memory));
        let at = way.min(ways.len().saturating_sub(1));
        if let Some(narrower) = Narrower::after(ways, at) {
            self.narrower.get_or_init(|| narrower);
        }
        at
    }

    /// The node's name, for messages. Never a reason for another result.
    pub fn name(&self) -> &str {
        &self.reporter.node
    }

    /// The ancestors of this node and itself as a graph that runs: what a picture carries.
    /// No absolute path, no date.
    pub fn recipe(&self) -> String {
        (self.recipe)()
    }
}
