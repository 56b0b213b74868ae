//! Networks beside the U-Net that steer it by a picture, as guidance sees them: ControlNet
//! (Zhang et al. 2023, arXiv 2302.05543) and T2I-Adapter (Mou et al. 2023, arXiv 2302.08453).
//!
//! Not here: the networks themselves (`control`).

use std::fmt::{Debug, Formatter, Result};
use std::sync::Arc;

use burn::tensor::Tensor;

use super::Span;
use crate::unet::{Control, Told};

/// What a [`ControlModel`] adds at a step of a walk: for the noisy latent `x [b, c, h, w]` in
/// f32, without the channels that conditioning sets behind it, and its timestep.
pub type Steer = Box<dyn Fn(Tensor<4>, f64) -> Control>;

/// A network whose output is added inside the U-Net.
pub trait ControlModel: Send + Sync {
    /// Hears what stays as it is along a walk: what the U-Net is told of each row, the hints,
    /// `[b, c, k·h, k·w]`, in 0..1 where they are pictures, and at which timesteps the walk will
    /// ask, as far as that is known. Any float type may come back of what it gives.
    fn hear(self: Arc<Self>, told: &Told, hint: Tensor<4>, ahead: &[f64]) -> Steer;
}

/// A picture that a [`ControlModel`] steers by, and how strongly.
#[derive(Clone)]
pub struct ControlHint {
    /// The network.
    pub network: Arc<dyn ControlModel>,
    /// `[1 or b, c, k·h, k·w]` for a latent of `h` by `w`; `k` is 8 for pictures, 1 for latents.
    pub hint: Tensor<4>,
    /// What the network's output is multiplied by.
    pub strength: f64,
    /// In which part of the walk it is added.
    pub span: Span,
}

impl Debug for ControlHint {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let mut shown = f.debug_struct("ControlHint");
        shown.field("hint", &self.hint.dims());
        shown.field("strength", &self.strength);
        shown.field("span", &self.span).finish_non_exhaustive()
    }
}

/// What `steers` add together at a step, each times its strength.
pub(super) fn control(steers: &[(Steer, f64)], x: &Tensor<4>, t: f64) -> Option<Control> {
    let added = steers
        .iter()
        .map(|(steer, strength)| scaled(steer(x.clone(), t), *strength));
    added.reduce(sum)
}

fn scaled(control: Control, by: f64) -> Control {
    let Control {
        down,
        skips,
        middle,
    } = control;
    Control {
        down: down.into_iter().map(|x| x.map(|x| x * by)).collect(),
        skips: skips.into_iter().map(|x| x * by).collect(),
        middle: middle.map(|x| x * by),
    }
}

fn sum(a: Control, b: Control) -> Control {
    // Two networks may compute in two number types.
    let add = |a: Tensor<4>, b: Tensor<4>| {
        let b = b.cast(a.dtype());
        a + b
    };
    let some = |a: Option<Tensor<4>>, b: Option<Tensor<4>>| match (a, b) {
        (Some(a), Some(b)) => Some(add(a, b)),
        (a, b) => a.or(b),
    };
    let longest = |a: Vec<Option<Tensor<4>>>, b: Vec<Option<Tensor<4>>>| {
        let length = a.len().max(b.len());
        let (mut a, mut b) = (a.into_iter(), b.into_iter());
        let pairs = (0..length).map(|_| (a.next().flatten(), b.next().flatten()));
        pairs.map(|(a, b)| some(a, b)).collect::<Vec<_>>()
    };
    let all = |skips: Vec<Tensor<4>>| skips.into_iter().map(Some).collect();
    let skips = longest(all(a.skips), all(b.skips));
    Control {
        down: longest(a.down, b.down),
        skips: skips.into_iter().flatten().collect(),
        middle: some(a.middle, b.middle),
    }
}
