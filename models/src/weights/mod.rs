//! Weight files: reading, writing, naming, and the manifest of a model.
