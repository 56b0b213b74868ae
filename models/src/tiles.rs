//! A large picture taken through a network in tiles that overlap, their seams blended.
//!
//! ```text
//! share of a tile   1 ┌────────────┐         where two tiles lie over each other,
//!                     │ /        \ │         one fades out as the other fades in
//!                   0 └────────────┘
//! ```
//!
//! Tile and overlap mean what they mean in ComfyUI, and give the same weights: in the overlap a
//! tile counts by its distance from its edge, and the counts are divided by their sum. They are
//! products of a share for rows and one for columns, so the division is done for each alone.
//!
//! Sizes are counted in places: pixels of the smaller of what goes in and what comes out.
//!
//! Not here: which network it is, and when tiles are called for.

use std::ops::Range;

use burn::tensor::{Tensor, TensorData};

/// How a picture is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tiles {
    /// Sides of a tile in places.
    pub size: usize,
    /// How far tiles lie over each other; below `size`.
    pub overlap: usize,
    /// Where they lie.
    pub lay: Lay,
}

/// Where tiles lie along an axis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lay {
    /// Each as far from the one before as size and overlap say, the last being cut off at the
    /// edge: as ComfyUI does it.
    InStep,
    /// As many, all of full size and evenly spread, so that they share the overlap or more: for
    /// networks whose norms look at all of a tile, since those of a strip are far from the
    /// picture's.
    Evenly,
}

/// What a network makes of each place.
#[derive(Debug, Clone, Copy)]
pub struct Sizes {
    /// Pixels of its side that go in.
    pub read: usize,
    /// Pixels of its side that come out.
    pub give: usize,
    /// Channels that come out.
    pub channels: usize,
}

/// A stretch of an axis that one tile covers, and its share of each enlarged pixel there.
struct Span {
    start: usize,
    length: usize,
    share: Vec<f32>,
}

impl Tiles {
    /// Whether one tile holds a picture of `[height, width]` places.
    pub fn cover(self, sides: [usize; 2]) -> bool {
        sides.iter().all(|side| *side <= self.size)
    }

    /// How many tiles there are of a picture of `[height, width]` places.
    pub fn count(self, sides: [usize; 2]) -> usize {
        sides.iter().map(|side| self.starts(*side).len()).product()
    }

    /// Where the tiles of an axis of `length` places begin.
    fn starts(self, length: usize) -> Vec<usize> {
        if length <= self.size {
            return vec![0];
        }
        let starts = (0..length - self.overlap).step_by(self.size - self.overlap);
        match self.lay {
            Lay::InStep => starts.collect(),
            Lay::Evenly => {
                let gaps = starts.len() - 1;
                let start = |at| at * (length - self.size) / gaps;
                (0..=gaps).map(start).collect()
            }
        }
    }

    /// The tiles of an axis of `length` places, each of which becomes `scale` pixels.
    fn spans(self, length: usize, scale: usize) -> Vec<Span> {
        let mut spans: Vec<Span> = self
            .starts(length)
            .into_iter()
            .map(|start| {
                let length = self.size.min(length - start);
                let share = faded(length * scale, self.overlap * scale);
                Span {
                    start,
                    length,
                    share,
                }
            })
            .collect();
        let mut sums = vec![0.0; length * scale];
        for span in &spans {
            let covered = &mut sums[span.start * scale..];
            covered
                .iter_mut()
                .zip(&span.share)
                .for_each(|(sum, s)| *sum += s);
        }
        for span in &mut spans {
            let covered = &sums[span.start * scale..];
            span.share
                .iter_mut()
                .zip(covered)
                .for_each(|(s, sum)| *s /= sum);
        }
        spans
    }
}

/// 1, but rising from near 0 over the first `fade` numbers, and falling over the last.
fn faded(length: usize, fade: usize) -> Vec<f32> {
    let rise = |i: usize| ((i + 1) as f32 / fade as f32).min(1.0);
    match fade < length {
        true => (0..length)
            .map(|i| rise(i) * rise(length - 1 - i))
            .collect(),
        false => vec![1.0; length],
    }
}

/// Takes `x [b, c, read·h, read·w]` through `network` → `[b, channels, give·h, give·w]`, one tile
/// of one picture at a time; `step` hears how many of how many tiles are done, and stops by an
/// error.
///
/// # Errors
/// What `step` says.
pub fn tiled<E>(
    x: &Tensor<4>,
    tiles: Tiles,
    sizes: Sizes,
    network: impl Fn(Tensor<4>) -> Tensor<4>,
    mut step: impl FnMut(usize, usize) -> Result<(), E>,
) -> Result<Tensor<4>, E> {
    let ([batch, _, height, width], Sizes { read, give, .. }) = (x.dims(), sizes);
    let (height, width) = (height / read, width / read);
    let (rows, columns) = (tiles.spans(height, give), tiles.spans(width, give));
    let shape = [batch, sizes.channels, height * give, width * give];
    let mut out = Tensor::zeros(shape, (&x.device(), x.dtype()));
    let all = batch * rows.len() * columns.len();
    for at in 0..all {
        let item = at / (rows.len() * columns.len());
        let row = &rows[at / columns.len() % rows.len()];
        let column = &columns[at % columns.len()];
        let tile = x.clone().narrow(0, item, 1);
        let tile = tile.narrow(2, row.start * read, row.length * read);
        let tile = network(tile.narrow(3, column.start * read, column.length * read));
        let share: Tensor<4> = row.along(2, &tile) * column.along(3, &tile);
        let place = [
            item..item + 1,
            0..shape[1],
            row.enlarged(give),
            column.enlarged(give),
        ];
        let before = out.clone().slice(place.clone());
        out = out.slice_assign(place, before + tile * share);
        step(at + 1, all)?;
    }
    Ok(out)
}

impl Span {
    /// The enlarged pixels.
    fn enlarged(&self, scale: usize) -> Range<usize> {
        self.start * scale..(self.start + self.length) * scale
    }

    /// The share, along `axis` of a tensor like `beside`.
    fn along(&self, axis: usize, beside: &Tensor<4>) -> Tensor<4> {
        let mut shape = [1; 4];
        shape[axis] = self.share.len();
        let share = TensorData::new(self.share.clone(), shape);
        Tensor::from_data(share, (&beside.device(), beside.dtype()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::{mean_of_four, upsample};
    use crate::noise::Noise;
    use burn::tensor::Device;

    fn picture(shape: [usize; 4]) -> Tensor<4> {
        Noise::new(3).tensor(shape, &Device::flex())
    }

    fn tiles(size: usize, overlap: usize, lay: Lay) -> Tiles {
        Tiles { size, overlap, lay }
    }

    #[test]
    fn what_looks_at_no_neighbour_is_the_same_in_tiles() {
        let x = picture([2, 3, 38, 22]);
        let sizes = |read, give| Sizes {
            read,
            give,
            channels: 3,
        };
        let go_on = |_: usize, _: usize| Ok::<(), ()>(());
        for lay in [Lay::InStep, Lay::Evenly] {
            for (size, overlap) in [(8, 3), (7, 0), (9, 8), (64, 3)] {
                let cut = tiles(size, overlap, lay);
                let check = |sizes, network: fn(Tensor<4>) -> Tensor<4>| {
                    let got = tiled(&x, cut, sizes, network, go_on).unwrap();
                    let off = (got - network(x.clone())).abs().max().into_scalar::<f32>();
                    assert!(off < 2e-6, "{off} with {cut:?} and {sizes:?}");
                };
                check(sizes(1, 1), |x| x);
                check(sizes(1, 2), upsample);
                check(sizes(2, 1), mean_of_four);
            }
        }
    }

    #[test]
    fn tiles_that_lie_evenly_are_whole_share_enough_and_are_no_more() {
        for length in 1..200 {
            for (size, overlap) in [(16, 2), (16, 0), (5, 4), (32, 31)] {
                let even = tiles(size, overlap, Lay::Evenly);
                let starts = even.starts(length);
                assert_eq!(
                    starts.len(),
                    tiles(size, overlap, Lay::InStep).starts(length).len()
                );
                assert_eq!(starts[0], 0);
                if length > size {
                    assert_eq!(starts[starts.len() - 1], length - size, "{length} {even:?}");
                }
                let steps = starts.windows(2).map(|pair| pair[1] - pair[0]);
                assert!(
                    steps.into_iter().all(|step| step <= size - overlap),
                    "{starts:?}"
                );
            }
        }
        assert_eq!(tiles(16, 2, Lay::Evenly).starts(32), [0, 8, 16]);
    }
}
