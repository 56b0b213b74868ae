//! Classifier-free guidance: two predictions in one batch, pulled apart.
