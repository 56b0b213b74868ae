//! `#[derive(Choice)]`.

use proc_macro2::TokenStream;
use quote::quote;
use syn::{Data, DeriveInput, Error, Fields, Ident, Result};

use crate::docs;
use crate::field::Read;

/// A variant of the enum.
struct Variant {
    ident: Ident,
    doc: String,
    fields: Vec<Read>,
}

pub(crate) fn expand(input: &DeriveInput) -> Result<TokenStream> {
    let Data::Enum(data) = &input.data else {
        return Err(Error::new_spanned(input, "a choice is an enum"));
    };
    let variants = data
        .variants
        .iter()
        .map(Variant::of)
        .collect::<Result<Vec<_>>>()?;
    let name = &input.ident;
    let infos = variants.iter().map(Variant::info);
    let reads = variants
        .iter()
        .enumerate()
        .map(|(at, variant)| variant.read(at));
    let write = quote!(write);
    let key = quote!(key);
    let writes = variants
        .iter()
        .enumerate()
        .map(|(at, variant)| variant.write(at, &write));
    let keys = variants
        .iter()
        .enumerate()
        .map(|(at, variant)| variant.write(at, &key));
    let visits = variants.iter().map(Variant::visit);
    Ok(quote! {
        const _: () = {
            #[allow(unused_imports)]
            use ::ldm_engine::derive::*;
            use ::ldm_engine::derive::Variant;

            fn variants() -> &'static [Variant] {
                static VARIANTS: ::std::sync::OnceLock<::std::vec::Vec<Variant>> =
                    ::std::sync::OnceLock::new();
                VARIANTS.get_or_init(|| ::std::vec![#(#infos),*])
            }

            impl Setting for #name {
                fn shape() -> Shape {
                    Shape::Choice(variants())
                }

                fn read(
                    lit: &Spanned<Lit>,
                ) -> ::core::result::Result<Self, ::std::vec::Vec<Mismatch>> {
                    #(#reads)*
                    ::core::result::Result::Err(Fields::unknown_choice(lit, variants()))
                }

                fn write(&self) -> Lit {
                    match self { #(#writes)* }
                }

                fn key(&self) -> Lit {
                    match self { #(#keys)* }
                }

                #[allow(unused_variables)]
                fn visit_reads(&self, see: &mut dyn ::core::ops::FnMut(&ReadPath)) {
                    match self { #(#visits)* }
                }
            }
        };
    })
}

impl Variant {
    fn of(variant: &syn::Variant) -> Result<Self> {
        let fields = match &variant.fields {
            Fields::Unit => Vec::new(),
            Fields::Named(named) => named.named.iter().map(Read::of).collect::<Result<_>>()?,
            Fields::Unnamed(_) => return Err(Error::new_spanned(variant, "fields need names")),
        };
        let doc = docs::read(&variant.attrs).0;
        if doc.is_empty() {
            return Err(Error::new_spanned(
                variant,
                "say in a doc comment what this choice does",
            ));
        }
        Ok(Self {
            ident: variant.ident.clone(),
            doc,
            fields,
        })
    }

    fn info(&self) -> TokenStream {
        let (name, doc) = (self.ident.to_string(), &self.doc);
        let settings = self.fields.iter().map(Read::info);
        quote!(Variant { name: #name, doc: #doc, settings: ::std::vec![#(#settings),*] })
    }

    fn read(&self, at: usize) -> TokenStream {
        let (ident, name) = (&self.ident, self.ident.to_string());
        let idents: Vec<_> = self.fields.iter().map(|field| &field.ident).collect();
        let types = self.fields.iter().map(|field| &field.ty);
        let numbers = 0..self.fields.len();
        quote! {
            if lit.value.is_call(#name) {
                let infos = &variants()[#at].settings;
                let fields = Fields::of_choice(lit)?;
                #[allow(unused_mut)]
                let mut faults = fields.rest(infos);
                #(
                    let #idents = fields
                        .take::<#types>(&infos[#numbers])
                        .map_err(|e| faults.extend(e))
                        .ok();
                )*
                if !faults.is_empty() {
                    return ::core::result::Result::Err(faults);
                }
                return ::core::result::Result::Ok(Self::#ident {
                    #( #idents: #idents.expect("no fault, so every setting was read") ),*
                });
            }
        }
    }

    fn write(&self, at: usize, form: &TokenStream) -> TokenStream {
        let (ident, name) = (&self.ident, self.ident.to_string());
        let idents: Vec<_> = self.fields.iter().map(|field| &field.ident).collect();
        let numbers = 0..self.fields.len();
        quote! {
            Self::#ident { #(#idents),* } => Fields::write_choice(#name, ::std::vec![
                #( (
                    &variants()[#at].settings[#numbers],
                    Setting::write(#idents),
                    Setting::#form(#idents),
                ) ),*
            ]),
        }
    }

    fn visit(&self) -> TokenStream {
        let ident = &self.ident;
        let idents: Vec<_> = self.fields.iter().map(|field| &field.ident).collect();
        quote!(Self::#ident { #(#idents),* } => { #( Setting::visit_reads(#idents, see); )* })
    }
}
