//! An entry of the cache folder: a first line that says what it is, then its bytes.
//!
//! ```text
//! ldm-graph object 1 Latent/1 1.25 5f0c… 16384
//! │         │      │ │        │    │     └ bytes that follow the line
//! │         │      │ │        │    └ checksum of all of this, the entry's name included
//! │         │      │ │        └ seconds that it took to make
//! │         │      │ └ what it holds: a type and its format, or a kind
//! │         │      └ the format of such entries
//! │         └ object, action, file or plan
//! ```
//!
//! The line is filled up with blanks to a fixed length, so that a large body can be written
//! while its checksum is still being made.
//!
//! Promise: bytes that are not wholly what was written, under the name it was written to, are
//! never taken for it.

use crate::value::{Hasher, Identity};

/// Bytes of the first line, its end included.
pub(super) const HEAD: usize = 256;

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
        self.folder().trim_end_matches('s')
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
    /// The type of an object and its format, or the kind of an action's node.
    pub(super) label: String,
    /// What it took to make.
    pub(super) seconds: f64,
    /// Bytes that follow the line.
    pub(super) bytes: u64,
    /// [`Head::summing`] over these.
    pub(super) sum: Identity,
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

impl Head {
    /// The first line.
    pub(super) fn line(&self, sort: Sort) -> [u8; HEAD] {
        let Self {
            label,
            seconds,
            bytes,
            sum,
        } = self;
        let (word, format) = (sort.word(), sort.format());
        let text = format!("ldm-graph {word} {format} {label} {seconds} {sum} {bytes}");
        let mut line = [b' '; HEAD];
        line[..text.len()].copy_from_slice(text.as_bytes());
        line[HEAD - 1] = b'\n';
        line
    }

    /// Reads the first line.
    ///
    /// # Errors
    /// When it is not just what [`Head::line`] writes.
    pub(super) fn read(sort: Sort, line: &[u8]) -> Result<Self, Unfit> {
        let text = std::str::from_utf8(line).map_err(|_| Unfit::Damaged)?;
        let mut words = text.split([' ', '\n']);
        if words.next() != Some("ldm-graph") || words.next() != Some(sort.word()) {
            return Err(Unfit::Damaged);
        }
        match parsed::<u32>(words.next())?.cmp(&sort.format()) {
            std::cmp::Ordering::Less => return Err(Unfit::Old),
            std::cmp::Ordering::Greater => return Err(Unfit::New),
            std::cmp::Ordering::Equal => {}
        }
        let head = Self {
            label: parsed(words.next())?,
            seconds: parsed(words.next())?,
            sum: words
                .next()
                .and_then(Identity::from_hex)
                .ok_or(Unfit::Damaged)?,
            bytes: parsed(words.next())?,
        };
        match head.fits() && head.line(sort) == *line {
            true => Ok(head),
            false => Err(Unfit::Damaged),
        }
    }

    /// Whether the line is long enough for this.
    pub(super) fn fits(&self) -> bool {
        self.label.len() <= 64
    }

    /// The checksum of an entry, but for its bytes, which are still to be added.
    pub(super) fn summing(&self, sort: Sort, name: &Identity) -> Hasher {
        let mut hasher = Hasher::default();
        hasher
            .part(sort.word().as_bytes())
            .part(&sort.format().to_le_bytes())
            .part(&name.0)
            .part(self.label.as_bytes())
            .part(&self.seconds.to_bits().to_le_bytes())
            .part(&self.bytes.to_le_bytes());
        hasher
    }
}

fn parsed<T: std::str::FromStr>(word: Option<&str>) -> Result<T, Unfit> {
    word.and_then(|word| word.parse().ok())
        .ok_or(Unfit::Damaged)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head() -> Head {
        Head {
            label: "Latent/1".to_owned(),
            seconds: 1.25e-7,
            bytes: u64::MAX,
            sum: Identity::of(&[b"sum"]),
        }
    }

    #[test]
    fn what_was_written_is_read() {
        let line = head().line(Sort::Object);
        assert_eq!(Head::read(Sort::Object, &line), Ok(head()));
        let text = std::str::from_utf8(&line).unwrap();
        assert!(text.starts_with("ldm-graph object 1 Latent/1 0.000000125 "));
        assert!(text.ends_with(" \n"));
    }

    #[test]
    fn any_cut_and_any_flipped_bit_that_reads_as_a_line_reads_as_another() {
        let line = head().line(Sort::Object);
        for at in 0..HEAD {
            assert!(
                Head::read(Sort::Object, &line[..at]).is_err(),
                "cut at {at}"
            );
            for bit in 0..8 {
                let mut wrong = line;
                wrong[at] ^= 1 << bit;
                assert_ne!(Head::read(Sort::Object, &wrong), Ok(head()), "{at} {bit}");
            }
        }
        assert!(Head::read(Sort::Action, &line).is_err());
    }

    #[test]
    fn everything_on_the_line_and_the_name_are_in_the_checksum() {
        let sum = |head: &Head, sort, name: &[u8]| {
            let name = Identity::of(&[name]);
            head.summing(sort, &name).finish()
        };
        let same = sum(&head(), Sort::Object, b"name");
        let others = [
            Head {
                label: "Mask/1".to_owned(),
                ..head()
            },
            Head {
                seconds: 2.0,
                ..head()
            },
            Head { bytes: 1, ..head() },
        ];
        for other in others {
            assert_ne!(sum(&other, Sort::Object, b"name"), same);
        }
        assert_ne!(sum(&head(), Sort::Object, b"other"), same);
        assert_ne!(sum(&head(), Sort::Action, b"name"), same);
    }

    #[test]
    fn another_format_is_told_from_damage() {
        let with = |format: &str| {
            let line = head().line(Sort::Object);
            let text = std::str::from_utf8(&line).unwrap();
            let text = text.replacen("object 1", &format!("object {format}"), 1);
            Head::read(Sort::Object, text.as_bytes()).unwrap_err()
        };
        assert_eq!(with("0"), Unfit::Old);
        assert_eq!(with("2"), Unfit::New);
        assert_eq!(with("x"), Unfit::Damaged);
    }
}
