//! What a graph is and how it runs: `file.ron → Graph → Plan → Run → values`.
//!
//! The engine knows no tensor, no image and no terminal. A node library gives it kinds of nodes
//! and types of values; a program gives it a graph, a [`Host`] and a [`Cache`].
//!
//! ```
//! use std::path::Path;
//! use ldm_engine::{
//!     Cache, Ctx, Graph, Host, In, Kinds, Node, Options, Plan, Result, Run, Source, Text, kind,
//! };
//!
//! /// Says something.
//! ///
//! /// ```ron
//! /// "word": Word(text: "a lighthouse")
//! /// ```
//! #[derive(Node)]
//! struct Word {
//!     /// What to say.
//!     text: String,
//!     /// How often.
//!     #[node(default = 1, range = 1..=9)]
//!     times: u32,
//! }
//!
//! impl Node for Word {
//!     type Out = Text;
//!     fn run(&self, _ctx: &mut Ctx) -> Result<Text> {
//!         Ok(Text(vec![self.text.as_str(); self.times as usize].join(" ")))
//!     }
//! }
//!
//! /// Puts one text after another.
//! ///
//! /// ```ron
//! /// "both": Join(a: "word", b: "other")
//! /// ```
//! #[derive(Node)]
//! struct Join {
//!     /// The first.
//!     a: In<Text>,
//!     /// The second.
//!     b: In<Text>,
//! }
//!
//! impl Node for Join {
//!     type Out = Text;
//!     fn run(&self, ctx: &mut Ctx) -> Result<Text> {
//!         let (a, b) = (ctx.get(&self.a), ctx.get(&self.b));
//!         Ok(Text(format!("{} {}", a.0, b.0)))
//!     }
//! }
//!
//! let kinds = Kinds::new([kind::<Word>(), kind::<Join>()]);
//! let text = r#"Graph(
//!     nodes: {
//!         "a": Word(text: "ho", times: 2),
//!         "b": Word(text: "silver"),
//!         "both": Join(a: "b", b: "a"),
//!     },
//!     outputs: { "said": "both" },
//! )"#;
//! let graph = Graph::parse(Source::new("said.ron", text), Path::new("said.ron"))?;
//! let plan = Plan::new(&graph, &kinds, &Options::default())?;
//! let report = Run::new(&plan, &Host::default(), &Cache::new(1 << 20)).go(&mut |_event| {});
//! assert_eq!(report.value::<Text>("said").expect("it ran").0, "silver ho ho");
//! # Ok::<(), ldm_engine::Diagnostics>(())
//! ```
//!
//! # Writing a node
//!
//! - A node is a struct with `#[derive(Node)]` and an `impl Node`. Fields `In<T>`,
//!   `Option<In<T>>` and `Vec<In<T>>` are ports; all other fields are settings: `bool`, `u8` to
//!   `u64`, `usize`, `i32`, `i64`, `f32`, `f64`, `String`, [`ReadPath`], [`WritePath`],
//!   `#[derive(Choice)]` enums, and `Option` and `Vec` of these.
//! - `#[node(default = 20, range = 1..=1000, unit = "px")]` on a setting; without a default it
//!   must be given, `Option` is `None` when left out. Every field and variant needs a doc
//!   comment; the struct's may hold one fenced `ron` example: a line of a graph's `nodes`.
//! - `#[node(version = 2, effect, volatile, device, computes)]` on the struct. Raise `version`
//!   when equal settings give another result. `device`: it runs on the device's thread, and the
//!   host's numerics enter its key; `computes`: only the latter. `effect`: what it
//!   [writes](Ctx::write) is its result. `volatile`: always runs.
//! - `type Out` is one [`Data`] type (its output is named by the type: `TextEncoder` gives
//!   `text_encoder`), a `#[derive(Outputs)]` struct for several, or `()`.
//! - [`Node::facts`] infers facts of outputs from facts of inputs; facts are any types of the
//!   node library. `facts.of::<F, _>(&self.port)`, `facts.give(F)`, `facts.give_on("vae", F)`,
//!   `facts.absent("vae")`, `facts.open(&self.path)`, `facts.place(&self.path)` (for messages
//!   alone). It is not called for a node whose settings come through `Link`: its outputs have no
//!   facts.
//! - Work that memory may not hold at once says in `facts` in what [`Way`]s it can be done
//!   (`facts.ways(…)`) and answers [`Node::has_ways`]; `run` asks [`Ctx::way`] which is taken.
//!   Where a device's memory runs out all the same (`Error::out_of_memory`), the node goes the
//!   next one, see [`Relief`].
//! - Errors: `Error::at("latent", "wants 4 channels, found 16").hint("…")`; `?` takes any `std`
//!   error. Loops call `ctx.step(i, n)?`; code that outlives the borrow takes
//!   [`ctx.reporter()`](Ctx::reporter).
//! - Lent things (the device) come by `ctx.extension::<T>()?`.
//!
//! # Writing a value
//!
//! Implement [`Data`]: name, identity, bytes, and save/load for the disk tier. A model overrides
//! [`Data::storage`] to answer [`Storage::Handle`]: it is then made again, quietly, whenever a
//! node that runs needs it, and its node counts as kept; `run` must be cheap for handles, weights
//! being read on first use. Tell of that with [`Reporter::loaded`].
//!
//! # Running
//!
//! [`Graph::read`] → [`Plan::new`] → [`Run::new`] → [`Run::go`], which calls the listener on the
//! caller's thread with every [`Event`] and answers a [`Report`]: the [`Done`] lists, failures as
//! [`Diagnostic`]s, and the values of the roots. Keep one [`Cache`] for the life of the process.
//! [`Change::between`] compares two plans; [`SameWork::between`] says which running nodes the
//! next plan still wants, and [`Stop::stop_all_but`] ends the others. A [`Lock`] holds a later
//! plan to an earlier.

// The derives name this crate by its outer name; its own tests use them too.
extern crate self as ldm_engine;

mod cache;
mod change;
mod ctx;
mod diagnostic;
mod error;
mod event;
mod facts;
mod files;
mod graph;
mod key;
pub mod kind;
mod literal;
mod lock;
pub mod names;
mod node;
pub mod paths;
mod place;
mod plan;
mod recipe;
mod relief;
mod run;
mod setting;
mod template;
mod value;
mod way;

pub use cache::{Cache, Count, Disk, Door, Listed, Reading, Real, Stat, Swept, Writing};
pub use change::{Change, Difference, Outline};
pub use ctx::{Ctx, Extensions, Reporter, Stop};
pub use diagnostic::{Diagnostic, Diagnostics, Label, Severity};
pub use error::{Error, Result};
pub use event::{Done, Event, From, NodeEvent, State};
pub use facts::{FactSet, Facts};
pub use files::{FileRef, FileTable, OpenFile};
pub use graph::{Graph, InputDecl, NodeDecl};
pub use kind::{Kind, Kinds, kind};
pub use ldm_engine_derive::{Choice, Node, Outputs};
pub use literal::{Args, Call, Lit};
pub use lock::{Lock, Locked, Locker};
pub use node::{Arity, Declare, In, Node, Outputs, Port};
pub use paths::{Own, Search, Written};
pub use place::{Place, Source, Span, Spanned};
pub use plan::{Options, Plan, Planned, SameWork, Wire};
pub use relief::Relief;
pub use run::{Fate, Host, Outlook, Report, Run, Within};
pub use setting::{Bounds, ReadPath, Setting, SettingInfo, Shape, Variant, WritePath};
pub use value::{Bool, Data, DataType, Float, Hasher, Identity, Int, Storage, Text, Value};
pub use way::{Narrowed, Way};

/// What the derives' code calls; not for writing by hand.
#[doc(hidden)]
pub mod derive {
    pub use crate::kind::{Declaration, Lane, Nature, OutputInfo};
    pub use crate::literal::Lit;
    pub use crate::node::{Declare, OutputField, Outputs, Parts, keep_different, port_info};
    pub use crate::place::Spanned;
    pub use crate::setting::{
        Bounds, Fields, Mismatch, ReadPath, Setting, SettingInfo, Shape, Variant,
    };
    pub use crate::value::Value;
}
