//! The plan: names resolved, types and facts checked, order fixed. `check` ends here.
//!
//! Promises
//! - All errors of a graph, its parts and its `--set` flags are reported at once, with places.
//! - Knows signatures of kinds and file headers; reads no weight and hashes nothing.
//! - No graph panics it or overflows the stack, however long its chains.
//!
//! ```text
//! expand   parts become nodes named `hires/decode`, each in the scope of its file
//! resolve  fields become wires and settings
//! order    cycles are found, roots chosen, the rest marked unneeded
//! bind     nodes are built, files located, facts carried along the wires
//! ```
//!
//! Not here: keys, values and running (`run`).

mod bind;
mod expand;
mod link;
mod order;
mod parts;
mod resolve;
mod same;
mod table;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::facts::FactSet;
use crate::graph::Graph;
use crate::kind::{Kind, Kinds, Nature};
use crate::literal::Lit;
use crate::paths::Search;
use crate::place::{Place, Source, Span, Spanned};
use crate::value::Value;
use crate::way::Way;

pub(crate) use bind::{Bound, bind};
pub(crate) use parts::PartFile;
pub use same::SameWork;
use table::Table;

/// What a user asks for beside the graph.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// `--set name=value` and `--set node.setting=value`, as typed, later ones winning.
    pub sets: Vec<String>,
    /// `--only NODE`: these nodes are the roots.
    pub only: Vec<String>,
    /// Where files are looked for beyond the graph's own folders.
    pub search: Search,
}

/// A graph that can run.
#[derive(Debug, Clone)]
pub struct Plan {
    pub(crate) name: String,
    /// The graph file and those of its parts.
    pub(crate) sources: BTreeSet<PathBuf>,
    pub(crate) nodes: Vec<Planned>,
    /// Node numbers so that every wire leads forward.
    pub(crate) order: Vec<usize>,
    pub(crate) roots: Vec<Root>,
    /// The nodes that feed each needed one, each once.
    pub(crate) parents: Table,
    /// The needed nodes that each one feeds.
    pub(crate) children: Table,
    pub(crate) search: Search,
    /// Graph files used as nodes.
    pub(crate) parts: Vec<PartFile>,
}

/// A value that the run is for.
#[derive(Debug, Clone)]
pub(crate) struct Root {
    pub(crate) node: usize,
    /// How the report calls each output wanted; empty for effects.
    pub(crate) wanted: Vec<(usize, String)>,
}

/// A node of a plan.
#[derive(Clone)]
pub struct Planned {
    pub(crate) name: Arc<str>,
    pub(crate) kind: Arc<Kind>,
    pub(crate) source: Arc<Source>,
    pub(crate) span: Span,
    /// Where each field stands, for errors while running.
    pub(crate) fields: Vec<(&'static str, Span)>,
    /// Sources of values that the spans of `--set` flags point into.
    pub(crate) flags: Arc<Vec<Arc<Source>>>,
    /// Wires of each port in the order of the kind's ports.
    pub(crate) ports: Vec<Vec<Wire>>,
    /// Settings with inputs replaced; those of `linked` are missing here.
    pub(crate) settings: Vec<(Spanned<String>, Spanned<Lit>)>,
    /// Settings that come through a link.
    pub(crate) linked: Vec<(Spanned<String>, Span, Wire)>,
    /// The built node; missing while a setting is linked.
    pub(crate) bound: Option<Arc<Bound>>,
    pub(crate) facts: Vec<FactSet>,
    /// In what ways its work can be done, the best first; empty where that is not known.
    pub(crate) ways: Vec<Way>,
    pub(crate) folder: Arc<Path>,
    pub(crate) needed: bool,
}

/// Where a value comes from.
#[derive(Debug, Clone)]
pub enum Wire {
    /// An output of a node, both by number.
    Node {
        /// The node's number in the plan.
        node: usize,
        /// The output's number in its kind.
        output: usize,
    },
    /// A value that the graph itself holds: an input on a port.
    Value(Value),
}

impl Plan {
    /// Plans a graph.
    ///
    /// # Errors
    /// Everything that is wrong with it, in the order of the file.
    pub fn new(graph: &Graph, kinds: &Kinds, options: &Options) -> Result<Self, Diagnostics> {
        let mut planner = Planner::new(kinds, options);
        let mut plan = planner.plan(graph);
        planner.errors.extend(planner.unused_sets());
        match planner.errors.is_empty() {
            true => {
                plan.search = options.search.clone();
                plan.parents = Table::parents(&plan.nodes);
                plan.children = plan.parents.turned();
                Ok(plan)
            }
            false => Err(sorted(planner.errors, &graph.source.name)),
        }
    }

    /// The graph file's name, as the user gave it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// All nodes, in the order of the files, inner nodes of parts after their part's place.
    pub fn nodes(&self) -> impl Iterator<Item = &Planned> {
        self.nodes.iter()
    }

    /// Nodes so that every link leads forward.
    pub fn in_order(&self) -> impl Iterator<Item = &Planned> {
        self.order.iter().map(|at| &self.nodes[*at])
    }

    /// The node of that name.
    pub fn node(&self, name: &str) -> Option<&Planned> {
        self.nodes.iter().find(|node| *node.name == *name)
    }

    /// The graph file and those of its parts, as messages call them.
    pub fn sources(&self) -> impl Iterator<Item = &Path> {
        self.sources.iter().map(PathBuf::as_path)
    }

    /// Every file and folder that the nodes read, found where it is: for `watch` and `lock`.
    pub fn reads(&self) -> impl Iterator<Item = &Path> {
        let bound = self.nodes.iter().filter_map(|node| node.bound.as_ref());
        bound.flat_map(|bound| bound.reads.iter().map(|located| located.path.as_path()))
    }

    /// The name of what a wire comes from: `model.vae`, or its value.
    pub fn describe(&self, wire: &Wire) -> String {
        match wire {
            Wire::Node { node, output } => {
                let node = &self.nodes[*node];
                format!("{}.{}", node.name, node.kind.outputs[*output].name)
            }
            Wire::Value(value) => value
                .literal()
                .map_or_else(|| value.type_name().to_owned(), |lit| lit.to_string()),
        }
    }
}

impl Planned {
    /// Its name; inner nodes of parts are `hires/decode`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its kind.
    pub fn kind(&self) -> &Arc<Kind> {
        &self.kind
    }

    /// Whether a root needs it, so that it is run.
    pub fn is_needed(&self) -> bool {
        self.needed
    }

    /// What is known of each output, in the order of the kind.
    pub fn facts(&self) -> &[FactSet] {
        &self.facts
    }

    /// Wires of each port, in the order of the kind's ports.
    pub fn ports(&self) -> &[Vec<Wire>] {
        &self.ports
    }

    /// Settings that come through a link: their names and wires.
    pub fn linked(&self) -> impl Iterator<Item = (&str, &Wire)> {
        self.linked
            .iter()
            .map(|(name, _, wire)| (name.value.as_str(), wire))
    }

    /// Settings that differ from their defaults, as literals; none while a setting is linked.
    pub fn settings(&self) -> &[(&'static str, Lit)] {
        self.bound.as_ref().map_or(&[], |bound| &bound.written)
    }

    /// Where its name stands.
    pub fn place(&self) -> Place {
        Place {
            source: self.source.clone(),
            span: self.span,
        }
    }

    /// Where one of its fields stands; its name where the field is left out.
    pub fn field_place(&self, field: Option<&str>) -> Place {
        let found = self.fields.iter().find(|(name, _)| Some(*name) == field);
        self.place_of(found.map_or(self.span, |(_, span)| *span))
    }

    pub(crate) fn place_of(&self, span: Span) -> Place {
        place_of(span, &self.source, &self.flags)
    }

    /// The wires of all ports, port by port.
    pub(crate) fn wires(&self) -> impl Iterator<Item = &Wire> + Clone {
        self.ports.iter().flatten()
    }

    /// `of` every wire of the ports, where it gives something for all of them.
    pub(crate) fn of_wires<T>(&self, of: impl Fn(&Wire) -> Option<T>) -> Option<Vec<T>> {
        let mut all = Vec::with_capacity(self.ports.iter().map(Vec::len).sum());
        for wire in self.wires() {
            all.push(of(wire)?);
        }
        Some(all)
    }

    /// Every node that this one needs, by number.
    pub(crate) fn parents(&self) -> impl Iterator<Item = usize> {
        let linked = self.linked.iter().map(|(_, _, wire)| wire);
        self.wires().chain(linked).filter_map(|wire| match wire {
            Wire::Node { node, .. } => Some(*node),
            Wire::Value(_) => None,
        })
    }

    pub(crate) fn is_effect(&self) -> bool {
        self.kind.nature == Nature::Effect
    }
}

impl std::fmt::Debug for Planned {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.name, self.kind.name)
    }
}

/// Spans into `--set` flag number `i` start at `(i + 1) << FLAG_SHIFT`: one number tells both the
/// flag and the place in it, as a compiler's source map does.
const FLAG_SHIFT: u32 = 40;

fn place_of(span: Span, source: &Arc<Source>, flags: &[Arc<Source>]) -> Place {
    let (flag, base) = (
        span.start >> FLAG_SHIFT,
        (span.start >> FLAG_SHIFT) << FLAG_SHIFT,
    );
    match flag.checked_sub(1).and_then(|flag| flags.get(flag)) {
        Some(flag) => {
            let span = Span {
                start: span.start - base,
                end: span.end - base,
            };
            Place {
                source: flag.clone(),
                span,
            }
        }
        None => Place {
            source: source.clone(),
            span,
        },
    }
}

/// The work of planning: what all its stages share.
struct Planner<'a> {
    kinds: &'a Kinds,
    options: &'a Options,
    sets: Vec<Set>,
    flags: Arc<Vec<Arc<Source>>>,
    scopes: Vec<expand::Scope<'a>>,
    errors: Vec<Diagnostic>,
}

/// One `--set target=value`.
struct Set {
    target: String,
    value: String,
    /// Byte offset of the value in the flag's source.
    value_at: usize,
    used: std::cell::Cell<bool>,
}

impl<'a> Planner<'a> {
    fn new(kinds: &'a Kinds, options: &'a Options) -> Self {
        let mut errors = Vec::new();
        let (mut sets, mut flags) = (Vec::new(), Vec::new());
        for typed in &options.sets {
            let source = Source::new("--set", typed.clone());
            match typed.split_once('=') {
                Some((target, value)) => sets.push(Set {
                    target: target.trim().to_owned(),
                    value: value.to_owned(),
                    value_at: target.len() + 1,
                    used: std::cell::Cell::new(false),
                }),
                None => {
                    let place = Place {
                        source: source.clone(),
                        span: (0..typed.len()).into(),
                    };
                    let message = format!("`--set {typed}` has no `=`");
                    let hint = "write `--set name=value` or `--set node.setting=value`";
                    errors.push(Diagnostic::error(message).at(&place).hint(hint));
                    continue;
                }
            }
            flags.push(source);
        }
        let flags = Arc::new(flags);
        Self {
            kinds,
            options,
            sets,
            flags,
            scopes: Vec::new(),
            errors,
        }
    }

    fn plan(&mut self, graph: &'a Graph) -> Plan {
        let raw = self.expand(graph);
        let nodes = self.resolve(&raw);
        self.check_parts(&raw);
        let mut plan = Plan {
            name: graph.source.name.clone(),
            sources: self.sources(),
            nodes,
            order: Vec::new(),
            roots: Vec::new(),
            parents: Table::default(),
            children: Table::default(),
            search: Search::default(),
            parts: self.part_files(),
        };
        if let Some(order) = self.order(&plan.nodes) {
            plan.order = order;
            self.bind(&mut plan);
        }
        // Wrong wires would only make wrong roots; the errors so far are what to fix.
        if self.errors.is_empty() {
            self.choose_roots(graph, &raw, &mut plan);
        }
        plan
    }

    fn sources(&self) -> BTreeSet<PathBuf> {
        let names = self.scopes.iter().map(|scope| &scope.graph.source.name);
        names
            .collect::<BTreeSet<_>>()
            .into_iter()
            .map(PathBuf::from)
            .collect()
    }

    /// The last `--set` for that target, as a literal of the wanted form.
    fn set_for(&self, target: &str, text: bool) -> Option<Result<Spanned<Lit>, Diagnostic>> {
        let mut found = None;
        for (i, set) in self
            .sets
            .iter()
            .enumerate()
            .filter(|(_, set)| set.target == target)
        {
            set.used.set(true);
            found = Some(i);
        }
        let i = found?;
        let set = &self.sets[i];
        let base = (i + 1) << FLAG_SHIFT;
        let span = Span::from(base + set.value_at..base + set.value_at + set.value.len());
        if text {
            return Some(Ok(Spanned::new(Lit::Text(set.value.clone()), span)));
        }
        let source = Source::new("--set", set.value.clone());
        let lit = crate::literal::read(&source);
        Some(
            lit.map(|lit| Spanned {
                value: respan(lit.value, span),
                span,
            })
            .map_err(|error| {
                let place = place_of(span, &self.flags[i], &self.flags);
                Diagnostic::error(error.message)
                    .at(&place)
                    .maybe_hint(error.hint)
            }),
        )
    }

    fn unused_sets(&self) -> Vec<Diagnostic> {
        let unused = self
            .sets
            .iter()
            .enumerate()
            .filter(|(_, set)| !set.used.get());
        unused.map(|(i, set)| self.unknown_set(i, set)).collect()
    }

    fn unknown_set(&self, i: usize, set: &Set) -> Diagnostic {
        let place = Place {
            source: self.flags[i].clone(),
            span: (0..set.target.len()).into(),
        };
        let message = format!("there is no input or setting `{}` to set", set.target);
        let known = self.settable();
        let hint = crate::names::hint(&set.target, known.iter().map(String::as_str));
        Diagnostic::error(message).at(&place).maybe_hint(hint)
    }
}

/// Gives every part of a literal one span, for literals that replace an `Input("x")`.
fn respan(lit: Lit, span: Span) -> Lit {
    let items = |items: Vec<Spanned<Lit>>| {
        items
            .into_iter()
            .map(|i| Spanned {
                value: respan(i.value, span),
                span,
            })
            .collect()
    };
    match lit {
        Lit::List(list) => Lit::List(items(list)),
        Lit::Call(mut call) => {
            call.name.span = span;
            call.args = match call.args {
                crate::literal::Args::Positional(list) => {
                    crate::literal::Args::Positional(items(list))
                }
                crate::literal::Args::Named(fields) => {
                    let field = |(name, value): (Spanned<String>, Spanned<Lit>)| {
                        let value = Spanned {
                            value: respan(value.value, span),
                            span,
                        };
                        (
                            Spanned {
                                value: name.value,
                                span,
                            },
                            value,
                        )
                    };
                    crate::literal::Args::Named(fields.into_iter().map(field).collect())
                }
                crate::literal::Args::None => crate::literal::Args::None,
            };
            Lit::Call(call)
        }
        other => other,
    }
}

/// Errors of the main file first, each file's in its own order.
fn sorted(mut errors: Vec<Diagnostic>, main: &str) -> Diagnostics {
    errors.sort_by_key(|error| {
        let label = error.labels.first();
        label.map(|label| (label.file != main, label.file.clone(), label.start))
    });
    errors.dedup();
    Diagnostics(errors)
}
