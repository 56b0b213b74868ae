//! The scheduler: which node is settled, wanted, started and finished. It waits for nothing: what
//! needs a lane is laid out as a job, and whoever has done it brings the answer.

mod ending;
mod narrow;

use std::borrow::Cow;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Instant, SystemTime};

use crate::cache::{Cache, Past, Record};
use crate::diagnostic::Diagnostic;
use crate::error::Error;
use crate::event::{Event, From, NodeEvent, State};
use crate::key::KeyParts;
use crate::kind::{Lane, Nature};
use crate::literal::Lit;
use crate::paths::{Writer, Written};
use crate::plan::{Wire, bind};
use crate::value::{Identity, Storage, Value};
use crate::way::{self, Narrowings};

use super::lanes::{Answer, Closing, Job, Outcome, RunJob, Shared, Table};
use super::outbox::Events;
use super::slot::{Phase, Slot, slots};
use super::{Report, Run, stands};

/// The invariant that `settle` keeps.
const SETTLED: &str = "settled nodes are bound";

enum Task {
    Settle(usize),
    MakeAgain(usize),
}

/// What is known of every node, and what is to be done next.
pub(super) struct Scheduler<'a> {
    run: &'a Run<'a>,
    numerics: Arc<str>,
    past: Past,
    slots: Vec<Slot>,
    tasks: VecDeque<Task>,
    cpu: Waiting,
    device: Waiting,
    keeper: Option<Sender<Keep>>,
    at_work: usize,
    closed: bool,
    failures: Vec<Diagnostic>,
    told: Vec<Event>,
    narrowed: Arc<Narrowings>,
}

/// What waits on a lane.
#[derive(Default)]
struct Waiting {
    jobs: VecDeque<Job>,
    /// Threads without a job.
    idle: usize,
}

pub(super) fn go(run: &Run<'_>, listen: &mut dyn FnMut(&Event)) -> Report {
    let start = Instant::now();
    let writer = Writer::new(run.host.out.clone(), run.host.overwrite).owning(run.host.own.clone());
    listen(&Event::Plan {
        nodes: run.plan.nodes.len(),
    });
    let mut scheduler = Scheduler::new(run);
    let results = scheduler.results();
    let scheduler = std::thread::scope(|scope| {
        if let Some(results) = results {
            scope.spawn(move || keep(run.cache, &results));
        }
        // As far as results are known, no other thread is needed.
        while scheduler.step() {
            scheduler.told.drain(..).for_each(|event| listen(&event));
        }
        if !scheduler.is_over() {
            scheduler = with_lanes(scheduler, &writer, listen);
        }
        // The keeper writes what it still has, then goes home.
        scheduler.keeper = None;
        scheduler
    });
    scheduler.report(start, &writer, listen)
}

/// Goes on with a thread for every lane, this one being the listener's.
fn with_lanes<'a>(
    scheduler: Scheduler<'a>,
    writer: &'a Writer,
    listen: &mut dyn FnMut(&Event),
) -> Scheduler<'a> {
    let (run, events) = (scheduler.run, Events::default());
    let shared = Shared {
        plan: run.plan,
        host: run.host,
        cache: run.cache,
        writer,
        stop: run.stop.clone(),
        events: events.clone(),
    };
    let table = Table::new(shared, scheduler);
    std::thread::scope(|scope| {
        let _closing = Closing(&table);
        let cpu = std::iter::repeat_n(Lane::Cpu, run.host.threads.max(1));
        for lane in cpu.chain([Lane::Device]) {
            let table = &table;
            scope.spawn(move || table.work(lane));
        }
        events.hear(listen);
    });
    table.clear()
}

/// A result to be written to the cache folder.
struct Keep {
    key: Identity,
    kind: &'static str,
    record: Arc<Record>,
    values: Vec<Option<Value>>,
}

/// Seconds since 1970; only ever shown.
fn now() -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    now.map_or(0, |now| now.as_secs())
}

/// Writes results beside the run, so that no node waits for the disk.
fn keep(cache: &Cache, results: &Receiver<Keep>) {
    for result in results {
        cache.store_on_disk(&result.key, result.kind, &result.record, &result.values);
    }
}

impl<'a> Scheduler<'a> {
    fn new(run: &'a Run<'a>) -> Self {
        let slots = slots(run.plan);
        let past = run.cache.past(&run.plan.name);
        past.reserve(slots.len());
        let first = run.plan.order.iter().copied();
        let first =
            first.filter(|at| slots[*at].phase == Phase::Waiting && slots[*at].unknown == 0);
        Self {
            run,
            numerics: run.host.numerics.as_str().into(),
            past,
            tasks: first.map(Task::Settle).collect(),
            slots,
            cpu: Waiting::default(),
            device: Waiting::default(),
            keeper: None,
            at_work: 0,
            closed: false,
            failures: Vec::new(),
            told: Vec::new(),
            narrowed: Arc::default(),
        }
    }

    /// Where results for the cache folder will come out, if there is one.
    fn results(&mut self) -> Option<Receiver<Keep>> {
        self.run.cache.disk()?;
        let (keeper, results) = channel();
        self.keeper = Some(keeper);
        Some(results)
    }

    /// Does one thing that needs no lane; the answer is whether there was one.
    pub(super) fn step(&mut self) -> bool {
        match self.tasks.pop_front() {
            Some(Task::Settle(node)) => self.settle(node),
            Some(Task::MakeAgain(node)) => self.make_again(node),
            None => return false,
        }
        true
    }

    /// Whether nothing is left to do or to wait for.
    pub(super) fn is_over(&self) -> bool {
        self.closed || (self.at_work == 0 && self.tasks.is_empty())
    }

    /// Lets nothing more begin.
    pub(super) fn close(&mut self) {
        self.closed = true;
    }

    /// The jobs that wait on a lane.
    pub(super) fn jobs(&mut self, lane: Lane) -> &mut VecDeque<Job> {
        &mut self.waiting(lane).jobs
    }

    /// The number of threads on a lane that wait for a job.
    pub(super) fn idle(&mut self, lane: Lane) -> &mut usize {
        &mut self.waiting(lane).idle
    }

    fn waiting(&mut self, lane: Lane) -> &mut Waiting {
        match lane {
            Lane::Cpu => &mut self.cpu,
            Lane::Device => &mut self.device,
        }
    }

    /// What is to be told of since this was last emptied.
    pub(super) fn told(&mut self) -> &mut Vec<Event> {
        &mut self.told
    }

    fn tell(&mut self, event: NodeEvent) {
        self.told.push(Event::Node(event));
    }

    fn begin(&mut self, lane: Lane, job: Job) {
        self.at_work += 1;
        self.jobs(lane).push_back(job);
    }

    /// A job was done.
    pub(super) fn answer(&mut self, answer: Answer) {
        self.at_work -= 1;
        match answer {
            Answer::Hashed { node, files } => match files {
                Ok(files) => {
                    self.slots[node].files = files;
                    self.find(node);
                }
                Err(error) => self.fail(node, &error, None),
            },
            Answer::Ran {
                node,
                outcome,
                seconds,
            } => match outcome {
                Outcome::Gave { values, wrote } => self.finish(node, values, wrote, seconds),
                Outcome::Failed(error) if error.is_stopped() => self.cancel(node),
                Outcome::Failed(error) => self.fail(node, &error, Some(seconds)),
                Outcome::OutOfMemory { error, narrower } => match narrower {
                    Some(narrower) => self.narrow(node, narrower),
                    None => self.fail(node, &error, Some(seconds)),
                },
                Outcome::Panicked(words) => {
                    let kind = self.run.plan.nodes[node].kind.name;
                    let message = format!("{kind} panicked: {words}");
                    let error = Error::new(message).hint("this is a bug in ldm-graph");
                    self.fail(node, &error, Some(seconds));
                }
            },
        }
    }

    /// All identities that come in are known: build the node if a setting was linked, hash its
    /// files, then look for its key.
    fn settle(&mut self, node: usize) {
        if self.slots[node].phase != Phase::Waiting {
            return;
        }
        if self.run.stop.is_ending() {
            return self.cancel(node);
        }
        let planned = &self.run.plan.nodes[node];
        if self.slots[node].bound.is_none() {
            match &planned.bound {
                Some(bound) => self.slots[node].bound = Some(bound.clone()),
                None => match self.linked_literals(node) {
                    Some(linked) => match bind(planned, linked, &self.run.plan.search) {
                        Ok(bound) => self.slots[node].bound = Some(Arc::new(bound)),
                        Err(errors) => return self.fail_with(node, errors, None),
                    },
                    None => return,
                },
            }
        }
        let bound = self.slots[node].bound.clone().expect("it was just bound");
        if bound.reads.is_empty() {
            return self.find(node);
        }
        self.slots[node].phase = Phase::Hashing;
        self.begin(Lane::Cpu, Job::Hash { node, bound });
    }

    /// The values of linked settings; asks for those that are not at hand and gives nothing.
    fn linked_literals(&mut self, node: usize) -> Option<Vec<Lit>> {
        let plan = self.run.plan;
        let wires = plan.nodes[node].linked.iter().map(|(_, _, wire)| wire);
        let missing = self.fetch(node, wires.clone());
        if !missing {
            return None;
        }
        let value = |wire: &Wire| match wire {
            Wire::Value(value) => value.literal(),
            Wire::Node { node, output } => self.slots[*node].held(*output)?.literal(),
        };
        wires.map(value).collect()
    }

    /// The key is known: keep what is found, or want a run.
    fn find(&mut self, node: usize) {
        let plan = self.run.plan;
        let planned = &plan.nodes[node];
        let last = self.past.here(&planned.name);
        let last = last.filter(|last| self.is_key(node, last));
        let is_new = last.is_none();
        let Some(parts) = last.or_else(|| self.parts(node)) else {
            return self.fail_absent(node);
        };
        let key = parts.key();
        self.slots[node].parts = Some(parts);
        let Some((record, from)) = self.known(planned.kind.nature, &key) else {
            return self.want(node);
        };
        if is_new {
            self.remember(node);
        }
        self.keep(node, record, from);
    }

    /// What is known of a key, where it still holds.
    fn known(&self, nature: Nature, key: &Identity) -> Option<(Arc<Record>, From)> {
        match nature {
            Nature::Volatile => None,
            Nature::Pure => self.run.cache.find(key),
            Nature::Effect => {
                let found = self.run.cache.find(key);
                found.filter(|(record, _)| stands(self.run, record))
            }
        }
    }

    /// The result of a node is known.
    fn keep(&mut self, node: usize, record: Arc<Record>, from: From) {
        let planned = &self.run.plan.nodes[node];
        let kept = NodeEvent {
            from: Some(from),
            ..NodeEvent::new(&planned.name, State::Kept)
        };
        self.tell(kept);
        let slot = &mut self.slots[node];
        slot.phase = Phase::Kept;
        slot.record = Some(record);
        self.tell_children(node);
        self.release_parents(node);
        if self.slots[node].is_root {
            self.fetch_root(node);
        }
    }

    /// A root's values are wanted by the caller: from the cache, or by running after all.
    fn fetch_root(&mut self, node: usize) {
        let wanted = self.run.plan.roots.iter().filter(|root| root.node == node);
        let outputs: Vec<usize> = wanted
            .flat_map(|root| root.wanted.iter().map(|(output, _)| *output))
            .collect();
        for output in outputs {
            if self.slots[node].output(output).is_some() && !self.at_hand(node, output) {
                self.tasks.push_back(Task::MakeAgain(node));
            }
        }
    }

    /// A value of a node that is through was let go or evicted, and is wanted after all: the node
    /// runs again, once for all who ask.
    fn make_again(&mut self, node: usize) {
        let slot = &mut self.slots[node];
        match slot.phase {
            Phase::Kept => {
                let record = slot.record.iter();
                let outputs = record.flat_map(|record| record.outputs.iter().flatten());
                let mut outputs = outputs.peekable();
                slot.quiet = outputs.peek().is_some()
                    && outputs.all(|(_, storage)| *storage == Storage::Handle);
            }
            Phase::Ran => {}
            _ => return,
        }
        self.use_parents(node);
        self.want(node);
    }

    /// The node has to run: fetch what comes in, start when all is at hand.
    fn want(&mut self, node: usize) {
        self.slots[node].phase = Phase::Wanted;
        if self.run.stop.is_ending() {
            return self.cancel(node);
        }
        let plan = self.run.plan;
        if self.fetch(node, plan.nodes[node].wires()) {
            self.start(node);
        }
    }

    /// Whether the values on all `wires` are at hand; asks for those that are not, and `node`
    /// will hear of them.
    fn fetch<'w>(&mut self, node: usize, wires: impl Iterator<Item = &'w Wire>) -> bool {
        let mut lacking = Vec::new();
        for wire in wires {
            let Wire::Node {
                node: parent,
                output,
            } = wire
            else {
                continue;
            };
            if !self.at_hand(*parent, *output) {
                lacking.push(*parent);
            }
        }
        lacking.sort_unstable();
        lacking.dedup();
        for parent in &lacking {
            match self.slots[*parent].phase {
                Phase::Failed | Phase::Blocked => {
                    self.block(node);
                    return false;
                }
                Phase::Cancelled => {
                    self.cancel(node);
                    return false;
                }
                _ => {}
            }
        }
        self.slots[node].lacking = lacking.len();
        for parent in &lacking {
            self.slots[*parent].waiters.push(node);
            self.tasks.push_back(Task::MakeAgain(*parent));
        }
        lacking.is_empty()
    }

    /// Whether a value is held, fetching it from the cache if it can be.
    fn at_hand(&mut self, node: usize, output: usize) -> bool {
        let slot = &self.slots[node];
        if slot.held(output).is_some() {
            return true;
        }
        let Some(identity) = slot.output(output) else {
            return false;
        };
        let outputs = &self.run.plan.nodes[node].kind.outputs;
        let value = self.run.cache.value(&identity, outputs[output].data);
        let held = &mut self.slots[node].held;
        if value.is_some() {
            held.resize(outputs.len(), None);
            held[output] = value;
            return true;
        }
        false
    }

    fn start(&mut self, node: usize) {
        if self.run.stop.is_ending() {
            return self.cancel(node);
        }
        let Some(inputs) = self.values(node) else {
            return self.fail_absent(node);
        };
        self.correct_key(node, &inputs);
        if !self.slots[node].quiet {
            let running = NodeEvent {
                because: self.because(node),
                ..NodeEvent::new(&self.run.plan.nodes[node].name, State::Running)
            };
            self.tell(running);
        }
        self.launch(node, inputs);
    }

    /// Hands a node to its lane.
    fn launch(&mut self, node: usize, inputs: Vec<Value>) {
        let slot = &mut self.slots[node];
        slot.phase = Phase::Running;
        let job = RunJob {
            node,
            bound: slot.bound.clone().expect(SETTLED),
            inputs,
            files: slot.files.clone(),
            narrowed: self.narrowed.clone(),
        };
        self.begin(self.run.plan.nodes[node].kind.lane, Job::Run(job));
    }

    /// A parent that was made again may have given another identity than its record said; then
    /// this node's key is that of what it really gets.
    fn correct_key(&mut self, node: usize, inputs: &[Value]) {
        let Some(parts) = &mut self.slots[node].parts else {
            return;
        };
        let real = inputs.iter().map(Value::identity);
        if !parts.links_are(real.clone().map(Some)) {
            Arc::make_mut(parts).set_links(real.collect());
        }
    }

    /// Remembers the key's parts for the next run, and says what moved since the last.
    fn because(&self, node: usize) -> Option<Cow<'static, str>> {
        let parts = self.slots[node].parts.as_ref()?;
        let before = self.past.before(&self.run.plan.nodes[node].name);
        Some(parts.why(before.as_ref()))
    }

    /// Remembers the key's parts of a node whose result is known now: what was stopped or failed
    /// leaves the parts of the run before it.
    fn remember(&self, node: usize) {
        if let Some(parts) = &self.slots[node].parts {
            self.past.remember(&self.run.plan.nodes[node].name, parts);
        }
    }

    fn finish(
        &mut self,
        node: usize,
        values: Vec<Option<Value>>,
        wrote: Vec<Written>,
        seconds: f64,
    ) {
        self.remember(node);
        let planned = &self.run.plan.nodes[node];
        let identify = |value: &Option<Value>| value.as_ref().map(|v| (v.identity(), v.storage()));
        let record = Arc::new(Record {
            outputs: values.iter().map(identify).collect(),
            beside: wrote.iter().any(|written| written.instead_of.is_some()),
            wrote: wrote.into_iter().map(|w| (w.path, w.identity)).collect(),
            seconds,
            made: now(),
        });
        if planned.kind.nature != Nature::Volatile {
            let key = self.key(node).expect("started nodes have a key");
            if let Some(keeper) = &self.keeper {
                // The keeper is there until this scheduler is through.
                let _ = keeper.send(Keep {
                    key,
                    kind: planned.kind.name,
                    record: record.clone(),
                    values: values.clone(),
                });
            }
            self.run.cache.store(key, record.clone(), &values);
        }
        let slot = &mut self.slots[node];
        let first = slot.record.replace(record).is_none();
        slot.held = values;
        slot.phase = if slot.quiet { Phase::Kept } else { Phase::Ran };
        if !slot.quiet {
            let ran = NodeEvent {
                seconds: Some(seconds),
                ..NodeEvent::new(&planned.name, State::Ran)
            };
            self.tell(ran);
        }
        if first {
            self.tell_children(node);
        }
        self.release_parents(node);
        self.serve_waiters(node);
        self.let_go(node);
    }

    /// The values of a node are at hand: who waited for nothing else goes on.
    fn serve_waiters(&mut self, node: usize) {
        for waiter in std::mem::take(&mut self.slots[node].waiters) {
            self.slots[waiter].lacking -= 1;
            if self.slots[waiter].lacking == 0 {
                match self.slots[waiter].phase {
                    Phase::Wanted => self.start(waiter),
                    Phase::Waiting => self.tasks.push_back(Task::Settle(waiter)),
                    _ => {}
                }
            }
        }
    }

    /// The identities that a node gives are known.
    fn tell_children(&mut self, node: usize) {
        for &child in self.run.plan.children.of(node) {
            self.slots[child].unknown -= 1;
            if self.slots[child].unknown == 0 {
                self.tasks.push_back(Task::Settle(child));
            }
        }
    }

    /// A node will not ask for its parents' values any more.
    fn release_parents(&mut self, node: usize) {
        if !std::mem::replace(&mut self.slots[node].uses_parents, false) {
            return;
        }
        for &parent in self.run.plan.parents.of(node) {
            self.slots[parent].users -= 1;
            self.let_go(parent);
        }
    }

    /// A node that had let its parents go will ask for their values after all.
    fn use_parents(&mut self, node: usize) {
        if std::mem::replace(&mut self.slots[node].uses_parents, true) {
            return;
        }
        for &parent in self.run.plan.parents.of(node) {
            self.slots[parent].users += 1;
        }
    }

    /// Drops values that nobody will ask for; the cache keeps what it has room for.
    fn let_go(&mut self, node: usize) {
        let slot = &mut self.slots[node];
        if slot.users == 0 && slot.waiters.is_empty() && !slot.is_root {
            slot.held = Vec::new();
        }
    }

    /// The parts of a node's key; nothing where an output that it needs is not there.
    fn parts(&self, node: usize) -> Option<Arc<KeyParts>> {
        let (planned, slot) = (&self.run.plan.nodes[node], &self.slots[node]);
        let links = planned.of_wires(|wire| self.identity(wire))?;
        let (kind, bound) = (planned.kind.clone(), slot.bound.clone().expect(SETTLED));
        let (files, numerics) = (slot.files.clone(), self.numerics_of(node));
        Some(Arc::new(KeyParts::new(kind, bound, links, files, numerics)))
    }

    fn key(&self, node: usize) -> Option<Identity> {
        Some(self.slots[node].parts.as_ref()?.key())
    }

    /// Whether the parts of a last run's key are those of this one's, which need not be hashed
    /// again then.
    fn is_key(&self, node: usize, last: &KeyParts) -> bool {
        let slot = &self.slots[node];
        let bound = slot.bound.as_ref().expect(SETTLED);
        let wires = self.run.plan.nodes[node].wires();
        last.are_of(bound, &slot.files, &self.numerics_of(node))
            && last.links_are(wires.map(|wire| self.identity(wire)))
    }

    /// What may change the bits of a node's result.
    fn numerics_of(&self, node: usize) -> Arc<str> {
        let (planned, memory) = (&self.run.plan.nodes[node], self.run.host.memory);
        if let Some(narrower) = self.narrowed.get(&node) {
            return way::with(&self.numerics, &narrower.way);
        }
        let bound = self.slots[node].bound.as_ref().expect(SETTLED);
        way::numerics(planned, bound, &self.numerics, memory)
    }

    fn identity(&self, wire: &Wire) -> Option<Identity> {
        let (node, output) = match wire {
            Wire::Value(value) => return Some(value.identity()),
            Wire::Node { node, output } => (*node, *output),
        };
        self.slots[node].output(output)
    }

    /// What comes in on all links, port by port.
    fn values(&self, node: usize) -> Option<Vec<Value>> {
        self.run.plan.nodes[node].of_wires(|wire| match wire {
            Wire::Value(value) => Some(value.clone()),
            Wire::Node { node, output } => self.slots[*node].held(*output).cloned(),
        })
    }
}
