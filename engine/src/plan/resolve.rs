//! Fields become wires and settings: links are followed through parts, inputs replaced by what
//! they are bound to, types compared.

use std::borrow::Cow;
use std::sync::Arc;

use crate::diagnostic::Diagnostic;
use crate::kind::{Kind, PortInfo};
use crate::literal::Lit;
use crate::names;
use crate::node::Arity;
use crate::place::{Span, Spanned};
use crate::setting::{SettingInfo, Shape};
use crate::value::{Data, DataType, Float, Int, Value};

use super::expand::{Entry, Raw};
use super::link::{Found, Unresolved, Use, Written};
use super::{Planned, Planner, Wire};

/// A field of a node: one that its kind has, with the value of the file or of a flag.
type OwnField<'g> = (Spanned<&'static str>, Cow<'g, Spanned<Lit>>);

impl Planner<'_> {
    pub(super) fn resolve(&mut self, raw: &[Raw]) -> Vec<Planned> {
        (0..raw.len())
            .map(|number| self.resolve_node(raw, number))
            .collect()
    }

    fn resolve_node(&mut self, raw: &[Raw], number: usize) -> Planned {
        let Raw { scope, decl, kind } = &raw[number];
        let graph = self.scopes[*scope].graph.clone();
        let decl = &graph.nodes[*decl];
        let name: Arc<str> = match self.scopes[*scope].prefix.as_str() {
            "" => decl.name.value.as_str().into(),
            prefix => format!("{prefix}{}", decl.name.value).into(),
        };
        let fields = self.own_fields(&graph, &name, decl, kind);
        let places = fields.iter().map(|(name, value)| (name.value, value.span));
        let mut node = Planned {
            name,
            kind: kind.clone(),
            source: graph.source.clone(),
            span: decl.kind.span,
            fields: places.collect(),
            flags: self.flags.clone(),
            ports: Vec::with_capacity(kind.declaration.ports.len()),
            settings: Vec::new(),
            linked: Vec::new(),
            bound: None,
            ways: Vec::new(),
            facts: vec![Default::default(); kind.outputs.len()],
            folder: self.scopes[*scope].folder.clone(),
            needed: false,
        };
        for port in &kind.declaration.ports {
            let wires = self.resolve_port(raw, *scope, number, (&node, &fields), port);
            node.ports.push(wires);
        }
        for info in &kind.declaration.settings {
            self.resolve_setting(raw, *scope, (&mut node, &fields), info);
        }
        node
    }

    /// The fields of a node with `--set` applied, unknown and doubled ones reported.
    fn own_fields<'g>(
        &mut self,
        graph: &crate::graph::Graph,
        name: &str,
        decl: &'g crate::graph::NodeDecl,
        kind: &Kind,
    ) -> Vec<OwnField<'g>> {
        let mut fields: Vec<OwnField<'g>> = Vec::with_capacity(decl.fields.len());
        for (field, value) in &decl.fields {
            let place = graph.place(field.span);
            if fields.iter().any(|(before, _)| before.value == field.value) {
                let message = format!("`{name}.{}` is given twice", field.value);
                self.errors.push(Diagnostic::error(message).at(&place));
            } else if let Some(known) = kind.fields().find(|known| *known == field.value) {
                fields.push((Spanned::new(known, field.span), Cow::Borrowed(value)));
            } else {
                let message = format!("`{}` has no field `{}`", kind.name, field.value);
                let hint = names::hint(&field.value, kind.fields());
                self.errors
                    .push(Diagnostic::error(message).at(&place).maybe_hint(hint));
            }
        }
        if self.sets.is_empty() {
            return fields;
        }
        for info in &kind.declaration.settings {
            let text = matches!(
                info.shape.plain(),
                Shape::Text | Shape::ReadPath | Shape::WritePath
            );
            match self.set_for(&format!("{name}.{}", info.name), text) {
                Some(Ok(value)) => {
                    fields.retain(|(field, _)| field.value != info.name);
                    fields.push((Spanned::new(info.name, value.span), Cow::Owned(value)));
                }
                Some(Err(error)) => self.errors.push(error),
                None => {}
            }
        }
        fields
    }

    fn resolve_port(
        &mut self,
        raw: &[Raw],
        scope: usize,
        number: usize,
        (node, fields): (&Planned, &[OwnField<'_>]),
        port: &PortInfo,
    ) -> Vec<Wire> {
        let field = fields.iter().find(|(name, _)| name.value == port.name);
        let Some((_, value)) = field else {
            if port.arity != Arity::Optional {
                let error = self.missing_port(raw, scope, number, node, port);
                self.errors.push(error);
            }
            return Vec::new();
        };
        let usage = Use {
            scope,
            node: &node.name,
            field: port.name,
            raw,
        };
        let items = match (&value.value, port.arity) {
            (Lit::List(items), Arity::Many) => items.as_slice(),
            (Lit::Call(call), Arity::Optional) if call.name.value == "None" => return Vec::new(),
            _ => std::slice::from_ref(&**value),
        };
        if items.is_empty() {
            let message = format!("`{}.{}` wants at least one link", node.name, port.name);
            self.errors
                .push(Diagnostic::error(message).at(&node.place_of(value.span)));
        }
        let mut wires = Vec::with_capacity(items.len());
        for item in items {
            match self.resolve_wire(&usage, number, item, port.data) {
                Ok(wire) => wires.push(wire),
                Err(error) => self.errors.extend(error),
            }
        }
        wires
    }

    fn resolve_wire(
        &self,
        usage: &Use<'_>,
        number: usize,
        lit: &Spanned<Lit>,
        want: DataType,
    ) -> Result<Wire, Unresolved> {
        let place = self.place(usage.scope, lit.span);
        let found = self.follow(usage, usage.scope, lit, Some(want), &place)?;
        match found {
            Some(found) if found.data == want => Ok(found.wire),
            Some(found) if want.name == Float::NAME && found.data.name == Int::NAME => match &found
                .wire
            {
                #[allow(clippy::cast_precision_loss)]
                Wire::Value(value) => {
                    let int = value.get::<Int>().map_or(0, |int| int.0);
                    Ok(Wire::Value(Value::new(Float(int as f64))))
                }
                Wire::Node { .. } => Err(Some(self.wrong_type(usage, number, lit, want, &found))),
            },
            Some(found) => Err(Some(self.wrong_type(usage, number, lit, want, &found))),
            None => {
                let (node, field) = (usage.node, usage.field);
                let found = lit.value.describe();
                let message = format!("`{node}.{field}` wants a link to a {want}, found {found}");
                let hint = self.fitting(usage, number, want);
                Err(Some(Diagnostic::error(message).at(&place).maybe_hint(hint)))
            }
        }
    }

    fn resolve_setting(
        &mut self,
        raw: &[Raw],
        scope: usize,
        (node, fields): (&mut Planned, &[OwnField<'_>]),
        info: &SettingInfo,
    ) {
        let field = fields.iter().find(|(name, _)| name.value == info.name);
        let Some((name, value)) = field.cloned().or_else(|| default_template(node, info)) else {
            return;
        };
        let name = Spanned::new(name.value.to_owned(), name.span);
        let span = value.span;
        let place = node.place_of(span);
        let usage = Use {
            scope,
            node: &node.name,
            field: info.name,
            raw,
        };
        let written = match self.written(&usage, scope, value.into_owned(), None, &place) {
            Ok(written) => written,
            Err(error) => return self.errors.extend(error),
        };
        match written {
            Written::Literal(lit) => match self.filled(scope, &node.name, info, lit) {
                Ok(lit) => node.settings.push((name, lit)),
                Err((message, hint)) => {
                    let message = format!("`{}.{}`: {message}", node.name, info.name);
                    self.errors
                        .push(Diagnostic::error(message).at(&place).maybe_hint(hint));
                }
            },
            Written::Linked(found) if can_link(info.shape.plain(), found.data) => {
                node.linked.push((name, span, found.wire));
            }
            Written::Linked(found) => {
                let (shape, data) = (&info.shape, found.data);
                let message = format!(
                    "`{}.{}` wants {shape}, the link gives {data}",
                    node.name, info.name
                );
                let hint = match info.shape.plain() {
                    Shape::Bool | Shape::Int { .. } | Shape::Float | Shape::Text => None,
                    _ => Some("only text, numbers, Bool and paths to read can be linked".into()),
                };
                self.errors
                    .push(Diagnostic::error(message).at(&place).maybe_hint(hint));
            }
        }
    }

    /// Fills in a template of an output path; other literals pass through.
    #[allow(clippy::type_complexity)]
    fn filled(
        &self,
        scope: usize,
        node: &str,
        info: &SettingInfo,
        lit: Spanned<Lit>,
    ) -> Result<Spanned<Lit>, (String, Option<String>)> {
        let (Shape::WritePath, Lit::Text(template)) = (info.shape.plain(), &lit.value) else {
            return Ok(lit);
        };
        let here = &self.scopes[scope];
        let mut known = vec![
            ("graph", self.scopes[0].graph.stem.clone()),
            ("node", node.to_owned()),
        ];
        for input in &here.graph.inputs {
            let usage = Use {
                scope,
                node,
                field: info.name,
                raw: &[],
            };
            let name = input.name.value.as_str();
            let asked = crate::literal::bare(Lit::Call(crate::literal::Call {
                name: crate::literal::bare("Input".to_owned()),
                args: crate::literal::Args::Positional(vec![crate::literal::bare(Lit::Text(
                    name.to_owned(),
                ))]),
            }));
            if !crate::graph::SCALARS.contains(&input.data.value.as_str()) {
                continue;
            }
            let place = here.graph.place(Span::default());
            match self.written(&usage, scope, asked, None, &place) {
                Ok(Written::Literal(Spanned {
                    value: Lit::Text(text),
                    ..
                })) => {
                    known.push((name, text));
                }
                Ok(Written::Literal(other)) => known.push((name, other.value.to_string())),
                _ => {}
            }
        }
        let text = crate::template::fill(template, &known)?;
        crate::paths::check_relative(&crate::template::with_index(&text, 0))
            .map_err(|e| (e.message().to_owned(), e.hint_text().map(str::to_owned)))?;
        Ok(Spanned {
            value: Lit::Text(text),
            span: lit.span,
        })
    }

    fn missing_port(
        &self,
        raw: &[Raw],
        scope: usize,
        number: usize,
        node: &Planned,
        port: &PortInfo,
    ) -> Diagnostic {
        let usage = Use {
            scope,
            node: &node.name,
            field: port.name,
            raw,
        };
        let message = format!("`{}` needs `{}`, a {}", node.name, port.name, port.data);
        let hint = self.fitting(&usage, number, port.data).unwrap_or_else(|| {
            let kinds = self.kinds.iter();
            let gives = kinds.filter(|k| k.outputs.iter().any(|output| output.data == port.data));
            let gives: Vec<&str> = gives.map(|kind| kind.name).take(3).collect();
            match gives.is_empty() {
                true => format!("add `{}: \"…\"`", port.name),
                false => format!("{} gives a {}", names::list(&gives), port.data),
            }
        });
        Diagnostic::error(message).at(&node.place()).hint(hint)
    }

    fn wrong_type(
        &self,
        usage: &Use<'_>,
        number: usize,
        lit: &Spanned<Lit>,
        want: DataType,
        found: &Found,
    ) -> Diagnostic {
        let what = match &lit.value {
            Lit::Text(link) => format!("`{link}`"),
            other => format!("`{other}`"),
        };
        let (node, field) = (usage.node, usage.field);
        let message = format!(
            "`{node}.{field}` wants {want}, but {what} gives {}",
            found.data
        );
        Diagnostic::error(message)
            .at(&self.place(usage.scope, lit.span))
            .maybe_hint(self.fitting(usage, number, want))
    }

    /// ``` `clean` gives a Latent: `latent: "clean"` ```: the node of the same file that fits,
    /// the nearest before the place first.
    fn fitting(&self, usage: &Use<'_>, number: usize, want: DataType) -> Option<String> {
        let own = usage.raw.get(number)?;
        let mut best: Option<(usize, String, String)> = None;
        for entry in self.scopes[usage.scope].graph.nodes.iter().enumerate() {
            let (at, decl) = entry;
            let Some(Entry::Node(other)) = self.scopes[usage.scope].names.get(&decl.name.value)
            else {
                continue;
            };
            let fits = |output: &&crate::kind::OutputInfo| output.data == want;
            let outputs = &usage.raw[*other].kind.outputs;
            let mut fitting = outputs.iter().filter(fits);
            let (Some(first), second) = (fitting.next(), fitting.next()) else {
                continue;
            };
            if *other == number {
                continue;
            }
            let distance = match at < own.decl {
                true => own.decl - at,
                false => 1_000_000 + at - own.decl,
            };
            let name = &decl.name.value;
            let link = match second {
                None => name.clone(),
                Some(_) => format!("{name}.{}", first.name),
            };
            if best.as_ref().is_none_or(|(before, ..)| distance < *before) {
                best = Some((distance, name.clone(), link));
            }
        }
        let (_, name, link) = best?;
        Some(format!(
            "`{name}` gives a {want}: `{}: \"{link}\"`",
            usage.field
        ))
    }
}

/// A template that is left out still has names to fill in.
fn default_template<'g>(node: &Planned, info: &SettingInfo) -> Option<OwnField<'g>> {
    let default = info
        .default
        .clone()
        .filter(|_| *info.shape.plain() == Shape::WritePath)?;
    Some((
        Spanned::new(info.name, node.span),
        Cow::Owned(Spanned::new(default, node.span)),
    ))
}

/// Whether a setting of that shape can come from a value of that type.
fn can_link(shape: &Shape, data: DataType) -> bool {
    match shape {
        Shape::Bool => data.name == "Bool",
        Shape::Int { .. } => data.name == "Int",
        Shape::Float => data.name == "Float" || data.name == "Int",
        Shape::Text | Shape::ReadPath => data.name == "Text",
        _ => false,
    }
}
