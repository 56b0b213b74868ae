//! `#[derive(Node)]`.

use proc_macro2::TokenStream;
use quote::quote;
use syn::{Data, DeriveInput, Error, Expr, Fields, Result};

use crate::docs;
use crate::field::Read;

pub(crate) fn expand(input: &DeriveInput) -> Result<TokenStream> {
    let Data::Struct(data) = &input.data else {
        return Err(Error::new_spanned(input, "a node is a struct"));
    };
    let fields = match &data.fields {
        Fields::Named(named) => named
            .named
            .iter()
            .map(Read::of)
            .collect::<Result<Vec<_>>>()?,
        Fields::Unit => Vec::new(),
        Fields::Unnamed(_) => return Err(Error::new_spanned(input, "fields need names")),
    };
    let declare = declare(input, &fields)?;
    let build = build(&fields, matches!(data.fields, Fields::Unit));
    let settings: Vec<_> = fields.iter().filter(|field| !field.is_port).collect();
    let idents: Vec<_> = settings.iter().map(|field| &field.ident).collect();
    let names = settings.iter().map(|field| field.name());
    let name = &input.ident;
    Ok(quote! {
        const _: () = {
            #[allow(unused_imports)]
            use ::ldm_engine::derive as __ldm;

            impl __ldm::Declare for #name {
                fn declare() -> __ldm::Declaration { #declare }

                #build

                #[allow(unused_variables)]
                fn visit_reads(&self, see: &mut dyn ::core::ops::FnMut(&__ldm::ReadPath)) {
                    #( __ldm::Setting::visit_reads(&self.#idents, see); )*
                }

                #[allow(unused_variables)]
                fn write(
                    &self,
                    infos: &[__ldm::SettingInfo],
                ) -> ::std::vec::Vec<(&'static str, __ldm::Lit, __ldm::Lit)> {
                    let mut written = ::std::vec![
                        #( (
                            #names,
                            __ldm::Setting::write(&self.#idents),
                            __ldm::Setting::key(&self.#idents),
                        ) ),*
                    ];
                    __ldm::keep_different(&mut written, infos);
                    written
                }
            }
        };
    })
}

fn declare(input: &DeriveInput, fields: &[Read]) -> Result<TokenStream> {
    let (doc, example) = docs::read(&input.attrs);
    let name = input.ident.to_string();
    if doc.is_empty() {
        return Err(Error::new_spanned(
            &input.ident,
            "say in a doc comment what this node gives",
        ));
    }
    let nature = Attributes::of(input)?;
    let Attributes {
        version,
        nature,
        device,
        computes,
    } = nature;
    let lane = if device {
        quote!(__ldm::Lane::Device)
    } else {
        quote!(__ldm::Lane::Cpu)
    };
    let version = version.map_or_else(|| quote!(1), |version| quote!(#version));
    let ports = fields.iter().filter(|field| field.is_port).map(|field| {
        let (name, doc, ty) = (field.name(), &field.doc, &field.ty);
        quote!(__ldm::port_info::<#ty>(#name, #doc))
    });
    let settings = fields.iter().filter(|field| !field.is_port).map(Read::info);
    let computes = device || computes;
    Ok(quote! {
        __ldm::Declaration {
            name: #name,
            version: #version,
            doc: #doc,
            example: #example,
            nature: #nature,
            lane: #lane,
            computes: #computes,
            ports: ::std::vec![#(#ports),*],
            settings: ::std::vec![#(#settings),*],
        }
    })
}

fn build(fields: &[Read], unit: bool) -> TokenStream {
    let (mut port, mut setting) = (0_usize, 0_usize);
    let mut reads = Vec::new();
    let mut takes = Vec::new();
    for Read {
        ident, ty, is_port, ..
    } in fields
    {
        if *is_port {
            reads.push(quote!(let #ident = __parts.port::<#ty>(#port);));
            takes.push(quote!(#ident));
            port += 1;
        } else {
            reads.push(quote!(let #ident = __parts.setting::<#ty>(#setting, &mut __faults);));
            takes.push(quote!(#ident: #ident.expect("no fault, so every setting was read")));
            setting += 1;
        }
    }
    let this = if unit {
        quote!(Self)
    } else {
        quote!(Self { #(#takes),* })
    };
    quote! {
        fn build(
            __parts: &__ldm::Parts<'_>,
        ) -> ::core::result::Result<Self, ::std::vec::Vec<__ldm::Mismatch>> {
            #[allow(unused_mut)]
            let mut __faults = __parts.rest();
            #(#reads)*
            if !__faults.is_empty() {
                return ::core::result::Result::Err(__faults);
            }
            ::core::result::Result::Ok(#this)
        }
    }
}

/// What `#[node(…)]` says on the struct.
struct Attributes {
    version: Option<Expr>,
    nature: TokenStream,
    device: bool,
    computes: bool,
}

impl Attributes {
    fn of(input: &DeriveInput) -> Result<Self> {
        let mut read = Self {
            version: None,
            nature: quote!(__ldm::Nature::Pure),
            device: false,
            computes: false,
        };
        for attribute in input.attrs.iter().filter(|a| a.path().is_ident("node")) {
            attribute.parse_nested_meta(|meta| {
                if meta.path.is_ident("version") {
                    read.version = Some(meta.value()?.parse()?);
                } else if meta.path.is_ident("effect") {
                    read.nature = quote!(__ldm::Nature::Effect);
                } else if meta.path.is_ident("volatile") {
                    read.nature = quote!(__ldm::Nature::Volatile);
                } else if meta.path.is_ident("device") {
                    read.device = true;
                } else if meta.path.is_ident("computes") {
                    read.computes = true;
                } else {
                    return Err(meta.error(
                        "a node knows `version`, `effect`, `volatile`, `device` and `computes`",
                    ));
                }
                Ok(())
            })?;
        }
        Ok(read)
    }
}
