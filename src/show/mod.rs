//! `ldm-graph show`: a picture of a graph, with types on its links and marks on what is kept.
//!
//! ```text
//! picture  what is shown          svg      drawn by us, where layout says
//! layout   where it stands        mermaid  laid out by others, in Markdown
//! target   format and file        dot      laid out by Graphviz
//! ```
//!
//! Promises
//! - Nothing runs.
//! - The same graph, with the same kept, gives the same bytes.
//! - A file is written whole or not at all.

mod dot;
mod layout;
mod mermaid;
mod picture;
mod svg;
mod target;
mod text;
mod tint;

use std::io;

use crate::args::ShowArgs;
use crate::settings::Settings;
use crate::terminal::Terminal;
use crate::{Exit, explain, run};

use picture::{Mark, Picture};
pub(crate) use target::Format;
use target::Target;

/// Links that Mermaid draws when nobody tells it to draw more.
const MERMAIDS: usize = 500;

/// Draws the graph.
///
/// # Errors
/// When stdout is closed or full.
pub(crate) fn show(mut args: ShowArgs, terminal: &mut Terminal) -> io::Result<Exit> {
    let target = match Target::new(args.to.take(), args.format) {
        Ok(target) => target,
        Err((message, hint)) => {
            terminal.error(&message, Some(&hint));
            return Ok(Exit::Misused);
        }
    };
    let settings = Settings::from(args);
    let Some(plan) = run::planned(&settings, terminal) else {
        return Ok(Exit::Misused);
    };
    let outlooks = match explain::foresee(&settings, &plan) {
        Ok(outlooks) => outlooks,
        Err(message) => {
            terminal.error(&message, None);
            return Ok(Exit::Misused);
        }
    };
    let picture = Picture::new(&plan, &outlooks);
    let links = picture.links.len();
    if target.format == Format::Mermaid && links > MERMAIDS {
        terminal.say(&format!(
            "warning: Mermaid draws no more than {MERMAIDS} links unless its `maxEdges` says so, \
             and here are {links}"
        ));
    }
    deliver(&target, &picture, terminal)
}

/// Prints the picture, or writes it to its file.
fn deliver(target: &Target, picture: &Picture, terminal: &mut Terminal) -> io::Result<Exit> {
    let drawn = target.dressed(drawn(picture, target.format));
    let Some(file) = &target.file else {
        terminal.print(&drawn)?;
        return Ok(Exit::Done);
    };
    if let Err(error) = target::write(file, drawn.as_bytes()) {
        terminal.error(&format!("cannot write {}: {error}", file.display()), None);
        return Ok(Exit::Failed);
    }
    let (nodes, kept) = (picture.nodes.len(), picture.count(Mark::Kept));
    let many = if nodes == 1 { "" } else { "s" };
    terminal.say(&format!(
        "drew {nodes} node{many}, {kept} kept: {}",
        file.display()
    ));
    Ok(Exit::Done)
}

fn drawn(picture: &Picture, format: Format) -> String {
    match format {
        Format::Svg => svg::drawn(picture),
        Format::Mermaid => mermaid::drawn(picture),
        Format::Dot => dot::drawn(picture),
    }
}
