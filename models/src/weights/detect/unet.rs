//! A U-Net's shape, from the shapes of its tensors.
//!
//! All follows from them but two things: how attention shares a level's width among heads,
//! and how many groups a norm has. The first is told by which model it is (`heads`), or by a
//! `config.json` beside the weights; the second is 32 unless that says otherwise.

use super::json::NetworkJson;
use super::look::Look;
use crate::unet::{Heads, LabelConfig, UNetConfig};
use crate::weights::TensorFile;

/// Which names the parts of a U-Net have in one family.
struct Names {
    conv_in: &'static str,
    conv_out: &'static str,
    middle: &'static str,
    label: [&'static str; 2],
    res_in: &'static str,
    res_time: &'static str,
}

const COMPVIS: Names = Names {
    conv_in: "input_blocks.0.0",
    conv_out: "out.2",
    middle: "middle_block.1",
    label: ["label_emb", "label_emb.0.0"],
    res_in: "in_layers.2",
    res_time: "emb_layers.1",
};

const DIFFUSERS: Names = Names {
    conv_in: "conv_in",
    conv_out: "conv_out",
    middle: "mid_block.attentions.0",
    label: ["class_embedding", "add_embedding.linear_1"],
    res_in: "conv1",
    res_time: "time_emb_proj",
};

/// What the two families tell in ways of their own.
struct Levels {
    /// The first residual block of each level, and its attention.
    first: Vec<(String, String)>,
    blocks: usize,
    resblock_updown: bool,
}

/// The U-Net under CompVis's names, if it is one.
pub(super) fn compvis(look: Look<'_>) -> Option<UNetConfig> {
    let outputs = look.count(|i| format!("output_blocks.{i}."));
    let place = |i: usize, part: &str| {
        let inside = [1, 2].map(|place| format!("output_blocks.{i}.{place}.{part}"));
        inside.iter().any(|name| look.any(name))
    };
    let with = |part: &str| (0..outputs).filter(|i| place(*i, part)).count();
    let (convs, blocks) = (with("conv."), with("in_layers."));
    let levels = convs + blocks + 1;
    if !outputs.is_multiple_of(levels) || outputs / levels < 2 {
        return None;
    }
    let each = outputs / levels - 1;
    let first = (0..levels).map(|level| {
        let at = 1 + level * (each + 1);
        (
            format!("input_blocks.{at}.0"),
            format!("input_blocks.{at}.1"),
        )
    });
    let levels = Levels {
        first: first.collect(),
        blocks: each,
        resblock_updown: blocks > 0,
    };
    config(look, &COMPVIS, &levels)
}

/// The U-Net under diffusers' names, if it is one.
pub(super) fn diffusers(look: Look<'_>) -> Option<UNetConfig> {
    let levels = look.count(|i| format!("down_blocks.{i}."));
    let first = (0..levels).map(|level| {
        let down = format!("down_blocks.{level}");
        (format!("{down}.resnets.0"), format!("{down}.attentions.0"))
    });
    let levels = Levels {
        first: first.collect(),
        blocks: look.count(|i| format!("down_blocks.0.resnets.{i}.")),
        resblock_updown: look.any("down_blocks.0.downsamplers.0.conv1."),
    };
    config(look, &DIFFUSERS, &levels)
}

/// Whether any block of a transformer stands behind `prefix`.
pub(super) fn has_blocks(file: &TensorFile, prefix: &str) -> bool {
    let names = file.names();
    let mut inside = names.iter().filter_map(|name| name.strip_prefix(prefix));
    inside.any(|name| name.contains(".transformer_blocks."))
}

fn config(look: Look<'_>, names: &Names, levels: &Levels) -> Option<UNetConfig> {
    let (model_channels, in_channels) = look.layer(names.conv_in)?;
    let (out_channels, _) = look.layer(names.conv_out)?;
    let mut widths = vec![];
    let mut depths = vec![];
    for (res, attention) in &levels.first {
        widths.push(look.layer(&format!("{res}.{}", names.res_in))?.0);
        depths.push(depth(look, attention));
    }
    if model_channels == 0 || levels.blocks == 0 {
        return None;
    }
    let whole = widths
        .iter()
        .all(|width| width.is_multiple_of(model_channels));
    let (first, _) = levels.first.first()?;
    let (told, _) = look.layer(&format!("{first}.{}", names.res_time))?;
    let context = format!("{}.transformer_blocks.0.attn2.to_k", names.middle);
    let middle = depth(look, names.middle).unwrap_or(1);
    let attends = |level: &usize| depths[*level].is_some();
    let mut config = UNetConfig {
        in_channels,
        out_channels,
        model_channels,
        channel_mult: widths.iter().map(|width| width / model_channels).collect(),
        num_res_blocks: levels.blocks,
        attention_resolutions: (0..depths.len())
            .filter(attends)
            .map(|level| 1 << level)
            .collect(),
        heads: Heads::Count(1),
        context_dim: look.layer(&context).map(|(_, width)| width),
        transformer_depth: short(&depths, middle),
        middle_depth: None,
        label: label(look, names),
        scale_shift: told == 2 * widths[0],
        resblock_updown: levels.resblock_updown,
        groups: 32,
    };
    if config.depth_of_middle() != middle {
        config.middle_depth = Some(middle);
    }
    let projection = look.shape(&format!("{}.proj_in.weight", names.middle));
    let linear = projection.is_some_and(|shape| shape.len() == 2);
    config.heads = heads(&config, linear);
    whole.then_some(config)
}

/// How many blocks a transformer has; 1 of plain attention, none where there is neither.
fn depth(look: Look<'_>, attention: &str) -> Option<usize> {
    let blocks = look.count(|i| format!("{attention}.transformer_blocks.{i}."));
    match blocks {
        0 => look.any(&format!("{attention}.")).then_some(1),
        blocks => Some(blocks),
    }
}

/// One number where all levels that attend agree, else one a level.
fn short(depths: &[Option<usize>], middle: usize) -> Vec<usize> {
    let mut attending = depths.iter().flatten();
    let first = attending.next().copied().unwrap_or(middle);
    match attending.all(|depth| *depth == first) {
        true => vec![first],
        false => depths.iter().map(|depth| depth.unwrap_or(0)).collect(),
    }
}

fn label(look: Look<'_>, names: &Names) -> Option<LabelConfig> {
    let [classes, vector] = names.label;
    let class = look.layer(classes).map(|(n, _)| LabelConfig::Classes(n));
    class.or_else(|| look.layer(vector).map(|(_, n)| LabelConfig::Vector(n)))
}

/// How the released models share a level's width among heads, which no shape shows:
/// `configs/**.yaml` of CompVis/latent-diffusion and stable-diffusion, Stability-AI's
/// stablediffusion and generative-models.
///
/// | model | known by | heads |
/// |---|---|---|
/// | Stable Diffusion 2, XL and its refiner | linear projections | 64 wide |
/// | Stable Diffusion 1, the paper's 1.4 B text-to-image | 4 latent channels and a context | 8 |
/// | class-conditional ImageNet, second release | 192 wide, context 512, 3 channels | 1 |
/// | churches, inpainting | blocks that resample | 8 |
/// | semantic synthesis | 3 + 3 channels, no level attends | 8 |
/// | all others of the paper | | 32 wide |
fn heads(config: &UNetConfig, linear: bool) -> Heads {
    let concat = config.in_channels == 2 * config.out_channels;
    match config.context_dim {
        Some(_) if linear => Heads::Width(64),
        Some(512) => heads_of_classes(config),
        Some(_) if config.out_channels == 4 => Heads::Count(8),
        None if config.resblock_updown => Heads::Count(8),
        None if concat && config.attention_resolutions.is_empty() => Heads::Count(8),
        _ => Heads::Width(32),
    }
}

/// The same of a network of classes: the second release has one head.
pub(super) fn heads_of_classes(config: &UNetConfig) -> Heads {
    match config.model_channels {
        192 => Heads::Count(1),
        _ => Heads::Width(32),
    }
}

/// Takes from a `config.json` what shapes do not show.
///
/// # Errors
/// It is of another network, or asks for heads that differ in width and in number.
pub(super) fn told(config: &mut UNetConfig, json: &NetworkJson) -> Result<(), String> {
    json.is_of(&["UNet2DConditionModel", "UNet2DModel"])?;
    json.agrees("out_channels", config.out_channels)?;
    json.complete(config)
}

impl NetworkJson {
    /// Tells the way down and the middle of a U-Net what shapes do not show.
    ///
    /// # Errors
    /// As [`told`].
    pub(crate) fn complete(&self, config: &mut UNetConfig) -> Result<(), String> {
        self.only_known()?;
        let levels = config.channel_mult.len();
        let widths: Vec<usize> = (0..levels).map(|level| config.width(level)).collect();
        self.agrees("in_channels", config.in_channels)?;
        self.agrees("block_out_channels", &widths[..])?;
        if let Some(dim) = config.context_dim {
            self.agrees("cross_attention_dim", dim)?;
        }
        if let Some(groups) = self.norm_num_groups {
            config.groups = groups;
        }
        if let Some(heads) = self.heads(&widths)? {
            config.heads = heads;
        }
        Ok(())
    }
}
