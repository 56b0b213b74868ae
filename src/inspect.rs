//! `ldm-graph inspect`: what a file of weights, or a model's folder, holds.

use std::fmt::Write;
use std::io;
use std::path::Path;

use ldm_nodes::Inspected;
use ldm_nodes::inspect::{Network, inspect as look};
use serde::Serialize;

use crate::args::InspectArgs;
use crate::terminal::Terminal;
use crate::{Exit, json};

/// Tells of every file.
///
/// # Errors
/// When stdout is closed or full.
pub(crate) fn inspect(args: &InspectArgs, terminal: &mut Terminal) -> io::Result<Exit> {
    let mut exit = Exit::Done;
    for path in &args.files {
        match look(path) {
            Ok(found) => {
                if !found.faults.is_empty() {
                    exit = Exit::Failed;
                }
                match args.json {
                    true => json::print(&Line::new(path, &found))?,
                    false => terminal.print(&words(path, &found))?,
                }
            }
            Err(error) => {
                exit = Exit::Failed;
                let error = error.to_string();
                match args.json {
                    true => json::print(&Refused { path, error })?,
                    false => terminal.error(&error, None),
                }
            }
        }
    }
    Ok(exit)
}

/// A file and what it holds, as one JSON object.
#[derive(Serialize)]
struct Line<'a> {
    path: &'a Path,
    #[serde(flatten)]
    found: &'a Inspected,
}

impl<'a> Line<'a> {
    fn new(path: &'a Path, found: &'a Inspected) -> Self {
        Self { path, found }
    }
}

/// A file that cannot be told of.
#[derive(Serialize)]
struct Refused<'a> {
    path: &'a Path,
    error: String,
}

fn words(path: &Path, found: &Inspected) -> String {
    let mut text = format!("{}: {}\n", path.display(), found.what);
    let mut line = |label: &str, words: String| {
        let _ = writeln!(text, "  {label:<12}  {words}");
    };
    let (size, tensors) = (size(found.bytes), counted(found.tensors, "tensor"));
    line("format", format!("{}, {size}, {tensors}", found.format));
    for network in &found.networks {
        line(network.role, network_words(network));
    }
    if let Some(adapter) = &found.adapter {
        line("method", adapter.methods.join(", "));
        let ranks: Vec<String> = adapter.ranks.iter().map(ToString::to_string).collect();
        line("ranks", ranks.join(", "));
        for (target, layers) in &adapter.targets {
            let layers = counted(*layers, "layer");
            line("changes", format!("{layers} of the {target}"));
        }
    }
    if let Some(inversion) = &found.inversion {
        let widths: Vec<String> = inversion.widths.iter().map(ToString::to_string).collect();
        let vectors = counted(inversion.vectors, "vector");
        line(
            "learned",
            format!("{vectors}, {} wide", widths.join(" and ")),
        );
    }
    if found.networks.is_empty() {
        line("numbers", dtypes(&found.dtypes));
    }
    for name in &found.names {
        line("tensor", name.clone());
    }
    for (key, note) in &found.notes {
        line("note", format!("{key}: {}", short(note)));
    }
    for fault in &found.faults {
        line("fault", fault.clone());
    }
    text
}

fn network_words(network: &Network) -> String {
    let (about, dtypes) = (&network.about, dtypes(&network.dtypes));
    format!(
        "{} parameters, {dtypes}; {about}",
        millions(network.parameters)
    )
}

fn dtypes(dtypes: &std::collections::BTreeMap<String, u64>) -> String {
    if let [dtype] = &dtypes.keys().collect::<Vec<_>>()[..] {
        return (*dtype).clone();
    }
    let each = dtypes
        .iter()
        .map(|(dtype, count)| format!("{} {dtype}", millions(*count)));
    each.collect::<Vec<_>>().join(", ")
}

/// `1 tensor`, `2 tensors`
fn counted(count: usize, what: &str) -> String {
    match count {
        1 => format!("1 {what}"),
        _ => format!("{count} {what}s"),
    }
}

/// Bytes in the largest unit of which there is one.
fn size(bytes: u64) -> String {
    let units = [("GB", 1e9), ("MB", 1e6), ("kB", 1e3)];
    let fits = units.iter().find(|(_, unit)| bytes as f64 >= *unit);
    match fits {
        Some((name, unit)) => format!("{:.2} {name}", bytes as f64 / unit),
        None => format!("{bytes} B"),
    }
}

fn millions(count: u64) -> String {
    match count {
        0..10_000 => count.to_string(),
        _ => format!("{:.2} M", count as f64 / 1e6),
    }
}

/// A note in one line.
fn short(note: &str) -> String {
    const MOST: usize = 100;
    let line: String = note
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    match line.char_indices().nth(MOST) {
        Some((at, _)) => format!("{}…", &line[..at]),
        None => line,
    }
}
