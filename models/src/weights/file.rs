//! Tensors of a file, or of several as one, open for reading one at a time.
//!
//! Whatever the format, a tensor is a [`View`]: bytes of a file, a shape and strides.
//! So a load casts each number once, from where it stands in the file to where it is used.
//!
//! Promises
//! - Opening costs the headers; reading a tensor costs that tensor.
//! - Nothing is read of a file before its header was checked in whole (`format`).
//! - The content hash is of the very bytes that tensors are read from.

use std::collections::BTreeMap;
use std::fs::File;
use std::ops::Bound;
use std::path::Path;

use safetensors::tensor::Dtype;

use super::cast::{FLOATS, Float};
use super::gather::Gather;
use super::part::Part;
use super::stream::{Room, Stored};
use crate::error::{Error, Result};

/// Where a text encoder of transformers may stand that lost `text_model.`, and its parts.
const FLAT_TEXT: [&str; 5] = [
    "",
    "text_encoder.",
    "text_encoder_2.",
    "cond_stage_model.transformer.",
    "conditioner.embedders.0.transformer.",
];
const FLAT_PARTS: [&str; 3] = ["embeddings.", "encoder.layers.", "final_layer_norm."];

/// What the names of averages begin with.
const AVERAGES: &str = "model_ema.";

/// The tensors of one file or of several.
#[derive(Debug)]
pub struct TensorFile {
    parts: Vec<Part>,
    views: BTreeMap<String, View>,
    notes: BTreeMap<String, String>,
}

/// What a format says of a file: where its tensors are, and what its writer noted.
#[derive(Debug, Default)]
pub(super) struct Layout {
    pub(super) views: BTreeMap<String, View>,
    pub(super) notes: BTreeMap<String, String>,
}

/// Where a tensor's numbers stand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct View {
    /// Which of the files.
    pub(super) part: usize,
    /// The byte at which the tensor's first number begins.
    pub(super) start: usize,
    pub(super) dtype: Dtype,
    pub(super) shape: Vec<usize>,
    /// From one number to the next along each axis, in numbers.
    pub(super) strides: Vec<usize>,
}

impl View {
    /// How its numbers lie, counted from the first.
    pub(super) fn axes(&self) -> (&[usize], &[usize]) {
        (&self.shape, &self.strides)
    }

    /// The same numbers with the axes in the opposite order.
    pub(super) fn turned(mut self) -> Self {
        self.shape.reverse();
        self.strides.reverse();
        self
    }

    /// The bytes from its first number to behind its last.
    pub(super) fn span(&self) -> std::ops::Range<usize> {
        let last: usize = self
            .shape
            .iter()
            .zip(&self.strides)
            .map(|(length, stride)| length.saturating_sub(1) * stride)
            .sum();
        let numbers = if self.shape.contains(&0) { 0 } else { last + 1 };
        self.start..self.start + (numbers * self.dtype.bitsize()).div_ceil(8)
    }
}

impl TensorFile {
    /// Opens `path`: a safetensors file or a checkpoint of PyTorch, told apart by content.
    ///
    /// # Errors
    /// The file is not there, holds no weights, is cut short, or contradicts itself.
    pub fn open(path: &Path) -> Result<Self> {
        let opened = File::open(path);
        Self::of(
            &opened.map_err(|e| Error::file(path, "cannot be read", e))?,
            path,
        )
    }

    /// The same of a file that is open already, so that what was hashed is what is read;
    /// messages call it `path`.
    ///
    /// # Errors
    /// As [`TensorFile::open`].
    pub fn of(file: &File, path: &Path) -> Result<Self> {
        let (part, Layout { views, notes }) = Part::of(file, path)?;
        let parts = vec![part];
        Ok(Self {
            parts,
            views,
            notes,
        })
    }

    /// The tensors of several files as if they were in one: a model that was saved in parts.
    ///
    /// # Errors
    /// There is none, or two files hold a tensor of one name.
    pub fn joined(files: impl IntoIterator<Item = Self>) -> Result<Self> {
        let mut files = files.into_iter();
        let mut whole = files
            .next()
            .ok_or_else(|| Error::bug("files are joined where there is none"))?;
        for file in files {
            whole.append(file)?;
        }
        Ok(whole)
    }

    fn append(&mut self, other: Self) -> Result<()> {
        let parts = self.parts.len();
        let path = other.path().to_path_buf();
        self.parts.extend(other.parts);
        for (name, mut view) in other.views {
            view.part += parts;
            let Some(before) = self.views.insert(name.clone(), view) else {
                continue;
            };
            let first = self.parts[before.part].path().display();
            let what = format!("holds `{name}`, and so does {first}; give one of the two");
            return Err(Error::wrong_file(&path, what));
        }
        self.notes.extend(other.notes);
        Ok(())
    }

    /// The same tensors with `before` put before their names.
    #[must_use]
    pub fn under(mut self, before: &str) -> Self {
        self.rename(|name| (!before.is_empty()).then(|| format!("{before}{name}")));
        self
    }

    /// The same tensors, where older or newer code than the tables know of named them: the
    /// attention of diffusers' autoencoders before 0.12, and transformers' text encoders
    /// since 5.6, which lost a part of their names.
    #[must_use]
    pub fn with_known_names(mut self) -> Self {
        const OLD: [(&str, &str); 4] = [
            (".query.", ".to_q."),
            (".key.", ".to_k."),
            (".value.", ".to_v."),
            (".proj_attn.", ".to_out.0."),
        ];
        self.rename(|name| {
            let (old, new) = OLD.iter().find(|(old, _)| name.contains(old))?;
            name.contains("attentions.").then(|| name.replace(old, new))
        });
        for before in FLAT_TEXT {
            let inner = format!("{before}embeddings.token_embedding.weight");
            if self.has(&inner) {
                self.rename(|name| {
                    let inside = name.strip_prefix(before)?;
                    let model = FLAT_PARTS.iter().any(|part| inside.starts_with(part));
                    model.then(|| format!("{before}text_model.{inside}"))
                });
            }
        }
        self
    }

    /// Gives tensors other names, where `new` has one.
    fn rename(&mut self, new: impl Fn(&str) -> Option<String>) {
        let views = std::mem::take(&mut self.views);
        let renamed = views
            .into_iter()
            .map(|(name, view)| (new(&name).unwrap_or(name), view));
        self.views = renamed.collect();
    }

    /// Where the file stands, or the first of several.
    pub fn path(&self) -> &Path {
        self.parts.first().map_or(Path::new(""), Part::path)
    }

    /// The names of all tensors, in the order of their bytes.
    pub fn names(&self) -> Vec<String> {
        let mut names: Vec<_> = self.views.iter().collect();
        names.sort_by_key(|(_, view)| (view.part, view.start));
        names.into_iter().map(|(name, _)| name.clone()).collect()
    }

    /// Whether there is a tensor called `name`.
    pub fn has(&self, name: &str) -> bool {
        self.views.contains_key(name)
    }

    /// Whether the name of any tensor begins with `beginning`.
    pub(super) fn has_under(&self, beginning: &str) -> bool {
        let from = (Bound::Included(beginning), Bound::Unbounded);
        let mut from = self.views.range::<str, _>(from);
        from.next()
            .is_some_and(|(name, _)| name.starts_with(beginning))
    }

    /// Whether it holds, beside the weights, their averages over training.
    pub fn has_averages(&self) -> bool {
        self.has_under(AVERAGES)
    }

    /// The same tensors, those of the U-Net replaced by their averages over training.
    ///
    /// An average has its parameter's name without dots (CompVis/latent-diffusion,
    /// `ldm/modules/ema.py`), so it is found from that name alone.
    ///
    /// # Errors
    /// There are none, or one of a part of the U-Net is not there.
    pub fn averaged(mut self) -> Result<Self> {
        let missing = |what: String| Err(Error::wrong_file(self.path(), what));
        if !self.has_averages() {
            return missing("holds no averages of its weights; load it without".to_owned());
        }
        let mut averages = Vec::new();
        for name in self.views.keys() {
            let Some(inside) = name.strip_prefix("model.") else {
                continue;
            };
            let average = format!("{AVERAGES}{}", inside.replace('.', ""));
            match self.views.get(&average) {
                Some(view) => averages.push((name.clone(), view.clone())),
                None => return missing(format!("has no average `{average}`; load it without")),
            }
        }
        self.views.extend(averages);
        Ok(self)
    }

    /// The shape of the tensor called `name`.
    pub fn shape(&self, name: &str) -> Option<&[usize]> {
        self.views.get(name).map(|view| &view.shape[..])
    }

    /// The type of the numbers of `name`, as safetensors writes it: `F16`, `I64`, …
    pub fn dtype(&self, name: &str) -> Option<String> {
        self.views.get(name).map(|view| view.dtype.to_string())
    }

    /// Whether `name` holds floating-point numbers that [`TensorFile::read`] takes.
    pub fn is_float(&self, name: &str) -> bool {
        let view = self.views.get(name);
        view.is_some_and(|view| Float::of(view.dtype).is_some())
    }

    /// Whether it is a checkpoint of PyTorch.
    pub fn is_pickled(&self) -> bool {
        self.parts.iter().any(Part::pickled)
    }

    /// What the file's writer noted under `key`: an entry of a safetensors header, or a word
    /// or number beside a checkpoint's tensors.
    pub fn note(&self, key: &str) -> Option<&str> {
        self.notes.get(key).map(String::as_str)
    }

    /// All notes, in order of their keys.
    pub fn notes(&self) -> impl Iterator<Item = (&str, &str)> {
        self.notes.iter().map(|(key, note)| (&key[..], &note[..]))
    }

    /// The numbers of `name` as f32, in row-major order.
    ///
    /// # Errors
    /// No tensor has this name, it holds no floating-point numbers, or it cannot be read.
    pub fn read(&self, name: &str) -> Result<Vec<f32>> {
        let view = self.view(name)?;
        let mut room = Room::default();
        let stored = self.numbers(name, view, &mut room)?;
        Ok(stored.gather(view.axes())?.numbers)
    }

    /// Where the numbers of `name` stand.
    ///
    /// # Errors
    /// No tensor has this name.
    pub(super) fn view(&self, name: &str) -> Result<&View> {
        self.views.get(name).ok_or_else(|| {
            let what = format!("has no tensor `{name}`; use the file that the name is from");
            Error::wrong_file(self.path(), what)
        })
    }

    /// The numbers that `view`, a view of `name`, looks at; they are read through `room`.
    ///
    /// # Errors
    /// The tensor holds no floating-point numbers.
    pub(super) fn numbers<'a>(
        &'a self,
        name: &str,
        view: &View,
        room: &'a mut Room,
    ) -> Result<Stored<'a>> {
        let part = &self.parts[view.part];
        let float = Float::of(view.dtype).ok_or_else(|| {
            let found = view.dtype;
            let what = format!("holds {found} in `{name}`, wanted {FLOATS}; convert it");
            Error::wrong_file(part.path(), what)
        })?;
        let start = view.start;
        Ok(Stored {
            part,
            start,
            float,
            room,
        })
    }

    /// Tells the system that `name` is read soon.
    pub(super) fn soon(&self, name: &str) {
        if let Some(view) = self.views.get(name) {
            self.parts[view.part].soon(view.span());
        }
    }

    /// The blake3 hash of the whole file, or of the hashes of several.
    ///
    /// # Errors
    /// A file cannot be read.
    pub fn hash(&self) -> Result<blake3::Hash> {
        if let [one] = &self.parts[..] {
            return one.hash();
        }
        let mut hasher = blake3::Hasher::new();
        for part in &self.parts {
            hasher.update(part.hash()?.as_bytes());
        }
        Ok(hasher.finalize())
    }
}

/// The blake3 hash of any file's bytes: what it is, whatever it is called.
///
/// # Errors
/// The file is not there or cannot be read.
pub fn content_hash(path: &Path) -> Result<blake3::Hash> {
    let cannot = |source| Error::file(path, "cannot be read", source);
    let mut hasher = blake3::Hasher::new();
    hasher
        .update_reader(File::open(path).map_err(cannot)?)
        .map_err(cannot)?;
    Ok(hasher.finalize())
}

#[cfg(test)]
mod tests {
    use super::*;
    use half::{bf16, f16};
    use std::io::Write;

    fn file_of(bytes: &[u8]) -> tempfile::NamedTempFile {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(bytes).unwrap();
        file
    }

    fn with_header(header: &str, data: &[u8]) -> Vec<u8> {
        let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
        bytes.extend_from_slice(header.as_bytes());
        bytes.extend_from_slice(data);
        bytes
    }

    fn refusal(bytes: &[u8]) -> String {
        TensorFile::open(file_of(bytes).path())
            .expect_err("a lie must be refused")
            .to_string()
    }

    #[test]
    fn every_float_type_is_read_as_f32() {
        let header = r#"{"a":{"dtype":"F16","shape":[2],"data_offsets":[0,4]},
            "b":{"dtype":"BF16","shape":[1],"data_offsets":[4,6]},
            "c":{"dtype":"F32","shape":[1],"data_offsets":[6,10]},
            "d":{"dtype":"F64","shape":[1,1],"data_offsets":[10,18]},
            "e":{"dtype":"I32","shape":[1],"data_offsets":[18,22]}}"#;
        let mut data = Vec::new();
        data.extend(f16::from_f32(1.5).to_le_bytes());
        data.extend(f16::from_f32(-0.25).to_le_bytes());
        data.extend(bf16::from_f32(3.0).to_le_bytes());
        data.extend(0.1f32.to_le_bytes());
        data.extend(0.1f64.to_le_bytes());
        data.extend(7i32.to_le_bytes());
        let on_disk = file_of(&with_header(header, &data));
        let file = TensorFile::open(on_disk.path()).unwrap();
        assert_eq!(file.read("a").unwrap(), [1.5, -0.25]);
        assert_eq!(file.read("b").unwrap(), [3.0]);
        assert_eq!(file.read("c").unwrap(), [0.1]);
        assert_eq!(file.read("d").unwrap(), [0.1]);
        assert_eq!(file.shape("d"), Some(&[1, 1][..]));
        let integers = file.read("e").unwrap_err().to_string();
        assert!(
            integers.contains("holds I32 in `e`, wanted F16"),
            "{integers}"
        );
        let absent = file.read("f").unwrap_err().to_string();
        assert!(absent.contains("has no tensor `f`"), "{absent}");
        assert_eq!(file.hash().unwrap(), content_hash(on_disk.path()).unwrap());
    }

    #[test]
    fn a_file_that_lies_is_refused_with_the_lie() {
        let one = r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#;
        let lies = [
            (vec![], "it has 0 bytes"),
            (
                u64::MAX.to_le_bytes().to_vec(),
                "claim a header of 18446744073709551615 bytes",
            ),
            (
                900u64.to_le_bytes().to_vec(),
                "claim a header of 900 bytes, the file has 8",
            ),
            (with_header(one, &[0; 7]), "more or fewer bytes than the"),
            (with_header(one, &[0; 9]), "more or fewer bytes than the"),
            (with_header("hello", &[]), "its header cannot be read"),
            (
                with_header("\u{fffd}\u{fffd}", &[]),
                "its header cannot be read",
            ),
            (
                with_header(&"[".repeat(5000), &[]),
                "its header cannot be read",
            ),
            (
                with_header(&one.replace("[0,8]", "[0,12]"), &[0; 12]),
                "bytes that do not fit its shape and type",
            ),
            (
                with_header(&one.replace("[2]", "[4611686018427387904,4]"), &[0; 8]),
                "a shape no memory could hold",
            ),
            (
                with_header(&one.replace("[0,8]", "[4,12]"), &[0; 12]),
                "places `a` over another tensor or after a gap",
            ),
            (
                with_header(
                    r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},
                        "b":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}}"#,
                    &[0; 12],
                ),
                "places `b` over another tensor or after a gap",
            ),
            (
                with_header(&one.replace("F32", "F31"), &[0; 8]),
                "its header cannot be read",
            ),
        ];
        for (bytes, wanted) in lies {
            let said = refusal(&bytes);
            assert!(said.contains(wanted), "wanted {wanted:?} in {said:?}");
            assert!(said.ends_with("fetch or save it again"), "{said}");
        }
    }

    #[test]
    fn every_cut_of_a_sound_file_is_refused() {
        let header = r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#;
        let whole = with_header(header, &[0; 8]);
        for length in 0..whole.len() {
            refusal(&whole[..length]);
        }
        assert!(TensorFile::open(file_of(&whole).path()).is_ok());
    }

    #[test]
    fn a_file_that_becomes_shorter_is_an_error_and_no_crash() {
        let header = r#"{"a":{"dtype":"F32","shape":[4096],"data_offsets":[0,16384]}}"#;
        let on_disk = file_of(&with_header(header, &[0; 16384]));
        let file = TensorFile::open(on_disk.path()).unwrap();
        assert_eq!(file.read("a").unwrap(), [0.0; 4096]);
        for length in [16_000, 0] {
            on_disk.as_file().set_len(length).unwrap();
            let said = file.read("a").unwrap_err().to_string();
            let wanted = "became shorter while it was read; load it when it is written whole";
            assert!(said.ends_with(wanted), "{said}");
        }
    }

    #[test]
    fn the_hash_is_of_the_bytes_that_are_read_whatever_takes_the_name() {
        let header = r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.safetensors");
        let write = |x: f32| {
            let beside = folder.path().join("beside");
            std::fs::write(&beside, with_header(header, &x.to_le_bytes())).unwrap();
            std::fs::rename(&beside, &path).unwrap();
        };
        write(1.0);
        let (file, hash) = (
            TensorFile::open(&path).unwrap(),
            content_hash(&path).unwrap(),
        );
        write(2.0);
        assert_ne!(content_hash(&path).unwrap(), hash);
        assert_eq!(file.hash().unwrap(), hash);
        assert_eq!(file.read("a").unwrap(), [1.0]);
    }

    #[test]
    fn a_folder_and_a_missing_file_are_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        for path in [
            folder.path().to_path_buf(),
            folder.path().join("none.safetensors"),
        ] {
            let said = TensorFile::open(&path).unwrap_err().to_string();
            assert!(said.starts_with(&path.display().to_string()), "{said}");
        }
    }
}
