//! Reads attributes back, from text and from pixels.

pub use crate::parse::attributes_of;
