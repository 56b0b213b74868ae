//! Group and layer normalisation, with and without SiLU, forwards and backwards.
//!
//! Promises
//! - A run of numbers with one mean is worked on by one task while it is in the cache: mean,
//!   then variance around it, then the result. The backward pass recomputes both.
//! - Sums over pictures and rows are added in order, in f64.
//!
//! Not here: running statistics; none of these norms has them.

use rayon::prelude::*;

use super::act::silu_slope;
use super::memory::filled;
use super::simd::{BLOCK, LANES, fold, madd, multiversion, sigmoid, square_sum, sum};

/// How a picture is cut into runs that share a mean.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Groups {
    pub(crate) channels: usize,
    pub(crate) pixels: usize,
    pub(crate) groups: usize,
    pub(crate) eps: f64,
    /// Whether SiLU follows.
    pub(crate) silu: bool,
}

impl Groups {
    fn width(&self) -> usize {
        self.channels / self.groups
    }

    /// The channels of run `i`.
    fn channels_of(&self, i: usize) -> std::ops::Range<usize> {
        let first = i % self.groups * self.width();
        first..first + self.width()
    }

    /// Normalises run `i`.
    fn run(&self, i: usize, x: &[f32], y: &mut [f32], gamma: &[f32], beta: &[f32]) {
        let (mean, rstd) = statistics(x, self.eps);
        let planes = y.chunks_exact_mut(self.pixels);
        let planes = planes.zip(x.chunks_exact(self.pixels));
        for ((y, x), c) in planes.zip(self.channels_of(i)) {
            let scale = gamma[c] * rstd;
            let line = Line {
                centre: mean,
                scale,
                shift: beta[c],
            };
            if self.silu {
                line_silu(x, y, line)
            } else {
                line_plain(x, y, line)
            }
        }
    }
}

/// Mean and `1 / √(variance + eps)`.
fn statistics(xs: &[f32], eps: f64) -> (f32, f32) {
    let n = xs.len() as f64;
    let mean = (sum(xs) / n) as f32;
    let variance = square_sum(xs, mean) / n;
    (mean, (1.0 / (variance + eps).sqrt()) as f32)
}

/// `x [b, c, pixels]` normalised by groups.
pub(crate) fn group_norm(x: &[f32], gamma: &[f32], beta: &[f32], g: Groups) -> Vec<f32> {
    let run = (g.width() * g.pixels).max(1);
    filled(x.len(), |y| {
        let runs = y
            .par_chunks_exact_mut(run)
            .zip(x.par_chunks_exact(run))
            .enumerate();
        runs.for_each(|(i, (y, x))| g.run(i, x, y, gamma, beta));
    })
}

/// The same of two pictures whose channels stand one behind the other: of `first` and those that
/// are left.
pub(crate) fn group_norm_joined(
    [left, right]: [&[f32]; 2],
    first: usize,
    gamma: &[f32],
    beta: &[f32],
    g: Groups,
) -> Vec<f32> {
    let run = (g.width() * g.pixels).max(1);
    let (wide, narrow) = (first * g.pixels, (g.channels - first) * g.pixels);
    filled(left.len() + right.len(), |y| {
        let runs = y.par_chunks_exact_mut(run).enumerate();
        runs.for_each(|(i, y)| {
            let (image, from) = (i / g.groups, g.channels_of(i).start * g.pixels);
            let (left, right) = (
                &left[image * wide..][..wide],
                &right[image * narrow..][..narrow],
            );
            let to = from + run;
            if to <= wide {
                g.run(i, &left[from..to], y, gamma, beta);
            } else if from >= wide {
                g.run(i, &right[from - wide..to - wide], y, gamma, beta);
            } else {
                // The one group that is of both.
                let x = [&left[from..], &right[..to - wide]].concat();
                g.run(i, &x, y, gamma, beta);
            }
        });
    })
}

/// Gradients of [`group_norm`]: of `x`, `gamma` and `beta`.
pub(crate) fn group_norm_gradient(
    x: &[f32],
    gamma: &[f32],
    beta: &[f32],
    dy: &[f32],
    g: Groups,
) -> [Vec<f32>; 3] {
    let run = (g.width() * g.pixels).max(1);
    let mut sums = vec![[0.0_f64; 2]; x.len() / g.pixels.max(1)];
    let dx = filled(x.len(), |dx| {
        let runs = dx.par_chunks_exact_mut(run).zip(x.par_chunks_exact(run));
        let runs = runs
            .zip(dy.par_chunks_exact(run))
            .zip(sums.par_chunks_exact_mut(g.width()));
        runs.enumerate().for_each(|(i, (((dx, x), dy), sums))| {
            let channels = g.channels_of(i);
            let (gamma, beta) = (&gamma[channels.clone()], &beta[channels]);
            run_gradient(x, gamma, beta, dy, g, dx, sums);
        });
    });
    let over_pictures = |c: usize, side: usize| {
        sums.iter()
            .skip(c)
            .step_by(g.channels)
            .map(|s| s[side])
            .sum::<f64>() as f32
    };
    let of = |side: usize| (0..g.channels).map(|c| over_pictures(c, side)).collect();
    [dx, of(1), of(0)]
}

/// One run: `dx`, and per channel the sums of `dz` and of `dz · x̂`.
fn run_gradient(
    x: &[f32],
    gamma: &[f32],
    beta: &[f32],
    dy: &[f32],
    g: Groups,
    dx: &mut [f32],
    sums: &mut [[f64; 2]],
) {
    let (mean, rstd) = statistics(x, g.eps);
    let planes = dx.chunks_exact_mut(g.pixels).zip(x.chunks_exact(g.pixels));
    let planes = planes.zip(dy.chunks_exact(g.pixels)).zip(sums.iter_mut());
    for ((((dz, x), dy), sums), (gamma, beta)) in planes.zip(gamma.iter().zip(beta)) {
        let affine = g.silu.then_some((*gamma, *beta));
        *sums = before_norm(x, dy, dz, mean, rstd, affine);
    }
    // With dx̂ = γ dz: dx = (dx̂ − mean(dx̂) − x̂ · mean(dx̂ · x̂)) / σ.
    let n = x.len() as f64;
    let both = |side: usize| {
        sums.iter()
            .zip(gamma)
            .map(|(s, g)| s[side] * f64::from(*g))
            .sum::<f64>()
            / n
    };
    let (mean_d, mean_dx) = (both(0) as f32, both(1) as f32);
    let planes = dx.chunks_exact_mut(g.pixels).zip(x.chunks_exact(g.pixels));
    for ((dx, x), gamma) in planes.zip(gamma) {
        through_norm(
            x,
            dx,
            [mean, rstd],
            [gamma * rstd, mean_d * rstd, mean_dx * rstd],
        );
    }
}

/// `y = (x − centre) · scale + shift`.
#[derive(Clone, Copy)]
struct Line {
    centre: f32,
    scale: f32,
    shift: f32,
}

multiversion! { fn line_plain(x: &[f32], y: &mut [f32], line: Line) = line_plain_body }
multiversion! { fn line_silu(x: &[f32], y: &mut [f32], line: Line) = line_silu_body }
multiversion! {
    /// Writes `dz`, the gradient before a SiLU of `(γ, β)` if there is one, and sums `dz` and
    /// `dz · x̂`.
    fn before_norm(x: &[f32], dy: &[f32], dz: &mut [f32], mean: f32, rstd: f32,
        silu: Option<(f32, f32)>) -> [f64; 2] = before_norm_body
}
multiversion! {
    /// Turns `dz` into `dx = dz · a − b − x̂ · c`.
    fn through_norm(x: &[f32], dx: &mut [f32], stats: [f32; 2], abc: [f32; 3]) = through_body
}

#[inline(always)]
fn line_plain_body<const FMA: bool>(x: &[f32], y: &mut [f32], line: Line) {
    for (y, x) in y.iter_mut().zip(x) {
        *y = madd::<FMA>(x - line.centre, line.scale, line.shift);
    }
}

#[inline(always)]
fn line_silu_body<const FMA: bool>(x: &[f32], y: &mut [f32], line: Line) {
    for (y, x) in y.iter_mut().zip(x) {
        let z = madd::<FMA>(x - line.centre, line.scale, line.shift);
        *y = z * sigmoid::<FMA>(z);
    }
}

#[inline(always)]
fn before_norm_body<const FMA: bool>(
    x: &[f32],
    dy: &[f32],
    dz: &mut [f32],
    mean: f32,
    rstd: f32,
    silu: Option<(f32, f32)>,
) -> [f64; 2] {
    match silu {
        Some((gamma, beta)) => {
            let line = Line {
                centre: mean,
                scale: gamma * rstd,
                shift: beta,
            };
            for (dz, (x, dy)) in dz.iter_mut().zip(x.iter().zip(dy)) {
                let z = madd::<FMA>(x - line.centre, line.scale, line.shift);
                *dz = dy * silu_slope::<FMA>(z);
            }
        }
        None => dz.copy_from_slice(dy),
    }
    let mut sums = [0.0; 2];
    for (dz, x) in dz.chunks(BLOCK).zip(x.chunks(BLOCK)) {
        let mut lanes = [[0.0_f32; LANES]; 2];
        let whole = dz.len() / LANES * LANES;
        let blocks = dz.chunks_exact(LANES).zip(x.chunks_exact(LANES));
        for (dz, x) in blocks {
            for l in 0..LANES {
                lanes[0][l] += dz[l];
                lanes[1][l] = madd::<FMA>(dz[l], (x[l] - mean) * rstd, lanes[1][l]);
            }
        }
        for (l, (dz, x)) in dz[whole..].iter().zip(&x[whole..]).enumerate() {
            lanes[0][l] += dz;
            lanes[1][l] = madd::<FMA>(*dz, (x - mean) * rstd, lanes[1][l]);
        }
        sums[0] += f64::from(fold(lanes[0]));
        sums[1] += f64::from(fold(lanes[1]));
    }
    sums
}

#[inline(always)]
fn through_body<const FMA: bool>(x: &[f32], dx: &mut [f32], stats: [f32; 2], abc: [f32; 3]) {
    let ([mean, rstd], [a, b, c]) = (stats, abc);
    for (dx, x) in dx.iter_mut().zip(x) {
        let d = madd::<FMA>(*dx, a, -b);
        *dx = madd::<FMA>(-(x - mean) * rstd, c, d);
    }
}

/// Rows that one task of a layer norm takes.
const ROWS: usize = 32;

/// `x [rows, c]` normalised by rows.
pub(crate) fn layer_norm(x: &[f32], gamma: &[f32], beta: &[f32], eps: f64) -> Vec<f32> {
    let width = gamma.len();
    filled(x.len(), |y| {
        let tasks = y
            .par_chunks_mut(ROWS * width)
            .zip(x.par_chunks(ROWS * width));
        tasks.for_each(|(y, x)| {
            for (y, x) in y.chunks_exact_mut(width).zip(x.chunks_exact(width)) {
                let (mean, rstd) = statistics(x, eps);
                scale_row(x, [gamma, beta], y, mean, rstd);
            }
        });
    })
}

/// Gradients of [`layer_norm`]: of `x`, `gamma` and `beta`.
pub(crate) fn layer_norm_gradient(x: &[f32], gamma: &[f32], dy: &[f32], eps: f64) -> [Vec<f32>; 3] {
    let width = gamma.len();
    let tasks = x.len().div_ceil(ROWS * width);
    let mut sums = vec![0.0_f32; tasks * 2 * width];
    let dx = filled(x.len(), |dx| {
        let inputs = x.par_chunks(ROWS * width).zip(dy.par_chunks(ROWS * width));
        let outputs = dx
            .par_chunks_mut(ROWS * width)
            .zip(sums.par_chunks_exact_mut(2 * width));
        outputs.zip(inputs).for_each(|((dx, sums), (x, dy))| {
            let (dgamma, dbeta) = sums.split_at_mut(width);
            let rows = dx.chunks_exact_mut(width).zip(x.chunks_exact(width));
            for ((dx, x), dy) in rows.zip(dy.chunks_exact(width)) {
                let (mean, rstd) = statistics(x, eps);
                row_gradient([x, gamma, dy], [dx, dgamma, dbeta], mean, rstd);
            }
        });
    });
    let over_tasks = |i: usize| {
        sums.iter()
            .skip(i)
            .step_by(2 * width)
            .map(|s| f64::from(*s))
            .sum::<f64>() as f32
    };
    [
        dx,
        (0..width).map(over_tasks).collect(),
        (width..2 * width).map(over_tasks).collect(),
    ]
}

multiversion! {
    fn scale_row(x: &[f32], affine: [&[f32]; 2], y: &mut [f32], mean: f32, rstd: f32)
        = scale_row_body
}
multiversion! {
    fn row_gradient(inputs: [&[f32]; 3], outputs: [&mut [f32]; 3], mean: f32, rstd: f32)
        = row_gradient_body
}

#[inline(always)]
fn scale_row_body<const FMA: bool>(
    x: &[f32],
    [gamma, beta]: [&[f32]; 2],
    y: &mut [f32],
    mean: f32,
    rstd: f32,
) {
    for ((y, x), (gamma, beta)) in y.iter_mut().zip(x).zip(gamma.iter().zip(beta)) {
        *y = madd::<FMA>((x - mean) * rstd, *gamma, *beta);
    }
}

#[inline(always)]
fn row_gradient_body<const FMA: bool>(
    [x, gamma, dy]: [&[f32]; 3],
    [dx, dgamma, dbeta]: [&mut [f32]; 3],
    mean: f32,
    rstd: f32,
) {
    let mut sums = [0.0_f64; 2];
    for at in (0..x.len()).step_by(BLOCK) {
        let to = x.len().min(at + BLOCK);
        let (x, gamma, dy) = (&x[at..to], &gamma[at..to], &dy[at..to]);
        let d = |i: usize| dy[i] * gamma[i];
        sums[0] += f64::from(super::simd::lane_sum(x.len(), d));
        let dx_hat = |i: usize| d(i) * ((x[i] - mean) * rstd);
        sums[1] += f64::from(super::simd::lane_sum(x.len(), dx_hat));
    }
    let n = x.len() as f64;
    let (mean_d, mean_dx) = ((sums[0] / n) as f32, (sums[1] / n) as f32);
    let inputs = x.iter().zip(gamma).zip(dy);
    let outputs = dx.iter_mut().zip(dgamma).zip(dbeta);
    for (((dx, dgamma), dbeta), ((x, gamma), dy)) in outputs.zip(inputs) {
        let normed = (x - mean) * rstd;
        *dgamma = madd::<FMA>(*dy, normed, *dgamma);
        *dbeta += dy;
        *dx = (madd::<FMA>(*dy, *gamma, -mean_d) - normed * mean_dx) * rstd;
    }
}
