//! A run on a thread of its own.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::thread::JoinHandle;

use ldm_engine::{Cache, Host, Plan, Report, Run, Stop};

use super::Heard;

/// A run under way.
pub(super) struct Running {
    pub(super) plan: Arc<Plan>,
    pub(super) stop: Stop,
    thread: JoinHandle<Report>,
}

/// Tells that a run is over, also when it ends in a panic.
struct Ending(Sender<Heard>);

impl Drop for Ending {
    fn drop(&mut self) {
        // Nobody listens any more when the session is over.
        let _ = self.0.send(Heard::Ended);
    }
}

impl Running {
    /// Starts a run; it tells `sender` what happens, and last that it is over.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub(super) fn start(
        plan: Arc<Plan>,
        host: Arc<Host>,
        cache: Arc<Cache>,
        sender: Sender<Heard>,
    ) -> io::Result<Self> {
        let stop = Stop::new();
        let (planned, stopped) = (plan.clone(), stop.clone());
        let work = move || {
            let ending = Ending(sender);
            let run = Run::new(&planned, &host, &cache).stopped_by(stopped);
            run.go(&mut |event| drop(ending.0.send(Heard::Told(event.clone()))))
        };
        let thread = std::thread::Builder::new().name("run".to_owned());
        let thread = thread.spawn(work)?;
        Ok(Self { plan, stop, thread })
    }

    /// How it ended. A panic of the run goes on here.
    pub(super) fn join(self) -> Report {
        match self.thread.join() {
            Ok(report) => report,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }
}
