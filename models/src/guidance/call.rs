//! Calls of the bare network: conditions that can share one do.

use std::rc::Rc;
use std::sync::Arc;

use burn::tensor::Tensor;

use super::Bare;
use super::control::{Steer, control};
use super::part::Part;
use crate::unet::Told;

/// Beyond this factor repeating the shorter prompt costs more than a second call.
/// ComfyUI draws the line at the same place.
const MOST_REPEATS: usize = 4;

/// Two conditions share a call whatever their size, as guidance always did; more share one
/// while it has at most so many places of latents: 16 of 64 × 64. A number rather than the
/// memory that happens to be free, for what shares a call may change bits.
const MOST_PLACES: usize = 16 * 64 * 64;

/// Parts in groups that share a call, in order; none does where they are to be `apart`.
pub(super) fn groups(
    parts: impl Iterator<Item = Rc<Part>>,
    batch: usize,
    apart: bool,
) -> Vec<Vec<Rc<Part>>> {
    let mut groups: Vec<Vec<Rc<Part>>> = Vec::new();
    for part in parts {
        match groups
            .iter_mut()
            .find(|group| !apart && joins(group, &part, batch))
        {
            Some(group) => group.push(part),
            None => groups.push(vec![part]),
        }
    }
    groups
}

fn joins(group: &[Rc<Part>], part: &Rc<Part>, batch: usize) -> bool {
    let first = &group[0];
    let places = (group.len() + 1) * batch * part.seen.height * part.seen.width;
    let same_hints = first.controls.len() == part.controls.len()
        && first
            .controls
            .iter()
            .zip(&part.controls)
            .all(|(a, b)| Arc::ptr_eq(a, b));
    (group.len() < 2 || places <= MOST_PLACES)
        && (first.seen.height, first.seen.width) == (part.seen.height, part.seen.width)
        && same_hints
        && common_length(group.iter().chain([part])).is_some()
}

/// The length that all prompts are repeated to, 0 where there are none; nothing where they are
/// too far apart.
fn common_length<'a>(parts: impl IntoIterator<Item = &'a Rc<Part>>) -> Option<usize> {
    let lengths = parts
        .into_iter()
        .filter_map(|part| part.tokens.as_ref().map(|x| x.dims()[1]));
    let (mut common, mut shortest) = (1, usize::MAX);
    for length in lengths {
        common = common / gcd(common, length) * length;
        shortest = shortest.min(length);
        if common / shortest > MOST_REPEATS {
            return None;
        }
    }
    Some(common)
}

fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// A call that a group of conditions shares, with all that stays as it is along a walk.
pub(super) struct Call<H> {
    /// Whose predictions it gives, in this order.
    pub(super) parts: Vec<Rc<Part>>,
    /// What the network made of what it is told.
    heard: H,
    /// Set behind the latent's own.
    channels: Option<Tensor<4>>,
    /// Networks that add to it, and how strongly.
    steers: Vec<(Steer, f64)>,
}

impl<H> Call<H> {
    /// The call of `group` on latents `shape`, with the hints that count with so much `left` of
    /// the walk, which will ask at the timesteps `ahead`.
    pub(super) fn new(
        network: &impl Bare<Heard = H>,
        group: Vec<Rc<Part>>,
        [batch, _, height, _]: [usize; 4],
        left: f64,
        ahead: &[f64],
    ) -> Self {
        let length = common_length(&group).expect("what shares a call has one");
        let long = |x: &Tensor<3>| x.clone().repeat_dim(1, length / x.dims()[1]);
        let told = Told {
            context: given(&group, |part| part.tokens.as_ref().map(long)),
            label: given(&group, |part| part.vector.clone()),
            control: None,
        };
        let hints = group[0].controls.iter();
        let steers = hints.filter(|hint| hint.span.holds(left)).map(|hint| {
            let times = hint.hint.dims()[2] / height;
            let repeated = hint.hint.clone();
            let repeated = repeated.repeat_dim(0, batch / hint.hint.dims()[0]);
            let cut = group
                .iter()
                .map(|part| part.seen.cut(repeated.clone(), times));
            (
                hint.network.clone().hear(&told, cat(cut), ahead),
                hint.strength,
            )
        });
        Self {
            steers: steers.collect(),
            channels: given(&group, |part| part.channels.clone()),
            heard: network.hear(told, ahead),
            parts: group,
        }
    }

    /// What each part predicts for `x [b, c, h, w]`, `[b, c, seen.height, seen.width]`.
    pub(super) fn predict(
        &self,
        network: &impl Bare<Heard = H>,
        x: &Tensor<4>,
        t: f64,
    ) -> Vec<Tensor<4>> {
        let (batch, calls) = (x.dims()[0], self.parts.len());
        let all = cat(self.parts.iter().map(|part| part.seen.cut(x.clone(), 1)));
        let control = control(&self.steers, &all, t);
        let all = match self.channels.clone() {
            Some(channels) => Tensor::cat(vec![all, channels], 1),
            None => all,
        };
        let e = network.step(all, t, &self.heard, control);
        let of = |at| e.clone().narrow(0, at * batch, batch);
        (0..calls).map(of).collect()
    }
}

/// What every part has, one after another; parts agree in what they have.
fn given<const D: usize>(
    group: &[Rc<Part>],
    of: impl Fn(&Part) -> Option<Tensor<D>>,
) -> Option<Tensor<D>> {
    let all: Option<Vec<_>> = group.iter().map(|part| of(part)).collect();
    all.map(|all| cat(all.into_iter()))
}

fn cat<const D: usize>(tensors: impl Iterator<Item = Tensor<D>>) -> Tensor<D> {
    let mut tensors: Vec<_> = tensors.collect();
    if tensors.len() == 1 {
        return tensors.remove(0);
    }
    Tensor::cat(tensors, 0)
}
