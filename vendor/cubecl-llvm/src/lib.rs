//! A stand-in for `cubecl-llvm` 0.11.3: what `cubecl-cuda` names of it, without LLVM.
//!
//! Promises
//! - `cubecl-cuda` 0.11.3 compiles against it as it is.
//! - Choosing the LLVM generator all the same is an error at the first kernel, which is
//!   the smoke operation of `--device`, and the error names the feature to turn on.
//!
//! Not here: any code generation, and the CPU and AMD targets of the crate it replaces.

pub mod nvptx;
pub mod shared;

pub use shared::{NvptxModule, PlironArtifact, PlironCompiler, PlironOptions};

/// What to generate code for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LlvmTarget {
    /// NVIDIA's PTX, the only target `cubecl-cuda` asks for.
    #[default]
    Nvptx,
}
