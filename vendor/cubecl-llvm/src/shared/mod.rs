//! The compiler that refuses, and the types around it.

pub mod lowered_features;

use core::convert::Infallible;

use cubecl_core::ir::nvidia::SmArch;
use cubecl_core::prelude::KernelDefinition;
use cubecl_environment::backtrace::BackTrace;
use cubecl_runtime::compiler::CompilationError;
use cubecl_runtime::kernel::BufferIOAttr;

use crate::LlvmTarget;
use crate::nvptx::ptx_version::PtxVersion;

/// What a kernel launched through this crate answers.
pub const REFUSAL: &str = "this build has no LLVM code generator for CUDA; turn on the feature \
                           `cuda-cpp` of `cubecl`, which compiles kernels with NVRTC (the \
                           feature `cuda` of `ldm-graph` does)";

/// The LLVM code generator, absent here.
#[derive(Clone, Debug, Default)]
pub struct PlironCompiler {
    /// What to generate code for.
    pub target: LlvmTarget,
}

impl PlironCompiler {
    /// Refuses every kernel.
    ///
    /// # Errors
    /// Always, with [`REFUSAL`] as the reason.
    pub fn compile(
        &mut self,
        _kernel: KernelDefinition,
        _options: &PlironOptions,
    ) -> Result<PlironArtifact, CompilationError> {
        Err(CompilationError::Generic {
            reason: REFUSAL.to_string(),
            backtrace: BackTrace::capture(),
        })
    }

    /// The language of the code that would be generated, for logs.
    pub fn lang_tag(&self) -> &'static str {
        "llvm"
    }
}

/// How to generate code. Read by nothing here.
#[derive(Clone, Debug, Default)]
pub struct PlironOptions {
    /// An AMD architecture: this crate knows none.
    pub arch: Option<Infallible>,
    /// The NVIDIA architecture of the device.
    pub sm_arch: Option<SmArch>,
    /// The PTX version to emit.
    pub ptx_version: Option<PtxVersion>,
    /// Whether scalars and shapes travel in the kernel's parameter block.
    pub grid_constants: bool,
}

/// What compiling a kernel gives. `cubecl-cuda` matches with a catch-all arm.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum PlironArtifact {
    /// PTX for NVIDIA's driver.
    NvptxCode(NvptxModule),
}

/// A kernel as PTX.
#[derive(Clone, Debug)]
pub struct NvptxModule {
    /// PTX text that ends in NUL.
    pub ptx: Vec<core::ffi::c_char>,
    /// Symbol of the kernel.
    pub entrypoint: String,
    /// The intermediate form, for logs.
    pub ir: String,
    /// Shared memory a launch needs, in bytes.
    pub shared_memory_size: usize,
    /// How each buffer is used, in binding order.
    pub io: Vec<BufferIOAttr>,
}
