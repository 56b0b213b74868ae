//! The sizes that are measured.
//!
//! Not here: which algorithm serves a size (the kernels' own choice).

use burn::tensor::{DType, Tensor};

use super::Unit;
use crate::{self as ours, Padding, reference};

/// One operation at one size.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    group: &'static str,
    op: Op,
    pub(super) trains: bool,
}

#[derive(Clone, Copy, Debug)]
enum Op {
    /// Inputs `[b, c, h, w]`, outputs, side of the square window, stride.
    Conv([usize; 4], usize, usize, usize),
    /// Rows, width in, width out.
    Linear(usize, usize, usize),
    /// Batch, heads, queries, keys, width.
    Attention([usize; 5]),
    /// Of `[b, c, h, w]` in so many groups, with SiLU.
    GroupNorm([usize; 4], usize),
    /// Rows, width.
    LayerNorm(usize, usize),
    /// Of so many rows, width.
    Gelu(usize, usize),
    Silu(usize, usize),
}

use Op::{Attention, Conv, Gelu, GroupNorm, LayerNorm, Linear, Silu};

impl Case {
    /// The network whose size it is.
    pub fn group(&self) -> &'static str {
        self.group
    }

    /// The operation and its sizes.
    pub fn name(&self) -> String {
        match self.op {
            Conv([b, c, h, w], o, k, 1) => format!("conv {k}×{k} {c} to {o}, {b}×{h}×{w}"),
            Conv([b, c, h, w], o, k, stride) => {
                format!("conv {k}×{k} {c} to {o}, {b}×{h}×{w}, stride {stride}")
            }
            Linear(rows, inner, outer) => format!("linear {inner} to {outer}, {rows} rows"),
            Attention([b, heads, n, m, d]) => format!("attention {n} to {m}, {b}×{heads}×{d}"),
            GroupNorm([b, c, h, w], _) => format!("group norm and silu, {b}×{c}×{h}×{w}"),
            LayerNorm(rows, width) => format!("layer norm, {rows}×{width}"),
            Gelu(rows, width) => format!("gelu, {rows}×{width}"),
            Silu(rows, width) => format!("silu, {rows}×{width}"),
        }
    }

    /// What its speed is counted in.
    pub fn unit(&self) -> Unit {
        match self.op {
            Conv(..) | Linear(..) | Attention(_) => Unit::GflopPerSecond,
            GroupNorm(..) | LayerNorm(..) | Gelu(..) | Silu(..) => Unit::GbytePerSecond,
        }
    }

    /// How much one forward pass does, in that unit's FLOP or bytes.
    pub(super) fn work(&self) -> f64 {
        let product = |sizes: &[usize]| sizes.iter().map(|n| *n as f64).product::<f64>();
        match self.op {
            Conv([b, c, h, w], o, k, stride) => {
                2.0 * product(&[b, c, h / stride, w / stride, o, k, k])
            }
            Linear(rows, inner, outer) => 2.0 * product(&[rows, inner, outer]),
            Attention(sizes) => 4.0 * product(&sizes),
            GroupNorm(dims, _) => 8.0 * product(&dims),
            LayerNorm(rows, width) | Gelu(rows, width) | Silu(rows, width) => {
                8.0 * product(&[rows, width])
            }
        }
    }

    /// The shapes of its inputs.
    pub(super) fn inputs(&self) -> Vec<[usize; 4]> {
        match self.op {
            Conv(dims, o, k, _) => vec![dims, [o, dims[1], k, k], [1, 1, 1, o]],
            Linear(rows, inner, outer) => {
                vec![[1, 1, rows, inner], [1, 1, inner, outer], [1, 1, 1, outer]]
            }
            Attention([b, heads, n, m, d]) => {
                vec![[b, heads, n, d], [b, heads, m, d], [b, heads, m, d]]
            }
            GroupNorm(dims, _) => vec![dims, [1, 1, 1, dims[1]], [1, 1, 1, dims[1]]],
            LayerNorm(rows, width) => {
                vec![[1, 1, rows, width], [1, 1, 1, width], [1, 1, 1, width]]
            }
            Gelu(rows, width) | Silu(rows, width) => vec![[1, 1, rows, width]],
        }
    }

    /// The inputs with the weights among them of this type.
    pub(super) fn with_weights(
        &self,
        mut inputs: Vec<Tensor<4>>,
        weights: DType,
    ) -> Vec<Tensor<4>> {
        if let (Conv(..) | Linear(..), Some(weight)) = (self.op, inputs.get_mut(1)) {
            *weight = weight.clone().cast(weights);
        }
        inputs
    }

    /// Runs ours or the reference; with `weights` of this type queries, keys and values were made.
    pub(super) fn apply(&self, inputs: Vec<Tensor<4>>, fast: bool, weights: DType) -> Tensor<4> {
        let mut inputs = inputs.into_iter();
        let mut next = || inputs.next().expect("as many as `inputs` says");
        let x = next();
        let row = |x: Tensor<4>| x.flatten::<1>(0, 3);
        match self.op {
            Conv(_, _, k, stride) => {
                let (weight, bias) = (next(), Some(row(next())));
                let conv = [reference::conv2d, ours::conv2d][usize::from(fast)];
                conv(x, weight, bias, stride, Padding::same(k / 2))
            }
            Linear(_, inner, outer) => {
                let (weight, bias) = (next().reshape([inner, outer]), Some(row(next())));
                let linear = [reference::linear, ours::linear][usize::from(fast)];
                linear(x, weight, bias)
            }
            Attention(_) => {
                let (k, v) = (next(), next());
                match fast {
                    true => ours::attention(x, k, v, weights),
                    false => reference::attention(x, k, v),
                }
            }
            GroupNorm(_, groups) => {
                let norms = [reference::group_norm_silu, ours::group_norm_silu];
                norms[usize::from(fast)](x, row(next()), row(next()), groups, 1e-5)
            }
            LayerNorm(..) => {
                let norm = [reference::layer_norm, ours::layer_norm][usize::from(fast)];
                norm(x, row(next()), row(next()), 1e-5)
            }
            Gelu(..) => [reference::gelu, ours::gelu][usize::from(fast)](x),
            Silu(..) => [reference::silu, ours::silu][usize::from(fast)](x),
        }
    }
}

fn all(group: &'static str, trains: bool, ops: impl IntoIterator<Item = Op>) -> Vec<Case> {
    let case = |op| Case { group, op, trains };
    ops.into_iter().map(case).collect()
}

/// One of each kind.
pub(super) fn few() -> Vec<Case> {
    all(
        "a few",
        false,
        [
            conv(2, 320, 320, 64),
            conv(2, 1280, 1280, 8),
            Conv([2, 320, 64, 64], 320, 3, 2),
            Conv([2, 960, 64, 64], 320, 1, 1),
            Linear(8192, 320, 320),
            Linear(512, 1280, 1280),
            Attention([2, 8, 1024, 1024, 80]),
            Attention([2, 8, 4096, 77, 40]),
            GroupNorm([2, 320, 64, 64], 32),
            LayerNorm(8192, 320),
            Gelu(8192, 1280),
        ],
    )
}

/// Every kind of call that Stable Diffusion 1.5 makes for a picture of 512×512.
pub(super) fn stable_diffusion() -> Vec<Case> {
    let mut cases = all("U-Net", false, unet());
    cases.extend(all("decoder", false, decoder()));
    cases.extend(all("text encoder", false, text_encoder()));
    cases
}

/// A 3×3 convolution of a square picture.
fn conv(b: usize, c: usize, o: usize, side: usize) -> Op {
    Conv([b, c, side, side], o, 3, 1)
}

/// Of a batch of two, with and without the text.
fn unet() -> Vec<Op> {
    let plain = [(4, 320, 64), (320, 320, 64), (640, 320, 64), (960, 320, 64)];
    let finer = [(640, 640, 32), (1280, 640, 32), (1920, 640, 32)];
    let coarse = [(1280, 1280, 16), (2560, 1280, 16), (1280, 1280, 8)];
    let convs = plain.into_iter().chain(finer).chain(coarse);
    let mut ops: Vec<_> = convs.map(|(c, o, side)| conv(2, c, o, side)).collect();
    ops.extend([(2560, 1280, 8), (320, 4, 64)].map(|(c, o, side)| conv(2, c, o, side)));
    ops.extend([(320, 64), (640, 32), (1280, 16)].map(|(c, n)| Conv([2, c, n, n], c, 3, 2)));
    let skips = [(960, 320, 64), (1920, 640, 32), (2560, 1280, 16)];
    ops.extend(skips.map(|(c, o, n)| Conv([2, c, n, n], o, 1, 1)));
    for (rows, width) in [(8192, 320), (2048, 640), (512, 1280)] {
        ops.push(Linear(rows, width, width));
        ops.push(Linear(rows, width, 8 * width));
        ops.push(Linear(rows, 4 * width, width));
    }
    ops.extend([320, 640, 1280].map(|width| Linear(154, 768, width)));
    for (tokens, width) in [(4096, 40), (1024, 80), (256, 160), (64, 160)] {
        ops.push(Attention([2, 8, tokens, tokens, width]));
        ops.push(Attention([2, 8, tokens, 77, width]));
    }
    let levels = [(320, 64), (640, 32), (1280, 16), (1280, 8)];
    ops.extend(levels.map(|(c, n)| GroupNorm([2, c, n, n], 32)));
    ops.extend([(8192, 320), (2048, 640), (512, 1280)].map(|(n, c)| LayerNorm(n, c)));
    ops.extend([Gelu(8192, 1280), Silu(2, 1280)]);
    ops
}

fn decoder() -> Vec<Op> {
    let convs = [
        (4, 512, 64),
        (512, 512, 64),
        (512, 512, 128),
        (512, 512, 256),
        (512, 256, 256),
        (256, 256, 256),
        (256, 256, 512),
        (256, 128, 512),
        (128, 128, 512),
        (128, 3, 512),
    ];
    let mut ops: Vec<_> = convs.map(|(c, o, side)| conv(1, c, o, side)).into();
    ops.push(Attention([1, 1, 4096, 4096, 512]));
    let norms = [(512, 64), (512, 128), (256, 256), (128, 512)];
    ops.extend(norms.map(|(c, side)| GroupNorm([1, c, side, side], 32)));
    ops
}

fn text_encoder() -> [Op; 4] {
    [
        Linear(77, 768, 768),
        Linear(77, 768, 3072),
        Linear(77, 3072, 768),
        LayerNorm(77, 768),
    ]
}

/// What `graphs/train/text.ron` meets.
pub(super) fn training() -> Vec<Case> {
    let convs = [
        (8, 32, 32, 64),
        (8, 48, 48, 64),
        (8, 64, 64, 32),
        (16, 96, 96, 16),
        (16, 128, 128, 16),
        (64, 96, 96, 8),
        (64, 128, 128, 8),
        (8, 192, 192, 8),
        (64, 192, 192, 8),
        (64, 256, 256, 8),
        (64, 192, 192, 4),
    ];
    let mut ops: Vec<_> = convs.map(|(b, c, o, side)| conv(b, c, o, side)).into();
    ops.extend([
        Conv([8, 48, 64, 64], 48, 3, 2),
        Conv([64, 128, 8, 8], 128, 1, 1),
        Linear(4096, 128, 128),
        Linear(4096, 128, 512),
        Linear(4096, 512, 128),
        Attention([64, 4, 64, 64, 32]),
        Attention([64, 4, 64, 16, 32]),
        Attention([8, 1, 1024, 1024, 64]),
        GroupNorm([8, 48, 64, 64], 8),
        Silu(8192, 192),
        Gelu(8192, 192),
        LayerNorm(4096, 128),
    ]);
    all("training", true, ops)
}
