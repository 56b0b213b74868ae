//! An entry of the cache folder: one line that says what it is, then its bytes.
//!
//! ```text
//! ldm-graph object 1 Latent 1.25 5f0c… 16384
//! │         │      │ │      │    │     └ bytes that follow the line
//! │         │      │ │      │    └ checksum of all of this, the entry's name included
//! │         │      │ │      └ seconds that it took to make
//! │         │      │ └ what it holds: a type, a kind
//! │         │      └ the format of such entries
//! │         └ object, action, file or plan
//! ```
//!
//! Promise: bytes that are not wholly what was written, under the name it was written to, are
//! never taken for it.

use std::fmt::Write;

use crate::value::{Hasher, Identity};

/// Longest first line.
pub(super) const HEAD: u64 = 512;

/// The sorts of entries, each with a folder and a format of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sort {
    /// identity → bytes of a value
    Object,
    /// key → what is known of a run
    Action,
    /// path → content hash
    File,
    /// graph file → the keys of its last run
    Plan,
}

impl Sort {
    pub(super) const ALL: [Self; 4] = [Self::Object, Self::Action, Self::File, Self::Plan];

    pub(super) fn folder(self) -> &'static str {
        match self {
            Self::Object => "objects",
            Self::Action => "actions",
            Self::File => "files",
            Self::Plan => "plans",
        }
    }

    fn word(self) -> &'static str {
        match self {
            Self::Object => "object",
            Self::Action => "action",
            Self::File => "file",
            Self::Plan => "plan",
        }
    }

    /// Raised when entries of this sort are written in another way: older ones are then misses.
    fn format(self) -> u32 {
        match self {
            Self::Object | Self::Action | Self::File | Self::Plan => 1,
        }
    }
}

/// What the first line tells.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Head {
    /// The type of an object, the kind of an action's node.
    pub(super) label: String,
    /// What it took to make.
    pub(super) seconds: f64,
}

/// Why an entry is not one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unfit {
    /// Written by an older program: swept.
    Old,
    /// Written by a newer program: left to it.
    New,
    /// Not what was written.
    Damaged,
}

/// The first line of an entry with these bytes.
pub(super) fn head(sort: Sort, name: &Identity, label: &str, seconds: f64, body: &[u8]) -> String {
    let sum = checksum(sort, name, label, seconds, body);
    let mut line = format!("ldm-graph {} {} ", sort.word(), sort.format());
    let _ = writeln!(line, "{label} {seconds} {sum} {}", body.len());
    line
}

/// What the first line tells, and where the bytes after it start.
pub(super) fn read_head(sort: Sort, bytes: &[u8]) -> Result<(Head, usize), Unfit> {
    let line = &bytes[..bytes.len().min(HEAD as usize)];
    let end = line.iter().position(|b| *b == b'\n');
    let end = end.ok_or(Unfit::Damaged)?;
    let line = std::str::from_utf8(&line[..end]).map_err(|_| Unfit::Damaged)?;
    let mut words = line.split(' ');
    if words.next() != Some("ldm-graph") || words.next() != Some(sort.word()) {
        return Err(Unfit::Damaged);
    }
    match parsed::<u32>(words.next())?.cmp(&sort.format()) {
        std::cmp::Ordering::Less => return Err(Unfit::Old),
        std::cmp::Ordering::Greater => return Err(Unfit::New),
        std::cmp::Ordering::Equal => {}
    }
    let head = Head {
        label: parsed(words.next())?,
        seconds: parsed(words.next())?,
    };
    Ok((head, end + 1))
}

/// The whole entry of that name, checked.
pub(super) fn read<'a>(
    sort: Sort,
    name: &Identity,
    bytes: &'a [u8],
) -> Result<(Head, &'a [u8]), Unfit> {
    let (head, start) = read_head(sort, bytes)?;
    let (line, body) = bytes.split_at(start);
    // The line that these bytes would have: it holds their number and their checksum.
    let wanted = self::head(sort, name, &head.label, head.seconds, body);
    match line == wanted.as_bytes() {
        true => Ok((head, body)),
        false => Err(Unfit::Damaged),
    }
}

fn checksum(sort: Sort, name: &Identity, label: &str, seconds: f64, body: &[u8]) -> Identity {
    let mut hasher = Hasher::default();
    hasher
        .part(sort.word().as_bytes())
        .part(&sort.format().to_le_bytes())
        .part(&name.0)
        .part(label.as_bytes())
        .part(&seconds.to_bits().to_le_bytes())
        .part(body);
    hasher.finish()
}

fn parsed<T: std::str::FromStr>(word: Option<&str>) -> Result<T, Unfit> {
    word.and_then(|word| word.parse().ok())
        .ok_or(Unfit::Damaged)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written() -> (Identity, Vec<u8>) {
        let name = Identity::of(&[b"name"]);
        let mut bytes = head(Sort::Object, &name, "Latent", 1.25, b"some numbers").into_bytes();
        bytes.extend(b"some numbers");
        (name, bytes)
    }

    #[test]
    fn what_was_written_is_read() {
        let (name, bytes) = written();
        let (head, body) = read(Sort::Object, &name, &bytes).unwrap();
        assert_eq!((head.label.as_str(), head.seconds), ("Latent", 1.25));
        assert_eq!(body, b"some numbers");
    }

    #[test]
    fn any_flipped_bit_any_cut_and_another_name_are_noticed() {
        let (name, bytes) = written();
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut wrong = bytes.clone();
                wrong[at] ^= 1 << bit;
                assert!(read(Sort::Object, &name, &wrong).is_err(), "{at} {bit}");
            }
            assert!(
                read(Sort::Object, &name, &bytes[..at]).is_err(),
                "cut at {at}"
            );
        }
        assert!(read(Sort::Object, &Identity::of(&[b"other"]), &bytes).is_err());
        assert!(read(Sort::Action, &name, &bytes).is_err());
    }

    #[test]
    fn another_format_is_told_from_damage() {
        let (name, bytes) = written();
        let text = String::from_utf8(bytes).unwrap();
        let with = |format: &str| text.replacen("object 1", &format!("object {format}"), 1);
        let read = |text: String| read(Sort::Object, &name, text.as_bytes()).unwrap_err();
        assert_eq!(read(with("0")), Unfit::Old);
        assert_eq!(read(with("2")), Unfit::New);
        assert_eq!(read(with("x")), Unfit::Damaged);
    }
}
