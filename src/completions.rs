//! `ldm-graph completions`: a script that teaches a shell our flags and our kinds of nodes.

use std::io;

use clap::builder::PossibleValuesParser;
use clap_complete::Shell;

use crate::terminal::Terminal;
use crate::{Exit, args};

/// Prints the script.
///
/// # Errors
/// When stdout is closed or full.
pub(crate) fn completions(shell: Shell, terminal: &mut Terminal) -> io::Result<Exit> {
    let kinds: Vec<&str> = ldm_nodes::list()
        .iter()
        .map(|kind| kind.declaration.name)
        .collect();
    // Only here are kinds a closed set: elsewhere a wrong one is answered with the nearest.
    let known = |arg: clap::Arg| arg.value_parser(PossibleValuesParser::new(kinds));
    let mut command = args::command().mut_subcommand("nodes", |nodes| nodes.mut_arg("kind", known));
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command, "ldm-graph", &mut script);
    terminal.print(&String::from_utf8_lossy(&script))?;
    Ok(Exit::Done)
}
