//! How a run is shown: sentences on the terminal, or one JSON object a line.
//!
//! Promise: a stdout that fails is told of once, by the answer of the call that met it; nothing
//! is printed after that.

use std::collections::HashSet;
use std::io;

use ldm_engine::{Event, Plan, State};
use serde::Serialize;

use crate::progress::Progress;
use crate::terminal::Terminal;
use crate::{json, run};

/// Shows runs.
pub(crate) struct Face {
    terminal: Terminal,
    /// Missing with `--json`.
    progress: Option<Progress>,
    /// What is computed on, until that was said.
    device: Option<String>,
    /// The nodes that compute.
    computing: HashSet<String>,
    failed: Option<io::Error>,
}

impl Face {
    /// Nothing shown yet.
    pub(crate) fn new(json: bool, terminal: &Terminal) -> Self {
        Self {
            terminal: terminal.clone(),
            progress: (!json).then(|| Progress::new(terminal)),
            device: None,
            computing: HashSet::new(),
            failed: None,
        }
    }

    /// What nodes will compute on: said once, when the first of them starts.
    pub(crate) fn computes_on(&mut self, device: String) {
        self.device = Some(device);
    }

    /// The plan whose run is shown from now on.
    pub(crate) fn shows(&mut self, plan: &Plan) {
        self.computing = match self.device {
            Some(_) => run::computing(plan).map(str::to_owned).collect(),
            None => HashSet::new(),
        };
    }

    /// Shows an event; the answer is whether stdout can still be written to.
    pub(crate) fn tell(&mut self, event: &Event) -> bool {
        if let Some(device) = self.starts_computing(event) {
            self.aside(|terminal| terminal.say(&format!("computing on {device}")));
        }
        self.print(|progress| match progress {
            Some(progress) => progress.tell(event),
            None => json::print(event),
        })
    }

    /// Prints `object` with `--json`, else says it in words; the answer is that of `tell`.
    pub(crate) fn say(&mut self, object: &impl Serialize, words: impl FnOnce(&Terminal)) -> bool {
        self.print(|progress| match progress {
            Some(progress) => {
                progress.aside(words);
                Ok(())
            }
            None => json::print(object),
        })
    }

    /// Says something on stderr, whatever stdout is for.
    pub(crate) fn aside(&mut self, words: impl FnOnce(&Terminal)) {
        match &mut self.progress {
            Some(progress) => progress.aside(words),
            None => words(&self.terminal),
        }
    }

    /// What went wrong with stdout, unless it was closed: that is the reader's right.
    pub(crate) fn finish(self) -> io::Result<()> {
        match self.failed {
            Some(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error),
            _ => Ok(()),
        }
    }

    /// What the first node that computes does so on, when it starts now.
    fn starts_computing(&mut self, event: &Event) -> Option<String> {
        let Event::Node(node) = event else {
            return None;
        };
        let starts = node.state == State::Running && self.computing.contains(&*node.node);
        self.device.take_if(|_| starts)
    }

    fn print(&mut self, print: impl FnOnce(Option<&mut Progress>) -> io::Result<()>) -> bool {
        if self.failed.is_none() {
            self.failed = print(self.progress.as_mut()).err();
        }
        self.failed.is_none()
    }
}
