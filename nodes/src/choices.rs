//! Choices of `ldm_models` as settings of a graph: samplers, and where they walk.
//!
//! A choice says its names, settings, defaults, ranges and help once, in `ldm_models`; here
//! any of them becomes a [`Setting`]. Nothing is listed twice.
//!
//! Promise: what is wrong with a choice is said with its place, as for the engine's own.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use ldm_engine::derive::{Fields, Mismatch};
use ldm_engine::{Args, Bounds, Lit, Setting, SettingInfo, Shape, Spanned, Variant, names};
use ldm_models::choice::{self, Choice, Kind, Value};

/// A choice of `ldm_models`, as a field of a node.
#[derive(Debug, Clone, PartialEq)]
pub struct Chosen<T>(pub T);

impl<T: Choice + Send + Sync + 'static> Setting for Chosen<T> {
    fn shape() -> Shape {
        Shape::Choice(shown(T::variants()))
    }

    fn read(lit: &Spanned<Lit>) -> Result<Self, Vec<Mismatch>> {
        let value = read_choice(lit, T::variants())?;
        Ok(Self(
            T::of_value(&value).expect("the value was read by its description"),
        ))
    }

    fn write(&self) -> Lit {
        written(&self.0.to_value(), &Kind::Choice(T::variants))
    }
}

/// The variants as the engine shows them. Made once: the engine keeps them for ever.
fn shown(variants: &'static [choice::Variant]) -> &'static [Variant] {
    static SHOWN: Mutex<BTreeMap<usize, &'static [Variant]>> = Mutex::new(BTreeMap::new());
    let place = variants.as_ptr() as usize;
    let known = |place| {
        SHOWN
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(place)
            .copied()
    };
    if let Some(made) = known(&place) {
        return made;
    }
    // Not under the lock: variants hold variants.
    let made: Vec<Variant> = variants
        .iter()
        .map(|variant| Variant {
            name: variant.name,
            doc: &variant.doc,
            settings: variant.fields.iter().map(info).collect(),
        })
        .collect();
    let mut table = SHOWN.lock().unwrap_or_else(PoisonError::into_inner);
    table.entry(place).or_insert_with(|| made.leak())
}

/// One setting of a variant.
fn info(field: &'static choice::Field) -> SettingInfo {
    let number = |value: f64| match field.kind {
        Kind::Int => Lit::Int(value as i128),
        _ => Lit::Float(value),
    };
    SettingInfo {
        name: field.name,
        doc: &field.doc,
        shape: shape(field.kind),
        default: Some(written(&field.default, &field.kind)),
        range: field.range.map(|(low, high)| Bounds {
            low: Some(number(low)),
            high: Some(number(high)),
            inclusive: true,
        }),
        unit: None,
    }
}

fn shape(kind: Kind) -> Shape {
    match kind {
        Kind::Bool => Shape::Bool,
        Kind::Int => usize::shape(),
        Kind::Float => Shape::Float,
        Kind::Floats => Vec::<f64>::shape(),
        Kind::Name { .. } => Shape::Text,
        Kind::Choice(variants) => Shape::Choice(shown(variants())),
    }
}

/// The literal of a value, settings that are as usual left out.
fn written(value: &Value, kind: &Kind) -> Lit {
    match (value, kind) {
        (Value::Bool(value), _) => Lit::Bool(*value),
        (Value::Int(value), _) => Lit::Int((*value).into()),
        (Value::Float(value), _) => value.write(),
        (Value::Floats(values), _) => values.write(),
        (Value::Name(name), _) => Lit::Text((*name).to_owned()),
        (Value::Choice(name, values), Kind::Choice(variants)) => {
            let variant = variants().iter().find(|variant| variant.name == *name);
            let fields = variant.map_or(&[][..], |variant| &variant.fields);
            let changed = fields.iter().zip(values);
            let changed = changed.filter(|(field, value)| field.default != **value);
            Lit::call(
                name,
                changed
                    .map(|(field, value)| (field.name, written(value, &field.kind)))
                    .collect(),
            )
        }
        (Value::Choice(name, _), _) => Lit::call(name, Vec::new()),
    }
}

/// Reads one of `variants` with its settings.
fn read_choice(
    lit: &Spanned<Lit>,
    variants: &'static [choice::Variant],
) -> Result<Value, Vec<Mismatch>> {
    let found = variants
        .iter()
        .position(|variant| lit.value.is_call(variant.name));
    let Some(at) = found else {
        return Err(Fields::unknown_choice(lit, shown(variants)));
    };
    let (variant, infos) = (&variants[at], &shown(variants)[at].settings);
    let fields = Fields::of_choice(lit)?;
    let mut faults = fields.rest(infos);
    let mut values = Vec::new();
    for (field, info) in variant.fields.iter().zip(infos) {
        let value = match field.kind {
            Kind::Bool => fields.take::<bool>(info).map(Value::Bool),
            Kind::Int => fields.take::<usize>(info).map(|n| Value::Int(n as u64)),
            Kind::Float => fields.take::<f64>(info).map(Value::Float),
            Kind::Floats => fields.take::<Vec<f64>>(info).map(Value::Floats),
            Kind::Name { known, instead } => read_name(given(lit, field), field, (known, instead)),
            Kind::Choice(inner) => match given(lit, field) {
                Some(lit) => read_choice(lit, inner()),
                None => Ok(field.default.clone()),
            },
        };
        match value {
            Ok(value) => values.push(value),
            Err(new) => faults.extend(new),
        }
    }
    if faults.is_empty() {
        Ok(Value::Choice(variant.name, values))
    } else {
        Err(faults)
    }
}

/// What is written for a field of a choice.
fn given<'a>(lit: &'a Spanned<Lit>, field: &choice::Field) -> Option<&'a Spanned<Lit>> {
    let Lit::Call(call) = &lit.value else {
        return None;
    };
    let Args::Named(fields) = &call.args else {
        return None;
    };
    let found = fields.iter().find(|(name, _)| name.value == field.name);
    found.map(|(_, lit)| lit)
}

/// Reads one of the names that are known.
fn read_name(
    lit: Option<&Spanned<Lit>>,
    field: &choice::Field,
    (known, instead): (fn() -> Vec<&'static str>, choice::Instead),
) -> Result<Value, Vec<Mismatch>> {
    let Some(lit) = lit else {
        return Ok(field.default.clone());
    };
    let Lit::Text(text) = &lit.value else {
        let mut faults = Mismatch::found(&Shape::Text, lit);
        faults[0].message = format!("`{}` {}", field.name, faults[0].message);
        return Err(faults);
    };
    let known = known();
    match choice::find(&known, text) {
        Some(name) => Ok(Value::Name(name)),
        None => {
            let message = format!("there is no {} `{text}`", field.name);
            let mut fault = Mismatch::new(lit.span, message);
            fault.hint = instead(text).or_else(|| names::hint(text, known.iter().copied()));
            Err(vec![fault])
        }
    }
}
