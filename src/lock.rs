//! `ldm-graph lock`: writes down what decides a graph's results; `run --locked` is held to it.

use std::io;
use std::path::Path;

use ldm_engine::{Cache, Diagnostics, Host, Lock, Locker, Plan, Severity};
use ldm_nodes::Machine;

use crate::args::LockArgs;
use crate::settings::Settings;
use crate::terminal::{Terminal, Verbosity};
use crate::{Exit, run};

/// Writes the lock file beside the graph.
///
/// # Errors
/// When stdout is closed or full.
pub(crate) fn lock(args: LockArgs, terminal: &mut Terminal) -> io::Result<Exit> {
    let settings = Settings::from(args);
    let Some(plan) = run::planned(&settings, terminal) else {
        return Ok(Exit::Misused);
    };
    let (host, _) = match run::lent(&settings, &plan) {
        Ok(lent) => lent,
        Err(message) => {
            terminal.error(&message, None);
            return Ok(Exit::Misused);
        }
    };
    let lock = match now(&plan, &host, &settings.cache()) {
        Ok(lock) => lock,
        Err(errors) => {
            terminal.diagnostics(errors.iter());
            return Ok(Exit::Misused);
        }
    };
    let path = Lock::beside(&settings.graph);
    if let Err(error) = lock.write(&path) {
        terminal.diagnostics([&error]);
        return Ok(Exit::Failed);
    }
    terminal.print(&format!("{}: {}\n", path.display(), counted(&lock)))?;
    Ok(Exit::Done)
}

/// Whether the lock file beside the graph holds what would run; tells all that differs.
pub(crate) fn holds(
    settings: &Settings,
    plan: &Plan,
    host: &Host,
    cache: &Cache,
    terminal: &Terminal,
) -> bool {
    let found = match compare(&settings.graph, plan, host, cache) {
        Ok(found) => found,
        Err(errors) => errors.0,
    };
    let is_error = |severity| severity == Severity::Error;
    let loud = terminal.verbosity() > Verbosity::Quiet;
    let shown = found.iter().filter(|one| loud || is_error(one.severity));
    let shown: Vec<_> = shown.collect();
    if !shown.is_empty() {
        terminal.diagnostics(shown);
    }
    !found.iter().any(|one| is_error(one.severity))
}

/// All that differs from the lock file beside the graph so that it must not run.
pub(crate) fn differences(
    graph: &Path,
    plan: &Plan,
    host: &Host,
    cache: &Cache,
) -> Vec<ldm_engine::Diagnostic> {
    let mut found = compare(graph, plan, host, cache).unwrap_or_else(|errors| errors.0);
    found.retain(|one| one.severity == Severity::Error);
    found
}

fn compare(
    graph: &Path,
    plan: &Plan,
    host: &Host,
    cache: &Cache,
) -> Result<Vec<ldm_engine::Diagnostic>, Diagnostics> {
    let path = Lock::beside(graph);
    if path.symlink_metadata().is_err() {
        let message = format!("there is no lock file {}", path.display());
        let hint = format!("`ldm-graph lock {}` writes one", graph.display());
        return Err(ldm_engine::Diagnostic::error(message).hint(hint).into());
    }
    let locked = Lock::read(&path)?;
    Ok(locked.compare(&now(plan, host, cache)?, plan))
}

/// What decides the plan's results on this machine.
fn now(plan: &Plan, host: &Host, cache: &Cache) -> Result<Lock, Diagnostics> {
    let machine = host.extensions.get::<Machine>();
    let name = machine.as_ref().map_or("", |machine| machine.name());
    let locker = Locker {
        program: env!("CARGO_PKG_VERSION"),
        // Which of several GPUs it is decides nothing.
        device: name.split(':').next().unwrap_or(name),
        numerics: &host.numerics,
        memory: host.memory,
    };
    Lock::of(plan, &locker, cache.files())
}

fn counted(lock: &Lock) -> String {
    let files = lock.files.values().map(|files| files.len()).sum();
    let counts = [
        (lock.nodes.len(), "node"),
        (files, "file"),
        (lock.seeds.len(), "seed"),
    ];
    let counted = counts.map(|(count, word)| match count {
        1 => format!("1 {word}"),
        _ => format!("{count} {word}s"),
    });
    counted.join(", ")
}
