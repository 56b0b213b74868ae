//! The threads that compute: rayon's global pool, which the tensor library works on.
//!
//! The thread that drives tensors should itself be a member of the pool: a product that it
//! starts then begins at once on a thread that is awake, instead of waking one up and sleeping
//! until it is done. A training loop on two busy cores ran three times as fast so. The engine
//! asks for it through `Host::within`.

use std::sync::atomic::{AtomicBool, Ordering};

use ldm_engine::Within;

/// The pool can be built but once; `verify` asks for it with every picture.
static BUILT: AtomicBool = AtomicBool::new(false);

/// Builds the pool with `threads` threads, once. To be called before anything else uses it.
///
/// # Errors
/// When the system gives no threads.
pub(crate) fn build(threads: usize) -> Result<(), rayon::ThreadPoolBuildError> {
    if BUILT.swap(true, Ordering::Relaxed) {
        return Ok(());
    }
    rayon::ThreadPoolBuilder::new()
        .num_threads(threads)
        .thread_name(|number| format!("compute {number}"))
        .build_global()
}

/// Has nodes on the device's lane run inside the pool.
pub(crate) fn within() -> Within {
    Within::new(|work| inside(work))
}

/// Does work on a thread of the pool.
pub(crate) fn inside<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    rayon::scope(|_| work())
}
