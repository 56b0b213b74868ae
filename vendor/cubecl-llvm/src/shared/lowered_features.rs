//! What a device may be asked to do when the LLVM generator compiles for it.

use cubecl_core::ir::DeviceProperties;

/// The family of GPU whose features are narrowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GpuTarget {
    /// NVIDIA's.
    Nvptx,
}

/// Narrows `props` to what the generator can compile: as it can compile nothing, what a
/// device offers does not matter, and `props` stay as they are.
pub fn restrict_features(_props: &mut DeviceProperties, _target: GpuTarget) {}
