//! T2I-Adapter: features of a hint at the sizes of a U-Net's levels. Mou et al. 2023
//! (arXiv 2302.08453) §3.3; the layers are those of the released code.
//!
//! ```text
//! full   hint ─ unshuffle ─ conv_in ─ level ─┬─ level ─┬─ …        features
//! light  hint ─ unshuffle ─────────── level ─┴─ level ─┴─ …
//!
//! level, full    x ─ [mean of 4] ─ [1×1] ─ block×n         block  x ─ 3×3 ─ relu ─ 1×1 ─(+)
//! level, light   x ─ [mean of 4] ─ 1×1 ─ block×n ─ 1×1     block  x ─ 3×3 ─ relu ─ 3×3 ─(+)
//! ```
//!
//! It sees neither the noise nor the timestep: the same hint gives the same features.

use burn::module::Module;
use burn::tensor::activation::relu;
use burn::tensor::{DType, Tensor};

use super::config::{AdapterConfig, AdapterKind, Place};
use crate::nn::{Conv, Init, mean_of_four, pixel_unshuffle};
use crate::unet::Control;

/// The network; see the figure.
#[derive(Module, Debug)]
pub struct Adapter {
    conv_in: Option<Conv>,
    levels: Vec<Level>,
    unshuffle: usize,
    in_channels: usize,
    /// The skip that each feature is added to; past the skips stands the middle.
    #[module(skip)]
    places: Vec<Place>,
}

impl Adapter {
    pub(super) fn new(init: &mut Init, config: &AdapterConfig) -> Self {
        let pixels = config.in_channels * config.unshuffle * config.unshuffle;
        let first = config.channels[0];
        let full = config.kind == AdapterKind::Full;
        let conv_in = full.then(|| Conv::new3(init, pixels, first));
        let mut from = if full { first } else { pixels };
        let mut levels = Vec::new();
        for (to, halved) in config.channels.iter().zip(&config.halved) {
            levels.push(Level::new(init, config, (from, *to), *halved));
            from = *to;
        }
        Self {
            conv_in,
            levels,
            unshuffle: config.unshuffle,
            in_channels: config.in_channels,
            places: config.places.clone(),
        }
    }

    pub(super) fn dtype(&self) -> DType {
        self.levels[0].blocks[0].conv1.dtype()
    }

    /// `hint [1 or b, c, k·h, k·w]` in the weights' type
    pub(super) fn forward(&self, hint: Tensor<4>) -> Control {
        let hint = match self.in_channels {
            1 => hint.mean_dim(1), // a drawing: its brightness
            _ => hint,
        };
        let mut h = pixel_unshuffle(hint, self.unshuffle);
        if let Some(conv_in) = &self.conv_in {
            h = conv_in.forward(h);
        }
        let mut control = Control::default();
        for (level, place) in self.levels.iter().zip(&self.places) {
            h = level.forward(h);
            match place {
                Place::Middle => control.middle = Some(h.clone()),
                Place::Skip(at) => {
                    control.down.resize(at + 1, None);
                    control.down[*at] = Some(h.clone());
                }
            }
        }
        control
    }
}

/// The blocks of one width.
#[derive(Module, Debug)]
struct Level {
    conv_in: Option<Conv>,
    blocks: Vec<Block>,
    conv_out: Option<Conv>,
    halved: bool,
}

impl Level {
    fn new(
        init: &mut Init,
        config: &AdapterConfig,
        (from, to): (usize, usize),
        halved: bool,
    ) -> Self {
        let light = config.kind == AdapterKind::Light;
        let inner = if light { to / 4 } else { to };
        let conv_in = (light || from != to).then(|| Conv::new1(init, from, inner));
        let blocks = (0..config.blocks).map(|_| Block {
            conv1: Conv::new3(init, inner, inner),
            conv2: match light {
                true => Conv::new3(init, inner, inner),
                false => Conv::new1(init, inner, inner),
            },
        });
        let blocks = blocks.collect();
        Self {
            conv_in,
            blocks,
            conv_out: light.then(|| Conv::new1(init, inner, to)),
            halved,
        }
    }

    /// `x [b, c_in, h, w]` → `[b, c_out, h, w]`, or half as high and wide
    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let mut h = if self.halved { mean_of_four(x) } else { x };
        if let Some(conv) = &self.conv_in {
            h = conv.forward(h);
        }
        h = self.blocks.iter().fold(h, |h, block| {
            let inner = relu(block.conv1.forward(h.clone()));
            h + block.conv2.forward(inner)
        });
        match &self.conv_out {
            Some(conv) => conv.forward(h),
            None => h,
        }
    }
}

/// Two convolutions beside what they are added to.
#[derive(Module, Debug)]
struct Block {
    conv1: Conv,
    conv2: Conv,
}
