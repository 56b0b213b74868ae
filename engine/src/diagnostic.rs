//! One error of a graph, as plain data: what, where, and what to do about it.
//!
//! A `Diagnostic` holds all that is needed to draw it (the line itself included), so any face of
//! the program can: the terminal with colour, `--json`, an editor. `Display` draws it plainly.
//!
//! Promise: no control character of a graph, which a stranger may have written, reaches the
//! terminal through a diagnostic.
//!
//! Not here: colour, exit codes (the command's).

use std::fmt;

use serde::Serialize;

use crate::place::Place;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Nothing runs.
    Error,
    /// Worth saying; the graph runs.
    Warning,
}

/// A place in a file and what to say beside it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Label {
    /// The file as the user named it, or the flag (`--set steps=x`).
    pub file: String,
    /// Line, from 1.
    pub line: usize,
    /// Column in Unicode scalars, from 1.
    pub column: usize,
    /// How many scalars of that line are meant, at least 1.
    pub width: usize,
    /// Byte offsets of the whole span in the file.
    pub start: usize,
    /// One past the last byte of the span.
    pub end: usize,
    /// The line itself, shortened around the place when it is very long.
    pub text: String,
    /// Scalars cut from the front of `text`; the mark stands at `column - 1 - skipped`.
    pub skipped: usize,
    /// What to say at the mark; often nothing.
    pub note: Option<String>,
}

/// What is wrong with a graph, a flag or a node, with places and a hint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Diagnostic {
    /// Error or warning.
    pub severity: Severity,
    /// Lower case, no full stop, both sides named.
    pub message: String,
    /// Where; the first is the main one. Empty when no file is at fault.
    pub labels: Vec<Label>,
    /// What to do.
    pub hint: Option<String>,
}

/// Longest line shown whole, in scalars.
const WIDEST: usize = 160;

impl Label {
    /// The label of a place.
    pub fn at(place: &Place) -> Self {
        let (source, span) = (&place.source, place.span);
        let (line, column) = source.line_column(span.start);
        let (line_start, whole) = source.line_at(span.start);
        let marked_to = span.end.clamp(span.start, line_start + whole.len());
        let marked = source.text.get(span.start..marked_to).unwrap_or("");
        let width = marked.chars().count().max(1);
        let (skipped, text) = shorten(whole, column - 1, width);
        let text = visible(text);
        Self {
            file: source.name.clone(),
            line,
            column,
            width: width.min(WIDEST),
            start: span.start,
            end: span.end,
            text,
            skipped,
            note: None,
        }
    }
}

/// The text with marks for characters that would steer a terminal; tabs and ends of lines stay.
fn visible(text: String) -> String {
    let steers = |c: char| c.is_control() && !matches!(c, '\n' | '\t');
    match text.contains(steers) {
        true => text.replace(steers, "\u{fffd}"),
        false => text,
    }
}

/// A window of a long line around its mark, and how many scalars precede it.
fn shorten(line: &str, mark: usize, width: usize) -> (usize, String) {
    if line.len() <= WIDEST || line.chars().count() <= WIDEST {
        return (0, line.to_owned());
    }
    let skipped = (mark + width.min(WIDEST) / 2)
        .saturating_sub(WIDEST / 2)
        .min(mark);
    (skipped, line.chars().skip(skipped).take(WIDEST).collect())
}

impl Diagnostic {
    /// An error with no place yet.
    pub fn error(message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Error,
            message: visible(message.into()),
            labels: Vec::new(),
            hint: None,
        }
    }

    /// A warning with no place yet.
    pub fn warning(message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Warning,
            ..Self::error(message)
        }
    }

    /// Points at a place.
    #[must_use]
    pub fn at(mut self, place: &Place) -> Self {
        self.labels.push(Label::at(place));
        self
    }

    /// Points at a further place, with a word about it.
    #[must_use]
    pub fn also(mut self, place: &Place, note: impl Into<String>) -> Self {
        self.labels.push(Label {
            note: Some(visible(note.into())),
            ..Label::at(place)
        });
        self
    }

    /// Says what to do.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(visible(hint.into()));
        self
    }

    /// Says what to do, where there is something to say.
    #[must_use]
    pub fn maybe_hint(mut self, hint: Option<String>) -> Self {
        self.hint = hint.map(visible).or(self.hint);
        self
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let severity = match self.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        write!(f, "{severity}: {}", self.message)?;
        for label in &self.labels {
            write!(f, "\n{label}")?;
        }
        if let Some(hint) = &self.hint {
            write!(f, "\nhint: {hint}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = self.line.to_string();
        let gutter = " ".repeat(number.len());
        let indent = " ".repeat(self.column - 1 - self.skipped);
        writeln!(f, "{gutter}--> {}:{}:{}", self.file, self.line, self.column)?;
        writeln!(f, "{gutter} |")?;
        writeln!(f, "{number} | {}", self.text.replace('\t', " "))?;
        write!(f, "{gutter} | {indent}{}", "^".repeat(self.width))?;
        match &self.note {
            Some(note) => write!(f, " {note}"),
            None => Ok(()),
        }
    }
}

/// Every error of a graph at once, in the order of the file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Diagnostics(pub Vec<Diagnostic>);

impl Diagnostics {
    /// The diagnostics.
    pub fn iter(&self) -> std::slice::Iter<'_, Diagnostic> {
        self.0.iter()
    }
}

impl From<Diagnostic> for Diagnostics {
    fn from(one: Diagnostic) -> Self {
        Self(vec![one])
    }
}

impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, diagnostic) in self.0.iter().enumerate() {
            if i > 0 {
                f.write_str("\n\n")?;
            }
            diagnostic.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for Diagnostics {}
