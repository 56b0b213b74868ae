//! `ldm-graph man`: a man page, made from the arguments themselves.

use std::io;

use ldm_engine::names;

use crate::terminal::Terminal;
use crate::{Exit, args};

/// Prints the page of the program, or of one subcommand.
///
/// # Errors
/// When stdout is closed or full.
pub(crate) fn man(wanted: Option<&str>, terminal: &mut Terminal) -> io::Result<Exit> {
    let mut command = args::command();
    // Names subcommands as `man` finds them: ldm-graph-run(1).
    command.build();
    let Some(wanted) = wanted else {
        return print(command, terminal);
    };
    match command.find_subcommand(wanted) {
        Some(found) => print(found.clone(), terminal),
        None => {
            let known = command.get_subcommands().map(clap::Command::get_name);
            let hint = names::hint(wanted, known);
            terminal.error(
                &format!("there is no subcommand `{wanted}`"),
                hint.as_deref(),
            );
            Ok(Exit::Misused)
        }
    }
}

fn print(command: clap::Command, terminal: &mut Terminal) -> io::Result<Exit> {
    let mut page = Vec::new();
    clap_mangen::Man::new(command).render(&mut page)?;
    terminal.print(&String::from_utf8_lossy(&page))?;
    Ok(Exit::Done)
}
