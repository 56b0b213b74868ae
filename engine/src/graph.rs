//! The graph file, parsed, with the place of every token. Knows text and nothing else.
//!
//! Promises
//! - Any bytes give a graph or errors with places; never a panic, a stack overflow, or memory in
//!   proportion to a lie.
//! - All errors of shape are reported at once; the first error of syntax ends the reading.
//!
//! Not here: whether kinds, names and types fit (`plan`).

use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::literal::{self, Args, Lit};
use crate::names;
use crate::place::{Place, Source, Span, Spanned};

/// The format this program reads; a newer one is refused by name.
pub(crate) const FORMAT: i128 = 1;
/// Largest graph file in bytes.
pub(crate) const LARGEST: u64 = 64 << 20;

/// The types that inputs can have defaults of.
pub(crate) const SCALARS: [&str; 4] = ["Text", "Int", "Float", "Bool"];

/// A parsed graph file.
#[derive(Debug, Clone)]
pub struct Graph {
    /// The text that all spans point into.
    pub source: Arc<Source>,
    /// The folder of the file: reading starts here.
    pub folder: PathBuf,
    /// The file's name without its extension: `{graph}` in templates.
    pub stem: String,
    /// Parameters, in the file's order.
    pub inputs: Vec<InputDecl>,
    /// Nodes, in the file's order.
    pub nodes: Vec<NodeDecl>,
    /// Outputs by name, each a link.
    pub outputs: Vec<(Spanned<String>, Spanned<String>)>,
}

/// A parameter of a graph.
#[derive(Debug, Clone)]
pub struct InputDecl {
    /// Its name.
    pub name: Spanned<String>,
    /// Its type: one of [`SCALARS`], or any when required.
    pub data: Spanned<String>,
    /// Its default; `None` when it is `Required(…)`.
    pub default: Option<Spanned<Lit>>,
}

/// A node as written.
#[derive(Debug, Clone)]
pub struct NodeDecl {
    /// Its name.
    pub name: Spanned<String>,
    /// Its kind's name, `Part` for a graph used as a node.
    pub kind: Spanned<String>,
    /// Its fields in the file's order, doubled ones included.
    pub fields: Vec<(Spanned<String>, Spanned<Lit>)>,
}

/// Reads one entry of a map: its name and its value.
type ReadEntry<T> = fn(&Graph, Spanned<String>, Spanned<Lit>) -> Result<T, Diagnostic>;

impl Graph {
    /// Reads a graph file.
    ///
    /// # Errors
    /// When the file cannot be read, is too large or no UTF-8, and all that `parse` reports.
    pub fn read(path: &Path) -> Result<Self, Diagnostics> {
        let name = path.display().to_string();
        let bytes = read_limited(path).map_err(Diagnostic::error)?;
        let text = String::from_utf8(bytes).map_err(|error| {
            let at = error.utf8_error().valid_up_to();
            let good = String::from_utf8_lossy(&error.as_bytes()[..at]).into_owned();
            let source = Source::new(&name, good);
            let place = Place {
                source,
                span: (at..at).into(),
            };
            Diagnostic::error(format!("{name} is not UTF-8 text")).at(&place)
        })?;
        Self::parse(Source::new(name, text), path)
    }

    /// Parses a graph's text; `path` is where it is or would be saved.
    ///
    /// # Errors
    /// The first error of syntax, or all errors of shape.
    pub fn parse(source: Arc<Source>, path: &Path) -> Result<Self, Diagnostics> {
        let folder = path.parent().unwrap_or(Path::new("")).to_owned();
        let stem = path
            .file_stem()
            .map_or_else(String::new, |s| s.to_string_lossy().into_owned());
        refuse_json(&source)?;
        let root = literal::read(&source)?;
        let mut graph = Self {
            source,
            folder,
            stem,
            inputs: vec![],
            nodes: vec![],
            outputs: vec![],
        };
        let mut errors = Vec::new();
        graph.interpret(root, &mut errors);
        if errors.is_empty() {
            Ok(graph)
        } else {
            Err(Diagnostics(errors))
        }
    }

    /// A place in this graph's file.
    pub fn place(&self, span: Span) -> Place {
        Place {
            source: self.source.clone(),
            span,
        }
    }

    /// The input of that name.
    pub fn input(&self, name: &str) -> Option<&InputDecl> {
        self.inputs.iter().find(|input| input.name.value == name)
    }

    fn error(&self, span: Span, message: impl Into<String>) -> Diagnostic {
        Diagnostic::error(message).at(&self.place(span))
    }

    fn interpret(&mut self, root: Spanned<Lit>, errors: &mut Vec<Diagnostic>) {
        let span = root.span;
        let Lit::Call(call) = root.value else {
            let found = root.value.describe();
            let message = format!("a graph file holds `Graph(nodes: {{…}})`, found {found}");
            return errors.push(self.error(span, message));
        };
        let known = ["format", "inputs", "nodes", "outputs"];
        let fields = match (call.name.value.as_str(), call.args) {
            ("Graph", Args::Named(fields)) => fields,
            ("Graph", Args::Positional(items)) if items.is_empty() => Vec::new(),
            ("Graph", _) => {
                let message = "`Graph` holds named fields: `nodes: {…}`";
                return errors.push(self.error(span, message));
            }
            ("", _) => {
                let place = (span.start..span.start + 1).into();
                let message = "the brackets of a graph file need `Graph` before them";
                return errors.push(self.error(place, message).hint("write `Graph(` for `(`"));
            }
            (other, _) => {
                let message = format!("a graph file holds `Graph(…)`, found `{other}`");
                return errors.push(self.error(call.name.span, message));
            }
        };
        let names = fields.iter();
        let names = names.map(|(name, _)| (name.value.as_str(), name.span));
        self.report_doubles(names, "field", errors);
        let mut has_nodes = false;
        for (name, value) in fields {
            match name.value.as_str() {
                "format" => self.check_format(&value, errors),
                "inputs" => self.inputs = self.map(value, "inputs", errors, Self::input_decl),
                "nodes" => {
                    has_nodes = true;
                    self.nodes = self.map(value, "nodes", errors, Self::node_decl);
                }
                "outputs" => self.outputs = self.map(value, "outputs", errors, Self::output_decl),
                other => {
                    let message = format!("`Graph` has no field `{other}`");
                    let hint = names::hint(other, known);
                    errors.push(self.error(name.span, message).maybe_hint(hint));
                }
            }
        }
        if !has_nodes {
            errors.push(self.error(call.name.span, "`Graph` needs `nodes: {…}`"));
        }
    }

    fn check_format(&self, value: &Spanned<Lit>, errors: &mut Vec<Diagnostic>) {
        match value.value {
            Lit::Int(FORMAT) => {}
            Lit::Int(newer) if newer > FORMAT => {
                let message = format!("this graph has format {newer}, this program reads {FORMAT}");
                errors.push(
                    self.error(value.span, message)
                        .hint("use a newer ldm-graph"),
                );
            }
            _ => {
                let message = format!("`format` is {FORMAT}, found {}", value.value);
                errors.push(self.error(value.span, message));
            }
        }
    }

    /// Reads `{"name": value, …}`, reporting names that are illegal or doubled.
    fn map<T>(
        &self,
        value: Spanned<Lit>,
        field: &str,
        errors: &mut Vec<Diagnostic>,
        read: ReadEntry<T>,
    ) -> Vec<T> {
        let Lit::Map(entries) = value.value else {
            let found = value.value.describe();
            let message = format!("`{field}` is a map `{{\"name\": …}}`, found {found}");
            errors.push(self.error(value.span, message));
            return Vec::new();
        };
        let mut doubles = Vec::new();
        let names = entries.iter().filter_map(|(key, _)| match &key.value {
            Lit::Text(name) if names::is_legal(name) => Some((name.as_str(), key.span)),
            _ => None,
        });
        self.report_doubles(names, "name", &mut doubles);
        let mut items = Vec::with_capacity(entries.len());
        for (key, value) in entries {
            let name = match key.value {
                Lit::Text(name) if names::is_legal(&name) => Spanned::new(name, key.span),
                other => {
                    errors.push(self.illegal_name(key.span, &other));
                    continue;
                }
            };
            match read(self, name, value) {
                Ok(item) => items.push(item),
                Err(error) => errors.push(error),
            }
        }
        errors.extend(doubles);
        items
    }

    fn illegal_name(&self, span: Span, found: &Lit) -> Diagnostic {
        let message = match found {
            Lit::Text(name) => format!("`{}` is no legal name", name.escape_debug()),
            other => format!("a name is text in quotes, found {}", other.describe()),
        };
        let hint = "names start with a letter or `_` and hold letters, digits, `_` and `-`";
        self.error(span, message).hint(hint)
    }

    fn report_doubles<'a>(
        &self,
        names: impl Iterator<Item = (&'a str, Span)>,
        what: &str,
        errors: &mut Vec<Diagnostic>,
    ) {
        let most = names.size_hint().1.unwrap_or(0);
        let mut seen = std::collections::HashMap::with_capacity(most);
        for (name, span) in names {
            if let Some(first) = seen.insert(name, span) {
                let message = format!("the {what} `{name}` is given twice");
                let error = self.error(span, message);
                errors.push(error.also(&self.place(first), "first here"));
            }
        }
    }

    fn input_decl(
        &self,
        name: Spanned<String>,
        value: Spanned<Lit>,
    ) -> Result<InputDecl, Diagnostic> {
        let wrong = |found: &Lit| {
            let found = found.describe();
            let message = format!("the input `{}` has no type, found {found}", name.value);
            let hint = "write `Text(\"…\")`, `Int(4)`, `Float(5.0)`, `Bool(true)` or \
                        `Required(Latent)`";
            self.error(value.span, message).hint(hint)
        };
        let Lit::Call(call) = &value.value else {
            return Err(wrong(&value.value));
        };
        let Args::Positional(items) = &call.args else {
            return Err(wrong(&value.value));
        };
        let [item] = items.as_slice() else {
            return Err(wrong(&value.value));
        };
        if call.name.value == "Required" {
            return match &item.value {
                Lit::Call(data) if data.args == Args::None => Ok(InputDecl {
                    name,
                    data: data.name.clone(),
                    default: None,
                }),
                other => Err(wrong(other)),
            };
        }
        if !SCALARS.contains(&call.name.value.as_str()) {
            let message = format!("an input cannot be a `{}`", call.name.value);
            let known = SCALARS.iter().copied().chain(["Required"]);
            let hint = names::hint(&call.name.value, known);
            return Err(self.error(call.name.span, message).maybe_hint(hint));
        }
        let default = scalar(&call.name.value, item.clone()).map_err(|message| {
            self.error(item.span, format!("the input `{}` {message}", name.value))
        })?;
        Ok(InputDecl {
            name,
            data: call.name.clone(),
            default: Some(default),
        })
    }

    fn node_decl(
        &self,
        name: Spanned<String>,
        value: Spanned<Lit>,
    ) -> Result<NodeDecl, Diagnostic> {
        let hint = |name: &str| format!("write `\"{name}\": Kind(field: value)`");
        let call = match value.value {
            Lit::Call(call) if !call.name.value.is_empty() => call,
            other => {
                let message = format!("`{}` is no node, found {}", name.value, other.describe());
                let error = self.error(value.span, message);
                return Err(error.hint(hint(&name.value)));
            }
        };
        let fields = match call.args {
            Args::None => Vec::new(),
            Args::Named(fields) => fields,
            Args::Positional(items) => match items.first() {
                None => Vec::new(),
                Some(item) => {
                    let message = format!("`{}` needs names for its fields", name.value);
                    let error = self.error(item.span, message);
                    return Err(error.hint(hint(&name.value)));
                }
            },
        };
        Ok(NodeDecl {
            name,
            kind: call.name,
            fields,
        })
    }

    fn output_decl(
        &self,
        name: Spanned<String>,
        value: Spanned<Lit>,
    ) -> Result<(Spanned<String>, Spanned<String>), Diagnostic> {
        match value.value {
            Lit::Text(link) => Ok((name, Spanned::new(link, value.span))),
            other => {
                let message = format!("the output `{}` is no link", name.value);
                let error = self.error(value.span, message);
                Err(error.hint(format!("write `\"node.output\"` for {}", other.describe())))
            }
        }
    }
}

/// A literal of a scalar type: Int is taken for Float, nothing else is bent.
pub(crate) fn scalar(data: &str, lit: Spanned<Lit>) -> Result<Spanned<Lit>, String> {
    #[allow(clippy::cast_precision_loss)]
    let value = match (data, lit.value) {
        ("Text", value @ Lit::Text(_))
        | ("Int", value @ Lit::Int(_))
        | ("Bool", value @ Lit::Bool(_)) => value,
        ("Float", Lit::Int(value)) => Lit::Float(value as f64),
        ("Float", Lit::Float(value)) if value.is_finite() => Lit::Float(value),
        ("Float", Lit::Float(value)) => {
            return Err(format!("wants a finite number, found {value}"));
        }
        (_, other) => return Err(format!("wants {data}, found {}", other.describe())),
    };
    Ok(Spanned {
        value,
        span: lit.span,
    })
}

fn refuse_json(source: &Arc<Source>) -> Result<(), Diagnostic> {
    let text = source.text.trim_start_matches('\u{feff}');
    let start = source.text.len() - text.trim_start().len();
    if !text.trim_start().starts_with('{') {
        return Ok(());
    }
    let place = Place {
        source: source.clone(),
        span: (start..start + 1).into(),
    };
    let error = Diagnostic::error("this looks like JSON; a graph file is RON").at(&place);
    Err(error.hint("start with `Graph(nodes: {\"name\": Kind(field: value)})`"))
}

fn read_limited(path: &Path) -> Result<Vec<u8>, String> {
    let cannot = |error: std::io::Error| format!("cannot read {}: {error}", path.display());
    let file = std::fs::File::open(path).map_err(cannot)?;
    let mut bytes = Vec::new();
    file.take(LARGEST + 1)
        .read_to_end(&mut bytes)
        .map_err(cannot)?;
    if bytes.len() as u64 > LARGEST {
        let most = LARGEST >> 20;
        return Err(format!(
            "{} is larger than {most} MiB, no graph is",
            path.display()
        ));
    }
    Ok(bytes)
}
