//! Convolution and its gradients: the ways there are.
//!
//! A 3×3 kernel that moves by one pixel goes to `winograd`, the others to `implicit`, which reads
//! the picture with its zero border in place. The gradient of the input is the same product over
//! the gradient of the output, once for each phase of the stride; that of the weight (`weight`) is
//! a product of rows along the pixels.
//!
//! Promises
//! - Any stride, padding and kernel size; pictures of a few pixels share tiles across the batch.
//! - Tasks and the order of their sums follow from the sizes alone, never from the threads.
//!
//! Not here: dilation and groups, which no network of ours has.

mod implicit;
mod weight;

pub(crate) use weight::weight_gradient;

use std::ops::Deref;

use rayon::prelude::*;

use self::implicit::{Implicit, Input};
use super::gemm::NR;
use super::memory::{Scratch, Shared, filled};
use super::weights::Weights;
use super::{simd, winograd};
use crate::Padding;

/// Tasks wanted at least: enough for the cores of a desktop to share evenly.
const TASKS: usize = 8;

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
            inputs: &[Input {
                source: &s.with_border(x),
                taps: &s.taps(),
                grid: s.grid(),
            }],
            out: Shared::new(y),
            out_row: s.pixels(),
        }
        .run();
    })
}

/// The convolution of 1×1, stride 1, of two pictures whose channels stand one behind the other:
/// of so many and those that are left of `s.channels`.
pub(crate) fn joined(
    xs: [(&[f32], usize); 2],
    weight: Weights<'_>,
    bias: &[f32],
    s: Sizes,
) -> Vec<f32> {
    let of = xs.map(|(_, channels)| Sizes { channels, ..s });
    let [first, second] = of.map(|s| s.taps());
    filled(s.images * s.outputs * s.pixels(), |y| {
        let input = |i: usize, taps| Input {
            source: xs[i].0,
            taps,
            grid: of[i].grid(),
        };
        Implicit {
            rows: s.outputs,
            weight,
            bias,
            inputs: &[input(0, &first), input(1, &second)],
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
            inputs: &[Input {
                source,
                taps: &taps,
                grid: self.grid,
            }],
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

/// The gradient of the bias: the sum of that of the output over pictures and pixels.
pub(crate) fn bias_gradient(dy: &[f32], s: Sizes) -> Vec<f32> {
    let pixels = s.pixels();
    let of = |o: usize| {
        let planes = (0..s.images).map(|i| &dy[(i * s.outputs + o) * pixels..][..pixels]);
        planes.map(simd::sum).sum::<f64>() as f32
    };
    (0..s.outputs).into_par_iter().map(of).collect()
}
