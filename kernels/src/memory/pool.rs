//! Mapped memory that is kept when freed: cut for what is wanted, and joined again.
//!
//! Best fit over the ranges that are kept; what is left of a range stays, and ranges that touch
//! become one. Over the steps of a sampler everything is found again so, where keeping buffers
//! by their size alone loses a third.
//!
//! Promises
//! - `live + kept <= peak`, with `peak` the most that was live at once, all in sizes that are
//!   rounded up to [`GRAIN`]. On a miss, what was freed longest ago is unmapped until what is
//!   wanted fits under it.
//!
//! Not here: which allocations come here from the program (`super`).

use std::alloc::Layout;
use std::ptr::{null_mut, with_exposed_provenance_mut};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::mm::{self, Advice, MapFlags, ProtFlags};

/// Smaller buffers are the system's.
const LEAST: usize = 1 << 20;

/// What sizes are multiples of: at least a page anywhere, at most 1/16 of a size.
const GRAIN: usize = 1 << 16;

/// A huge page; where one begins, new mappings begin.
const HUGE: usize = 2 << 20;

/// Ranges kept at most. A few are the rule; many where they lie scattered, as weights do that
/// are dropped.
const RANGES: usize = 256;

/// Whether the pool serves such an allocation: by layout alone, which is all that a free tells.
pub(super) fn serves(layout: Layout) -> bool {
    layout.size() >= LEAST && layout.align() <= 4096
}

/// Memory shared by all threads.
#[derive(Debug)]
pub(super) struct Pool(Mutex<State>);

impl Pool {
    /// Nothing is held.
    pub(super) const fn new() -> Self {
        Self(Mutex::new(State {
            live: 0,
            peak: 0,
            sum: 0,
            clock: 0,
            count: 0,
            kept: [Range::NONE; RANGES],
        }))
    }

    /// At least `size` bytes of unspecified content, or null.
    pub(super) fn alloc(&self, size: usize) -> *mut u8 {
        self.lock().take(size.next_multiple_of(GRAIN)).0
    }

    /// At least `size` bytes that are zero, or null.
    pub(super) fn alloc_zeroed(&self, size: usize) -> *mut u8 {
        let (at, used) = self.lock().take(size.next_multiple_of(GRAIN));
        if used {
            // SAFETY: this was just given out, and is at least as long.
            unsafe { at.write_bytes(0, size) };
        }
        at
    }

    /// Keeps what was given out.
    ///
    /// # Safety
    /// `at` was given out here for `size` bytes, and nothing uses it any more.
    pub(super) unsafe fn dealloc(&self, at: *mut u8, size: usize) {
        let size = size.next_multiple_of(GRAIN);
        let mut state = self.lock();
        state.live -= size;
        state.put(at.expose_provenance(), size);
    }

    /// Makes `size` bytes of `old` where they are; false, and nothing is changed, where more are
    /// wanted and those behind are not kept.
    ///
    /// # Safety
    /// `at` was given out here for `old` bytes.
    pub(super) unsafe fn resize(&self, at: *mut u8, old: usize, size: usize) -> bool {
        let [old, size] = [old, size].map(|size| size.next_multiple_of(GRAIN));
        let (start, mut state) = (at.expose_provenance(), self.lock());
        if size < old {
            state.live -= old - size;
            state.put(start + size, old - size);
        }
        size <= old || state.extend(start + old, size - old)
    }

    /// Gives all that is kept back to the system; the peak begins anew.
    pub(super) fn trim(&self) {
        let mut state = self.lock();
        state.unmap_kept(usize::MAX);
        state.peak = state.live;
    }

    /// The state is whole at every instant, and nothing here panics.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Mapped memory that nobody uses.
#[derive(Clone, Copy, Debug)]
struct Range {
    start: usize,
    size: usize,
    /// When its newest part was freed.
    freed: u64,
}

impl Range {
    const NONE: Self = Self {
        start: 0,
        size: 0,
        freed: 0,
    };

    const fn end(&self) -> usize {
        self.start + self.size
    }

    /// Cuts `size` bytes off the front; the answer is where they begin.
    fn cut(&mut self, size: usize) -> usize {
        let start = self.start;
        self.start += size;
        self.size -= size;
        start
    }
}

/// What is given out and what is kept, in bytes.
#[derive(Debug)]
struct State {
    live: usize,
    peak: usize,
    /// The sum of what is kept.
    sum: usize,
    /// Counts frees.
    clock: u64,
    /// How many of `kept` are ranges.
    count: usize,
    kept: [Range; RANGES],
}

impl State {
    /// `size` bytes and whether they were used before; null when the system has none.
    fn take(&mut self, size: usize) -> (*mut u8, bool) {
        let fits = |range: &Range| range.size >= size;
        let at = match self.find(fits, |range| (range.size, range.start)) {
            Some(index) => (with_exposed_provenance_mut(self.cut(index, size)), true),
            None => (self.fresh(size), false),
        };
        if !at.0.is_null() {
            self.live += size;
            self.peak = self.peak.max(self.live);
        }
        at
    }

    /// Takes `size` bytes at `start`, if they are kept.
    fn extend(&mut self, start: usize, size: usize) -> bool {
        let fits = |range: &Range| range.start == start && range.size >= size;
        let Some(index) = self.find(fits, |range| range.start) else {
            return false;
        };
        self.cut(index, size);
        self.live += size;
        self.peak = self.peak.max(self.live);
        true
    }

    /// New memory, once there is room for it.
    fn fresh(&mut self, size: usize) -> *mut u8 {
        let held = self.live + self.sum;
        self.unmap_kept((held + size).saturating_sub(self.peak));
        let mapped = map(size);
        if !mapped.is_null() || self.sum == 0 {
            return mapped;
        }
        self.unmap_kept(usize::MAX);
        map(size)
    }

    /// Keeps a range, joined with those that it touches.
    fn put(&mut self, start: usize, size: usize) {
        self.clock += 1;
        self.sum += size;
        let mut joined = Range {
            start,
            size,
            freed: self.clock,
        };
        let touches = |range: &Range| range.end() == start || range.start == start + size;
        while let Some(index) = self.find(touches, |range| range.start) {
            let other = self.remove(index);
            joined.start = joined.start.min(other.start);
            joined.size += other.size;
        }
        if self.count == RANGES {
            self.unmap_oldest(usize::MAX);
        }
        self.kept[self.count] = joined;
        self.count += 1;
    }

    /// Unmaps `wanted` bytes of what is kept, or all.
    fn unmap_kept(&mut self, mut wanted: usize) {
        while wanted > 0 && self.count > 0 {
            wanted -= self.unmap_oldest(wanted);
        }
    }

    /// Unmaps up to `wanted` bytes of what was freed longest ago; the answer is how many.
    fn unmap_oldest(&mut self, wanted: usize) -> usize {
        let Some(index) = self.find(|_| true, |range| range.freed) else {
            return 0;
        };
        let size = wanted.min(self.kept[index].size);
        unmap(self.cut(index, size), size);
        size
    }

    /// The best of the ranges that fit: that of the least `cost`.
    fn find<K: Ord>(
        &self,
        fits: impl Fn(&Range) -> bool,
        cost: impl Fn(&Range) -> K,
    ) -> Option<usize> {
        let ranges = self.kept[..self.count].iter().enumerate();
        let fitting = ranges.filter(|(_, range)| fits(range));
        fitting
            .min_by_key(|(_, range)| cost(range))
            .map(|(index, _)| index)
    }

    /// Cuts `size` bytes off a range, which is gone when nothing is left.
    fn cut(&mut self, index: usize, size: usize) -> usize {
        let start = self.kept[index].cut(size);
        self.sum -= size;
        if self.kept[index].size == 0 {
            self.remove(index);
        }
        start
    }

    fn remove(&mut self, index: usize) -> Range {
        let range = self.kept[index];
        self.count -= 1;
        self.kept[index] = self.kept[self.count];
        range
    }
}

/// `size` zero bytes from the system, of huge pages where it has them; null when it refuses.
fn map(size: usize) -> *mut u8 {
    let Some(with_slack) = size.checked_add(HUGE) else {
        return null_mut();
    };
    let (prot, flags) = (ProtFlags::READ | ProtFlags::WRITE, MapFlags::PRIVATE);
    // SAFETY: the system chooses where, so nothing that exists is touched.
    let Ok(mapped) = (unsafe { mm::mmap_anonymous(null_mut(), with_slack, prot, flags) }) else {
        return null_mut();
    };
    let start = mapped.expose_provenance();
    // The last place where it fits, which touches what was mapped before.
    let aligned = (start + HUGE) / HUGE * HUGE;
    unmap(start, aligned - start);
    unmap(aligned + size, start + HUGE - aligned);
    let at = with_exposed_provenance_mut::<u8>(aligned);
    // Advice only: a system without huge pages refuses it, and all goes on with small ones.
    // SAFETY: the range was just mapped, and the advice does not change what it holds.
    let _ = unsafe { mm::madvise(at.cast(), size, Advice::LinuxHugepage) };
    at
}

/// Gives a range back to the system. That a system refuses (it can, when it keeps too many
/// ranges) loses the addresses and is no one's error.
fn unmap(start: usize, size: usize) {
    if size > 0 {
        // SAFETY: callers hand over ranges that were mapped here and that nobody uses.
        let _ = unsafe { mm::munmap(with_exposed_provenance_mut(start), size) };
    }
}

#[cfg(test)]
mod tests;
