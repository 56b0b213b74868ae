//! The little world: 64×64 scenes painted from a seed, to train and to test on.
//!
//! A [`Scene`] is drawn from a `u64` by integer arithmetic alone. From it come the picture,
//! captions with what each of them states, boxes, a label map and a class. [`check`] reads the
//! stated attributes back from pixels, so that a model's pictures can be graded.
//!
//! Promises: a seed gives the same bytes on every run and machine while [`VERSION`] stands.
//! Not here: tensors, files, the terminal.

mod caption;
pub mod check;
mod label;
mod paint;
pub mod palette;
mod parse;
mod rng;
mod scene;

pub use caption::{Attribute, Caption, evaluation_captions, vocabulary};
pub use label::{Label, LabelMap};
pub use paint::Picture;
pub use palette::Colour;
pub use scene::{CLASSES, Ground, Group, Kind, Object, Place, Scene, Size, Sky, Time, class_name};

/// The painter's version: it moves when any seed's pixels or captions do.
pub const VERSION: u32 = 1;
