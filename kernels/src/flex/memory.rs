//! Where kernels read and write: results without a first zeroing, scratch that is kept from
//! call to call.
//!
//! Not here: arithmetic, tensors.

use std::cell::RefCell;
use std::ops::{Deref, DerefMut};

use rayon::prelude::*;

/// Numbers in scratch that a thread keeps at most: 8 Mi, 32 MiB.
const KEEP: usize = 8 << 20;

/// Elements that one task of an elementwise kernel takes.
pub(crate) const CHUNK: usize = 16 * 1024;

/// A vector of `n` numbers that `fill` writes.
///
/// `fill` must write every element and read none before; what it does not write is whatever
/// was in memory.
pub(crate) fn filled(n: usize, fill: impl FnOnce(&mut [f32])) -> Vec<f32> {
    let mut values = Vec::with_capacity(n);
    // SAFETY: the capacity is `n`; every bit pattern is an f32, and `fill` writes all of them
    // before anyone reads. Zeroing first would cost a pass over memory in each kernel.
    unsafe {
        fill(std::slice::from_raw_parts_mut(values.as_mut_ptr(), n));
        values.set_len(n);
    }
    values
}

/// Adds parts of the size of `out`, first to last.
pub(crate) fn add_parts(parts: &[f32], out: &mut [f32]) {
    let size = out.len();
    out.par_chunks_mut(CHUNK).enumerate().for_each(|(i, out)| {
        let (at, len) = (i * CHUNK, out.len());
        out.copy_from_slice(&parts[at..at + len]);
        for part in parts.chunks_exact(size).skip(1) {
            out.iter_mut()
                .zip(&part[at..at + len])
                .for_each(|(o, v)| *o += v);
        }
    });
}

/// A pointer into a result that tasks write at places of their own.
#[derive(Clone, Copy)]
pub(crate) struct Shared(*mut f32);

// SAFETY: a `Shared` is only handed to tasks that write disjoint elements; each use says so.
unsafe impl Send for Shared {}
// SAFETY: as above.
unsafe impl Sync for Shared {}

impl Shared {
    pub(crate) fn new(values: &mut [f32]) -> Self {
        Self(values.as_mut_ptr())
    }

    pub(crate) fn at(self, offset: usize) -> *mut f32 {
        self.0.wrapping_add(offset)
    }
}

thread_local! {
    static POOL: RefCell<Vec<Vec<f32>>> = const { RefCell::new(Vec::new()) };
}

/// Working memory with unspecified content, given back to its thread's pool when dropped.
pub(crate) struct Scratch {
    values: Vec<f32>,
    len: usize,
}

impl Scratch {
    pub(crate) fn new(len: usize) -> Self {
        let mut values = POOL.with_borrow_mut(|pool| take_fitting(pool, len));
        if values.len() < len {
            values.clear();
            values.resize(len, 0.0);
        }
        Self { values, len }
    }
}

/// The smallest buffer that holds `len`, else the largest there is.
fn take_fitting(pool: &mut Vec<Vec<f32>>, len: usize) -> Vec<f32> {
    let fits = |v: &Vec<f32>| match v.len() >= len {
        true => (0, v.len()),
        false => (1, usize::MAX - v.len()),
    };
    let best = (0..pool.len()).min_by_key(|i| fits(&pool[*i]));
    best.map(|i| pool.swap_remove(i)).unwrap_or_default()
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if self.values.len() <= KEEP {
            let values = std::mem::take(&mut self.values);
            // A thread that ends may have dropped its pool: then the memory just goes.
            let _ = POOL.try_with(|pool| pool.borrow_mut().push(values));
        }
    }
}

impl Deref for Scratch {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        &self.values[..self.len]
    }
}

impl DerefMut for Scratch {
    fn deref_mut(&mut self) -> &mut [f32] {
        &mut self.values[..self.len]
    }
}
