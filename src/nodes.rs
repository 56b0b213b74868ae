//! `ldm-graph nodes`: what the structs of the node library say about themselves.

use std::io;

use ldm_engine::{Kinds, names};

use crate::args::NodesArgs;
use crate::terminal::Terminal;
use crate::{Exit, reference};

/// Prints all kinds, one kind, or the reference page.
///
/// # Errors
/// When stdout is closed or full.
pub(crate) fn nodes(args: &NodesArgs, terminal: &mut Terminal) -> io::Result<Exit> {
    let kinds = Kinds::new(ldm_nodes::list());
    let palette = terminal.stdout();
    if args.markdown {
        terminal.print(&reference::page(&kinds))?;
        return Ok(Exit::Done);
    }
    let Some(wanted) = &args.kind else {
        terminal.print(&reference::list(&kinds, &palette))?;
        return Ok(Exit::Done);
    };
    if let Some(kind) = kinds.get(wanted) {
        terminal.print(&reference::entry(kind, &palette))?;
        return Ok(Exit::Done);
    }
    let known = kinds.iter().map(|kind| kind.declaration.name);
    let hint = names::hint(wanted, known);
    let hint = hint.unwrap_or_else(|| "`ldm-graph nodes` lists them all".to_owned());
    terminal.error(&format!("there is no kind of node `{wanted}`"), Some(&hint));
    Ok(Exit::Misused)
}
