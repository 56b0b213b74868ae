//! How a conditioning lies in the cache, and its identity.
//!
//! A safetensors file: `0.tokens`, `0.channels`, `0.vector`, `0.mask`, then `1.tokens` and so
//! on, and a note with what each entry says besides. A hint holds a handle, and handles are not
//! stored: a conditioning with hints is made again, from texts that are kept.

use std::borrow::Cow;

use ldm_engine::{Data, Error, Hasher, Identity, Result, Storage};
use ldm_models::guidance::Span;
use serde::{Deserialize, Serialize};

use super::{Area, Conditioning, Entry};
use crate::array::{Array, Pack, Unpack};
use crate::values::Mask;

/// What an entry says in numbers that are no tensor.
#[derive(Serialize, Deserialize)]
struct Said {
    area: Option<Area>,
    strength: f64,
    start: f64,
    end: f64,
}

impl Entry {
    /// Adds what it says to an identity; what it leaves out adds nothing.
    fn hash_into(&self, hasher: &mut Hasher) {
        if let Some(tokens) = &self.tokens {
            tokens.hash_into(hasher.part(b"tokens"));
        }
        if let Some(channels) = &self.channels {
            channels.hash_into(hasher.part(b"channels"));
        }
        if let Some(vector) = &self.vector {
            vector.hash_into(hasher.part(b"vector"));
        }
        if let Some(area) = &self.area {
            area.hash_into(hasher.part(b"area"));
        }
        if let Some(mask) = &self.mask {
            mask.0.hash_into(hasher.part(b"mask"));
        }
        let Span { start, end } = self.span;
        let numbers = [
            (&b"strength"[..], self.strength, 1.0),
            (&b"start"[..], start, 0.0),
            (&b"end"[..], end, 1.0),
        ];
        for (name, number, usual) in numbers {
            if number != usual {
                hasher.part(name).part(&number.to_bits().to_le_bytes());
            }
        }
        for hint in &self.hints {
            hasher.part(b"hint").part(&hint.identity().0);
        }
    }

    fn bytes(&self) -> u64 {
        self.tokens.as_ref().map_or(0, Array::bytes)
            + self.channels.as_ref().map_or(0, Array::bytes)
            + self.vector.as_ref().map_or(0, Array::bytes)
            + self.mask.as_ref().map_or(0, |mask| mask.0.bytes())
            + self
                .hints
                .iter()
                .map(|hint| hint.image.bytes())
                .sum::<u64>()
    }

    fn pack<'a>(&'a self, at: usize, mut pack: Pack<'a>) -> Result<Pack<'a>> {
        if let Some(tokens) = &self.tokens {
            pack = pack.with(format!("{at}.tokens"), tokens)?;
        }
        if let Some(channels) = &self.channels {
            pack = pack.with(format!("{at}.channels"), channels)?;
        }
        if let Some(vector) = &self.vector {
            pack = pack.with(format!("{at}.vector"), vector)?;
        }
        match &self.mask {
            Some(mask) => pack.with(format!("{at}.mask"), &mask.0),
            None => Ok(pack),
        }
    }

    fn said(&self) -> Said {
        Said {
            area: self.area,
            strength: self.strength,
            start: self.span.start,
            end: self.span.end,
        }
    }

    fn unpack(at: usize, said: Said, file: &Unpack<'_>) -> Result<Self> {
        Ok(Self {
            tokens: file.find(&format!("{at}.tokens"))?,
            channels: file.find(&format!("{at}.channels"))?,
            vector: file.find(&format!("{at}.vector"))?,
            area: said.area,
            mask: file.find(&format!("{at}.mask"))?.map(Mask),
            strength: said.strength,
            span: Span {
                start: said.start,
                end: said.end,
            },
            hints: Vec::new(),
        })
    }
}

impl Data for Conditioning {
    const NAME: &'static str = "Conditioning";
    /// 1 held one entry of tokens and channels.
    const FORMAT: u32 = 2;

    fn identity(&self) -> Identity {
        let mut hasher = Hasher::default();
        hasher.part(Self::NAME.as_bytes());
        for (at, entry) in self.entries.iter().enumerate() {
            if at > 0 {
                hasher.part(b"entry");
            }
            entry.hash_into(&mut hasher);
        }
        hasher.finish()
    }

    fn bytes(&self) -> u64 {
        self.entries.iter().map(Entry::bytes).sum()
    }

    fn storage(&self) -> Storage {
        if self.entries.iter().all(|entry| entry.hints.is_empty()) {
            Storage::Object
        } else {
            Storage::Handle
        }
    }

    fn save(&self) -> Result<Cow<'_, [u8]>> {
        let mut pack = Pack::default();
        for (at, entry) in self.entries.iter().enumerate() {
            pack = entry.pack(at, pack)?;
        }
        let said: Vec<Said> = self.entries.iter().map(Entry::said).collect();
        pack.bytes(ron::to_string(&said)?)
    }

    fn load(bytes: Vec<u8>) -> Result<Self> {
        let file = Unpack::open(&bytes)?;
        let said: Vec<Said> = ron::from_str(&file.note)?;
        let entries = said.into_iter().enumerate();
        let entries = entries.map(|(at, said)| Entry::unpack(at, said, &file));
        let entries: Vec<Entry> = entries.collect::<Result<_>>()?;
        if entries.is_empty() {
            return Err(Error::new("there is no entry in it"));
        }
        Ok(Self { entries })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use burn::tensor::Device;
    use ldm_models::control::{AdapterConfig, AdapterKind, ControlConfig, Place};

    use super::super::Hint;
    use super::*;
    use crate::values::{ControlAbout, ControlNet};

    /// One entry for each thing that an entry can say.
    fn sayings() -> Vec<Entry> {
        let blank = Entry::default;
        let span = |start, end| Span { start, end };
        let (x, y, width, height) = (0.0, 0.1 + 0.2, 0.5, 1.0);
        let area = Some(Area::Share {
            x,
            y,
            width,
            height,
        });
        vec![
            blank(),
            Entry {
                tokens: Some(Array::new([1, 2, 1], vec![1.0, 2.0])),
                ..blank()
            },
            Entry {
                channels: Some(Array::new([1, 1, 1, 2], vec![1.0, 2.0])),
                ..blank()
            },
            Entry {
                vector: Some(Array::new([1, 2], vec![1.0, 2.0])),
                ..blank()
            },
            Entry { area, ..blank() },
            Entry {
                area: Some(Area::Mask),
                ..blank()
            },
            Entry {
                mask: Some(Mask(Array::new([1, 1, 2], vec![1.0, 2.0]))),
                ..blank()
            },
            Entry {
                strength: 0.5,
                ..blank()
            },
            Entry {
                span: span(0.5, 1.0),
                ..blank()
            },
            Entry {
                span: span(0.0, 0.5),
                ..blank()
            },
        ]
    }

    #[test]
    fn every_saying_comes_back_alone_and_in_lists_and_has_an_identity_of_its_own() {
        let mut all: Vec<Conditioning> = sayings().into_iter().map(Conditioning::from).collect();
        for pair in sayings().windows(2) {
            all.push(Conditioning {
                entries: pair.to_vec(),
            });
            let entries = pair.iter().rev().cloned().collect();
            all.push(Conditioning { entries });
        }
        all.push(Conditioning { entries: sayings() });
        let mut identities = Vec::new();
        for one in &all {
            let back = Conditioning::load(one.save().unwrap().into_owned()).unwrap();
            assert_eq!((&back, back.identity()), (one, one.identity()));
            identities.push(one.identity());
        }
        identities.sort();
        identities.dedup();
        assert_eq!(identities.len(), all.len());
    }

    /// A handle on a network of a few numbers; `prefix` tells it from others.
    fn network(prefix: &str) -> ControlNet {
        let config = ControlConfig::Adapter(AdapterConfig {
            kind: AdapterKind::Full,
            in_channels: 1,
            factor: 1,
            unshuffle: 1,
            channels: vec![1],
            halved: vec![false],
            blocks: 1,
            places: vec![Place::Middle],
        });
        let network = config.init(&Device::flex(), 0).unwrap();
        let prefix = prefix.to_owned();
        ControlNet::made(ControlAbout { config, prefix }, &network).unwrap()
    }

    #[test]
    fn what_holds_a_hint_is_a_handle_and_all_of_the_hint_is_in_its_identity() {
        let hint = |prefix, pixel, strength, end| Hint {
            network: network(prefix),
            image: Arc::new(Array::new([1, 1, 1, 1], vec![pixel])),
            strength,
            span: Span { start: 0.0, end },
        };
        let told = |hints| {
            Conditioning::from(Entry {
                hints,
                ..Entry::default()
            })
        };
        let usual = || hint("a", 0.5, 1.0, 1.0);
        let all = [
            vec![usual()],
            vec![hint("b", 0.5, 1.0, 1.0)],
            vec![hint("a", 0.6, 1.0, 1.0)],
            vec![hint("a", 0.5, 0.9, 1.0)],
            vec![hint("a", 0.5, 1.0, 0.9)],
            vec![usual(), usual()],
        ];
        let mut identities = vec![told(Vec::new()).identity()];
        for hints in all {
            let one = told(hints);
            assert_eq!(one.storage(), Storage::Handle);
            identities.push(one.identity());
        }
        identities.sort();
        identities.dedup();
        assert_eq!(identities.len(), 7);
    }

    /// The parts are those of the program that knew of one entry only.
    #[test]
    fn a_text_alone_is_what_it_was_before_there_were_lists() {
        let mut hasher = Hasher::default();
        hasher.part(b"Conditioning");
        let tokens = Array::new([1, 2, 1], vec![1.0, 2.0]);
        tokens.hash_into(hasher.part(b"tokens"));
        let tokens = Some(tokens);
        let told = Conditioning::from(Entry {
            tokens,
            ..Entry::default()
        });
        assert_eq!(told.identity(), hasher.finish());
    }

    #[test]
    fn what_holds_no_entry_is_refused() {
        let none = Pack::default().bytes("[]".into()).unwrap();
        assert!(Conditioning::load(none.into_owned()).is_err());
        let older = Pack::default().bytes(String::new()).unwrap();
        assert!(Conditioning::load(older.into_owned()).is_err());
    }
}
