//! A safetensors file, open for reading one tensor at a time.
//!
//! Promises
//! - The header is checked in whole before a tensor is read: its length against the
//!   file's, each tensor's bytes against its shape and type, no overlap, no gap.
//! - Reading a tensor costs that tensor's memory; opening a file costs its header's.
//! - The content hash is of the very bytes that tensors are read from.

use std::fs::File;
use std::path::{Path, PathBuf};

use half::{bf16, f16};
use memmap2::Mmap;
use safetensors::tensor::{Dtype, Metadata, TensorInfo};
use safetensors::{SafeTensorError, SafeTensors};

use crate::error::{Error, Result};

/// Bytes before the header, which say how long it is.
const PREAMBLE: usize = 8;

/// A safetensors file with a sound header.
#[derive(Debug)]
pub struct TensorFile {
    path: PathBuf,
    bytes: Mmap,
    header: Metadata,
    /// Where the tensors' bytes begin.
    data: usize,
}

impl TensorFile {
    /// Opens `path` and checks its header.
    ///
    /// # Errors
    /// The file is not there, is no safetensors file, is cut short, or its header
    /// contradicts itself.
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
        let cannot = |source| Error::file(path, "cannot be read", source);
        let length = file.metadata().map_err(cannot)?.len();
        if length < PREAMBLE as u64 {
            return Err(not_one(path, &format!("it has {length} bytes")));
        }
        // SAFETY: the map is private to this process and read-only. Bytes that another
        // process changes meanwhile are numbers of other values, never other types;
        // writers of this project rename a new file into place and change none.
        let bytes = unsafe { Mmap::map(file) }.map_err(cannot)?;
        let (header_length, header) =
            SafeTensors::read_metadata(&bytes).map_err(|e| unsound(path, &bytes, &e))?;
        let path = path.to_path_buf();
        Ok(Self {
            path,
            bytes,
            header,
            data: PREAMBLE + header_length,
        })
    }

    /// Where the file stands.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The names of all tensors, in the order of their bytes.
    pub fn names(&self) -> Vec<String> {
        self.header.offset_keys()
    }

    /// The shape of the tensor called `name`.
    pub fn shape(&self, name: &str) -> Option<&[usize]> {
        self.header.info(name).map(|info| &info.shape[..])
    }

    /// The type of the numbers of `name`, as the format writes it: `F16`, `I64`, …
    pub fn dtype(&self, name: &str) -> Option<String> {
        self.header.info(name).map(|info| info.dtype.to_string())
    }

    /// Whether `name` holds floating-point numbers that [`TensorFile::read`] takes.
    pub fn is_float(&self, name: &str) -> bool {
        self.header
            .info(name)
            .is_some_and(|info| decoder(info.dtype).is_some())
    }

    /// What the file's writer noted under `key`.
    pub fn note(&self, key: &str) -> Option<&str> {
        self.header
            .metadata()
            .as_ref()?
            .get(key)
            .map(String::as_str)
    }

    /// The numbers of `name` as f32, in row-major order.
    ///
    /// # Errors
    /// No tensor has this name, or it does not hold F16, BF16, F32 or F64.
    pub fn read(&self, name: &str) -> Result<Vec<f32>> {
        let fail = |what: String| Error::wrong_file(&self.path, what);
        let info = self.header.info(name).ok_or_else(|| {
            fail(format!(
                "has no tensor `{name}`; use the file that the name is from"
            ))
        })?;
        let decode = decoder(info.dtype).ok_or_else(|| {
            let found = info.dtype;
            fail(format!(
                "holds {found} in `{name}`, wanted F16, BF16, F32 or F64; convert it"
            ))
        })?;
        Ok(decode(self.bytes_of(info)))
    }

    /// The blake3 hash of the whole file.
    pub fn hash(&self) -> blake3::Hash {
        blake3::hash(&self.bytes)
    }

    fn bytes_of(&self, info: &TensorInfo) -> &[u8] {
        let (start, end) = info.data_offsets;
        &self.bytes[self.data + start..self.data + end]
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

type Decode = fn(&[u8]) -> Vec<f32>;

/// How the bytes of a floating-point type become f32.
fn decoder(dtype: Dtype) -> Option<Decode> {
    match dtype {
        Dtype::F16 => Some(|bytes| each(bytes, |b| f16::from_le_bytes(b).to_f32())),
        Dtype::BF16 => Some(|bytes| each(bytes, |b| bf16::from_le_bytes(b).to_f32())),
        Dtype::F32 => Some(|bytes| each(bytes, f32::from_le_bytes)),
        Dtype::F64 => Some(|bytes| each(bytes, |b| f64::from_le_bytes(b) as f32)),
        _ => None,
    }
}

fn each<const N: usize>(bytes: &[u8], number: impl Fn([u8; N]) -> f32) -> Vec<f32> {
    let (numbers, _) = bytes.as_chunks::<N>();
    numbers.iter().map(|b| number(*b)).collect()
}

/// Says which of the header's claims does not hold.
fn unsound(path: &Path, bytes: &[u8], fault: &SafeTensorError) -> Error {
    let length = bytes.len();
    let claimed = bytes.first_chunk().map_or(0, |b| u64::from_le_bytes(*b));
    let why = match fault {
        SafeTensorError::HeaderTooLarge | SafeTensorError::InvalidHeaderLength => {
            format!("its first 8 bytes claim a header of {claimed} bytes, the file has {length}")
        }
        SafeTensorError::MetadataIncompleteBuffer => {
            format!("its header describes more or fewer bytes than the {length} that are there")
        }
        SafeTensorError::InvalidOffset(name) => {
            format!("its header places `{name}` over another tensor or after a gap")
        }
        SafeTensorError::TensorInvalidInfo => {
            "its header gives a tensor bytes that do not fit its shape and type".to_owned()
        }
        SafeTensorError::ValidationOverflow => {
            "its header gives a tensor a shape no memory could hold".to_owned()
        }
        other => format!("its header cannot be read ({other})"),
    };
    not_one(path, &why)
}

fn not_one(path: &Path, why: &str) -> Error {
    let what = format!("is no whole safetensors file: {why}; fetch or save it again");
    Error::wrong_file(path, what)
}

#[cfg(test)]
mod tests {
    use super::*;
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
        assert_eq!(file.hash(), content_hash(on_disk.path()).unwrap());
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
