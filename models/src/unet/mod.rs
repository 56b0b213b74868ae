//! The U-Net that predicts the noise. Rombach et al. 2022 (arXiv 2112.10752) §3.2,
//! after Dhariwal and Nichol 2021 (arXiv 2105.05233); the layers are those of the
//! released code, and of the later networks that kept its plan (SD 2, SDXL).
//!
//! ```text
//! x ─ conv_in ─┬─ [block ┬ ]× n ─▽┬─ … ─ [block ┬ ]× n ─ block ─ attention ─ block ─┐
//!              │         │        │             │                  middle           │
//!              skips: every ┬ is kept, and taken back last to first                 │
//!              │         │        │             │                                   │
//! out ─ conv_out ─ silu ─ norm ─ [cat block]×(n+1) ─△─ … ─△─ [cat block]×(n+1) ─────┘
//!
//! block   residual block, told the timestep; then attention where the level attends
//! cat     what comes from below first, then the skip
//! ▽       3×3, stride 2, padded on all sides      △  nearest ×2, then 3×3
//!         or both a residual block that resamples inside
//! ```
//!
//! Attention is plain attention over pixels, or, where the configuration has a
//! `context_dim`, a transformer that also looks at the conditioning's tokens.

mod ahead;
mod block;
mod captured;
mod config;
mod encoder;
mod label;
mod level;
#[cfg(test)]
mod tests;
mod time;
mod transformer;

pub use captured::Captured;
pub use config::{Heads, LabelConfig, UNetConfig};
pub use time::waves;

pub(crate) use encoder::{Encoder, EncoderParts};
pub(crate) use label::LabelEmbedding;
pub(crate) use level::{Level, Middle, Moment};
pub(crate) use time::TimeEmbedding;

use burn::module::Module;
use burn::tensor::Tensor;

use self::ahead::{Ahead, Row};
use self::block::EPS;
use crate::nn::{Conv, GroupNorm, Init, KeysValues};

/// Predicts what the schedule's `prediction` names, from a noisy latent and a timestep.
#[derive(Module, Debug)]
pub struct UNet {
    time: TimeEmbedding,
    label: Option<LabelEmbedding>,
    conv_in: Conv,
    down: Vec<Level>,
    middle: Middle,
    up: Vec<Level>,
    norm_out: GroupNorm,
    conv_out: Conv,
}

/// What a U-Net is told besides the timestep. `default()` is nothing at all.
#[derive(Debug, Clone, Default)]
pub struct Told {
    /// Tokens to look at, `[b, n, context_dim]`, in the type of the weights.
    pub context: Option<Tensor<3>>,
    /// In f32: class numbers `[b, 1]`, or vectors `[b, vector]`; the configuration's `label`
    /// says which.
    pub label: Option<Tensor<2>>,
    /// What ControlNets and adapters add along the way.
    pub control: Option<Control>,
}

impl Told {
    /// Tokens and nothing else.
    pub fn tokens(context: Option<Tensor<3>>) -> Self {
        Self {
            context,
            ..Self::default()
        }
    }
}

/// What a network made of tokens and label, and uses at every call: they stay as they are along
/// a walk. Only the network that heard it can take it.
#[derive(Debug, Clone)]
pub struct Heard {
    /// What is added to the timestep's vector, `[b, c_time]`.
    label: Option<Tensor<2>>,
    /// Of each transformer's block, in the order in which they run.
    seen: Vec<KeysValues>,
    /// At which timesteps it will be asked, as far as that is known.
    ahead: Ahead,
}

impl Heard {
    /// The same of a walk that will ask at these timesteps, in this order. It may ask at others:
    /// what the network makes of a timestep alone is then made for that one alone.
    #[must_use]
    pub fn ahead(self, timesteps: &[f64]) -> Self {
        Self {
            ahead: Ahead::new(timesteps),
            ..self
        }
    }
}

/// What other networks add inside a U-Net, in the type of its weights. A batch of one
/// serves every picture of the call.
#[derive(Debug, Clone, Default)]
pub struct Control {
    /// Added on the way down, so that the rest of the way sees it: a T2I-Adapter's features
    /// (Mou et al. 2023, arXiv 2302.08453). Beside the skips in the order they are kept:
    /// `conv_in`, then of each level its blocks and its halving. May be shorter.
    pub down: Vec<Option<Tensor<4>>>,
    /// Added to the skips as the way up takes them: a ControlNet's outputs, as many as there
    /// are skips and in the order they are kept; or none.
    pub skips: Vec<Tensor<4>>,
    /// Added to what the middle gives.
    pub middle: Option<Tensor<4>>,
}

impl UNet {
    pub(crate) fn new(init: &mut Init, config: &UNetConfig) -> Self {
        let parts = EncoderParts::new(init, config);
        let up = level::up(init, config, parts.skips);
        let finest = config.width(0);
        Self {
            time: parts.time,
            label: parts.label,
            conv_in: parts.conv_in,
            down: parts.down,
            middle: parts.middle,
            up,
            norm_out: GroupNorm::new(init, config.groups, finest, EPS),
            conv_out: Conv::zeroed3(init, finest, config.out_channels),
        }
    }

    /// `x [b, c_in, h, w]`, `t [b]` in 0..1000 → `[b, c_out, h, w]`
    ///
    /// `x` is of the weights' type, `t` is f32 always.
    ///
    /// # Panics
    /// As [`UNet::hear`] and [`UNet::step`].
    pub fn forward(&self, x: Tensor<4>, t: Tensor<1>, told: Told) -> Tensor<4> {
        let heard = self.hear(&told);
        let projected = self.encoder().project(t, heard.label.clone(), &self.up);
        self.step_at(x, Moment::new(projected, &heard), told.control)
    }

    /// Makes of label and tokens what every [`UNet::step`] of a walk takes; `told.control` is not
    /// looked at, since it changes with the step.
    ///
    /// # Panics
    /// When the configuration has a `context_dim` or a `label` and `told` has none. Callers know
    /// it from the configuration.
    pub fn hear(&self, told: &Told) -> Heard {
        self.encoder().hear(told, &self.up)
    }

    /// [`UNet::forward`] of what was `heard`, at one timestep for the whole batch.
    ///
    /// # Panics
    /// When height or width is not a multiple of `UNetConfig::size_multiple`, when the rows
    /// heard are not those of `x`, or when the control does not fit the skips. Callers know all
    /// of it from the configuration.
    pub fn step(&self, x: Tensor<4>, t: f64, heard: &Heard, control: Option<Control>) -> Tensor<4> {
        let row = self.row(t, x.dims()[0], heard);
        self.step_at(x, Moment::new(row.split(), heard), control)
    }

    /// What the blocks are told at `t`, of a batch of so many.
    fn row(&self, t: f64, batch: usize, heard: &Heard) -> Row {
        self.encoder().row(t, batch, heard, &self.up)
    }

    fn step_at(&self, x: Tensor<4>, mut moment: Moment<'_>, control: Option<Control>) -> Tensor<4> {
        let encoder = self.encoder();
        let control = control.unwrap_or_default();
        let (skips, mut h) = encoder.forward(x, &mut moment, &control.down);
        let mut skips = with(skips, control.skips);
        if let Some(more) = control.middle {
            h = h + more;
        }
        for level in &self.up {
            for block in &level.blocks {
                let skip = skips
                    .pop()
                    .expect("one skip was kept for each block on the way up");
                h = block.forward_joined([h, skip], &mut moment);
            }
            if let Some(resample) = &level.resample {
                h = resample.double(h, &mut moment); // [b, c, 2h, 2w]
            }
        }
        self.conv_out.forward(self.norm_out.forward_silu(h))
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
}

/// `skips` with `more` added to each, where there is any.
fn with(skips: Vec<Tensor<4>>, more: Vec<Tensor<4>>) -> Vec<Tensor<4>> {
    if more.is_empty() {
        return skips;
    }
    assert_eq!(more.len(), skips.len(), "a control for each skip");
    skips.into_iter().zip(more).map(|(a, b)| a + b).collect()
}
