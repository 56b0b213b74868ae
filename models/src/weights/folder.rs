//! A model as people have it: one file, or diffusers' folder with a folder for each network.
//!
//! ```text
//! model_index.json
//! unet/       config.json, diffusion_pytorch_model[.fp16].safetensors, or in parts
//! vae/        the same (vqvae/ of the paper's models)
//! text_encoder/, text_encoder_2/  (bert/)       tokenizer/, tokenizer_2/
//! scheduler/  scheduler_config.json
//! ```
//!
//! Promises
//! - Files are reached through [`Files`], which the caller keeps inside the folder; a name
//!   read from a file is a plain name or refused.
//! - Full precision is taken before half, safetensors before pickles, unless a variant is
//!   asked for by name.
//! - The same look gives the same answer while planning and while running.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path};

use serde::Deserialize;

use super::TensorFile;
use super::detect::{self, Denoiser, NetworkJson, Part, SchedulerJson, TextJson};
use crate::autoencoder::VaeConfig;
use crate::conditioner::{ClassEmbedderConfig, SpatialRescalerConfig};
use crate::error::{Error, Result};
use crate::text::{ClipConfig, TextConfig};
use crate::tokenizer::TokenizerFiles;

/// The files of a model: those inside a folder, or one alone, whose name is then empty.
pub trait Files {
    /// Where it is, for messages.
    fn path(&self) -> &Path;
    /// Whether the model is a folder.
    fn is_folder(&self) -> bool;
    /// Whether there is a file called `inside`.
    fn has(&self, inside: &str) -> bool;
    /// The text of a small file.
    ///
    /// # Errors
    /// It is not there, is large, or is no text.
    fn text(&self, inside: &str) -> Result<String>;
    /// A file of tensors, its header read.
    ///
    /// # Errors
    /// It is not there, or holds none.
    fn tensors(&self, inside: &str) -> Result<TensorFile>;
}

/// The files that a network's weights are in, each with what is put before its names.
pub type Place = Vec<(String, String)>;

/// An autoencoder.
#[derive(Debug, Clone, PartialEq)]
pub struct Coder {
    /// The network.
    pub part: Part<VaeConfig>,
    /// What latents are multiplied by after encoding.
    pub scale: f64,
    /// Whether a folder says that its numbers stay within f16: `force_upcast: false`. (`true` says
    /// nothing: diffusers writes it for all.)
    pub fits_f16: bool,
}

/// A text encoder and what turns words into its ids.
#[derive(Debug, Clone, PartialEq)]
pub struct Reader {
    /// The network.
    pub part: Part<TextConfig>,
    /// A `tokenizer.json`; none where CLIP's own is meant, or the folder has none.
    pub tokenizer: Option<String>,
}

/// What a model holds, and where.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Found {
    /// Predicts the noise.
    pub unet: Option<(Denoiser, Place)>,
    /// Pictures to latents and back.
    pub vae: Option<(Coder, Place)>,
    /// Words to vectors.
    pub text: Option<(Reader, Place)>,
    /// Classes to tokens.
    pub class: Option<(Part<ClassEmbedderConfig>, Place)>,
    /// Maps of classes to channels.
    pub map: Option<(Part<SpatialRescalerConfig>, Place)>,
    /// What was wanted and stands there, and was not taken.
    pub unread: Vec<Unread>,
}

/// A network that a folder seems to have, and that was not taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unread {
    /// What it would have been: `unet`, `vae` or `text_encoder`.
    pub output: &'static str,
    /// Where it stands, why it was not taken, and what to do.
    pub why: String,
}

impl Unread {
    fn stranger(what: &str) -> Self {
        Self {
            output: UNET.output,
            why: format!("it is {what}"),
        }
    }
}

/// Which networks are looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wanted {
    /// The U-Net.
    pub unet: bool,
    /// The autoencoder.
    pub vae: bool,
    /// The text encoder, or what else makes a conditioning.
    pub text: bool,
}

impl Wanted {
    /// All.
    pub const ALL: Self = Self {
        unet: true,
        vae: true,
        text: true,
    };
}

impl Found {
    /// What is wanted of `files`; `variant` is `fp16` and the like.
    ///
    /// # Errors
    /// A file that cannot be read, a network that makes no sense or asks for what is not
    /// computed here, or a `variant` that is not there.
    pub fn look(files: &dyn Files, wanted: Wanted, variant: Option<&str>) -> Result<Self> {
        let model = Model { files, variant };
        match files.is_folder() {
            true => model.folder(wanted),
            false => model.single(wanted),
        }
    }
}

/// The files of the weights in a folder that is one network's own.
pub fn own(files: &dyn Files) -> Option<Place> {
    let variant = None;
    Model { files, variant }.weights("").ok()
}

/// The tensors of a network in `files`, as if they were in one file, under the names that the
/// tables know.
///
/// # Errors
/// As [`Files::tensors`]; two files hold a tensor of one name.
pub fn open(files: &dyn Files, place: &Place) -> Result<TensorFile> {
    join(place, |inside| files.tensors(inside))
}

/// The same with the files opened otherwise.
///
/// # Errors
/// What `tensors` says; two files hold a tensor of one name.
pub fn join(
    place: &Place,
    mut tensors: impl FnMut(&str) -> Result<TensorFile>,
) -> Result<TensorFile> {
    let each = place
        .iter()
        .map(|(inside, before)| Ok(tensors(inside)?.under(before)));
    Ok(TensorFile::joined(each.collect::<Result<Vec<_>>>()?)?.with_known_names())
}

/// A network that diffusers keeps in a folder of its own.
struct Role {
    /// What nodes call it.
    output: &'static str,
    what: &'static str,
    /// What the folder is called, by age.
    folders: &'static [&'static str],
}

const UNET: Role = Role {
    output: "unet",
    what: "a UNet",
    folders: &["unet"],
};
const VAE: Role = Role {
    output: "vae",
    what: "an autoencoder",
    folders: &["vae", "vqvae"],
};
const TEXT: Role = Role {
    output: "text_encoder",
    what: "a text encoder",
    folders: &["text_encoder", "bert"],
};
const SECOND: Role = Role {
    folders: &["text_encoder_2"],
    ..TEXT
};
const TRANSFORMER: &str = "transformer";
const SCHEDULER: &str = "scheduler/scheduler_config.json";
const CONFIG: &str = "config.json";

/// What diffusers and transformers call a file of weights.
const WEIGHTS: &[&str] = &["diffusion_pytorch_model", "model", "pytorch_model"];

/// The variant that is taken where there are no weights without one.
const HALF: &str = "fp16";

struct Model<'a> {
    files: &'a dyn Files,
    variant: Option<&'a str>,
}

impl Model<'_> {
    fn single(&self, wanted: Wanted) -> Result<Found> {
        if self.variant.is_some() {
            let what = "is one file, which has no `variant`; leave that out";
            return Err(Error::wrong_file(self.files.path(), what));
        }
        let place = vec![(String::new(), String::new())];
        let file = open(self.files, &place)?;
        // One that is not wanted still tells the scale of the autoencoder's latents.
        let unet = match wanted.unet {
            true => detect::unet(&file, None)?,
            false => detect::unet(&file, None).unwrap_or_default(),
        };
        let scale = unet.as_ref().map(|unet| unet.scale);
        let vae = detect::vae(&file, None)?;
        let vae = vae.map(|part| {
            let scale = scale.unwrap_or_else(|| detect::scale_alone(&part.config));
            Coder {
                part,
                scale,
                fits_f16: false,
            }
        });
        let text = detect::text(&file, None)?;
        let text = text.map(|part| Reader {
            part,
            tokenizer: None,
        });
        let placed = |is: bool| is.then(|| place.clone());
        let none = unet.is_none() && vae.is_none() && text.is_none();
        let why = none.then(|| detect::stranger(&file)).flatten();
        let unread = why.map(Unread::stranger);
        Ok(Found {
            unet: unet.zip(placed(wanted.unet)),
            vae: vae.zip(placed(wanted.vae)),
            text: text.zip(placed(wanted.text)),
            class: detect::class_embedder(&file).zip(placed(wanted.text)),
            map: detect::spatial_rescaler(&file).zip(placed(wanted.text)),
            unread: unread.into_iter().collect(),
        })
    }

    fn folder(&self, wanted: Wanted) -> Result<Found> {
        let mut found = Found {
            unet: self.network(&UNET, wanted.unet, |inside| self.unet(inside))?,
            vae: self.network(&VAE, wanted.vae, |inside| self.vae(inside))?,
            text: match wanted.text {
                true => self.text()?,
                false => None,
            },
            ..Found::default()
        };
        let missing = [
            (UNET, wanted.unet && found.unet.is_none()),
            (VAE, wanted.vae && found.vae.is_none()),
            (TEXT, wanted.text && found.text.is_none()),
            (SECOND, wanted.text && found.text.is_none()),
        ];
        for (role, _) in missing.into_iter().filter(|(_, missing)| *missing) {
            found.unread.extend(self.unread(&role)?);
        }
        if wanted.unet && found.unet.is_none() {
            found.unread.extend(self.transformer());
        }
        if found.unet.is_none() && found.vae.is_none() && found.text.is_none() {
            found.unread.extend(self.hub());
            found.unread.extend(self.other());
        }
        Ok(found)
    }

    /// That a folder has what newer models have in place of a U-Net.
    fn transformer(&self) -> Option<Unread> {
        let there = self.files.has(&format!("{TRANSFORMER}/{CONFIG}"));
        let at = self.files.path().join(TRANSFORMER);
        there.then(|| Unread {
            output: UNET.output,
            why: format!(
                "{} holds a transformer, as models after Stable Diffusion XL have in place of a \
                 UNet, which is not run here; use a model that has a folder `unet`",
                at.display()
            ),
        })
    }

    /// That a folder is one of Hugging Face's cache, which has the model's further down.
    fn hub(&self) -> Option<Unread> {
        let commit = self.files.text("refs/main").ok()?;
        let commit = commit.trim();
        is_plain(commit).then(|| Unread {
            output: UNET.output,
            why: format!("the model is in it, in the folder `snapshots/{commit}`: name that"),
        })
    }

    /// That a folder is another network's own.
    fn other(&self) -> Option<Unread> {
        let file = open(self.files, &own(self.files)?).ok()?;
        detect::stranger(&file).map(Unread::stranger)
    }

    /// Why a folder of this role that has weights gave no network.
    fn unread(&self, role: &Role) -> Result<Option<Unread>> {
        for name in role.folders {
            let Ok(place) = self.weights(&format!("{name}/")) else {
                continue;
            };
            let held = held(&open(self.files, &place)?);
            let what = match (self.files.has(&format!("{name}/{CONFIG}")), held) {
                (false, _) => format!(
                    "has weights and no `{CONFIG}`; put the one beside them that they were \
                     published with"
                ),
                (true, Some(held)) if held == role.what => continue,
                (true, held) => format!(
                    "holds {}, wanted {}; fetch that folder again",
                    held.unwrap_or("no network that is known here"),
                    role.what
                ),
            };
            let why = format!("{} {what}", self.files.path().join(name).display());
            let output = role.output;
            return Ok(Some(Unread { output, why }));
        }
        Ok(None)
    }

    /// The network in the first of the role's folders that is there; or in the folder itself,
    /// where that is a network's own.
    fn network<T>(
        &self,
        role: &Role,
        wanted: bool,
        read: impl Fn(&str) -> Result<Option<(T, Place)>>,
    ) -> Result<Option<(T, Place)>> {
        let there = |name: &&&str| self.files.has(&format!("{name}/{CONFIG}"));
        match role.folders.iter().find(there) {
            _ if !wanted => Ok(None),
            Some(name) => read(&format!("{name}/")),
            None if self.files.has(CONFIG) => read(""),
            None => Ok(None),
        }
    }

    fn unet(&self, inside: &str) -> Result<Option<(Denoiser, Place)>> {
        let place = self.weights(inside)?;
        let json = self.json(inside, NetworkJson::read)?;
        let Some(mut unet) = detect::unet(&open(self.files, &place)?, json.as_ref())? else {
            return Ok(None);
        };
        if self.files.has(SCHEDULER) {
            let scheduler = self.read(SCHEDULER, SchedulerJson::read)?;
            let wrong = |what| self.wrong(SCHEDULER, what);
            unet.schedule = scheduler.schedule().map_err(wrong)?;
            unet.prediction = scheduler.prediction().map_err(wrong)?;
        }
        if let Some(scale) = self.vae_scale()? {
            unet.scale = scale;
        }
        Ok(Some((unet, place)))
    }

    /// The scale that the autoencoder beside a U-Net says.
    fn vae_scale(&self) -> Result<Option<f64>> {
        let configs = VAE.folders.iter().map(|name| format!("{name}/"));
        let there = |inside: &String| self.files.has(&format!("{inside}{CONFIG}"));
        let Some(inside) = configs.into_iter().find(there) else {
            return Ok(None);
        };
        Ok(self
            .json(&inside, NetworkJson::read)?
            .and_then(|json| json.scaling_factor))
    }

    fn vae(&self, inside: &str) -> Result<Option<(Coder, Place)>> {
        let place = self.weights(inside)?;
        let json = self.json(inside, NetworkJson::read)?;
        let Some(part) = detect::vae(&open(self.files, &place)?, json.as_ref())? else {
            return Ok(None);
        };
        let told = json.as_ref();
        let scale = told.and_then(|json| json.scaling_factor);
        let coder = Coder {
            scale: scale.unwrap_or_else(|| detect::scale_alone(&part.config)),
            fits_f16: told.and_then(|json| json.force_upcast) == Some(false),
            part,
        };
        Ok(Some((coder, place)))
    }

    fn text(&self) -> Result<Option<(Reader, Place)>> {
        let first = self.network(&TEXT, true, |inside| self.one_text(inside, "tokenizer"))?;
        let there = self.files.has(&format!("{}/{CONFIG}", SECOND.folders[0]));
        let second = self.network(&SECOND, there, |at| self.one_text(at, "tokenizer_2"))?;
        let ((first, mut place), (second, more)) = match (first, second) {
            (Some(first), Some(second)) => (first, second),
            (None, Some((second, place))) => return Ok(Some((alone(second), place))),
            // Half of a pair is none.
            (Some(_), None) if self.unread(&SECOND)?.is_some() => return Ok(None),
            (first, None) => return Ok(first),
        };
        // The two are told apart by the names of their folders.
        let behind = |place: &mut Place, name: &str| {
            place
                .iter_mut()
                .for_each(|(_, before)| *before = format!("{name}."));
        };
        let mut more = more;
        behind(&mut place, TEXT.folders[0]);
        behind(&mut more, SECOND.folders[0]);
        place.extend(more);
        let (TextConfig::Clip(one), TextConfig::Clip(two)) =
            (first.part.config.clone(), second.part.config)
        else {
            let what = "has two text encoders that are not both CLIP's; use another model";
            return Err(Error::wrong_file(self.files.path(), what));
        };
        let config = TextConfig::TwoClips {
            first: one.for_xl(),
            second: two.for_xl(),
        };
        let part = Part {
            config,
            ..first.part
        };
        let tokenizer = first.tokenizer;
        Ok(Some((Reader { part, tokenizer }, place)))
    }

    fn one_text(&self, inside: &str, tokenizer: &str) -> Result<Option<(Reader, Place)>> {
        let place = self.weights(inside)?;
        let json = self.json(inside, TextJson::read)?;
        let Some(mut part) = detect::text(&open(self.files, &place)?, json.as_ref())? else {
            return Ok(None);
        };
        let (words, pad) = self.tokenizer(tokenizer)?;
        if let (TextConfig::Clip(ClipConfig { pad: old, .. }), Some(pad)) = (&mut part.config, pad)
        {
            *old = pad;
        }
        let reader = Reader {
            part,
            tokenizer: words,
        };
        Ok(Some((reader, place)))
    }

    /// The tokenizer in the folder `name`, and the id that fills a text up.
    fn tokenizer(&self, name: &str) -> Result<(Option<String>, Option<u32>)> {
        let inside = |file: &str| format!("{name}/{file}");
        let read = |file: &str| match self.files.has(&inside(file)) {
            true => self.files.text(&inside(file)).map(Some),
            false => Ok(None),
        };
        let found = TokenizerFiles::find(read)?;
        if found == TokenizerFiles::default() {
            return Ok((None, None));
        }
        let unfit = |e| Error::file(&self.files.path().join(name), "holds no tokenizer", e);
        let json = found.json().map_err(unfit)?;
        let told = ["tokenizer_config.json", "special_tokens_map.json"].map(read);
        let mut pad = None;
        for text in told {
            pad = pad.or(text?.and_then(|text| pad_token(&text)));
        }
        let id = pad.and_then(|pad| id_of(&json, &pad));
        Ok((Some(json), id))
    }

    /// The files of the weights in the folder `inside`.
    fn weights(&self, inside: &str) -> Result<Place> {
        let variants = match self.variant {
            Some(variant) => vec![format!(".{variant}")],
            None => vec![String::new(), format!(".{HALF}")],
        };
        for ending in ["safetensors", "bin"] {
            for variant in &variants {
                for base in WEIGHTS {
                    let whole = format!("{inside}{base}{variant}.{ending}");
                    if self.files.has(&whole) {
                        return Ok(vec![(whole, String::new())]);
                    }
                    let index = format!("{inside}{base}.{ending}.index{variant}.json");
                    if self.files.has(&index) {
                        return self.parts(inside, &index);
                    }
                }
            }
        }
        let wanted = format!("{inside}{}{}.safetensors", WEIGHTS[0], variants[0]);
        let what = format!("has no weights where `{wanted}` should be; fetch them");
        Err(Error::wrong_file(self.files.path(), what))
    }

    /// The files that an index lists.
    fn parts(&self, inside: &str, index: &str) -> Result<Place> {
        let read = |text: &str| {
            serde_json::from_str::<Index>(text).map_err(|e| format!("is no index of weights: {e}"))
        };
        let names: BTreeSet<String> = self.read(index, read)?.weight_map.into_values().collect();
        if let Some(astray) = names.iter().find(|name| !is_plain(name)) {
            let what = format!("names the file `{astray}`, wanted one beside it");
            return Err(self.wrong(index, what));
        }
        let placed = |name: String| (format!("{inside}{name}"), String::new());
        Ok(names.into_iter().map(placed).collect())
    }

    /// The `config.json` of the folder `inside`, where there is one.
    fn json<T>(
        &self,
        inside: &str,
        read: impl Fn(&str) -> std::result::Result<T, String>,
    ) -> Result<Option<T>> {
        let name = format!("{inside}{CONFIG}");
        self.files
            .has(&name)
            .then(|| self.read(&name, read))
            .transpose()
    }

    fn read<T>(
        &self,
        name: &str,
        read: impl Fn(&str) -> std::result::Result<T, String>,
    ) -> Result<T> {
        read(&self.files.text(name)?).map_err(|what| self.wrong(name, what))
    }

    fn wrong(&self, name: &str, what: String) -> Error {
        Error::wrong_file(&self.files.path().join(name), what)
    }
}

/// What the weights of a folder are.
fn held(file: &TensorFile) -> Option<&'static str> {
    let known = [
        (
            UNET,
            detect::unet(file, None).is_ok_and(|found| found.is_some()),
        ),
        (
            VAE,
            detect::vae(file, None).is_ok_and(|found| found.is_some()),
        ),
        (
            TEXT,
            detect::text(file, None).is_ok_and(|found| found.is_some()),
        ),
    ];
    let found = known.into_iter().find(|(_, found)| *found);
    found.map(|(role, _)| role.what)
}

/// The second of two text encoders where it stands alone, as in the refiner of Stable
/// Diffusion XL.
fn alone(mut reader: Reader) -> Reader {
    if let TextConfig::Clip(clip) = &reader.part.config {
        reader.part.config = TextConfig::Clip(clip.clone().for_xl());
    }
    reader
}

/// What lists the parts that weights were saved in.
#[derive(Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

fn is_plain(name: &str) -> bool {
    let mut parts = Path::new(name).components();
    matches!(
        (parts.next(), parts.next()),
        (Some(Component::Normal(_)), None)
    )
}

/// The token that fills a text up, by a `tokenizer_config.json` or a
/// `special_tokens_map.json`.
fn pad_token(json: &str) -> Option<String> {
    let json: serde_json::Value = serde_json::from_str(json).ok()?;
    let pad = json.get("pad_token")?;
    let text = pad.as_str().or_else(|| pad.get("content")?.as_str());
    text.map(str::to_owned)
}

/// The id of `token` in a `tokenizer.json`.
fn id_of(json: &str, token: &str) -> Option<u32> {
    let json: serde_json::Value = serde_json::from_str(json).ok()?;
    let word = json
        .get("model")?
        .get("vocab")?
        .get(token)
        .and_then(serde_json::Value::as_u64);
    let added = || {
        let added = json.get("added_tokens")?.as_array()?;
        let found = added
            .iter()
            .find(|one| one.get("content").is_some_and(|c| c == token));
        found?.get("id")?.as_u64()
    };
    word.or_else(added).and_then(|id| u32::try_from(id).ok())
}

#[cfg(test)]
mod tests;
