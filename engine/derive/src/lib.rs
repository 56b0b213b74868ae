//! The derives that make a struct a node, an enum a choice and a struct a list of outputs.
//!
//! They read what is there anyway: field types tell ports from settings, doc comments are the
//! help, a fenced `ron` block is the example. Everything a program can know of a node comes from
//! here and is written once.
//!
//! Not here: what the generated code calls (`ldm_engine::derive`).

mod choice;
mod docs;
mod field;
mod node;
mod outputs;

use proc_macro::TokenStream;
use syn::{DeriveInput, parse_macro_input};

/// Makes a struct a node: fields of type `In<T>`, `Option<In<T>>` and `Vec<In<T>>` are its ports,
/// the others its settings.
///
/// On the struct: `#[node(version = 2, effect | volatile, device, computes)]`. On a setting:
/// `#[node(default = 20, range = 1..=1000, unit = "px")]`.
#[proc_macro_derive(Node, attributes(node))]
pub fn node(input: TokenStream) -> TokenStream {
    let input = parse_macro_input!(input as DeriveInput);
    node::expand(&input)
        .unwrap_or_else(syn::Error::into_compile_error)
        .into()
}

/// Makes an enum of unit and named-field variants a setting. Fields take the same
/// `#[node(default, range, unit)]` as those of a node.
#[proc_macro_derive(Choice, attributes(node))]
pub fn choice(input: TokenStream) -> TokenStream {
    let input = parse_macro_input!(input as DeriveInput);
    choice::expand(&input)
        .unwrap_or_else(syn::Error::into_compile_error)
        .into()
}

/// Makes a struct of `Data` fields the named outputs of a node; `Option<T>` is an output that may
/// turn out not to be there.
#[proc_macro_derive(Outputs)]
pub fn outputs(input: TokenStream) -> TokenStream {
    let input = parse_macro_input!(input as DeriveInput);
    outputs::expand(&input)
        .unwrap_or_else(syn::Error::into_compile_error)
        .into()
}
