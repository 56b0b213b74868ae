//! A run in words: what is under way with it/s and time left on stderr, written paths on stdout.
//!
//! On a terminal the lines of what is under way are painted over at most ten times a second.
//! Elsewhere a long node says how far it is twice a minute, so that a log can be read.
//!
//! Not `indicatif`: it turns features of a crate on that the tensor library shares, so that
//! every build of the workspace would compile the tensor library twice.

use std::collections::HashSet;
use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use ldm_engine::{Diagnostic, Done, Event, From, NodeEvent, State};

use crate::terminal::{Palette, Terminal, Verbosity};

/// Least time between two paintings.
const PAINT: Duration = Duration::from_millis(100);
/// Time between two lines of a log.
const LOG: Duration = Duration::from_secs(30);
/// A node that took longer is worth a line.
const LONG: f64 = 0.5;
/// Nodes painted at once.
const MOST: usize = 8;
/// Cells of a bar.
const CELLS: u64 = 24;

/// Tells a run to the person who started it.
pub(crate) struct Progress {
    terminal: Terminal,
    palette: Palette,
    is_terminal: bool,
    under_way: Vec<Bar>,
    /// Lines on the terminal that are ours to paint over.
    painted: usize,
    last: Instant,
    printed: HashSet<String>,
}

/// A node under way.
struct Bar {
    node: String,
    started: Instant,
    /// When its first step was done, and which that was: the time before is for loading.
    first: Option<(Instant, u64)>,
    step: u64,
    steps: u64,
}

impl Progress {
    /// Nothing told yet.
    pub(crate) fn new(terminal: &Terminal) -> Self {
        Self {
            terminal: terminal.clone(),
            palette: terminal.stderr(),
            is_terminal: io::stderr().is_terminal(),
            under_way: Vec::new(),
            painted: 0,
            last: Instant::now(),
            printed: HashSet::new(),
        }
    }

    /// Tells an event.
    ///
    /// # Errors
    /// When stdout is closed or full.
    pub(crate) fn tell(&mut self, event: &Event) -> io::Result<()> {
        match event {
            Event::Plan { .. } => {}
            Event::Node(node) => self.node(node),
            Event::Load {
                node,
                what,
                bytes,
                seconds,
            } => {
                #[allow(clippy::cast_precision_loss)]
                let mebibytes = *bytes as f64 / f64::from(1 << 20);
                let took = span(*seconds);
                self.whisper(&format!(
                    "{node}: loaded {what}, {mebibytes:.1} MiB, in {took}"
                ));
            }
            Event::Wrote { path, .. } => self.result(path)?,
            Event::Note { node, message } => self.say(&format!("{node}: {message}")),
            Event::Warning { message } => self.warn(message),
            Event::Done(done) => self.done(done)?,
        }
        Ok(())
    }

    /// Lets something be said on stderr between what is painted.
    pub(crate) fn aside(&mut self, words: impl FnOnce(&Terminal)) {
        self.erase();
        words(&self.terminal);
        self.paint(true);
    }

    fn node(&mut self, event: &NodeEvent) {
        let node = &*event.node;
        match event.state {
            State::Running => {
                let why = event.because.as_deref().unwrap_or("it has not run before");
                self.whisper(&format!("{node}: runs, {why}"));
                self.under_way.push(Bar::new(node));
                self.paint(false);
            }
            State::Progress => {
                let (step, steps) = (event.step.unwrap_or(0), event.steps.unwrap_or(0));
                if let Some(bar) = self.under_way.iter_mut().find(|bar| bar.node == *node) {
                    bar.to(step, steps);
                }
                self.paint(false);
            }
            State::Ran => {
                let bar = self.take(node);
                let seconds = event.seconds.unwrap_or(0.0);
                let line = bar.map_or_else(|| node.to_owned(), |bar| bar.finished(seconds));
                match seconds > LONG {
                    true => self.say(&line),
                    false => self.whisper(&line),
                }
            }
            State::Kept => {
                // It was under way if memory ran out, and what a smaller way gives was known.
                drop(self.take(node));
                let place = match event.from {
                    Some(From::Disk) => ", from disk",
                    _ => "",
                };
                self.whisper(&format!("{node}: kept{place}"));
            }
            State::Failed | State::Cancelled | State::Blocked => drop(self.take(node)),
        }
    }

    fn take(&mut self, node: &str) -> Option<Bar> {
        let at = self.under_way.iter().position(|bar| bar.node == node)?;
        Some(self.under_way.remove(at))
    }

    fn done(&mut self, done: &Done) -> io::Result<()> {
        self.under_way.clear();
        self.erase();
        // A result that was kept was not written now, but is what the reader asked for.
        for path in &done.outputs {
            if !self.printed.contains(path) {
                self.result(path)?;
            }
        }
        let counts = [
            (done.ran.len(), "ran"),
            (done.kept.len(), "kept"),
            (done.failed.len(), "failed"),
            (done.blocked.len(), "blocked"),
            (done.cancelled.len(), "stopped"),
        ];
        let counts: Vec<String> = counts
            .iter()
            .filter(|(count, _)| *count > 0)
            .map(|(count, word)| format!("{count} {word}"))
            .collect();
        self.say(&format!("{} in {}", counts.join(", "), span(done.seconds)));
        Ok(())
    }

    fn result(&mut self, path: &str) -> io::Result<()> {
        self.erase();
        self.printed.insert(path.to_owned());
        self.terminal.print(&format!("{path}\n"))?;
        self.paint(true);
        Ok(())
    }

    /// Says a line, unless `-q`.
    fn say(&mut self, line: &str) {
        self.erase();
        self.terminal.say(line);
        self.paint(true);
    }

    /// Says what is wrong though the run goes on.
    fn warn(&mut self, message: &str) {
        self.erase();
        self.terminal.diagnostics([&Diagnostic::warning(message)]);
        self.paint(true);
    }

    /// Says a line with `-v`.
    fn whisper(&mut self, line: &str) {
        if self.terminal.verbosity() == Verbosity::Verbose {
            self.say(line);
        }
    }

    fn paint(&mut self, at_once: bool) {
        if self.terminal.verbosity() == Verbosity::Quiet {
            return;
        }
        if !self.is_terminal {
            return self.log();
        }
        if !at_once && self.last.elapsed() < PAINT {
            return;
        }
        self.erase();
        let width = terminal_size::terminal_size_of(io::stderr());
        let width = width.map_or(79, |(width, _)| usize::from(width.0).saturating_sub(1));
        let mut text = String::new();
        for bar in self.under_way.iter().take(MOST) {
            text.extend(bar.line().chars().take(width));
            text.push('\n');
        }
        self.painted = self.under_way.len().min(MOST);
        self.last = Instant::now();
        let faint = self.palette.faint;
        // Progress that cannot be shown is not worth a failure.
        let _ = write!(io::stderr().lock(), "{faint}{text}{faint:#}");
    }

    /// Takes our lines off the terminal.
    fn erase(&mut self) {
        if self.painted > 0 {
            let _ = write!(io::stderr().lock(), "\x1b[{}A\x1b[J", self.painted);
            self.painted = 0;
        }
    }

    fn log(&mut self) {
        if self.last.elapsed() < LOG {
            return;
        }
        self.last = Instant::now();
        for bar in self.under_way.iter().filter(|bar| bar.step > 0) {
            self.terminal.say(&bar.line());
        }
    }
}

impl Bar {
    fn new(node: &str) -> Self {
        let (node, started) = (node.to_owned(), Instant::now());
        Self {
            node,
            started,
            first: None,
            step: 0,
            steps: 0,
        }
    }

    fn to(&mut self, step: u64, steps: u64) {
        // A second phase, or a loop that starts again, is timed anew.
        let again = steps != self.steps || self.first.is_none_or(|(_, first)| first > step);
        if again {
            self.first = Some((Instant::now(), step));
        }
        (self.step, self.steps) = (step, steps);
    }

    /// Steps a second since the first.
    #[allow(clippy::cast_precision_loss)]
    fn rate(&self) -> Option<f64> {
        let (since, first) = self.first?;
        let (steps, seconds) = (self.step - first, since.elapsed().as_secs_f64());
        (steps > 0 && seconds > 0.0).then(|| steps as f64 / seconds)
    }

    #[allow(clippy::cast_precision_loss)]
    fn line(&self) -> String {
        let Self {
            node, step, steps, ..
        } = self;
        if *steps == 0 {
            return format!("{node}  {}", span(self.started.elapsed().as_secs_f64()));
        }
        let full = usize::try_from(CELLS * step.min(steps) / steps).unwrap_or(0);
        let bar: String = (0..CELLS as usize)
            .map(|i| if i < full { '━' } else { '─' })
            .collect();
        let mut line = format!("{node}  {bar}  {step}/{steps}");
        if let Some(rate) = self.rate() {
            let left = span(steps.saturating_sub(*step) as f64 / rate);
            line.push_str(&format!("  {}  {left} left", speed(rate)));
        }
        line
    }

    fn finished(&self, seconds: f64) -> String {
        let (node, took) = (&self.node, span(seconds));
        match self.rate() {
            Some(rate) => format!("{node}: {} steps in {took}, {}", self.steps, speed(rate)),
            None => format!("{node}: {took}"),
        }
    }
}

/// `24.1 it/s`, or `3.2 s/it` where that reads better.
fn speed(rate: f64) -> String {
    match rate >= 1.0 {
        true => format!("{rate:.1} it/s"),
        false => format!("{:.1} s/it", 1.0 / rate),
    }
}

/// A time as a person says it.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
fn span(seconds: f64) -> String {
    let whole = seconds.round() as u64;
    match whole {
        0..60 => format!("{seconds:.1} s"),
        60..3600 => format!("{} min {:02} s", whole / 60, whole % 60),
        _ => format!("{} h {:02} min", whole / 3600, whole % 3600 / 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_told_in_the_unit_that_fits() {
        assert_eq!(span(0.26), "0.3 s");
        assert_eq!(span(61.0), "1 min 01 s");
        assert_eq!(span(7260.0), "2 h 01 min");
        assert_eq!(speed(24.06), "24.1 it/s");
        assert_eq!(speed(0.25), "4.0 s/it");
    }

    #[test]
    fn a_bar_tells_how_far_and_how_fast() {
        let mut bar = Bar::new("latent");
        bar.to(1, 4);
        assert!(bar.rate().is_none(), "one step has no speed");
        std::thread::sleep(Duration::from_millis(5));
        bar.to(3, 4);
        let line = bar.line();
        assert!(
            line.starts_with("latent  ━") && line.contains("3/4"),
            "{line}"
        );
        assert!(line.contains("it/s") && line.ends_with("left"), "{line}");
    }
}
