//! `ldm-graph run`: plans a graph and carries it out.

use std::io;
use std::sync::Arc;

use ldm_engine::kind::Lane;
use ldm_engine::{Diagnostics, Host, Kinds, Plan, Relief, Report, Run, Stop};
use ldm_nodes::Machine;

use crate::args::RunArgs;
use crate::face::Face;
use crate::settings::Settings;
use crate::terminal::Terminal;
use crate::{Exit, check, lock, pool, stop};

/// Runs the graph.
///
/// # Errors
/// When stdout is full. That it is closed only stops the run.
pub(crate) fn run(args: RunArgs, terminal: &mut Terminal) -> io::Result<Exit> {
    let settings = Settings::from(args);
    let Some(plan) = planned(&settings, terminal) else {
        return Ok(Exit::Misused);
    };
    let (host, device) = match lent(&settings, &plan) {
        Ok(lent) => lent,
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
    let said = terminal.clone();
    listen(&stop, terminal, move || said.say(stop::STOPPING));
    let mut face = Face::new(settings.json, terminal);
    if let Some(device) = device {
        face.computes_on(device);
    }
    face.shows(&plan);
    let run = Run::new(&plan, &host, &cache).stopped_by(stop.clone());
    let report = run.go(&mut |event| {
        if !face.tell(event) {
            stop.stop();
        }
    });
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

/// The plan; where the graph is wrong that is told, and there is none.
pub(crate) fn planned(settings: &Settings, terminal: &Terminal) -> Option<Plan> {
    plan(settings)
        .map_err(|errors| terminal.diagnostics(errors.iter()))
        .ok()
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
    settings.check_out()?;
    build_pool(settings)?;
    let device = match computes(plan) {
        true => Some(lend_machine(&mut host, settings)?),
        false => None,
    };
    Ok((host, device))
}

/// To be called before anything computes; once it is built, the pool stays as it is.
pub(crate) fn build_pool(settings: &Settings) -> Result<(), String> {
    pool::build(settings.threads).map_err(|e| format!("cannot start the threads: {e}"))
}

/// Whether a node that is to run wants a device.
pub(crate) fn computes(plan: &Plan) -> bool {
    computing(plan).next().is_some()
}

/// The nodes that want a device when they run.
pub(crate) fn computing(plan: &Plan) -> impl Iterator<Item = &str> {
    let needed = plan.nodes().filter(|node| node.is_needed());
    let wanting = needed.filter(|node| {
        let declaration = &node.kind().declaration;
        declaration.computes || declaration.lane == Lane::Device
    });
    wanting.map(|node| node.name())
}

/// Opens the device and lends it; the answer is what it is.
pub(crate) fn lend_machine(host: &mut Host, settings: &Settings) -> Result<String, String> {
    let machine = Machine::open(
        settings.device,
        settings.isa,
        settings.precision,
        settings.weights,
        settings.kernels().as_deref(),
    )
    .map_err(|error| error.to_string())?
    .capturing(settings.captures);
    let device = machine.why().to_owned();
    host.numerics = machine.numerics();
    host.memory = settings.weights;
    // A stream of a GPU belongs to a thread: there the device's lane keeps its own.
    if machine.name() == "cpu" {
        host.within = pool::within();
    }
    host.extensions.insert(machine);
    let relief = host.extensions.get::<Machine>();
    host.relief = relief.map(|machine| machine as Arc<dyn Relief>);
    Ok(device)
}

/// Listens to signals; a system that refuses is told of.
pub(crate) fn listen(stop: &Stop, terminal: &Terminal, heard: impl Fn() + Send + 'static) {
    if let Err(error) = stop::listen(stop.clone(), heard) {
        terminal.say(&format!(
            "warning: signals will not stop the run gently: {error}"
        ));
    }
}

/// Prints outputs that are words or numbers; others are there for nodes that save them.
pub(crate) fn values(report: &Report, terminal: &mut Terminal) -> io::Result<()> {
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
