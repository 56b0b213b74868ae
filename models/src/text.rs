//! The text encoder: a BERT-style transformer over token ids.
