//! Parts become nodes: every graph file is a scope, every node of it gets its full name.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::diagnostic::Diagnostic;
use crate::graph::{Graph, NodeDecl, scalar};
use crate::literal::Lit;
use crate::names;
use crate::paths::shown;
use crate::place::{Place, Span, Spanned};

use super::{Planner, place_of, respan};

/// Deepest nesting of parts.
const DEEPEST: usize = 24;
/// Most nodes of a plan, parts included.
const MOST_NODES: usize = 4_000_000;

/// The reserved kind: a graph used as a node.
pub(super) const PART: &str = "Part";

/// A graph in use.
#[derive(Clone)]
pub(super) enum Opened<'a> {
    /// The one that is planned, which may be large.
    Given(&'a Graph),
    /// One that a part was read from.
    Read(Arc<Graph>),
}

impl std::ops::Deref for Opened<'_> {
    type Target = Graph;
    fn deref(&self) -> &Graph {
        match self {
            Self::Given(graph) => graph,
            Self::Read(graph) => graph,
        }
    }
}

/// One use of a graph file: the whole graph, or a part in it.
pub(super) struct Scope<'a> {
    pub(super) graph: Opened<'a>,
    /// `""`, `"hires/"`.
    pub(super) prefix: String,
    pub(super) names: HashMap<String, Entry>,
    /// The scope and fields that the inputs are bound by.
    pub(super) parent: Option<(usize, Vec<Field>)>,
    /// Scalar inputs set from outside.
    pub(super) set: HashMap<String, Spanned<Lit>>,
    pub(super) folder: Arc<Path>,
}

pub(super) type Field = (Spanned<String>, Spanned<Lit>);

/// What a name in a scope stands for.
#[derive(Clone, Copy)]
pub(super) enum Entry {
    /// A node, by its number.
    Node(usize),
    /// A part, by its scope.
    Part(usize),
    /// A node with errors of its own, so that links to it are no further errors.
    Broken,
}

/// A node of the flat plan, not yet resolved.
pub(super) struct Raw {
    pub(super) scope: usize,
    /// Its number in the scope's file.
    pub(super) decl: usize,
    pub(super) kind: Arc<crate::kind::Kind>,
}

/// A part still to be opened.
struct Todo {
    scope: usize,
    chain: Vec<PathBuf>,
}

impl<'a> Planner<'a> {
    pub(super) fn expand(&mut self, graph: &'a Graph) -> Vec<Raw> {
        let folder: Arc<Path> = graph.folder.as_path().into();
        let chain = std::path::absolute(&graph.source.name)
            .into_iter()
            .collect();
        self.scopes.push(Scope {
            graph: Opened::Given(graph),
            prefix: String::new(),
            names: HashMap::with_capacity(graph.nodes.len()),
            parent: None,
            set: HashMap::new(),
            folder,
        });
        let mut raw = Vec::with_capacity(graph.nodes.len());
        let mut files = HashMap::new();
        let mut todo = vec![Todo { scope: 0, chain }];
        while let Some(next) = todo.pop() {
            self.check_inputs(next.scope);
            self.expand_scope(next, &mut raw, &mut files, &mut todo);
        }
        raw
    }

    fn expand_scope(
        &mut self,
        Todo { scope, chain }: Todo,
        raw: &mut Vec<Raw>,
        files: &mut HashMap<PathBuf, Option<Arc<Graph>>>,
        todo: &mut Vec<Todo>,
    ) {
        let graph = self.scopes[scope].graph.clone();
        for (number, decl) in graph.nodes.iter().enumerate() {
            let entry = if decl.kind.value == PART {
                match self.open_part(scope, decl, &chain, files) {
                    Ok((inner, chain)) => {
                        todo.push(Todo {
                            scope: inner,
                            chain,
                        });
                        Entry::Part(inner)
                    }
                    Err(error) => self.broken(error),
                }
            } else if raw.len() >= MOST_NODES {
                self.broken(None)
            } else {
                match self.kinds.get(&decl.kind.value) {
                    Some(kind) => {
                        raw.push(Raw {
                            scope,
                            decl: number,
                            kind: kind.clone(),
                        });
                        Entry::Node(raw.len() - 1)
                    }
                    None => self.broken(Some(self.unknown_kind(&graph, decl))),
                }
            };
            self.scopes[scope]
                .names
                .insert(decl.name.value.clone(), entry);
        }
        if raw.len() >= MOST_NODES {
            let message = format!("the parts of this graph unfold to over {MOST_NODES} nodes");
            self.errors.push(Diagnostic::error(message));
            todo.clear();
        }
    }

    fn broken(&mut self, error: Option<Diagnostic>) -> Entry {
        self.errors.extend(error);
        Entry::Broken
    }

    fn unknown_kind(&self, graph: &Graph, decl: &NodeDecl) -> Diagnostic {
        let message = format!("there is no kind of node `{}`", decl.kind.value);
        let known = self.kinds.iter().map(|kind| kind.name).chain([PART]);
        let hint = names::nearest(&decl.kind.value, known).map_or_else(
            || "`ldm-graph nodes` lists them".to_owned(),
            |name| format!("did you mean `{name}`?"),
        );
        Diagnostic::error(message)
            .at(&graph.place(decl.kind.span))
            .hint(hint)
    }

    /// Opens the file of a part and makes its scope.
    fn open_part(
        &mut self,
        scope: usize,
        decl: &NodeDecl,
        chain: &[PathBuf],
        files: &mut HashMap<PathBuf, Option<Arc<Graph>>>,
    ) -> Result<(usize, Vec<PathBuf>), Option<Diagnostic>> {
        let outer = self.scopes[scope].graph.clone();
        let (path, span) = self.part_path(scope, decl)?;
        let place = outer.place(span);
        let real = path.canonicalize().unwrap_or_else(|_| path.clone());
        let canonical = |p: &PathBuf| p.canonicalize().unwrap_or_else(|_| p.clone());
        if chain.iter().any(|before| canonical(before) == real) {
            let message = format!("`{}` contains itself: {}", decl.name.value, shown(&path));
            let hint = "a part cannot use the graph that uses it";
            return Err(Some(Diagnostic::error(message).at(&place).hint(hint)));
        }
        if chain.len() > DEEPEST {
            let message = format!("parts nest deeper than {DEEPEST} levels");
            return Err(Some(Diagnostic::error(message).at(&place)));
        }
        let graph = match files.get(&real) {
            Some(known) => known.clone(),
            None => {
                let read = self.read_part(&path, &place);
                files.insert(real, read.clone());
                read
            }
        };
        let graph = graph.ok_or(None)?;
        let prefix = format!("{}{}/", self.scopes[scope].prefix, decl.name.value);
        let fields = self.part_fields(scope, &graph, decl, &prefix);
        let folder = path.parent().unwrap_or(Path::new("")).into();
        let parent = Some((scope, fields));
        self.scopes.push(Scope {
            graph: Opened::Read(graph),
            prefix,
            names: HashMap::new(),
            parent,
            set: HashMap::new(),
            folder,
        });
        let chain = chain.iter().cloned().chain([path]).collect();
        Ok((self.scopes.len() - 1, chain))
    }

    fn read_part(&mut self, path: &Path, place: &Place) -> Option<Arc<Graph>> {
        let name = PathBuf::from(shown(path));
        match Graph::read(&name) {
            Ok(graph) => Some(Arc::new(graph)),
            Err(errors) => {
                for mut error in errors.0 {
                    if error.labels.is_empty() {
                        error = error.at(place);
                    }
                    self.errors.push(error);
                }
                None
            }
        }
    }

    fn part_path(
        &self,
        scope: usize,
        decl: &NodeDecl,
    ) -> Result<(PathBuf, Span), Option<Diagnostic>> {
        let graph = &self.scopes[scope].graph;
        let field = decl.fields.iter().find(|(name, _)| name.value == "graph");
        let Some((_, value)) = field else {
            let message = format!("`{}` needs `graph`", decl.name.value);
            let error = Diagnostic::error(message).at(&graph.place(decl.kind.span));
            return Err(Some(error.hint("add `graph: \"parts/name.ron\"`")));
        };
        let Lit::Text(text) = &value.value else {
            let found = value.value.describe();
            let message = format!("`{}.graph` wants a path, found {found}", decl.name.value);
            return Err(Some(
                Diagnostic::error(message).at(&graph.place(value.span)),
            ));
        };
        let folder = &self.scopes[scope].folder;
        match self.options.search.find(folder, text) {
            Ok(path) => Ok((path, value.span)),
            Err(tried) => {
                let message = format!("there is no file `{text}`");
                let error = Diagnostic::error(message).at(&graph.place(value.span));
                Err(Some(error.hint(super::bind::tried(&tried))))
            }
        }
    }

    /// Checks a part's fields against the inputs of its graph.
    fn part_fields(
        &mut self,
        scope: usize,
        inner: &Graph,
        decl: &NodeDecl,
        prefix: &str,
    ) -> Vec<Field> {
        let outer = self.scopes[scope].graph.clone();
        let mut fields: Vec<Field> = Vec::new();
        for (name, value) in decl.fields.iter().filter(|(name, _)| name.value != "graph") {
            let place = outer.place(name.span);
            let Some(input) = inner.input(&name.value) else {
                let message = format!(
                    "the part `{}` has no input `{}`",
                    decl.name.value, name.value
                );
                let known = inner.inputs.iter().map(|input| input.name.value.as_str());
                let hint = names::hint(&name.value, known);
                self.errors
                    .push(Diagnostic::error(message).at(&place).maybe_hint(hint));
                continue;
            };
            if fields.iter().any(|(before, _)| before.value == name.value) {
                let message = format!("`{}` is given twice", name.value);
                self.errors.push(Diagnostic::error(message).at(&place));
                continue;
            }
            match self.part_field(input, value) {
                Ok(value) => fields.push((name.clone(), value)),
                Err(message) => {
                    let message = format!("`{}.{}` {message}", decl.name.value, name.value);
                    self.errors
                        .push(Diagnostic::error(message).at(&outer.place(value.span)));
                    fields.push((
                        name.clone(),
                        Spanned::new(Lit::call("", vec![]), value.span),
                    ));
                }
            }
        }
        for input in &inner.inputs {
            let target = format!("{}.{}", prefix.trim_end_matches('/'), input.name.value);
            match self.set_for(&target, input.data.value == "Text") {
                Some(Ok(value)) => {
                    fields.retain(|(name, _)| name.value != input.name.value);
                    fields.push((input.name.clone(), value));
                }
                Some(Err(error)) => self.errors.push(error),
                None => {}
            }
            let given = fields
                .iter()
                .any(|(name, _)| name.value == input.name.value);
            if input.default.is_none() && !given {
                let (part, data) = (&decl.name.value, &input.data.value);
                let message = format!("`{part}` needs `{}`, a {data}", input.name.value);
                let error = Diagnostic::error(message).at(&outer.place(decl.kind.span));
                let note = "wanted here";
                self.errors
                    .push(error.also(&inner.place(input.name.span), note));
            }
        }
        fields
    }

    /// A field of a part: a scalar input takes a literal of its type, all take what is linked.
    fn part_field(
        &self,
        input: &crate::graph::InputDecl,
        value: &Spanned<Lit>,
    ) -> Result<Spanned<Lit>, String> {
        let data = input.data.value.as_str();
        let linked = value.value.is_call("Link") || value.value.is_call("Input");
        if linked || !crate::graph::SCALARS.contains(&data) {
            return Ok(value.clone());
        }
        scalar(data, value.clone())
    }

    /// Checks a scope's inputs: known types, and for the whole graph, `--set` values and what is
    /// required.
    fn check_inputs(&mut self, scope: usize) {
        let graph = self.scopes[scope].graph.clone();
        for input in &graph.inputs {
            let data = input.data.value.as_str();
            if !self.is_known_type(data) {
                let message = format!("there is no type `{data}`");
                let known = self.type_names();
                let hint = names::hint(data, known);
                let place = graph.place(input.data.span);
                self.errors
                    .push(Diagnostic::error(message).at(&place).maybe_hint(hint));
                continue;
            }
            if scope > 0 {
                continue;
            }
            match self.set_for(&input.name.value, data == "Text") {
                Some(Ok(value)) => self.set_input(&graph, input, value),
                Some(Err(error)) => self.errors.push(error),
                None if input.default.is_none() => {
                    let name = &input.name.value;
                    let message = format!("the input `{name}`, a {data}, is required");
                    let hint = match crate::graph::SCALARS.contains(&data) {
                        true => format!("pass `--set {name}=…`"),
                        false => "this graph is a part: use it as `Part(graph: …)`".to_owned(),
                    };
                    let place = graph.place(input.name.span);
                    self.errors
                        .push(Diagnostic::error(message).at(&place).hint(hint));
                }
                None => {}
            }
        }
    }

    fn set_input(&mut self, graph: &Graph, input: &crate::graph::InputDecl, value: Spanned<Lit>) {
        let span = value.span;
        let name = &input.name.value;
        match scalar(&input.data.value, value) {
            Ok(value) => {
                let value = Spanned {
                    value: respan(value.value, span),
                    span,
                };
                self.scopes[0].set.insert(name.clone(), value);
            }
            Err(message) => {
                let place = place_of(span, &graph.source, &self.flags);
                let error = Diagnostic::error(format!("the input `{name}` {message}")).at(&place);
                self.errors
                    .push(error.also(&graph.place(input.name.span), "declared here"));
            }
        }
    }

    fn is_known_type(&self, data: &str) -> bool {
        crate::graph::SCALARS.contains(&data) || self.type_names().any(|name| name == data)
    }

    fn type_names(&self) -> impl Iterator<Item = &'static str> {
        self.kinds.iter().flat_map(|kind| {
            let ports = kind.ports.iter().map(|port| port.data.name);
            ports.chain(kind.outputs.iter().map(|output| output.data.name))
        })
    }

    /// Everything that `--set` can reach, for hints.
    pub(super) fn settable(&self) -> Vec<String> {
        let mut known = Vec::new();
        for scope in self.scopes.iter().take(100) {
            if scope.parent.is_none() {
                known.extend(
                    scope
                        .graph
                        .inputs
                        .iter()
                        .map(|input| input.name.value.clone()),
                );
            }
            for decl in scope.graph.nodes.iter().take(1000) {
                let Some(kind) = self.kinds.get(&decl.kind.value) else {
                    continue;
                };
                let name = format!("{}{}", scope.prefix, decl.name.value);
                known.extend(kind.settings.iter().map(|s| format!("{name}.{}", s.name)));
            }
        }
        known
    }
}
