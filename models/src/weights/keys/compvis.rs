//! The names of the code released with the paper (CompVis/latent-diffusion), which
//! CompVis/stable-diffusion and its descendants kept.

use super::{Names, transformer};
use crate::autoencoder::Shape;
use crate::text::{ClipConfig, TextTransformerConfig};
use crate::unet::{LabelConfig, UNetConfig};

const RES: &[(&str, &str)] = &[
    ("norm1", "norm1"),
    ("conv1", "conv1"),
    ("norm2", "norm2"),
    ("conv2", "conv2"),
    ("skip", "nin_shortcut"),
];

const ATTENTION: &[(&str, &str)] = &[
    ("norm", "norm"),
    ("q", "q"),
    ("k", "k"),
    ("v", "v"),
    ("out", "proj_out"),
];

/// The decoder's levels are numbered from the finest, though they run from the coarsest.
pub(super) fn autoencoder(config: &Shape<'_>) -> Names {
    let mut names = Names::default();
    names.layers(super::QUANTISATION);
    let levels = config.ch_mult.len();
    for level in 0..levels {
        let ours = format!("encoder.levels.{level}");
        let theirs = format!("encoder.down.{level}");
        autoencoder_level(&mut names, &ours, &theirs, config.num_res_blocks);
        names
            .at(ours, theirs)
            .layers(&[("resample", "downsample.conv")]);
        let ours = format!("decoder.levels.{level}");
        let theirs = format!("decoder.up.{}", levels - 1 - level);
        autoencoder_level(&mut names, &ours, &theirs, config.num_res_blocks + 1);
        names
            .at(ours, theirs)
            .layers(&[("resample", "upsample.conv")]);
    }
    for side in ["encoder", "decoder"] {
        let ends = [
            ("conv_in", "conv_in"),
            ("norm_out", "norm_out"),
            ("conv_out", "conv_out"),
        ];
        names.at(side, side).layers(&ends);
        names
            .at(format!("{side}.mid.block1"), format!("{side}.mid.block_1"))
            .layers(RES);
        names
            .at(format!("{side}.mid.block2"), format!("{side}.mid.block_2"))
            .layers(RES);
        let theirs = format!("{side}.mid.attn_1");
        names
            .at(format!("{side}.mid.attention"), theirs)
            .layers(ATTENTION);
    }
    names
}

fn autoencoder_level(names: &mut Names, ours: &str, theirs: &str, blocks: usize) {
    for block in 0..blocks {
        names
            .at(
                format!("{ours}.blocks.{block}"),
                format!("{theirs}.block.{block}"),
            )
            .layers(RES);
        let theirs = format!("{theirs}.attn.{block}");
        names
            .at(format!("{ours}.attention.{block}"), theirs)
            .layers(ATTENTION);
    }
}

/// The way down is one list of blocks, in which halving counts as a block of its own; the
/// way up another, in which doubling stands inside the last block of a level.
pub(super) fn unet(config: &UNetConfig) -> Names {
    let mut names = unet_encoder(config);
    names.layers(&[("norm_out", "out.0"), ("conv_out", "out.2")]);
    let last = config.channel_mult.len() - 1;
    let mut output = 0;
    for (step, level) in (0..=last).rev().enumerate() {
        for block in 0..=config.num_res_blocks {
            let ours = format!("up.{step}.blocks.{block}");
            let theirs = format!("output_blocks.{output}");
            unet_block(&mut names, config, level, &ours, &theirs);
            output += 1;
        }
        let place = if config.attends(level) { 2 } else { 1 };
        let ours = format!("up.{step}.resample");
        let theirs = format!("output_blocks.{}.{place}", output - 1);
        unet_resample(&mut names, config, &ours, &theirs, "conv");
    }
    names
}

/// The half that a ControlNet shares: the way down and the middle.
pub(super) fn unet_encoder(config: &UNetConfig) -> Names {
    let mut names = Names::default();
    names.layers(&[
        ("time.linear1", "time_embed.0"),
        ("time.linear2", "time_embed.2"),
        ("conv_in", "input_blocks.0.0"),
    ]);
    match config.label {
        Some(LabelConfig::Classes(_)) => names.layers(&[("label", "label_emb")]),
        _ => names.layers(&[
            ("label.linear1", "label_emb.0.0"),
            ("label.linear2", "label_emb.0.2"),
        ]),
    }
    let last = config.channel_mult.len() - 1;
    let mut input = 1;
    for level in 0..=last {
        for block in 0..config.num_res_blocks {
            let ours = format!("down.{level}.blocks.{block}");
            let theirs = format!("input_blocks.{input}");
            unet_block(&mut names, config, level, &ours, &theirs);
            input += 1;
        }
        if level < last {
            let ours = format!("down.{level}.resample");
            let theirs = format!("input_blocks.{input}.0");
            unet_resample(&mut names, config, &ours, &theirs, "op");
            input += 1;
        }
    }
    let (width, depth) = (config.width(last), config.depth_of_middle());
    unet_res(&mut names, "middle.block1", "middle_block.0");
    let ours = "middle.attention";
    unet_attention(&mut names, config, (width, depth), ours, "middle_block.1");
    unet_res(&mut names, "middle.block2", "middle_block.2");
    names
}

fn unet_resample(names: &mut Names, config: &UNetConfig, ours: &str, theirs: &str, conv: &str) {
    if config.resblock_updown {
        return unet_res(names, ours, theirs);
    }
    names.layers(&[(ours, &format!("{theirs}.{conv}"))]);
}

fn unet_block(names: &mut Names, config: &UNetConfig, level: usize, ours: &str, theirs: &str) {
    unet_res(names, &format!("{ours}.res"), &format!("{theirs}.0"));
    let (ours, theirs) = (format!("{ours}.attention"), format!("{theirs}.1"));
    let sizes = (config.width(level), config.depth(level));
    unet_attention(names, config, sizes, &ours, &theirs);
}

fn unet_res(names: &mut Names, ours: &str, theirs: &str) {
    names.at(ours, theirs).layers(&[
        ("norm1", "in_layers.0"),
        ("conv1", "in_layers.2"),
        ("time", "emb_layers.1"),
        ("norm2", "out_layers.0"),
        ("conv2", "out_layers.3"),
        ("skip", "skip_connection"),
    ]);
}

fn unet_attention(
    names: &mut Names,
    config: &UNetConfig,
    (width, depth): (usize, usize),
    ours: &str,
    theirs: &str,
) {
    if config.context_dim.is_some() {
        return transformer(names, ours, theirs, depth);
    }
    let mut scope = names.at(ours, theirs);
    scope.layers(&[("norm", "norm"), ("out", "proj_out")]);
    scope.qkv("qkv", config.heads.count(width));
}

/// Attention and feed-forward alternate in one list, each with its norm before it.
pub(super) fn text(config: &TextTransformerConfig) -> Names {
    let mut names = Names::default();
    names.layers(&[
        ("tokens", "token_emb"),
        ("positions", "pos_emb.emb"),
        ("norm_out", "norm"),
    ]);
    for layer in 0..config.layers {
        let ours = format!("layers.{layer}");
        let theirs = format!("attn_layers.layers.{}", 2 * layer);
        names.at(&ours[..], theirs).layers(&[
            ("norm1", "0"),
            ("attention.q", "1.to_q"),
            ("attention.k", "1.to_k"),
            ("attention.v", "1.to_v"),
            ("attention.out", "1.to_out"),
        ]);
        let theirs = format!("attn_layers.layers.{}", 2 * layer + 1);
        names
            .at(ours, theirs)
            .layers(&[("norm2", "0"), ("up", "1.net.0.0"), ("down", "1.net.2")]);
    }
    names
}

/// OpenCLIP's own names, which single files of Stable Diffusion 2 and XL keep.
pub(super) fn open_clip(config: &ClipConfig) -> Names {
    let mut names = Names::default();
    names.layers(&[("tokens", "token_embedding"), ("norm_out", "ln_final")]);
    names.bare(&[
        ("positions", "positional_embedding"),
        ("projection", "text_projection"),
    ]);
    for layer in 0..config.layers {
        let theirs = format!("transformer.resblocks.{layer}");
        let mut scope = names.at(format!("layers.{layer}"), &theirs[..]);
        scope.layers(&[
            ("norm1", "ln_1"),
            ("attention.out", "attn.out_proj"),
            ("norm2", "ln_2"),
            ("up", "mlp.c_fc"),
            ("down", "mlp.c_proj"),
        ]);
        let ours = format!("layers.{layer}.attention");
        names.at(ours, theirs).thirds("attn.in_proj");
    }
    names
}
