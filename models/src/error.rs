//! What can go wrong with a model: its numbers, its files.
