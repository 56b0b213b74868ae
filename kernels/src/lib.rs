//! Tensor operations of our own behind burn's extension.
