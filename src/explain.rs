//! `ldm-graph explain`: what a run would do with each node, and why, without running it.

use std::io;
use std::time::Duration;

use ldm_engine::{Fate, From, Narrowed, Outlook, Plan, Run};

use crate::args::ExplainArgs;
use crate::settings::Settings;
use crate::terminal::Terminal;
use crate::{Exit, json, run};

/// Explains the graph, or the nodes that are named.
///
/// # Errors
/// When stdout is closed or full.
pub(crate) fn explain(mut args: ExplainArgs, terminal: &mut Terminal) -> io::Result<Exit> {
    let wanted = std::mem::take(&mut args.nodes);
    let settings = Settings::from(args);
    let Some(plan) = run::planned(&settings, terminal) else {
        return Ok(Exit::Misused);
    };
    if let Some(unknown) = wanted.iter().find(|name| plan.node(name).is_none()) {
        let names = plan.nodes().map(|node| node.name());
        let hint = ldm_engine::names::hint(unknown, names);
        terminal.error(&format!("there is no node `{unknown}`"), hint.as_deref());
        return Ok(Exit::Misused);
    }
    let outlooks = match foresee(&settings, &plan) {
        Ok(outlooks) => outlooks,
        Err(message) => {
            terminal.error(&message, None);
            return Ok(Exit::Misused);
        }
    };
    let shown = outlooks
        .iter()
        .filter(|outlook| wanted.is_empty() || wanted.contains(&outlook.node));
    let shown: Vec<&Outlook> = shown.collect();
    if settings.json {
        shown.iter().try_for_each(|outlook| json::print(*outlook))?;
        return Ok(Exit::Done);
    }
    let widest = shown.iter().map(|outlook| outlook.node.chars().count());
    let width = widest.max().unwrap_or(0);
    let strong = terminal.stdout().strong;
    for Outlook {
        node,
        fate,
        narrowed,
    } in shown
    {
        let narrow = narrowed.as_ref().map(narrow).unwrap_or_default();
        let line = format!("{strong}{node:width$}{strong:#}  {}{narrow}\n", words(fate));
        terminal.print(&line)?;
    }
    Ok(Exit::Done)
}

/// What a run would do with every node. The device is opened, where the plan needs one, because
/// what computes is part of the keys.
pub(crate) fn foresee(settings: &Settings, plan: &Plan) -> Result<Vec<Outlook>, String> {
    let (host, _) = run::lent(settings, plan)?;
    let cache = settings.cache();
    Ok(Run::new(plan, &host, &cache).explain())
}

/// A fate in words.
fn words(fate: &Fate) -> String {
    match fate {
        Fate::Kept { from, age, bytes } => {
            let place = match from {
                From::Memory => "in memory",
                From::Disk => "on disk",
            };
            let size = bytes.map_or_else(String::new, |bytes| format!(", {}", size(bytes)));
            let age = age.map_or_else(String::new, |age| format!(", made {} ago", span(age)));
            format!("kept {place}{size}{age}")
        }
        Fate::Runs { because } => format!("runs: {because}"),
        Fate::Depends { on } => {
            let on: Vec<&str> = on.iter().map(String::as_str).collect();
            let on = ldm_engine::names::list(&on);
            format!("runs, unless what comes from {on} is unchanged")
        }
        Fate::Unneeded => "not needed".to_owned(),
        Fate::Fails { because } => format!("cannot run: {because}"),
    }
}

/// What is done for want of memory, in words that follow a fate's.
fn narrow(found: &Narrowed) -> String {
    let (wanted, memory) = (size(found.wanted), size(found.memory));
    let way = &found.way;
    format!("; {way}, as at once it would take {wanted} and `--memory` leaves {memory}")
}

/// Bytes as a person says them.
#[allow(clippy::cast_precision_loss)]
pub(crate) fn size(bytes: u64) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB"];
    let unit = (bytes.max(1).ilog2() / 10).min(4);
    match unit {
        0 => format!("{bytes} B"),
        _ => format!(
            "{:.1} {}",
            bytes as f64 / f64::from(1024).powi(unit as i32),
            units[unit as usize]
        ),
    }
}

/// How long ago, in the largest unit that fits.
fn span(age: Duration) -> String {
    let seconds = age.as_secs();
    let (count, unit) = match seconds {
        0..60 => (seconds, "second"),
        60..3600 => (seconds / 60, "minute"),
        3600..86_400 => (seconds / 3600, "hour"),
        _ => (seconds / 86_400, "day"),
    };
    let many = if count == 1 { "" } else { "s" };
    format!("{count} {unit}{many}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_ages_are_told_in_the_unit_that_fits() {
        assert_eq!(size(0), "0 B");
        assert_eq!(size(1023), "1023 B");
        assert_eq!(size(1536), "1.5 KiB");
        assert_eq!(size(5 << 30), "5.0 GiB");
        assert_eq!(span(Duration::from_secs(1)), "1 second");
        assert_eq!(span(Duration::from_secs(7200)), "2 hours");
        assert_eq!(span(Duration::from_secs(86_400 * 3)), "3 days");
    }
}
