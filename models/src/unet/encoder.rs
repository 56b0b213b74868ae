//! The half of a U-Net that sees the picture first: the way down and the middle.
//!
//! ```text
//! t ─ time ─(+)─ silu ─→ the linear layer of every residual block
//!     label ─┘
//! x ─ conv_in ─┬─ [block ┬ ]× n ─▽┬─ … ─ [block ┬ ]× n ─ middle
//!              └─────────┴────────┴─────────────┴──── skips
//! ```
//!
//! A ControlNet (Zhang et al. 2023, arXiv 2302.05543) is this half once more. Either network
//! holds the parts as its own fields, so that a file's names have no word for the half;
//! [`Encoder`] borrows them.

use burn::tensor::Tensor;
use ldm_kernels as kernels;

use super::ahead::Ahead;
use super::config::UNetConfig;
use super::label::LabelEmbedding;
use super::level::{self, Level, Middle, Moment};
use super::time::TimeEmbedding;
use super::{Heard, Told};
use crate::nn::{Conv, Init};

/// The parts of a fresh half, for the network that will own them.
pub(crate) struct EncoderParts {
    pub(crate) time: TimeEmbedding,
    pub(crate) label: Option<LabelEmbedding>,
    pub(crate) conv_in: Conv,
    pub(crate) down: Vec<Level>,
    pub(crate) middle: Middle,
    /// The channels of each skip, in the order they are kept.
    pub(crate) skips: Vec<usize>,
}

impl EncoderParts {
    /// The half of the U-Net that `config` describes.
    pub(crate) fn new(init: &mut Init, config: &UNetConfig) -> Self {
        let first = config.model_channels;
        let time = TimeEmbedding::new(init, first);
        let label = config
            .label
            .map(|label| LabelEmbedding::new(init, label, config.time_width()));
        let conv_in = Conv::new3(init, config.in_channels, first);
        let mut skips = vec![first];
        let down = level::down(init, config, &mut skips);
        Self {
            time,
            label,
            conv_in,
            down,
            middle: Middle::new(init, config),
            skips,
        }
    }
}

/// The half at work, its parts borrowed.
pub(crate) struct Encoder<'a> {
    pub(crate) time: &'a TimeEmbedding,
    pub(crate) label: Option<&'a LabelEmbedding>,
    pub(crate) conv_in: &'a Conv,
    pub(crate) down: &'a [Level],
    pub(crate) middle: &'a Middle,
}

impl Encoder<'_> {
    /// What this half and the levels of `up`, which come after it, make of label and tokens;
    /// `told.control` is not looked at.
    ///
    /// # Panics
    /// When the network has a label or looks at tokens, and is told none.
    pub(crate) fn hear(&self, told: &Told, up: &[Level]) -> Heard {
        let label = self.label.map(|embedding| {
            let label = told.label.clone();
            embedding.forward(label.expect("a U-Net with a label is told one: its callers checked"))
        });
        let down = self.down.iter().flat_map(Level::transformers);
        let up = up.iter().flat_map(Level::transformers);
        let all = down.chain(self.middle.transformer()).chain(up);
        let seen = all.flat_map(|transformer| {
            let context = told.context.as_ref();
            transformer.keys_values(context.expect("a U-Net with a context_dim needs a context"))
        });
        Heard {
            label,
            seen: seen.collect(),
            ahead: Ahead::default(),
        }
    }

    /// What each residual block of this half and of `up` is told of `t [b]`, in f32, and of a
    /// label's `[b, c_time]`: `[b, width]` of each, in the order in which they run.
    pub(super) fn project(
        &self,
        t: Tensor<1>,
        label: Option<Tensor<2>>,
        up: &[Level],
    ) -> Vec<Tensor<2>> {
        let mut time = self.time.forward(t);
        if let Some(label) = label {
            time = time + label;
        }
        let time = kernels::silu(time);
        let down = self.down.iter().flat_map(Level::residuals);
        let up = up.iter().flat_map(Level::residuals);
        let all = down.chain(self.middle.residuals()).chain(up);
        all.map(|block| block.project(time.clone())).collect()
    }

    /// `x [b, c_in, h, w]` → the skips in the order they are kept, and what the middle gives
    ///
    /// `added[i]`, where there is one, is added to what leaves the i-th skip behind, before
    /// anything else sees it: a ControlNet's hint (at 0), a T2I-Adapter's features.
    pub(crate) fn forward(
        &self,
        x: Tensor<4>,
        moment: &mut Moment<'_>,
        added: &[Option<Tensor<4>>],
    ) -> (Vec<Tensor<4>>, Tensor<4>) {
        let mut skips = Vec::new();
        let mut keep = |h: Tensor<4>| {
            let h = match added.get(skips.len()) {
                Some(Some(more)) => h + more.clone(),
                _ => h,
            };
            skips.push(h.clone());
            h
        };
        let mut h = keep(self.conv_in.forward(x));
        for level in self.down {
            for block in &level.blocks {
                h = keep(block.forward(h, moment));
            }
            if let Some(resample) = &level.resample {
                h = keep(resample.halve(h, moment)); // [b, c, h / 2, w / 2]
            }
        }
        let middle = self.middle.forward(h, moment);
        (skips, middle)
    }
}
