//! A value as it is written in a graph file, before anyone knows its type.
//!
//! `ron::Value` would lose the names in `Ddim(eta: 0.0)` and the order and doubling of keys; a
//! [`Lit`] keeps all of it, each part with its place.
//!
//! ```text
//! plain   reads what nearly all files are made of in one pass, or gives nothing
//! read    reads everything with the `ron` crate, and words every error
//! ```
//!
//! Not here: what a literal must be (`setting`), what the file means (`graph`).

mod plain;
mod read;

use std::fmt;

use crate::place::{Span, Spanned};

pub(crate) use read::read;

/// Deepest nesting of brackets in a graph file; real graphs stay under ten.
pub(crate) const DEEPEST: usize = 48;

/// A literal of a graph file.
#[derive(Debug, Clone, PartialEq)]
pub enum Lit {
    /// `true`, `false`
    Bool(bool),
    /// `42`, also in hexadecimal; wide enough for every seed.
    Int(i128),
    /// `5.0`, `1e-3`; `NaN` and `inf` are read here and refused where a setting takes them.
    Float(f64),
    /// `"text"`
    Text(String),
    /// `[1, 2]`
    List(Vec<Spanned<Lit>>),
    /// `{"key": value}`, in the file's order, doubled keys included.
    Map(Vec<(Spanned<Lit>, Spanned<Lit>)>),
    /// `Name`, `Name("x")`, `Name(field: value)`, `(1, 2)` with an empty name.
    Call(Call),
}

/// `Name(…)` in a graph file: a kind, a choice, a link.
#[derive(Debug, Clone, PartialEq)]
pub struct Call {
    /// The name before the bracket; empty for a bare `(…)`.
    pub name: Spanned<String>,
    /// What stands in the brackets.
    pub args: Args,
}

/// What stands in the brackets of a [`Call`].
#[derive(Debug, Clone, PartialEq)]
pub enum Args {
    /// No brackets at all: `Euler`.
    None,
    /// `("x", 2)`, also `()`.
    Positional(Vec<Spanned<Lit>>),
    /// `(field: value)`
    Named(Vec<(Spanned<String>, Spanned<Lit>)>),
}

impl Lit {
    /// A call with named fields, made by the program: spans are empty.
    pub fn call(name: &str, fields: Vec<(&str, Lit)>) -> Self {
        let named = |(n, v): (&str, Lit)| (bare(n.to_owned()), bare(v));
        let args = match fields.is_empty() {
            true => Args::None,
            false => Args::Named(fields.into_iter().map(named).collect()),
        };
        Self::Call(Call {
            name: bare(name.to_owned()),
            args,
        })
    }

    /// A list made by the program: spans are empty.
    pub fn list(items: impl IntoIterator<Item = Lit>) -> Self {
        Self::List(items.into_iter().map(bare).collect())
    }

    /// How a message names what was found: `Int`, `Text`, `a list`, `Karras(…)`.
    pub fn describe(&self) -> String {
        match self {
            Self::Bool(_) => "Bool".into(),
            Self::Int(_) => "Int".into(),
            Self::Float(_) => "Float".into(),
            Self::Text(_) => "Text".into(),
            Self::List(_) => "a list".into(),
            Self::Map(_) => "a map".into(),
            Self::Call(call) if call.name.value.is_empty() => "a tuple".into(),
            Self::Call(call) => match call.args {
                Args::None => format!("`{}`", call.name.value),
                _ => format!("`{}(…)`", call.name.value),
            },
        }
    }

    /// The one text in the brackets of `name("text")`.
    pub fn text_of_call(&self, name: &str) -> Option<Spanned<&str>> {
        let Self::Call(call) = self else { return None };
        let Args::Positional(args) = &call.args else {
            return None;
        };
        match args.as_slice() {
            [
                Spanned {
                    value: Lit::Text(text),
                    span,
                },
            ] if call.name.value == name => Some(Spanned {
                value: text.as_str(),
                span: *span,
            }),
            _ => None,
        }
    }

    /// Whether this is `name(…)` or `name`.
    pub fn is_call(&self, name: &str) -> bool {
        matches!(self, Self::Call(call) if call.name.value == name)
    }
}

/// `value` with an empty span, for literals the program makes.
pub(crate) fn bare<T>(value: T) -> Spanned<T> {
    Spanned {
        value,
        span: Span::default(),
    }
}

/// Canonical RON: equal literals print equally, floats shortest but exact, −0 as 0.
impl fmt::Display for Lit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bool(value) => write!(f, "{value}"),
            Self::Int(value) => write!(f, "{value}"),
            Self::Float(value) => write!(f, "{:?}", value + 0.0),
            Self::Text(value) => write_text(f, value),
            Self::List(items) => write_list(f, "[", items, "]"),
            Self::Map(items) => {
                f.write_str("{")?;
                for (i, (key, value)) in items.iter().enumerate() {
                    let comma = if i > 0 { ", " } else { "" };
                    write!(f, "{comma}{}: {}", key.value, value.value)?;
                }
                f.write_str("}")
            }
            Self::Call(call) => call.fmt(f),
        }
    }
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name.value)?;
        match &self.args {
            Args::None => Ok(()),
            Args::Positional(items) => write_list(f, "(", items, ")"),
            Args::Named(fields) => {
                f.write_str("(")?;
                for (i, (name, value)) in fields.iter().enumerate() {
                    let comma = if i > 0 { ", " } else { "" };
                    write!(f, "{comma}{}: {}", name.value, value.value)?;
                }
                f.write_str(")")
            }
        }
    }
}

fn write_list(
    f: &mut fmt::Formatter<'_>,
    open: &str,
    items: &[Spanned<Lit>],
    close: &str,
) -> fmt::Result {
    f.write_str(open)?;
    for (i, item) in items.iter().enumerate() {
        let comma = if i > 0 { ", " } else { "" };
        write!(f, "{comma}{}", item.value)?;
    }
    f.write_str(close)
}

fn write_text(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    f.write_str("\"")?;
    for c in text.chars() {
        match c {
            '"' => f.write_str("\\\"")?,
            '\\' => f.write_str("\\\\")?,
            '\n' => f.write_str("\\n")?,
            '\t' => f.write_str("\\t")?,
            '\r' => f.write_str("\\r")?,
            c if c.is_control() => write!(f, "\\u{{{:x}}}", u32::from(c))?,
            c => write!(f, "{c}")?,
        }
    }
    f.write_str("\"")
}
