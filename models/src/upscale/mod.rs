//! Networks that enlarge pictures: what ComfyUI calls upscale models.
//!
//! ```text
//! file ── recognise ── UpscaleConfig, Naming ── init, load ── Upscaler ── enlarge, in tiles
//! ```
//!
//! Promises
//! - The network is read from names and shapes of the file's tensors, never from its name.
//! - A picture is enlarged in tiles whose seams are blended; one that fits in a tile is
//!   enlarged at once.
//!
//! Not here: networks of other families (SwinIR, HAT, DAT, …); which device there is.

mod compact;
mod config;
mod recognise;
mod rrdb;
#[cfg(test)]
mod tests;

pub use config::{CompactConfig, RrdbConfig, UpscaleConfig};
pub(crate) use recognise::Places;
pub use recognise::{Naming, Style, recognise};

use burn::module::Module;
use burn::tensor::Tensor;

use self::compact::Compact;
use self::rrdb::Rrdb;
use crate::tiles::{Sizes, Tiles, tiled};

/// A network that enlarges pictures by a whole factor.
#[derive(Module, Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "one stands in memory, and a module cannot be boxed"
)]
pub enum Upscaler {
    /// ESRGAN and its descendants.
    Rrdb(Rrdb),
    /// Real-ESRGAN's small network.
    Compact(Compact),
}

impl Upscaler {
    /// `x [b, c, h, w]` in 0..1 → `[b, c_out, scale·h, scale·w]`, about 0..1
    pub fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        match self {
            Self::Rrdb(network) => network.forward(x),
            Self::Compact(network) => network.forward(x),
        }
    }
}

/// Enlarges `x [b, c, h, w]` → `[b, c_out, scale·h, scale·w]`, one tile of one picture at a
/// time; `step` hears how many of how many tiles are done, and stops by an error.
///
/// # Errors
/// What `step` says.
pub fn enlarge<E>(
    network: &Upscaler,
    config: &UpscaleConfig,
    x: &Tensor<4>,
    tiles: Tiles,
    step: impl FnMut(usize, usize) -> Result<(), E>,
) -> Result<Tensor<4>, E> {
    let sizes = Sizes {
        read: 1,
        give: config.scale(),
        channels: config.channels().1,
    };
    tiled(x, tiles, sizes, |tile| network.forward(tile), step)
}
