//! ControlNet: the half of a U-Net that sees the picture first, once more, told a hint.
//! Zhang et al. 2023 (arXiv 2302.05543); the layers are those of the released code.
//!
//! ```text
//! hint ─ conv ─ silu ─ [conv ─ silu ─ conv▽ ─ silu]× n ─ conv ─┐
//! x ─ conv_in ────────────────────────────────────────────────(+)─ way down ─ middle
//!                                                              │ skips │        │
//!                                                              zero convolutions, 1×1
//!                                                              └ what is added to the U-Net
//! ```
//!
//! The convolutions at the end start at zero, so that a fresh ControlNet changes nothing.

use burn::module::Module;
use burn::tensor::{DType, Tensor};
use ldm_kernels as kernels;

use super::config::ControlNetConfig;
use crate::nn::{Conv, Init};
use crate::unet::{
    Control, Encoder, EncoderParts, Heard, LabelEmbedding, Level, Middle, Moment, TimeEmbedding,
    Told,
};

/// The network; see the figure.
#[derive(Module, Debug)]
pub struct ControlNet {
    time: TimeEmbedding,
    label: Option<LabelEmbedding>,
    conv_in: Conv,
    down: Vec<Level>,
    middle: Middle,
    hint: HintNet,
    zero: Vec<Conv>,
    zero_middle: Conv,
    pooled: bool,
}

impl ControlNet {
    pub(super) fn new(init: &mut Init, config: &ControlNetConfig) -> Self {
        let parts = EncoderParts::new(init, &config.unet);
        let last = config.unet.width(config.unet.channel_mult.len() - 1);
        let zero = parts.skips.iter().map(|c| Conv::zeroed1(init, *c, *c));
        let zero = zero.collect();
        Self {
            hint: HintNet::new(init, config),
            zero,
            zero_middle: Conv::zeroed1(init, last, last),
            time: parts.time,
            label: parts.label,
            conv_in: parts.conv_in,
            down: parts.down,
            middle: parts.middle,
            pooled: config.pooled,
        }
    }

    pub(super) fn dtype(&self) -> DType {
        self.conv_in.dtype()
    }

    /// What is the same at every step: `told`'s tokens and the hint `[1 or b, c, k·h, k·w]`, of
    /// the weights' type. The walk will ask at the timesteps `ahead`, as far as that is known.
    pub(super) fn hear(&self, told: &Told, hint: Tensor<4>, ahead: &[f64]) -> Shown {
        Shown {
            heard: self.encoder().hear(told, &[]).ahead(ahead),
            hint: self.hint.forward(hint),
        }
    }

    /// `x [b, c_in, h, w]` of the weights' type, at one timestep
    pub(super) fn step(&self, x: Tensor<4>, t: f64, shown: &Shown) -> Control {
        let encoder = self.encoder();
        let row = encoder.row(t, x.dims()[0], &shown.heard, &[]);
        let mut moment = Moment::new(row.split(), &shown.heard);
        let (skips, middle) = encoder.forward(x, &mut moment, &[Some(shown.hint.clone())]);
        let skips = self.zero.iter().zip(skips);
        Control {
            down: Vec::new(),
            skips: skips
                .map(|(zero, skip)| self.given(zero.forward(skip)))
                .collect(),
            middle: Some(self.given(self.zero_middle.forward(middle))),
        }
    }

    fn encoder(&self) -> Encoder<'_> {
        Encoder {
            time: &self.time,
            label: self.label.as_ref(),
            conv_in: &self.conv_in,
            down: &self.down,
            middle: &self.middle,
        }
    }

    /// Where the network was trained so, one number a channel: that says what, not where.
    fn given(&self, x: Tensor<4>) -> Tensor<4> {
        match self.pooled {
            true => x.mean_dim(3).mean_dim(2),
            false => x,
        }
    }
}

/// What a ControlNet made of what stays as it is along a walk.
pub(super) struct Shown {
    heard: Heard,
    /// The hint's features, `[1 or b, model_channels, h, w]`.
    hint: Tensor<4>,
}

/// From a hint to features of the latent's size.
#[derive(Module, Debug)]
struct HintNet {
    conv_in: Conv,
    /// One that keeps the size, then one that halves it, again and again.
    blocks: Vec<Conv>,
    conv_out: Conv,
}

impl HintNet {
    fn new(init: &mut Init, config: &ControlNetConfig) -> Self {
        let widths = &config.hint_widths;
        let blocks = widths.windows(2).flat_map(|pair| {
            let keep = Conv::new3(init, pair[0], pair[0]);
            [keep, Conv::halving_to(init, pair[0], pair[1])]
        });
        let blocks = blocks.collect();
        let last = *widths.last().expect("a checked configuration has widths");
        Self {
            conv_in: Conv::new3(init, config.hint_channels, widths[0]),
            blocks,
            conv_out: Conv::zeroed3(init, last, config.unet.model_channels),
        }
    }

    /// `hint [b, c, k·h, k·w]` → `[b, model_channels, h, w]`
    fn forward(&self, hint: Tensor<4>) -> Tensor<4> {
        let h = kernels::silu(self.conv_in.forward(hint));
        let blocks = self.blocks.iter();
        let h = blocks.fold(h, |h, conv| kernels::silu(conv.forward(h)));
        self.conv_out.forward(h)
    }
}
