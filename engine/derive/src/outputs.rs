//! `#[derive(Outputs)]`.

use proc_macro2::TokenStream;
use quote::quote;
use syn::{Data, DeriveInput, Error, Fields, Result};

use crate::field::Read;

pub(crate) fn expand(input: &DeriveInput) -> Result<TokenStream> {
    let fields = match &input.data {
        Data::Struct(data) => match &data.fields {
            Fields::Named(named) => named
                .named
                .iter()
                .map(Read::of)
                .collect::<Result<Vec<_>>>()?,
            _ => return Err(Error::new_spanned(input, "outputs need names")),
        },
        _ => return Err(Error::new_spanned(input, "outputs are a struct")),
    };
    let name = &input.ident;
    let idents = fields.iter().map(|field| &field.ident);
    let infos = fields.iter().map(|field| {
        let (name, doc, ty) = (field.name(), &field.doc, &field.ty);
        quote!(<#ty as __ldm::OutputField>::info(#name, #doc))
    });
    Ok(quote! {
        const _: () = {
            use ::ldm_engine::derive as __ldm;

            impl __ldm::Outputs for #name {
                fn declare() -> ::std::vec::Vec<__ldm::OutputInfo> {
                    ::std::vec![#(#infos),*]
                }

                fn into_values(self) -> ::std::vec::Vec<::core::option::Option<__ldm::Value>> {
                    ::std::vec![#(__ldm::OutputField::value(self.#idents)),*]
                }
            }
        };
    })
}
