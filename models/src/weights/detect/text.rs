//! A text encoder's shape, from the shapes of its tensors, and from the `config.json` of a
//! folder what those do not show: heads, activation, which token ends a text.

use serde::Deserialize;

use super::Part;
use super::json::contradiction;
use super::look::Look;
use crate::text::{Activation, ClipConfig, TextConfig, TextTransformerConfig};
use crate::weights::{Family, TensorFile};

/// Where text encoders stand in single files.
const BERT: &str = "cond_stage_model.transformer.";
const ONE: &str = "cond_stage_model.";
const TWO: &str = "conditioner.embedders.";
const REFINER: &str = "conditioner.embedders.0.";

/// Heads of all transformers of CLIP are so wide.
const HEAD_WIDTH: usize = 64;

/// Heads of the paper's text encoder, whatever its width.
const BERT_HEADS: usize = 8;

/// The text encoder in a single file.
pub(super) fn single(file: &TensorFile) -> Option<Part<TextConfig>> {
    let look = |prefix| Look { file, prefix };
    let part = |config, prefix: &str| Part {
        config,
        family: Family::CompVis,
        prefix: prefix.to_owned(),
    };
    if let Some(config) = bert(look(BERT), "token_emb", "pos_emb.emb") {
        return Some(part(TextConfig::Bert(config), BERT));
    }
    if let Some(config) = hugging(look("cond_stage_model.transformer."), ClipConfig::vit_l()) {
        return Some(part(TextConfig::Clip(config), ONE));
    }
    if let Some(config) = open(look("cond_stage_model.model.")) {
        let config = ClipConfig {
            projection: None,
            norm: true,
            // Converted from a folder, the layer that is not looked at is gone already.
            layer: if config.layers == 23 { 1 } else { config.layer },
            ..config
        };
        return Some(part(TextConfig::Clip(config), ONE));
    }
    if let Some(config) = open(look("conditioner.embedders.0.model.")) {
        return Some(part(TextConfig::Clip(config), REFINER));
    }
    let first = look("conditioner.embedders.0.transformer.");
    let first = hugging(first, ClipConfig::vit_l())?.for_xl();
    let second = open(look("conditioner.embedders.1.model."))?;
    Some(part(TextConfig::TwoClips { first, second }, TWO))
}

/// The text encoder in a file of its own, by transformers' or diffusers' names behind
/// `prefix`.
pub(super) fn alone(
    file: &TensorFile,
    prefix: &str,
    json: Option<&TextJson>,
) -> Option<TextConfig> {
    let look = Look { file, prefix };
    let none = TextJson::default();
    let json = json.unwrap_or(&none);
    if let Some(mut config) = bert(look, "model.embed_tokens", "model.embed_positions") {
        config.heads = json.encoder_attention_heads.unwrap_or(config.heads);
        let q = look.layer("model.layers.0.self_attn.q_proj");
        config.head_width = q.map_or(HEAD_WIDTH, |(inner, _)| inner / config.heads.max(1));
        return Some(TextConfig::Bert(config));
    }
    hugging(look, like(look, json)).map(|config| TextConfig::Clip(json.tell(config)))
}

/// The paper's, by its two tables of vectors.
fn bert(look: Look<'_>, tokens: &str, places: &str) -> Option<TextTransformerConfig> {
    let (vocab_size, width) = look.layer(tokens)?;
    let (max_length, _) = look.layer(places)?;
    let ours = look.count(|i| format!("attn_layers.layers.{i}.")) / 2;
    let q = look.layer("attn_layers.layers.0.1.to_q");
    Some(TextTransformerConfig {
        vocab_size,
        max_length,
        width,
        layers: ours.max(look.count(|i| format!("model.layers.{i}."))),
        heads: BERT_HEADS,
        head_width: q.map_or(HEAD_WIDTH, |(inner, _)| inner / BERT_HEADS),
    })
}

/// CLIP's, by the names of transformers; `like` says what shapes do not.
fn hugging(look: Look<'_>, like: ClipConfig) -> Option<ClipConfig> {
    let (vocab_size, width) = look.layer("text_model.embeddings.token_embedding")?;
    let (max_length, _) = look.layer("text_model.embeddings.position_embedding")?;
    let (feed, _) = look.layer("text_model.encoder.layers.0.mlp.fc1")?;
    Some(ClipConfig {
        vocab_size,
        max_length,
        width,
        layers: look.count(|i| format!("text_model.encoder.layers.{i}.")),
        heads: (width / HEAD_WIDTH).max(1),
        feed,
        projection: look.layer("text_projection").map(|(to, _)| to),
        // A vocabulary that is not CLIP's own has its ids elsewhere.
        pad: Some(like.pad)
            .filter(|pad| (*pad as usize) < vocab_size)
            .unwrap_or(0),
        end: like.end.filter(|end| (*end as usize) < vocab_size),
        ..like
    })
}

/// The transformer of CLIP with such activations, else of such a width: OpenAI's is 768, and
/// OpenCLIP's, where it stands alone, has lost the layers that are not looked at.
fn like(look: Look<'_>, json: &TextJson) -> ClipConfig {
    let width = look.layer("text_model.embeddings.token_embedding");
    match (json.hidden_act.as_deref(), width) {
        (Some("quick_gelu"), _) | (None, Some((_, 768))) => ClipConfig::vit_l(),
        _ => ClipConfig {
            layer: 1,
            ..ClipConfig::vit_h()
        },
    }
}

/// CLIP's, by the names of OpenCLIP, as Stable Diffusion XL reads it.
fn open(look: Look<'_>) -> Option<ClipConfig> {
    let (vocab_size, width) = look.layer("token_embedding")?;
    let [max_length, _] = look.shape("positional_embedding")? else {
        return None;
    };
    let (feed, _) = look.layer("transformer.resblocks.0.mlp.c_fc")?;
    Some(ClipConfig {
        vocab_size,
        max_length: *max_length,
        width,
        layers: look.count(|i| format!("transformer.resblocks.{i}.")),
        heads: (width / HEAD_WIDTH).max(1),
        feed,
        projection: look
            .shape("text_projection")
            .and_then(|shape| shape.get(1).copied()),
        ..ClipConfig::big_g()
    })
}

/// The `config.json` of a text encoder.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct TextJson {
    hidden_act: Option<String>,
    num_attention_heads: Option<usize>,
    encoder_attention_heads: Option<usize>,
    eos_token_id: Option<u32>,
    hidden_size: Option<usize>,
    num_hidden_layers: Option<usize>,
}

/// transformers takes the largest id for the end of a text where a configuration says this.
const OLD_END: u32 = 2;

impl TextJson {
    /// Reads a `config.json`.
    ///
    /// # Errors
    /// It is no JSON, or asks for what is not computed here; the rest of a sentence about
    /// the file.
    pub fn read(text: &str) -> Result<Self, String> {
        let json: Self = serde_json::from_str(text)
            .map_err(|e| format!("is no config.json of a text encoder: {e}"))?;
        match json.hidden_act.as_deref() {
            None | Some("quick_gelu" | "gelu") => Ok(json),
            Some(other) => Err(format!(
                "says hidden_act is `{other}`, wanted `quick_gelu` or `gelu`"
            )),
        }
    }

    /// Errors where it is of another network than the shapes show.
    pub(super) fn agrees(&self, config: &TextConfig) -> Result<(), String> {
        let TextConfig::Clip(clip) = config else {
            return Ok(());
        };
        let same = |setting, told: Option<usize>, shown| match told {
            Some(told) if told != shown => Err(contradiction(setting, told, shown)),
            _ => Ok(()),
        };
        same("hidden_size", self.hidden_size, clip.width)?;
        same("num_hidden_layers", self.num_hidden_layers, clip.layers)
    }

    fn tell(&self, config: ClipConfig) -> ClipConfig {
        let activation = match self.hidden_act.as_deref() {
            Some("quick_gelu") => Activation::QuickGelu,
            Some("gelu") => Activation::Gelu,
            _ => config.activation,
        };
        ClipConfig {
            heads: self.num_attention_heads.unwrap_or(config.heads),
            end: self
                .eos_token_id
                .map_or(config.end, |end| Some(end).filter(|e| *e != OLD_END)),
            activation,
            ..config
        }
    }
}
