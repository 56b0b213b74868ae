//! `ldm-graph run`: plans a graph and carries it out.

use std::io;

use ldm_engine::kind::Lane;
use ldm_engine::{Diagnostics, Event, Host, Kinds, Plan, Report, Run, Stop};
use ldm_nodes::Machine;

use crate::args::RunArgs;
use crate::progress::Progress;
use crate::settings::Settings;
use crate::terminal::Terminal;
use crate::{Exit, check, json, lock, pool, stop};

/// Runs the graph.
///
/// # Errors
/// When stdout is full. That it is closed only stops the run.
pub(crate) fn run(args: RunArgs, terminal: &mut Terminal) -> io::Result<Exit> {
    let settings = Settings::from(args);
    let plan = match plan(&settings) {
        Ok(plan) => plan,
        Err(errors) => {
            terminal.diagnostics(errors.iter());
            return Ok(Exit::Misused);
        }
    };
    let host = match lend(&settings, &plan, terminal) {
        Ok(host) => host,
        Err(message) => {
            terminal.error(&message, None);
            return Ok(Exit::Misused);
        }
    };
    let cache = settings.cache();
    if settings.locked && !lock::holds(&settings, &plan, &host, &cache, terminal) {
        return Ok(Exit::Misused);
    }
    let stop = Stop::new();
    if let Err(error) = stop::listen(stop.clone(), terminal.clone()) {
        terminal.say(&format!(
            "warning: signals will not stop the run gently: {error}"
        ));
    }
    let mut face = Face::new(settings.json, &stop, terminal);
    let run = Run::new(&plan, &host, &cache).stopped_by(stop.clone());
    let report = run.go(&mut |event| face.tell(event));
    if !report.failures.is_empty() {
        terminal.diagnostics(&report.failures);
    }
    face.finish()?;
    if !settings.json && report.is_complete() {
        values(&report, terminal)?;
    }
    Ok(match (report.is_complete(), stop.is_stopped()) {
        (true, _) => Exit::Done,
        (false, true) => Exit::Stopped,
        (false, false) => Exit::Failed,
    })
}

/// Plans the graph; once more without metadata, when the nodes that would write it are known.
pub(crate) fn plan(settings: &Settings) -> Result<Plan, Diagnostics> {
    let kinds = Kinds::new(ldm_nodes::list());
    let plan = check::plan(&settings.graph, &kinds, &settings.options)?;
    match settings.metadata {
        true => Ok(plan),
        false => check::plan(&settings.graph, &kinds, &settings.without_metadata(&plan)),
    }
}

/// What the run is lent, saying what it computes on.
pub(crate) fn lend(settings: &Settings, plan: &Plan, terminal: &Terminal) -> Result<Host, String> {
    let (host, device) = lent(settings, plan)?;
    if let Some(device) = device {
        terminal.say(&format!("computing on {device}"));
    }
    Ok(host)
}

/// What a run is lent, and what it would compute on. A device is opened only for a plan that
/// computes.
pub(crate) fn lent(settings: &Settings, plan: &Plan) -> Result<(Host, Option<String>), String> {
    let mut host = settings.host();
    // Before anything computes: the pool can be built but once.
    pool::build(settings.threads).map_err(|e| format!("cannot start the threads: {e}"))?;
    let computes = |lane, computes| computes || lane == Lane::Device;
    let mut needed = plan
        .nodes()
        .filter(|node| node.is_needed())
        .map(|node| node.kind());
    if !needed.any(|kind| computes(kind.declaration.lane, kind.declaration.computes)) {
        return Ok((host, None));
    }
    let machine = Machine::open(settings.device, settings.precision, settings.weights)
        .map_err(|error| error.to_string())?;
    let device = machine.why().to_owned();
    host.numerics = machine.numerics();
    // A stream of a GPU belongs to a thread: there the device's lane keeps its own.
    if machine.name() == "cpu" {
        host.within = pool::within();
    }
    host.extensions.insert(machine);
    Ok((host, Some(device)))
}

/// Prints outputs that are words or numbers; others are there for nodes that save them.
fn values(report: &Report, terminal: &mut Terminal) -> io::Result<()> {
    for (name, value) in &report.values {
        match value.literal() {
            Some(literal) => terminal.print(&format!("{name} = {literal}\n"))?,
            None => {
                let kind = value.type_name();
                terminal.say(&format!(
                    "`{name}` is a {kind}; a node that saves it writes a file"
                ));
            }
        }
    }
    Ok(())
}

/// How events are shown; a stdout that fails asks the run to stop.
struct Face<'a> {
    progress: Option<Progress>,
    stop: &'a Stop,
    failed: Option<io::Error>,
}

impl<'a> Face<'a> {
    fn new(json: bool, stop: &'a Stop, terminal: &Terminal) -> Self {
        let progress = (!json).then(|| Progress::new(terminal));
        Self {
            progress,
            stop,
            failed: None,
        }
    }

    fn tell(&mut self, event: &Event) {
        if self.failed.is_some() {
            return;
        }
        let told = match &mut self.progress {
            Some(progress) => progress.tell(event),
            None => json::print(event),
        };
        if let Err(error) = told {
            self.stop.stop();
            self.failed = Some(error);
        }
    }

    /// What went wrong with stdout, unless it was closed: that is the reader's right.
    fn finish(self) -> io::Result<()> {
        match self.failed {
            Some(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error),
            _ => Ok(()),
        }
    }
}
