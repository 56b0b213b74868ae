//! The node library: one kind of node, one short file.
