//! Samplers: one flat function each.
