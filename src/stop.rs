//! Signals: the first Ctrl-C or SIGTERM asks the run to stop, the second ends the program.

use std::io;

use ldm_engine::Stop;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::terminal::Terminal;

/// What a shell expects of a program that Ctrl-C ended.
const STOPPED: i32 = 130;

/// Listens to signals from now on, on a thread of its own.
///
/// # Errors
/// When the system refuses.
pub(crate) fn listen(stop: Stop, terminal: Terminal) -> io::Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM])?;
    let wait = move || {
        for _ in signals.forever() {
            if stop.is_stopped() {
                std::process::exit(STOPPED);
            }
            stop.stop();
            terminal.say("stopping at the next step; once more stops at once");
        }
    };
    std::thread::Builder::new()
        .name("signals".to_owned())
        .spawn(wait)?;
    Ok(())
}
