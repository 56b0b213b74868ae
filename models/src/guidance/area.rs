//! Areas: which part of a latent a condition is about, and how much it counts there.
//!
//! ComfyUI's rules, so that a picture stays what it was: an area's inner edges fade over 8
//! places (a quarter of its side, if that is less), a mask takes the fading's place, and an area
//! on one side of guidance is given its like on the other. Where they differ: the network sees
//! whole multiples of what it can halve, so a little beyond the area; what lies beyond it
//! counts nothing.

use burn::tensor::{Device, Tensor, TensorData};

use super::Condition;

/// A box of places of a latent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Area {
    /// Places above it.
    pub y: usize,
    /// Places left of it.
    pub x: usize,
    /// Places from top to bottom.
    pub height: usize,
    /// Places from left to right.
    pub width: usize,
}

/// Over how many places an edge fades.
const FADE: usize = 8;
/// An edge fades over at most this share of the side: one in so many.
const MOST_FADE: usize = 4;

impl Area {
    /// All of a latent of `height` and `width`.
    pub(super) fn whole([height, width]: [usize; 2]) -> Self {
        Self {
            y: 0,
            x: 0,
            height,
            width,
        }
    }

    /// Whether it holds something, and lies inside a latent of `height` and `width`.
    pub fn fits(self, [height, width]: [usize; 2]) -> bool {
        let inside = |start: usize, size: usize, all: usize| {
            size > 0 && start.checked_add(size).is_some_and(|end| end <= all)
        };
        inside(self.y, self.height, height) && inside(self.x, self.width, width)
    }

    /// Whether `other` lies inside.
    fn holds(self, other: Self) -> bool {
        self.y <= other.y
            && self.x <= other.x
            && self.y + self.height >= other.y + other.height
            && self.x + self.width >= other.x + other.width
    }

    /// The smallest box of whole multiples around it, inside a latent of `height` and `width`.
    pub(super) fn seen(self, [height, width]: [usize; 2], multiple: usize) -> Self {
        let axis = |start: usize, size: usize, all: usize| {
            let size = size.next_multiple_of(multiple).min(all);
            (start.min(all - size), size)
        };
        let (y, tall) = axis(self.y, self.height, height);
        let (x, wide) = axis(self.x, self.width, width);
        Self {
            y,
            x,
            height: tall,
            width: wide,
        }
    }

    /// Its part of `x [b, c, k·h, k·w]`, where `k` is `times`.
    pub(super) fn cut(self, x: Tensor<4>, times: usize) -> Tensor<4> {
        let [.., height, width] = x.dims();
        if [height, width] == [self.height * times, self.width * times] {
            return x;
        }
        x.narrow(2, self.y * times, self.height * times).narrow(
            3,
            self.x * times,
            self.width * times,
        )
    }

    /// How much each place of `seen` counts, `[1, 1, h, w]`: 1 in the area, falling towards
    /// its inner edges where it fades, 0 outside.
    pub(super) fn weight(
        self,
        seen: Self,
        [height, width]: [usize; 2],
        fades: bool,
        device: &Device,
    ) -> Tensor<4> {
        let column = line((self.y, self.height), (seen.y, seen.height), height, fades);
        let row = line((self.x, self.width), (seen.x, seen.width), width, fades);
        let numbers = column.iter().flat_map(|y| row.iter().map(move |x| y * x));
        let shape = [1, 1, seen.height, seen.width];
        Tensor::from_data(
            TensorData::new(numbers.collect::<Vec<f32>>(), shape),
            device,
        )
    }
}

/// How much each place of `seen` counts along one axis of `all` places; both are (start, size).
fn line(area: (usize, usize), seen: (usize, usize), all: usize, fades: bool) -> Vec<f32> {
    let (start, size) = area;
    let steps = if fades { FADE.min(size / MOST_FADE) } else { 0 };
    let ramp = |from_edge: usize, inner: bool| {
        if inner && from_edge < steps {
            (from_edge + 1) as f32 / steps as f32
        } else {
            1.0
        }
    };
    let at = |place: usize| {
        let Some(i) = place.checked_sub(start).filter(|i| *i < size) else {
            return 0.0;
        };
        ramp(i, start > 0) * ramp(size - 1 - i, start + size < all)
    };
    (seen.0..seen.0 + seen.1).map(at).collect()
}

/// Gives each condition with an area its like on every other side: that side's smallest
/// condition around the area, kept to the area too. Guidance then compares like with like.
pub(super) fn mirror(sides: &mut [Vec<Condition>]) {
    for from in 0..sides.len() {
        for index in 0..sides[from].len() {
            let one = sides[from][index].clone();
            for (to, side) in sides.iter_mut().enumerate() {
                if to != from {
                    side.extend(opposite(side, &one));
                }
            }
        }
    }
}

/// What `side` says of the area of `one`, if that is not among its conditions already.
fn opposite(side: &[Condition], one: &Condition) -> Option<Condition> {
    let area = one.area?;
    let size = |found: &&Condition| found.area.map_or(usize::MAX, |a| a.height * a.width);
    let around = side.iter().filter(|c| c.area.is_none_or(|a| a.holds(area)));
    let said = around.min_by_key(size)?;
    (said.area != Some(area)).then(|| Condition {
        tokens: said.tokens.clone(),
        channels: said.channels.clone(),
        vector: said.vector.clone(),
        ..one.clone()
    })
}
