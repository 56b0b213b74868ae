//! What is told while a GPU prepares its kernels: through the node that is at work just then.
//!
//! Not here: how they are prepared and kept (`ldm_models::prepare`).

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ldm_engine::Reporter;
use ldm_models::prepare::Heard;

/// Time between two lines of how far it is.
const OFTEN: Duration = Duration::from_secs(20);

/// Counts kernels, and has nodes say so.
#[derive(Default)]
pub(crate) struct Preparing(Mutex<State>);

#[derive(Default)]
struct State {
    node: Option<Reporter>,
    kernels: u64,
    /// When that was told last, and how many there were.
    told: Option<(Instant, u64)>,
    /// Why kernels are not kept, told or not.
    refused: Option<(String, bool)>,
}

impl Preparing {
    /// The node that speaks from here on.
    pub(crate) fn at_work(&self, node: &Reporter) {
        let mut state = self.lock();
        state.node = Some(node.clone());
        state.tell();
    }

    /// A GPU prepared something, or does not keep it.
    pub(crate) fn hear(&self, heard: Heard) {
        let mut state = self.lock();
        match heard {
            Heard::Prepared => state.kernels += 1,
            Heard::NotKept(why) => drop(state.refused.get_or_insert((why, false))),
        }
        state.tell();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Says what is new, if somebody is there to say it.
    fn tell(&mut self) {
        let Some(node) = &self.node else { return };
        if let Some((why, told)) = &mut self.refused
            && !std::mem::replace(told, true)
        {
            node.note(format!("kernels are not kept for the next run: {why}"));
        }
        let words = match self.told {
            None if self.kernels > 0 && self.refused.is_some() => {
                "preparing kernels for this GPU".into()
            }
            None if self.kernels > 0 => {
                "preparing kernels for this GPU; the next run finds them in the cache folder".into()
            }
            Some((when, before)) if self.kernels > before && when.elapsed() >= OFTEN => {
                format!("{} kernels are prepared by now", self.kernels)
            }
            _ => return,
        };
        node.note(words);
        self.told = Some((Instant::now(), self.kernels));
    }
}
