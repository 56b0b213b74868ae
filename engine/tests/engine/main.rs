//! The engine, tested as a story of what ran and as the errors a reader meets. One binary, so
//! that it links once.

mod cache;
mod disk;
mod errors;
mod faults;
mod files;
mod keys;
mod kill;
mod lab;
mod lock;
mod long;
mod parts;
mod properties;
mod relief;
mod running;
mod same;
mod tidy;
mod ways;
mod writing;
