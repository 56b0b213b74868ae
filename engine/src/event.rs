//! What a run tells while it goes, as plain data that serialises to one JSON object each.
//!
//! `{"event":"plan","nodes":7}` comes first, `{"event":"done",…}` last, and its lists hold every
//! planned node exactly once.

use std::borrow::Cow;
use std::sync::Arc;

use serde::{Serialize, Serializer};

/// One event of a run.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "event", rename_all = "lowercase")]
pub enum Event {
    /// The run starts.
    Plan {
        /// Nodes that are planned, needed or not.
        nodes: usize,
    },
    /// A node's state moved.
    Node(NodeEvent),
    /// Weights, or anything else that a handle stands for, were read.
    Load {
        /// The node that needed them.
        node: String,
        /// What was loaded: `unet`, or a file's name.
        what: String,
        /// Bytes of memory it takes.
        bytes: u64,
        /// How long it took.
        seconds: f64,
    },
    /// A file was written, or found standing with the same bytes.
    Wrote {
        /// The node that wrote it.
        node: String,
        /// The path, output folder included.
        path: String,
        /// Whether it stood there already.
        kept: bool,
    },
    /// Something to say that is no failure: a name was taken, a size was rounded.
    Note {
        /// The node that says it.
        node: String,
        /// What it says.
        message: String,
    },
    /// Something is wrong that the run does without: the cache folder is full.
    Warning {
        /// What is wrong.
        message: String,
    },
    /// The run is over.
    Done(Done),
}

/// The state of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Started.
    Running,
    /// Made a step.
    Progress,
    /// Finished; its work was done in this run.
    Ran,
    /// Not run: its result was known.
    Kept,
    /// Went wrong.
    Failed,
    /// Stopped, or never started because the run was.
    Cancelled,
    /// Not run: something it needs failed.
    Blocked,
}

/// Where a kept result was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum From {
    /// In this process.
    Memory,
    /// In the cache folder.
    Disk,
}

/// A node's state moved.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct NodeEvent {
    /// The node's name, shared with the plan; inner nodes of parts are `hires/decode`.
    #[serde(serialize_with = "as_text")]
    pub node: Arc<str>,
    /// What it does now.
    pub state: State,
    /// Steps done, with `Progress`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub step: Option<u64>,
    /// Steps in all, with `Progress`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub steps: Option<u64>,
    /// How long it ran, with `Ran` and `Failed`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seconds: Option<f64>,
    /// Where the result was, with `Kept`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<From>,
    /// Why it runs, with `Running`; what went wrong, with `Failed`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub because: Option<Cow<'static, str>>,
}

impl NodeEvent {
    /// A bare state.
    pub fn new(node: &Arc<str>, state: State) -> Self {
        Self {
            node: node.clone(),
            state,
            step: None,
            steps: None,
            seconds: None,
            from: None,
            because: None,
        }
    }
}

/// `serde` serialises what is shared only with a feature that warns of what reading it back does.
fn as_text<S: Serializer>(text: &Arc<str>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(text)
}

/// The sum of a run; every planned node is in exactly one of the first six lists, each in the
/// order of the plan.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Done {
    /// Ran to their end.
    pub ran: Vec<String>,
    /// Not run, their results being known.
    pub kept: Vec<String>,
    /// Checked, but no root needs them.
    pub unneeded: Vec<String>,
    /// Went wrong.
    pub failed: Vec<String>,
    /// Not run because something they need failed.
    pub blocked: Vec<String>,
    /// Stopped, or never started because the run was stopped.
    pub cancelled: Vec<String>,
    /// Every file that effects wrote or kept, output folder included.
    pub outputs: Vec<String>,
    /// How long the run took.
    pub seconds: f64,
}
