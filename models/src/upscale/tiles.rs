//! A large picture in tiles that overlap, their seams blended.
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

use std::ops::Range;

use burn::tensor::{Tensor, TensorData};

use super::{UpscaleConfig, Upscaler};

/// How a picture is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tiles {
    /// Sides of a tile in pixels of the small picture.
    pub size: usize,
    /// How far tiles lie over each other; below `size`.
    pub overlap: usize,
}

/// A stretch of an axis that one tile covers, and its share of each enlarged pixel there.
struct Span {
    start: usize,
    length: usize,
    share: Vec<f32>,
}

impl Tiles {
    /// The tiles of an axis of `length` pixels, each of which becomes `scale`.
    fn spans(self, length: usize, scale: usize) -> Vec<Span> {
        if length <= self.size {
            let share = vec![1.0; length * scale];
            let start = 0;
            return vec![Span {
                start,
                length,
                share,
            }];
        }
        let starts = (0..length - self.overlap).step_by(self.size - self.overlap);
        let mut spans: Vec<Span> = starts
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

/// Enlarges `x [b, c, h, w]` → `[b, c_out, scale·h, scale·w]`, one tile of one picture at a
/// time; `step` hears how many of how many tiles are done, and stops by an error.
///
/// # Errors
/// What `step` says.
pub fn enlarge<E>(
    network: &Upscaler,
    config: &UpscaleConfig,
    x: Tensor<4>,
    tiles: Tiles,
    mut step: impl FnMut(usize, usize) -> Result<(), E>,
) -> Result<Tensor<4>, E> {
    let ([batch, _, height, width], scale) = (x.dims(), config.scale());
    let (rows, columns) = (tiles.spans(height, scale), tiles.spans(width, scale));
    let shape = [batch, config.channels().1, height * scale, width * scale];
    let mut out = Tensor::zeros(shape, (&x.device(), x.dtype()));
    let all = batch * rows.len() * columns.len();
    for at in 0..all {
        let item = at / (rows.len() * columns.len());
        let row = &rows[at / columns.len() % rows.len()];
        let column = &columns[at % columns.len()];
        let tile = x.clone().narrow(0, item, 1);
        let tile = tile.narrow(2, row.start, row.length);
        let tile = network.forward(tile.narrow(3, column.start, column.length));
        let share: Tensor<4> = row.along(2, &tile) * column.along(3, &tile);
        let place = [
            item..item + 1,
            0..shape[1],
            row.enlarged(scale),
            column.enlarged(scale),
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
