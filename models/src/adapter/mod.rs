//! Adapters: small files that change a model's weights. LoRA and its kin.
//!
//! ```text
//! file ── names ── targets ── fit (one network's names and shapes) ── chain ── load
//!                    │                                                  │
//!                  method: which pieces, what shape                   merge: the arithmetic
//!                  family: made for which model
//! ```
//!
//! An adapter is open, its numbers unread, until a network is loaded through a [`Chain`], which
//! changes each weight as it comes from its own file. The network's file is never changed.
//!
//! Promises
//! - Opening and fitting read names and shapes only.
//! - A tensor that is understood is either applied, or told of as a target without a layer; one
//!   that is not understood is told of by name.
//! - Strength 0 changes no bit. What one strength gives follows from both files alone.
//!
//! Not here: textual inversion, hypernetworks, adapters that are networks of their own.

mod family;
mod fit;
mod matrix;
mod merge;
mod method;
mod names;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;

pub use fit::{Chain, Fit};
pub use method::Method;
pub use names::Part;

use crate::error::{Error, Result};
use crate::weights::{FLOATS, TensorFile};
use method::Shapes;
use names::{Names, Piece};

/// An adapter's file, sorted by the layers that it is for.
#[derive(Debug)]
pub struct Adapter {
    file: TensorFile,
    targets: Vec<Target>,
    leftover: Vec<String>,
    settings: Settings,
}

/// What an adapter does to one layer.
#[derive(Debug)]
pub struct Target {
    name: String,
    part: Part,
    /// The layer's name, with nothing but underscores.
    flat: String,
    method: Option<Method>,
    /// The tensors' names.
    keys: BTreeMap<Piece, String>,
}

impl Target {
    /// The layer, as the file calls it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The network it is of.
    pub fn part(&self) -> Part {
        self.part
    }

    /// How its weight is changed; none when only a bias is.
    pub fn method(&self) -> Option<Method> {
        self.method
    }
}

impl Adapter {
    /// Sorts the tensors of `file`; reads its header only.
    ///
    /// # Errors
    /// No tensor is an adapter's, a layer's tensors are incomplete or of several methods, or
    /// one holds no floating-point numbers.
    pub fn of(file: TensorFile) -> Result<Self> {
        let mut layers: BTreeMap<String, BTreeMap<Piece, String>> = BTreeMap::new();
        let mut leftover = Vec::new();
        for key in file.names() {
            match names::parse(&key) {
                Some((name, piece)) => {
                    usable(&file, &key)?;
                    layers.entry(name).or_default().insert(piece, key);
                }
                None => leftover.push(key),
            }
        }
        let mut targets = Vec::new();
        for (name, keys) in layers {
            match target(&file, name, keys)? {
                Ok(target) => targets.push(target),
                Err(keys) => leftover.extend(keys),
            }
        }
        if targets.is_empty() {
            return Err(Error::wrong_file(file.path(), none(&leftover)));
        }
        leftover.sort();
        let settings = Settings::noted_in(&file);
        Ok(Self {
            file,
            targets,
            leftover,
            settings,
        })
    }

    /// Where its file stands.
    pub fn path(&self) -> &Path {
        self.file.path()
    }

    /// The layers that it is for.
    pub fn targets(&self) -> &[Target] {
        &self.targets
    }

    /// Tensors of the file that are not understood.
    pub fn leftover(&self) -> &[String] {
        &self.leftover
    }

    /// Whether it is for such a network at all; either text encoder stands for both.
    pub fn is_for(&self, part: Part) -> bool {
        self.targets.iter().any(|target| target.part.is_like(part))
    }

    fn shape(&self, target: &Target, piece: Piece) -> Option<&[usize]> {
        self.file.shape(target.keys.get(&piece)?)
    }

    fn read(&self, target: &Target, piece: Piece) -> Result<Vec<f32>> {
        match target.keys.get(&piece) {
            Some(key) => self.file.read(key),
            None => Err(Error::bug("a piece that the method does not have")),
        }
    }

    /// The target's alpha: its own, or that of the file's settings.
    fn alpha(&self, target: &Target) -> Result<Option<f64>> {
        if !target.keys.contains_key(&Piece::Alpha) {
            return Ok(self.settings.alpha(target));
        }
        let alpha = self.read(target, Piece::Alpha)?;
        Ok(alpha.first().map(|alpha| f64::from(*alpha)))
    }

    /// What a product of this rank is multiplied by.
    fn scale(&self, target: &Target, rank: usize) -> Result<f64> {
        let rank = rank as f64;
        let by = match self.settings.stabilised(target) {
            true => rank.sqrt(),
            false => rank,
        };
        Ok(self.alpha(target)?.map_or(1.0, |alpha| alpha / by))
    }
}

/// Whether the tensor holds numbers, and some.
fn usable(file: &TensorFile, key: &str) -> Result<()> {
    let fail = |what: String| Err(Error::wrong_file(file.path(), what));
    if !file.is_float(key) {
        let found = file.dtype(key).unwrap_or_default();
        return fail(format!(
            "holds {found} in `{key}`, wanted {FLOATS}; convert it"
        ));
    }
    if file.shape(key).is_some_and(|shape| shape.contains(&0)) {
        return fail(format!("holds nothing in `{key}`; fetch or save it again"));
    }
    Ok(())
}

/// A target in the making, by its tensors' shapes.
struct Sorted<'a> {
    file: &'a TensorFile,
    keys: &'a BTreeMap<Piece, String>,
}

impl Shapes for Sorted<'_> {
    fn shape(&self, piece: Piece) -> Option<&[usize]> {
        self.file.shape(self.keys.get(&piece)?)
    }
}

/// The target called `name`; or its keys, when they change nothing: an alpha alone.
fn target(
    file: &TensorFile,
    name: String,
    keys: BTreeMap<Piece, String>,
) -> Result<std::result::Result<Target, Vec<String>>> {
    let method = Method::of(&Sorted { file, keys: &keys }).map_err(|why| {
        Error::wrong_file(file.path(), format!("is no whole adapter: `{name}` {why}"))
    })?;
    if method.is_none() && !keys.contains_key(&Piece::DiffBias) {
        return Ok(Err(keys.into_values().collect()));
    }
    let (part, flat) = names::place(&name);
    Ok(Ok(Target {
        name,
        part,
        flat,
        method,
        keys,
    }))
}

/// As many names as are spelled out before the rest is counted.
const SHOWN: usize = 3;

fn none(leftover: &[String]) -> String {
    let shown: Vec<_> = leftover
        .iter()
        .take(SHOWN)
        .map(|k| format!("`{k}`"))
        .collect();
    let found = match shown.is_empty() {
        true => "no tensor at all".to_owned(),
        false => format!("{} tensors like {}", leftover.len(), shown.join(", ")),
    };
    format!(
        "is no adapter that is known here: it holds {found}; wanted names like \
         `lora_unet_….lora_up.weight` or `unet.….lora_B.weight`"
    )
}

/// What diffusers notes of PEFT's settings in a file's header: the alphas, which PEFT's names
/// have no place for.
#[derive(Debug, Default)]
struct Settings(BTreeMap<String, Value>);

/// What the note is called.
const NOTE: &str = "lora_adapter_metadata";

impl Settings {
    /// A note that cannot be read is none.
    fn noted_in(file: &TensorFile) -> Self {
        let note = file.note(NOTE).unwrap_or("{}");
        Self(serde_json::from_str(note).unwrap_or_default())
    }

    /// A setting, under the network's name or, where the file is for one network, under none.
    fn get(&self, part: Part, what: &str) -> Option<&Value> {
        let network = match part {
            Part::Unet => "unet",
            Part::Text => "text_encoder",
            Part::Text2 => "text_encoder_2",
        };
        let own = self.0.get(&format!("{network}.{what}"));
        own.or_else(|| self.0.get(what))
    }

    fn alpha(&self, target: &Target) -> Option<f64> {
        let meant = |(name, _): &(&String, &Value)| {
            let before = target.name.strip_suffix(name.as_str());
            before.is_some_and(|before| before.is_empty() || before.ends_with('.'))
        };
        let special = self
            .get(target.part, "alpha_pattern")
            .and_then(Value::as_object);
        let special = special.and_then(|special| special.iter().find(meant));
        let alpha = special.map(|(_, alpha)| alpha);
        alpha
            .or_else(|| self.get(target.part, "lora_alpha"))?
            .as_f64()
    }

    /// Whether products are divided by the root of the rank (rsLoRA, arXiv 2312.03732).
    fn stabilised(&self, target: &Target) -> bool {
        let told = self.get(target.part, "use_rslora");
        told.and_then(Value::as_bool).unwrap_or(false)
    }
}
