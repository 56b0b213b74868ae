//! Nodes are built from their settings, files located, facts carried along the wires.

use std::borrow::Cow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::diagnostic::Diagnostic;
use crate::error::Error;
use crate::facts::{FactSet, Facts};
use crate::kind::Kind;
use crate::literal::Lit;
use crate::node::{AnyNode, Parts};
use crate::paths::{Located, Search, short, shown};
use crate::place::{Span, Spanned};
use crate::setting::{Mismatch, Shape};
use crate::way::Way;

use super::{Plan, Planned, Planner, Wire};

/// Paths shown of a search.
const SHOWN: usize = 6;
/// Stands for a path that comes through a link, while the other settings are checked.
const LATER: &str = "(linked)";

/// A node built from its settings, with its files found.
pub(crate) struct Bound {
    pub(crate) node: Box<dyn AnyNode>,
    /// Links wired to each port.
    pub(crate) counts: Vec<usize>,
    /// In the order in which the node shows them; their contents enter the key in that order.
    pub(crate) reads: Vec<Located>,
    /// Settings that differ from their defaults.
    pub(crate) written: Vec<(&'static str, Lit)>,
    /// The same in the form that the key hashes.
    pub(crate) keyed: Vec<(&'static str, String)>,
}

impl std::fmt::Debug for Bound {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}", self.written)
    }
}

impl Planner<'_> {
    pub(super) fn bind(&mut self, plan: &mut Plan) {
        for number in plan.order.clone() {
            let before = self.errors.len();
            let bound = match bind(&plan.nodes[number], Vec::new(), &self.options.search) {
                Ok(bound) => bound,
                Err(errors) => {
                    let node = &plan.nodes[number];
                    let new = errors.into_iter().filter(|error| !node.was_told(error));
                    self.errors.extend(new);
                    continue;
                }
            };
            let node = &plan.nodes[number];
            if !node.linked.is_empty() || !node.is_wired() || before != self.errors.len() {
                continue;
            }
            match self.facts(plan, number, &bound) {
                Ok((facts, ways)) => {
                    plan.nodes[number].facts = facts;
                    plan.nodes[number].ways = ways;
                }
                Err(error) => self.errors.push(error),
            }
            plan.nodes[number].bound = Some(Arc::new(bound));
        }
    }

    fn facts(
        &self,
        plan: &Plan,
        number: usize,
        bound: &Bound,
    ) -> Result<(Vec<FactSet>, Vec<Way>), Diagnostic> {
        let node = &plan.nodes[number];
        let ports = node.kind.declaration.ports.iter().zip(&node.ports);
        let wires = ports.flat_map(|(info, wires)| wires.iter().map(move |wire| (info, wire)));
        let mut inputs = Vec::with_capacity(bound.counts.iter().sum());
        for (info, wire) in wires {
            let facts = facts_of(plan, wire);
            if let Some(why) = facts.absent {
                let from = plan.describe(wire);
                let message = format!("`{}.{}`: there is no `{from}`", node.name, info.name);
                let place = node.field_place(Some(info.name));
                let hint = match why.is_empty() {
                    true => format!("what was loaded has no {}", info.data),
                    false => why,
                };
                return Err(Diagnostic::error(message).at(&place).hint(hint));
            }
            inputs.push(facts);
        }
        let mut facts = Facts {
            kind: &node.kind,
            inputs: &inputs,
            outputs: vec![FactSet::default(); node.kind.outputs.len()],
            reads: &bound.reads,
            ways: Vec::new(),
        };
        match bound.node.facts(&mut facts) {
            Ok(()) => Ok((facts.outputs, facts.ways)),
            Err(error) => Err(node.failure(&error)),
        }
    }
}

impl Planned {
    /// Whether an error only says that a setting is missing which is there, but whose own fault
    /// was told already.
    fn was_told(&self, error: &Diagnostic) -> bool {
        let read = |name: &str| {
            let same = |known: &Spanned<String>| known.value == name;
            self.settings.iter().any(|(known, _)| same(known))
                || self.linked.iter().any(|(known, ..)| same(known))
        };
        let unread = self.fields.iter().filter(|(name, _)| !read(name));
        let says = |name: &str| format!("`{}` needs `{name}`", self.name);
        unread
            .map(|(name, _)| says(name))
            .any(|words| error.message == words)
    }

    /// A node's own error, with its name and the place of the field at fault.
    pub(crate) fn failure(&self, error: &Error) -> Diagnostic {
        let field = error.field();
        let message = match field {
            Some(field) => format!("`{}.{field}`: {}", self.name, error.message()),
            None => format!("`{}`: {}", self.name, error.message()),
        };
        let hint = error.hint_text().map(str::to_owned);
        Diagnostic::error(message)
            .at(&self.field_place(field))
            .maybe_hint(hint)
    }

    /// Whether every port has the links that it must have.
    fn is_wired(&self) -> bool {
        let ports = self.kind.declaration.ports.iter().zip(&self.ports);
        ports
            .into_iter()
            .all(|(info, wires)| !wires.is_empty() || info.arity == crate::node::Arity::Optional)
    }
}

fn facts_of(plan: &Plan, wire: &Wire) -> FactSet {
    match wire {
        Wire::Node { node, output } => plan.nodes[*node].facts[*output].clone(),
        Wire::Value(_) => FactSet::default(),
    }
}

/// Builds a node, `linked` being the literals of its linked settings, in their order. While
/// planning these are not known: then stand-ins let the other settings be checked, and what is
/// built is not to be used.
pub(crate) fn bind(
    node: &Planned,
    linked: Vec<Lit>,
    search: &Search,
) -> Result<Bound, Vec<Diagnostic>> {
    let planning = linked.is_empty();
    let mut settings = Cow::Borrowed(&node.settings);
    let mut linked = linked.into_iter();
    for (name, span, _) in &node.linked {
        let known = linked.next();
        if let Some(lit) = known.or_else(|| stand_in(&node.kind, &name.value)) {
            let setting = (name.clone(), Spanned::new(lit, *span));
            settings.to_mut().push(setting);
        }
    }
    let counts: Vec<usize> = node.ports.iter().map(Vec::len).collect();
    let parts = Parts {
        name: &node.name,
        owner: node.span,
        counts: &counts,
        settings: &settings,
        infos: &node.kind.declaration.settings,
    };
    let built = node
        .kind
        .build(&parts)
        .map_err(|faults| mismatches(node, faults))?;
    let reads = locate(node, built.as_ref(), search)?;
    let infos = &node.kind.declaration.settings;
    let different = built.write(infos);
    let mut written = Vec::with_capacity(different.len());
    let mut keyed = Vec::with_capacity(different.len());
    for (name, lit, key) in different {
        keyed.push((name, key.to_string()));
        written.push((name, lit));
    }
    debug_assert!(
        planning || linked.next().is_none(),
        "one literal for each link"
    );
    Ok(Bound {
        node: built,
        counts,
        reads,
        written,
        keyed,
    })
}

/// A literal that the setting takes, for a value that is not known yet; nothing where the
/// default will do.
fn stand_in(kind: &Kind, name: &str) -> Option<Lit> {
    let info = kind.setting(name)?;
    if info.default.is_some() {
        return None;
    }
    let low = info.range.as_ref().and_then(|range| range.low.clone());
    match info.shape.plain() {
        Shape::Bool => Some(Lit::Bool(false)),
        Shape::Int { .. } => Some(low.unwrap_or(Lit::Int(0))),
        Shape::Float => Some(low.unwrap_or(Lit::Float(0.0))),
        Shape::ReadPath => Some(Lit::Text(LATER.to_owned())),
        _ => Some(Lit::Text(String::new())),
    }
}

fn mismatches(node: &Planned, faults: Vec<Mismatch>) -> Vec<Diagnostic> {
    let describe = |fault: Mismatch| {
        let message = match own_setting(node, &fault.message) {
            Some(rest) => format!("`{}.{rest}", node.name),
            None => fault.message,
        };
        let message = message
            .replace("wants path", "wants a path")
            .replace("wants list", "wants a list");
        Diagnostic::error(message)
            .at(&node.place_of(fault.span))
            .maybe_hint(fault.hint)
    };
    faults.into_iter().map(describe).collect()
}

/// ``steps` wants Int`` of ``` `steps` wants Int ``` where `steps` is a setting of the node's own.
fn own_setting<'a>(node: &Planned, message: &'a str) -> Option<&'a str> {
    let rest = message.strip_prefix('`')?;
    let (name, after) = rest.split_once('`')?;
    let says = after.starts_with(" wants ") || after.starts_with(" takes ");
    (says && node.kind.setting(name).is_some()).then_some(rest)
}

/// Finds every file that the node's settings name.
fn locate(
    node: &Planned,
    built: &dyn AnyNode,
    search: &Search,
) -> Result<Vec<Located>, Vec<Diagnostic>> {
    let (mut reads, mut errors): (Vec<Located>, _) = (Vec::new(), Vec::new());
    built.visit_reads(&mut |path| {
        let text = path.text();
        if text == LATER || reads.iter().any(|known| known.text == text) {
            return;
        }
        match search.find(&node.folder, text) {
            // Errors about what is inside name the file by this path.
            Ok(path) => reads.push(Located {
                text: text.to_owned(),
                path: short(&path).to_owned(),
            }),
            Err(paths) => {
                let message = format!("`{}`: there is no file `{text}`", node.name);
                let place = node.place_of(span_of_text(node, text));
                errors.push(Diagnostic::error(message).at(&place).hint(tried(&paths)));
            }
        }
    });
    if errors.is_empty() {
        Ok(reads)
    } else {
        Err(errors)
    }
}

/// The setting that holds a text, for errors about it.
fn span_of_text(node: &Planned, text: &str) -> Span {
    let holds = |lit: &Lit| {
        lit.to_string()
            .contains(&Lit::Text(text.to_owned()).to_string())
    };
    let found = node.settings.iter().find(|(_, value)| holds(&value.value));
    found.map_or(node.span, |(_, value)| value.span)
}

/// `tried a, b, c and 4 more`
pub(super) fn tried(paths: &[PathBuf]) -> String {
    let first: Vec<String> = paths
        .iter()
        .take(SHOWN)
        .map(|path| shown(Path::new(path)))
        .collect();
    match paths.len().checked_sub(SHOWN).filter(|more| *more > 0) {
        Some(more) => format!("tried {} and {more} more", first.join(", ")),
        None => format!("tried {}", first.join(", ")),
    }
}
