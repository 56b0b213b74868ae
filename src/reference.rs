//! Kinds of nodes in words: for the terminal, and as the reference page. Both say what the
//! structs of the node library say, and nothing else.

use std::fmt::Write;

use ldm_engine::kind::{Lane, Nature, OutputInfo, PortInfo};
use ldm_engine::{Arity, Kind, Kinds, SettingInfo, Shape, Variant};

use crate::terminal::Palette;

/// Every kind with its first sentence.
pub(crate) fn list(kinds: &Kinds, palette: &Palette) -> String {
    let name = |kind: &Kind| kind.declaration.name;
    let widest = kinds.iter().map(|kind| name(kind).len()).max().unwrap_or(0);
    let strong = palette.strong;
    let mut text = String::new();
    for kind in kinds.iter() {
        let (name, summary) = (name(kind), flat(kind.summary()));
        put(
            &mut text,
            format_args!("{strong}{name:widest$}{strong:#}  {summary}\n"),
        );
    }
    text
}

/// One kind with its ports and settings.
pub(crate) fn entry(kind: &Kind, palette: &Palette) -> String {
    let (strong, hint) = (palette.strong, palette.hint);
    let mut text = format!(
        "{strong}{}{strong:#}\n\n{}\n",
        kind.declaration.name,
        kind.doc.trim()
    );
    if !kind.example.is_empty() {
        let example = kind.example.trim().replace('\n', "\n    ");
        put(&mut text, format_args!("\n    {hint}{example}{hint:#}\n"));
    }
    for (heading, items) in sections(kind) {
        put(&mut text, format_args!("\n{strong}{heading}{strong:#}\n"));
        for item in items {
            let (name, indent) = (&item.name, "    ".repeat(item.depth + 1));
            put(&mut text, format_args!("{indent}{strong}{name}{strong:#}"));
            if !item.is.is_empty() {
                put(&mut text, format_args!("  {}", item.is));
            }
            text.push('\n');
            if !item.doc.is_empty() {
                put(&mut text, format_args!("{indent}    {}\n", item.doc));
            }
        }
    }
    put(&mut text, format_args!("\n{}\n", nature(kind)));
    text
}

/// The reference page: every kind, in the order of the library's list.
pub(crate) fn page(kinds: &Kinds) -> String {
    let mut text = String::from(
        "# Kinds of nodes\n\n\
         Written by `ldm-graph nodes --markdown` from the node library itself; `ldm-graph nodes \
         KIND` shows\none of them. A port takes `\"node\"`, `\"node.output\"` or `Input(\"x\")`; \
         a setting takes a value,\n`Input(\"x\")` or `Link(\"node.output\")`.\n\n",
    );
    for kind in kinds.iter() {
        let (name, summary) = (kind.declaration.name, flat(kind.summary()));
        let anchor = name.to_lowercase();
        put(
            &mut text,
            format_args!("- [{name}](#{anchor}): {summary}\n"),
        );
    }
    for kind in kinds.iter() {
        put(&mut text, format_args!("\n{}", chapter(kind)));
    }
    text
}

fn chapter(kind: &Kind) -> String {
    let mut text = format!("## {}\n\n{}\n", kind.declaration.name, kind.doc.trim());
    if !kind.example.is_empty() {
        put(
            &mut text,
            format_args!("\n```ron\n{}\n```\n", kind.example.trim()),
        );
    }
    for (heading, items) in sections(kind) {
        put(&mut text, format_args!("\n{heading}:\n\n"));
        for item in items {
            let (name, indent) = (&item.name, "  ".repeat(item.depth));
            let words = [item.is.as_str(), item.doc.as_str()];
            let words: Vec<&str> = words.into_iter().filter(|w| !w.is_empty()).collect();
            put(
                &mut text,
                format_args!("{indent}- `{name}`: {}\n", words.join(". ")),
            );
        }
    }
    put(&mut text, format_args!("\n{}\n", nature(kind)));
    text
}

/// A line of a section: a port, a setting, a variant or an output.
struct Item {
    depth: usize,
    name: String,
    /// What it takes or gives.
    is: String,
    doc: String,
}

fn sections(kind: &Kind) -> Vec<(&'static str, Vec<Item>)> {
    let declared = &kind.declaration;
    let mut settings = Settings::default();
    let listed = declared.settings.iter();
    listed.for_each(|info| settings.add(info, 0));
    let sections = [
        ("Takes", declared.ports.iter().map(port).collect()),
        ("Settings", settings.items),
        ("Gives", kind.outputs.iter().map(output).collect()),
    ];
    sections
        .into_iter()
        .filter(|(_, items): &(_, Vec<Item>)| !items.is_empty())
        .collect()
}

fn port(info: &PortInfo) -> Item {
    let is = match info.arity {
        Arity::One => info.data.to_string(),
        Arity::Optional => format!("{}, may be left out", info.data),
        Arity::Many => format!("{}, one or a list", info.data),
    };
    Item {
        depth: 0,
        name: info.name.to_owned(),
        is,
        doc: flat(info.doc),
    }
}

fn output(info: &OutputInfo) -> Item {
    let is = match info.optional {
        true => format!("{}, where there is one", info.data),
        false => info.data.to_string(),
    };
    Item {
        depth: 0,
        name: info.name.clone(),
        is,
        doc: flat(info.doc),
    }
}

/// The settings of a kind; a choice that several of them have is spelt out at the first.
#[derive(Default)]
struct Settings {
    items: Vec<Item>,
    /// Choices spelt out, and where.
    spelt: Vec<(*const Variant, String)>,
}

impl Settings {
    fn add(&mut self, info: &SettingInfo, depth: usize) {
        let variants: &[Variant] = match info.shape.plain() {
            Shape::Choice(variants) => variants,
            _ => &[],
        };
        let before = self.spelt.iter().find(|(at, _)| *at == variants.as_ptr());
        let shape = match (info.shape.plain(), before) {
            (Shape::Choice(_), Some((_, place))) => format!("one of those of `{place}`, above"),
            (Shape::Choice(_), None) => "one of the following".to_owned(),
            (other, _) => other.to_string(),
        };
        let spelt = before.is_some();
        let range = info.range.as_ref().map(|range| range.to_string());
        let unit = info.unit.map(|unit| format!("in {unit}"));
        let left_out = match (&info.default, &info.shape) {
            (Some(lit), _) if !lit.is_call("None") => Some(format!("`{lit}` when left out")),
            (Some(_), _) | (None, Shape::Optional(_)) => Some("may be left out".to_owned()),
            (None, _) => None,
        };
        let is = [Some(shape), range, unit, left_out].into_iter().flatten();
        self.items.push(Item {
            depth,
            name: info.name.to_owned(),
            is: is.collect::<Vec<_>>().join(", "),
            doc: flat(info.doc),
        });
        if !variants.is_empty() && !spelt {
            self.spelt.push((variants.as_ptr(), info.name.to_owned()));
            variants
                .iter()
                .for_each(|variant| self.add_variant(variant, depth + 1));
        }
    }

    fn add_variant(&mut self, variant: &Variant, depth: usize) {
        self.items.push(Item {
            depth,
            name: variant.name.to_owned(),
            is: String::new(),
            doc: flat(variant.doc),
        });
        variant
            .settings
            .iter()
            .for_each(|info| self.add(info, depth + 1));
    }
}

/// Where it runs and when, in a sentence.
fn nature(kind: &Kind) -> String {
    let place = match kind.declaration.lane {
        Lane::Device => "Runs on the device",
        Lane::Cpu => "Runs on the CPU",
    };
    let when = match kind.declaration.nature {
        Nature::Pure => "its result is kept",
        Nature::Effect => "it is a root of the graph, and kept while what it wrote stands",
        Nature::Volatile => "it runs every time, and its result is never kept",
    };
    format!("{place}; {when}. Version {}.", kind.declaration.version)
}

/// A doc comment on one line.
fn flat(doc: &str) -> String {
    doc.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn put(text: &mut String, what: std::fmt::Arguments<'_>) {
    text.write_fmt(what).expect("a String takes everything");
}
