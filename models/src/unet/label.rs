//! What a picture is of besides its tokens, added to the timestep: a class by its number,
//! or a pooled vector.
//!
//! ```text
//! class  ─ table ──────────────────────┐
//! vector ─ linear1 ─ silu ─ linear2 ───┴─(+)─ the timestep's vector
//! ```
//!
//! Classes are those of Dhariwal and Nichol 2021 (arXiv 2105.05233); vectors those of SDXL
//! (Podell et al. 2023, arXiv 2307.01952, §2.2), which hold a pooled text and sizes.

use burn::module::Module;
use burn::tensor::{Int, Tensor};
use ldm_kernels as kernels;

use super::config::LabelConfig;
use crate::nn::{Embedding, Init, Linear};

/// From a label to what is added to the timestep's vector.
#[derive(Module, Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "one stands in a network, and a module cannot be boxed"
)]
pub(crate) enum LabelEmbedding {
    /// A class by its number.
    Classes(Embedding),
    /// A vector.
    Vector(VectorEmbedding),
}

impl LabelEmbedding {
    pub(super) fn new(init: &mut Init, config: LabelConfig, width: usize) -> Self {
        match config {
            // PyTorch draws the table of an embedding from N(0, 1).
            LabelConfig::Classes(n) => Self::Classes(Embedding::new(init, n, width, 1.0)),
            LabelConfig::Vector(n) => Self::Vector(VectorEmbedding {
                linear1: Linear::new(init, n, width),
                linear2: Linear::new(init, width, width),
            }),
        }
    }

    /// `label` in f32: class numbers `[b, 1]`, or vectors `[b, vector]` → `[b, width]` in
    /// the type that the network computes in
    pub(super) fn forward(&self, label: Tensor<2>) -> Tensor<2> {
        match self {
            Self::Classes(table) => {
                let ids: Tensor<2, Int> = label.int();
                table.forward(ids).squeeze_dim(1)
            }
            Self::Vector(embedding) => embedding.forward(label),
        }
    }
}

/// Two linear layers over a vector.
#[derive(Module, Debug)]
pub(crate) struct VectorEmbedding {
    linear1: Linear,
    linear2: Linear,
}

impl VectorEmbedding {
    /// `x [b, vector]` → `[b, width]`
    fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        let x = x.cast(self.linear1.dtype());
        self.linear2.forward(kernels::silu(self.linear1.forward(x)))
    }
}
