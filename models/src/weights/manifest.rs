//! The manifest of a model: a folder's `model.ron`, which names its networks and files.
//!
//! ```ron
//! Model(
//!     format: 1,
//!     name: "text",
//!     latent: (factor: 8, channels: 4, scale: 0.18215),
//!     schedule: (betas: ScaledLinear(start: 0.00085, end: 0.012)),
//!     prediction: Epsilon,
//!     vae: (file: "vae.safetensors", config: Kl(ch: 32, ch_mult: [1, 2, 4, 4], …)),
//!     unet: (file: "unet.safetensors", config: (in_channels: 4, …)),
//!     text_encoder: (
//!         file: "text_encoder.safetensors", tokenizer: "tokenizer.json",
//!         config: Bert(vocab_size: 512, …),
//!     ),
//! )
//! ```
//!
//! Promises
//! - Reading a manifest reads no weight; checking it reads the headers of its files.
//! - A file is named beside the manifest, never outside its folder.
//! - What `write` writes, `read` reads back the same.
//!
//! Not here: checkpoints without a manifest, which are recognised by their keys.

use std::fs;
use std::path::{Component, Path, PathBuf};

use burn::module::Module;
use burn::tensor::{DType, Device};
use ron::extensions::Extensions;
use serde::{Deserialize, Serialize};

use super::{KeyTable, NoPatch, TensorFile, faults, load, write_atomically};
use crate::autoencoder::Autoencoder;
use crate::conditioner::{ClassEmbedderConfig, SpatialRescalerConfig};
use crate::error::{Error, Result};
use crate::prediction::Prediction;
use crate::schedule::ScheduleConfig;
pub use crate::text::TextConfig;
use crate::text::TextNetwork;
use crate::tokenizer::Tokenizer;
use crate::unet::{UNet, UNetConfig};

pub use crate::autoencoder::VaeConfig;

/// What the manifest of a folder is called.
pub const FILE: &str = "model.ron";

/// The newest format this program writes, and the only one it reads.
const FORMAT: u32 = 1;

/// More bytes than a manifest has; a larger file is something else.
const MOST_BYTES: u64 = 1 << 20;

/// A model: its networks, each optional, and what they share.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename = "Model", deny_unknown_fields)]
pub struct Manifest {
    /// The format of the manifest itself.
    pub format: u32,
    /// What the model is called.
    pub name: String,
    /// What it was made from, in a sentence for people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub about: String,
    /// The latents its networks speak.
    pub latent: LatentSpec,
    /// The noise its U-Net was trained on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule: Option<ScheduleConfig>,
    /// What its U-Net predicts.
    #[serde(default)]
    pub prediction: Prediction,
    /// Pictures to latents and back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vae: Option<VaePart>,
    /// The denoiser.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unet: Option<UNetPart>,
    /// Words to tokens to vectors.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text_encoder: Option<TextPart>,
    /// Classes to tokens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class_embedder: Option<ClassPart>,
    /// Maps of classes to channels beside the latent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spatial_rescaler: Option<MapPart>,
    #[serde(skip)]
    folder: PathBuf,
}

/// The latents that a model's networks exchange.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LatentSpec {
    /// How many pixels of a picture's side one latent pixel covers.
    pub factor: usize,
    /// Channels of the latent.
    pub channels: usize,
    /// What the encoder's output is multiplied by, so that its variance is near 1; the
    /// decoder's input is divided by it.
    pub scale: f64,
}

/// An autoencoder and its weights.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VaePart {
    /// Its weights, in this folder.
    pub file: String,
    /// Its shape.
    pub config: VaeConfig,
    /// Whether its numbers are known to stay within f16, which those of other models with its
    /// scale do not.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub fits_f16: bool,
}

/// A U-Net and its weights.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UNetPart {
    /// Its weights, in this folder.
    pub file: String,
    /// Its shape.
    pub config: UNetConfig,
}

/// A class embedder and its weights.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClassPart {
    /// Its weights, in this folder.
    pub file: String,
    /// Its shape.
    pub config: ClassEmbedderConfig,
}

/// A spatial rescaler and its weights.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MapPart {
    /// Its weights, in this folder.
    pub file: String,
    /// Its shape.
    pub config: SpatialRescalerConfig,
}

/// A text encoder, its weights and its tokenizer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TextPart {
    /// Its weights, in this folder.
    pub file: String,
    /// The tokenizer it was trained with, in this folder; left out for CLIP's own vocabulary.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub tokenizer: String,
    /// Its shape.
    pub config: TextConfig,
}

impl Manifest {
    /// A model without networks yet, to be filled in and written.
    pub fn new(name: &str, latent: LatentSpec) -> Self {
        Self {
            format: FORMAT,
            name: name.to_owned(),
            about: String::new(),
            latent,
            schedule: None,
            prediction: Prediction::default(),
            vae: None,
            unet: None,
            text_encoder: None,
            class_embedder: None,
            spatial_rescaler: None,
            folder: PathBuf::new(),
        }
    }

    /// Reads the manifest of `folder`; no weight file is touched.
    ///
    /// # Errors
    /// There is none, it cannot be read, it is of a newer format, or it does not parse;
    /// the place in the file is named.
    pub fn read(folder: &Path) -> Result<Self> {
        let path = folder.join(FILE);
        let text = read_text(&path)?;
        if let Ok(Head { format }) = options().from_str(&text)
            && format != FORMAT
        {
            let what = format!("has format {format}, wanted {FORMAT}; use a newer ldm-graph");
            return Err(Error::wrong_file(&path, what));
        }
        let mut manifest: Self = options().from_str(&text).map_err(|wrong| {
            let (at, why) = (wrong.span.start, wrong.code);
            Error::wrong_file(
                &path,
                format!("does not parse at {at}: {why}; correct it there"),
            )
        })?;
        manifest.folder = folder.to_path_buf();
        Ok(manifest)
    }

    /// Writes the manifest into `folder`.
    ///
    /// # Errors
    /// The folder is not there or not writable.
    pub fn write(&self, folder: &Path) -> Result<()> {
        let path = folder.join(FILE);
        let pretty = ron::ser::PrettyConfig::new().compact_arrays(true);
        let text = options()
            .to_string_pretty(self, pretty)
            .map_err(|e| Error::file(&path, "cannot be laid out", e))?;
        write_atomically(&path, format!("Model{text}\n").as_bytes())
    }

    /// Holds the parts against each other, and the headers of their files against the
    /// configurations. Reads no weight.
    ///
    /// # Errors
    /// Everything that is wrong.
    pub fn check(&self) -> Result<(), Vec<Error>> {
        let mut wrong = Vec::new();
        wrong.extend(self.disagreement());
        // The device is only remembered by networks whose parameters are never drawn.
        let device = Device::flex();
        if let Some(part) = &self.vae {
            wrong.extend(self.misfit(&part.file, part.config.init(&device, 0)).err());
        }
        if let Some(part) = &self.unet {
            wrong.extend(self.misfit(&part.file, part.config.init(&device, 0)).err());
        }
        if let Some(part) = &self.text_encoder {
            wrong.extend(self.misfit(&part.file, part.config.init(&device, 0)).err());
            wrong.extend(self.load_tokenizer().err());
        }
        if let Some(part) = &self.class_embedder {
            wrong.extend(self.misfit(&part.file, part.config.init(&device, 0)).err());
        }
        if let Some(part) = &self.spatial_rescaler {
            wrong.extend(self.misfit(&part.file, part.config.init(&device, 0)).err());
        }
        if wrong.is_empty() { Ok(()) } else { Err(wrong) }
    }

    /// The autoencoder with its weights as `dtype` on `device`.
    ///
    /// # Errors
    /// The model has none, or its file does not fit.
    pub fn load_vae(&self, device: &Device, dtype: DType) -> Result<Autoencoder> {
        let part = self.vae.as_ref().ok_or_else(|| self.lacks("vae"))?;
        self.filled(&part.file, part.config.init(device, 0)?, dtype)
    }

    /// The U-Net with its weights as `dtype` on `device`.
    ///
    /// # Errors
    /// The model has none, or its file does not fit.
    pub fn load_unet(&self, device: &Device, dtype: DType) -> Result<UNet> {
        let part = self.unet.as_ref().ok_or_else(|| self.lacks("unet"))?;
        self.filled(&part.file, part.config.init(device, 0)?, dtype)
    }

    /// The text encoder with its weights as `dtype` on `device`.
    ///
    /// # Errors
    /// The model has none, or its file does not fit.
    pub fn load_text_encoder(&self, device: &Device, dtype: DType) -> Result<TextNetwork> {
        let part = self
            .text_encoder
            .as_ref()
            .ok_or_else(|| self.lacks("text_encoder"))?;
        self.filled(&part.file, part.config.init(device, 0)?, dtype)
    }

    /// The tokenizer of the text encoder, giving as many ids as that reads.
    ///
    /// # Errors
    /// The model has no text encoder, the file is no tokenizer, or it has more words
    /// than the text encoder.
    pub fn load_tokenizer(&self) -> Result<Tokenizer> {
        let part = self
            .text_encoder
            .as_ref()
            .ok_or_else(|| self.lacks("text_encoder"))?;
        let (length, rows) = (part.config.max_length(), part.config.vocab_size());
        let (path, tokenizer) = if part.tokenizer.is_empty() {
            (self.path(), Tokenizer::clip(length))
        } else {
            let path = self.inside(&part.tokenizer)?;
            (path.clone(), Tokenizer::open(&path, Some(length)))
        };
        let unfit = |e| Error::file(&path, "is not the tokenizer of this model", e);
        let tokenizer = tokenizer.map_err(unfit)?;
        let ids = tokenizer.vocabulary();
        if ids > rows {
            let what = format!(
                "has ids up to {}, wanted less than vocab_size, {rows}",
                ids - 1
            );
            return Err(Error::wrong_file(
                &path,
                what + "; use the one it was trained with",
            ));
        }
        Ok(tokenizer)
    }

    fn path(&self) -> PathBuf {
        self.folder.join(FILE)
    }

    fn lacks(&self, part: &str) -> Error {
        let what = format!("has no `{part}`; use a model that has one, or add it");
        Error::wrong_file(&self.path(), what)
    }

    /// A file beside the manifest.
    fn inside(&self, name: &str) -> Result<PathBuf> {
        let plain = |part| matches!(part, Component::Normal(_));
        if name.is_empty() || !Path::new(name).components().all(plain) {
            let what = format!("names the file `{name}`, wanted one inside its own folder");
            return Err(Error::wrong_file(&self.path(), what));
        }
        Ok(self.folder.join(name))
    }

    fn misfit<M: Module>(&self, file: &str, network: Result<M>) -> Result<()> {
        let file = TensorFile::open(&self.inside(file)?)?;
        let faults = faults(&network?, &file, &KeyTable::native());
        if faults.is_empty() {
            return Ok(());
        }
        Err(Error::Tensors {
            path: file.path().to_path_buf(),
            faults: Box::new(faults),
        })
    }

    fn filled<M: Module>(&self, file: &str, network: M, dtype: DType) -> Result<M> {
        let file = TensorFile::open(&self.inside(file)?)?;
        load(network, &file, &KeyTable::native(), dtype, &NoPatch)
    }

    /// Where two parts of the manifest contradict each other.
    fn disagreement(&self) -> Vec<Error> {
        let mut wrong = Vec::new();
        let mut agree = |left: (&str, usize), right: (&str, usize)| {
            if left.1 != right.1 {
                let what = format!(
                    "says {} is {} and {} is {}; they must be equal",
                    left.0, left.1, right.0, right.1
                );
                wrong.push(Error::wrong_file(&self.path(), what));
            }
        };
        let channels = ("latent.channels", self.latent.channels);
        if let Some(VaePart { config, .. }) = &self.vae
            && config.check().is_ok()
        {
            agree(channels, ("vae.embed_dim", config.embed_dim()));
            agree(
                ("latent.factor", self.latent.factor),
                ("vae's factor", config.factor()),
            );
        }
        if let Some(UNetPart { config, .. }) = &self.unet {
            agree(channels, ("unet.out_channels", config.out_channels));
            if let (Some(dim), Some(text)) = (config.context_dim, &self.text_encoder) {
                agree(
                    ("unet.context_dim", dim),
                    ("text_encoder.width", text.config.width()),
                );
            }
            if let (Some(dim), Some(class)) = (config.context_dim, &self.class_embedder) {
                let width = ("class_embedder.width", class.config.width);
                agree(("unet.context_dim", dim), width);
            }
        }
        let scale = self.latent.scale;
        if !(scale.is_finite() && scale > 0.0) {
            let what = format!("says latent.scale is {scale}, wanted a number above 0");
            wrong.push(Error::wrong_file(&self.path(), what));
        }
        match &self.schedule {
            None if self.unet.is_some() => {
                let what = "has a `unet` and no `schedule`; add the one it was trained on";
                wrong.push(Error::wrong_file(&self.path(), what));
            }
            Some(schedule) => {
                let unfit = |e| Error::file(&self.path(), "has an impossible `schedule`", e);
                wrong.extend(schedule.check().map_err(unfit).err());
            }
            None => {}
        }
        wrong
    }
}

/// What is read of a manifest of any format.
#[derive(Deserialize)]
#[serde(rename = "Model")]
struct Head {
    format: u32,
}

fn options() -> ron::Options {
    ron::Options::default()
        .with_default_extension(Extensions::IMPLICIT_SOME | Extensions::UNWRAP_VARIANT_NEWTYPES)
}

fn read_text(path: &Path) -> Result<String> {
    let cannot = |source| Error::file(path, "cannot be read; a model's folder holds one", source);
    let length = fs::metadata(path).map_err(cannot)?.len();
    if length > MOST_BYTES {
        let what = format!("has {length} bytes, wanted a manifest of at most {MOST_BYTES}");
        return Err(Error::wrong_file(path, what));
    }
    let bytes = fs::read(path).map_err(cannot)?;
    String::from_utf8(bytes)
        .map_err(|_| Error::wrong_file(path, "is no text in UTF-8; save it as such"))
}
