//! A lock as text: RON that a person can read and compare line by line.
//!
//! It is read with the reader of graph files, so that an error in it has its place.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use crate::diagnostic::Diagnostic;
use crate::literal::{self, Args, Lit};
use crate::names;
use crate::place::{Place, Source, Span, Spanned};
use crate::value::Identity;

use super::{Lock, Locked};

/// The format this program reads and writes; a newer one is refused by name.
const FORMAT: i128 = 1;

const FIELDS: [&str; 8] = [
    "format", "program", "device", "numerics", "kinds", "seeds", "files", "nodes",
];

impl fmt::Display for Lock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |text: &str| Lit::Text(text.to_owned());
        writeln!(
            f,
            "// Written by `ldm-graph lock`; `ldm-graph run --locked` runs nothing else."
        )?;
        writeln!(f, "Lock(\n    format: {FORMAT},")?;
        writeln!(f, "    program: {},", text(&self.program))?;
        if !self.numerics.is_empty() {
            writeln!(f, "    device: {},", text(&self.device))?;
            writeln!(f, "    numerics: {},", text(&self.numerics))?;
        }
        write_map(f, "kinds", self.kinds.iter())?;
        write_map(f, "seeds", &self.seeds)?;
        let file = |(path, content): (&String, &Identity)| {
            format!("            {}: \"{content}\",\n", text(path))
        };
        let files = self.files.iter().map(|(node, files)| {
            let lines: String = files.iter().map(file).collect();
            (node, format!("{{\n{lines}        }}"))
        });
        write_map(f, "files", files)?;
        write_map(f, "nodes", &self.nodes)?;
        writeln!(f, ")")
    }
}

impl fmt::Display for Locked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}(", self.kind)?;
        for (field, value) in &self.fields {
            write!(f, "\n            {field}: {value},")?;
        }
        match self.fields.is_empty() {
            true => f.write_str(")"),
            false => f.write_str("\n        )"),
        }
    }
}

fn write_map<'a, V: fmt::Display>(
    f: &mut fmt::Formatter<'_>,
    field: &str,
    entries: impl IntoIterator<Item = (&'a String, V)>,
) -> fmt::Result {
    let mut entries = entries.into_iter().peekable();
    if entries.peek().is_none() {
        return writeln!(f, "    {field}: {{}},");
    }
    writeln!(f, "    {field}: {{")?;
    for (name, value) in entries {
        writeln!(f, "        {}: {value},", Lit::Text(name.clone()))?;
    }
    writeln!(f, "    }},")
}

impl Lock {
    /// Reads a lock's text.
    ///
    /// # Errors
    /// The first thing that is wrong with it, with its place.
    pub fn parse(source: &Arc<Source>) -> Result<Self, Diagnostic> {
        let root = literal::read(source);
        let root = root.map_err(|error| error.hint(ANEW))?;
        Reader { source }.lock(root)
    }
}

const ANEW: &str = "write it anew with `ldm-graph lock`";

struct Reader<'a> {
    source: &'a Arc<Source>,
}

type Read<T> = Result<T, Diagnostic>;

impl Reader<'_> {
    fn error(&self, span: Span, message: impl Into<String>) -> Diagnostic {
        let source = self.source.clone();
        Diagnostic::error(message)
            .at(&Place { source, span })
            .hint(ANEW)
    }

    fn lock(&self, root: Spanned<Lit>) -> Read<Lock> {
        let span = root.span;
        let fields = match root.value {
            Lit::Call(call) if call.name.value == "Lock" => match call.args {
                Args::Named(fields) => fields,
                _ => return Err(self.error(span, "`Lock` holds named fields")),
            },
            other => {
                let found = other.describe();
                let message = format!("a lock file holds `Lock(…)`, found {found}");
                return Err(self.error(span, message));
            }
        };
        self.check_format(span, &fields)?;
        let (mut lock, mut seen) = (Lock::default(), Vec::new());
        for (name, value) in fields {
            if seen.contains(&name.value) {
                return Err(self.error(name.span, format!("`{}` is given twice", name.value)));
            }
            match name.value.as_str() {
                "format" => {}
                "program" => lock.program = self.text(value)?,
                "device" => lock.device = self.text(value)?,
                "numerics" => lock.numerics = self.text(value)?,
                "kinds" => lock.kinds = self.map(value, Self::name, Self::version)?,
                "seeds" => lock.seeds = self.map(value, Self::any, Self::ron)?,
                "files" => lock.files = self.map(value, Self::any, Self::files)?,
                "nodes" => lock.nodes = self.map(value, Self::node_name, Self::node)?,
                other => {
                    let message = format!("`Lock` has no field `{other}`");
                    let error = self.error(name.span, message);
                    return Err(error.maybe_hint(names::hint(other, FIELDS)));
                }
            }
            seen.push(name.value);
        }
        for needed in ["program", "kinds", "nodes"] {
            if !seen.iter().any(|name| name == needed) {
                return Err(self.error(span, format!("`Lock` needs `{needed}`")));
            }
        }
        Ok(lock)
    }

    /// Before all else: a newer format may hold anything.
    fn check_format(&self, span: Span, fields: &[(Spanned<String>, Spanned<Lit>)]) -> Read<()> {
        let format = fields.iter().find(|(name, _)| name.value == "format");
        let Some((_, value)) = format else {
            return Err(self.error(span, "`Lock` needs `format`"));
        };
        match value.value {
            Lit::Int(FORMAT) => Ok(()),
            Lit::Int(newer) if newer > FORMAT => {
                let message = format!("this lock has format {newer}, this program reads {FORMAT}");
                Err(self
                    .error(value.span, message)
                    .hint("use a newer ldm-graph"))
            }
            _ => {
                let message = format!("`format` is {FORMAT}, found {}", value.value.describe());
                Err(self.error(value.span, message))
            }
        }
    }

    fn map<T>(
        &self,
        value: Spanned<Lit>,
        key: fn(&Self, Spanned<Lit>) -> Read<String>,
        read: fn(&Self, Spanned<Lit>) -> Read<T>,
    ) -> Read<BTreeMap<String, T>> {
        let Lit::Map(entries) = value.value else {
            let message = format!("a map is wanted, found {}", value.value.describe());
            return Err(self.error(value.span, message));
        };
        let mut map = BTreeMap::new();
        for (name, value) in entries {
            let span = name.span;
            let name = key(self, name)?;
            if map.insert(name, read(self, value)?).is_some() {
                return Err(self.error(span, "this name is given twice"));
            }
        }
        Ok(map)
    }

    fn any(&self, key: Spanned<Lit>) -> Read<String> {
        match key.value {
            Lit::Text(text) => Ok(text),
            other => {
                let message = format!("a text is wanted, found {}", other.describe());
                Err(self.error(key.span, message))
            }
        }
    }

    fn text(&self, value: Spanned<Lit>) -> Read<String> {
        self.any(value)
    }

    /// The name of a kind.
    fn name(&self, key: Spanned<Lit>) -> Read<String> {
        let span = key.span;
        let name = self.any(key)?;
        match names::is_legal(&name) {
            true => Ok(name),
            false => Err(self.error(span, "this is no legal name")),
        }
    }

    /// The name of a node, `hires/decode` of one in a part.
    fn node_name(&self, key: Spanned<Lit>) -> Read<String> {
        let span = key.span;
        let name = self.any(key)?;
        match name.split('/').all(names::is_legal) {
            true => Ok(name),
            false => Err(self.error(span, "this is no legal name of a node")),
        }
    }

    fn version(&self, value: Spanned<Lit>) -> Read<u32> {
        let version = match value.value {
            Lit::Int(version) => u32::try_from(version).ok(),
            _ => None,
        };
        version.ok_or_else(|| self.error(value.span, "this is no version: a small whole number"))
    }

    fn ron(&self, value: Spanned<Lit>) -> Read<String> {
        Ok(value.value.to_string())
    }

    fn files(&self, value: Spanned<Lit>) -> Read<BTreeMap<String, Identity>> {
        self.map(value, Self::any, Self::content)
    }

    fn content(&self, value: Spanned<Lit>) -> Read<Identity> {
        let content = match &value.value {
            Lit::Text(text) => Identity::from_hex(text),
            _ => None,
        };
        let message = "this is no content hash: 64 hexadecimal digits";
        content.ok_or_else(|| self.error(value.span, message))
    }

    fn node(&self, value: Spanned<Lit>) -> Read<Locked> {
        let Lit::Call(call) = value.value else {
            let message = format!("a node is wanted, found {}", value.value.describe());
            return Err(self.error(value.span, message));
        };
        if !names::is_legal(&call.name.value) {
            return Err(self.error(call.name.span, "this is no kind of node"));
        }
        let mut locked = Locked {
            kind: call.name.value,
            ..Locked::default()
        };
        let fields = match call.args {
            Args::None => Vec::new(),
            Args::Named(fields) => fields,
            Args::Positional(items) if items.is_empty() => Vec::new(),
            Args::Positional(_) => {
                return Err(self.error(value.span, "a node's fields have names"));
            }
        };
        for (name, value) in fields {
            let text = value.value.to_string();
            if locked.fields.insert(name.value, text).is_some() {
                return Err(self.error(name.span, "this field is given twice"));
            }
        }
        Ok(locked)
    }
}
