//! An autoencoder's shape, from the shapes of its tensors. All follows from them but the
//! number of groups of a norm, which is 32 unless a `config.json` says otherwise.

use super::json::NetworkJson;
use super::look::Look;
use crate::autoencoder::{KlAutoencoderConfig, VaeConfig, VqAutoencoderConfig};

/// Which names the parts of an encoder have in one family.
struct Names {
    level: &'static str,
    block: &'static str,
    attention: &'static str,
    middle: &'static str,
}

const COMPVIS: Names = Names {
    level: "encoder.down",
    block: "block",
    attention: "attn",
    middle: "encoder.mid.attn_1.",
};

const DIFFUSERS: Names = Names {
    level: "encoder.down_blocks",
    block: "resnets",
    attention: "attentions",
    middle: "encoder.mid_block.attentions.0.",
};

/// A picture's size in training by most configurations; only the quotients count.
const RESOLUTION: usize = 256;

/// The autoencoder under CompVis's names, if it is one.
pub(super) fn compvis(look: Look<'_>) -> Option<VaeConfig> {
    config(look, &COMPVIS)
}

/// The autoencoder under diffusers' names, if it is one.
pub(super) fn diffusers(look: Look<'_>) -> Option<VaeConfig> {
    config(look, &DIFFUSERS)
}

fn config(look: Look<'_>, names: &Names) -> Option<VaeConfig> {
    let Names { level, block, .. } = names;
    let (ch, in_channels) = look.layer("encoder.conv_in").filter(|(ch, _)| *ch > 0)?;
    let levels = look.count(|i| format!("{level}.{i}."));
    let width = |i: usize| Some(look.layer(&format!("{level}.{i}.{block}.0.conv1"))?.0);
    let widths: Vec<usize> = (0..levels).map(width).collect::<Option<_>>()?;
    let ch_mult = widths
        .iter()
        .map(|width| width.is_multiple_of(ch).then_some(width / ch));
    let ch_mult = ch_mult.collect::<Option<Vec<_>>>()?;
    let num_res_blocks = look.count(|i| format!("{level}.0.{block}.{i}."));
    if num_res_blocks == 0 {
        return None;
    }
    let attends = |i: &usize| look.any(&format!("{level}.{i}.{}.0.", names.attention));
    let attn_resolutions = (0..levels)
        .filter(attends)
        .map(|i| RESOLUTION >> i)
        .collect();
    let (z_channels, embed_dim) = look.layer("post_quant_conv")?;
    Some(match look.layer("quantize.embedding") {
        Some((codes, _)) => VaeConfig::Vq(VqAutoencoderConfig {
            in_channels,
            ch,
            ch_mult,
            num_res_blocks,
            attn_resolutions,
            resolution: RESOLUTION,
            attention: look.any(names.middle),
            z_channels,
            embed_dim,
            codes,
            groups: 32,
        }),
        None => VaeConfig::Kl(KlAutoencoderConfig {
            in_channels,
            ch,
            ch_mult,
            num_res_blocks,
            attn_resolutions,
            resolution: RESOLUTION,
            z_channels,
            embed_dim,
            groups: 32,
        }),
    })
}

/// Takes from a `config.json` what shapes do not show.
///
/// # Errors
/// It is of another network, or asks for what is not computed here.
pub(super) fn told(config: &mut VaeConfig, json: &NetworkJson) -> Result<(), String> {
    let (class, z_channels) = match config {
        VaeConfig::Kl(kl) => ("AutoencoderKL", kl.z_channels),
        VaeConfig::Vq(vq) => ("VQModel", vq.z_channels),
    };
    json.is_of(&[class])?;
    json.only_known()?;
    json.agrees("latent_channels", z_channels)?;
    if let Some(told) = json.norm_num_groups {
        match config {
            VaeConfig::Kl(config) => config.groups = told,
            VaeConfig::Vq(config) => config.groups = told,
        }
    }
    Ok(())
}
