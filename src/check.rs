//! `ldm-graph check`: plans graphs without running them.

use std::io;
use std::path::Path;

use ldm_engine::{Diagnostics, Graph, Kinds, Options, Plan};

use crate::args::CheckArgs;
use crate::terminal::{Terminal, Verbosity};
use crate::{Exit, settings};

/// Checks every graph and shows all errors of all of them.
///
/// # Errors
/// When stdout is closed or full.
pub(crate) fn check(args: &CheckArgs, terminal: &mut Terminal) -> io::Result<Exit> {
    let kinds = Kinds::new(ldm_nodes::list());
    let options = settings::options(&args.plan);
    let mut wrong = Vec::new();
    for path in &args.graphs {
        match plan(path, &kinds, &options) {
            Ok(plan) if terminal.verbosity() > Verbosity::Quiet => {
                terminal.print(&format!("{}: fine, {}\n", path.display(), counted(&plan)))?;
            }
            Ok(_) => {}
            Err(errors) => wrong.extend(errors.0),
        }
    }
    if wrong.is_empty() {
        return Ok(Exit::Done);
    }
    terminal.diagnostics(&wrong);
    Ok(Exit::Misused)
}

/// Reads and plans a graph.
///
/// # Errors
/// Everything that is wrong with it.
pub(crate) fn plan(path: &Path, kinds: &Kinds, options: &Options) -> Result<Plan, Diagnostics> {
    Plan::new(&Graph::read(path)?, kinds, options)
}

fn counted(plan: &Plan) -> String {
    let nodes = plan.nodes().count();
    let word = if nodes == 1 { "node" } else { "nodes" };
    match plan.nodes().filter(|node| !node.is_needed()).count() {
        0 => format!("{nodes} {word}"),
        unneeded => format!("{nodes} {word}, {unneeded} of them not needed"),
    }
}
