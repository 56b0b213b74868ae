//! 3×3 convolution of stride 1 by Winograd's F(4×4, 3×3): 36 products where the definition
//! has 144.
//!
//! The picture is cut into tiles of 4×4 outputs, which read 6×6 inputs `d`. With `g` the kernel,
//! `Y = Aᵀ [ Σ_c (G g Gᵀ) ⊙ (Bᵀ d B) ] A`: for each of the 36 places of a transformed tile the
//! sum over channels is a product of matrices, outputs × channels by channels × tiles. (Lavin &
//! Gray, *Fast Algorithms for Convolutional Neural Networks*, arXiv 1509.09308.)
//!
//! The points of interpolation are 0, ±1/√2, ±√2 and ∞ rather than the usual 0, ±1, ±2 and ∞: all
//! constants stay near 1, and the rounding error is that of the definition's own sum in f32,
//! a third of what the usual points give.
//!
//! Promises
//! - Kernels are transformed on the way and not kept: weights take no more memory than they have.
//! - Beside the result, at most [`HELD`] numbers of transformed tiles and of kernels at a time, or
//!   one task's.
//! - Tasks and the order of sums follow from the sizes alone, never from the threads.
//!
//! Not here: other kernels and strides (`conv`), and when this is the faster way ([`suits`] says).

use std::f32::consts::{FRAC_1_SQRT_2 as A, SQRT_2 as B};
use std::ops::Range;

use rayon::prelude::*;

use super::conv::{Plus, Sizes, double};
use super::gemm::{Beside, NR, Start, Strided, Tile, Word, even, row_runs};
use super::memory::{Scratch, Shared, filled};
use super::simd::{madd, multiversion};
use super::weights::Weights;

/// Side of the square of outputs that a tile makes.
const OUT: usize = 4;
/// Side of the square of inputs that a tile reads.
const IN: usize = OUT + 2;
/// Places of a transformed tile.
const PLACES: usize = IN * IN;
/// Tiles that a task takes, about; a multiple of [`NR`].
const TILES: usize = 128;
/// Outputs that a task takes at most.
const OUTPUTS: usize = 48;
/// Depth of a block of a product: `DEPTH × NR` stay in the first cache.
const DEPTH: usize = 128;
/// Numbers of transformed tiles, and of transformed kernels, that are held at once: 16 MiB each.
const HELD: usize = 4 << 20;

/// Whether a convolution is made this way: kernels of 3×3 that move by one pixel, with enough
/// channels and tiles to pay for the transforms.
pub(crate) fn suits(s: &Sizes) -> bool {
    let [h, w] = s.out();
    let tiles = s.images * h.div_ceil(OUT) * w.div_ceil(OUT);
    s.kernel == [3, 3]
        && s.stride == 1
        && s.channels.min(s.outputs) >= 32
        && tiles >= NR
        // Pictures that fill their tiles badly.
        && s.images * h * w >= tiles * OUT * OUT / 2
}

/// Where pixels are read.
#[derive(Clone, Copy)]
pub(crate) enum Picture<'a> {
    Whole(&'a [f32]),
    /// Of half the height and width: each pixel stands for two by two.
    Half(&'a [f32]),
}

/// `x [b, c, h, w] ∗ weight [o, c, 3, 3] + bias [o]`, and then `plus` → `[b, o, oh, ow]`.
pub(crate) fn forward(
    x: Picture<'_>,
    weight: Weights<'_>,
    bias: &[f32],
    s: Sizes,
    plus: Plus<'_>,
) -> Vec<f32> {
    let [h, w] = s.out();
    let cut = Cut::new(&s);
    let chunks = (HELD / (PLACES * cut.lanes * s.channels)).max(1);
    filled(s.images * s.outputs * h * w, |y| {
        let mut tiles = Scratch::new(chunks.min(cut.chunks) * cut.size());
        let out = Shared::new(y);
        for first in (0..cut.chunks).step_by(chunks) {
            let group = first..cut.chunks.min(first + chunks);
            cut.transform_tiles(x, group.clone(), &mut tiles);
            let product = Product {
                cut: &cut,
                tiles: &tiles,
                weight,
                bias,
                plus,
                out,
            };
            product.run(group);
        }
    })
}

/// How the pictures are cut: rows of tiles, some of which are a chunk.
///
/// The tiles of a chunk are lanes: row after row, then nothing up to a multiple of [`NR`].
struct Cut<'a> {
    s: &'a Sizes,
    /// Tiles along a row, and rows of tiles of a picture.
    across: usize,
    down: usize,
    /// Rows of tiles of a chunk.
    rows: usize,
    lanes: usize,
    chunks: usize,
}

impl<'a> Cut<'a> {
    fn new(s: &'a Sizes) -> Self {
        let [h, w] = s.out();
        let (down, across) = (h.div_ceil(OUT), w.div_ceil(OUT));
        let rows = even(s.images * down, (TILES / across).max(1));
        Self {
            s,
            across,
            down,
            rows,
            lanes: (rows * across).next_multiple_of(NR),
            chunks: (s.images * down).div_ceil(rows),
        }
    }

    /// Numbers of a transformed chunk: `[place][panel][channel][NR]`.
    fn size(&self) -> usize {
        PLACES * self.lanes * self.s.channels
    }

    /// The rows of tiles of a chunk: which of it, the picture, and the row in the picture.
    fn rows_of(&self, chunk: usize) -> impl Iterator<Item = (usize, usize, usize)> + use<> {
        let (rows, down, images) = (self.rows, self.down, self.s.images);
        let first = chunk * rows;
        (0..rows.min(images * down - first))
            .map(move |i| (i, (first + i) / down, (first + i) % down))
    }

    /// `Bᵀ d B` of every tile of these chunks.
    fn transform_tiles(&self, x: Picture<'_>, chunks: Range<usize>, out: &mut [f32]) {
        /// Channels that one task takes.
        const CHANNELS: usize = 16;
        let tasks = self.s.channels.div_ceil(CHANNELS);
        let out = Shared::new(out);
        (0..chunks.len() * tasks).into_par_iter().for_each(|task| {
            let (chunk, first) = (task / tasks, task % tasks * CHANNELS);
            let mut work = TileWork::new(self);
            for channel in first..self.s.channels.min(first + CHANNELS) {
                work.transform(x, chunks.start + chunk, channel);
                let to = out.at(chunk * self.size() + channel * NR);
                // SAFETY: each task writes lines of channels of its own, within the chunk.
                unsafe { work.store(to) };
            }
        });
    }
}

/// What one task needs to transform the tiles of one channel of a chunk.
struct TileWork<'a> {
    cut: &'a Cut<'a>,
    /// Six lines: the rows under a row of tiles, combined.
    lines: Scratch,
    /// From one line to the next: the picture with its border, up to whole tiles.
    line: usize,
    /// `[place][lane]`.
    places: Scratch,
    nothing: Vec<f32>,
    /// Six rows of a picture that is half as large, each pixel twice.
    rows: Scratch,
}

impl<'a> TileWork<'a> {
    fn new(cut: &'a Cut<'a>) -> Self {
        let line = (cut.across + 1) * OUT;
        let mut work = Self {
            cut,
            lines: Scratch::new(IN * line),
            line,
            places: Scratch::new(PLACES * cut.lanes),
            nothing: vec![0.0; cut.s.width],
            rows: Scratch::new(IN * cut.s.width),
        };
        work.lines.fill(0.0);
        work.places.fill(0.0);
        work
    }

    fn transform(&mut self, x: Picture<'_>, chunk: usize, channel: usize) {
        let (cut, s) = (self.cut, self.cut.s);
        let (all, height, width) = match x {
            Picture::Whole(all) => (all, s.height, s.width),
            Picture::Half(all) => (all, s.height / 2, s.width / 2),
        };
        for (i, image, down) in cut.rows_of(chunk) {
            let plane = &all[(image * s.channels + channel) * height * width..][..height * width];
            // Of row `r` under the tiles, where it is within the picture.
            let at = |r: usize| (down * OUT + r).checked_sub(s.padding.top);
            let at = |r: usize| at(r).filter(|y| *y < s.height);
            let rows: [&[f32]; IN] = match x {
                Picture::Whole(_) => std::array::from_fn(|r| {
                    at(r).map_or(&self.nothing[..], |y| &plane[y * width..][..width])
                }),
                Picture::Half(_) => {
                    for (r, row) in self.rows.chunks_exact_mut(s.width).enumerate() {
                        match at(r) {
                            Some(y) => double(&plane[y / 2 * width..][..width], row),
                            None => row.fill(0.0),
                        }
                    }
                    std::array::from_fn(|r| &self.rows[r * s.width..][..s.width])
                }
            };
            let left = s.padding.left;
            // Beyond the last whole tile lie only pixels that no output reads.
            let width = s.width.min(self.line - left);
            combine_rows(
                rows.map(|row| &row[..width]),
                &mut self.lines[left..],
                self.line,
            );
            for (r, line) in self.lines.chunks_exact(self.line).enumerate() {
                let places = &mut self.places[r * IN * cut.lanes..][..IN * cut.lanes];
                combine_columns(line, &mut places[i * cut.across..], cut.lanes, cut.across);
            }
        }
    }

    /// Writes the places to `to`, a line of [`NR`] lanes for each place and panel.
    unsafe fn store(&self, to: *mut f32) {
        let step = self.cut.s.channels * NR;
        for (i, line) in self.places.chunks_exact(NR).enumerate() {
            // SAFETY: the chunk holds a panel of all channels for each place and panel.
            unsafe { std::ptr::copy_nonoverlapping(line.as_ptr(), to.add(i * step), NR) };
        }
    }
}

/// One row of `Bᵀ` after the other, times `d`.
#[inline(always)]
fn bt<const FMA: bool>(d: [f32; IN]) -> [f32; IN] {
    let (p, q) = (
        madd::<FMA>(d[2], -2.0, d[4]),
        A * madd::<FMA>(d[1], -2.0, d[3]),
    );
    let (u, v) = (
        madd::<FMA>(d[2], -0.5, d[4]),
        B * madd::<FMA>(d[1], -0.5, d[3]),
    );
    [
        madd::<FMA>(d[2], -2.5, d[0] + d[4]),
        p + q,
        p - q,
        u + v,
        u - v,
        madd::<FMA>(d[3], -2.5, d[1] + d[5]),
    ]
}

/// `Aᵀ m`.
#[inline(always)]
fn at<const FMA: bool>(m: [f32; IN]) -> [f32; OUT] {
    let (s, d) = (m[1] + m[2], m[1] - m[2]);
    let (t, e) = (m[3] + m[4], m[3] - m[4]);
    [
        m[0] + s + t,
        madd::<FMA>(A, d, B * e),
        madd::<FMA>(2.0, t, 0.5 * s),
        madd::<FMA>(A * 0.5, d, madd::<FMA>(B * 2.0, e, m[5])),
    ]
}

/// `G g`.
#[inline(always)]
fn g<const FMA: bool>(g: [f32; 3]) -> [f32; IN] {
    let even = madd::<FMA>(0.5, g[2], g[0]) * (-2.0 / 3.0);
    let odd = g[1] * (-2.0 / 3.0 * A);
    let more = madd::<FMA>(2.0, g[2], g[0]) * (1.0 / 6.0);
    let less = g[1] * (1.0 / 6.0 * B);
    [g[0], even + odd, even - odd, more + less, more - less, g[2]]
}

multiversion! {
    /// `Bᵀ` over six rows, column by column, into six lines `step` apart.
    fn combine_rows(rows: [&[f32]; IN], lines: &mut [f32], step: usize) = combine_rows_body
}
#[inline(always)]
#[expect(
    clippy::needless_range_loop,
    reason = "six lines are written at one place"
)]
fn combine_rows_body<const FMA: bool>(rows: [&[f32]; IN], lines: &mut [f32], step: usize) {
    let n = rows[0].len();
    let rows = rows.map(|row| &row[..n]);
    let lines = split::<IN>(lines, step, n);
    for x in 0..n {
        let made = bt::<FMA>(each(&rows, x));
        for r in 0..IN {
            lines[r][x] = made[r];
        }
    }
}

multiversion! {
    /// `Bᵀ` along a line, tile by tile, into six lines `step` apart.
    fn combine_columns(line: &[f32], out: &mut [f32], step: usize, tiles: usize)
        = combine_columns_body
}
#[inline(always)]
fn combine_columns_body<const FMA: bool>(line: &[f32], out: &mut [f32], step: usize, tiles: usize) {
    let out = split::<IN>(out, step, tiles);
    let (quads, _) = line.as_chunks::<OUT>();
    let (here, next) = (&quads[..tiles], &quads[1..tiles + 1]);
    for t in 0..tiles {
        let ([a, b, c, d], [e, f, ..]) = (here[t], next[t]);
        let made = bt::<FMA>([a, b, c, d, e, f]);
        for r in 0..IN {
            out[r][t] = made[r];
        }
    }
}

/// Number `i` of each line. (`map` would be a call for every number.)
#[inline(always)]
fn each(lines: &[&[f32]; IN], i: usize) -> [f32; IN] {
    let [a, b, c, d, e, f] = lines;
    [a[i], b[i], c[i], d[i], e[i], f[i]]
}

/// `N` lines of `n` numbers, `step` apart.
#[inline(always)]
fn split<const N: usize>(mut values: &mut [f32], step: usize, n: usize) -> [&mut [f32]; N] {
    std::array::from_fn(|i| {
        let all = std::mem::take(&mut values);
        let (line, rest) = all.split_at_mut(if i + 1 < N { step } else { n });
        values = rest;
        &mut line[..n]
    })
}

multiversion! {
    /// `G g Gᵀ` of up to [`NR`] kernels, into a line for each place, `step` apart.
    fn transform_some(kernels: &[f32], out: &mut [f32], step: usize) = transform_some_body
}
#[inline(always)]
fn transform_some_body<const FMA: bool>(kernels: &[f32], out: &mut [f32], step: usize) {
    let mut lanes = [[0.0_f32; NR]; 9];
    let (kernels, _) = kernels.as_chunks::<9>();
    for (lane, kernel) in kernels.iter().enumerate().take(NR) {
        for (lanes, tap) in lanes.iter_mut().zip(kernel) {
            lanes[lane] = *tap;
        }
    }
    let mut half = [[[0.0_f32; NR]; 3]; IN];
    for col in 0..3 {
        for lane in 0..NR {
            let made = g::<FMA>([lanes[col][lane], lanes[3 + col][lane], lanes[6 + col][lane]]);
            for row in 0..IN {
                half[row][col][lane] = made[row];
            }
        }
    }
    for (row, half) in half.iter().enumerate() {
        let mut lines = [[0.0_f32; NR]; IN];
        for lane in 0..NR {
            let made = g::<FMA>([half[0][lane], half[1][lane], half[2][lane]]);
            for col in 0..IN {
                lines[col][lane] = made[col];
            }
        }
        for (col, line) in lines.iter().enumerate() {
            out[(row * IN + col) * step..][..NR].copy_from_slice(line);
        }
    }
}

/// The sums over channels and what becomes of them, for a group of chunks.
struct Product<'a> {
    cut: &'a Cut<'a>,
    tiles: &'a [f32],
    weight: Weights<'a>,
    bias: &'a [f32],
    plus: Plus<'a>,
    out: Shared,
}

impl Product<'_> {
    fn run(&self, chunks: Range<usize>) {
        let (cut, s) = (self.cut, self.cut.s);
        let each = even(s.outputs, OUTPUTS);
        let tasks = s.outputs.div_ceil(each);
        (0..chunks.len() * tasks).into_par_iter().for_each(|task| {
            let (chunk, from) = (task % chunks.len(), task / chunks.len() * each);
            let outputs = from..s.outputs.min(from + each);
            let mut sums = Scratch::new(PLACES * outputs.len() * cut.lanes);
            self.multiply(chunk, outputs.clone(), &mut sums);
            let mut work = Scratch::new(IN * OUT * cut.lanes);
            let step = outputs.len() * cut.lanes;
            for (i, o) in outputs.enumerate() {
                let from = &sums[i * cut.lanes..];
                self.finish(from, step, &mut work, chunks.start + chunk, o);
            }
        });
    }

    /// The sums of some outputs over a chunk's tiles, `[place][output][lane]`.
    fn multiply(&self, chunk: usize, outputs: Range<usize>, sums: &mut [f32]) {
        let (cut, channels) = (self.cut, self.cut.s.channels);
        let tiles = &self.tiles[chunk * cut.size()..][..cut.size()];
        let depth = even(channels, DEPTH);
        let pitch = depth.next_multiple_of(NR) + NR;
        let mut kernels = Scratch::new(outputs.len() * PLACES * pitch);
        let mut room = Scratch::new(self.weight.room(depth * 9));
        for first in (0..channels).step_by(depth) {
            let depth = depth.min(channels - first);
            for (i, o) in outputs.clone().enumerate() {
                let at = (o * channels + first) * 9;
                let from = self.weight.get(at, depth * 9, &mut room);
                let to = &mut kernels[i * PLACES * pitch..][..PLACES * pitch];
                for (i, some) in from.chunks(9 * NR).enumerate() {
                    transform_some(some, &mut to[i * NR..], pitch);
                }
            }
            let places = tiles.chunks_exact(cut.lanes * channels);
            let sums = sums.chunks_exact_mut(outputs.len() * cut.lanes);
            for (i, (tiles, sums)) in places.zip(sums).enumerate() {
                let block = Block {
                    kernels: Strided::rows(&kernels[i * pitch..], PLACES * pitch),
                    tiles: &tiles[first * NR..],
                    panel: channels * NR,
                    depth,
                    onto: first > 0,
                };
                block.multiply(sums, cut.lanes);
            }
        }
    }

    /// `Aᵀ M A` of one output's sums over a chunk, plus the bias, into the picture.
    fn finish(&self, sums: &[f32], step: usize, work: &mut [f32], chunk: usize, output: usize) {
        let (cut, s) = (self.cut, self.cut.s);
        let [h, w] = s.out();
        // Rows first: four for each of the six columns.
        for col in 0..IN {
            let places = std::array::from_fn(|row| &sums[(row * IN + col) * step..][..cut.lanes]);
            fold_rows(places, &mut work[col * cut.lanes..], IN * cut.lanes);
        }
        for (i, image, down) in cut.rows_of(chunk) {
            let plane = image * s.outputs + output;
            for row in 0..OUT.min(h - down * OUT) {
                let lines = std::array::from_fn(|col| {
                    &work[(row * IN + col) * cut.lanes + i * cut.across..][..cut.across]
                });
                let at = (plane * h + down * OUT + row) * w;
                // SAFETY: this task alone writes this row of this output.
                let to = unsafe { std::slice::from_raw_parts_mut(self.out.at(at), w) };
                fold_columns(lines, self.bias[output], to);
                self.plus.add(plane, at, to);
            }
        }
    }
}

/// Some channels' part of the sums of one place.
struct Block<'a> {
    /// `[output][channel]`.
    kernels: Strided,
    /// `[panel][channel][NR]`, `panel` apart.
    tiles: &'a [f32],
    panel: usize,
    /// Channels.
    depth: usize,
    /// Whether there are sums of other channels already.
    onto: bool,
}

impl Block<'_> {
    /// Into `sums [output][lane]`.
    fn multiply(&self, sums: &mut [f32], lanes: usize) {
        let rows = sums.len() / lanes;
        // Two panels at a time, and one where it is the last.
        for (p, panels) in self.tiles.chunks(2 * self.panel).enumerate() {
            for (row, len) in row_runs(rows) {
                let c = sums[row * lanes + p * 2 * NR..].as_mut_ptr();
                let mut a = self.kernels;
                a.start = a.start.wrapping_add(row * a.row);
                let tile = Tile {
                    rows: len,
                    depth: self.depth,
                    word: Word::Single,
                    a,
                    b: panels.as_ptr(),
                    c,
                    c_row: lanes,
                    start: match self.onto {
                        false => Start::zero(),
                        true => Start::Tile(c, lanes),
                    },
                    beside: (panels.len() > self.panel).then_some(Beside {
                        b: self.panel,
                        c: NR,
                        start: NR,
                    }),
                };
                // SAFETY: the rows, the panel and the sums hold what the tile reaches.
                unsafe { tile.run() };
            }
        }
    }
}

multiversion! {
    /// `Aᵀ` over six lines, lane by lane, into four lines `step` apart.
    fn fold_rows(places: [&[f32]; IN], out: &mut [f32], step: usize) = fold_rows_body
}
#[inline(always)]
#[expect(
    clippy::needless_range_loop,
    reason = "lines are read and written at one place"
)]
fn fold_rows_body<const FMA: bool>(places: [&[f32]; IN], out: &mut [f32], step: usize) {
    let n = places[0].len();
    let places = places.map(|place| &place[..n]);
    let out = split::<OUT>(out, step, n);
    for lane in 0..n {
        let made = at::<FMA>(each(&places, lane));
        for r in 0..OUT {
            out[r][lane] = made[r];
        }
    }
}

multiversion! {
    /// `Aᵀ` over six lines, tile by tile, plus `bias`: a row of pixels, cut where the picture ends.
    fn fold_columns(lines: [&[f32]; IN], bias: f32, row: &mut [f32]) = fold_columns_body
}
#[inline(always)]
fn fold_columns_body<const FMA: bool>(lines: [&[f32]; IN], bias: f32, row: &mut [f32]) {
    let (whole, rest) = row.as_chunks_mut::<OUT>();
    let lines = lines.map(|line| &line[..whole.len() + usize::from(!rest.is_empty())]);
    for (t, quad) in whole.iter_mut().enumerate() {
        let [a, b, c, d] = at::<FMA>(each(&lines, t));
        *quad = [a + bias, b + bias, c + bias, d + bias];
    }
    if !rest.is_empty() {
        let last = at::<FMA>(each(&lines, whole.len())).map(|y| y + bias);
        rest.copy_from_slice(&last[..rest.len()]);
    }
}

#[cfg(test)]
mod tests {
    use super::super::conv::direct;
    use super::*;
    use crate::Padding;

    /// Of the largest number of the result: what sums of a few hundred products lose.
    const TOLERANCE: f32 = 1e-5;

    fn numbers(n: usize, seed: u32) -> Vec<f32> {
        let mut state = seed.wrapping_mul(0x9e37_79b9) | 1;
        let mut next = || {
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            state as f32 / u32::MAX as f32 - 0.5
        };
        (0..n).map(|_| next()).collect()
    }

    fn sizes(images: usize, [channels, outputs]: [usize; 2], [height, width]: [usize; 2]) -> Sizes {
        Sizes {
            images,
            channels,
            height,
            width,
            outputs,
            kernel: [3, 3],
            stride: 1,
            padding: Padding::same(1),
        }
    }

    /// The largest difference from the definition, of its largest number.
    fn error(s: Sizes) -> f32 {
        let x = numbers(s.images * s.channels * s.height * s.width, 1);
        let weight = numbers(s.outputs * s.channels * 9, 2);
        let bias = numbers(s.outputs, 3);
        let (got, want) = (
            forward(
                Picture::Whole(&x),
                Weights::F32(&weight),
                &bias,
                s,
                Plus::Nothing,
            ),
            direct(&x, Weights::F32(&weight), &bias, s),
        );
        let most = want.iter().fold(0.0_f32, |most, y| most.max(y.abs()));
        let errors = got.iter().zip(&want).map(|(a, b)| (a - b).abs());
        errors.fold(0.0, f32::max) / most
    }

    #[test]
    fn any_size_agrees_with_the_definition() {
        let wide = Padding {
            top: 0,
            left: 2,
            bottom: 1,
            right: 0,
        };
        let cases = [
            sizes(1, [32, 32], [16, 16]),
            sizes(2, [33, 37], [17, 19]),
            sizes(3, [130, 50], [9, 30]),
            sizes(1, [300, 97], [64, 5]),
            sizes(5, [1, 1], [4, 4]),
            sizes(1, [40, 40], [1, 200]),
            sizes(2, [17, 200], [50, 70]),
            Sizes {
                padding: wide,
                ..sizes(2, [34, 35], [22, 21])
            },
        ];
        for s in cases {
            assert!(error(s) <= TOLERANCE, "{s:?}: {}", error(s));
        }
    }

    #[test]
    fn more_tiles_than_are_held_at_once_are_right() {
        let s = sizes(1, [64, 3], [260, 300]);
        assert!(Cut::new(&s).chunks * Cut::new(&s).size() > HELD);
        assert!(error(s) <= TOLERANCE, "{}", error(s));
    }

    #[test]
    fn what_is_no_number_taints_what_reads_it() {
        let s = sizes(1, [32, 32], [16, 16]);
        let mut x = numbers(32 * 16 * 16, 1);
        (x[5 * 16 + 7], x[300]) = (f32::NAN, f32::INFINITY);
        let (weight, bias) = (numbers(32 * 32 * 9, 2), vec![0.0; 32]);
        let (got, want) = (
            forward(
                Picture::Whole(&x),
                Weights::F32(&weight),
                &bias,
                s,
                Plus::Nothing,
            ),
            direct(&x, Weights::F32(&weight), &bias, s),
        );
        for (got, want) in got.iter().zip(&want) {
            assert!(want.is_finite() || !got.is_finite());
        }
        // A tile reads no further than itself: the last rows see neither.
        assert!(got[12 * 16..16 * 16].iter().all(|y| y.is_finite()));
    }
}
