//! Events for programs: one JSON object a line on stdout, whole lines only.

use std::io::{self, Write};

use ldm_engine::Event;

/// Prints an event.
///
/// # Errors
/// When stdout is closed or full.
pub(crate) fn print(event: &Event) -> io::Result<()> {
    let mut line = serde_json::to_vec(event)?;
    line.push(b'\n');
    let mut out = io::stdout().lock();
    out.write_all(&line)?;
    out.flush()
}
