//! Real-ESRGAN's compact network (SRVGGNetCompact): plain convolutions at the picture's own
//! size, whose last one gives the pixels that are missing. BasicSR, `archs/srvgg_arch.py`.
//!
//! ```text
//! x ─┬─ conv prelu ─ [conv prelu]×n ─ conv ─ shuffle ─(+)─ out
//!    └───────────── nearest ×scale ────────────────────┘
//! ```

use burn::module::{Module, Param};
use burn::tensor::Tensor;
use burn::tensor::activation::prelu;

use super::config::CompactConfig;
use crate::nn::{Conv, Init, enlarged, pixel_shuffle};

/// The network; see the figure.
#[derive(Module, Debug)]
pub struct Compact {
    convs: Vec<Conv>,
    slopes: Vec<Slopes>,
    last: Conv,
    scale: usize,
}

/// For each channel, what is left of numbers below zero.
#[derive(Module, Debug)]
struct Slopes {
    /// `[channels]`
    weight: Param<Tensor<1>>,
}

impl Compact {
    pub(super) fn new(init: &mut Init, config: &CompactConfig) -> Self {
        let (channels, width) = (config.channels, config.width);
        let convs = (0..=config.convs).map(|i| {
            let from = if i == 0 { channels } else { width };
            Conv::new3(init, from, width)
        });
        let convs = convs.collect();
        let slopes = (0..=config.convs).map(|_| Slopes {
            weight: init.constant([width], 0.25), // PyTorch's default
        });
        let slopes = slopes.collect();
        let pixels = config.scale * config.scale;
        Self {
            convs,
            slopes,
            last: Conv::new3(init, width, channels * pixels),
            scale: config.scale,
        }
    }

    /// `x [b, c, h, w]` → `[b, c, scale·h, scale·w]`
    pub(super) fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let layers = self.convs.iter().zip(&self.slopes);
        let h = layers.fold(x.clone(), |h, (conv, slopes)| {
            prelu(conv.forward(h), slopes.weight.val())
        });
        let h = self.last.forward(h); // [b, c·scale², h, w]
        pixel_shuffle(h, self.scale) + enlarged(x, self.scale)
    }
}
