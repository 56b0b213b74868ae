//! The program's memory: large buffers are kept when they are freed, and given out again.
//!
//! Every layer of a network fills a fresh buffer of 1 to 300 MB. The system maps such a buffer
//! page by page, zeroes each page, and takes it all back moments later; norms and activations
//! then wait for the system more than they compute.
//!
//! Promises
//! - What is held, given out or kept, never exceeds the most that was given out at once since
//!   the last [`trim`], so a process peaks no higher than without. Sizes are rounded up to
//!   64 KiB.
//! - It never panics and never allocates; memory that the system refuses is a null pointer.
//!
//! Not here: buffers below 1 MiB and systems other than 64-bit Linux, which have the system's
//! allocator.

#[cfg(all(target_os = "linux", target_pointer_width = "64"))]
mod pool;

use std::alloc::{GlobalAlloc, Layout, System};

#[cfg(all(target_os = "linux", target_pointer_width = "64"))]
static POOL: pool::Pool = pool::Pool::new();

/// The allocator, to be installed by a program with `#[global_allocator]`.
#[derive(Debug)]
pub struct Large;

/// Gives what is kept back to the system: for a program that goes idle. Does nothing where
/// [`Large`] is not installed.
pub fn trim() {
    #[cfg(all(target_os = "linux", target_pointer_width = "64"))]
    POOL.trim();
}

#[cfg(all(target_os = "linux", target_pointer_width = "64"))]
// SAFETY: a layout alone decides between the pool and the system, so that memory returns to
// where it came from. Both keep `GlobalAlloc`'s promises; what moves between the two is copied
// whole.
unsafe impl GlobalAlloc for Large {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        match pool::serves(layout) {
            true => POOL.alloc(layout.size()),
            // SAFETY: the caller's promises are the system's.
            false => unsafe { System.alloc(layout) },
        }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        match pool::serves(layout) {
            true => POOL.alloc_zeroed(layout.size()),
            // SAFETY: as above.
            false => unsafe { System.alloc_zeroed(layout) },
        }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        match pool::serves(layout) {
            // SAFETY: the caller got `at` here with this layout.
            true => unsafe { POOL.dealloc(at, layout.size()) },
            // SAFETY: as above.
            false => unsafe { System.dealloc(at, layout) },
        }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller promises that `size` makes a layout with this alignment.
        let wanted = unsafe { Layout::from_size_align_unchecked(size, layout.align()) };
        match (pool::serves(layout), pool::serves(wanted)) {
            // SAFETY: as in `dealloc`.
            (true, true) if unsafe { POOL.resize(at, layout.size(), size) } => at,
            // SAFETY: the caller's promises are the system's.
            (false, false) => unsafe { System.realloc(at, layout, size) },
            // SAFETY: `at` holds `layout`, and the new memory holds `wanted`.
            _ => unsafe { self.moved(at, layout, wanted) },
        }
    }
}

#[cfg(all(target_os = "linux", target_pointer_width = "64"))]
impl Large {
    /// The content of `at` in memory of another size; null, and `at` as it was, without memory.
    ///
    /// # Safety
    /// `at` was given out here with layout `from`.
    unsafe fn moved(&self, at: *mut u8, from: Layout, to: Layout) -> *mut u8 {
        // SAFETY: both sizes are above zero; the two do not overlap, as both are given out.
        unsafe {
            let new = self.alloc(to);
            if !new.is_null() {
                new.copy_from_nonoverlapping(at, from.size().min(to.size()));
                self.dealloc(at, from);
            }
            new
        }
    }
}

#[cfg(not(all(target_os = "linux", target_pointer_width = "64")))]
// SAFETY: the system's allocator keeps `GlobalAlloc`'s promises.
unsafe impl GlobalAlloc for Large {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promises are the system's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: as above.
        unsafe { System.realloc(at, layout, size) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All tests of this crate run on it.
    #[global_allocator]
    static MEMORY: Large = Large;

    #[test]
    fn buffers_grow_and_shrink_across_the_limit_and_keep_their_content() {
        let mut numbers: Vec<u32> = Vec::new();
        for n in 0..3_000_000 {
            numbers.push(n);
        }
        for len in [2_999_999, 1_000_000, 300_000, 200_000, 1000] {
            numbers.truncate(len);
            numbers.shrink_to_fit();
            assert!(numbers.iter().zip(0..).all(|(found, n)| *found == n));
        }
        numbers.reserve_exact(2_000_000);
        assert!(numbers.len() == 1000 && numbers.iter().zip(0..).all(|(found, n)| *found == n));
    }

    #[test]
    fn zeroed_buffers_are_zero_after_others_were_freed() {
        for n in [1_000_000, 999_999, 5_000_000, 700_000] {
            drop(vec![7_u8; 4 * n]);
            assert!(vec![0_u32; n].iter().all(|x| *x == 0), "{n}");
        }
    }

    #[test]
    fn large_alignments_hold() {
        let layout = Layout::from_size_align(3 << 20, 1 << 16).unwrap();
        // SAFETY: the layout has a size; what is given out is freed with it.
        unsafe {
            let at = MEMORY.alloc(layout);
            assert!(!at.is_null() && at.addr().is_multiple_of(1 << 16));
            MEMORY.dealloc(at, layout);
        }
    }

    #[test]
    fn more_memory_than_there_is_comes_as_an_error() {
        let mut numbers: Vec<u8> = Vec::new();
        assert!(numbers.try_reserve_exact(1 << 60).is_err());
        let mut kept = vec![3_u8; 2 << 20];
        assert!(kept.try_reserve_exact(1 << 60).is_err());
        assert!(kept.iter().all(|x| *x == 3));
    }
}
