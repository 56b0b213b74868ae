//! `ldm-graph nodes`: what the structs of the node library say about themselves.

use std::io;

use ldm_engine::{Kinds, Shape, Variant, names};

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
    let hint = choice(&kinds, wanted).or_else(|| names::hint(wanted, known));
    let hint = hint.unwrap_or_else(|| "`ldm-graph nodes` lists them all".to_owned());
    terminal.error(&format!("there is no kind of node `{wanted}`"), Some(&hint));
    Ok(Exit::Misused)
}

/// Where `wanted` is something to choose, if it is.
fn choice(kinds: &Kinds, wanted: &str) -> Option<String> {
    kinds.iter().find_map(|kind| {
        let mut settings = kind.declaration.settings.iter();
        let name = kind.declaration.name;
        let setting = settings.find(|setting| offers(&setting.shape, wanted))?;
        let setting = setting.name;
        Some(format!(
            "it is a choice for `{setting}` of `{name}`: `ldm-graph nodes {name}` shows it"
        ))
    })
}

/// Whether a setting of this shape, or one of its choices' settings, may be `wanted`.
fn offers(shape: &Shape, wanted: &str) -> bool {
    let Shape::Choice(variants) = shape.plain() else {
        return false;
    };
    let inside = |variant: &Variant| variant.settings.iter().any(|s| offers(&s.shape, wanted));
    let named = |variant: &Variant| variant.name.eq_ignore_ascii_case(wanted);
    variants
        .iter()
        .any(|variant| named(variant) || inside(variant))
}
