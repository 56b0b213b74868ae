//! A node whose device ran out of memory goes on in a way that takes less.

use std::sync::Arc;

use crate::event::Event;
use crate::way::Narrower;

use super::Scheduler;

impl Scheduler<'_> {
    /// From here on the node's key is that of the narrower way, and so is what is known of it.
    pub(super) fn narrow(&mut self, node: usize, narrower: Narrower) {
        if self.run.stop.is_ending() {
            return self.cancel(node);
        }
        let planned = &self.run.plan.nodes[node];
        self.told.push(Event::Note {
            node: planned.name.to_string(),
            message: format!("memory ran out; going on {}", narrower.way.words),
        });
        Arc::make_mut(&mut self.narrowed).insert(node, narrower);
        let (Some(inputs), Some(parts)) = (self.values(node), self.parts(node)) else {
            return self.fail_absent(node);
        };
        let slot = &mut self.slots[node];
        slot.parts = Some(parts);
        // Who waits for the values of a result that is known already waits for them still.
        let is_new = slot.record.is_none();
        self.correct_key(node, &inputs);
        let known = self.key(node).filter(|_| is_new);
        match known.and_then(|key| self.known(planned.kind.nature, &key)) {
            Some((record, from)) => {
                self.remember(node);
                self.keep(node, record, from);
            }
            None => self.launch(node, inputs),
        }
    }
}
