//! The program as a user meets it: every test here runs the built `ldm-graph`.
//!
//! `UPDATE_EXPECT=1 cargo test --test program` rewrites the expected messages beside the bad
//! graphs and the reference page; read the difference before committing it.

mod bad_graphs;
mod cache;
mod command;
mod files;
mod house;
mod inspect;
mod lab;
mod lock;
mod pages;
mod parity;
mod running;
mod shipped;
mod show;
mod stopping;
mod tiling;
mod training;
mod verify;
mod watch;
