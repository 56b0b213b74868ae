//! A condition: what a network is told besides the noisy latent, where, and for how long.

use std::sync::Arc;

use burn::tensor::Tensor;

use super::{Area, ControlHint};

/// One thing that a network is told. A side of guidance is a list of these.
#[derive(Clone, Debug)]
pub struct Condition {
    /// Tokens for cross-attention, `[1 or b, n, d]`.
    pub tokens: Option<Tensor<3>>,
    /// Channels set behind the latent's own, `[1 or b, c, h, w]`.
    pub channels: Option<Tensor<4>>,
    /// A class, or a text's pooled vector with what goes with it, `[1 or b, d]`.
    pub vector: Option<Tensor<2>>,
    /// The part of the latent that it is about; the whole, where there is none.
    pub area: Option<Area>,
    /// How much it counts at each place, `[1 or b, h, w]`; everywhere 1, where there is none.
    pub mask: Option<Tensor<3>>,
    /// How much it counts beside other conditions.
    pub strength: f64,
    /// In which part of the walk it counts.
    pub span: Span,
    /// Hints for networks beside the U-Net. Conditions with the very same hints share a call.
    pub controls: Vec<Arc<ControlHint>>,
}

impl Default for Condition {
    /// Says nothing, of everything, always.
    fn default() -> Self {
        Self {
            tokens: None,
            channels: None,
            vector: None,
            area: None,
            mask: None,
            strength: 1.0,
            span: Span::WHOLE,
            controls: Vec::new(),
        }
    }
}

impl Condition {
    /// What is said of picture `at` of a batch: its rows of all that has a row for each.
    #[must_use]
    pub fn of_picture(&self, at: usize) -> Self {
        let hint = |hint: &Arc<ControlHint>| match hint.hint.dims()[0] {
            1 => hint.clone(),
            _ => Arc::new(ControlHint {
                hint: row(&hint.hint, at),
                ..ControlHint::clone(hint)
            }),
        };
        Self {
            tokens: self.tokens.as_ref().map(|x| row(x, at)),
            channels: self.channels.as_ref().map(|x| row(x, at)),
            vector: self.vector.as_ref().map(|x| row(x, at)),
            mask: self.mask.as_ref().map(|x| row(x, at)),
            controls: self.controls.iter().map(hint).collect(),
            ..*self
        }
    }

    /// Tokens only, as text gives them: `[1 or b, n, d]`.
    pub fn tokens(tokens: Tensor<3>) -> Self {
        Self {
            tokens: Some(tokens),
            ..Self::default()
        }
    }
}

/// Row `at` of `x [1 or b, ..]`, as `[1, ..]`.
fn row<const D: usize>(x: &Tensor<D>, at: usize) -> Tensor<D> {
    match x.dims()[0] {
        1 => x.clone(),
        _ => x.clone().narrow(0, at, 1),
    }
}

/// Part of a walk, in shares of training's timesteps: 0 is pure noise, 1 the clean latent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Span {
    /// Where it begins.
    pub start: f64,
    /// Where it ends, the end included.
    pub end: f64,
}

/// Places of a walk so close to an end of a span are on it: they are computed from noise.
const TIE: f64 = 1e-9;

impl Span {
    /// The whole walk.
    pub const WHOLE: Self = Self {
        start: 0.0,
        end: 1.0,
    };

    /// Whether the place of a walk that has so much of it left lies in it; 1 is its beginning.
    ///
    /// As ComfyUI counts: both ends belong to the span, and what starts at 1 or ends at 0 never
    /// comes. `left` counts timesteps, which is not to count steps, unless these are evenly
    /// spaced in time.
    pub fn holds(self, left: f64) -> bool {
        let begun = self.start <= 0.0 || (self.start < 1.0 && left <= 1.0 - self.start + TIE);
        let lasts = self.end >= 1.0 || (self.end > 0.0 && left >= 1.0 - self.end - TIE);
        begun && lasts
    }
}
