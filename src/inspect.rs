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
    let size = format!("{:.2} GB", found.bytes as f64 / 1e9);
    line(
        "format",
        format!("{}, {size}, {} tensors", found.format, found.tensors),
    );
    for network in &found.networks {
        line(network.role, network_words(network));
    }
    if let Some(adapter) = &found.adapter {
        line("method", adapter.methods.join(", "));
        let ranks: Vec<String> = adapter.ranks.iter().map(ToString::to_string).collect();
        line("ranks", ranks.join(", "));
        for (target, layers) in &adapter.targets {
            line("changes", format!("{layers} layers of the {target}"));
        }
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
