//! The manifest of a model.
