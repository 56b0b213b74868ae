//! The U-Net's residual block, which is told the timestep.
//!
//! ```text
//! x ─ norm1 ─ silu ─ conv1 ─(+)─ norm2 ─ silu ─ conv2 ─(+)─ out
//! │                          │                          │
//! │         t ─── linear ────┘                          │
//! └────────────── skip: 1×1 where widths differ ────────┘
//! ```
//!
//! `t` comes with its SiLU applied, since that is the same for every block. `conv2`
//! starts at zero, so that a fresh block passes its input on.

use burn::module::Module;
use burn::tensor::Tensor;

use crate::nn::{Conv, GroupNorm, Init, Linear};

/// What these norms add to the variance: PyTorch's default, unlike the transformer's.
pub(super) const EPS: f64 = 1e-5;

/// Two convolutions, with the timestep added between them.
#[derive(Module, Debug)]
pub(super) struct ResBlock {
    norm1: GroupNorm,
    conv1: Conv,
    time: Linear,
    norm2: GroupNorm,
    conv2: Conv,
    skip: Option<Conv>,
}

impl ResBlock {
    pub(super) fn new(init: &mut Init, groups: usize, from: usize, to: usize, time: usize) -> Self {
        Self {
            norm1: GroupNorm::new(init, groups, from, EPS),
            conv1: Conv::new3(init, from, to),
            time: Linear::new(init, time, to),
            norm2: GroupNorm::new(init, groups, to, EPS),
            conv2: Conv::zeroed3(init, to, to),
            skip: (from != to).then(|| Conv::new1(init, from, to)),
        }
    }

    /// `x [b, c_in, h, w]`, `t [b, c_time]` → `[b, c_out, h, w]`
    pub(super) fn forward(&self, x: Tensor<4>, t: Tensor<2>) -> Tensor<4> {
        let t: Tensor<4> = self.time.forward(t).unsqueeze_dims(&[2, 3]); // [b, c_out, 1, 1]
        let h = self.conv1.forward(self.norm1.forward_silu(x.clone()));
        let h = self.conv2.forward(self.norm2.forward_silu(h + t));
        match &self.skip {
            Some(skip) => skip.forward(x) + h,
            None => x + h,
        }
    }
}
