//! Numbers that judge pictures.
