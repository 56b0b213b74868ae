//! Calls of the bare network: conditions that can share one do.

use std::sync::Arc;

use burn::tensor::{DType, Tensor};

use super::control::control;
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
pub(super) fn groups<'a>(parts: &[&'a Part], batch: usize, apart: bool) -> Vec<Vec<&'a Part>> {
    let mut groups: Vec<Vec<&Part>> = Vec::new();
    for part in parts {
        match groups
            .iter_mut()
            .find(|group| !apart && joins(group, part, batch))
        {
            Some(group) => group.push(part),
            None => groups.push(vec![part]),
        }
    }
    groups
}

fn joins(group: &[&Part], part: &Part, batch: usize) -> bool {
    let first = group[0];
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
        && common_length(group.iter().copied().chain([part])).is_some()
}

/// The length that all prompts are repeated to, 0 where there are none; nothing where they are
/// too far apart.
fn common_length<'a>(parts: impl Iterator<Item = &'a Part>) -> Option<usize> {
    let lengths = parts.filter_map(|part| part.tokens.as_ref().map(|x| x.dims()[1]));
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

/// What each of `group` predicts, `[b, c, seen.height, seen.width]`, by one call of `network`
/// for `x [b, c, h, w]`; `left` is how much of the walk is.
pub(super) fn call(
    network: impl Fn(Tensor<4>, Tensor<1>, Told) -> Tensor<4>,
    group: &[&Part],
    x: &Tensor<4>,
    t: f64,
    left: f64,
) -> Vec<Tensor<4>> {
    let [batch, _, height, _] = x.dims();
    let rows = batch * group.len();
    let all = cat(group.iter().map(|part| part.seen.cut(x.clone(), 1)));
    // In f32 whatever the latent is in: f16 cannot tell timestep 981 from its neighbours.
    let time = Tensor::full([rows], t as f32, (&x.device(), DType::F32));
    let length = common_length(group.iter().copied()).expect("what shares a call has one");
    let long = |x: &Tensor<3>| x.clone().repeat_dim(1, length / x.dims()[1]);
    let mut told = Told {
        context: given(group, |part| part.tokens.as_ref().map(long)),
        label: given(group, |part| part.vector.clone()),
        control: None,
    };
    let hints = group[0].controls.iter().map(Arc::as_ref);
    let hints = hints.filter(|hint| hint.span.holds(left));
    told.control = control(hints, &all, &time, &told, |hint| {
        let times = hint.dims()[2] / height;
        let repeated = hint.clone().repeat_dim(0, batch / hint.dims()[0]);
        cat(group
            .iter()
            .map(|part| part.seen.cut(repeated.clone(), times)))
    });
    let all = match given(group, |part| part.channels.clone()) {
        Some(channels) => Tensor::cat(vec![all, channels], 1),
        None => all,
    };
    let e = network(all, time, told);
    let of = |at| e.clone().narrow(0, at * batch, batch);
    (0..group.len()).map(of).collect()
}

/// What every part has, one after another; parts agree in what they have.
fn given<const D: usize>(
    group: &[&Part],
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
