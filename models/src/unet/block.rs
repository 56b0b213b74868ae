//! The U-Net's residual block, which is told the timestep.
//!
//! ```text
//! x ─ norm1 ─ silu ─(▽△)─ conv1 ─(+)─ norm2 ─────────── silu ─ conv2 ─(+)─ out
//! │                               │        (·(1 + scale) + shift)      │
//! │         t ───── linear ───────┘   or ─────┘                        │
//! └────────(▽△)─────── skip: 1×1 where widths differ ──────────────────┘
//!
//! ▽ mean of 2×2      △ nearest ×2      both only in blocks that change the size
//! ```
//!
//! `t` comes with its SiLU applied, since that is the same for every block; the linear layer is
//! apart ([`ResBlock::project`]), since it does not see `x`. What it gives is added before the
//! second norm, or scales and shifts what that gives (Dhariwal and Nichol 2021,
//! arXiv 2105.05233, §3: adaptive group normalisation). `conv2` starts at zero, so that a
//! fresh block passes its input on.

use burn::module::Module;
use burn::tensor::Tensor;
use ldm_kernels as kernels;

use super::config::UNetConfig;
use crate::nn::{Conv, GroupNorm, Init, Linear, halves, mean_of_four, upsample};

/// What these norms add to the variance: PyTorch's default, unlike the transformer's.
pub(super) const EPS: f64 = 1e-5;

/// What a block does to the size of what it is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Size {
    Kept,
    Halved,
    Doubled,
}

impl Size {
    /// `x [b, c, h, w]` → the same, half or double height and width
    fn of(self, x: Tensor<4>) -> Tensor<4> {
        match self {
            Self::Kept => x,
            Self::Halved => mean_of_four(x),
            Self::Doubled => upsample(x),
        }
    }
}

/// Two convolutions, told the timestep between them.
#[derive(Module, Debug)]
pub(crate) struct ResBlock {
    norm1: GroupNorm,
    conv1: Conv,
    time: Linear,
    norm2: GroupNorm,
    conv2: Conv,
    skip: Option<Conv>,
    /// Whether the timestep scales and shifts, in place of being added.
    scale_shift: bool,
    #[module(skip)]
    size: Size,
}

impl ResBlock {
    /// From `from` channels to `to`.
    pub(super) fn new(
        init: &mut Init,
        config: &UNetConfig,
        from: usize,
        to: usize,
        size: Size,
    ) -> Self {
        let (groups, scale_shift) = (config.groups, config.scale_shift);
        let told = if scale_shift { 2 * to } else { to };
        Self {
            norm1: GroupNorm::new(init, groups, from, EPS),
            conv1: Conv::new3(init, from, to),
            time: Linear::new(init, config.time_width(), told),
            norm2: GroupNorm::new(init, groups, to, EPS),
            conv2: Conv::zeroed3(init, to, to),
            skip: (from != to).then(|| Conv::new1(init, from, to)),
            scale_shift,
            size,
        }
    }

    /// What it is told of a timestep: `t [b, c_time]` → `[b, c_out]`, or twice as many where that
    /// scales and shifts
    pub(super) fn project(&self, t: Tensor<2>) -> Tensor<2> {
        self.time.forward(t)
    }

    /// `x [b, c_in, h, w]`, `t` from [`ResBlock::project`] → `[b, c_out, h, w]`, the size kept,
    /// halved or doubled
    pub(super) fn forward(&self, x: Tensor<4>, t: Tensor<2>) -> Tensor<4> {
        let h = self.size.of(self.norm1.forward_silu(x.clone()));
        let h = self.inner(h, t);
        let x = self.size.of(x);
        let x = match &self.skip {
            Some(skip) => skip.forward(x),
            None => x,
        };
        self.conv2.forward_onto(h, x)
    }

    /// [`ResBlock::forward`] of `xs`, the channels of the first before those of the second: they
    /// are not copied into one where the block makes a skip of them anyway, and its kernels read
    /// them apart.
    pub(super) fn forward_joined(&self, xs: [Tensor<4>; 2], t: Tensor<2>) -> Tensor<4> {
        let skip = self.skip.as_ref();
        let skip = skip.filter(|_| self.size == Size::Kept && kernels::reads_apart(&xs));
        let Some(skip) = skip else {
            return self.forward(kernels::join(xs), t);
        };
        let h = self.inner(self.norm1.forward_silu_joined(xs.clone()), t);
        self.conv2.forward_onto(h, skip.forward_joined(xs))
    }

    /// The first convolution, the second norm, the timestep before it or after it, and the SiLU.
    fn inner(&self, h: Tensor<4>, t: Tensor<2>) -> Tensor<4> {
        let t = t.unsqueeze_dims(&[2, 3]); // [b, c_out or twice, 1, 1]
        if !self.scale_shift {
            return self.norm2.forward_silu(self.conv1.forward_onto(h, t));
        }
        let [scale, shift] = halves(t);
        let h = self.norm2.forward(self.conv1.forward(h));
        kernels::silu(h * (scale + 1.0) + shift)
    }
}
