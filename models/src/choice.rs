//! Choices: enums that a person picks from by name, each variant with settings of its own.
//!
//! `choices!` says a choice once: names, settings, defaults, ranges and help. From that come
//! the enum, its description ([`Choice::variants`]) and its way to and from a [`Value`]. A room
//! that shows choices to people (graph files, a reference page, a form) needs no more:
//!
//! ```text
//! choices! {
//!     /// How the noise is taken away.
//!     pub enum Sampler {
//!         /// Euler's method with noise added back at each step.
//!         EulerAncestral {
//!             /// 0 is Euler, 1 as much noise as the schedule allows.
//!             eta: f64 [0.0..=1.0] = 1.0,
//!         },
//!     }
//! }
//! ```
//!
//! Promises
//! - A value written and read again is the same value.
//! - Defaults lie inside their ranges, and [`Choice::check`] finds a number outside its own.
//!
//! Not here: any syntax. Graph files are the engine's, and `ldm-nodes` joins the two.

use crate::schedule::{ScheduleError, within};

/// A choice, or a setting of one, without its type.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// `true` or `false`
    Bool(bool),
    /// A whole number, not negative.
    Int(u64),
    /// A finite number.
    Float(f64),
    /// Several numbers.
    Floats(Vec<f64>),
    /// One of a list of names.
    Name(&'static str),
    /// A variant with its settings, in the order in which it lists them.
    Choice(&'static str, Vec<Value>),
}

/// What to write for a name that is none, where that is known.
pub type Instead = fn(&str) -> Option<String>;

/// What a setting looks like.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// A [`Value::Bool`].
    Bool,
    /// A [`Value::Int`].
    Int,
    /// A [`Value::Float`].
    Float,
    /// A [`Value::Floats`].
    Floats,
    /// A [`Value::Name`] of these.
    Name {
        /// All of them.
        known: fn() -> Vec<&'static str>,
        /// What to write for a name that is none of them, where that is known.
        instead: Instead,
    },
    /// A [`Value::Choice`] of these.
    Choice(fn() -> &'static [Variant]),
}

/// One variant of a choice.
#[derive(Debug)]
pub struct Variant {
    /// Its name.
    pub name: &'static str,
    /// What it does, in whole sentences.
    pub doc: String,
    /// Its settings.
    pub fields: Vec<Field>,
}

/// One setting of a variant.
#[derive(Debug)]
pub struct Field {
    /// Its name.
    pub name: &'static str,
    /// What it does, in whole sentences.
    pub doc: String,
    /// What it looks like.
    pub kind: Kind,
    /// What it is when left out.
    pub default: Value,
    /// The least and the greatest number allowed.
    pub range: Option<(f64, f64)>,
}

/// A type that a setting of a choice can have.
pub trait Part: Sized {
    /// What it looks like.
    fn kind() -> Kind;
    /// It, without its type.
    fn to_value(&self) -> Value;
    /// It, from a value of its [`kind`](Part::kind); `None` for a value of another.
    fn of_value(value: &Value) -> Option<Self>;
}

/// A type made by `choices!`.
pub trait Choice: Part {
    /// All there is to choose from, in the order of the reference page.
    fn variants() -> &'static [Variant];

    /// The variant `name` with all its settings as they are when left out.
    fn usual(name: &str) -> Option<Self> {
        let variant = Self::variants().iter().find(|v| v.name == name)?;
        let values = variant.fields.iter().map(|field| field.default.clone());
        Self::of_value(&Value::Choice(variant.name, values.collect()))
    }

    /// This with one setting changed; `None` where there is no such setting.
    fn with(&self, field: &str, part: impl Part) -> Option<Self> {
        let Value::Choice(name, mut values) = self.to_value() else {
            return None;
        };
        let variant = Self::variants().iter().find(|v| v.name == name)?;
        let at = variant.fields.iter().position(|f| f.name == field)?;
        values[at] = part.to_value();
        Self::of_value(&Value::Choice(name, values))
    }

    /// Errors for the first number that lies outside its range, however deep it stands.
    fn check(&self) -> Result<(), ScheduleError> {
        check(&self.to_value(), Self::variants())
    }
}

/// The name among `known` that is `name`, else the first that differs from it only in capitals.
pub fn find(known: &[&'static str], name: &str) -> Option<&'static str> {
    let alike = |known: &&&str| known.eq_ignore_ascii_case(name);
    let same = known.iter().find(|known| **known == name);
    same.or_else(|| known.iter().find(alike)).copied()
}

fn check(value: &Value, variants: &'static [Variant]) -> Result<(), ScheduleError> {
    let Value::Choice(name, values) = value else {
        return Ok(());
    };
    let variant = variants.iter().find(|v| v.name == *name);
    let fields = variant.map_or(&[][..], |variant| &variant.fields);
    for (field, value) in fields.iter().zip(values) {
        let inside = |number: f64| match field.range {
            Some((low, high)) => within(field.name, number, low, high),
            None => within(field.name, number, f64::MIN, f64::MAX),
        };
        match (value, field.kind) {
            (Value::Int(number), _) => inside(*number as f64)?,
            (Value::Float(number), _) => inside(*number)?,
            (Value::Floats(numbers), _) => numbers.iter().try_for_each(|n| inside(*n))?,
            (inner, Kind::Choice(variants)) => check(inner, variants())?,
            _ => {}
        }
    }
    Ok(())
}

/// The lines of a doc comment as one text.
pub(crate) fn doc(lines: &[&str]) -> String {
    let lines: Vec<&str> = lines.iter().map(|line| line.trim()).collect();
    lines.join("\n").trim().to_owned()
}

macro_rules! parts {
    ($($kind:ident($type:ty): $to:expr, $of:expr;)*) => {$(
        impl Part for $type {
            fn kind() -> Kind {
                Kind::$kind
            }
            fn to_value(&self) -> Value {
                let to: fn(&Self) -> Value = $to;
                to(self)
            }
            fn of_value(value: &Value) -> Option<Self> {
                let of: fn(&Value) -> Option<Self> = $of;
                of(value)
            }
        }
    )*};
}

parts! {
    Bool(bool): |b| Value::Bool(*b), |v| match v { Value::Bool(b) => Some(*b), _ => None };
    Int(usize): |n| Value::Int(*n as u64), |v| match v {
        Value::Int(n) => usize::try_from(*n).ok(),
        _ => None,
    };
    Float(f64): |x| Value::Float(*x), |v| match v { Value::Float(x) => Some(*x), _ => None };
    Floats(Vec<f64>): |x| Value::Floats(x.clone()), |v| match v {
        Value::Floats(x) => Some(x.clone()),
        _ => None,
    };
}

/// Makes enums that are [`Choice`]s; see the [module](self) for what it reads.
macro_rules! choices {
    ($(
        $(#[doc = $about:literal])*
        $(#[derive($copy:ident)])?
        $vis:vis enum $name:ident {
            $(
                $(#[doc = $doc:literal])*
                $variant:ident $({ $(
                    $(#[doc = $help:literal])*
                    $field:ident: $type:ty $([$low:literal ..= $high:literal])? = $default:expr
                ),+ $(,)? })?
            ),+ $(,)?
        }
    )+) => {$(
        $(#[doc = $about])*
        #[derive(Clone, Debug, PartialEq)]
        $(#[derive($copy)])?
        $vis enum $name {
            $(
                $(#[doc = $doc])*
                $variant $({ $( $(#[doc = $help])* $field: $type ),+ })?
            ),+
        }

        impl $crate::choice::Choice for $name {
            fn variants() -> &'static [$crate::choice::Variant] {
                use $crate::choice as __c;
                static VARIANTS: std::sync::LazyLock<Vec<__c::Variant>> =
                    std::sync::LazyLock::new(|| vec![$( __c::Variant {
                        name: stringify!($variant),
                        doc: __c::doc(&[$($doc),*]),
                        fields: vec![$($( __c::Field {
                            name: stringify!($field),
                            doc: __c::doc(&[$($help),*]),
                            kind: <$type as __c::Part>::kind(),
                            default: {
                                let usual: $type = $default;
                                __c::Part::to_value(&usual)
                            },
                            range: {
                                let range: &[(f64, f64)] = &[$(($low as f64, $high as f64))?];
                                range.first().copied()
                            },
                        } ),+)?],
                    } ),+]);
                &VARIANTS
            }
        }

        impl $crate::choice::Part for $name {
            fn kind() -> $crate::choice::Kind {
                $crate::choice::Kind::Choice(<Self as $crate::choice::Choice>::variants)
            }

            fn to_value(&self) -> $crate::choice::Value {
                match self {
                    $( Self::$variant $({ $($field),+ })? => $crate::choice::Value::Choice(
                        stringify!($variant),
                        vec![$($( $crate::choice::Part::to_value($field) ),+)?],
                    ) ),+
                }
            }

            fn of_value(value: &$crate::choice::Value) -> Option<Self> {
                let $crate::choice::Value::Choice(name, values) = value else {
                    return None;
                };
                #[allow(unused_mut, unused_variables)]
                let mut values = values.iter();
                $( if *name == stringify!($variant) {
                    return Some(Self::$variant $({ $(
                        $field: $crate::choice::Part::of_value(values.next()?)?
                    ),+ })?);
                } )+
                None
            }
        }
    )+};
}

pub(crate) use choices;

#[cfg(test)]
mod tests {
    use super::*;

    choices! {
        /// What the dog does.
        enum Dog {
            /// Sleeps.
            Sleep,
            /// Runs,
            /// far.
            Run {
                /// How far.
                far: f64 [0.0..=9.5] = 3.0,
                /// Then this.
                then: Bark = Bark::Loud,
            },
        }

        /// How it barks.
        enum Bark {
            /// So that all hear it.
            Loud,
            /// Several times.
            Often {
                /// How often.
                times: usize [1..=7] = 2,
                /// How long each.
                each: Vec<f64> = vec![0.5],
                /// Whether it howls.
                howls: bool = false,
            },
        }
    }

    #[test]
    fn what_was_said_once_can_be_read_back() {
        let [sleep, run] = Dog::variants() else {
            panic!("two things to do")
        };
        assert_eq!((sleep.name, &*sleep.doc), ("Sleep", "Sleeps."));
        assert_eq!((run.name, &*run.doc), ("Run", "Runs,\nfar."));
        assert_eq!(
            (run.fields[0].name, &*run.fields[0].doc),
            ("far", "How far.")
        );
        assert_eq!(run.fields[0].range, Some((0.0, 9.5)));
        assert_eq!(run.fields[1].default, Value::Choice("Loud", vec![]));
    }

    #[test]
    fn a_value_written_and_read_again_is_the_same() {
        let often = Bark::usual("Often").unwrap().with("howls", true).unwrap();
        let dog = Dog::usual("Run").unwrap().with("then", often).unwrap();
        assert_eq!(Dog::of_value(&dog.to_value()), Some(dog));
        assert_eq!(Dog::usual("Swim"), None);
        assert_eq!(Dog::Sleep.with("far", 1.0), None);
        assert_eq!(Dog::of_value(&Value::Choice("Run", vec![])), None);
        assert_eq!(Dog::of_value(&Value::Bool(true)), None);
    }

    #[test]
    fn a_number_outside_its_range_is_found_however_deep() {
        let then = |times| Bark::usual("Often").unwrap().with("times", times).unwrap();
        let run = Dog::usual("Run").unwrap();
        assert_eq!(run.check(), Ok(()));
        let said = run
            .with("then", then(8_usize))
            .unwrap()
            .check()
            .unwrap_err();
        assert_eq!(
            said.to_string(),
            "`times` is 8, but it must lie in 1..=7: give a value inside"
        );
        assert!(run.with("far", f64::NAN).unwrap().check().is_err());
        let long = then(2).with("each", vec![f64::INFINITY]).unwrap();
        assert!(run.with("then", long).unwrap().check().is_err());
    }
}
