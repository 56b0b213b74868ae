//! The names of ControlNets and T2I-Adapters, of the released code and of diffusers.

use super::{Family, Names, compvis, diffusers};
use crate::control::{AdapterConfig, AdapterKind, ControlNetConfig};

/// A ControlNet: the names of a U-Net's half, the hint's network, and the zero convolutions.
pub(super) fn net(family: Family, config: &ControlNetConfig) -> Names {
    let theirs = family == Family::CompVis;
    let mut names = match theirs {
        true => compvis::unet_encoder(&config.unet),
        false => diffusers::unet_encoder(&config.unet),
    };
    let halvings = config.unet.channel_mult.len() - 1;
    let skips = 1 + config.unet.num_res_blocks * (halvings + 1) + halvings;
    for i in 0..skips {
        let key = match theirs {
            true => format!("zero_convs.{i}.0"),
            false => format!("controlnet_down_blocks.{i}"),
        };
        names.layers(&[(&format!("zero.{i}"), &key)]);
    }
    let blocks = 2 * (config.hint_widths.len() - 1);
    for i in 0..blocks {
        let key = match theirs {
            true => format!("input_hint_block.{}", 2 * i + 2),
            false => format!("controlnet_cond_embedding.blocks.{i}"),
        };
        names.layers(&[(&format!("hint.blocks.{i}"), &key)]);
    }
    let last = format!("input_hint_block.{}", 2 * blocks + 2);
    let ends = match theirs {
        true => ["middle_block_out.0", "input_hint_block.0", &last],
        false => [
            "controlnet_mid_block",
            "controlnet_cond_embedding.conv_in",
            "controlnet_cond_embedding.conv_out",
        ],
    };
    names.layers(&[
        ("zero_middle", ends[0]),
        ("hint.conv_in", ends[1]),
        ("hint.conv_out", ends[2]),
    ]);
    names
}

/// An adapter. The released code has one list of all blocks in the large network, in which a
/// level's first block holds the convolution before it; a list for each level in the small one.
pub(super) fn adapter(family: Family, config: &AdapterConfig) -> Names {
    let flat = family == Family::CompVis && config.kind == AdapterKind::Full;
    let inner = if family == Family::CompVis {
        "body"
    } else {
        "resnets"
    };
    let mut names = Names::default();
    names.layers(&[("conv_in", "conv_in")]);
    for level in 0..config.channels.len() {
        let place = if flat { level * config.blocks } else { level };
        let theirs = format!("body.{place}");
        names
            .at(format!("levels.{level}"), theirs)
            .layers(&[("conv_in", "in_conv"), ("conv_out", "out_conv")]);
        for block in 0..config.blocks {
            let theirs = match flat {
                true => format!("body.{}", place + block),
                false => format!("body.{place}.{inner}.{block}"),
            };
            names
                .at(format!("levels.{level}.blocks.{block}"), theirs)
                .layers(&[("conv1", "block1"), ("conv2", "block2")]);
        }
    }
    names
}
