//! The little world: scenes painted from a seed.
