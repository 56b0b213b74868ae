//! The `config.json` and `scheduler_config.json` of diffusers, as far as shapes do not tell.
//!
//! Promises
//! - A setting that changes numbers and is not computed here is an error that names it.
//! - So is one that says another network than the shapes show; settings of less weight that
//!   only repeat what shapes show are not looked at.

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::prediction::Prediction;
use crate::schedule::{Betas, ScheduleConfig, ZeroSnr};
use crate::unet::Heads;

/// The `config.json` of a U-Net, an autoencoder, or a network that steers a U-Net.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct NetworkJson {
    #[serde(default, rename = "_class_name")]
    class: String,
    pub(super) norm_num_groups: Option<usize>,
    /// A width for `UNet2DModel`; for `UNet2DConditionModel` a number, in spite of its name.
    attention_head_dim: Option<OneOrMany>,
    num_attention_heads: Option<OneOrMany>,
    /// What an autoencoder's latents are multiplied by.
    pub(in crate::weights) scaling_factor: Option<f64>,
    /// Whether it is to compute in f32 where pipelines are in f16.
    pub(in crate::weights) force_upcast: Option<bool>,
    /// Whether a ControlNet's results are averaged over all places.
    #[serde(default, rename = "global_pool_conditions")]
    pub(crate) pooled: bool,
    #[serde(flatten)]
    rest: Map<String, Value>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(usize),
    Many(Vec<usize>),
}

/// Settings of which one value is computed here: each with that value, as JSON. A setting
/// that is not there, or null, has it.
const KNOWN: &[(&str, &str)] = &[
    ("act_fn", "\"silu\""),
    ("addition_embed_type", "\"text_time\""),
    ("attention_type", "\"default\""),
    ("center_input_sample", "false"),
    ("class_embed_type", "null"),
    ("class_embeddings_concat", "false"),
    ("controlnet_conditioning_channel_order", "\"rgb\""),
    ("conv_in_kernel", "3"),
    ("conv_out_kernel", "3"),
    ("cross_attention_norm", "null"),
    ("downsample_padding", "1"),
    ("dual_cross_attention", "false"),
    ("encoder_hid_dim_type", "null"),
    ("flip_sin_to_cos", "true"),
    ("freq_shift", "0"),
    ("latents_mean", "null"),
    ("latents_std", "null"),
    ("mid_block_scale_factor", "1"),
    ("norm_eps", "1e-5"),
    ("resnet_out_scale_factor", "1"),
    ("resnet_skip_time_act", "false"),
    ("shift_factor", "0"),
    ("time_cond_proj_dim", "null"),
    ("time_embedding_act_fn", "null"),
    ("time_embedding_type", "\"positional\""),
    ("timestep_post_act", "null"),
];

impl NetworkJson {
    /// Reads a `config.json`.
    ///
    /// # Errors
    /// It is no JSON, or a number in it is none; the rest of a sentence about the file.
    pub fn read(text: &str) -> Result<Self, String> {
        serde_json::from_str(text).map_err(|e| format!("is no config.json of diffusers: {e}"))
    }

    /// Whether all that it says is computed here.
    pub(super) fn only_known(&self) -> Result<(), String> {
        for (setting, wanted) in KNOWN {
            let found = self.rest.get(*setting).filter(|found| !found.is_null());
            let Some(found) = found else { continue };
            let same = match (found.as_f64(), wanted.parse::<f64>()) {
                (Some(found), Ok(wanted)) => found == wanted,
                _ => serde_json::from_str(wanted).is_ok_and(|wanted: Value| *found == wanted),
            };
            if !same {
                return Err(format!(
                    "says {setting} is {found}, but only {wanted} is known here; use another model"
                ));
            }
        }
        Ok(())
    }

    /// Whether it is of one of these classes of diffusers, if it says its class.
    pub(crate) fn is_of(&self, classes: &[&str]) -> Result<(), String> {
        let class = &self.class[..];
        if class.is_empty() || classes.contains(&class) {
            return Ok(());
        }
        Err(format!(
            "says _class_name is {class}, but its tensors are those of {}; {PUBLISHED}",
            classes.join(" or ")
        ))
    }

    /// Whether `setting`, if it is there, is what the shapes show; a list says it of each level.
    pub(crate) fn agrees(&self, setting: &str, shown: impl Into<Value>) -> Result<(), String> {
        let shown = shown.into();
        let Some(told) = self.rest.get(setting).filter(|told| !told.is_null()) else {
            return Ok(());
        };
        let each = told.as_array().filter(|_| !shown.is_array());
        match *told == shown || each.is_some_and(|each| each.iter().all(|told| *told == shown)) {
            true => Ok(()),
            false => Err(contradiction(setting, told, &shown)),
        }
    }

    /// Heads of attention, given the widths of the levels.
    pub(super) fn heads(&self, widths: &[usize]) -> Result<Option<Heads>, String> {
        let plain = self.class == "UNet2DModel";
        let told = self.num_attention_heads.as_ref();
        Ok(match told.or(self.attention_head_dim.as_ref()) {
            None => plain.then_some(Heads::Count(1)),
            Some(OneOrMany::One(width)) if plain => Some(Heads::Width(*width)),
            Some(OneOrMany::One(count)) => Some(Heads::Count(*count)),
            Some(OneOrMany::Many(counts)) => Some(even(counts, widths)?),
        })
    }
}

/// What to do about a configuration of another network.
const PUBLISHED: &str = "use the one that they were published with";

/// That a configuration says one thing and the shapes another.
pub(super) fn contradiction(
    setting: &str,
    told: impl std::fmt::Display,
    shown: impl std::fmt::Display,
) -> String {
    format!("says {setting} is {told}, but its tensors say {shown}; {PUBLISHED}")
}

/// Heads told for each level: of one width, or as many at each.
fn even(counts: &[usize], widths: &[usize]) -> Result<Heads, String> {
    let fail = || {
        format!(
            "says the levels of {widths:?} channels have {counts:?} heads, neither of one number \
             nor of one width; use another model"
        )
    };
    if counts.len() != widths.len() || counts.contains(&0) {
        return Err(fail());
    }
    if counts.windows(2).all(|pair| pair[0] == pair[1]) {
        return Ok(Heads::Count(counts[0]));
    }
    let width = widths[0] / counts[0];
    let same = counts
        .iter()
        .zip(widths)
        .all(|(count, all)| count * width == *all);
    same.then_some(Heads::Width(width)).ok_or_else(fail)
}

/// The `scheduler_config.json` of a folder.
#[derive(Debug, Clone, Deserialize)]
pub struct SchedulerJson {
    #[serde(default, rename = "_class_name")]
    class: String,
    use_flow_sigmas: Option<bool>,
    #[serde(default = "linear")]
    beta_schedule: String,
    #[serde(default = "first")]
    beta_start: f64,
    #[serde(default = "last")]
    beta_end: f64,
    #[serde(default = "thousand")]
    num_train_timesteps: usize,
    prediction_type: Option<String>,
    #[serde(default)]
    rescale_betas_zero_snr: bool,
    trained_betas: Option<Vec<f64>>,
}

// What diffusers' schedulers take when a configuration is silent.

fn linear() -> String {
    "linear".to_owned()
}

fn first() -> f64 {
    1e-4
}

fn last() -> f64 {
    0.02
}

fn thousand() -> usize {
    1000
}

/// How the classes are called whose noise does not follow from betas, whatever they say of these.
const OTHER_NOISE: &[&str] = &["EDM", "FlowMatch", "CMStochastic"];

impl SchedulerJson {
    /// Reads a `scheduler_config.json`.
    ///
    /// # Errors
    /// It is no JSON, or a number in it is none; the rest of a sentence about the file.
    pub fn read(text: &str) -> Result<Self, String> {
        serde_json::from_str(text)
            .map_err(|e| format!("is no scheduler_config.json of diffusers: {e}"))
    }

    /// The noise of training.
    ///
    /// # Errors
    /// A curve that is not known here; the rest of a sentence about the file.
    pub fn schedule(&self) -> Result<ScheduleConfig, String> {
        if self.trained_betas.is_some() {
            return Err("lists trained_betas, which are not read here".to_owned());
        }
        let class = &self.class;
        let flows = self.use_flow_sigmas == Some(true);
        if flows || OTHER_NOISE.iter().any(|other| class.starts_with(other)) {
            return Err(format!(
                "says _class_name is {class}, which adds noise by no betas; use another model, or \
                 take this file away and say the noise by `ModelSampling`"
            ));
        }
        let name = &self.beta_schedule;
        let betas = Betas::from_diffusers(name, self.beta_start, self.beta_end);
        let betas = betas.ok_or_else(|| {
            format!(
                "says beta_schedule is `{name}`, wanted `scaled_linear`, `linear` or \
                 `squaredcos_cap_v2`"
            )
        })?;
        Ok(ScheduleConfig {
            betas,
            timesteps: self.num_train_timesteps,
            rescale_zero_snr: match self.rescale_betas_zero_snr {
                true => ZeroSnr::Diffusers,
                false => ZeroSnr::No,
            },
        })
    }

    /// What the network predicts.
    ///
    /// # Errors
    /// A word that is not known here; the rest of a sentence about the file.
    pub fn prediction(&self) -> Result<Prediction, String> {
        match self.prediction_type.as_deref() {
            None | Some("epsilon") => Ok(Prediction::Epsilon),
            Some("sample") => Ok(Prediction::X0),
            Some("v_prediction") => Ok(Prediction::Velocity),
            Some(other) => Err(format!(
                "says prediction_type is `{other}`, wanted `epsilon`, `sample` or `v_prediction`"
            )),
        }
    }
}
