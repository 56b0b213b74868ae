//! The derive that makes a struct a node.
