//! Parts that the networks share: parameters with a forward, attention, resampling.
//!
//! Promises
//! - A part holds parameters and shapes only; the numbers are made by `ldm_kernels`.
//! - Fresh parameters depend on a seed and on nothing else (see [`Init`]).
//!
//! Not here: what a checkpoint calls them (`weights::keys`).

mod attention;
mod init;
mod layers;
mod sampling;

pub use attention::{
    CausalAttention, CrossAttention, KeysValues, SpatialAttention, image_of, tokens_of,
};
pub use init::Init;
pub use layers::{Conv, Embedding, GroupNorm, LayerNorm, Linear};
pub use sampling::{enlarged, halves, mean_of_four, pixel_shuffle, pixel_unshuffle, upsample};

use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::Tensor;

/// How many numbers a network's parameters hold; makes none of them.
pub fn parameter_count<M: Module>(network: &M) -> usize {
    struct Count(usize);
    impl ModuleVisitor for Count {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            self.0 += param.lazy_shape().num_elements();
        }
    }
    let mut count = Count(0);
    network.visit(&mut count);
    count.0
}
