//! Reading with the `ron` crate, a level at a time: each level is taken as borrowed raw text, whose
//! address minus the file's start is its place.
//!
//! Promises: no text panics or overflows the stack; depth is bounded before `ron` sees it.

use std::fmt;
use std::sync::Arc;

use ron::value::RawValue;
use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};

use crate::diagnostic::Diagnostic;
use crate::place::{Place, Source, Span, Spanned};

use super::{Args, Call, DEEPEST, Lit, plain};

/// Reads the whole source as one literal.
///
/// # Errors
/// The first fault of the text, with its place: RON's own errors, too deep a nesting, an
/// extension that the file tries to enable.
pub(crate) fn read(source: &Arc<Source>) -> Result<Spanned<Lit>, Diagnostic> {
    match plain::read(&source.text) {
        Some(lit) => Ok(lit),
        None => read_with_ron(source),
    }
}

pub(super) fn read_with_ron(source: &Arc<Source>) -> Result<Spanned<Lit>, Diagnostic> {
    let reader = Reader { source };
    let text = source.text.as_str();
    reader.check_depth()?;
    let start = text.len() - skip_trivia(text).len();
    if text[start..].starts_with("#!") {
        let message = "a graph file cannot enable RON extensions";
        return Err(reader
            .error(start..start + 2, message)
            .hint("take the `#![…]` line out"));
    }
    reader.value(text, true)
}

struct Reader<'a> {
    source: &'a Arc<Source>,
}

impl<'a> Reader<'a> {
    fn error(&self, span: impl Into<Span>, message: impl Into<String>) -> Diagnostic {
        let place = Place {
            source: self.source.clone(),
            span: span.into(),
        };
        Diagnostic::error(message).at(&place)
    }

    /// Where a slice of the source starts: its address minus the source's.
    fn offset(&self, part: &str) -> usize {
        part.as_ptr() as usize - self.source.text.as_ptr() as usize
    }

    /// Counts brackets outside strings and comments, so that no reader recurses too deep.
    fn check_depth(&self) -> Result<(), Diagnostic> {
        let text = self.source.text.as_str();
        let (mut at, mut depth) = (0, 0_usize);
        while at < text.len() {
            match text.as_bytes()[at] {
                b'(' | b'[' | b'{' => depth += 1,
                b')' | b']' | b'}' => depth = depth.saturating_sub(1),
                b'"' | b'\'' | b'r' | b'/' => {
                    at += skip_token(&text[at..]);
                    continue;
                }
                _ => {}
            }
            if depth > DEEPEST {
                let message = format!("brackets nest deeper than {DEEPEST} levels");
                return Err(self
                    .error(at..at + 1, message)
                    .hint("a graph needs fewer than ten"));
            }
            at += 1;
        }
        Ok(())
    }

    /// Reads one value; `raw` may have blanks and comments around it.
    fn value(&self, raw: &'a str, whole: bool) -> Result<Spanned<Lit>, Diagnostic> {
        let body = skip_trivia(raw);
        let first = body.chars().next().unwrap_or('\0');
        let value = match first {
            '"' => Lit::Text(self.leaf(body, whole)?),
            '[' => Lit::List(self.items(body, whole)?),
            '{' => Lit::Map(self.entries(body, whole)?),
            '+' | '-' | '.' | '0'..='9' => self.number(body, whole)?,
            'r' if is_raw_text(body) => Lit::Text(self.leaf(body, whole)?),
            '(' => self.call(body, &body[..0], whole)?,
            c if c.is_alphabetic() || c == '_' => self.word(body, whole)?,
            _ => return Err(self.unexpected(body)),
        };
        let start = self.offset(body);
        let end = start + without_trailing_trivia(body).len();
        Ok(Spanned::new(value, start..end))
    }

    fn unexpected(&self, body: &str) -> Diagnostic {
        let at = self.offset(body);
        let found = body.chars().next();
        let message = match found {
            Some(c) => format!("this is not RON: a value is wanted, found {c:?}"),
            None => "this is not RON: the text ends where a value is wanted".to_owned(),
        };
        self.error(at..at + found.map_or(0, char::len_utf8), message)
            .hint("a value is text in double quotes, a number, a list or `Name(field: value)`")
    }

    fn word(&self, body: &'a str, whole: bool) -> Result<Lit, Diagnostic> {
        let name = identifier(body);
        let rest = skip_trivia(&body[name.len()..]);
        match (name, rest.starts_with('(')) {
            ("true", false) => self.leaf(body, whole).map(Lit::Bool),
            ("false", false) => self.leaf(body, whole).map(Lit::Bool),
            ("inf" | "NaN", false) => self.leaf(body, whole).map(Lit::Float),
            (_, true) => self.call(body, name, whole),
            (_, false) => {
                self.leaf::<Ignored>(body, whole)?;
                Ok(Lit::Call(Call {
                    name: self.named(name),
                    args: Args::None,
                }))
            }
        }
    }

    fn call(&self, body: &'a str, name: &'a str, whole: bool) -> Result<Lit, Diagnostic> {
        let brackets = skip_trivia(&body[name.len()..]);
        let inside = skip_trivia(&brackets[1..]);
        let word = identifier(inside);
        let named = !word.is_empty() && is_field(skip_trivia(&inside[word.len()..]));
        let args = match named {
            true => Args::Named(self.fields(brackets, whole)?),
            false => Args::Positional(self.tuple(brackets, whole)?),
        };
        Ok(Lit::Call(Call {
            name: self.named(name),
            args,
        }))
    }

    fn named(&self, name: &str) -> Spanned<String> {
        let start = self.offset(name);
        Spanned::new(name.to_owned(), start..start + name.len())
    }

    fn number(&self, body: &'a str, whole: bool) -> Result<Lit, Diagnostic> {
        match integer(number_token(body)) {
            Some(value) => Ok(value),
            None => self.leaf(body, whole).map(Lit::Float),
        }
    }

    fn leaf<T: serde::Deserialize<'a>>(&self, body: &'a str, whole: bool) -> Result<T, Diagnostic> {
        self.ron(body, whole, |de| T::deserialize(de))
    }

    fn items(&self, body: &'a str, whole: bool) -> Result<Vec<Spanned<Lit>>, Diagnostic> {
        let raws = self.ron(body, whole, |de| {
            de.deserialize_seq(Many::<'a, ()>::default())
        })?;
        raws.0
            .into_iter()
            .map(|raw| self.value(raw, false))
            .collect()
    }

    fn tuple(&self, body: &'a str, whole: bool) -> Result<Vec<Spanned<Lit>>, Diagnostic> {
        let raws = self.ron(body, whole, |de| {
            de.deserialize_tuple(0, Many::<'a, ()>::default())
        })?;
        raws.0
            .into_iter()
            .map(|raw| self.value(raw, false))
            .collect()
    }

    #[allow(clippy::type_complexity)]
    fn entries(
        &self,
        body: &'a str,
        whole: bool,
    ) -> Result<Vec<(Spanned<Lit>, Spanned<Lit>)>, Diagnostic> {
        let raws = self.ron(body, whole, |de| {
            de.deserialize_map(Many::<'a, &RawValue>::default())
        })?;
        let read = |(key, value): (&'a RawValue, &'a str)| {
            Ok((self.value(key.get_ron(), false)?, self.value(value, false)?))
        };
        raws.1.into_iter().map(read).collect()
    }

    #[allow(clippy::type_complexity)]
    fn fields(
        &self,
        body: &'a str,
        whole: bool,
    ) -> Result<Vec<(Spanned<String>, Spanned<Lit>)>, Diagnostic> {
        let raws = self.ron(body, whole, |de| {
            de.deserialize_struct("", &[], Many::<'a, Ident<'a>>::default())
        })?;
        let read =
            |(key, value): (Ident<'a>, &'a str)| Ok((self.named(key.0), self.value(value, false)?));
        raws.1.into_iter().map(read).collect()
    }

    /// Hands a slice to `ron` and turns its line and column into a place in the whole source.
    fn ron<T>(
        &self,
        body: &'a str,
        whole: bool,
        read: impl FnOnce(&mut ron::Deserializer<'a>) -> ron::error::Result<T>,
    ) -> Result<T, Diagnostic> {
        let mut de = ron::Deserializer::from_str(body).map_err(|e| self.ron_error(body, &e))?;
        let result = read(&mut de).and_then(|value| match whole {
            true => de.end().map(|()| value),
            false => Ok(value),
        });
        result.map_err(|error| self.ron_error(body, &de.span_error(error)))
    }

    fn ron_error(&self, body: &str, error: &ron::error::SpannedError) -> Diagnostic {
        let start = self.offset(body) + offset_of(body, error.span.end);
        let text = error.code.to_string();
        let mut chars = text.chars();
        let first = chars
            .next()
            .map(|c| c.to_lowercase().to_string())
            .unwrap_or_default();
        let rest = chars.as_str();
        let start = start.min(self.source.text.len());
        let width = self.source.text[start..]
            .chars()
            .next()
            .map_or(0, char::len_utf8);
        let message = format!("this is not RON: {first}{rest}");
        self.error(start..start + width, message)
            .hint("compare with `Graph(nodes: {\"name\": Kind(field: value)})`")
    }
}

/// The byte offset of RON's line and column in the slice it was given.
fn offset_of(text: &str, position: ron::error::Position) -> usize {
    let line = text
        .split_inclusive('\n')
        .take(position.line.saturating_sub(1));
    let start: usize = line.map(str::len).sum();
    let column = position.col.saturating_sub(1);
    text[start..]
        .char_indices()
        .nth(column)
        .map_or(text.len(), |(at, _)| start + at)
}

/// Takes anything, keeps nothing: used where only well-formedness matters.
struct Ignored;

impl<'de> serde::Deserialize<'de> for Ignored {
    fn deserialize<D: Deserializer<'de>>(de: D) -> Result<Self, D::Error> {
        serde::de::IgnoredAny::deserialize(de).map(|_| Self)
    }
}

/// A field name, borrowed so that its address tells its place.
struct Ident<'a>(&'a str);

impl<'de: 'a, 'a> serde::Deserialize<'de> for Ident<'a> {
    fn deserialize<D: Deserializer<'de>>(de: D) -> Result<Self, D::Error> {
        struct Borrow;
        impl<'de> Visitor<'de> for Borrow {
            type Value = &'de str;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a field name")
            }
            fn visit_borrowed_str<E>(self, name: &'de str) -> Result<&'de str, E> {
                Ok(name)
            }
        }
        de.deserialize_identifier(Borrow).map(Ident)
    }
}

/// Items of a list in `.0`, or entries of a map in `.1`, as raw text in the file's order.
struct Many<'a, K>(Vec<&'a str>, Vec<(K, &'a str)>);

impl<K> Default for Many<'_, K> {
    fn default() -> Self {
        Self(Vec::new(), Vec::new())
    }
}

impl<'de, K: KeyOf<'de>> Visitor<'de> for Many<'de, K> {
    type Value = Self;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list or a map")
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut seq: A) -> Result<Self, A::Error> {
        while let Some(item) = seq.next_element::<&RawValue>()? {
            self.0.push(item.get_ron());
        }
        Ok(self)
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<Self, A::Error> {
        while let Some(key) = map.next_key_seed(K::seed())? {
            self.1.push((key, map.next_value::<&RawValue>()?.get_ron()));
        }
        Ok(self)
    }
}

/// How the keys of a map are taken.
trait KeyOf<'de>: Sized {
    type Seed: DeserializeSeed<'de, Value = Self>;
    fn seed() -> Self::Seed;
}

impl<'de, K: serde::Deserialize<'de>> KeyOf<'de> for K {
    type Seed = std::marker::PhantomData<K>;
    fn seed() -> Self::Seed {
        std::marker::PhantomData
    }
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn is_field(after: &str) -> bool {
    after.starts_with(':')
}

fn identifier(text: &str) -> &str {
    let end = text.find(|c: char| !is_word(c)).unwrap_or(text.len());
    match text.starts_with(|c: char| c.is_ascii_digit()) {
        true => "",
        false => &text[..end],
    }
}

/// A whole number, too large for every setting or not: whose range it leaves can be said later.
pub(super) fn integer(token: &str) -> Option<Lit> {
    let positive = ron::from_str::<u64>(token).map(i128::from);
    let value = positive.or_else(|_| ron::from_str::<i64>(token).map(i128::from));
    value.ok().or_else(|| large(token)).map(Lit::Int)
}

/// A whole number in plain digits.
fn large(token: &str) -> Option<i128> {
    let digits = token.strip_prefix(['-', '+']).unwrap_or(token);
    let plain = digits.bytes().all(|byte| byte.is_ascii_digit());
    plain.then(|| token.parse().ok()).flatten()
}

pub(super) fn number_token(text: &str) -> &str {
    let end = text.find(|c: char| !(is_word(c) || matches!(c, '+' | '-' | '.')));
    &text[..end.unwrap_or(text.len())]
}

/// Whether `text`, which starts with `r`, is `r"…"` or `r#"…"#`.
fn is_raw_text(text: &str) -> bool {
    text[1..].trim_start_matches('#').starts_with('"')
}

/// Skips blanks and comments at the front.
fn skip_trivia(text: &str) -> &str {
    let mut rest = text.trim_start();
    while let Some(length) = comment(rest) {
        rest = rest[length..].trim_start();
    }
    rest
}

/// The slice without blanks and comments at its end; found by walking over its tokens.
fn without_trailing_trivia(text: &str) -> &str {
    let trimmed = text.trim_end();
    if !trimmed.contains("//") && !trimmed.contains("/*") {
        return trimmed;
    }
    let (mut at, mut end) = (0, 0);
    while at < text.len() {
        match comment(&text[at..]) {
            Some(length) => at += length,
            None => {
                let solid = !text[at..].starts_with(char::is_whitespace);
                at += skip_token(&text[at..]);
                end = if solid { at } else { end };
            }
        }
    }
    &text[..end]
}

/// Length of the comment that `text` starts with; `/* … */` nests.
pub(super) fn comment(text: &str) -> Option<usize> {
    if text.starts_with("//") {
        return Some(text.find('\n').unwrap_or(text.len()));
    }
    if !text.starts_with("/*") {
        return None;
    }
    let bytes = text.as_bytes();
    let (mut depth, mut at) = (0_usize, 0);
    while at < bytes.len() {
        match &bytes[at..bytes.len().min(at + 2)] {
            b"/*" => (depth, at) = (depth + 1, at + 2),
            b"*/" => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            return Some(at);
        }
    }
    Some(text.len())
}

/// Length of the string, character, comment or single scalar that `text` starts with.
fn skip_token(text: &str) -> usize {
    if let Some(length) = comment(text) {
        return length;
    }
    let first = text.chars().next().map_or(1, char::len_utf8);
    match text.as_bytes()[0] {
        b'"' => quoted(text),
        b'r' if is_raw_text(text) => raw_quoted(text),
        b'\'' => match text.as_bytes() {
            [_, b'\\', _, b'\'', ..] => 4,
            [_, _, b'\'', ..] => 3,
            _ => first,
        },
        _ => first,
    }
}

pub(super) fn quoted(text: &str) -> usize {
    let mut escaped = false;
    for (at, byte) in text.bytes().enumerate().skip(1) {
        match byte {
            b'"' if !escaped => return at + 1,
            b'\\' => escaped = !escaped,
            _ => escaped = false,
        }
    }
    text.len()
}

fn raw_quoted(text: &str) -> usize {
    let hashes = text[1..].len() - text[1..].trim_start_matches('#').len();
    let close = format!("\"{}", "#".repeat(hashes));
    let open = hashes + 2;
    text[open..]
        .find(&close)
        .map_or(text.len(), |at| open + at + close.len())
}
