//! The levels of a U-Net: blocks of one size, how they attend, how a level is left.
//!
//! Not here: the order in which they run (`encoder`, and `UNet::forward` for the way up).

use burn::module::Module;
use burn::tensor::Tensor;
use ldm_kernels::Padding;

use super::Heard;
use super::block::{EPS, ResBlock, Size};
use super::config::UNetConfig;
use super::transformer::SpatialTransformer;
use crate::nn::{Conv, GroupNorm, Init, KeysValues, Linear, SpatialAttention};

/// One call of a network, as its blocks are told of it on the way through.
pub(crate) struct Moment<'a> {
    /// What the residual blocks still to come are told of timestep and label, `[b, width]` each.
    projected: std::vec::IntoIter<Tensor<2>>,
    /// What the transformers' blocks still to come made of the conditioning's tokens.
    seen: std::slice::Iter<'a, KeysValues>,
}

impl<'a> Moment<'a> {
    /// A call of the network that `heard`, of whose residual blocks, in their order, each is told
    /// what was `projected` for it.
    pub(crate) fn new(projected: Vec<Tensor<2>>, heard: &'a Heard) -> Self {
        Self {
            projected: projected.into_iter(),
            seen: heard.seen.iter(),
        }
    }

    /// What the next residual block is told.
    fn projected(&mut self) -> Tensor<2> {
        let next = self.projected.next();
        next.expect("each residual block is told the timestep")
    }

    /// What the next transformer's block made of the conditioning's tokens.
    pub(super) fn context(&mut self) -> KeysValues {
        let next = self.seen.next().cloned();
        next.expect("a network hears its tokens for each of its blocks")
    }
}

/// The blocks of one size, and how it is left for the next.
#[derive(Module, Debug)]
pub(crate) struct Level {
    pub(super) blocks: Vec<Block>,
    pub(super) resample: Option<Resample>,
}

impl Level {
    /// Its residual blocks, in the order in which they run.
    pub(super) fn residuals(&self) -> impl Iterator<Item = &ResBlock> {
        let resample = self.resample.as_ref().and_then(|resample| match resample {
            Resample::Conv(_) => None,
            Resample::Block(block) => Some(block),
        });
        self.blocks.iter().map(|block| &block.res).chain(resample)
    }

    /// Its transformers, in the order in which they run.
    pub(super) fn transformers(&self) -> impl Iterator<Item = &SpatialTransformer> {
        let attentions = self.blocks.iter().flat_map(|block| &block.attention);
        attentions.filter_map(Attention::transformer)
    }
}

/// A residual block, and attention where its level attends.
#[derive(Module, Debug)]
pub(crate) struct Block {
    res: ResBlock,
    attention: Option<Attention>,
}

impl Block {
    fn new(init: &mut Init, config: &UNetConfig, level: usize, from: usize) -> Self {
        let to = config.width(level);
        Self {
            res: ResBlock::new(init, config, from, to, Size::Kept),
            attention: config
                .attends(level)
                .then(|| Attention::new(init, config, level, config.depth(level))),
        }
    }

    /// `x [b, c_in, h, w]` → `[b, c_out, h, w]`
    pub(super) fn forward(&self, x: Tensor<4>, moment: &mut Moment<'_>) -> Tensor<4> {
        self.attended(self.res.forward(x, moment.projected()), moment)
    }

    /// [`Block::forward`] of `xs`, the channels of the first before those of the second
    pub(super) fn forward_joined(&self, xs: [Tensor<4>; 2], moment: &mut Moment<'_>) -> Tensor<4> {
        self.attended(self.res.forward_joined(xs, moment.projected()), moment)
    }

    fn attended(&self, h: Tensor<4>, moment: &mut Moment<'_>) -> Tensor<4> {
        match &self.attention {
            Some(attention) => attention.forward(h, moment),
            None => h,
        }
    }
}

/// From one size to the next.
#[derive(Module, Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "a handful stand in a network, and a module cannot be boxed"
)]
pub(crate) enum Resample {
    /// A convolution: of stride 2 on the way down, after doubling on the way up.
    Conv(Conv),
    /// A residual block that resamples inside.
    Block(ResBlock),
}

impl Resample {
    fn halving(init: &mut Init, config: &UNetConfig, width: usize) -> Self {
        if config.resblock_updown {
            return Self::Block(ResBlock::new(init, config, width, width, Size::Halved));
        }
        Self::Conv(Conv::halving(init, width, Padding::same(1)))
    }

    fn doubling(init: &mut Init, config: &UNetConfig, width: usize) -> Self {
        if config.resblock_updown {
            return Self::Block(ResBlock::new(init, config, width, width, Size::Doubled));
        }
        Self::Conv(Conv::new3(init, width, width))
    }

    /// `x [b, c, h, w]` → `[b, c, h / 2, w / 2]`
    pub(super) fn halve(&self, x: Tensor<4>, moment: &mut Moment<'_>) -> Tensor<4> {
        match self {
            Self::Conv(conv) => conv.forward(x),
            Self::Block(block) => block.forward(x, moment.projected()),
        }
    }

    /// `x [b, c, h, w]` → `[b, c, 2h, 2w]`
    pub(super) fn double(&self, x: Tensor<4>, moment: &mut Moment<'_>) -> Tensor<4> {
        match self {
            Self::Conv(conv) => conv.forward_doubled(x),
            Self::Block(block) => block.forward(x, moment.projected()),
        }
    }
}

/// The coarsest size: block, attention, block.
#[derive(Module, Debug)]
pub(crate) struct Middle {
    block1: ResBlock,
    attention: Attention,
    block2: ResBlock,
}

impl Middle {
    pub(super) fn new(init: &mut Init, config: &UNetConfig) -> Self {
        let last = config.channel_mult.len() - 1;
        let width = config.width(last);
        Self {
            block1: ResBlock::new(init, config, width, width, Size::Kept),
            attention: Attention::new(init, config, last, config.depth_of_middle()),
            block2: ResBlock::new(init, config, width, width, Size::Kept),
        }
    }

    /// Its residual blocks, in the order in which they run.
    pub(super) fn residuals(&self) -> [&ResBlock; 2] {
        [&self.block1, &self.block2]
    }

    /// Its transformer, where it looks at tokens.
    pub(super) fn transformer(&self) -> Option<&SpatialTransformer> {
        self.attention.transformer()
    }

    /// `x [b, c, h, w]` → the same shape
    pub(super) fn forward(&self, x: Tensor<4>, moment: &mut Moment<'_>) -> Tensor<4> {
        let h = self.block1.forward(x, moment.projected());
        let h = self.attention.forward(h, moment);
        self.block2.forward(h, moment.projected())
    }
}

/// How a level attends.
#[derive(Module, Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "a few dozen stand in a network, and a module cannot be boxed"
)]
enum Attention {
    /// Over its own pixels.
    Pixels(SpatialAttention),
    /// Over its own pixels and over the conditioning's tokens.
    Context(SpatialTransformer),
}

impl Attention {
    fn new(init: &mut Init, config: &UNetConfig, level: usize, depth: usize) -> Self {
        let (width, groups) = (config.width(level), config.groups);
        let heads = config.heads.count(width);
        if let Some(context) = config.context_dim {
            let sizes = (width, heads, depth, context);
            return Self::Context(SpatialTransformer::new(init, groups, sizes));
        }
        let norm = GroupNorm::new(init, groups, width, EPS);
        let out = Linear::zeroed(init, width, width);
        Self::Pixels(SpatialAttention::new(init, norm, heads, out))
    }

    fn transformer(&self) -> Option<&SpatialTransformer> {
        match self {
            Self::Pixels(_) => None,
            Self::Context(transformer) => Some(transformer),
        }
    }

    /// `x [b, c, h, w]` → the same shape
    fn forward(&self, x: Tensor<4>, moment: &mut Moment<'_>) -> Tensor<4> {
        match self {
            Self::Pixels(attention) => attention.forward(x),
            Self::Context(transformer) => transformer.forward(x, moment),
        }
    }
}

/// The levels fine to coarse; what each block leaves behind is pushed onto `skips`.
pub(super) fn down(init: &mut Init, config: &UNetConfig, skips: &mut Vec<usize>) -> Vec<Level> {
    let last = config.channel_mult.len() - 1;
    let mut from = config.model_channels;
    let mut levels = Vec::new();
    for level in 0..=last {
        let to = config.width(level);
        let mut blocks = Vec::new();
        for _ in 0..config.num_res_blocks {
            blocks.push(Block::new(init, config, level, from));
            skips.push(to);
            from = to;
        }
        let resample = (level < last).then(|| Resample::halving(init, config, to));
        skips.extend(resample.is_some().then_some(to));
        levels.push(Level { blocks, resample });
    }
    levels
}

/// The levels coarse to fine; each block takes a width from the end of `skips`.
pub(super) fn up(init: &mut Init, config: &UNetConfig, mut skips: Vec<usize>) -> Vec<Level> {
    let last = config.channel_mult.len() - 1;
    let mut from = config.width(last);
    let mut levels = Vec::new();
    for level in (0..=last).rev() {
        let to = config.width(level);
        let mut blocks = Vec::new();
        for _ in 0..=config.num_res_blocks {
            let skip = skips
                .pop()
                .expect("one skip was kept for each block on the way up");
            blocks.push(Block::new(init, config, level, from + skip));
            from = to;
        }
        let resample = (level > 0).then(|| Resample::doubling(init, config, to));
        levels.push(Level { blocks, resample });
    }
    levels
}
