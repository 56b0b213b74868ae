//! How nodes end that do not run to their end, and the sum of a run.

use std::time::Instant;

use crate::diagnostic::Diagnostic;
use crate::error::Error;
use crate::event::{Done, Event, NodeEvent, State};
use crate::paths::Writer;
use crate::plan::Wire;
use crate::run::Report;
use crate::run::slot::Phase;
use crate::value::Identity;

use super::Scheduler;

impl Scheduler<'_> {
    /// An optional output that a node needs turned out not to be there.
    pub(super) fn fail_absent(&mut self, node: usize) {
        let plan = self.run.plan;
        let absent = |wire: &&Wire| match wire {
            Wire::Node { node, output } => {
                let slot = &self.slots[*node];
                slot.record.is_some() && slot.output(*output).is_none()
            }
            Wire::Value(_) => false,
        };
        let found = plan.nodes[node].wires().find(absent);
        let name = found.map_or_else(|| "what it needs".to_owned(), |wire| plan.describe(wire));
        self.fail(node, &Error::new(format!("`{name}` is not there")), None);
    }

    pub(super) fn fail(&mut self, node: usize, error: &Error, seconds: Option<f64>) {
        let diagnostic = self.run.plan.nodes[node].failure(error);
        self.fail_with(node, vec![diagnostic], seconds);
    }

    pub(super) fn fail_with(&mut self, node: usize, errors: Vec<Diagnostic>, seconds: Option<f64>) {
        let because = errors.first().map(|error| error.message.clone().into());
        let name = &self.run.plan.nodes[node].name;
        let failed = NodeEvent {
            seconds,
            because,
            ..NodeEvent::new(name, State::Failed)
        };
        self.tell(failed);
        self.failures.extend(errors);
        self.slots[node].phase = Phase::Failed;
        self.end_below(node, Phase::Blocked);
    }

    pub(super) fn block(&mut self, node: usize) {
        self.end(node, Phase::Blocked);
        self.end_below(node, Phase::Blocked);
    }

    pub(super) fn cancel(&mut self, node: usize) {
        self.end(node, Phase::Cancelled);
        self.end_below(node, Phase::Cancelled);
    }

    fn end(&mut self, node: usize, phase: Phase) {
        let state = match phase {
            Phase::Blocked => State::Blocked,
            _ => State::Cancelled,
        };
        self.slots[node].phase = phase;
        let name = &self.run.plan.nodes[node].name;
        self.tell(NodeEvent::new(name, state));
    }

    /// Ends every node that waits for `node`, for its identities or for its values.
    fn end_below(&mut self, node: usize, phase: Phase) {
        let mut todo = vec![node];
        while let Some(at) = todo.pop() {
            let unknown = self.slots[at].record.is_none();
            let mut below = std::mem::take(&mut self.slots[at].waiters);
            if unknown {
                below.extend(self.run.plan.children.of(at));
            }
            for child in below {
                if matches!(self.slots[child].phase, Phase::Waiting | Phase::Wanted) {
                    self.end(child, phase);
                    todo.push(child);
                }
            }
        }
    }

    /// Unless the run was stopped, every node must have come to an end by now.
    fn name_the_forgotten(&mut self) {
        for node in 0..self.slots.len() {
            let phase = self.slots[node].phase;
            let open = matches!(
                phase,
                Phase::Waiting | Phase::Hashing | Phase::Wanted | Phase::Running
            );
            if open && !self.run.stop.is_ending() {
                let message = format!("it was left in phase {phase:?}");
                let error = Error::new(message).hint("this is a bug in ldm-graph");
                self.fail(node, &error, None);
            }
        }
    }

    pub(super) fn report(
        mut self,
        start: Instant,
        writer: &Writer,
        listen: &mut dyn FnMut(&Event),
    ) -> Report {
        self.name_the_forgotten();
        self.told.drain(..).for_each(|event| listen(&event));
        let names = self.run.plan.nodes.iter().map(|node| &*node.name);
        let plan = &self.run.plan.name;
        self.run.cache.keep_past(plan, &self.past, names);
        for message in self.run.cache.complaints() {
            listen(&Event::Warning { message });
        }
        let mut done = Done {
            seconds: start.elapsed().as_secs_f64(),
            ..Done::default()
        };
        for (slot, node) in self.slots.iter().zip(&self.run.plan.nodes) {
            let list = match slot.phase {
                Phase::Unneeded => &mut done.unneeded,
                Phase::Kept => &mut done.kept,
                Phase::Ran => &mut done.ran,
                Phase::Failed => &mut done.failed,
                Phase::Blocked => &mut done.blocked,
                _ => &mut done.cancelled,
            };
            list.push(node.name.to_string());
            let wrote = slot.record.iter().flat_map(|record| &record.wrote);
            let full = |(path, _): &(String, Identity)| writer.out().join(path);
            let full = wrote.map(full).map(|path| path.display().to_string());
            done.outputs.extend(full);
        }
        let done = Event::Done(done);
        listen(&done);
        let Event::Done(done) = done else {
            unreachable!("it was just made")
        };
        let mut report = Report {
            done,
            failures: self.failures,
            ..Report::default()
        };
        for root in &self.run.plan.roots {
            for (output, name) in &root.wanted {
                if let Some(value) = self.slots[root.node].held(*output) {
                    report.values.insert(name.clone(), value.clone());
                }
            }
        }
        report
    }
}
