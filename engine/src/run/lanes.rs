//! Lanes: the threads that nodes run on. A bounded pool for the CPU, one thread for the device
//! (a burn stream is a thread).

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Instant;

use crate::cache::Cache;
use crate::ctx::{Ctx, Reporter, Stop};
use crate::error::Error;
use crate::event::Event;
use crate::kind::Lane;
use crate::paths::{Writer, Written};
use crate::plan::{Bound, Plan};
use crate::run::Host;
use crate::value::{Identity, Value};

/// Work for a lane.
pub(super) enum Job {
    /// Hash the files that a node reads.
    Hash { node: usize, bound: Arc<Bound> },
    /// Run a node.
    Run(RunJob),
}

pub(super) struct RunJob {
    pub(super) node: usize,
    pub(super) bound: Arc<Bound>,
    pub(super) inputs: Vec<Vec<Value>>,
    pub(super) files: Vec<Identity>,
}

/// What a lane answers.
pub(super) enum Answer {
    Hashed {
        node: usize,
        files: Result<Vec<Identity>, Error>,
    },
    Ran {
        node: usize,
        outcome: Outcome,
        seconds: f64,
    },
    Event(Event),
}

/// How a node's `run` ended.
pub(super) enum Outcome {
    Gave {
        values: Vec<Option<Value>>,
        wrote: Vec<Written>,
    },
    Failed(Error),
    Panicked(String),
}

/// A queue that threads wait on.
#[derive(Default)]
pub(super) struct Queue {
    state: Mutex<(VecDeque<Job>, bool)>,
    moved: Condvar,
}

impl Queue {
    pub(super) fn push(&self, job: Job) {
        self.lock().0.push_back(job);
        self.moved.notify_one();
    }

    /// Lets the threads go home.
    pub(super) fn close(&self) {
        self.lock().1 = true;
        self.moved.notify_all();
    }

    fn pop(&self) -> Option<Job> {
        let mut state = self.lock();
        loop {
            if let Some(job) = state.0.pop_front() {
                return Some(job);
            }
            if state.1 {
                return None;
            }
            state = self
                .moved
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, (VecDeque<Job>, bool)> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What every thread of a run shares.
pub(super) struct Shared<'a> {
    pub(super) plan: &'a Plan,
    pub(super) host: &'a Host,
    pub(super) cache: &'a Cache,
    pub(super) writer: &'a Writer,
    pub(super) stop: Stop,
}

/// Does jobs until the queue is closed.
pub(super) fn work(shared: &Shared<'_>, queue: &Queue, answers: &Sender<Answer>) {
    while let Some(job) = queue.pop() {
        let answer = match job {
            Job::Hash { node, bound } => {
                let hash = |read: &crate::paths::Located| shared.cache.files().identity(&read.path);
                Answer::Hashed {
                    node,
                    files: bound.reads.iter().map(hash).collect(),
                }
            }
            Job::Run(job) => {
                let (node, start) = (job.node, Instant::now());
                let outcome = match shared.plan.nodes[node].kind.lane {
                    Lane::Device => shared.host.within.call(|| run(shared, job, answers)),
                    Lane::Cpu => run(shared, job, answers),
                };
                Answer::Ran {
                    node,
                    outcome,
                    seconds: start.elapsed().as_secs_f64(),
                }
            }
        };
        if answers.send(answer).is_err() {
            return;
        }
    }
}

fn run(shared: &Shared<'_>, job: RunJob, answers: &Sender<Answer>) -> Outcome {
    if shared.stop.stops(&shared.plan.nodes[job.node].name) {
        return Outcome::Failed(Error::stopped());
    }
    let recipe = || crate::recipe::recipe(shared.plan, job.node);
    let mut ctx = Ctx {
        reporter: Reporter {
            node: shared.plan.nodes[job.node].name.as_str().into(),
            events: answers.clone().into(),
            stop: shared.stop.clone(),
        },
        inputs: &job.inputs,
        reads: &job.bound.reads,
        read_identities: &job.files,
        files: shared.cache.files(),
        writer: shared.writer,
        wrote: Vec::new(),
        extensions: &shared.host.extensions,
        previews: shared.host.previews.as_deref(),
        work: shared.host.work.as_deref(),
        threads: shared.host.threads.max(1),
        recipe: &recipe,
    };
    let result = catch_unwind(AssertUnwindSafe(|| job.bound.node.run(&mut ctx)));
    match result {
        Ok(Ok(values)) => Outcome::Gave {
            values,
            wrote: ctx.wrote,
        },
        Ok(Err(error)) => Outcome::Failed(error),
        Err(panic) => Outcome::Panicked(words(panic.as_ref())),
    }
}

/// What a panic said.
fn words(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "it panicked without words".to_owned())
}

/// Sends events; kept apart so that `ctx` need not know what else the lanes answer.
#[derive(Clone)]
pub(crate) struct Events(Sender<Answer>);

impl Events {
    pub(crate) fn send(&self, event: Event) {
        // A handle may outlive its run; then nobody listens, and that is fine.
        let _ = self.0.send(Answer::Event(event));
    }
}

impl From<Sender<Answer>> for Events {
    fn from(answers: Sender<Answer>) -> Self {
        Self(answers)
    }
}

impl std::fmt::Debug for Events {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("events")
    }
}
