//! Networks beside the U-Net that steer it by a picture, as guidance sees them: ControlNet
//! (Zhang et al. 2023, arXiv 2302.05543) and T2I-Adapter (Mou et al. 2023, arXiv 2302.08453).
//!
//! Not here: the networks themselves.

use burn::tensor::Tensor;

use crate::unet::{Control, Told};

/// A network whose output is added inside the U-Net.
pub trait ControlModel: Send + Sync {
    /// What to add for the noisy latent `x [b, c, h, w]` in f32, without the channels that
    /// conditioning sets behind it; `t [b]` in f32; what the U-Net is told of each; and the
    /// hints, `[b, c, k·h, k·w]`, in 0..1 where they are pictures. Any float type may come back.
    fn control(&self, x: Tensor<4>, t: Tensor<1>, told: &Told, hint: Tensor<4>) -> Control;
}
