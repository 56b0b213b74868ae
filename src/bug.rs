//! What a panic says: that it is a bug of ours, and what to do with it.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::io::Write;
use std::panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind, set_hook};

use ldm_nodes::OutOfMemory;

/// Where bugs are reported.
const REPORT: &str = concat!(env!("CARGO_PKG_REPOSITORY"), "/issues");

/// The thread on which `ldm_kernels::device` tries a GPU: a missing driver panics there, and is
/// reported as the reason for choosing the CPU.
const PROBE: &str = "device probe";

/// Calls `work`; a panic in it is reported and gives nothing. So is a panic of any other thread.
pub(crate) fn catch<T>(work: impl FnOnce() -> T) -> Option<T> {
    set_hook(Box::new(report));
    catch_unwind(AssertUnwindSafe(work)).ok()
}

fn report(panic: &PanicHookInfo<'_>) {
    if std::thread::current().name() == Some(PROBE) {
        return;
    }
    let words = panic
        .payload_as_str()
        .unwrap_or("it panicked without words");
    // A device whose memory runs out is no bug. Nodes alone use devices, and the run catches their
    // panics: it goes another way, or tells it.
    if OutOfMemory::told_by(words).is_some() {
        return;
    }
    let place = panic
        .location()
        .map_or_else(String::new, |at| format!(" at {at}"));
    let version = env!("CARGO_PKG_VERSION");
    let mut text = format!(
        "error: this is a bug in ldm-graph {version}{place}: {words}\n\
         hint: report it at {REPORT} with the command and the graph\n"
    );
    let trace = Backtrace::capture();
    if trace.status() == BacktraceStatus::Captured {
        text.push_str(&trace.to_string());
    }
    // A stderr that cannot be written to leaves nowhere to say so.
    let _ = std::io::stderr().lock().write_all(text.as_bytes());
}
