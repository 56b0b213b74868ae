//! What a checkpoint holds, from the names and shapes of its tensors.
//!
//! ```text
//! look          a file, seen from one prefix
//! unet, autoencoder, text     shapes of networks
//! kind          which released model that is, and what follows
//! json          what a folder's config.json adds
//! stranger      what a file is that holds none of these networks
//! ```
//!
//! Promises
//! - The name of a file decides nothing.
//! - Headers decide; of tensors only those are read that state a fact in a few numbers: the
//!   noise of training (`betas`), the latent's scale (`scale_factor`), and for Stable
//!   Diffusion 2 one bias of 1280 numbers.
//! - What is found is a proposal: `load` holds it against every tensor.

mod autoencoder;
mod json;
mod kind;
mod look;
mod stranger;
#[cfg(test)]
mod tests;
mod text;
mod unet;

use self::look::Look;
use super::{Family, KeyTable, TensorFile};
use crate::autoencoder::VaeConfig;
use crate::conditioner::{ClassEmbedderConfig, SpatialRescalerConfig};
use crate::error::{Error, Result};
use crate::prediction::Prediction;
use crate::schedule::{Betas, ScheduleConfig, ZeroSnr};
use crate::text::TextConfig;
use crate::unet::UNetConfig;

pub use json::{NetworkJson, SchedulerJson};
pub use kind::Kind;
pub(crate) use stranger::foreign;
pub use stranger::stranger;
pub use text::TextJson;

/// A network that a file holds.
#[derive(Debug, Clone, PartialEq)]
pub struct Part<C> {
    /// Its shape.
    pub config: C,
    /// Who named its tensors.
    pub family: Family,
    /// What all their names begin with.
    pub prefix: String,
}

/// A U-Net, and what must be known to draw with it.
#[derive(Debug, Clone, PartialEq)]
pub struct Denoiser {
    /// The network.
    pub part: Part<UNetConfig>,
    /// Which release it is.
    pub kind: Kind,
    /// The noise it was trained on.
    pub schedule: ScheduleConfig,
    /// What it predicts.
    pub prediction: Prediction,
    /// What its latents are multiplied by.
    pub scale: f64,
    /// Whether the file also holds averages of the weights in training.
    pub averages: bool,
}

/// Tensors that say by being there, in files for ComfyUI, that a U-Net predicts the velocity,
/// and that its last timestep was nothing but noise.
const VELOCITY: &str = "v_pred";
const ZERO_SNR: &str = "ztsnr";

/// And that it was trained in EDM's way: Playground 2.5, CosXL.
const EDM: [&str; 2] = ["edm_mean", "edm_vpred.sigma_max"];

/// Where the paper's checkpoints keep what makes a conditioning.
const CONDITIONER: &str = "cond_stage_model.";

impl Denoiser {
    /// Pixels of a picture's side per number of the latent's, where no autoencoder tells.
    pub fn factor(&self) -> usize {
        Kind::factor(&self.part.config)
    }
}

/// Prefixes of a U-Net in files: in a whole checkpoint, alone, and in one saved by ComfyUI.
const UNETS: &[(Family, &str)] = &[
    (Family::CompVis, "model.diffusion_model."),
    (Family::CompVis, ""),
    (Family::CompVis, "diffusion_model."),
    (Family::Diffusers, ""),
    (Family::Diffusers, "unet."),
];

/// Prefixes of an autoencoder in files.
const AUTOENCODERS: &[(Family, &str)] = &[
    (Family::CompVis, "first_stage_model."),
    (Family::CompVis, ""),
    (Family::CompVis, "vae."),
    (Family::Diffusers, ""),
    (Family::Diffusers, "vae."),
];

/// The U-Net that `file` holds; `json` is the `config.json` beside it.
///
/// # Errors
/// Its shape makes no sense, or the configuration asks for what is not computed here.
pub fn unet(file: &TensorFile, json: Option<&NetworkJson>) -> Result<Option<Denoiser>> {
    let Some(mut part) = found(file, UNETS, |family, look| match family {
        Family::CompVis => unet::compvis(look),
        _ => unet::diffusers(look),
    }) else {
        return Ok(None);
    };
    if part.config.context_dim.is_none() && unet::has_blocks(file, &part.prefix) {
        let what = "holds a UNet that attends to words and not in its middle, as Segmind's SSD-1B \
                    and Vega do, which is not known here; use Stable Diffusion XL";
        return Err(Error::wrong_file(file.path(), what));
    }
    let text = text::single(file).map(|text| text.config);
    let classes = class_embedder(file).is_some();
    let kind = Kind::within(&part.config, text.as_ref(), classes);
    if kind == Kind::Classes {
        part.config.heads = unet::heads_of_classes(&part.config);
    }
    if let Some(json) = json {
        unet::told(&mut part.config, json).map_err(|what| wrong(file, what))?;
    }
    part.config.check().map_err(|e| unsound(file, e))?;
    if let Some(mark) = EDM.iter().find(|mark| file.has(mark)) {
        let what = format!(
            "was trained on the noise of EDM, as its tensor `{mark}` says, which is not read from \
             a checkpoint; use another model"
        );
        return Err(Error::wrong_file(file.path(), what));
    }
    let mut schedule = betas(file)?.unwrap_or_else(|| kind.schedule(&part.config));
    if file.has(VELOCITY) && file.has(ZERO_SNR) {
        schedule.rescale_zero_snr = ZeroSnr::ComfyUi;
    }
    Ok(Some(Denoiser {
        kind,
        schedule,
        prediction: prediction(file, kind, &part)?,
        scale: scale(file)?.unwrap_or_else(|| kind.scale(&part.config)),
        averages: file.has_averages(),
        part,
    }))
}

/// The autoencoder that `file` holds; `json` is the `config.json` beside it.
///
/// # Errors
/// As [`unet`].
pub fn vae(file: &TensorFile, json: Option<&NetworkJson>) -> Result<Option<Part<VaeConfig>>> {
    let Some(mut part) = found(file, AUTOENCODERS, |family, look| match family {
        Family::CompVis => autoencoder::compvis(look),
        _ => autoencoder::diffusers(look),
    }) else {
        return Ok(None);
    };
    if let Some(json) = json {
        autoencoder::told(&mut part.config, json).map_err(|what| wrong(file, what))?;
    }
    part.config.check().map_err(|e| unsound(file, e))?;
    Ok(Some(part))
}

/// The text encoder that `file` holds: one of a whole checkpoint, or one alone, for which
/// `json` is the `config.json` beside it.
///
/// # Errors
/// Its shape makes no sense.
pub fn text(file: &TensorFile, json: Option<&TextJson>) -> Result<Option<Part<TextConfig>>> {
    let alone = || {
        let config = text::alone(file, "", json)?;
        let (family, prefix) = (Family::Diffusers, String::new());
        Some(Part {
            config,
            family,
            prefix,
        })
    };
    let Some(part) = text::single(file).or_else(alone) else {
        return Ok(None);
    };
    if let Some(json) = json {
        json.agrees(&part.config)
            .map_err(|what| wrong(file, what))?;
    }
    part.config.check().map_err(|e| unsound(file, e))?;
    Ok(Some(part))
}

/// The class embedder in a whole checkpoint.
pub fn class_embedder(file: &TensorFile) -> Option<Part<ClassEmbedderConfig>> {
    let look = Look {
        file,
        prefix: CONDITIONER,
    };
    let (classes, width) = look.layer("embedding")?;
    Some(conditioner(ClassEmbedderConfig { classes, width }))
}

/// The spatial rescaler in a whole checkpoint. How often it halves a map has no shape; all
/// released ones do so twice (`n_stages: 2`).
pub fn spatial_rescaler(file: &TensorFile) -> Option<Part<SpatialRescalerConfig>> {
    let look = Look {
        file,
        prefix: CONDITIONER,
    };
    let (out_channels, in_channels) = look.layer("channel_mapper")?;
    Some(conditioner(SpatialRescalerConfig {
        stages: 2,
        in_channels,
        out_channels,
    }))
}

fn conditioner<C>(config: C) -> Part<C> {
    Part {
        config,
        family: Family::CompVis,
        prefix: CONDITIONER.to_owned(),
    }
}

/// What the latents of an autoencoder are multiplied by where nothing says so: of the
/// paper's KL autoencoder of factor 8, what Stable Diffusion 1 and 2 have; of all others 1.
pub fn scale_alone(config: &VaeConfig) -> f64 {
    match config {
        VaeConfig::Kl(kl) if kl.embed_dim == 4 && kl.factor() == 8 => 0.18215,
        _ => 1.0,
    }
}

/// The first place of `places` at which `config` sees a network.
fn found<C>(
    file: &TensorFile,
    places: &[(Family, &str)],
    config: impl Fn(Family, Look<'_>) -> Option<C>,
) -> Option<Part<C>> {
    places.iter().find_map(|(family, prefix)| {
        Some(Part {
            config: config(*family, Look { file, prefix })?,
            family: *family,
            prefix: (*prefix).to_owned(),
        })
    })
}

impl Part<UNetConfig> {
    /// The names of its tensors.
    pub fn table(&self) -> KeyTable {
        KeyTable::unet(self.family, &self.config).under(&self.prefix)
    }
}

impl Part<VaeConfig> {
    /// The names of its tensors.
    pub fn table(&self) -> KeyTable {
        KeyTable::autoencoder(self.family, &self.config).under(&self.prefix)
    }
}

impl Part<TextConfig> {
    /// The names of its tensors.
    pub fn table(&self) -> KeyTable {
        KeyTable::text_encoder(self.family, &self.config).under(&self.prefix)
    }
}

impl Part<ClassEmbedderConfig> {
    /// The names of its tensors.
    pub fn table(&self) -> KeyTable {
        KeyTable::class_embedder(self.family).under(&self.prefix)
    }
}

impl Part<SpatialRescalerConfig> {
    /// The names of its tensors.
    pub fn table(&self) -> KeyTable {
        KeyTable::spatial_rescaler(self.family).under(&self.prefix)
    }
}

/// The noise of training, where the checkpoint keeps the table that it was made with.
fn betas(file: &TensorFile) -> Result<Option<ScheduleConfig>> {
    let Some(timesteps) = wide(file, "betas") else {
        return Ok(None);
    };
    let table = file.read("betas")?;
    let [first, .., last] = table[..] else {
        return Ok(None);
    };
    let (start, end) = (rounded(first), rounded(last));
    let curves = [
        Betas::ScaledLinear { start, end },
        Betas::Linear { start, end },
        Betas::Cosine,
    ];
    let agrees = |config: &ScheduleConfig| {
        let Ok(schedule) = config.init() else {
            return false;
        };
        let mut alpha_bar = 1.0;
        (0..timesteps).all(|t| {
            alpha_bar *= 1.0 - f64::from(table[t]);
            (schedule.alpha_bar(t) - alpha_bar).abs() <= 1e-4 * alpha_bar
        })
    };
    let configs = curves.map(|betas| ScheduleConfig {
        betas,
        timesteps,
        rescale_zero_snr: ZeroSnr::No,
    });
    Ok(configs.into_iter().find(agrees))
}

/// The length of the list `name`, if it is one of numbers of at least four bytes.
fn wide(file: &TensorFile, name: &str) -> Option<usize> {
    let precise = matches!(file.dtype(name)?.as_str(), "F32" | "F64");
    match file.shape(name)? {
        [length] if precise => Some(*length),
        _ => None,
    }
}

/// The number that a person wrote, before it became an f32.
fn rounded(number: f32) -> f64 {
    format!("{number:.5e}").parse().unwrap_or(f64::from(number))
}

/// What the latents are multiplied by, where that was measured in training.
fn scale(file: &TensorFile) -> Result<Option<f64>> {
    let alone = file
        .shape("scale_factor")
        .is_some_and(|shape| shape.iter().all(|n| *n == 1));
    if !alone || !file.is_float("scale_factor") {
        return Ok(None);
    }
    let scale = file.read("scale_factor")?.first().copied();
    Ok(scale
        .filter(|scale| *scale > 0.0 && scale.is_finite())
        .map(f64::from))
}

/// What a U-Net predicts: ε, unless the file says otherwise.
///
/// A tensor called [`VELOCITY`] says so by being there, as in files for ComfyUI. Of Stable
/// Diffusion 2, the models for 768 pixels predict the velocity and those for 512 the noise,
/// in the same shapes: the step at which training ended tells the base model (diffusers'
/// rule), else the spread of one bias does (ComfyUI's), which is wide where v is predicted.
fn prediction(file: &TensorFile, kind: Kind, part: &Part<UNetConfig>) -> Result<Prediction> {
    if file.has(VELOCITY) {
        return Ok(Prediction::Velocity);
    }
    if kind != Kind::Sd2 || part.config.in_channels != 4 || part.family != Family::CompVis {
        return Ok(Prediction::Epsilon);
    }
    if file.note("global_step") == Some(BASE_STEPS) {
        return Ok(Prediction::Epsilon);
    }
    let bias = format!("{}{SPREAD_BIAS}", part.prefix);
    if !file.is_float(&bias) {
        return Ok(Prediction::Epsilon);
    }
    let numbers = file.read(&bias)?;
    let n = numbers.len() as f64;
    let mean = numbers.iter().map(|x| f64::from(*x)).sum::<f64>() / n;
    let squares = numbers
        .iter()
        .map(|x| (f64::from(*x) - mean).powi(2))
        .sum::<f64>();
    Ok(match (squares / (n - 1.0)).sqrt() > WIDE {
        true => Prediction::Velocity,
        false => Prediction::Epsilon,
    })
}

/// The training step of Stable Diffusion 2's base model.
const BASE_STEPS: &str = "875000";

/// The bias that tells, and from which standard deviation on.
const SPREAD_BIAS: &str = "output_blocks.11.1.transformer_blocks.0.norm1.bias";
const WIDE: f64 = 0.09;

fn wrong(file: &TensorFile, what: String) -> Error {
    Error::wrong_file(file.path(), format!("has a config.json that {what}"))
}

fn unsound(file: &TensorFile, error: Error) -> Error {
    Error::file(file.path(), "holds no sound network", error)
}
