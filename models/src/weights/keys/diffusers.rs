//! The names of Hugging Face diffusers: `AutoencoderKL`, `VQModel`, `UNet2DConditionModel` and
//! `UNet2DModel`, the `LDMBertModel` of its latent diffusion pipeline, and transformers'
//! `CLIPTextModel`.

use super::{Names, transformer};
use crate::autoencoder::Shape;
use crate::text::{ClipConfig, TextTransformerConfig};
use crate::unet::{LabelConfig, UNetConfig};

const RES: &[(&str, &str)] = &[
    ("norm1", "norm1"),
    ("conv1", "conv1"),
    ("time", "time_emb_proj"),
    ("norm2", "norm2"),
    ("conv2", "conv2"),
    ("skip", "conv_shortcut"),
];

const ATTENTION: &[(&str, &str)] = &[
    ("norm", "group_norm"),
    ("q", "to_q"),
    ("k", "to_k"),
    ("v", "to_v"),
    ("out", "to_out.0"),
];

/// Levels are numbered as they run, in the encoder and in the decoder.
pub(super) fn autoencoder(config: &Shape<'_>) -> Names {
    let mut names = Names::default();
    names.layers(super::QUANTISATION);
    let sides = [
        ("encoder", "down", config.num_res_blocks),
        ("decoder", "up", config.num_res_blocks + 1),
    ];
    for (side, way, blocks) in sides {
        let ends = [
            ("conv_in", "conv_in"),
            ("norm_out", "conv_norm_out"),
            ("conv_out", "conv_out"),
        ];
        names.at(side, side).layers(&ends);
        let (ours, theirs) = (format!("{side}.mid"), format!("{side}.mid_block"));
        names
            .at(format!("{ours}.block1"), format!("{theirs}.resnets.0"))
            .layers(RES);
        names
            .at(format!("{ours}.block2"), format!("{theirs}.resnets.1"))
            .layers(RES);
        names
            .at(
                format!("{ours}.attention"),
                format!("{theirs}.attentions.0"),
            )
            .layers(ATTENTION);
        for level in 0..config.ch_mult.len() {
            let ours = format!("{side}.levels.{level}");
            let theirs = format!("{side}.{way}_blocks.{level}");
            for i in 0..blocks {
                let res = format!("{theirs}.resnets.{i}");
                names.at(format!("{ours}.blocks.{i}"), res).layers(RES);
                let attention = format!("{theirs}.attentions.{i}");
                names
                    .at(format!("{ours}.attention.{i}"), attention)
                    .layers(ATTENTION);
            }
            let resample = format!("{way}samplers.0.conv");
            names.at(ours, theirs).layers(&[("resample", &resample)]);
        }
    }
    names
}

/// Levels are numbered as they run, on the way down and on the way up.
pub(super) fn unet(config: &UNetConfig) -> Names {
    let mut names = unet_encoder(config);
    names.layers(&[("norm_out", "conv_norm_out"), ("conv_out", "conv_out")]);
    let last = config.channel_mult.len() - 1;
    for level in 0..=last {
        let way = ("up", last - level);
        unet_level(&mut names, config, level, way, config.num_res_blocks + 1);
    }
    names
}

/// The half that a ControlNet shares: the way down and the middle.
pub(super) fn unet_encoder(config: &UNetConfig) -> Names {
    let mut names = Names::default();
    names.layers(&[
        ("time.linear1", "time_embedding.linear_1"),
        ("time.linear2", "time_embedding.linear_2"),
        ("conv_in", "conv_in"),
    ]);
    match config.label {
        Some(LabelConfig::Classes(_)) => names.layers(&[("label", "class_embedding")]),
        _ => names.layers(&[
            ("label.linear1", "add_embedding.linear_1"),
            ("label.linear2", "add_embedding.linear_2"),
        ]),
    }
    for level in 0..config.channel_mult.len() {
        let way = ("down", level);
        unet_level(&mut names, config, level, way, config.num_res_blocks);
    }
    let (ours, theirs) = ("middle.attention", "mid_block.attentions.0");
    names.at("middle.block1", "mid_block.resnets.0").layers(RES);
    unet_attention(&mut names, config, config.depth_of_middle(), ours, theirs);
    names.at("middle.block2", "mid_block.resnets.1").layers(RES);
    names
}

fn unet_level(
    names: &mut Names,
    config: &UNetConfig,
    level: usize,
    (way, step): (&str, usize),
    blocks: usize,
) {
    let (ours, theirs) = (format!("{way}.{step}"), format!("{way}_blocks.{step}"));
    for i in 0..blocks {
        let block = format!("{ours}.blocks.{i}");
        names
            .at(format!("{block}.res"), format!("{theirs}.resnets.{i}"))
            .layers(RES);
        let attention = format!("{theirs}.attentions.{i}");
        let block = format!("{block}.attention");
        unet_attention(names, config, config.depth(level), &block, &attention);
    }
    let (ours, theirs) = (
        format!("{ours}.resample"),
        format!("{theirs}.{way}samplers.0"),
    );
    if config.resblock_updown {
        return names.at(ours, theirs).layers(RES);
    }
    names.layers(&[(&ours, &format!("{theirs}.conv"))]);
}

fn unet_attention(names: &mut Names, config: &UNetConfig, depth: usize, ours: &str, theirs: &str) {
    match config.context_dim {
        Some(_) => transformer(names, ours, theirs, depth),
        None => names.at(ours, theirs).layers(ATTENTION),
    }
}

/// `LDMBertModel`, whose inner model is called `model`.
pub(super) fn text(config: &TextTransformerConfig) -> Names {
    let mut names = Names::default();
    names.layers(&[
        ("tokens", "model.embed_tokens"),
        ("positions", "model.embed_positions"),
        ("norm_out", "model.layer_norm"),
    ]);
    for layer in 0..config.layers {
        names
            .at(format!("layers.{layer}"), format!("model.layers.{layer}"))
            .layers(&[
                ("norm1", "self_attn_layer_norm"),
                ("attention.q", "self_attn.q_proj"),
                ("attention.k", "self_attn.k_proj"),
                ("attention.v", "self_attn.v_proj"),
                ("attention.out", "self_attn.out_proj"),
                ("norm2", "final_layer_norm"),
                ("up", "fc1"),
                ("down", "fc2"),
            ]);
    }
    names
}

/// Positions that older versions stored beside the weights, and the other half of a whole CLIP.
pub(super) const CLIP_IGNORED: &[&str] = &[
    "text_model.embeddings.position_ids",
    "embeddings.position_ids",
    "logit_scale",
    "vision_model.",
    "visual_projection.",
];

/// transformers' `CLIPTextModel`, whose inner model stands behind `inner`.
pub(super) fn clip(config: &ClipConfig, inner: &str) -> Names {
    let mut names = Names::default();
    names.layers(&[("projection", "text_projection")]);
    for (ours, theirs) in [
        ("tokens", "embeddings.token_embedding"),
        ("positions", "embeddings.position_embedding"),
        ("norm_out", "final_layer_norm"),
    ] {
        names.layers(&[(ours, &format!("{inner}{theirs}"))]);
    }
    for layer in 0..config.layers {
        let theirs = format!("{inner}encoder.layers.{layer}");
        names.at(format!("layers.{layer}"), theirs).layers(&[
            ("norm1", "layer_norm1"),
            ("attention.q", "self_attn.q_proj"),
            ("attention.k", "self_attn.k_proj"),
            ("attention.v", "self_attn.v_proj"),
            ("attention.out", "self_attn.out_proj"),
            ("norm2", "layer_norm2"),
            ("up", "mlp.fc1"),
            ("down", "mlp.fc2"),
        ]);
    }
    names
}
