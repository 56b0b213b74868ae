//! A node: what its author writes, and how the engine holds it.
//!
//! `#[derive(Node)]` implements [`Declare`] from the struct's fields; the author implements
//! [`Node`]: the facts that hold of its outputs, and `run`. [`kind`](crate::kind::kind) makes the
//! two into a `Kind`.
//!
//! Not here: help and signatures (`kind`), what `run` may reach (`ctx`).

use std::marker::PhantomData;
use std::sync::Arc;

use crate::ctx::Ctx;
use crate::error::Result;
use crate::facts::Facts;
use crate::kind::{Declaration, OutputInfo, PortInfo};
use crate::place::{Span, Spanned};
use crate::setting::{Fields, Mismatch, ReadPath, Setting, SettingInfo};
use crate::value::{Data, DataType, Value};
use crate::{literal::Lit, setting};

/// What a node does. Written by hand; `#[derive(Node)]` supplies [`Declare`].
pub trait Node: Declare {
    /// What it gives: a [`Data`] type, a struct with `#[derive(Outputs)]`, or `()` for an effect.
    type Out: Outputs;

    /// Infers what holds of the outputs from what holds of the inputs, and reports a pairing
    /// that cannot work. Runs while planning: no values, file headers only.
    ///
    /// # Errors
    /// What cannot work; [`Error::at`](crate::Error::at) names the field to point at.
    fn facts(&self, _facts: &mut Facts<'_>) -> Result<()> {
        Ok(())
    }

    /// Whether memory decides how the work is done; then `facts` tells the ways, where they are
    /// known, and `run` asks `ctx.way` which is taken.
    fn has_ways(&self) -> bool {
        false
    }

    /// Does the work. Everything outside its fields is reached through `ctx`.
    ///
    /// # Errors
    /// What went wrong, or `Error::stopped()` as `ctx.step` gives it.
    fn run(&self, ctx: &mut Ctx<'_>) -> Result<Self::Out>;
}

/// What a struct says of itself; implemented by `#[derive(Node)]`.
pub trait Declare: Send + Sync + Sized + 'static {
    /// Name, help, ports, settings and nature.
    fn declare() -> Declaration;

    /// The struct from its wired ports and read settings.
    ///
    /// # Errors
    /// All that is wrong with the settings.
    fn build(parts: &Parts<'_>) -> Result<Self, Vec<Mismatch>>;

    /// Shows every file that the settings name to `see`.
    fn visit_reads(&self, see: &mut dyn FnMut(&ReadPath));

    /// The settings that differ from their defaults, in field order: name, literal, and the
    /// literal that the key hashes.
    fn write(&self, infos: &[SettingInfo]) -> Vec<(&'static str, Lit, Lit)>;
}

/// Drops the settings that equal their defaults; used by the derive.
pub fn keep_different(written: &mut Vec<(&'static str, Lit, Lit)>, infos: &[SettingInfo]) {
    let mut infos = infos.iter();
    written.retain(|(_, lit, _)| infos.next().and_then(|info| info.default.as_ref()) != Some(lit));
}

/// A port: one value of type `T`, taken with `ctx.get(&self.port)`.
///
/// `Option<In<T>>` is a port that may be left open, `Vec<In<T>>` takes a list.
pub struct In<T> {
    /// Its number among all links of the node, port by port.
    pub(crate) link: usize,
    data: PhantomData<fn() -> T>,
}

impl<T> In<T> {
    fn new(link: usize) -> Self {
        Self {
            link,
            data: PhantomData,
        }
    }
}

/// How many links a port takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arity {
    /// Exactly one.
    One,
    /// One or none.
    Optional,
    /// A list, in order; at least one.
    Many,
}

/// The three forms of a port field.
pub trait Port: Sized {
    /// What travels here.
    type Data: Data;
    /// What `ctx.get` gives: `Arc<T>`, `Option<Arc<T>>` or `Vec<Arc<T>>`.
    type Got;
    /// How many links it takes.
    const ARITY: Arity;

    /// The field, wired to `count` links, the first of which is number `first` of the node's.
    fn wire(first: usize, count: usize) -> Self;
    /// Every `In` inside.
    fn ins(&self) -> &[In<Self::Data>];
    /// Puts the value of every `In` inside into the form the node gets.
    fn gather(&self, value: impl Fn(&In<Self::Data>) -> Arc<Self::Data>) -> Self::Got;
}

impl<T: Data> Port for In<T> {
    type Data = T;
    type Got = Arc<T>;
    const ARITY: Arity = Arity::One;

    fn wire(first: usize, _count: usize) -> Self {
        Self::new(first)
    }
    fn ins(&self) -> &[In<T>] {
        std::slice::from_ref(self)
    }
    fn gather(&self, value: impl Fn(&In<T>) -> Arc<T>) -> Arc<T> {
        value(self)
    }
}

impl<T: Data> Port for Option<In<T>> {
    type Data = T;
    type Got = Option<Arc<T>>;
    const ARITY: Arity = Arity::Optional;

    fn wire(first: usize, count: usize) -> Self {
        (count > 0).then(|| In::new(first))
    }
    fn ins(&self) -> &[In<T>] {
        self.as_slice()
    }
    fn gather(&self, value: impl Fn(&In<T>) -> Arc<T>) -> Option<Arc<T>> {
        self.as_ref().map(value)
    }
}

impl<T: Data> Port for Vec<In<T>> {
    type Data = T;
    type Got = Vec<Arc<T>>;
    const ARITY: Arity = Arity::Many;

    fn wire(first: usize, count: usize) -> Self {
        (first..first + count).map(In::new).collect()
    }
    fn ins(&self) -> &[In<T>] {
        self
    }
    fn gather(&self, value: impl Fn(&In<T>) -> Arc<T>) -> Vec<Arc<T>> {
        self.iter().map(value).collect()
    }
}

/// Declares a port; used by the derive.
pub fn port_info<P: Port>(name: &'static str, doc: &'static str) -> PortInfo {
    PortInfo {
        name,
        doc,
        data: DataType::of::<P::Data>(),
        arity: P::ARITY,
    }
}

/// What a node gives, named.
pub trait Outputs: Send + 'static {
    /// The outputs' names and types, in order.
    fn declare() -> Vec<OutputInfo>;
    /// The values in the same order; `None` only for an optional output.
    fn into_values(self) -> Vec<Option<Value>>;
}

impl Outputs for () {
    fn declare() -> Vec<OutputInfo> {
        Vec::new()
    }
    fn into_values(self) -> Vec<Option<Value>> {
        Vec::new()
    }
}

/// A single output is named by its type in lower case: `Latent` gives `latent`.
impl<T: Data> Outputs for T {
    fn declare() -> Vec<OutputInfo> {
        vec![OutputInfo {
            name: snake_case(T::NAME),
            doc: "",
            data: DataType::of::<T>(),
            optional: false,
        }]
    }
    fn into_values(self) -> Vec<Option<Value>> {
        vec![Some(Value::new(self))]
    }
}

/// `TextEncoder` → `text_encoder`
fn snake_case(name: &str) -> String {
    let mut snake = String::new();
    for c in name.chars() {
        if c.is_uppercase() && !snake.is_empty() {
            snake.push('_');
        }
        snake.extend(c.to_lowercase());
    }
    snake
}

/// A field of an `#[derive(Outputs)]` struct: `T`, or `Option<T>` for an output that a file may
/// turn out not to have (`facts.absent("name")` says so while planning).
pub trait OutputField {
    /// The output's declaration.
    fn info(name: &'static str, doc: &'static str) -> OutputInfo;
    /// The value.
    fn value(self) -> Option<Value>;
}

impl<T: Data> OutputField for T {
    fn info(name: &'static str, doc: &'static str) -> OutputInfo {
        OutputInfo {
            name: name.to_owned(),
            doc,
            data: DataType::of::<T>(),
            optional: false,
        }
    }
    fn value(self) -> Option<Value> {
        Some(Value::new(self))
    }
}

impl<T: Data> OutputField for Option<T> {
    fn info(name: &'static str, doc: &'static str) -> OutputInfo {
        OutputInfo {
            optional: true,
            ..T::info(name, doc)
        }
    }
    fn value(self) -> Option<Value> {
        self.map(Value::new)
    }
}

/// What [`Declare::build`] reads: links per port, settings as literals.
#[derive(Debug)]
pub struct Parts<'a> {
    /// The node's kind, for messages.
    pub name: &'a str,
    /// Where a missing setting is reported.
    pub owner: Span,
    /// Links wired to each port, in the order of the declaration.
    pub counts: &'a [usize],
    /// The settings as written, inputs and links replaced by their values.
    pub settings: &'a [(Spanned<String>, Spanned<Lit>)],
    /// The declared settings.
    pub infos: &'a [SettingInfo],
}

impl Parts<'_> {
    /// The port field number `index`.
    pub fn port<P: Port>(&self, index: usize) -> P {
        P::wire(self.counts[..index].iter().sum(), self.counts[index])
    }

    /// The setting field number `index`; its faults go to `faults`.
    pub fn setting<S: Setting>(&self, index: usize, faults: &mut Vec<Mismatch>) -> Option<S> {
        self.fields()
            .take(&self.infos[index])
            .map_err(|e| faults.extend(e))
            .ok()
    }

    /// Faults of settings that are not declared, or given twice.
    pub fn rest(&self) -> Vec<Mismatch> {
        self.fields().rest(self.infos)
    }

    fn fields(&self) -> setting::Fields<'_> {
        Fields {
            owner: self.owner,
            name: self.name,
            given: self.settings,
        }
    }
}

/// A built node of any kind.
pub(crate) trait AnyNode: Send + Sync {
    fn facts(&self, facts: &mut Facts<'_>) -> Result<()>;
    fn has_ways(&self) -> bool;
    fn run(&self, ctx: &mut Ctx<'_>) -> Result<Vec<Option<Value>>>;
    fn visit_reads(&self, see: &mut dyn FnMut(&ReadPath));
    fn write(&self, infos: &[SettingInfo]) -> Vec<(&'static str, Lit, Lit)>;
}

impl<N: Node> AnyNode for N {
    fn facts(&self, facts: &mut Facts<'_>) -> Result<()> {
        Node::facts(self, facts)
    }
    fn has_ways(&self) -> bool {
        Node::has_ways(self)
    }
    fn run(&self, ctx: &mut Ctx<'_>) -> Result<Vec<Option<Value>>> {
        Node::run(self, ctx).map(Outputs::into_values)
    }
    fn visit_reads(&self, see: &mut dyn FnMut(&ReadPath)) {
        Declare::visit_reads(self, see);
    }
    fn write(&self, infos: &[SettingInfo]) -> Vec<(&'static str, Lit, Lit)> {
        Declare::write(self, infos)
    }
}
