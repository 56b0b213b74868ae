//! `ldm-graph watch`: runs a graph, and on every save what the edit changes.
//!
//! Promises
//! - An edit ends only what it makes stale, at the next step; what is running and still wanted
//!   goes on to its end, and what had finished is kept.
//! - An edit that is wrong is told of and changes nothing else; one that is half written is given
//!   time to become whole; one that changes no work does nothing.
//! - Device, weights and results stay for the life of the process.
//!
//! ```text
//! files    what matters moved         reads    which of it nodes read, and holds something else
//! running  a run on its own thread    words    how an edit is told
//! look     plan again: errors wait a little, then are shown
//! adopt    the new plan is the one to run; the run of the old one ends as far as it is stale
//! start    one run at a time, on a thread of its own
//! ```

mod files;
mod reads;
mod running;
mod words;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant, SystemTime};

use ldm_engine::{Cache, Change, Diagnostic, Event, Host, Outline, Own, Plan, SameWork, Stop};

use crate::args::RunArgs;
use crate::face::Face;
use crate::settings::Settings;
use crate::terminal::Terminal;
use crate::{Exit, lock, run, stop};
use files::Files;
use reads::Reads;
use running::Running;
use words::Told;

/// How long a file may stay half written beyond the first look at it: an editor that truncates
/// and then writes, or a copy that pauses, is done sooner.
const GRACE: Duration = Duration::from_millis(200);

/// Watches the graph until it is stopped.
///
/// # Errors
/// When stdout is full. That it is closed only ends the watching.
pub(crate) fn watch(args: RunArgs, terminal: &mut Terminal) -> io::Result<Exit> {
    let settings = Settings::from(args);
    if let Err(error) = std::fs::metadata(&settings.graph) {
        let message = format!("cannot watch {}: {error}", settings.graph.display());
        terminal.error(&message, None);
        return Ok(Exit::Misused);
    }
    let ready = settings.check_out();
    if let Err(message) = ready.and_then(|()| run::build_pool(&settings)) {
        terminal.error(&message, None);
        return Ok(Exit::Misused);
    }
    let (sender, heard) = channel();
    let (stop, signal) = (Stop::new(), sender.clone());
    run::listen(&stop, terminal, move || drop(signal.send(Heard::Signal)));
    let mut session = Session::new(settings, sender, terminal);
    let exit = session.go(&heard);
    session.face.finish()?;
    Ok(exit)
}

/// What the session waits for.
enum Heard {
    /// Something happened to these files.
    Files(Vec<PathBuf>),
    /// The run tells something.
    Told(Event),
    /// The run is over.
    Ended,
    /// Ctrl-C.
    Signal,
}

/// One graph watched, from the first plan to Ctrl-C.
struct Session {
    settings: Settings,
    terminal: Terminal,
    face: Face,
    files: Files,
    sender: Sender<Heard>,
    host: Arc<Host>,
    cache: Arc<Cache>,
    /// The newest good plan.
    plan: Option<Arc<Plan>>,
    running: Option<Running>,
    /// Whether the newest plan is to be run when the running one ends.
    again: bool,
    /// Whether the last run did all that it was for.
    complete: bool,
    /// Errors that stand: those of the file as it is now.
    errors: Vec<Diagnostic>,
    reads: Reads,
    /// When what is half written counts as written.
    due: Option<Instant>,
    /// When to look though nothing was heard.
    beat: Instant,
    exit: Option<Exit>,
}

impl Session {
    fn new(settings: Settings, sender: Sender<Heard>, terminal: &Terminal) -> Self {
        let heard = sender.clone();
        let files = Files::new(move |paths| drop(heard.send(Heard::Files(paths))));
        let host = Host {
            own: Some(Own::default()),
            ..settings.host()
        };
        Self {
            face: Face::new(settings.json, terminal),
            cache: Arc::new(settings.cache()),
            host: Arc::new(host),
            settings,
            terminal: terminal.clone(),
            files,
            sender,
            plan: None,
            running: None,
            again: false,
            complete: true,
            errors: Vec::new(),
            reads: Reads::default(),
            due: None,
            beat: Instant::now(),
            exit: None,
        }
    }

    fn go(&mut self, heard: &Receiver<Heard>) -> Exit {
        let graph = self.settings.graph.clone();
        let line = format!("watching {}; Ctrl-C ends", graph.display());
        self.face.aside(|terminal| terminal.say(&line));
        // How it stands is noted before it is read, so that no later save is missed.
        self.files.want(std::iter::once(graph), SystemTime::now());
        self.due = Some(Instant::now());
        self.look();
        loop {
            if let (None, Some(exit)) = (&self.running, self.exit) {
                return exit;
            }
            let next = self.due.map_or(self.beat, |due| due.min(self.beat));
            match heard.recv_timeout(next.saturating_duration_since(Instant::now())) {
                Ok(Heard::Files(paths)) if self.files.concern(&paths) => self.look(),
                Ok(Heard::Files(_)) => {}
                Ok(Heard::Told(event)) => self.told(&event),
                Ok(Heard::Ended) => self.ended(),
                Ok(Heard::Signal) => self.signal(),
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {}
            }
            if Instant::now() >= next {
                self.look();
            }
        }
    }

    /// Looks at the files, and plans again when one moved or a time is up.
    fn look(&mut self) {
        let moved = self.files.moved();
        self.consider(&moved);
    }

    fn consider(&mut self, moved: &[PathBuf]) {
        let now = Instant::now();
        let is_due = self.due.is_some_and(|due| due <= now);
        let is_beat = self.beat <= now;
        if is_beat {
            self.beat = now + self.files.patience();
        }
        if let Some(fault) = self.files.fault() {
            let line = format!("note: looking at the files twice a second: {fault}");
            self.face.aside(|terminal| terminal.say(&line));
        }
        // What an error misses may come without a move of anything that is known to matter.
        let may_mend = is_beat && self.due.is_none() && !self.errors.is_empty();
        if self.exit.is_some() || (moved.is_empty() && !is_due && !may_mend) {
            return;
        }
        if let Some(plan) = &self.plan {
            self.reads.stir(moved, plan);
        }
        let at_rest = moved.is_empty();
        if at_rest && is_due {
            self.reads.settle(self.cache.files());
        }
        let since = SystemTime::now();
        let planned = run::plan(&self.settings);
        let unfinished = planned.is_err() || self.reads.are_restless();
        self.due = (!at_rest && unfinished).then(|| now + GRACE);
        match planned {
            Ok(plan) => self.adopt(plan, since, !at_rest),
            Err(errors) if at_rest => self.wrong(errors.0, since),
            Err(_) => {}
        }
    }

    /// A good plan is what is run from now on.
    fn adopt(&mut self, plan: Plan, since: SystemTime, saved: bool) {
        if let Err(message) = self.lend(&plan) {
            if self.plan.is_none() {
                self.exit = Some(Exit::Misused);
            }
            return self.wrong(vec![Diagnostic::error(message)], since);
        }
        if self.settings.locked {
            let graph = &self.settings.graph;
            let differs = lock::differences(graph, &plan, &self.host, &self.cache);
            if !differs.is_empty() {
                return self.wrong(differs, since);
            }
        }
        let plan = Arc::new(plan);
        let sources = plan.sources().map(Path::to_owned);
        let graph = std::iter::once(self.settings.graph.clone());
        let paths = graph.chain(sources).chain(plan.reads().map(Path::to_owned));
        self.files.want(paths, since);
        let recovered = !std::mem::take(&mut self.errors).is_empty();
        let Some(before) = self.plan.replace(plan.clone()) else {
            return self.start();
        };
        let base = self.running.as_ref().map_or(&before, |run| &run.plan);
        let same = SameWork::between(base, &plan, self.reads.changed());
        let retried = saved && !self.complete && self.running.is_none();
        if same.all && !recovered && !retried {
            return;
        }
        self.tell_change(&before, &plan, recovered);
        match &self.running {
            // It does just what is wanted.
            Some(_) if same.all => {}
            Some(running) => {
                running.stop.stop_all_but(same.nodes);
                self.again = true;
            }
            None if same.all && self.complete => {}
            None => self.start(),
        }
    }

    fn tell_change(&mut self, before: &Plan, plan: &Plan, recovered: bool) {
        let mut change = Change::between(&Outline::of(before), &Outline::of(plan));
        words::spell_out(&mut change, before, plan);
        let mut files: Vec<PathBuf> = self.reads.changed().iter().cloned().collect();
        files.sort();
        let mut lines = words::lines(&change, &files);
        if recovered {
            lines.insert(0, "the graph is right again".to_owned());
        }
        let told = Told::Change {
            change: &change,
            files: &files,
        };
        let say = |terminal: &Terminal| lines.iter().for_each(|line| terminal.say(line));
        if !self.face.say(&told, say) {
            self.stop(Exit::Stopped);
        }
    }

    /// A graph that is wrong: it is told of, the last good one stays.
    fn wrong(&mut self, errors: Vec<Diagnostic>, since: SystemTime) {
        let named = errors.iter().flat_map(|error| &error.labels);
        let named: Vec<PathBuf> = named.map(|label| PathBuf::from(&label.file)).collect();
        let mut paths: Vec<PathBuf> = vec![self.settings.graph.clone()];
        if let Some(plan) = &self.plan {
            paths.extend(plan.sources().chain(plan.reads()).map(Path::to_owned));
        }
        // A flag has a place too, but is no file.
        paths.extend(named.into_iter().filter(|path| path.is_file()));
        self.files.want(paths.into_iter(), since);
        if self.errors == errors {
            return;
        }
        let told = Told::Errors { errors: &errors };
        if !self
            .face
            .say(&told, |terminal| terminal.diagnostics(&errors))
        {
            self.stop(Exit::Stopped);
        }
        self.errors = errors;
    }

    /// Opens the device when the first plan comes that computes.
    fn lend(&mut self, plan: &Plan) -> Result<(), String> {
        let lent = self.host.extensions.get::<ldm_nodes::Machine>().is_some();
        if lent || !run::computes(plan) {
            return Ok(());
        }
        let host = Arc::make_mut(&mut self.host);
        let device = run::lend_machine(host, &self.settings)?;
        self.face.computes_on(device);
        Ok(())
    }

    fn start(&mut self) {
        let Some(plan) = self.plan.clone() else {
            return;
        };
        self.reads.begin();
        self.face.shows(&plan);
        self.again = false;
        let (host, cache) = (self.host.clone(), self.cache.clone());
        match Running::start(plan, host, cache, self.sender.clone()) {
            Ok(running) => self.running = Some(running),
            Err(error) => {
                self.complete = false;
                let message = format!("cannot start a thread: {error}");
                self.face.aside(|terminal| terminal.error(&message, None));
            }
        }
    }

    fn told(&mut self, event: &Event) {
        if let Event::Wrote { path, .. } = event {
            self.files.ignore(path);
        }
        if !self.face.tell(event) {
            self.stop(Exit::Stopped);
        }
    }

    fn ended(&mut self) {
        let Some(running) = self.running.take() else {
            return;
        };
        let plan = running.plan.clone();
        let report = running.join();
        self.complete = report.is_complete();
        if !report.failures.is_empty() {
            let failures = &report.failures;
            self.face.aside(|terminal| terminal.diagnostics(failures));
        }
        if self.exit.is_some() {
            return;
        }
        if self.complete {
            self.learn(&plan);
            if !self.settings.json && run::values(&report, &mut self.terminal).is_err() {
                return self.stop(Exit::Stopped);
            }
        }
        if self.again {
            self.start();
        }
        if self.running.is_none() {
            ldm_nodes::memory::trim();
        }
    }

    /// Remembers what the run read, so that the same content saved again is known.
    fn learn(&mut self, plan: &Plan) {
        let (files, table) = (&mut self.files, self.cache.files());
        let moved = self.reads.learn(plan, table, || files.moved());
        if !moved.is_empty() {
            self.consider(&moved);
        }
    }

    fn signal(&mut self) {
        if self.running.is_some() {
            self.face.aside(|terminal| terminal.say(stop::STOPPING));
        }
        self.stop(Exit::Stopped);
    }

    /// Ends the session when the run has stopped at its next step.
    fn stop(&mut self, exit: Exit) {
        self.exit = self.exit.or(Some(exit));
        if let Some(running) = &self.running {
            running.stop.stop();
        }
    }
}
