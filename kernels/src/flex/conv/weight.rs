//! The gradient of a convolution's weight: products of rows along the pixels.
//!
//! Not here: what the rows are read from (`conv`).

use rayon::prelude::*;

use super::super::gemm::dots;
use super::super::memory::{Scratch, Shared, add_parts, filled};
use super::{Grid, Sizes, TASKS};

/// The gradient of the weight, `[o, c, kh, kw]`, from those of the output and the input.
pub(crate) fn weight_gradient(x: &[f32], dy: &[f32], s: Sizes) -> Vec<f32> {
    let size = s.outputs * s.depth();
    let blocks = s.grid().len().div_ceil(8);
    // Small gradients: each task takes some pixels, and whole sums are added in order. Large
    // ones: each takes some taps.
    let (parts, tap_tasks) = match size <= 64 * 1024 {
        true => (TASKS.min(blocks.div_ceil(32)).max(1), 1),
        false => (1, TASKS),
    };
    let mut partial = Scratch::new(parts * size);
    partial.fill(0.0);
    let sums = Shared::new(&mut partial);
    let source = s.with_border(x);
    let work = WeightGradient {
        s,
        source: &source,
        dy,
        taps: &s.taps(),
        grid: s.grid(),
    };
    let taps = s.depth().div_ceil(tap_tasks).next_multiple_of(4);
    let pixels = blocks.div_ceil(parts) * 8;
    (0..parts * tap_tasks).into_par_iter().for_each(|task| {
        let (part, from) = (task / tap_tasks, task % tap_tasks * taps);
        let taps = from.min(s.depth())..s.depth().min(from + taps);
        let first = work.grid.len().min(part * pixels);
        let last = work.grid.len().min(first + pixels);
        if !taps.is_empty() {
            work.task(first..last, taps, sums.at(part * size));
        }
    });
    filled(size, |out| add_parts(&partial, out))
}

struct WeightGradient<'a> {
    s: Sizes,
    source: &'a [f32],
    dy: &'a [f32],
    taps: &'a [usize],
    grid: Grid,
}

/// Rows along the pixels: where they start, and the blocks of 8 to multiply.
struct Rows {
    a: *const f32,
    a_row: usize,
    b: Vec<*const f32>,
    blocks: Vec<(usize, usize)>,
}

impl WeightGradient<'_> {
    fn task(&self, pixels: std::ops::Range<usize>, taps: std::ops::Range<usize>, sums: *mut f32) {
        // As many pixels at once as let all rows of `dy` stay in the second cache.
        let many = (64 * 1024 / self.s.outputs.max(1)).clamp(256, 1024) / 8 * 8;
        let direct = self.grid.from.col == 1 && self.grid.cols.is_multiple_of(8);
        // In place the taps of a channel share their numbers; copies do not.
        let near = match direct {
            true => 16,
            false => (5 * 1024 / many).next_multiple_of(4),
        };
        let mut buffer = match direct {
            true => Scratch::new(0),
            false => Scratch::new((self.s.outputs + taps.len()) * many),
        };
        for first in pixels.clone().step_by(many) {
            let pixels = first..pixels.end.min(first + many);
            let rows = match direct {
                true => self.in_place(pixels, &taps),
                false => self.gathered(pixels, &taps, many, &mut buffer),
            };
            // Some taps stay in the first cache while the rows of `dy` pass them by.
            for some in (0..taps.len()).step_by(near) {
                for o in (0..self.s.outputs).step_by(3) {
                    for t in (some..taps.len().min(some + near)).step_by(4) {
                        // SAFETY: this task alone writes these taps of this part; the rows
                        // hold what the blocks reach.
                        unsafe { self.tile(&rows, o, t, sums.wrapping_add(taps.start)) };
                    }
                }
            }
        }
    }

    /// Rows read where they are: neighbours in a picture are neighbours in memory.
    fn in_place(&self, pixels: std::ops::Range<usize>, taps: &std::ops::Range<usize>) -> Rows {
        let place = |j: usize| {
            let [from, to] = self.grid.place(j);
            (to, from)
        };
        Rows {
            a: self.dy.as_ptr(),
            a_row: self.s.pixels(),
            b: self.taps[taps.clone()]
                .iter()
                .map(|t| self.source[*t..].as_ptr())
                .collect(),
            blocks: pixels.step_by(8).map(place).collect(),
        }
    }

    /// Rows copied together, zeros up to a whole block.
    fn gathered(
        &self,
        pixels: std::ops::Range<usize>,
        taps: &std::ops::Range<usize>,
        row: usize,
        buffer: &mut [f32],
    ) -> Rows {
        let places: Vec<[usize; 2]> = pixels.clone().map(|j| self.grid.place(j)).collect();
        let whole = places.len().next_multiple_of(8);
        let (a, b) = buffer.split_at_mut(self.s.outputs * row);
        let pixels = self.s.pixels();
        let copy = |line: &mut [f32], values: &[f32], side: usize| {
            for (to, place) in line.iter_mut().zip(&places) {
                *to = values[place[side]];
            }
            line[places.len()..whole].fill(0.0);
        };
        for (o, line) in a.chunks_exact_mut(row).enumerate() {
            copy(line, &self.dy[o * pixels..], 1);
        }
        for (line, tap) in b.chunks_exact_mut(row).zip(&self.taps[taps.clone()]) {
            copy(line, &self.source[*tap..], 0);
        }
        Rows {
            a: a.as_ptr(),
            a_row: row,
            b: b.chunks_exact(row)
                .take(taps.len())
                .map(<[f32]>::as_ptr)
                .collect(),
            blocks: (0..whole).step_by(8).map(|j| (j, j)).collect(),
        }
    }

    /// Adds the products of 3 rows of outputs and 4 of taps; beyond the last, rows repeat.
    unsafe fn tile(&self, rows: &Rows, o: usize, t: usize, sums: *mut f32) {
        let (last_o, last_t) = (self.s.outputs - 1, rows.b.len() - 1);
        let a = [0, 1, 2].map(|i| rows.a.wrapping_add((o + i).min(last_o) * rows.a_row));
        let b = [0, 1, 2, 3].map(|i| rows.b[(t + i).min(last_t)]);
        let mut out = [[0.0; 4]; 3];
        // SAFETY: the caller vouches for rows and blocks.
        unsafe { dots(&rows.blocks, a, b, &mut out) };
        for (i, out) in out.iter().enumerate().take(self.s.outputs - o) {
            for (j, out) in out.iter().enumerate().take(rows.b.len() - t) {
                // SAFETY: `o + i` and `t + j` are outputs and taps that exist.
                unsafe { *sums.add((o + i) * self.s.depth() + t + j) += out };
            }
        }
    }
}
