//! Links: followed from where they are written to the output they mean, through parts and inputs.

use std::sync::Arc;

use crate::diagnostic::Diagnostic;
use crate::kind::Kind;
use crate::literal::Lit;
use crate::names;
use crate::place::{Place, Span, Spanned};
use crate::value::{Bool, DataType, Float, Int, Text, Value};

use super::expand::{Entry, Raw};
use super::{Planner, Wire, place_of, respan};

/// What a link leads to: the wire and the type it carries.
#[derive(Clone)]
pub(super) struct Found {
    pub(super) wire: Wire,
    pub(super) data: DataType,
}

/// Why a link does not resolve: an error to report, or nothing where it was reported already.
pub(super) type Unresolved = Option<Diagnostic>;

/// What stands in a setting once inputs are replaced.
pub(super) enum Written {
    Literal(Spanned<Lit>),
    Linked(Found),
}

/// The place where a value is written, and the node and field it is for.
pub(super) struct Use<'a> {
    pub(super) scope: usize,
    pub(super) node: &'a str,
    pub(super) field: &'a str,
    pub(super) raw: &'a [Raw],
}

impl Planner<'_> {
    /// Checks the links in the fields of every part where they stand, against the types that the
    /// part's inputs declare; whoever uses the inputs inside need not tell of them again.
    pub(super) fn check_parts(&mut self, raw: &[Raw]) {
        let mut errors = Vec::new();
        for scope in &self.scopes {
            let Some((parent, fields)) = &scope.parent else {
                continue;
            };
            let part = scope.prefix.trim_end_matches('/');
            for (name, value) in fields {
                let Some(input) = scope.graph.input(&name.value) else {
                    continue;
                };
                let usage = Use {
                    scope: *parent,
                    node: part,
                    field: &name.value,
                    raw,
                };
                errors.extend(self.check_part_field(&usage, value, &input.data.value));
            }
        }
        self.errors.extend(errors);
    }

    fn check_part_field(
        &self,
        usage: &Use<'_>,
        value: &Spanned<Lit>,
        declared: &str,
    ) -> Option<Diagnostic> {
        let want = self.data_type(declared)?;
        let place = self.place(usage.scope, value.span);
        let scalar = crate::graph::SCALARS.contains(&declared);
        let found = match scalar {
            true => match self.written(usage, usage.scope, value.clone(), Some(want), &place) {
                Ok(Written::Linked(found)) => Ok(Some(found)),
                Ok(Written::Literal(lit)) => Ok(value_of(&lit.value).map(Found::value)),
                Err(error) => Err(error),
            },
            false => self.follow(usage, usage.scope, value, Some(want), &place),
        };
        let (part, field) = (usage.node, usage.field);
        let message = match found {
            Err(error) => return error,
            Ok(Some(found)) if found.fits(declared) => return None,
            Ok(Some(found)) => {
                let what = value.value.to_string().replace('"', "");
                format!(
                    "`{part}.{field}` wants {want}, but `{what}` gives {}",
                    found.data
                )
            }
            Ok(None) => {
                let found = value.value.describe();
                format!("`{part}.{field}` wants a link to a {want}, found {found}")
            }
        };
        Some(Diagnostic::error(message).at(&place))
    }

    /// The type of that name, as the ports and outputs of the kinds know it.
    fn data_type(&self, name: &str) -> Option<DataType> {
        let scalars = [
            DataType::of::<Text>(),
            DataType::of::<Int>(),
            DataType::of::<Float>(),
            DataType::of::<Bool>(),
        ];
        let of_kinds = self.kinds.iter().flat_map(|kind| {
            let ports = kind.ports.iter().map(|port| port.data);
            ports.chain(kind.outputs.iter().map(|output| output.data))
        });
        scalars
            .into_iter()
            .chain(of_kinds)
            .find(|data| data.name == name)
    }

    /// Follows a port's literal to a wire; `None` when it is no link at all.
    pub(super) fn follow(
        &self,
        usage: &Use<'_>,
        scope: usize,
        lit: &Spanned<Lit>,
        want: Option<DataType>,
        place: &Place,
    ) -> Result<Option<Found>, Unresolved> {
        if let Lit::Text(link) = &lit.value {
            return self.link(usage.raw, scope, link, want, place).map(Some);
        }
        match self.written(usage, scope, lit.clone(), want, place)? {
            Written::Linked(found) => Ok(Some(found)),
            Written::Literal(lit) => Ok(value_of(&lit.value).map(Found::value)),
        }
    }

    /// Replaces `Input("x")` by what it is bound to, outward through the scopes.
    pub(super) fn written(
        &self,
        usage: &Use<'_>,
        scope: usize,
        lit: Spanned<Lit>,
        want: Option<DataType>,
        place: &Place,
    ) -> Result<Written, Unresolved> {
        let (mut scope, mut lit, mut port_text) = (scope, lit, false);
        let (span, first) = (lit.span, scope);
        let mut declared = String::new();
        // A field of a part was checked where it stands: its errors are not told again.
        let told = |error: Unresolved, scope: usize| error.filter(|_| scope == first);
        loop {
            let link = match (&lit.value, lit.value.text_of_call("Link")) {
                (_, Some(link)) => Some(link.value),
                (Lit::Text(link), None) if port_text => Some(link.as_str()),
                _ => None,
            };
            if let Some(link) = link {
                let found = self.link(usage.raw, scope, link, want, place);
                return match found {
                    Ok(found) if scope != first && !found.fits(&declared) => Err(None),
                    Ok(found) => Ok(Written::Linked(found)),
                    Err(error) => Err(told(error, scope)),
                };
            }
            let Some(input) = lit.value.text_of_call("Input") else {
                if lit.value.is_call("Link") || lit.value.is_call("Input") {
                    let message = format!("`{}` holds one name in quotes", lit.value);
                    return Err(told(Some(Diagnostic::error(message).at(place)), scope));
                }
                if port_text && scope != first {
                    return Err(None);
                }
                // What an input stands for has its places in another text.
                let value = match declared.is_empty() {
                    true => lit.value,
                    false => respan(lit.value, span),
                };
                return Ok(Written::Literal(Spanned { value, span }));
            };
            let here = &self.scopes[scope];
            let Some(decl) = here.graph.input(input.value) else {
                let message = format!("the graph has no input `{}`", input.value);
                let known = here
                    .graph
                    .inputs
                    .iter()
                    .map(|input| input.name.value.as_str());
                let hint = names::hint(input.value, known)
                    .unwrap_or_else(|| format!("declare it: `inputs: {{\"{}\": …}}`", input.value));
                let error = Diagnostic::error(message).at(place).hint(hint);
                return Err(told(Some(error), scope));
            };
            declared.clone_from(&decl.data.value);
            port_text = !crate::graph::SCALARS.contains(&declared.as_str());
            let bound = here.parent.as_ref().and_then(|(parent, fields)| {
                let field = fields.iter().find(|(name, _)| name.value == input.value)?;
                Some((*parent, field.1.clone()))
            });
            match (bound, here.set.get(input.value), &decl.default) {
                (Some((parent, value)), _, _) => (scope, lit) = (parent, value),
                (None, Some(value), _) | (None, None, Some(value)) => {
                    let value = respan(value.value.clone(), span);
                    return Ok(Written::Literal(Spanned { value, span }));
                }
                // Reported where the input is declared or the part is used.
                (None, None, None) => return Err(None),
            }
        }
    }

    /// The wire that an entry of the whole graph's `outputs` names.
    pub(super) fn output(
        &self,
        raw: &[Raw],
        link: &str,
        place: &Place,
    ) -> Result<Wire, Unresolved> {
        self.link(raw, 0, link, None, place).map(|found| found.wire)
    }

    /// Resolves `"node"` or `"node.output"` in a scope.
    fn link(
        &self,
        raw: &[Raw],
        scope: usize,
        link: &str,
        want: Option<DataType>,
        place: &Place,
    ) -> Result<Found, Unresolved> {
        let (name, output) = match link.split_once('.') {
            Some((name, output)) => (name, Some(output)),
            None => (link, None),
        };
        let here = &self.scopes[scope];
        let outputs = match here.names.get(name) {
            Some(Entry::Node(node)) => match meant(&raw[*node].kind, *node, output, want) {
                Some(found) => return Ok(found),
                None => node_outputs(&raw[*node].kind, *node),
            },
            Some(Entry::Part(inner)) => self.part_outputs(raw, *inner, place)?,
            Some(Entry::Broken) => return Err(None),
            None => {
                let message = format!("there is no node `{}`", name.escape_debug());
                let known = here.graph.nodes.iter().map(|node| node.name.value.as_str());
                let hint = names::hint(name, known);
                return Err(Some(Diagnostic::error(message).at(place).maybe_hint(hint)));
            }
        };
        match output {
            Some(output) => named_output(name, output, outputs, place),
            None => only_output(name, outputs, want, place),
        }
    }

    fn part_outputs(
        &self,
        raw: &[Raw],
        scope: usize,
        place: &Place,
    ) -> Result<Vec<(String, Found)>, Unresolved> {
        let graph = &self.scopes[scope].graph;
        let mut outputs = Vec::new();
        for (name, link) in &graph.outputs {
            let inner = graph.place(link.span);
            let found = self.link(raw, scope, &link.value, None, &inner)?;
            outputs.push((name.value.clone(), found));
        }
        if outputs.is_empty() {
            let part = self.scopes[scope].prefix.trim_end_matches('/');
            let message = format!("the part `{part}` has no outputs");
            let error = Diagnostic::error(message).at(place);
            return Err(Some(
                error.hint("give its graph `outputs: {\"image\": \"decode\"}`"),
            ));
        }
        Ok(outputs)
    }

    pub(super) fn place(&self, scope: usize, span: Span) -> Place {
        place_of(span, &self.scopes[scope].graph.source, &self.flags)
    }
}

impl Found {
    /// Whether an input of the declared type takes it.
    fn fits(&self, declared: &str) -> bool {
        self.data.name == declared || (declared == "Float" && self.data.name == "Int")
    }

    /// A value that the graph itself holds.
    fn value(value: Value) -> Self {
        let data = DataType {
            name: value.type_name(),
            ..DataType::of::<Text>()
        };
        Self {
            data,
            wire: Wire::Value(value),
        }
    }
}

fn value_of(lit: &Lit) -> Option<Value> {
    match lit {
        Lit::Text(text) => Some(Value::new(Text(text.clone()))),
        Lit::Int(int) => Some(Value::new(Int(*int))),
        Lit::Float(float) => Some(Value::new(Float(*float))),
        Lit::Bool(bool) => Some(Value::new(Bool(*bool))),
        _ => None,
    }
}

/// What a link to a node means, where nothing is wrong with it: no list is made for those.
fn meant(kind: &Kind, node: usize, name: Option<&str>, want: Option<DataType>) -> Option<Found> {
    let mut fitting = kind
        .outputs
        .iter()
        .enumerate()
        .filter(|(_, info)| match name {
            Some(name) => info.name == name,
            None => want.is_none_or(|want| info.data == want),
        });
    let (output, info) = fitting.next()?;
    let alone = name.is_some() || fitting.next().is_none();
    let wire = Wire::Node { node, output };
    let data = info.data;
    alone.then_some(Found { wire, data })
}

fn node_outputs(kind: &Arc<Kind>, node: usize) -> Vec<(String, Found)> {
    let outputs = kind.outputs.iter().enumerate();
    outputs
        .map(|(output, info)| {
            let wire = Wire::Node { node, output };
            (
                info.name.clone(),
                Found {
                    wire,
                    data: info.data,
                },
            )
        })
        .collect()
}

fn named_output(
    name: &str,
    output: &str,
    outputs: Vec<(String, Found)>,
    place: &Place,
) -> Result<Found, Unresolved> {
    let known: Vec<String> = outputs.iter().map(|(name, _)| name.clone()).collect();
    let found = outputs.into_iter().find(|(known, _)| known == output);
    found.map(|(_, found)| found).ok_or_else(|| {
        let message = format!("`{name}` has no output `{}`", output.escape_debug());
        let hint = names::hint(output, known.iter().map(String::as_str));
        Some(Diagnostic::error(message).at(place).maybe_hint(hint))
    })
}

/// The short form: exactly one output of the wanted type, or one output at all.
fn only_output(
    name: &str,
    outputs: Vec<(String, Found)>,
    want: Option<DataType>,
    place: &Place,
) -> Result<Found, Unresolved> {
    let fits = |found: &Found| want.is_none_or(|want| found.data == want);
    let fitting: Vec<&(String, Found)> = outputs.iter().filter(|(_, f)| fits(f)).collect();
    match (fitting.as_slice(), outputs.as_slice()) {
        ([one], _) => Ok(one.1.clone()),
        // The wrong type, for the caller to say so with both sides named.
        ([], [one]) => Ok(one.1.clone()),
        ([], []) => {
            let message = format!("`{name}` gives nothing to link to");
            Err(Some(Diagnostic::error(message).at(place)))
        }
        (several, _) => {
            let of = if several.is_empty() {
                outputs.iter().collect()
            } else {
                fitting.clone()
            };
            let links: Vec<String> = of.iter().map(|(out, _)| format!("{name}.{out}")).collect();
            let message = match (several.is_empty(), want) {
                (true, Some(want)) => format!("`{name}` gives no {want}"),
                (_, Some(want)) => format!("`{name}` gives more than one {want}"),
                (_, None) => format!("`{name}` gives more than one value"),
            };
            let hint = match several.is_empty() {
                true => format!("it gives {}", names::list(&links)),
                false => format!("name one: {}", names::list(&links)),
            };
            Err(Some(Diagnostic::error(message).at(place).hint(hint)))
        }
    }
}
