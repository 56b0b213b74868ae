//! What programs read: one JSON object a line on stdout, whole lines only.

use std::io::{self, Write};

use serde::Serialize;

/// Prints one object.
///
/// # Errors
/// When stdout is closed or full.
pub(crate) fn print(event: &impl Serialize) -> io::Result<()> {
    let mut line = serde_json::to_vec(event)?;
    line.push(b'\n');
    let mut out = io::stdout().lock();
    out.write_all(&line)?;
    out.flush()
}
