//! The memory tier: results of this process, found again at once.
//!
//! Promises
//! - Objects keep to the byte budget; eviction is by use and cost (GreedyDual-Size): what is
//!   cheap to make again and large goes first, what was not used for long ages.
//! - Handles are in no result tier; they are remembered apart and hold no weights for the cache.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::value::{Identity, IdentityMap, Storage, Value};

/// Most records of actions in memory; each takes a few hundred bytes.
const MOST_RECORDS: usize = 1 << 20;
/// Most handles remembered.
const MOST_HANDLES: usize = 256;

/// What is known of one run of a node.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Record {
    /// Identity and storage of each output; `None` for an optional one that is not there.
    pub(crate) outputs: Vec<Option<(Identity, Storage)>>,
    /// Files written, under the output folder.
    pub(crate) wrote: Vec<(String, Identity)>,
    /// Whether a file took another name because something else stood at its own.
    pub(crate) beside: bool,
    /// What the run cost.
    pub(crate) seconds: f64,
    /// When it ended, in seconds since 1970.
    pub(crate) made: u64,
}

/// The tables of one process.
#[derive(Debug, Default)]
pub(super) struct Memory {
    budget: u64,
    actions: IdentityMap<Arc<Record>>,
    action_order: VecDeque<Identity>,
    objects: IdentityMap<Object>,
    /// Each object once, lowest first, under a priority that it has or had: use only raises them,
    /// so what comes out with the one that it has is the lowest of all.
    queue: BinaryHeap<Reverse<(Priority, Identity)>>,
    used: u64,
    /// Priority of the last eviction: what is used again starts from here.
    floor: f64,
    ticks: u64,
    handles: IdentityMap<Value>,
    handle_order: VecDeque<Identity>,
}

#[derive(Debug)]
struct Object {
    value: Value,
    bytes: u64,
    cost: f64,
    priority: Priority,
}

/// Cost by size over the floor as ordered bits, then recency.
type Priority = (u64, u64);

impl Memory {
    /// Tables whose objects may hold `budget` bytes.
    pub(super) fn new(budget: u64) -> Self {
        Self {
            budget,
            ..Self::default()
        }
    }

    /// Bytes that objects hold now.
    pub(super) fn used(&self) -> u64 {
        self.used
    }

    /// Drops every object and handle; records stay.
    pub(super) fn drop_objects(&mut self) {
        self.objects.clear();
        self.queue.clear();
        self.handles.clear();
        self.handle_order.clear();
        self.used = 0;
    }

    /// What is known of the run with that key.
    pub(super) fn record(&self, key: &Identity) -> Option<Arc<Record>> {
        self.actions.get(key).cloned()
    }

    /// The value of that identity, if kept.
    pub(super) fn value(&mut self, identity: &Identity) -> Option<Value> {
        if let Some(handle) = self.handles.get(identity) {
            return Some(handle.clone());
        }
        self.touch(identity)
    }

    /// Bytes of an object that is kept.
    pub(super) fn object(&self, identity: &Identity) -> Option<u64> {
        self.objects.get(identity).map(|object| object.bytes)
    }

    /// Keeps a value that took `seconds` to make, where it may be kept.
    pub(super) fn keep(&mut self, value: &Value, seconds: f64) {
        match value.storage() {
            Storage::Object => self.keep_object(value, seconds),
            Storage::Handle => self.keep_handle(value),
        }
    }

    /// Keeps what is known of a run.
    pub(super) fn keep_record(&mut self, key: Identity, record: Arc<Record>) {
        if self.actions.insert(key, record).is_none() {
            self.action_order.push_back(key);
        }
        while self.actions.len() > MOST_RECORDS {
            let Some(oldest) = self.action_order.pop_front() else {
                break;
            };
            self.actions.remove(&oldest);
        }
    }

    fn keep_handle(&mut self, value: &Value) {
        if self
            .handles
            .insert(value.identity(), value.clone())
            .is_none()
        {
            self.handle_order.push_back(value.identity());
        }
        while self.handles.len() > MOST_HANDLES {
            let Some(oldest) = self.handle_order.pop_front() else {
                break;
            };
            self.handles.remove(&oldest);
        }
    }

    fn keep_object(&mut self, value: &Value, cost: f64) {
        let (identity, bytes) = (value.identity(), value.bytes());
        if bytes > self.budget || self.touch(&identity).is_some() {
            return;
        }
        while self.used + bytes > self.budget && self.evict() {}
        self.ticks += 1;
        let priority = priority(self.floor, self.ticks, cost, bytes);
        self.used += bytes;
        self.queue.push(Reverse((priority, identity)));
        self.objects.insert(
            identity,
            Object {
                value: value.clone(),
                bytes,
                cost,
                priority,
            },
        );
    }

    /// Drops the object of the lowest priority; the answer is whether there was one.
    fn evict(&mut self) -> bool {
        while let Some(Reverse((priority, identity))) = self.queue.pop() {
            let now = self.objects[&identity].priority;
            if now != priority {
                self.queue.push(Reverse((now, identity)));
                continue;
            }
            self.floor = f64::from_bits(priority.0);
            let object = self.objects.remove(&identity);
            self.used -= object.map_or(0, |object| object.bytes);
            return true;
        }
        false
    }

    fn touch(&mut self, identity: &Identity) -> Option<Value> {
        let object = self.objects.get_mut(identity)?;
        self.ticks += 1;
        object.priority = priority(self.floor, self.ticks, object.cost, object.bytes);
        Some(object.value.clone())
    }
}

/// Non-negative floats order as their bits do.
#[allow(clippy::cast_precision_loss)]
fn priority(floor: f64, ticks: u64, cost: f64, bytes: u64) -> Priority {
    let worth = floor + cost.max(0.0) / bytes.max(1) as f64;
    (worth.to_bits(), ticks)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::value::Text;

    const BUDGET: u64 = 300;

    /// GreedyDual-Size told plainly: all priorities are looked at, the lowest goes.
    #[derive(Default)]
    struct Plain {
        kept: Vec<(Priority, usize)>,
        floor: f64,
        ticks: u64,
    }

    impl Plain {
        fn keep(&mut self, number: usize, cost: f64) {
            let bytes = text(number).bytes();
            let known = self.kept.iter().position(|(_, other)| *other == number);
            if let Some(at) = known {
                self.kept.remove(at);
            }
            self.kept.sort_unstable();
            while self.used() + bytes > BUDGET {
                let (lowest, _) = self.kept.remove(0);
                self.floor = f64::from_bits(lowest.0);
            }
            self.ticks += 1;
            let priority = priority(self.floor, self.ticks, cost, bytes);
            self.kept.push((priority, number));
        }

        fn used(&self) -> u64 {
            let bytes = self.kept.iter().map(|(_, number)| text(*number).bytes());
            bytes.sum()
        }
    }

    fn text(number: usize) -> Value {
        Value::new(Text("x".repeat(20 * number)))
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..Default::default() })]

        #[test]
        fn what_is_cheap_large_and_long_unused_goes_first(
            uses in prop::collection::vec(0..9_usize, 0..200),
        ) {
            let (mut memory, mut plain) = (Memory::new(BUDGET), Plain::default());
            for number in uses {
                let cost = [0.0, 2.0, 4.0, 1.0, 3.0][number % 5];
                memory.keep(&text(number), cost);
                plain.keep(number, cost);
                let kept = |number: &usize| memory.object(&text(*number).identity()).is_some();
                let mut expected: Vec<_> = plain.kept.iter().map(|(_, number)| *number).collect();
                expected.sort_unstable();
                prop_assert_eq!((0..9).filter(kept).collect::<Vec<_>>(), expected);
                prop_assert_eq!(memory.used(), plain.used());
            }
        }
    }
}
