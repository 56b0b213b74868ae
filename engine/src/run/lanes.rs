//! Lanes: the threads that nodes run on. A bounded pool for the CPU, one thread for the device
//! (a burn stream is a thread).
//!
//! No thread only schedules: who has done a job takes the table, moves the run on as far as that
//! job allows, and goes on with the next one. A chain of nodes so runs on one thread, and no node
//! costs the waking of another.
//!
//! Not here: what comes next (`schedule`), what is told of it (`outbox`).

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Instant;

use crate::cache::Cache;
use crate::ctx::{Ctx, Reporter, Stop};
use crate::error::Error;
use crate::kind::Lane;
use crate::paths::{Writer, Written};
use crate::plan::{Bound, Plan};
use crate::run::Host;
use crate::value::{Identity, Value};
use crate::way::{self, Narrower, Narrowings};

use super::outbox::Events;
use super::schedule::Scheduler;

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
    /// What comes in on all links, port by port.
    pub(super) inputs: Vec<Value>,
    pub(super) files: Vec<Identity>,
    pub(super) narrowed: Arc<Narrowings>,
}

/// What came of a job.
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
}

/// How a node's `run` ended.
pub(super) enum Outcome {
    Gave {
        values: Vec<Option<Value>>,
        wrote: Vec<Written>,
    },
    Failed(Error),
    /// Memory ran out; it may go the narrower way, where there is one.
    OutOfMemory {
        error: Error,
        narrower: Option<Narrower>,
    },
    Panicked(String),
}

/// What nodes and lanes need of a run.
pub(super) struct Shared<'a> {
    pub(super) plan: &'a Plan,
    pub(super) host: &'a Host,
    pub(super) cache: &'a Cache,
    pub(super) writer: &'a Writer,
    pub(super) stop: Stop,
    pub(super) events: Events,
}

/// The scheduler's table, at which one thread stands at a time.
pub(super) struct Table<'a> {
    shared: Shared<'a>,
    scheduler: Mutex<Scheduler<'a>>,
    cpu: Condvar,
    device: Condvar,
}

impl<'a> Table<'a> {
    pub(super) fn new(shared: Shared<'a>, scheduler: Scheduler<'a>) -> Self {
        Self {
            shared,
            scheduler: Mutex::new(scheduler),
            cpu: Condvar::new(),
            device: Condvar::new(),
        }
    }

    /// The scheduler back, once no thread needs it.
    pub(super) fn clear(self) -> Scheduler<'a> {
        let scheduler = self.scheduler.into_inner();
        scheduler.unwrap_or_else(PoisonError::into_inner)
    }

    /// Does the jobs of a lane until the run is over.
    pub(super) fn work(&self, lane: Lane) {
        let _closing = Closing(self);
        let mut scheduler = self.lock();
        while !scheduler.is_over() {
            let Some(job) = scheduler.jobs(lane).pop_front() else {
                *scheduler.idle(lane) += 1;
                scheduler = wait(self.lane(lane), scheduler);
                *scheduler.idle(lane) -= 1;
                continue;
            };
            drop(scheduler);
            let answer = perform(&self.shared, job);
            scheduler = self.lock();
            scheduler.answer(answer);
            while scheduler.step() {}
            self.shared.events.send_all(scheduler.told());
            self.wake(&mut scheduler, lane);
        }
    }

    /// Wakes a thread for every job but the one that this thread, of lane `own`, takes itself.
    fn wake(&self, scheduler: &mut Scheduler<'_>, own: Lane) {
        for lane in [Lane::Cpu, Lane::Device] {
            let jobs = scheduler.jobs(lane).len();
            let jobs = jobs.saturating_sub(usize::from(lane == own));
            for _ in 0..jobs.min(*scheduler.idle(lane)) {
                self.lane(lane).notify_one();
            }
        }
    }

    fn lane(&self, lane: Lane) -> &Condvar {
        match lane {
            Lane::Cpu => &self.cpu,
            Lane::Device => &self.device,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Scheduler<'a>> {
        self.scheduler
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

fn wait<'m, T>(moved: &Condvar, guard: MutexGuard<'m, T>) -> MutexGuard<'m, T> {
    moved.wait(guard).unwrap_or_else(PoisonError::into_inner)
}

/// Sends everyone home when a thread leaves the table: the run is over, or the thread panics,
/// which must not leave the others waiting.
pub(super) struct Closing<'t, 'a>(pub(super) &'t Table<'a>);

impl Drop for Closing<'_, '_> {
    fn drop(&mut self) {
        let Self(table) = self;
        table.lock().close();
        table.cpu.notify_all();
        table.device.notify_all();
        table.shared.events.close();
    }
}

fn perform(shared: &Shared<'_>, job: Job) -> Answer {
    match job {
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
                Lane::Device => shared.host.within.call(|| run(shared, job)),
                Lane::Cpu => run(shared, job),
            };
            Answer::Ran {
                node,
                outcome,
                seconds: start.elapsed().as_secs_f64(),
            }
        }
    }
}

/// Runs a node; once more when memory ran out and some of it was taken by what rested.
fn run(shared: &Shared<'_>, job: RunJob) -> Outcome {
    let start = Instant::now();
    let first = attempt(shared, &job);
    let (Outcome::OutOfMemory { .. }, Some(relief)) = (&first, &shared.host.relief) else {
        return first;
    };
    let Some(words) = relief.relieve(start) else {
        return first;
    };
    reporter(shared, job.node).note(format!("memory ran out; {words}, trying again"));
    let start = Instant::now();
    let second = attempt(shared, &job);
    if let Outcome::OutOfMemory { .. } = second {
        relief.relieve(start);
    }
    second
}

fn reporter(shared: &Shared<'_>, node: usize) -> Reporter {
    Reporter {
        node: shared.plan.nodes[node].name.clone(),
        events: shared.events.clone(),
        stop: shared.stop.clone(),
    }
}

fn attempt(shared: &Shared<'_>, job: &RunJob) -> Outcome {
    if shared.stop.stops(&shared.plan.nodes[job.node].name) {
        return Outcome::Failed(Error::stopped());
    }
    let (planned, memory) = (&shared.plan.nodes[job.node], shared.host.memory);
    let recipe = || crate::recipe::recipe(shared.plan, job.node, &job.narrowed, memory);
    let narrowed = job.narrowed.get(&job.node).map(|narrower| narrower.at);
    let mut ctx = Ctx {
        reporter: reporter(shared, job.node),
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
        way: narrowed.or_else(|| way::known(planned, &job.bound, memory)),
        memory,
        narrower: OnceLock::new(),
    };
    let result = catch_unwind(AssertUnwindSafe(|| job.bound.node.run(&mut ctx)));
    let ran_out = |words: &str| shared.host.relief.as_ref()?.ran_out(words);
    let error = match result {
        Ok(Ok(values)) => {
            return Outcome::Gave {
                values,
                wrote: ctx.wrote,
            };
        }
        Ok(Err(error)) if error.is_out_of_memory() || error.is_stopped() => error,
        Ok(Err(error)) => ran_out(error.message()).unwrap_or(error),
        Err(panic) => {
            let words = words(panic.as_ref());
            match ran_out(&words) {
                Some(error) => error,
                None => return Outcome::Panicked(words),
            }
        }
    };
    // What has written something is not begun anew.
    match error.is_out_of_memory() && ctx.wrote.is_empty() {
        true => Outcome::OutOfMemory {
            error,
            narrower: ctx.narrower.into_inner(),
        },
        false => Outcome::Failed(error),
    }
}

/// What a panic said.
fn words(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "it panicked without words".to_owned())
}
