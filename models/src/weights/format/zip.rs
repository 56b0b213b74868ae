//! The list of what a zip archive holds, of the kind that PyTorch writes: nothing is
//! compressed, so an entry is a range of the file.
//!
//! The layout is that of PKWARE's application note 4.3, with the 64-bit records of 4.3.14.
//!
//! Promises
//! - Every entry lies inside the file, and all of them together are no larger than it: an
//!   archive cannot unfold into more than it is.
//! - A compressed or encrypted entry is refused by its name.
//!
//! Not here: unpacking, archives in several parts, checksums (a wrong number in a weight is
//! told from a right one by nobody).

use std::collections::BTreeMap;
use std::ops::Range;

/// What an archive holds: names and the bytes they stand for.
pub(super) type Entries = BTreeMap<String, Range<usize>>;

const END: &[u8] = b"PK\x05\x06";
const END_64: &[u8] = b"PK\x06\x06";
const END_64_LOCATOR: &[u8] = b"PK\x06\x07";
const IN_LIST: &[u8] = b"PK\x01\x02";
const AT_DATA: &[u8] = b"PK\x03\x04";

/// Lengths of these records without what may follow.
const END_LENGTH: usize = 22;
const LOCATOR_LENGTH: usize = 20;
const LIST_LENGTH: usize = 46;
const DATA_LENGTH: usize = 30;

/// The longest comment behind the last record.
const COMMENT: usize = 0xffff;

/// Stands for a number that is in a 64-bit record instead.
const ELSEWHERE: u64 = 0xffff_ffff;

/// Names a 64-bit record among an entry's extras.
const EXTRA_64: u64 = 1;

/// What the archive in `bytes` holds.
///
/// # Errors
/// The rest of a sentence about the file.
pub(super) fn entries(bytes: &[u8]) -> Result<Entries, String> {
    let (count, mut at) = directory(bytes)?;
    let mut entries = Entries::new();
    let mut total = 0usize;
    for _ in 0..count {
        let (entry, next) = entry(bytes, at)?;
        total = total.saturating_add(entry.bytes.len());
        if total > bytes.len() {
            let length = bytes.len();
            return Err(format!(
                "is an archive whose entries claim more than the {length} bytes it has"
            ));
        }
        entries.insert(entry.name, entry.bytes);
        at = next;
    }
    Ok(entries)
}

/// How many entries there are, and where their list begins.
fn directory(bytes: &[u8]) -> Result<(u64, usize), String> {
    let from = bytes.len().saturating_sub(END_LENGTH + COMMENT);
    let tail = &bytes[from..];
    let end = tail.windows(END.len()).rposition(|window| window == END);
    let end = from + end.ok_or("is a zip archive without its end; it was cut short")?;
    let record = Record::at(bytes, end)?;
    let (count, start) = (record.number(10, 2)?, record.number(16, 4)?);
    let locator = end
        .checked_sub(LOCATOR_LENGTH)
        .filter(|at| bytes[*at..].starts_with(END_64_LOCATOR));
    let Some(locator) = locator else {
        return Ok((count, place(start, bytes)?));
    };
    let long = place(Record::at(bytes, locator)?.number(8, 8)?, bytes)?;
    let record = Record::at(bytes, long)?;
    record.begins(END_64)?;
    Ok((record.number(32, 8)?, place(record.number(48, 8)?, bytes)?))
}

struct Entry {
    name: String,
    bytes: Range<usize>,
}

/// The entry listed at `at`, and where the next one is listed.
fn entry(bytes: &[u8], at: usize) -> Result<(Entry, usize), String> {
    let record = Record::at(bytes, at)?;
    record.begins(IN_LIST)?;
    let lengths = [28, 30, 32].map(|field| record.number(field, 2));
    let [name, extra, comment] = lengths;
    let (name_length, extra_length) = (name? as usize, extra? as usize);
    let name = String::from_utf8_lossy(record.bytes(LIST_LENGTH, name_length)?).into_owned();
    let extras = record.bytes(LIST_LENGTH + name_length, extra_length)?;
    let mut fields = [24, 20, 42].map(|field| record.number(field, 4).unwrap_or(ELSEWHERE));
    fill_64(&mut fields, extras);
    let [size, stored, start] = fields;
    if record.number(8, 2)? & 1 != 0 {
        return Err(format!(
            "is an archive whose `{name}` is encrypted; decrypt it"
        ));
    }
    if record.number(10, 2)? != 0 || size != stored {
        return Err(format!(
            "is a zip archive whose `{name}` is compressed, which torch.save never does: {stored} \
             bytes claim to unfold to {size}; unpack it if a model was packed, else distrust it"
        ));
    }
    let local = Record::at(bytes, place(start, bytes)?)?;
    local.begins(AT_DATA)?;
    let behind = local.number(26, 2)? as usize + local.number(28, 2)? as usize;
    let begin = local.at + DATA_LENGTH + behind;
    let end = usize::try_from(size)
        .ok()
        .and_then(|size| begin.checked_add(size));
    let Some(end) = end.filter(|end| *end <= bytes.len()) else {
        let length = bytes.len();
        return Err(format!(
            "is an archive whose `{name}` claims {size} bytes, the file has {length}"
        ));
    };
    let next = at + LIST_LENGTH + name_length + extra_length + comment? as usize;
    let bytes = begin..end;
    Ok((Entry { name, bytes }, next))
}

/// Takes from the 64-bit record, in its order, each field that says it is there.
fn fill_64(fields: &mut [u64; 3], mut extras: &[u8]) {
    while let Some((head, rest)) = extras.split_at_checked(4) {
        let length = usize::from(u16::from_le_bytes([head[2], head[3]]));
        let Some((body, rest)) = rest.split_at_checked(length) else {
            return;
        };
        if u64::from(u16::from_le_bytes([head[0], head[1]])) == EXTRA_64 {
            let (mut numbers, _) = body.as_chunks::<8>();
            for field in fields.iter_mut().filter(|field| **field == ELSEWHERE) {
                if let [first, others @ ..] = numbers {
                    *field = u64::from_le_bytes(*first);
                    numbers = others;
                }
            }
        }
        extras = rest;
    }
}

/// A record of the archive, its fields counted from its beginning.
struct Record<'a> {
    whole: &'a [u8],
    at: usize,
}

impl<'a> Record<'a> {
    fn at(whole: &'a [u8], at: usize) -> Result<Self, String> {
        match at <= whole.len() {
            true => Ok(Self { whole, at }),
            false => Err(cut()),
        }
    }

    fn bytes(&self, field: usize, length: usize) -> Result<&'a [u8], String> {
        let bytes = self.whole[self.at..].get(field..field + length);
        bytes.ok_or_else(cut)
    }

    fn number(&self, field: usize, length: usize) -> Result<u64, String> {
        let mut number = [0; 8];
        number[..length].copy_from_slice(self.bytes(field, length)?);
        Ok(u64::from_le_bytes(number))
    }

    fn begins(&self, mark: &[u8]) -> Result<(), String> {
        match self.bytes(0, mark.len())? == mark {
            true => Ok(()),
            false => Err("is an archive whose list of entries points astray".to_owned()),
        }
    }
}

fn place(at: u64, bytes: &[u8]) -> Result<usize, String> {
    let place = usize::try_from(at).ok().filter(|at| *at <= bytes.len());
    place.ok_or_else(cut)
}

fn cut() -> String {
    "is a zip archive that was cut short, or whose list is damaged".to_owned()
}
