//! What `torch.save` writes: a pickle that says which tensors there are, and their bytes
//! beside it. A zip archive since PyTorch 1.6, a stream of pickles and bytes before.
//!
//! ```text
//! archive   NAME/data.pkl, NAME/data/0, NAME/data/1, …      each storage an entry
//! stream    magic, protocol, system, the object, storage keys, [count, bytes] × keys
//! ```
//!
//! Promises
//! - Nothing of a pickle is run (`pickle`).
//! - A tensor lies inside its storage, and a storage inside the file.
//!
//! Not here: TorchScript (it holds a program), the tar archives of PyTorch before 0.1.10.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;

use safetensors::Dtype;

use super::super::file::{Layout, View};
use super::super::pickle::{Found, Pickle, Storage, Stored};
use super::zip;
use crate::error::{Error, Result};

/// What the first pickle of a stream holds: 0x1950a86a20f9469cfc6c.
const MAGIC: &[u8] = &[0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19];

/// The protocol of all streams.
const PROTOCOL: i64 = 1001;

pub(super) fn read_zip(path: &Path, bytes: &[u8]) -> Result<Layout> {
    archive(bytes).map_err(|what| Error::wrong_file(path, what))
}

pub(super) fn read_stream(path: &Path, bytes: &[u8]) -> Result<Layout> {
    stream(bytes).map_err(|what| Error::wrong_file(path, what))
}

fn archive(bytes: &[u8]) -> Result<Layout, String> {
    let entries = zip::entries(bytes)?;
    let pickle = entries.iter().find(|(name, _)| {
        let root = name.strip_suffix("data.pkl");
        root.is_some_and(|root| root.is_empty() || root.find('/') == Some(root.len() - 1))
    });
    let Some((name, span)) = pickle else {
        return Err("is a zip archive without a `data.pkl`; it is no checkpoint".to_owned());
    };
    let root = name.strip_suffix("data.pkl").unwrap_or_default();
    if entries.contains_key(&format!("{root}constants.pkl")) {
        let what = "is a TorchScript archive, which holds a program; save its state_dict instead";
        return Err(what.to_owned());
    }
    let order = entries.get(&format!("{root}byteorder"));
    little_endian(order.is_none_or(|order| bytes[order.clone()].starts_with(b"little")))?;
    let found = Pickle::read(&bytes[span.clone()])?.0.tensors()?;
    let place = |storage: &Storage| {
        let range = entries.get(&format!("{root}data/{}", storage.key)).cloned();
        range.ok_or_else(|| format!("lacks the bytes of storage `{}`", storage.key))
    };
    laid_out(found, place)
}

fn stream(bytes: &[u8]) -> Result<Layout, String> {
    let mut at = 0;
    let mut next = || {
        let (pickle, length) = Pickle::read(&bytes[at..])?;
        at += length;
        Ok::<_, String>(pickle)
    };
    // Read first: a pickle of any kind is refused for what it names before all else.
    let magic = next()?;
    if magic.wide() != Some(MAGIC) {
        return Err("is a pickle that torch.save did not write; save it with that".to_owned());
    }
    if next()?.int() != Some(PROTOCOL) {
        return Err("is of a protocol other than 1001; save it again".to_owned());
    }
    little_endian(next()?.flag("little_endian") != Some(false))?;
    let found = next()?.tensors()?;
    let keys = next()?.texts()?;
    let storages = storages(bytes, at, &keys, &found)?;
    let place = |storage: &Storage| {
        let range = storages.get(&storage.key).cloned();
        range.ok_or_else(|| format!("lacks the bytes of storage `{}`", storage.key))
    };
    laid_out(found, place)
}

/// Where each storage of a stream stands: a count of 8 bytes, then its numbers.
fn storages(
    bytes: &[u8],
    mut at: usize,
    keys: &[String],
    found: &Found,
) -> Result<BTreeMap<String, Range<usize>>, String> {
    let mut storages = BTreeMap::new();
    for key in keys {
        let cut = || format!("is cut short before the end of storage `{key}`");
        let dtype = found.storages.get(key).map(|storage| storage.dtype);
        let Some(dtype) = dtype else {
            return Err(format!(
                "holds a storage `{key}` that no tensor tells the type of"
            ));
        };
        let count = bytes
            .get(at..)
            .and_then(|rest| rest.first_chunk())
            .ok_or_else(cut)?;
        let begin = at + count.len();
        let length = usize::try_from(u64::from_le_bytes(*count))
            .ok()
            .and_then(|count| count.checked_mul(dtype.bitsize() / 8));
        let end = length.and_then(|length| begin.checked_add(length));
        at = end.filter(|end| *end <= bytes.len()).ok_or_else(cut)?;
        storages.insert(key.clone(), begin..at);
    }
    Ok(storages)
}

/// Holds what the pickle says of each tensor against the bytes of its storage.
fn laid_out(
    found: Found,
    place: impl Fn(&Storage) -> Result<Range<usize>, String>,
) -> Result<Layout, String> {
    let mut views = BTreeMap::new();
    for (name, tensor) in found.tensors {
        let range = place(&tensor.storage)?;
        let view = view(&name, tensor, range)?;
        views.insert(name, view);
    }
    let notes = found.notes;
    Ok(Layout { views, notes })
}

fn view(name: &str, tensor: Stored, range: Range<usize>) -> Result<View, String> {
    let Stored {
        storage,
        dtype,
        offset,
        shape,
        strides,
    } = tensor;
    let size = dtype.bitsize() / 8;
    let start = offset
        .checked_mul(size)
        .and_then(|offset| offset.checked_add(range.start));
    let reach = reach(&shape, &strides).and_then(|numbers| numbers.checked_mul(size));
    let (Some(start), Some(reach)) = (start, reach) else {
        return Err(format!(
            "gives `{name}` a shape no memory could hold: {shape:?}"
        ));
    };
    if start.checked_add(reach).is_none_or(|end| end > range.end) {
        let (key, held) = (storage.key, range.len());
        return Err(format!(
            "places `{name}` {shape:?} beyond the {held} bytes of its storage `{key}`"
        ));
    }
    let numbers = shape.iter().product::<usize>();
    if numbers > (range.len() / size).max(MOST_REPEATED) {
        return Err(format!(
            "lets `{name}` {shape:?} repeat the {} bytes of its storage",
            range.len()
        ));
    }
    Ok(View {
        part: 0,
        start,
        dtype,
        shape,
        strides,
    })
}

/// As many numbers as a tensor may have that uses those of its storage more than once.
const MOST_REPEATED: usize = 1 << 20;

/// How many numbers of a storage a tensor spans, unless that or its size overflows.
fn reach(shape: &[usize], strides: &[usize]) -> Option<usize> {
    shape
        .iter()
        .try_fold(1usize, |all, n| all.checked_mul((*n).max(1)))?;
    if shape.contains(&0) {
        return Some(0);
    }
    let mut last = 0usize;
    for (length, stride) in shape.iter().zip(strides) {
        last = last.checked_add((length - 1).checked_mul(*stride)?)?;
    }
    last.checked_add(1)
}

fn little_endian(is: bool) -> Result<(), String> {
    match is {
        true => Ok(()),
        false => Err("was written on a big-endian machine; save it on another".to_owned()),
    }
}

/// The number type of a storage or of a `torch.dtype`, by the name that PyTorch gives it.
pub(in crate::weights) fn dtype_of(name: &str) -> Option<Dtype> {
    Some(match name {
        "FloatStorage" | "float32" | "float" => Dtype::F32,
        "HalfStorage" | "float16" | "half" => Dtype::F16,
        "BFloat16Storage" | "bfloat16" => Dtype::BF16,
        "DoubleStorage" | "float64" | "double" => Dtype::F64,
        "LongStorage" | "int64" | "long" => Dtype::I64,
        "IntStorage" | "int32" | "int" => Dtype::I32,
        "ShortStorage" | "int16" | "short" => Dtype::I16,
        "CharStorage" | "int8" => Dtype::I8,
        "ByteStorage" | "UntypedStorage" | "uint8" => Dtype::U8,
        "BoolStorage" | "bool" => Dtype::BOOL,
        "uint16" => Dtype::U16,
        "uint32" => Dtype::U32,
        "uint64" => Dtype::U64,
        "float8_e4m3fn" => Dtype::F8_E4M3,
        "float8_e5m2" => Dtype::F8_E5M2,
        "ComplexFloatStorage" | "complex64" => Dtype::C64,
        _ => return None,
    })
}
