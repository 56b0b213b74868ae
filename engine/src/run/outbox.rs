//! The outbox: what a run tells, on its way from any thread to the caller's.
//!
//! Waking the caller costs more than a small node does. So moves of nodes that follow each other
//! closely are handed over together, a moment late at most; what a node says itself, and the
//! first move after a silence, is handed over at once.
//!
//! Promise: events are heard in the order in which they were sent.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::event::Event;

/// Longer than ten thousand moves of small nodes need to pay for a waking; no eye sees it.
const MOMENT: Duration = Duration::from_millis(2);

/// Sends events; any thread may hold one, also longer than its run.
#[derive(Clone, Default)]
pub(crate) struct Events(Arc<Outbox>);

#[derive(Default)]
struct Outbox {
    letters: Mutex<Letters>,
    moved: Condvar,
}

#[derive(Default)]
struct Letters {
    events: Vec<Event>,
    /// Whether the listener waits for the first one.
    awaited: bool,
    /// Whether one of them is not to wait for others.
    urgent: bool,
    /// Whether the run is over: nobody listens any more.
    over: bool,
}

impl Events {
    /// Tells something at once.
    pub(crate) fn send(&self, event: Event) {
        let mut letters = self.lock();
        if !letters.over {
            letters.events.push(event);
            letters.urgent = true;
            self.0.moved.notify_one();
        }
    }

    /// Tells all of `events`, soon.
    pub(super) fn send_all(&self, events: &mut Vec<Event>) {
        let mut letters = self.lock();
        letters.events.append(events);
        if letters.awaited && !letters.events.is_empty() {
            letters.awaited = false;
            self.0.moved.notify_one();
        }
    }

    /// Lets the listener go once it has heard everything.
    pub(super) fn close(&self) {
        self.lock().over = true;
        self.0.moved.notify_one();
    }

    /// Hands everything to `listen` until the run is over.
    pub(super) fn hear(&self, listen: &mut dyn FnMut(&Event)) {
        let mut events = Vec::new();
        loop {
            let over = self.collect(&mut events);
            events.drain(..).for_each(|event| listen(&event));
            if over {
                return;
            }
        }
    }

    /// Waits for events and takes them; the answer is whether they were the last.
    fn collect(&self, events: &mut Vec<Event>) -> bool {
        let moved = &self.0.moved;
        let others = |letters: &mut Letters| !letters.urgent && !letters.over;
        let waited = moved.wait_timeout_while(self.lock(), MOMENT, others);
        let mut letters = waited.unwrap_or_else(PoisonError::into_inner).0;
        letters.awaited = letters.events.is_empty();
        let nothing = |letters: &mut Letters| letters.events.is_empty() && !letters.over;
        let waited = moved.wait_while(letters, nothing);
        let mut letters = waited.unwrap_or_else(PoisonError::into_inner);
        (letters.awaited, letters.urgent) = (false, false);
        std::mem::swap(&mut letters.events, events);
        letters.over
    }

    fn lock(&self) -> MutexGuard<'_, Letters> {
        self.0
            .letters
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Events {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("events")
    }
}
