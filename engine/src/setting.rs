//! Settings: the fields of a node that are written down rather than linked.
//!
//! A [`Setting`] type says what it looks like ([`Shape`], for help and messages), reads itself
//! from a literal, and writes itself back in canonical form, which is what keys hash.
//! `#[derive(Choice)]` makes an enum one, each variant with settings of its own.
//!
//! Promise: every fault is a [`Mismatch`] with its place; NaN, infinities, numbers out of range
//! and unknown fields are refused here and nowhere else.

use std::fmt;

use crate::literal::{Args, Lit, bare};
use crate::names;
use crate::place::{Span, Spanned};

/// A type that a node's setting can have.
pub trait Setting: Sized + Send + Sync + 'static {
    /// What it looks like.
    fn shape() -> Shape;

    /// Reads a literal.
    ///
    /// # Errors
    /// All that is wrong with it, each with its place.
    fn read(lit: &Spanned<Lit>) -> Result<Self, Vec<Mismatch>>;

    /// The literal this value would be read from; equal values give equal literals, and fields
    /// of a choice that equal their default are left out.
    fn write(&self) -> Lit;

    /// What the key hashes: as `write`, with paths to read left out, whose content is hashed.
    fn key(&self) -> Lit {
        self.write()
    }

    /// Shows every file that this setting reads to `see`.
    fn visit_reads(&self, _see: &mut dyn FnMut(&ReadPath)) {}

    /// What an absent field means, where that needs no default: `None` of an `Option`.
    fn absent() -> Option<Self> {
        None
    }
}

/// What a setting looks like, for help, completions and messages.
#[derive(Debug, Clone, PartialEq)]
pub enum Shape {
    /// `true` or `false`
    Bool,
    /// A whole number within its type's bounds.
    Int {
        /// Smallest.
        min: i128,
        /// Largest.
        max: i128,
    },
    /// A number; whole numbers are taken too.
    Float,
    /// Text.
    Text,
    /// A file or folder to read, found by the search of design §3.
    ReadPath,
    /// A template of a file to write under the output folder.
    WritePath,
    /// One of several names, each with settings of its own.
    Choice(&'static [Variant]),
    /// A list.
    List(Box<Shape>),
    /// May be left out.
    Optional(Box<Shape>),
}

impl Shape {
    /// The shape below `Optional`.
    pub fn plain(&self) -> &Shape {
        match self {
            Shape::Optional(inner) => inner.plain(),
            other => other,
        }
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Shape::Bool => f.write_str("Bool"),
            Shape::Int { .. } => f.write_str("Int"),
            Shape::Float => f.write_str("Float"),
            Shape::Text => f.write_str("Text"),
            Shape::ReadPath => f.write_str("path to read"),
            Shape::WritePath => f.write_str("path to write"),
            Shape::Choice(variants) => {
                let names: Vec<_> = variants.iter().map(|v| v.name).collect();
                f.write_str(&names.join(" | "))
            }
            Shape::List(item) => write!(f, "list of {item}"),
            Shape::Optional(inner) => inner.fmt(f),
        }
    }
}

/// One of the names of a [`Shape::Choice`].
#[derive(Debug, Clone, PartialEq)]
pub struct Variant {
    /// The name in a graph file.
    pub name: &'static str,
    /// What it does.
    pub doc: &'static str,
    /// Its own settings.
    pub settings: Vec<SettingInfo>,
}

/// One setting of a kind or a choice.
#[derive(Debug, Clone, PartialEq)]
pub struct SettingInfo {
    /// The field's name.
    pub name: &'static str,
    /// The field's doc comment.
    pub doc: &'static str,
    /// What it looks like.
    pub shape: Shape,
    /// What it is when left out; `None` means that it must be given.
    pub default: Option<Lit>,
    /// What it must lie in.
    pub range: Option<Bounds>,
    /// Its unit, where the name does not say it.
    pub unit: Option<&'static str>,
}

/// A range of numbers.
#[derive(Debug, Clone, PartialEq)]
pub struct Bounds {
    /// Smallest.
    pub low: Option<Lit>,
    /// Largest.
    pub high: Option<Lit>,
    /// Whether the largest is itself allowed.
    pub inclusive: bool,
}

impl Bounds {
    /// Whether a literal lies inside; lists are asked item by item, other literals lie inside.
    pub fn hold(&self, lit: &Lit) -> bool {
        if let Lit::List(items) = lit {
            return items.iter().all(|item| self.hold(&item.value));
        }
        if lit.is_call("None") {
            return true;
        }
        let above = self.low.as_ref().is_none_or(|low| !less(lit, low));
        let below = self.high.as_ref().is_none_or(|high| match self.inclusive {
            true => !less(high, lit),
            false => less(lit, high),
        });
        above && below
    }
}

impl fmt::Display for Bounds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.low, &self.high, self.inclusive) {
            (Some(low), Some(high), true) => write!(f, "{low} to {high}"),
            (Some(low), Some(high), false) => write!(f, "{low} to below {high}"),
            (Some(low), None, _) => write!(f, "{low} or more"),
            (None, Some(high), true) => write!(f, "{high} or less"),
            (None, Some(high), false) => write!(f, "less than {high}"),
            (None, None, _) => f.write_str("anything"),
        }
    }
}

#[allow(clippy::cast_precision_loss)]
fn less(a: &Lit, b: &Lit) -> bool {
    match (a, b) {
        (Lit::Int(a), Lit::Int(b)) => a < b,
        (Lit::Int(a), Lit::Float(b)) => (*a as f64) < *b,
        (Lit::Float(a), Lit::Int(b)) => *a < *b as f64,
        (Lit::Float(a), Lit::Float(b)) => a < b,
        _ => false,
    }
}

/// What is wrong with a literal.
#[derive(Debug, Clone, PartialEq)]
pub struct Mismatch {
    /// Where.
    pub span: Span,
    /// `wants Int, found Text`; follows the field's name in the message.
    pub message: String,
    /// What to do.
    pub hint: Option<String>,
}

impl Mismatch {
    /// A mismatch at `span`.
    pub fn new(span: Span, message: impl Into<String>) -> Self {
        Self {
            span,
            message: message.into(),
            hint: None,
        }
    }

    /// `wants <shape>, found <literal>`
    pub fn found(shape: &Shape, lit: &Spanned<Lit>) -> Vec<Self> {
        let message = format!("wants {shape}, found {}", lit.value.describe());
        let mut fault = Self::new(lit.span, message);
        if lit.value.is_call("Input") || lit.value.is_call("Link") {
            fault.hint = Some("`Input` and `Link` stand only as a field's whole value".to_owned());
        }
        vec![fault]
    }
}

/// The settings of one node or choice as written, taken one by one; then [`Fields::rest`]
/// reports what nobody took. Made for the derives.
#[derive(Debug)]
pub struct Fields<'a> {
    /// Where a missing field is reported.
    pub owner: Span,
    /// What the fields belong to, for messages.
    pub name: &'a str,
    /// The fields as written.
    pub given: &'a [(Spanned<String>, Spanned<Lit>)],
}

impl<'a> Fields<'a> {
    /// The fields of a choice's literal.
    ///
    /// # Errors
    /// When it has positional arguments.
    pub fn of_choice(lit: &'a Spanned<Lit>) -> Result<Self, Vec<Mismatch>> {
        let Lit::Call(call) = &lit.value else {
            unreachable!("choices are matched as calls")
        };
        let given: &[_] = match &call.args {
            Args::None => &[],
            Args::Named(fields) => fields,
            Args::Positional(items) if items.is_empty() => &[],
            Args::Positional(items) => {
                let message = format!("`{}` takes named fields: `name: value`", call.name.value);
                return Err(vec![Mismatch::new(items[0].span, message)]);
            }
        };
        Ok(Self {
            owner: call.name.span,
            name: &call.name.value,
            given,
        })
    }

    /// Reads one field as its type, or its default where it is left out.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn take<S: Setting>(&self, info: &SettingInfo) -> Result<S, Vec<Mismatch>> {
        let found = self.given.iter().find(|(name, _)| name.value == info.name);
        let Some((_, lit)) = found else {
            return self.absent(info);
        };
        let outside = |value: &Lit| info.range.as_ref().filter(|range| !range.hold(value));
        let refused = |range: &Bounds| {
            let message = format!("`{}` takes {range}, found {}", info.name, lit.value);
            vec![Mismatch::new(lit.span, message)]
        };
        // Before its type is asked, whose own range nobody wants to know.
        if let (Lit::Int(_), Some(range)) = (&lit.value, outside(&lit.value)) {
            return Err(refused(range));
        }
        let value = S::read(lit).map_err(|faults| name_faults(info.name, faults))?;
        match outside(&value.write()) {
            Some(range) => Err(refused(range)),
            None => Ok(value),
        }
    }

    fn absent<S: Setting>(&self, info: &SettingInfo) -> Result<S, Vec<Mismatch>> {
        if let Some(default) = &info.default {
            return S::read(&bare(default.clone()));
        }
        S::absent().ok_or_else(|| {
            let message = format!("`{}` needs `{}`", self.name, info.name);
            let mut missing = Mismatch::new(self.owner, message);
            missing.hint = Some(format!(
                "add `{}: …`, {} ({})",
                info.name, info.doc, info.shape
            ));
            vec![missing]
        })
    }

    /// Faults of fields that `known` does not list, and of doubled ones.
    pub fn rest(&self, known: &[SettingInfo]) -> Vec<Mismatch> {
        let mut faults = Vec::new();
        for (i, (name, _)) in self.given.iter().enumerate() {
            if self.given[..i]
                .iter()
                .any(|(before, _)| before.value == name.value)
            {
                let message = format!("`{}` is given twice", name.value);
                faults.push(Mismatch::new(name.span, message));
            } else if !known.iter().any(|info| info.name == name.value) {
                let message = format!("`{}` has no field `{}`", self.name, name.value);
                let mut fault = Mismatch::new(name.span, message);
                fault.hint = names::hint(&name.value, known.iter().map(|info| info.name));
                faults.push(fault);
            }
        }
        faults
    }

    /// The fault of a choice whose name nobody knows.
    pub fn unknown_choice(lit: &Spanned<Lit>, variants: &'static [Variant]) -> Vec<Mismatch> {
        let Lit::Call(call) = &lit.value else {
            let mut fault = Mismatch::found(&Shape::Choice(variants), lit);
            if let Lit::Text(text) = &lit.value {
                fault[0].hint = Some(format!("a choice is written without quotes: `{text}`"));
            }
            return fault;
        };
        let message = format!("there is no `{}` to choose", call.name.value);
        let mut fault = Mismatch::new(call.name.span, message);
        fault.hint = names::hint(&call.name.value, variants.iter().map(|v| v.name));
        vec![fault]
    }

    /// The literal of a choice, fields that equal their defaults left out. Each field comes
    /// written, to be compared, and in the form that is wanted.
    pub fn write_choice(name: &str, fields: Vec<(&SettingInfo, Lit, Lit)>) -> Lit {
        let kept = fields
            .into_iter()
            .filter(|(info, lit, _)| info.default.as_ref() != Some(lit));
        Lit::call(
            name,
            kept.map(|(info, _, wanted)| (info.name, wanted)).collect(),
        )
    }
}

/// `wants Int, found Text` becomes `` `steps` wants Int, found Text``.
fn name_faults(name: &str, mut faults: Vec<Mismatch>) -> Vec<Mismatch> {
    for fault in &mut faults {
        if fault.message.starts_with("wants ") || fault.message.starts_with("takes ") {
            fault.message = format!("`{name}` {}", fault.message);
        }
    }
    faults
}

impl Setting for bool {
    fn shape() -> Shape {
        Shape::Bool
    }
    fn read(lit: &Spanned<Lit>) -> Result<Self, Vec<Mismatch>> {
        match lit.value {
            Lit::Bool(value) => Ok(value),
            _ => Err(Mismatch::found(&Shape::Bool, lit)),
        }
    }
    fn write(&self) -> Lit {
        Lit::Bool(*self)
    }
}

macro_rules! ints {
    ($($int:ty),*) => {$(
        impl Setting for $int {
            fn shape() -> Shape {
                Shape::Int { min: <$int>::MIN as i128, max: <$int>::MAX as i128 }
            }
            fn read(lit: &Spanned<Lit>) -> Result<Self, Vec<Mismatch>> {
                let Lit::Int(value) = lit.value else {
                    return Err(Mismatch::found(&Self::shape(), lit));
                };
                <$int>::try_from(value).map_err(|_| {
                    let (min, max) = (<$int>::MIN, <$int>::MAX);
                    let message = format!("takes {min} to {max}, found {value}");
                    vec![Mismatch::new(lit.span, message)]
                })
            }
            fn write(&self) -> Lit {
                Lit::Int(*self as i128)
            }
        }
    )*};
}

ints!(u8, u16, u32, u64, usize, i32, i64);

macro_rules! floats {
    ($($float:ty),*) => {$(
        impl Setting for $float {
            fn shape() -> Shape {
                Shape::Float
            }
            #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation)]
            fn read(lit: &Spanned<Lit>) -> Result<Self, Vec<Mismatch>> {
                let value = match lit.value {
                    Lit::Int(value) => value as $float,
                    Lit::Float(value) => value as $float,
                    _ => return Err(Mismatch::found(&Shape::Float, lit)),
                };
                if !value.is_finite() {
                    let message = format!("takes a finite number, found {}", lit.value);
                    return Err(vec![Mismatch::new(lit.span, message)]);
                }
                Ok(value + 0.0)
            }
            fn write(&self) -> Lit {
                Lit::Float(f64::from(*self) + 0.0)
            }
        }
    )*};
}

floats!(f32, f64);

impl Setting for String {
    fn shape() -> Shape {
        Shape::Text
    }
    fn read(lit: &Spanned<Lit>) -> Result<Self, Vec<Mismatch>> {
        match &lit.value {
            Lit::Text(value) => Ok(value.clone()),
            _ => Err(Mismatch::found(&Shape::Text, lit)),
        }
    }
    fn write(&self) -> Lit {
        Lit::Text(self.clone())
    }
}

impl<S: Setting> Setting for Option<S> {
    fn shape() -> Shape {
        Shape::Optional(Box::new(S::shape()))
    }
    fn read(lit: &Spanned<Lit>) -> Result<Self, Vec<Mismatch>> {
        if let Lit::Call(call) = &lit.value {
            match (call.name.value.as_str(), &call.args) {
                ("None", Args::None) => return Ok(None),
                ("Some", Args::Positional(items)) if items.len() == 1 => {
                    return S::read(&items[0]).map(Some);
                }
                _ => {}
            }
        }
        S::read(lit).map(Some)
    }
    fn write(&self) -> Lit {
        self.as_ref()
            .map_or_else(|| Lit::call("None", Vec::new()), Setting::write)
    }
    fn key(&self) -> Lit {
        self.as_ref()
            .map_or_else(|| Lit::call("None", Vec::new()), Setting::key)
    }
    fn visit_reads(&self, see: &mut dyn FnMut(&ReadPath)) {
        self.iter().for_each(|inner| inner.visit_reads(see));
    }
    fn absent() -> Option<Self> {
        Some(None)
    }
}

impl<S: Setting> Setting for Vec<S> {
    fn shape() -> Shape {
        Shape::List(Box::new(S::shape()))
    }
    fn read(lit: &Spanned<Lit>) -> Result<Self, Vec<Mismatch>> {
        let Lit::List(items) = &lit.value else {
            return Err(Mismatch::found(&Self::shape(), lit));
        };
        let mut faults = Vec::new();
        let read = items
            .iter()
            .filter_map(|i| S::read(i).map_err(|e| faults.extend(e)).ok());
        let values: Vec<S> = read.collect();
        if faults.is_empty() {
            Ok(values)
        } else {
            Err(faults)
        }
    }
    fn write(&self) -> Lit {
        Lit::list(self.iter().map(Setting::write))
    }
    fn key(&self) -> Lit {
        Lit::list(self.iter().map(Setting::key))
    }
    fn visit_reads(&self, see: &mut dyn FnMut(&ReadPath)) {
        self.iter().for_each(|inner| inner.visit_reads(see));
    }
}

/// A file or folder that a node reads, as written in the graph. Its content enters the key.
///
/// While planning, `facts.open(&self.path)` gives its bytes (headers only, please); while
/// running, `ctx.open(&self.path)` does.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ReadPath(pub(crate) String);

impl ReadPath {
    /// The path as written in the graph.
    pub fn text(&self) -> &str {
        &self.0
    }
}

/// A default, as a kind writes it.
impl From<&str> for ReadPath {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl Setting for ReadPath {
    fn shape() -> Shape {
        Shape::ReadPath
    }
    fn read(lit: &Spanned<Lit>) -> Result<Self, Vec<Mismatch>> {
        match &lit.value {
            Lit::Text(text) if text.is_empty() || text.contains('\0') => {
                Err(vec![Mismatch::new(lit.span, "takes a path, found none")])
            }
            Lit::Text(text) => Ok(Self(text.clone())),
            _ => Err(Mismatch::found(&Shape::ReadPath, lit)),
        }
    }
    fn write(&self) -> Lit {
        Lit::Text(self.0.clone())
    }
    fn key(&self) -> Lit {
        Lit::call("File", Vec::new())
    }
    fn visit_reads(&self, see: &mut dyn FnMut(&ReadPath)) {
        see(self);
    }
}

/// A template of files that a node writes under the output folder:
/// `"{graph}-{seed}-{index}.png"`. By the time a node runs only `{index}` is left open.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct WritePath(pub(crate) String);

impl WritePath {
    /// The template; while running, with all but `{index}` filled in.
    pub fn text(&self) -> &str {
        &self.0
    }
}

/// A default, as a kind writes it.
impl From<&str> for WritePath {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl Setting for WritePath {
    fn shape() -> Shape {
        Shape::WritePath
    }
    fn read(lit: &Spanned<Lit>) -> Result<Self, Vec<Mismatch>> {
        match &lit.value {
            Lit::Text(text) => Ok(Self(text.clone())),
            _ => Err(Mismatch::found(&Shape::WritePath, lit)),
        }
    }
    fn write(&self) -> Lit {
        Lit::Text(self.0.clone())
    }
}
