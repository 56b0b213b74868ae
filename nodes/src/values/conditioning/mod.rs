//! `Conditioning`: what a picture should show, as a list of entries.
//!
//! Each entry is something that the network is told: in words, by channels beside the latent,
//! by a vector; where, how strongly, in which part of the walk, and by which hints. Every entry
//! counts beside the others; the rules are `ldm_models::guidance`'s.
//!
//! Promises
//! - There is at least one entry.
//! - What an entry does not say is not in its identity: a text alone is what it always was.
//!
//! Not here: how entries lie in the cache (`store`), how they come onto a device
//! (`crate::ready`).

mod area;
mod channels;
mod hint;
mod store;

pub use area::Area;
pub use hint::{Hint, HintFacts};

use ldm_engine::Result;
use ldm_models::guidance::Span;

use super::{Mask, PictureFacts};
use crate::array::Array;

/// What a network is told besides the noisy latent.
#[derive(Debug, Clone, PartialEq)]
pub struct Conditioning {
    /// At least one.
    pub entries: Vec<Entry>,
}

/// One thing that a network is told.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// Tokens to look at, `[1 or batch, n, width]`.
    pub tokens: Option<Array<3>>,
    /// Channels set behind the latent's own, `[1 or batch, channels, height, width]`.
    pub channels: Option<Array<4>>,
    /// A class, or a text's pooled vector with what goes with it, `[1 or batch, width]`.
    pub vector: Option<Array<2>>,
    /// The part of the picture that it is about; the whole, where there is none.
    pub area: Option<Area>,
    /// How much it counts at each place of the picture; of any size.
    pub mask: Option<Mask>,
    /// How much it counts beside other entries.
    pub strength: f64,
    /// In which part of the walk it counts.
    pub span: Span,
    /// Pictures that networks beside the U-Net steer by.
    pub hints: Vec<Hint>,
}

/// What is known of a [`Conditioning`] before it exists.
#[derive(Debug, Clone, PartialEq)]
pub struct ConditioningFacts {
    /// At least one.
    pub entries: Vec<EntryFacts>,
}

/// What is known of an [`Entry`] before it exists.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct EntryFacts {
    /// Shape of the tokens.
    pub tokens: Option<[usize; 3]>,
    /// Shape of the channels.
    pub channels: Option<[usize; 4]>,
    /// Shape of the vector.
    pub vector: Option<[usize; 2]>,
    /// The part of the picture that it is about.
    pub area: Option<Area>,
    /// The mask's size.
    pub mask: Option<PictureFacts>,
    /// Its hints.
    pub hints: Vec<HintFacts>,
}

impl Default for Entry {
    /// Says nothing, of the whole picture, always.
    fn default() -> Self {
        Self {
            tokens: None,
            channels: None,
            vector: None,
            area: None,
            mask: None,
            strength: 1.0,
            span: Span::WHOLE,
            hints: Vec::new(),
        }
    }
}

impl Default for Conditioning {
    /// One entry that says nothing.
    fn default() -> Self {
        Entry::default().into()
    }
}

impl Default for ConditioningFacts {
    /// One entry that says nothing.
    fn default() -> Self {
        EntryFacts::default().into()
    }
}

impl From<Entry> for Conditioning {
    fn from(entry: Entry) -> Self {
        Self {
            entries: vec![entry],
        }
    }
}

impl From<EntryFacts> for ConditioningFacts {
    fn from(entry: EntryFacts) -> Self {
        Self {
            entries: vec![entry],
        }
    }
}

impl Entry {
    /// Shapes of its parts.
    pub fn facts(&self) -> EntryFacts {
        EntryFacts {
            tokens: self.tokens.as_ref().map(Array::shape),
            channels: self.channels.as_ref().map(Array::shape),
            vector: self.vector.as_ref().map(Array::shape),
            area: self.area,
            mask: self.mask.as_ref().map(Mask::facts),
            hints: self.hints.iter().map(Hint::facts).collect(),
        }
    }

    /// Whether it counts at every place and in every step.
    pub(crate) fn is_everywhere(&self) -> bool {
        self.area.is_none()
            && self.mask.is_none()
            && self.strength > 0.0
            && self.span.start <= 0.0
            && self.span.end >= 1.0
    }
}

impl Conditioning {
    /// Shapes of its parts.
    pub fn facts(&self) -> ConditioningFacts {
        ConditioningFacts {
            entries: self.entries.iter().map(Entry::facts).collect(),
        }
    }

    /// The same with `change` made to each entry.
    pub(crate) fn each(&self, change: impl FnMut(Entry) -> Entry) -> Self {
        Self {
            entries: self.entries.iter().cloned().map(change).collect(),
        }
    }

    /// The same with `added` channels behind those of each entry.
    ///
    /// # Errors
    /// When the sizes differ.
    pub(crate) fn with_channels(&self, added: &Array<4>) -> Result<Self> {
        let entries = self.entries.iter().cloned();
        let entries = entries.map(|entry| entry.with_channels(added));
        Ok(Self {
            entries: entries.collect::<Result<_>>()?,
        })
    }
}

impl ConditioningFacts {
    /// The same with `change` made to each entry.
    pub(crate) fn each(&self, change: impl FnMut(EntryFacts) -> EntryFacts) -> Self {
        Self {
            entries: self.entries.iter().cloned().map(change).collect(),
        }
    }

    /// The same with `added` channels behind those of each entry.
    ///
    /// # Errors
    /// When the sizes differ.
    pub(crate) fn with_channels(&self, added: [usize; 4]) -> Result<Self> {
        let entries = self.entries.iter().cloned();
        let entries = entries.map(|entry| entry.with_channels(added));
        Ok(Self {
            entries: entries.collect::<Result<_>>()?,
        })
    }
}
