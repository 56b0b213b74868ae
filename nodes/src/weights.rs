//! The weights in memory: read on first use, shared between nodes, dropped under a budget.
//!
//! Promises
//! - The same weights are held once, however many nodes use them.
//! - What is held keeps to the budget: the least recently used goes first, and what a node
//!   is using does not go. A network that cannot fit is an error that says so.
//! - Work that says what it takes finds that much of the budget left, as far as networks rest.
//! - Where a device's memory ran out all that rests goes, and what was read for the work that
//!   failed: it may be half written.
//!
//! Not here: results (the engine's cache), which weights there are (`values`).

use std::any::Any;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use ldm_engine::{Error, Identity, Result};

/// Networks with their weights, most recently used last.
pub struct Weights {
    budget: u64,
    held: Mutex<Vec<Held>>,
}

struct Held {
    identity: Identity,
    bytes: u64,
    used: Instant,
    network: Arc<dyn Any + Send + Sync>,
}

impl Weights {
    /// A pool of at most `budget` bytes.
    pub fn new(budget: u64) -> Self {
        Self {
            budget,
            held: Mutex::default(),
        }
    }

    /// Bytes of weights held.
    pub fn bytes(&self) -> u64 {
        total(&self.lock())
    }

    /// The network called `identity`, if it is held.
    pub fn held<N: Send + Sync + 'static>(&self, identity: Identity) -> Option<Arc<N>> {
        find(&mut self.lock(), identity)
    }

    /// The network called `identity`: the one that is held, or what `read` gives, which takes
    /// `bytes`; `loaded` hears how many seconds that took. Readers wait for each other, so that
    /// nothing is read twice.
    ///
    /// # Errors
    /// When it is larger than the budget leaves room for, or `read` fails.
    pub fn get<N: Send + Sync + 'static>(
        &self,
        (identity, name, bytes): (Identity, &str, u64),
        loaded: impl FnOnce(f64),
        read: impl FnOnce() -> Result<N>,
    ) -> Result<Arc<N>> {
        let mut held = self.lock();
        if let Some(network) = find(&mut held, identity) {
            return Ok(network);
        }
        self.make_room(&mut held, name, bytes)?;
        let start = Instant::now();
        let network = Arc::new(read()?);
        loaded(start.elapsed().as_secs_f64());
        held.push(Held {
            identity,
            bytes,
            used: Instant::now(),
            network: network.clone(),
        });
        Ok(network)
    }

    /// Drops all that no node is using; the answer is how many bytes of it had not been used
    /// `since`.
    pub fn clear(&self, since: Instant) -> u64 {
        let mut held = self.lock();
        let idle: Vec<usize> = idle(&held).map(|(at, _)| at).collect();
        let dropped = idle.into_iter().rev().map(|at| held.remove(at));
        let rested = dropped.filter(|one| one.used < since);
        rested.map(|one| one.bytes).sum()
    }

    /// Drops what no node is using, least recently used first, until so much of the budget is
    /// left that activations of `bytes` and the networks at work fit into it, or nothing more can
    /// go. Those in use count as part of `bytes`.
    pub fn leave(&self, bytes: u64) {
        let mut held = self.lock();
        while idle(&held).map(|(_, bytes)| bytes).sum::<u64>() > self.budget.saturating_sub(bytes) {
            let (first, _) = idle(&held).next().expect("only what is idle was counted");
            held.remove(first);
        }
    }

    fn make_room(&self, held: &mut Vec<Held>, name: &str, bytes: u64) -> Result<()> {
        while total(held) + bytes > self.budget {
            let Some((first, _)) = idle(held).next() else {
                let (budget, used) = (mebibytes(self.budget), mebibytes(total(held)));
                let wanted = mebibytes(bytes);
                let message = format!(
                    "{name} takes {wanted}, but {budget} are allowed and {used} are in use"
                );
                return Err(Error::new(message).hint("raise `--memory`, or use `--dtype f16`"));
            };
            held.remove(first);
        }
        Ok(())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Held>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The network called `identity`, which counts as used now.
fn find<N: Send + Sync + 'static>(held: &mut Vec<Held>, identity: Identity) -> Option<Arc<N>> {
    let at = held.iter().position(|one| one.identity == identity)?;
    let mut found = held.remove(at);
    found.used = Instant::now();
    let network = Arc::clone(&found.network).downcast().ok();
    held.push(found);
    network
}

/// The networks that no node is using, by place, and their bytes.
fn idle(held: &[Held]) -> impl Iterator<Item = (usize, u64)> {
    let idle = |(_, one): &(usize, &Held)| Arc::strong_count(&one.network) == 1;
    let all = held.iter().enumerate().filter(idle);
    all.map(|(at, one)| (at, one.bytes))
}

fn total(held: &[Held]) -> u64 {
    held.iter().map(|one| one.bytes).sum()
}

pub(crate) fn mebibytes(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Asks for network `name` of `bytes`; the answer is the network and whether it was read.
    fn ask(pool: &Weights, name: &str, bytes: u64) -> Result<(Arc<String>, bool)> {
        let identity = Identity::of(&[name.as_bytes()]);
        let mut read = false;
        let network = pool.get(
            (identity, name, bytes),
            |_| (),
            || {
                read = true;
                Ok(name.to_owned())
            },
        )?;
        Ok((network, read))
    }

    #[test]
    fn the_same_weights_are_read_once_and_counted_once() {
        let pool = Weights::new(10);
        let (first, read) = ask(&pool, "a", 4).unwrap();
        let (second, again) = ask(&pool, "a", 4).unwrap();
        assert!(read && !again && Arc::ptr_eq(&first, &second));
        assert_eq!(pool.bytes(), 4);
    }

    #[test]
    fn the_least_recently_used_goes_first_and_the_budget_holds() {
        let pool = Weights::new(10);
        for name in ["a", "b", "a", "c"] {
            ask(&pool, name, 4).unwrap();
            assert!(pool.bytes() <= 10);
        }
        assert!(!ask(&pool, "a", 4).unwrap().1, "used after b, so it stayed");
        assert!(ask(&pool, "b", 4).unwrap().1, "b was dropped for c");
    }

    #[test]
    fn networks_that_rest_make_room_for_the_work_of_those_in_use() {
        let pool = Weights::new(10);
        let using = ask(&pool, "a", 3).unwrap();
        ask(&pool, "b", 3).unwrap();
        ask(&pool, "c", 3).unwrap();
        pool.leave(4);
        assert_eq!(pool.bytes(), 9, "3 in use among the 4, and 6 at rest");
        pool.leave(5);
        assert!(
            !ask(&pool, "c", 3).unwrap().1 && pool.bytes() == 6,
            "b went"
        );
        pool.leave(1 << 40);
        assert_eq!(pool.bytes(), 3, "what is in use stays");
        drop(using);
    }

    #[test]
    fn clearing_drops_all_that_is_idle_and_counts_what_rested() {
        let pool = Weights::new(10);
        ask(&pool, "a", 3).unwrap();
        let using = ask(&pool, "b", 3).unwrap();
        let since = Instant::now();
        ask(&pool, "c", 4).unwrap();
        assert_eq!(pool.clear(since), 3, "a rested, c was read for the work");
        assert_eq!(pool.bytes(), 3, "what is in use stays");
        assert!(ask(&pool, "c", 4).unwrap().1);
        drop(using);
        assert_eq!((pool.clear(since), pool.bytes()), (3, 0));
    }

    #[test]
    fn what_is_in_use_stays_and_what_cannot_fit_is_told() {
        let pool = Weights::new(10);
        let using = ask(&pool, "a", 8).unwrap();
        let error = ask(&pool, "b", 4).unwrap_err();
        assert!(error.message().starts_with("b takes"), "{error}");
        drop(using);
        assert!(ask(&pool, "b", 4).unwrap().1);
        assert!(ask(&pool, "c", 11).is_err());
    }
}
