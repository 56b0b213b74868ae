//! Models as others write them, between files and handles: what the loading nodes share.
//!
//! Promises
//! - Planning and running look at the same files in the same way, so what was planned is run.
//! - While planning, headers are read, and held against the networks they describe.

use std::path::{Path, PathBuf};

use ldm_engine::{Ctx, Error, Facts, FileRef, ReadPath, Result};
use ldm_models::error::{Error as Fault, Result as Fallible};
use ldm_models::text::TextConfig;
use ldm_models::tokenizer::TokenizerFiles;
use ldm_models::weights::TensorFile;
use ldm_models::weights::detect::Part;
use ldm_models::weights::folder::{self, Files, Found, Place, Reader, Unread, Wanted};

use crate::values::{
    About, ClassEmbedderAbout, LatentSpace, Model, Names, SpatialRescalerAbout, TextEncoderAbout,
    UnetAbout, VaeAbout, Vocabulary, fitting,
};

/// What a graph says about a model besides where it is.
#[derive(Default)]
pub(crate) struct Asked<'a> {
    pub(crate) ema: Option<bool>,
    pub(crate) scale: Option<f64>,
    pub(crate) variant: Option<&'a str>,
    pub(crate) vocab: Option<&'a ReadPath>,
}

/// The networks of a model: each what it is, what its tensors are called, and where they are.
pub(crate) struct Networks {
    pub(crate) unet: Option<Network<UnetAbout>>,
    pub(crate) vae: Option<Network<VaeAbout>>,
    pub(crate) text: Option<Network<TextEncoderAbout>>,
    pub(crate) class: Option<Network<ClassEmbedderAbout>>,
    pub(crate) map: Option<Network<SpatialRescalerAbout>>,
    unread: Vec<Unread>,
    /// Where the model was found.
    found_at: PathBuf,
}

pub(crate) struct Network<A> {
    pub(crate) about: A,
    names: Names,
    place: Place,
    /// What a run tells of it.
    note: Option<String>,
}

/// A model's files, as planning or a run reaches them.
pub(crate) trait Reach {
    fn open(&self, path: &ReadPath, inside: &str) -> Result<ldm_engine::OpenFile>;
    fn is_folder(&self, path: &ReadPath) -> bool;
    /// Where it was found, for messages.
    fn place(&self, path: &ReadPath) -> Result<&Path>;
}

impl Reach for Facts<'_> {
    fn open(&self, path: &ReadPath, inside: &str) -> Result<ldm_engine::OpenFile> {
        self.open_in(path, inside)
    }
    fn is_folder(&self, path: &ReadPath) -> bool {
        Facts::is_folder(self, path)
    }
    fn place(&self, path: &ReadPath) -> Result<&Path> {
        Facts::place(self, path)
    }
}

impl Reach for Ctx<'_> {
    fn open(&self, path: &ReadPath, inside: &str) -> Result<ldm_engine::OpenFile> {
        self.file_in(path, inside)?.open()
    }
    fn is_folder(&self, path: &ReadPath) -> bool {
        self.file(path).is_err()
    }
    fn place(&self, path: &ReadPath) -> Result<&Path> {
        Ctx::place(self, path)
    }
}

/// What a setting names, seen as a model.
pub(crate) struct Inside<'a> {
    reach: &'a dyn Reach,
    path: &'a ReadPath,
    shown: PathBuf,
}

impl<'a> Inside<'a> {
    pub(crate) fn new(reach: &'a dyn Reach, path: &'a ReadPath) -> Self {
        let found = reach.place(path).ok();
        let shown = found.map_or_else(|| PathBuf::from(path.text()), Path::to_path_buf);
        Self { reach, path, shown }
    }

    /// Where `inside` is, or the one file there is.
    fn named(&self, inside: &str) -> PathBuf {
        match inside {
            "" => self.shown.clone(),
            inside => self.shown.join(inside),
        }
    }

    fn open(&self, inside: &str) -> Fallible<ldm_engine::OpenFile> {
        let cannot = |e: Error| Fault::wrong_file(&self.named(inside), e.message());
        self.reach.open(self.path, inside).map_err(cannot)
    }
}

/// Largest text that is read: a tokenizer.
const MOST_BYTES: u64 = 64 << 20;

impl Files for Inside<'_> {
    fn path(&self) -> &Path {
        &self.shown
    }
    fn is_folder(&self) -> bool {
        self.reach.is_folder(self.path)
    }
    fn has(&self, inside: &str) -> bool {
        self.reach.open(self.path, inside).is_ok()
    }
    fn text(&self, inside: &str) -> Fallible<String> {
        let named = self.named(inside);
        let bytes = self.open(inside)?.read_all(MOST_BYTES);
        let bytes = bytes.map_err(|e| Fault::wrong_file(&named, e.message()))?;
        String::from_utf8(bytes).map_err(|e| Fault::file(&named, "is no text", e))
    }
    fn tensors(&self, inside: &str) -> Fallible<TensorFile> {
        let file = self.open(inside)?;
        let path = file.path().to_owned();
        TensorFile::of(&file.into_file(), &path)
    }
}

impl Networks {
    /// What is wanted of the model at `path`.
    ///
    /// # Errors
    /// The file or folder holds none of it, or what it holds cannot be used.
    pub(crate) fn look(
        reach: &dyn Reach,
        path: &ReadPath,
        wanted: Wanted,
        asked: &Asked<'_>,
    ) -> Result<Self> {
        Self::looked(reach, path, wanted, asked).map_err(at_path)
    }

    fn looked(
        reach: &dyn Reach,
        path: &ReadPath,
        wanted: Wanted,
        asked: &Asked<'_>,
    ) -> Result<Self> {
        let inside = Inside::new(reach, path);
        let found = Found::look(&inside, wanted, asked.variant)?;
        let factor = found
            .vae
            .as_ref()
            .map(|(coder, _)| coder.part.config.factor());
        let unet = found.unet.map(|(found, place)| {
            let ema = asked.ema.unwrap_or(found.averages && found.kind.averaged());
            let about = UnetAbout {
                space: LatentSpace {
                    factor: factor.unwrap_or_else(|| found.factor()),
                    scale: asked.scale.unwrap_or(found.scale),
                },
                schedule: found.schedule,
                prediction: found.prediction,
                config: found.part.config.clone(),
            };
            Network::new(about, &found.part, ema, place)
        });
        let vae = found.vae.map(|(coder, place)| {
            let about = VaeAbout {
                scale: asked.scale.unwrap_or(coder.scale),
                config: coder.part.config.clone(),
                fits_f16: coder.fits_f16,
            };
            Network::new(about, &coder.part, false, place)
        });
        let text = found.text.map(|(text, place)| {
            let json = words(reach, &text, asked.vocab)?;
            let silent = text.tokenizer.is_none() && asked.vocab.is_none() && inside.is_folder();
            let about = TextEncoderAbout::new(text.part.config.clone(), json);
            let network = Network::new(about, &text.part, false, place);
            let at = inside.shown.display();
            Ok::<_, Error>(Network {
                note: silent.then(|| format!("{at} has no tokenizer; {CLIPS_OWN}")),
                ..network
            })
        });
        let class = found.class.map(|(part, place)| {
            let config = part.config.clone();
            Network::new(ClassEmbedderAbout { config }, &part, false, place)
        });
        let map = found.map.map(|(part, place)| {
            let config = part.config.clone();
            Network::new(SpatialRescalerAbout { config }, &part, false, place)
        });
        Ok(Self {
            unet,
            vae,
            text: text.transpose()?,
            class,
            map,
            unread: found.unread,
            found_at: inside.shown,
        })
    }

    /// That `what` is not among them.
    pub(crate) fn lacks(&self, what: &str) -> Error {
        let at = self.found_at.display();
        let message = format!("{at} holds no {what} that is known here");
        match &self.unread[..] {
            [] => Error::at("path", message).hint("`ldm-graph inspect` tells what it is"),
            unread => {
                let why: Vec<&str> = unread.iter().map(|unread| &unread.why[..]).collect();
                Error::at("path", message).hint(why.join("; "))
            }
        }
    }

    /// Why `output` is not among them, where it seems to be.
    pub(crate) fn why(&self, output: &str) -> String {
        let found = self.unread.iter().find(|unread| unread.output == output);
        found.map_or_else(String::new, |unread| unread.why.clone())
    }
}

/// What is done without a tokenizer beside a text encoder.
const CLIPS_OWN: &str = "texts are cut by CLIP's own words; `vocab` names others";

/// The error at the path, unless it is at another field.
pub(crate) fn at_path(error: Error) -> Error {
    if error.field().is_some() || error.is_stopped() {
        return error;
    }
    let at = Error::at("path", error.message());
    match error.hint_text() {
        Some(hint) => at.hint(hint),
        None => at,
    }
}

impl<A: About> Network<A> {
    fn new<C>(about: A, part: &Part<C>, averaged: bool, place: Place) -> Self {
        let names = Names {
            family: part.family,
            prefix: part.prefix.clone(),
            averaged,
        };
        Self {
            about,
            names,
            place,
            note: None,
        }
    }

    /// What it is, when its files hold all of it.
    ///
    /// # Errors
    /// Every tensor that is missing, spare or of another shape.
    pub(crate) fn fitting(self, reach: &dyn Reach, path: &ReadPath) -> Result<A> {
        let mut file = folder::open(&Inside::new(reach, path), &self.place)?;
        if self.names.averaged {
            file = file.averaged()?;
        }
        fitting(self.about, &file, &self.names).map_err(at_path)
    }

    /// The handle.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub(crate) fn handle(self, ctx: &Ctx<'_>, path: &ReadPath) -> Result<Model<A>> {
        if let Some(note) = self.note {
            ctx.reporter().note(note);
        }
        let place = self.place.into_iter();
        let files = place.map(|(inside, before)| Ok((ctx.file_in(path, &inside)?, before)));
        let files: Vec<(FileRef, String)> = files.collect::<Result<_>>()?;
        Model::in_files(self.about, files, self.names)
    }
}

/// The tokenizer of a text encoder: the one that the graph names, the one beside it, or
/// CLIP's own, which this program has.
fn words(reach: &dyn Reach, text: &Reader, vocab: Option<&ReadPath>) -> Result<String> {
    if let Some(vocab) = vocab {
        return read_vocab(reach, vocab).map_err(|e| Error::at("vocab", e.message()));
    }
    match (&text.tokenizer, &text.part.config) {
        (Some(json), _) => Ok(json.clone()),
        (None, TextConfig::Clip(_) | TextConfig::TwoClips { .. }) => {
            Ok(Vocabulary::CLIP.to_owned())
        }
        (None, TextConfig::Bert(_)) => {
            let message = "the text encoder is BERT's, and no checkpoint holds its words";
            let hint = "give `vocab`: the `vocab.txt` or `tokenizer.json` of bert-base-uncased";
            Err(Error::at("path", message).hint(hint))
        }
    }
}

/// A tokenizer from a folder of its files, or from one of them.
fn read_vocab(reach: &dyn Reach, vocab: &ReadPath) -> Result<String> {
    let inside = Inside::new(reach, vocab);
    if inside.is_folder() {
        let read = |name: &str| match inside.has(name) {
            true => inside.text(name).map(Some),
            false => Ok(None),
        };
        return Ok(TokenizerFiles::find(read)?.json()?);
    }
    let text = inside.text("")?;
    if text.trim_start().starts_with('{') {
        return Ok(text);
    }
    let files = TokenizerFiles {
        vocab_txt: Some(text),
        ..TokenizerFiles::default()
    };
    Ok(files.json()?)
}
