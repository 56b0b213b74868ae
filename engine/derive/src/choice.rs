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
            use ::ldm_engine::derive as __ldm;

            fn __variants() -> &'static [__ldm::Variant] {
                static VARIANTS: ::std::sync::OnceLock<::std::vec::Vec<__ldm::Variant>> =
                    ::std::sync::OnceLock::new();
                VARIANTS.get_or_init(|| ::std::vec![#(#infos),*])
            }

            impl __ldm::Setting for #name {
                fn shape() -> __ldm::Shape {
                    __ldm::Shape::Choice(__variants())
                }

                fn read(
                    __lit: &__ldm::Spanned<__ldm::Lit>,
                ) -> ::core::result::Result<Self, ::std::vec::Vec<__ldm::Mismatch>> {
                    #(#reads)*
                    ::core::result::Result::Err(__ldm::Fields::unknown_choice(__lit, __variants()))
                }

                fn write(&self) -> __ldm::Lit {
                    match self { #(#writes)* }
                }

                fn key(&self) -> __ldm::Lit {
                    match self { #(#keys)* }
                }

                #[allow(unused_variables)]
                fn visit_reads(&self, __see: &mut dyn ::core::ops::FnMut(&__ldm::ReadPath)) {
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
        quote!(__ldm::Variant { name: #name, doc: #doc, settings: ::std::vec![#(#settings),*] })
    }

    fn read(&self, at: usize) -> TokenStream {
        let (ident, name) = (&self.ident, self.ident.to_string());
        let idents: Vec<_> = self.fields.iter().map(|field| &field.ident).collect();
        let types = self.fields.iter().map(|field| &field.ty);
        let numbers = 0..self.fields.len();
        quote! {
            if __lit.value.is_call(#name) {
                let __infos = &__variants()[#at].settings;
                let __fields = __ldm::Fields::of_choice(__lit)?;
                #[allow(unused_mut)]
                let mut __faults = __fields.rest(__infos);
                #(
                    let #idents = __fields
                        .take::<#types>(&__infos[#numbers])
                        .map_err(|e| __faults.extend(e))
                        .ok();
                )*
                if !__faults.is_empty() {
                    return ::core::result::Result::Err(__faults);
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
            Self::#ident { #(#idents),* } => __ldm::Fields::write_choice(#name, ::std::vec![
                #( (
                    &__variants()[#at].settings[#numbers],
                    __ldm::Setting::write(#idents),
                    __ldm::Setting::#form(#idents),
                ) ),*
            ]),
        }
    }

    fn visit(&self) -> TokenStream {
        let ident = &self.ident;
        let idents: Vec<_> = self.fields.iter().map(|field| &field.ident).collect();
        quote!(Self::#ident { #(#idents),* } => {
            #( __ldm::Setting::visit_reads(#idents, __see); )*
        })
    }
}
