//! Fields: ports told from settings, and what `#[node(…)]` says of a setting.

use proc_macro2::TokenStream;
use quote::quote;
use syn::{
    Error, Expr, ExprLit, ExprRange, Field, GenericArgument, Ident, Lit, PathArguments,
    RangeLimits, Result, Type,
};

/// A field of a node or a choice.
pub(crate) struct Read {
    pub(crate) ident: Ident,
    pub(crate) ty: Type,
    pub(crate) doc: String,
    pub(crate) is_port: bool,
    default: Option<Expr>,
    range: Option<ExprRange>,
    unit: Option<Expr>,
}

impl Read {
    pub(crate) fn of(field: &Field) -> Result<Self> {
        let Some(ident) = field.ident.clone() else {
            return Err(Error::new_spanned(field, "fields need names"));
        };
        let mut read = Self {
            ident,
            ty: field.ty.clone(),
            doc: crate::docs::read(&field.attrs).0,
            is_port: is_port(&field.ty),
            default: None,
            range: None,
            unit: None,
        };
        if read.doc.is_empty() {
            return Err(Error::new_spanned(
                field,
                "say in a doc comment what this field is",
            ));
        }
        for attribute in field.attrs.iter().filter(|a| a.path().is_ident("node")) {
            attribute.parse_nested_meta(|meta| {
                if meta.path.is_ident("default") {
                    read.default = Some(meta.value()?.parse()?);
                } else if meta.path.is_ident("range") {
                    read.range = Some(range(meta.value()?.parse()?)?);
                } else if meta.path.is_ident("unit") {
                    read.unit = Some(meta.value()?.parse()?);
                } else {
                    return Err(meta.error("a field knows `default`, `range` and `unit`"));
                }
                Ok(())
            })?;
        }
        if read.is_port && (read.default.is_some() || read.range.is_some()) {
            return Err(Error::new_spanned(
                field,
                "a port has no default and no range",
            ));
        }
        Ok(read)
    }

    pub(crate) fn name(&self) -> String {
        let name = self.ident.to_string();
        name.strip_prefix("r#").map(str::to_owned).unwrap_or(name)
    }

    /// The `SettingInfo` expression.
    pub(crate) fn info(&self) -> TokenStream {
        let (name, doc, ty) = (self.name(), &self.doc, &self.ty);
        let default = self.default.as_ref().map_or_else(
            || quote!(<#ty as __ldm::Setting>::absent().map(|v| __ldm::Setting::write(&v))),
            |value| {
                let value = typed(value, ty);
                quote!(::core::option::Option::Some(__ldm::Setting::write(&{ #value })))
            },
        );
        let range = self
            .range
            .as_ref()
            .map_or_else(none, |range| self.bounds(range));
        let unit = self
            .unit
            .as_ref()
            .map_or_else(none, |u| quote!(::core::option::Option::Some(#u)));
        quote!(__ldm::SettingInfo {
            name: #name,
            doc: #doc,
            shape: <#ty as __ldm::Setting>::shape(),
            default: #default,
            range: #range,
            unit: #unit,
        })
    }

    fn bounds(&self, range: &ExprRange) -> TokenStream {
        let number = number_type(&self.ty);
        let bound = |end: Option<&Expr>| {
            end.map_or_else(none, |end| {
                quote!(::core::option::Option::Some(__ldm::Setting::write(&{
                    let value: #number = #end;
                    value
                })))
            })
        };
        let (low, high) = (bound(range.start.as_deref()), bound(range.end.as_deref()));
        let inclusive = matches!(range.limits, RangeLimits::Closed(_));
        quote!(::core::option::Option::Some(__ldm::Bounds {
            low: #low,
            high: #high,
            inclusive: #inclusive,
        }))
    }
}

fn none() -> TokenStream {
    quote!(::core::option::Option::None)
}

/// A default as a value of the field's type; text may be written as a plain literal.
fn typed(value: &Expr, ty: &Type) -> TokenStream {
    match value {
        Expr::Lit(ExprLit {
            lit: Lit::Str(text),
            ..
        }) => {
            quote!(let value: #ty = ::core::convert::From::from(#text); value)
        }
        other => quote!(let value: #ty = #other; value),
    }
}

fn range(value: Expr) -> Result<ExprRange> {
    match value {
        Expr::Range(range) => Ok(range),
        other => Err(Error::new_spanned(other, "a range is written `1..=1000`")),
    }
}

/// The type of the numbers in `Option<f32>`, `Vec<f32>`, `f32`.
fn number_type(ty: &Type) -> &Type {
    match wrapped(ty, "Option").or_else(|| wrapped(ty, "Vec")) {
        Some(inner) => number_type(inner),
        None => ty,
    }
}

fn is_port(ty: &Type) -> bool {
    let inner = wrapped(ty, "Option")
        .or_else(|| wrapped(ty, "Vec"))
        .unwrap_or(ty);
    wrapped(inner, "In").is_some()
}

/// `T` of `Name<T>`.
fn wrapped<'a>(ty: &'a Type, name: &str) -> Option<&'a Type> {
    let Type::Path(path) = ty else { return None };
    let last = path
        .path
        .segments
        .last()
        .filter(|last| last.ident == name)?;
    let PathArguments::AngleBracketed(arguments) = &last.arguments else {
        return None;
    };
    match arguments.args.first()? {
        GenericArgument::Type(inner) => Some(inner),
        _ => None,
    }
}
