//! CLIP's own vocabulary, for checkpoints that come without a tokenizer.
//!
//! `instant-clip-tokenizer` carries it and merges bytes; what stands before that is transformers'
//! order of things: start and end where they are spelled its way, composed letters, letters made
//! small one by one, words.

use std::fmt;
use std::sync::{Arc, OnceLock};

use instant_clip_tokenizer::{Token, Tokenizer};
use tokenizers::normalizers::NFC;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::{
    NormalizedString, Normalizer as _, OffsetReferential, OffsetType, PreTokenizedString,
    PreTokenizer as _, SplitDelimiterBehavior,
};

use super::CLIP_ENDS;

/// What a word is.
pub(super) const WORD: &str = concat!(
    r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|",
    r"[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"
);

/// OpenAI's byte pairs; clones share them.
#[derive(Clone)]
pub(super) struct ClipWords(Arc<Parts>);

struct Parts {
    words: Split,
    pairs: Tokenizer,
}

impl ClipWords {
    /// Made once a process: it takes tens of milliseconds.
    pub(super) fn new() -> Self {
        static WORDS: OnceLock<ClipWords> = OnceLock::new();
        let made = || {
            let word = SplitPattern::Regex(WORD.to_owned());
            let words = Split::new(word, SplitDelimiterBehavior::Removed, true);
            Self(Arc::new(Parts {
                words: words.expect("the pattern is sound: a test runs it"),
                pairs: Tokenizer::new(),
            }))
        };
        WORDS.get_or_init(made).clone()
    }

    /// The ids of start and end.
    pub(super) fn ends(&self) -> [u32; 2] {
        let pairs = &self.0.pairs;
        [pairs.start_of_text(), pairs.end_of_text()].map(|token| token.to_u16().into())
    }

    /// The ids of a text.
    ///
    /// # Errors
    /// What the library says of a text that it cannot split.
    pub(super) fn ids(&self, text: &str) -> tokenizers::Result<Vec<u32>> {
        let (mut ids, mut rest) = (Vec::new(), text);
        while let Some((at, which)) = special(rest) {
            self.push(&rest[..at], &mut ids)?;
            ids.push(self.ends()[which]);
            rest = &rest[at + CLIP_ENDS[which].len()..];
        }
        self.push(rest, &mut ids)?;
        Ok(ids)
    }

    fn push(&self, text: &str, ids: &mut Vec<u32>) -> tokenizers::Result<()> {
        let mut text = NormalizedString::from(text);
        NFC.normalize(&mut text)?;
        text.lowercase();
        let mut words = PreTokenizedString::from(text);
        self.0.words.pre_tokenize(&mut words)?;
        let mut tokens: Vec<Token> = Vec::new();
        // Word by word: the crate's own splitting knows other spellings of start and end.
        for (word, ..) in words.get_splits(OffsetReferential::Normalized, OffsetType::Byte) {
            self.0.pairs.encode(word, &mut tokens);
        }
        ids.extend(tokens.into_iter().map(|token| u32::from(token.to_u16())));
        Ok(())
    }
}

impl fmt::Debug for ClipWords {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClipWords")
    }
}

/// Where the first start or end is spelled, and which.
fn special(text: &str) -> Option<(usize, usize)> {
    let found = (0..2).filter_map(|which| Some((text.find(CLIP_ENDS[which])?, which)));
    found.min()
}
