//! ESRGAN's generator: residual-in-residual dense blocks, then doublings.
//! Wang et al. 2018 (arXiv 1809.00219) §3.1; Real-ESRGAN's unshuffled input: Wang et al. 2021
//! (arXiv 2107.10833) §3.2; the residuals of ESRGAN+: Rakotonirina and Rasoanaivo 2020
//! (arXiv 2001.08073), without the noise that it adds in training.
//!
//! ```text
//! x ─ unshuffle ─ first ─┬─ [block]×n ─ trunk ─(+)─ [△ up lrelu]×d ─ hr lrelu ─ last ─ out
//!                        └──────────────────────┘
//! block  x ─ dense ─ dense ─ dense ─(·0.2)─(+)─      dense  x ─ 1 ─ 2 ─ 3 ─ 4 ─ 5 ─(·0.2)─(+)─
//!        └────────────────────────────────┘                 └──┴───┴───┴───┴ cat        │
//!                                                           └───────────────────────────┘
//! △      nearest ×2            lrelu  slope 0.2, behind every convolution of `dense` but 5
//! ```

use burn::module::Module;
use burn::tensor::activation::leaky_relu;
use burn::tensor::{Int, Tensor};

use super::config::RrdbConfig;
use crate::nn::{Conv, Init, Linear, image_of, pixel_unshuffle, tokens_of};

/// What is left of numbers below zero.
const SLOPE: f64 = 0.2;
/// What is added of a block's result to its input.
const RESIDUAL: f64 = 0.2;

/// The network; see the figure.
#[derive(Module, Debug)]
pub struct Rrdb {
    first: Conv,
    blocks: Vec<Block>,
    trunk: Conv,
    up: Vec<Conv>,
    hr: Conv,
    last: Conv,
    unshuffle: usize,
}

impl Rrdb {
    pub(super) fn new(init: &mut Init, config: &RrdbConfig) -> Self {
        let width = config.width;
        let channels = config.in_channels * config.unshuffle * config.unshuffle;
        let blocks = (0..config.blocks).map(|_| Block::new(init, config));
        let blocks = blocks.collect();
        Self {
            first: Conv::new3(init, channels, width),
            blocks,
            trunk: Conv::new3(init, width, width),
            up: (0..config.doublings)
                .map(|_| Conv::new3(init, width, width))
                .collect(),
            hr: Conv::new3(init, width, width),
            last: Conv::new3(init, width, config.out_channels),
            unshuffle: config.unshuffle,
        }
    }

    /// `x [b, c, h, w]` → `[b, c_out, scale·h, scale·w]`
    pub(super) fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let [_, _, height, width] = x.dims();
        let x = pixel_unshuffle(padded(x, self.unshuffle), self.unshuffle);
        let x = self.first.forward(x); // [b, width, h / unshuffle, w / unshuffle]
        let blocks = self.blocks.iter();
        let h = blocks.fold(x.clone(), |h, block| block.forward(h));
        let mut h = x + self.trunk.forward(h);
        for up in &self.up {
            h = lrelu(up.forward_doubled(h)); // twice as high and wide
        }
        let out = self.last.forward(lrelu(self.hr.forward(h)));
        let scale = (1 << self.up.len()) / self.unshuffle;
        out.narrow(2, 0, height * scale).narrow(3, 0, width * scale)
    }
}

fn lrelu(x: Tensor<4>) -> Tensor<4> {
    leaky_relu(x, SLOPE)
}

/// Mirrored at the bottom and the right until both sides are multiples of `side`.
fn padded(x: Tensor<4>, side: usize) -> Tensor<4> {
    [2, 3].into_iter().fold(x, |x, axis| {
        let length = x.dims()[axis];
        if length.is_multiple_of(side) {
            return x;
        }
        // What is too small to be mirrored that far repeats its first row.
        let mirrored = |i: usize| i.min((2 * (length - 1)).saturating_sub(i)) as i32;
        let rows: Vec<i32> = (0..length.next_multiple_of(side)).map(mirrored).collect();
        let rows = Tensor::<1, Int>::from_data(&rows[..], &x.device());
        x.select(axis, rows)
    })
}

/// Three dense blocks and the residual around them.
#[derive(Module, Debug)]
struct Block {
    dense: Vec<Dense>,
}

impl Block {
    fn new(init: &mut Init, config: &RrdbConfig) -> Self {
        let dense = (0..3).map(|_| Dense::new(init, config)).collect();
        Self { dense }
    }

    /// `x [b, width, h, w]` → the same shape
    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let h = self.dense.iter().fold(x.clone(), |h, d| d.forward(h));
        x + h * RESIDUAL
    }
}

/// Five convolutions, each of all that came before it.
#[derive(Module, Debug)]
struct Dense {
    convs: Vec<Conv>,
    /// ESRGAN+: what convolution 2 is given besides, from the block's input.
    point: Option<Linear>,
}

impl Dense {
    fn new(init: &mut Init, config: &RrdbConfig) -> Self {
        let (width, growth) = (config.width, config.growth);
        let convs = (0..5).map(|i| {
            let to = if i < 4 { growth } else { width };
            Conv::new3(init, width + i * growth, to)
        });
        let convs = convs.collect();
        let point = config
            .plus
            .then(|| Linear::without_bias(init, width, growth));
        Self { convs, point }
    }

    /// `x [b, width, h, w]` → the same shape
    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let [_, _, height, width] = x.dims();
        let mut all = vec![x.clone()];
        for (i, conv) in self.convs[..4].iter().enumerate() {
            let h = lrelu(conv.forward(Tensor::cat(all.clone(), 1)));
            all.push(match (&self.point, i) {
                (Some(point), 1) => {
                    h + image_of(point.forward(tokens_of(x.clone())), height, width)
                }
                (Some(_), 3) => h + all[2].clone(),
                _ => h,
            });
        }
        x + self.convs[4].forward(Tensor::cat(all, 1)) * RESIDUAL
    }
}
