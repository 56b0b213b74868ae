//! `TextEncoder`: a handle on one or two text networks with their tokenizer.

use std::sync::{Arc, OnceLock};

use burn::tensor::{DType, Device};
use ldm_engine::{Error, Result};
use ldm_models::adapter::Part;
use ldm_models::text::{TextConfig, TextNetwork, TextTransformerConfig};
use ldm_models::tokenizer::Tokenizer;
use ldm_models::weights::{Family, KeyTable, Types};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{About, Model};

/// A handle on a text encoder with its tokenizer.
pub type TextEncoder = Model<TextEncoderAbout>;

/// What a text encoder is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Written", into = "Written")]
pub struct TextEncoderAbout {
    /// The network.
    pub config: TextConfig,
    /// Text to ids.
    pub vocabulary: Vocabulary,
}

/// A `tokenizer.json`, read when it is first wanted; clones share what was read.
#[derive(Debug, Clone)]
pub struct Vocabulary {
    json: Arc<str>,
    read: Arc<OnceLock<Tokenizer>>,
}

impl Vocabulary {
    /// CLIP's own, which this program carries.
    pub const CLIP: &str = "clip";

    /// The `tokenizer.json`, or [`Vocabulary::CLIP`].
    pub fn json(&self) -> &str {
        &self.json
    }
}

impl From<String> for Vocabulary {
    fn from(json: String) -> Self {
        Self {
            json: json.into(),
            read: Arc::default(),
        }
    }
}

impl PartialEq for Vocabulary {
    fn eq(&self, other: &Self) -> bool {
        self.json == other.json
    }
}

impl TextEncoderAbout {
    /// The network of `config` with the tokenizer in `json`.
    pub fn new(config: TextConfig, json: String) -> Self {
        Self {
            config,
            vocabulary: json.into(),
        }
    }

    /// Text to as many ids as the network reads.
    ///
    /// # Errors
    /// When it is no tokenizer, or not this network's.
    pub fn tokenizer(&self) -> Result<&Tokenizer> {
        if let Some(read) = self.vocabulary.read.get() {
            return Ok(read);
        }
        let length = Some(self.config.max_length());
        let tokenizer = Tokenizer::from_json(self.vocabulary.json.as_bytes(), length)?;
        let (ids, rows) = (tokenizer.vocabulary(), self.config.vocab_size());
        if ids > rows {
            let message = format!("the tokenizer has {ids} ids, the text encoder {rows}");
            let hint = "use the tokenizer that the model was trained with";
            return Err(Error::new(message).hint(hint));
        }
        Ok(self.vocabulary.read.get_or_init(|| tokenizer))
    }
}

impl About for TextEncoderAbout {
    type Module = TextNetwork;
    const NAME: &'static str = "TextEncoder";
    const PART: Option<Part> = Some(Part::Text);

    fn init(&self, device: &Device) -> Result<TextNetwork> {
        Ok(self.config.init(device, 0)?)
    }
    fn table(&self, family: Family) -> KeyTable {
        KeyTable::text_encoder(family, &self.config)
    }

    /// It runs once and in f32; a GPU holds its weights in f16, as most files do.
    fn types(&self, asked: Types) -> Types {
        let weights = match asked.compute {
            DType::F32 => DType::F32,
            _ => DType::F16,
        };
        Types {
            weights,
            compute: DType::F32,
        }
    }
}

/// What is written down, which identities are made of. The paper's text encoder stands as it
/// did when there was no other, so that what was made with it is found again.
#[derive(Serialize, Deserialize)]
#[serde(rename = "TextEncoderAbout")]
struct Written {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[serde(serialize_with = "bare", deserialize_with = "some")]
    config: Option<TextTransformerConfig>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[serde(serialize_with = "bare", deserialize_with = "some")]
    network: Option<TextConfig>,
    tokenizer: String,
}

fn bare<T: Serialize, S: Serializer>(value: &Option<T>, to: S) -> Result<S::Ok, S::Error> {
    match value {
        Some(value) => value.serialize(to),
        None => to.serialize_none(),
    }
}

fn some<'de, T: Deserialize<'de>, D: Deserializer<'de>>(from: D) -> Result<Option<T>, D::Error> {
    T::deserialize(from).map(Some)
}

impl From<TextEncoderAbout> for Written {
    fn from(about: TextEncoderAbout) -> Self {
        let tokenizer = about.vocabulary.json.to_string();
        let (config, network) = match about.config {
            TextConfig::Bert(config) => (Some(config), None),
            other => (None, Some(other)),
        };
        Self {
            config,
            network,
            tokenizer,
        }
    }
}

impl TryFrom<Written> for TextEncoderAbout {
    type Error = &'static str;

    fn try_from(written: Written) -> Result<Self, Self::Error> {
        let bert = written.config.map(TextConfig::Bert);
        let config = bert.or(written.network).ok_or("it says no network")?;
        Ok(Self::new(config, written.tokenizer))
    }
}

#[cfg(test)]
mod tests {
    use ldm_models::text::ClipConfig;

    use super::*;

    #[test]
    fn every_kind_comes_back_from_its_words_and_the_papers_are_as_they_were() {
        let clip = ClipConfig::vit_l();
        let bert = TextTransformerConfig {
            vocab_size: 10,
            max_length: 6,
            width: 4,
            layers: 1,
            heads: 2,
            head_width: 2,
        };
        for config in [
            TextConfig::Bert(bert),
            TextConfig::Clip(clip.clone()),
            TextConfig::TwoClips {
                first: clip.for_xl(),
                second: ClipConfig::big_g(),
            },
        ] {
            let about = TextEncoderAbout::new(config, "clip".to_owned());
            let words = ron::to_string(&about).unwrap();
            assert_eq!(ron::from_str::<TextEncoderAbout>(&words).unwrap(), about);
            if let TextConfig::Bert(_) = about.config {
                let wanted = "(config:(vocab_size:10,max_length:6,width:4,layers:1,heads:2,\
                              head_width:2),tokenizer:\"clip\")";
                assert_eq!(words, wanted);
            }
        }
        assert!(ron::from_str::<TextEncoderAbout>("(tokenizer:\"clip\")").is_err());
    }
}
