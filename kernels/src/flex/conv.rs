//! Convolution and its gradients: the ways there are, and products that read the picture in place.
//!
//! A 3×3 kernel that moves by one pixel goes to `winograd`. For the others
//! the right side of the product is never written out: its element for tap `k` and pixel `j`
//! is `source[tap[k] + pixel(j)]`, where `source` is the picture with its zero border. The
//! gradient of the input is the same product over the gradient of the output, once for each
//! phase of the stride; that of the weight is a product of rows along the pixels.
//!
//! Promises
//! - Any stride, padding and kernel size; pictures of a few pixels share tiles across the batch.
//! - Tasks and the order of their sums follow from the sizes alone, never from the threads.
//!
//! Not here: dilation and groups, which no network of ours has.

mod weight;

pub(crate) use weight::weight_gradient;

use std::ops::{Deref, Range};

use rayon::prelude::*;

use super::gemm::{Beside, KC, MOST_ROWS, NR, Start, Strided, Tile, Word, even, row_runs};
use super::memory::{Scratch, Shared, filled};
use super::weights::Weights;
use super::{pairs, simd, winograd};
use crate::Padding;

/// Pixels that one task computes.
const TASK: usize = 128;
/// Rows of outputs up to which the picture is read in place: too few to pay for packing it.
const FEW: usize = 12;
/// Tasks wanted at least: enough for the cores of a desktop to share evenly.
const TASKS: usize = 8;
/// Rows of the weight that stay in the second cache while panels pass.
const HIGH: usize = 192;

/// The sizes of one convolution.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sizes {
    pub(crate) images: usize,
    pub(crate) channels: usize,
    pub(crate) height: usize,
    pub(crate) width: usize,
    pub(crate) outputs: usize,
    pub(crate) kernel: [usize; 2],
    pub(crate) stride: usize,
    pub(crate) padding: Padding,
}

impl Sizes {
    /// Height and width of the output.
    pub(crate) fn out(&self) -> [usize; 2] {
        let [h, w] = self.bordered();
        let along = |size: usize, kernel: usize| (size - kernel) / self.stride + 1;
        [along(h, self.kernel[0]), along(w, self.kernel[1])]
    }

    /// The convolution by the turned kernels that takes the gradient of the output to that of
    /// the input, where the stride is 1 and no border is wider than a kernel reaches.
    fn turned(&self) -> Option<Self> {
        let [kh, kw] = self.kernel;
        let [height, width] = self.out();
        let Padding {
            top,
            left,
            bottom,
            right,
        } = self.padding;
        let padding = Padding {
            top: (kh - 1).checked_sub(top)?,
            left: (kw - 1).checked_sub(left)?,
            bottom: (kh - 1).checked_sub(bottom)?,
            right: (kw - 1).checked_sub(right)?,
        };
        (self.stride == 1).then_some(Self {
            channels: self.outputs,
            outputs: self.channels,
            height,
            width,
            padding,
            ..*self
        })
    }

    /// Height and width with the border.
    fn bordered(&self) -> [usize; 2] {
        let Padding {
            top,
            left,
            bottom,
            right,
        } = self.padding;
        [self.height + top + bottom, self.width + left + right]
    }

    /// Products that add up to one output.
    fn depth(&self) -> usize {
        self.channels * self.kernel[0] * self.kernel[1]
    }

    fn pixels(&self) -> usize {
        let [h, w] = self.out();
        h * w
    }

    /// Where each tap reads, relative to the first.
    fn taps(&self) -> Vec<usize> {
        let [h, w] = self.bordered();
        let [kh, kw] = self.kernel;
        let tap = |k: usize| k / (kh * kw) * h * w + k / kw % kh * w + k % kw;
        (0..self.depth()).map(tap).collect()
    }

    /// Where each output pixel reads in the bordered picture and stands in the output.
    fn grid(&self) -> Grid {
        let [h, w] = self.bordered();
        let [rows, cols] = self.out();
        let from = Steps {
            image: self.channels * h * w,
            row: self.stride * w,
            col: self.stride,
        };
        let to = Steps {
            image: self.outputs * rows * cols,
            row: cols,
            col: 1,
        };
        Grid {
            images: self.images,
            rows,
            cols,
            from,
            to,
            first: [0; 2],
        }
        .merged()
    }

    fn with_border<'a>(&self, x: &'a [f32]) -> Source<'a> {
        let Padding { top, left, .. } = self.padding;
        bordered(x, [self.height, self.width], self.bordered(), [top, left])
    }
}

/// How far apart neighbours are in memory.
#[derive(Clone, Copy)]
struct Steps {
    image: usize,
    row: usize,
    col: usize,
}

impl Steps {
    fn at(&self, [image, row, col]: [usize; 3]) -> usize {
        image * self.image + row * self.row + col * self.col
    }
}

/// The pixels of a product: where each reads (relative to a tap) and writes.
#[derive(Clone, Copy)]
struct Grid {
    images: usize,
    rows: usize,
    cols: usize,
    from: Steps,
    to: Steps,
    /// What is added to every place read and written.
    first: [usize; 2],
}

impl Grid {
    fn len(&self) -> usize {
        self.images * self.rows * self.cols
    }

    /// One long row where rows follow each other without a gap on both sides.
    fn merged(mut self) -> Self {
        let dense = |s: Steps| s.row == self.cols * s.col;
        if dense(self.from) && dense(self.to) {
            (self.rows, self.cols) = (1, self.rows * self.cols);
        }
        self
    }

    /// Where pixel `j` reads and writes.
    fn place(&self, j: usize) -> [usize; 2] {
        let row = j / self.cols;
        let at = [row / self.rows, row % self.rows, j % self.cols];
        [
            self.first[0] + self.from.at(at),
            self.first[1] + self.to.at(at),
        ]
    }
}

impl Grid {
    /// Where the pixels from `j` on read and write; beyond `width` they repeat the first.
    fn places(&self, j: usize, width: usize) -> [[usize; NR]; 2] {
        let row = j / self.cols;
        let mut at = [row / self.rows, row % self.rows, j % self.cols];
        let mut places = [[0; NR]; 2];
        for i in 0..NR {
            let here = [
                self.first[0] + self.from.at(at),
                self.first[1] + self.to.at(at),
            ];
            for (places, here) in places.iter_mut().zip(here) {
                places[i] = if i < width { here } else { places[0] };
            }
            at[2] += 1;
            if at[2] == self.cols {
                at = [at[0], at[1] + 1, 0];
            }
            if at[1] == self.rows {
                at = [at[0] + 1, 0, 0];
            }
        }
        places
    }
}

/// Pictures with their border: copied where there is one.
enum Source<'a> {
    Borrowed(&'a [f32]),
    Copied(Scratch),
}

impl Deref for Source<'_> {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        match self {
            Self::Borrowed(values) => values,
            Self::Copied(values) => values,
        }
    }
}

/// Planes of `size` laid into planes of `outer` at `corner`, zeros around.
fn bordered<'a>(
    x: &'a [f32],
    [h, w]: [usize; 2],
    outer: [usize; 2],
    [top, left]: [usize; 2],
) -> Source<'a> {
    if outer == [h, w] {
        return Source::Borrowed(x);
    }
    let plane = outer[0] * outer[1];
    let mut out = Scratch::new(x.len() / (h * w) * plane);
    out.par_chunks_exact_mut(plane)
        .zip(x.par_chunks_exact(h * w))
        .with_min_len(4)
        .for_each(|(out, x)| {
            out[..top * outer[1]].fill(0.0);
            let (body, below) = out[top * outer[1]..].split_at_mut(h * outer[1]);
            for (line, x) in body.chunks_exact_mut(outer[1]).zip(x.chunks_exact(w)) {
                line[..left].fill(0.0);
                line[left..left + w].copy_from_slice(x);
                line[left + w..].fill(0.0);
            }
            below.fill(0.0);
        });
    Source::Copied(out)
}

/// What is added to a result `[b, o, oh, ow]`.
#[derive(Clone, Copy)]
pub(crate) enum Plus<'a> {
    Nothing,
    /// As large as the result.
    Picture(&'a [f32]),
    /// `[b, o]`: to all pixels alike.
    Channels(&'a [f32]),
}

impl Plus<'_> {
    /// Adds it to some numbers of plane `plane`, from `at` of the whole result on.
    #[inline]
    pub(super) fn add(self, plane: usize, at: usize, to: &mut [f32]) {
        match self {
            Self::Nothing => {}
            Self::Picture(all) => simd::add(&all[at..at + to.len()], to),
            Self::Channels(all) => to.iter_mut().for_each(|y| *y += all[plane]),
        }
    }
}

/// `x [b, c, h, w] ∗ weight [o, c, kh, kw] + bias [o]`, and then `plus` → `[b, o, oh, ow]`.
pub(crate) fn forward(
    x: &[f32],
    weight: Weights<'_>,
    bias: &[f32],
    s: Sizes,
    plus: Plus<'_>,
) -> Vec<f32> {
    if winograd::suits(&s) {
        return winograd::forward(winograd::Picture::Whole(x), weight, bias, s, plus);
    }
    let mut y = direct(x, weight, bias, s);
    if !matches!(plus, Plus::Nothing) {
        let pixels = s.pixels().max(1);
        let planes = y.par_chunks_exact_mut(pixels).enumerate();
        planes.for_each(|(i, plane)| plus.add(i, i * pixels, plane));
    }
    y
}

/// [`forward`] of a picture of half this height and width with each pixel made two by two.
pub(crate) fn doubled(x: &[f32], weight: Weights<'_>, bias: &[f32], s: Sizes) -> Vec<f32> {
    if winograd::suits(&s) {
        let x = winograd::Picture::Half(x);
        return winograd::forward(x, weight, bias, s, Plus::Nothing);
    }
    let (width, small) = (s.width.max(1), (s.width / 2).max(1));
    let whole = filled(4 * x.len(), |whole| {
        whole
            .par_chunks_exact_mut(2 * width)
            .zip(x.par_chunks_exact(small))
            .for_each(|(two, row)| {
                let (first, second) = two.split_at_mut(width);
                double(row, first);
                second.copy_from_slice(first);
            });
    });
    forward(&whole, weight, bias, s, Plus::Nothing)
}

/// Each number twice.
pub(super) fn double(row: &[f32], out: &mut [f32]) {
    for (two, x) in out.as_chunks_mut::<2>().0.iter_mut().zip(row) {
        *two = [*x; 2];
    }
}

/// [`forward`] as the definition has it.
pub(super) fn direct(x: &[f32], weight: Weights<'_>, bias: &[f32], s: Sizes) -> Vec<f32> {
    filled(s.images * s.outputs * s.pixels(), |y| {
        Implicit {
            rows: s.outputs,
            weight,
            bias,
            taps: &s.taps(),
            source: &s.with_border(x),
            grid: s.grid(),
            out: Shared::new(y),
            out_row: s.pixels(),
        }
        .run();
    })
}

/// The gradient of the input from that of the output.
pub(crate) fn input_gradient(dy: &[f32], weight: &[f32], s: Sizes) -> Vec<f32> {
    match s.turned() {
        Some(turned) if winograd::suits(&turned) => {
            let weight = turn_kernels(weight, &s);
            let weight = Weights::F32(&weight);
            let dy = winograd::Picture::Whole(dy);
            winograd::forward(dy, weight, &vec![0.0; s.channels], turned, Plus::Nothing)
        }
        _ => input_gradient_by_phase(dy, weight, s),
    }
}

/// Each kernel turned by half a turn, outputs and channels swapped.
fn turn_kernels(weight: &[f32], s: &Sizes) -> Scratch {
    let area = s.kernel[0] * s.kernel[1];
    let mut turned = Scratch::new(weight.len());
    turned
        .par_chunks_exact_mut((s.outputs * area).max(1))
        .enumerate()
        .for_each(|(c, turned)| {
            for (o, turned) in turned.chunks_exact_mut(area).enumerate() {
                let kernel = &weight[(o * s.channels + c) * area..][..area];
                for (to, tap) in turned.iter_mut().zip(kernel.iter().rev()) {
                    *to = *tap;
                }
            }
        });
    turned
}

fn input_gradient_by_phase(dy: &[f32], weight: &[f32], s: Sizes) -> Vec<f32> {
    let [oh, ow] = s.out();
    let (kernel, stride) = (s.kernel, s.stride);
    // A pixel reads output rows from `before` above its own quotient by the stride.
    let before = kernel.map(|k| (k - 1) / stride);
    let quotients = [
        (s.height - 1 + s.padding.top) / stride + 1,
        (s.width - 1 + s.padding.left) / stride + 1,
    ];
    let size = [
        before[0] + quotients[0].max(oh),
        before[1] + quotients[1].max(ow),
    ];
    let source = bordered(dy, [oh, ow], size, before);
    filled(s.images * s.channels * s.height * s.width, |dx| {
        let out = Shared::new(dx);
        for phase in 0..stride * stride {
            let phase = Phase::new(&s, [phase / stride, phase % stride], size, before);
            phase.run(&s, weight, &source, out);
        }
    })
}

/// The input pixels that share a remainder by the stride, and the taps that reach them.
struct Phase {
    /// Index within the kernel and place read, of each tap.
    taps: Vec<(usize, usize)>,
    plane: usize,
    grid: Grid,
}

impl Phase {
    fn new(s: &Sizes, phase: [usize; 2], size: [usize; 2], before: [usize; 2]) -> Self {
        let [kh, kw] = s.kernel;
        let along = |r: usize, k: usize| (r..k).step_by(s.stride);
        let mut taps = Vec::new();
        for y in along(phase[0], kh) {
            for x in along(phase[1], kw) {
                let up = before[0] - (y - phase[0]) / s.stride;
                let to_left = before[1] - (x - phase[1]) / s.stride;
                taps.push((y * kw + x, up * size[1] + to_left));
            }
        }
        // The first pixel of this phase along each side, its quotient, and how many follow.
        let start = |pad: usize, r: usize, n: usize| {
            let first = (r + s.stride - pad % s.stride) % s.stride;
            (first, (first + pad - r) / s.stride, n.saturating_sub(first))
        };
        let (y, from_y, high) = start(s.padding.top, phase[0], s.height);
        let (x, from_x, wide) = start(s.padding.left, phase[1], s.width);
        let plane = size[0] * size[1];
        let grid = Grid {
            images: s.images,
            rows: high.div_ceil(s.stride),
            cols: wide.div_ceil(s.stride),
            from: Steps {
                image: s.outputs * plane,
                row: size[1],
                col: 1,
            },
            to: Steps {
                image: s.channels * s.height * s.width,
                row: s.stride * s.width,
                col: s.stride,
            },
            first: [from_y * size[1] + from_x, y * s.width + x],
        };
        Self {
            taps,
            plane,
            grid: grid.merged(),
        }
    }

    fn run(&self, s: &Sizes, weight: &[f32], source: &[f32], out: Shared) {
        let area = s.kernel[0] * s.kernel[1];
        let depth = s.outputs * self.taps.len();
        let turned = self.turn(weight, area, s.channels, depth);
        let reach = |o: usize| self.taps.iter().map(move |(_, at)| o * self.plane + at);
        let taps: Vec<usize> = (0..s.outputs).flat_map(reach).collect();
        Implicit {
            rows: s.channels,
            weight: Weights::F32(&turned),
            bias: &vec![0.0; s.channels],
            taps: &taps,
            source,
            grid: self.grid,
            out,
            out_row: s.height * s.width,
        }
        .run();
    }

    /// The taps of this phase as `[c, o · taps]`.
    fn turn(&self, weight: &[f32], area: usize, channels: usize, depth: usize) -> Scratch {
        let mut turned = Scratch::new(channels * depth);
        if depth == 0 {
            return turned;
        }
        turned
            .par_chunks_exact_mut(depth)
            .enumerate()
            .with_min_len(8)
            .for_each(|(c, row)| {
                for (o, row) in row.chunks_exact_mut(self.taps.len()).enumerate() {
                    let kernel = &weight[(o * channels + c) * area..][..area];
                    for (to, (tap, _)) in row.iter_mut().zip(&self.taps) {
                        *to = kernel[*tap];
                    }
                }
            });
        turned
    }
}

/// `out[i][j] = bias[i] + Σ_k weight[i][k] · source[taps[k] + pixel(j)]`.
struct Implicit<'a> {
    rows: usize,
    weight: Weights<'a>,
    bias: &'a [f32],
    taps: &'a [usize],
    source: &'a [f32],
    grid: Grid,
    out: Shared,
    /// From a row of outputs (a channel) to the next.
    out_row: usize,
}

/// Sixteen pixels: where each reads and writes.
struct Panel {
    from: [usize; NR],
    to: [usize; NR],
    /// Pixels that exist; the rest repeat the first.
    width: usize,
    /// Neighbours read together: 16, 8, 4 or 1.
    run: usize,
    /// Whether all sixteen are written together.
    whole: bool,
}

impl Implicit<'_> {
    fn run(&self) {
        let pixel_tasks = self.grid.len().div_ceil(TASK);
        let row_tasks = match pixel_tasks {
            0 => return,
            n => TASKS.div_ceil(n).min(self.rows.div_ceil(MOST_ROWS)).max(1),
        };
        let rows = self.rows.div_ceil(row_tasks).next_multiple_of(MOST_ROWS);
        (0..pixel_tasks * row_tasks)
            .into_par_iter()
            .for_each(|task| {
                let from = task % row_tasks * rows;
                let rows = from..self.rows.min(from + rows);
                if !rows.is_empty() {
                    self.task(task / row_tasks * TASK, rows);
                }
            });
    }

    fn task(&self, first: usize, rows: Range<usize>) {
        let last = self.grid.len().min(first + TASK);
        let panels: Vec<Panel> = (first..last)
            .step_by(NR)
            .map(|j| self.panel(j, last))
            .collect();
        let all = self.taps.len();
        let word = self.word();
        // Where no tap reaches, as between the steps of a 1×1 kernel, the bias is still written.
        let block = match word {
            Word::Single => even(all, KC).max(1),
            Word::Pair => even(all, 2 * KC).next_multiple_of(2).max(2),
        };
        let mut packed = Scratch::new(word.count(block) * panels.len() * NR);
        let high = even(rows.len(), HIGH).next_multiple_of(MOST_ROWS);
        let mut room = Scratch::new(high * spaced(word.count(block)));
        let mut done = 0;
        loop {
            let taps = &self.taps[done..all.min(done + block)];
            let lines = packed.chunks_exact_mut((word.count(taps.len()) * NR).max(1));
            let rights: Vec<Right> = panels
                .iter()
                .zip(lines)
                .map(|(panel, lines)| panel.right(rows.len(), word, lines, taps, self.source))
                .collect();
            for top in rows.clone().step_by(high) {
                let some = top..rows.end.min(top + high);
                let left = self.left(some.clone(), done..done + taps.len(), word, &mut room);
                let mut at = 0;
                while at < panels.len() {
                    let beside = beside(&panels[at..], &rights[at..]);
                    for (from, len) in row_runs(some.len()) {
                        let (panel, right) = (&panels[at], (&rights[at], beside));
                        self.tile(panel, right, left.below(from), top + from, len, done);
                    }
                    at += 1 + usize::from(beside.is_some());
                }
            }
            done += block;
            if done >= all {
                break;
            }
        }
    }

    /// What words the sums are made of: outputs too few to pack for are read in place.
    fn word(&self) -> Word {
        match self.weight.as_pairs() {
            Some(_) if self.rows > FEW => Word::Pair,
            _ => Word::Single,
        }
    }

    /// Some rows of the weight, of the taps `taps`: where they lie, or as `word`s in `room`, where
    /// they are widened or only lie better.
    fn left(
        &self,
        rows: Range<usize>,
        taps: Range<usize>,
        word: Word,
        room: &mut [f32],
    ) -> Strided {
        let (all, n) = (self.taps.len(), taps.len());
        let width = spaced(word.count(n));
        let copies = rows.clone().zip(room.chunks_exact_mut(width));
        match (word, self.weight) {
            (Word::Single, Weights::F32(weight)) if !crowded(all) => {
                let mut left = Strided::rows(&weight[rows.start * all..rows.end * all], all);
                left.start = left.start.wrapping_add(taps.start);
                return left;
            }
            (Word::Pair, Weights::Bf16(weight)) => copies.for_each(|(row, room)| {
                pairs::copy(&weight[row * all + taps.start..][..n], room);
            }),
            (_, Weights::F32(weight)) => copies.for_each(|(row, room)| {
                room[..n].copy_from_slice(&weight[row * all + taps.start..][..n]);
            }),
            (_, weight) => copies.for_each(|(row, room)| {
                weight.get(row * all + taps.start, n, room);
            }),
        }
        Strided::rows(&room[..rows.len() * width], width)
    }

    fn panel(&self, j: usize, last: usize) -> Panel {
        let width = NR.min(last - j);
        let [from, to] = self.grid.places(j, width);
        let together = |at: &[usize], run: usize| {
            at.chunks(run)
                .all(|c| c.iter().enumerate().all(|(i, at)| *at == c[0] + i))
        };
        let run = [16, 8, 4]
            .into_iter()
            .find(|run| together(&from, *run))
            .unwrap_or(1);
        Panel {
            from,
            to,
            width,
            run,
            whole: width == NR && together(&to, NR),
        }
    }

    /// Adds the products of the taps of `right`, which `done` come before, to `len` rows of a
    /// panel and what is beside it, those from `row` on; `a` is what the weight has for them.
    fn tile(
        &self,
        p: &Panel,
        (right, beside): (&Right, Option<Beside>),
        a: Strided,
        row: usize,
        len: usize,
        done: usize,
    ) {
        let out = |j: usize| self.out.at(row * self.out_row + p.to[j]);
        let mut buffer = [0.0_f32; MOST_ROWS * NR];
        let (c, c_row) = match p.whole {
            true => (out(0), self.out_row),
            false => (buffer.as_mut_ptr(), NR),
        };
        let start = match done {
            0 => Start::Column(self.bias[row..row + len].as_ptr()),
            _ => Start::Tile(c, c_row),
        };
        let each = |copy: &dyn Fn(*mut f32, *mut f32)| {
            for at in (0..len * p.width).filter(|_| !p.whole) {
                let (i, j) = (at / p.width, at % p.width);
                copy(
                    out(j).wrapping_add(i * self.out_row),
                    c.wrapping_add(i * NR + j),
                );
            }
        };
        // SAFETY: pixels of a panel are in the output, this task alone writes those of these
        // rows; the right side holds what the taps read, the weight `len` rows of all taps.
        unsafe {
            if done > 0 {
                each(&|out, tile| *tile = *out);
            }
            let tile = Tile {
                rows: len,
                depth: right.words(),
                word: right.word,
                a,
                b: right.start,
                c,
                c_row,
                start,
                beside,
            };
            match right.packed {
                true => tile.run(),
                false => tile.run_over(right.taps),
            }
            each(&|out, tile| *out = *tile);
        }
    }
}

/// The second of these panels, where it is packed and written right behind the first.
fn beside(panels: &[Panel], rights: &[Right]) -> Option<Beside> {
    let ([one, two, ..], [first, second, ..]) = (panels, rights) else {
        return None;
    };
    let follows = one.whole && two.whole && two.to[0] == one.to[0] + NR;
    (follows && first.packed && second.packed).then(|| Beside {
        b: first.words() * NR,
        c: NR,
        start: NR,
    })
}

/// Whether rows of `n` numbers would push each other from the first cache: whether all begin in a
/// few of its sets.
fn crowded(n: usize) -> bool {
    n.is_multiple_of(256)
}

/// A step between rows of `n` numbers that spreads them: an odd number of its lines.
fn spaced(n: usize) -> usize {
    (n.div_ceil(16) | 1) * 16
}

/// What some taps read for the pixels of a panel: packed, or in place at `start + tap`.
struct Right<'a> {
    start: *const f32,
    taps: &'a [usize],
    word: Word,
    packed: bool,
}

impl Right<'_> {
    /// How many words deep it is.
    fn words(&self) -> usize {
        self.word.count(self.taps.len())
    }
}

impl Panel {
    /// What the taps read, packed into `lines` if `rows` of outputs make up for it.
    fn right<'a>(
        &self,
        rows: usize,
        word: Word,
        lines: &mut [f32],
        taps: &'a [usize],
        source: &[f32],
    ) -> Right<'a> {
        let packed = rows > FEW || self.run < NR || word == Word::Pair;
        let start = match (packed, word) {
            (true, Word::Single) => {
                self.pack(lines, taps, source);
                lines.as_ptr()
            }
            (true, Word::Pair) => {
                self.pack_pairs(lines, taps, source);
                lines.as_ptr()
            }
            (false, _) => {
                self.check::<NR>(taps, source);
                source[self.from[0]..].as_ptr()
            }
        };
        Right {
            start,
            taps,
            word,
            packed,
        }
    }

    /// [`Panel::pack`] into words of two taps each.
    fn pack_pairs(&self, out: &mut [f32], taps: &[usize], source: &[f32]) {
        /// Taps that are packed before they are joined.
        const TAPS: usize = 32;
        let mut lines = [0.0; TAPS * NR];
        for (taps, out) in taps.chunks(TAPS).zip(out.chunks_mut(TAPS / 2 * NR)) {
            let lines = &mut lines[..taps.len() * NR];
            self.pack(lines, taps, source);
            pairs::join_lines(lines, NR, out);
        }
    }

    /// Writes what the taps read, sixteen pixels a line.
    fn pack(&self, out: &mut [f32], taps: &[usize], source: &[f32]) {
        match self.run {
            16 => self.pack_runs::<16>(out, taps, source),
            8 => self.pack_runs::<8>(out, taps, source),
            4 => self.pack_runs::<4>(out, taps, source),
            _ => self.pack_runs::<1>(out, taps, source),
        }
    }

    /// Panics where a tap would read beyond the bordered picture.
    fn check<const RUN: usize>(&self, taps: &[usize], source: &[f32]) {
        let furthest = taps.iter().max().copied().unwrap_or(0)
            + self.from.iter().step_by(RUN).max().copied().unwrap_or(0);
        assert!(
            furthest + RUN <= source.len(),
            "a tap reads within the bordered picture"
        );
    }

    fn pack_runs<const RUN: usize>(&self, out: &mut [f32], taps: &[usize], source: &[f32]) {
        self.check::<RUN>(taps, source);
        let from = &self.from;
        for (line, tap) in out.chunks_exact_mut(NR).zip(taps) {
            for (to, from) in line.chunks_exact_mut(RUN).zip(from.iter().step_by(RUN)) {
                // SAFETY: no tap and no pixel reads further than what was just checked.
                unsafe {
                    let from = source.as_ptr().add(tap + from);
                    std::ptr::copy_nonoverlapping(from, to.as_mut_ptr(), RUN);
                }
            }
        }
    }
}

/// The gradient of the bias: the sum of that of the output over pictures and pixels.
pub(crate) fn bias_gradient(dy: &[f32], s: Sizes) -> Vec<f32> {
    let pixels = s.pixels();
    let of = |o: usize| {
        let planes = (0..s.images).map(|i| &dy[(i * s.outputs + o) * pixels..][..pixels]);
        planes.map(simd::sum).sum::<f64>() as f32
    };
    (0..s.outputs).into_par_iter().map(of).collect()
}
