//! Signals: the first Ctrl-C or SIGTERM asks to stop, the second ends the program.

use std::io;

use ldm_engine::Stop;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

/// What a shell expects of a program that Ctrl-C ended.
const STOPPED: i32 = 130;

/// What is said to the first while a run is under way.
pub(crate) const STOPPING: &str = "stopping at the next step; once more stops at once";

/// Makes a file that may not grow an error of its write instead of the end of the program.
///
/// # Errors
/// When the system refuses.
#[cfg(unix)]
pub(crate) fn outlive_limits() -> io::Result<()> {
    let never_read = std::sync::Arc::default();
    signal_hook::flag::register(signal_hook::consts::SIGXFSZ, never_read).map(drop)
}

/// Listens to signals from now on, on a thread of its own. The first uses `stop`, then calls
/// `heard`.
///
/// # Errors
/// When the system refuses.
pub(crate) fn listen(stop: Stop, heard: impl Fn() + Send + 'static) -> io::Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM])?;
    let wait = move || {
        for _ in signals.forever() {
            if stop.is_stopped() {
                std::process::exit(STOPPED);
            }
            stop.stop();
            heard();
        }
    };
    std::thread::Builder::new()
        .name("signals".to_owned())
        .spawn(wait)?;
    Ok(())
}
