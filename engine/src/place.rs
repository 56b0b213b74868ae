//! Places in text: which source, which bytes, which line and column.
//!
//! Every token of a graph keeps its `Span`, so that any later word about it can point into the
//! file. Lines and columns are worked out only when an error needs them; columns count Unicode
//! scalars from 1.
//!
//! Not here: what is said about a place (`diagnostic`).

use std::ops::Range;
use std::sync::Arc;

use serde::Serialize;

/// A text that places point into: a graph file, or a `--set` flag.
#[derive(Debug, PartialEq, Eq)]
pub struct Source {
    /// How messages call it: the path as the user gave it.
    pub name: String,
    /// The whole text.
    pub text: String,
}

impl Source {
    /// A source shared by all that points into it.
    pub fn new(name: impl Into<String>, text: impl Into<String>) -> Arc<Self> {
        Arc::new(Self {
            name: name.into(),
            text: text.into(),
        })
    }

    /// Line and column of a byte offset, both from 1; an offset past the end is the end.
    pub fn line_column(&self, offset: usize) -> (usize, usize) {
        let before = self.before(offset);
        let line = before.bytes().filter(|b| *b == b'\n').count() + 1;
        let start = before.rfind('\n').map_or(0, |at| at + 1);
        (line, before[start..].chars().count() + 1)
    }

    /// The text of the line that holds `offset`, without its end, and where it starts.
    pub fn line_at(&self, offset: usize) -> (usize, &str) {
        let start = self.before(offset).rfind('\n').map_or(0, |at| at + 1);
        let end = self.text[start..]
            .find('\n')
            .map_or(self.text.len(), |at| start + at);
        (start, self.text[start..end].trim_end_matches('\r'))
    }

    fn before(&self, offset: usize) -> &str {
        let mut end = offset.min(self.text.len());
        while !self.text.is_char_boundary(end) {
            end -= 1;
        }
        &self.text[..end]
    }
}

/// Bytes `start..end` of a source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize)]
pub struct Span {
    /// First byte.
    pub start: usize,
    /// One past the last byte.
    pub end: usize,
}

impl From<Range<usize>> for Span {
    fn from(range: Range<usize>) -> Self {
        Self {
            start: range.start,
            end: range.end,
        }
    }
}

/// A span and the source it points into.
#[derive(Debug, Clone)]
pub struct Place {
    /// The text.
    pub source: Arc<Source>,
    /// Where in it.
    pub span: Span,
}

/// Something read from a source, with where it stood.
#[derive(Debug, Clone, PartialEq)]
pub struct Spanned<T> {
    /// What was read.
    pub value: T,
    /// Where it stood.
    pub span: Span,
}

impl<T> Spanned<T> {
    /// `value`, read at `span`.
    pub fn new(value: T, span: impl Into<Span>) -> Self {
        Self {
            value,
            span: span.into(),
        }
    }
}
