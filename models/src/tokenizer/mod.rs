//! Text to token ids.
//!
//! Reads Hugging Face's `tokenizer.json` (CLIP's byte pairs, BERT's word pieces, or the word list
//! that this project's own models use, [`Tokenizer::from_words`]); the older files beside
//! checkpoints ([`TokenizerFiles`]); and carries CLIP's own vocabulary ([`Tokenizer::clip`]),
//! since the single files that people have come without one.
//!
//! Promises
//! - Every text gives exactly [`Tokenizer::length`] ids: cut before the closing token, and
//!   padded on the right. Padding is seen by the network, as in the paper's models.
//! - What the ids do not say is told: words outside the vocabulary, and text beyond the end.
//! - CLIP's ids are those of transformers' `CLIPTokenizer`, whichever way it came here.
//! - A word list is written the same way every time, whatever the order it came in.
//! - A malformed file is an error that names it, never a panic. No network.
//!
//! Not here: the embeddings of the ids (`text`), weights and long texts (`prompt`).

mod clip;
mod files;
mod layout;
mod words;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use tokenizers::models::ModelWrapper;
use tokenizers::tokenizer::PostProcessor as _;
use tokenizers::utils::padding::{PaddingParams, PaddingStrategy};
use tokenizers::utils::truncation::TruncationParams;

pub use files::TokenizerFiles;
pub use layout::{LayoutObject, LayoutTokenizer, Layouts};

use clip::ClipWords;
use words::{SPECIAL, word_list};

/// The length of the paper's text encoders, for a file that does not say.
const PAPER_LENGTH: usize = 77;

/// More ids than any text encoder here has places for.
const MOST_IDS: usize = 1 << 16;

/// What CLIP's tokenizers call the start and the end.
const CLIP_ENDS: [&str; 2] = ["<|startoftext|>", "<|endoftext|>"];

/// What stands for CLIP's own vocabulary where a `tokenizer.json` would.
const BUILT_IN: &str = "clip";

/// Why text cannot be turned into ids.
#[derive(Debug, thiserror::Error)]
pub enum TokenizerError {
    /// The file cannot be read or written.
    #[error("cannot reach the tokenizer file `{}`: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The bytes are no `tokenizer.json`.
    #[error(
        "this is no tokenizer: {0}: give a `tokenizer.json` as the tokenizers library writes it"
    )]
    Malformed(String),
    /// The vocabulary lacks a token that encoding cannot do without.
    #[error("the tokenizer has no `{0}` token in its vocabulary: add it to `tokenizer.json`")]
    Missing(String),
    /// A vocabulary of byte pairs without the order in which they merge.
    #[error(
        "`vocab.json` has no `merges.txt` beside it: a vocabulary alone cannot cut words; put the \
         `merges.txt` it was published with into the same folder"
    )]
    NoMerges,
    /// No file of a tokenizer at all.
    #[error(
        "there is no tokenizer: put `tokenizer.json`, or CLIP's `vocab.json` and `merges.txt`, or \
         BERT's `vocab.txt` beside the weights or into a folder `tokenizer` there"
    )]
    NoFiles,
    /// A line of a vocabulary that is none.
    #[error("line {line} of `{file}` {what}: use the file as it was published")]
    Line {
        /// `merges.txt` or `vocab.txt`.
        file: &'static str,
        /// Counted from 1.
        line: usize,
        /// What is wrong with it.
        what: String,
    },
    /// No room for a word, or absurdly much.
    #[error(
        "a length of {length} ids leaves no text beside {special} special tokens, or is above \
         {MOST_IDS}: give the length that the text encoder was trained with, such as 77"
    )]
    Length {
        /// The length asked for.
        length: usize,
        /// How many ids of it the special tokens take.
        special: usize,
    },
    /// The library refused the text.
    #[error("cannot encode this text: {0}: check the vocabulary of `tokenizer.json`")]
    Encode(String),
    /// A scene that layout tokens cannot say.
    #[error("{0}")]
    Layout(String),
}

/// A vocabulary and the rules that cut text into it, at a fixed length.
#[derive(Clone, Debug)]
pub struct Tokenizer {
    rules: Rules,
    length: usize,
    /// The ids before and after every text.
    start: Vec<u32>,
    end: Vec<u32>,
    pad: u32,
    unknown: Option<u32>,
}

/// Who cuts the text.
#[derive(Clone, Debug)]
enum Rules {
    /// The tokenizers library, by a file's rules.
    Library(Box<tokenizers::Tokenizer>),
    /// CLIP's own rules.
    Clip(ClipWords),
}

/// A text as ids, and what of the text they leave out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tokens {
    /// [`Tokenizer::length`] ids.
    pub ids: Vec<u32>,
    /// Words (or pieces of words) that the vocabulary does not have, as they were written.
    pub unknown: Vec<String>,
    /// The end of the text, where it was too long.
    pub cut: Option<String>,
}

/// A text as ids of any number, without start and end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pieces {
    /// Its ids.
    pub ids: Vec<u32>,
    /// Where in the text each begins, in bytes; empty where nobody knows.
    pub places: Vec<usize>,
    /// For each id that is the unknown token: which it is, and what it stands for.
    pub unknown: Vec<(usize, String)>,
}

impl Tokenizer {
    /// Reads `path`; see [`Tokenizer::from_json`].
    pub fn open(path: &Path, length: Option<usize>) -> Result<Self, TokenizerError> {
        let bytes = std::fs::read(path).map_err(|source| TokenizerError::File {
            path: path.to_owned(),
            source,
        })?;
        Self::from_json(&bytes, length)
    }

    /// The tokenizer in the bytes of a `tokenizer.json`, giving `length` ids; without it,
    /// as many as the file says (its truncation, then its padding), or 77. The word `clip`
    /// stands for CLIP's own vocabulary, as [`Tokenizer::to_json`] writes it.
    pub fn from_json(json: &[u8], length: Option<usize>) -> Result<Self, TokenizerError> {
        if json == BUILT_IN.as_bytes() {
            return Self::clip(length.unwrap_or(PAPER_LENGTH));
        }
        let mut rules = tokenizers::Tokenizer::from_bytes(json)
            .map_err(|e| TokenizerError::Malformed(e.to_string()))?;
        let fixed = rules.get_padding().and_then(|p| match p.strategy {
            PaddingStrategy::Fixed(n) => Some(n),
            PaddingStrategy::BatchLongest => None,
        });
        let said = rules.get_truncation().map(|t| t.max_length).or(fixed);
        let length = length.or(said).unwrap_or(PAPER_LENGTH);
        let special = rules
            .get_post_processor()
            .map_or(0, |p| p.added_tokens(false));
        checked_length(length, special)?;
        let pad = match rules.get_padding() {
            Some(padding) => padding.pad_id,
            None => match rules.token_to_id(CLIP_ENDS[1]) {
                Some(end) if rules.token_to_id(SPECIAL[0]).is_none() => end,
                _ => id_of(&rules, SPECIAL[0])?,
            },
        };
        let unknown = match rules.get_model() {
            ModelWrapper::WordLevel(m) => Some(id_of(&rules, &m.unk_token)?),
            ModelWrapper::WordPiece(m) => Some(id_of(&rules, &m.unk_token)?),
            // CLIP's files name the end here; its bytes leave nothing unknown.
            ModelWrapper::BPE(m) => {
                let token = m.unk_token.as_ref().filter(|t| *t != CLIP_ENDS[1]);
                token.and_then(|t| rules.token_to_id(t))
            }
            ModelWrapper::Unigram(_) => None,
        };
        // We cut and pad ourselves: the library's cutting can panic on a lying file.
        rules
            .with_truncation(None)
            .map_err(|e| TokenizerError::Malformed(e.to_string()))?;
        rules.with_padding(None);
        let (start, end) = ends(&rules, special)?;
        Ok(Self {
            rules: Rules::Library(Box::new(rules)),
            length,
            start,
            end,
            pad,
            unknown,
        })
    }

    /// CLIP's own vocabulary and rules, which OpenCLIP shares, giving `length` ids, padded with
    /// the end: for checkpoints that come without a tokenizer.
    pub fn clip(length: usize) -> Result<Self, TokenizerError> {
        checked_length(length, 2)?;
        let words = ClipWords::new();
        let [start, end] = words.ends();
        Ok(Self {
            rules: Rules::Clip(words),
            length,
            start: vec![start],
            end: vec![end],
            pad: end,
            unknown: None,
        })
    }

    /// A tokenizer that knows these words and no others, giving `length` ids.
    ///
    /// Text is lowercased and split at white space and punctuation, which itself is left
    /// out: `"A house, at night."` is `[BOS] a house at night [EOS]`. The vocabulary is
    /// `[PAD]` = 0, `[UNK]`, `[BOS]`, `[EOS]`, then the words in alphabetical order. Entries
    /// are split by the same rules, so whole captions will do as well as words.
    pub fn from_words<I>(words: I, length: usize) -> Result<Self, TokenizerError>
    where
        I: IntoIterator,
        I::Item: AsRef<str>,
    {
        let splitter = Self::from_json(word_list(&BTreeSet::new(), length).as_bytes(), None)?;
        let mut known = BTreeSet::new();
        for entry in words {
            known.extend(splitter.split(entry.as_ref())?);
        }
        Self::from_json(word_list(&known, length).as_bytes(), None)
    }

    /// The same, filling up with `pad`: OpenCLIP's models want 0 where OpenAI's want the end.
    #[must_use]
    pub fn padding(self, pad: u32) -> Self {
        Self { pad, ..self }
    }

    /// How many ids each text gives.
    pub fn length(&self) -> usize {
        self.length
    }

    /// The ids before every text.
    pub fn start(&self) -> &[u32] {
        &self.start
    }

    /// The ids after every text.
    pub fn end(&self) -> &[u32] {
        &self.end
    }

    /// The id that fills a short text up.
    pub fn pad(&self) -> u32 {
        self.pad
    }

    /// How many rows the embedding must have: one more than the largest id.
    pub fn vocabulary(&self) -> usize {
        match &self.rules {
            Rules::Library(rules) => {
                let largest = rules.get_vocab(true).into_values().max();
                largest.map_or(0, |id| id as usize + 1)
            }
            Rules::Clip(words) => words.ends()[1] as usize + 1,
        }
    }

    /// All ids of `text`, however long it is, without start and end.
    pub fn pieces(&self, text: &str) -> Result<Pieces, TokenizerError> {
        let rules = match &self.rules {
            Rules::Library(rules) => rules,
            Rules::Clip(words) => {
                let failed = |e: tokenizers::Error| TokenizerError::Encode(e.to_string());
                let ids = words.ids(text).map_err(failed)?;
                return Ok(Pieces {
                    ids,
                    ..Pieces::default()
                });
            }
        };
        let encoding = encoded(rules, text)?;
        let (ids, offsets) = (encoding.get_ids(), encoding.get_offsets());
        let unknown = (0..ids.len()).filter(|at| Some(ids[*at]) == self.unknown);
        let written = |at: usize| text[offsets[at].0..offsets[at].1].to_owned();
        Ok(Pieces {
            ids: ids.to_vec(),
            places: offsets.iter().map(|(start, _)| *start).collect(),
            unknown: unknown.map(|at| (at, written(at))).collect(),
        })
    }

    /// The ids of `text`, with what they leave out.
    pub fn encode(&self, text: &str) -> Result<Tokens, TokenizerError> {
        let Pieces {
            mut ids,
            places,
            unknown,
        } = self.pieces(text)?;
        let room = self.room();
        let cut = places.get(room).map(|start| text[*start..].to_owned());
        ids.truncate(room);
        let unknown = unknown.into_iter().filter(|(at, _)| *at < room);
        let mut ids = [&self.start[..], &ids, &self.end].concat();
        ids.resize(self.length, self.pad);
        Ok(Tokens {
            ids,
            unknown: unknown.map(|(_, word)| word).collect(),
            cut,
        })
    }

    /// How many ids of a text there is room for between start and end.
    pub fn room(&self) -> usize {
        self.length - self.start.len() - self.end.len()
    }

    /// The ids of `text` alone: [`Tokenizer::encode`] for callers with no one to warn.
    pub fn ids(&self, text: &str) -> Result<Vec<u32>, TokenizerError> {
        Ok(self.encode(text)?.ids)
    }

    /// This tokenizer as a `tokenizer.json`; equal tokenizers give equal bytes. CLIP's own
    /// vocabulary is the word `clip`: every program of this project carries it.
    pub fn to_json(&self) -> Result<String, TokenizerError> {
        let Rules::Library(rules) = &self.rules else {
            return Ok(BUILT_IN.to_owned());
        };
        let malformed = |e: tokenizers::Error| TokenizerError::Malformed(e.to_string());
        let mut rules = rules.clone();
        let pad_token = rules.id_to_token(self.pad).unwrap_or_default();
        let cutting = TruncationParams {
            max_length: self.length,
            ..Default::default()
        };
        rules.with_truncation(Some(cutting)).map_err(malformed)?;
        rules.with_padding(Some(PaddingParams {
            strategy: PaddingStrategy::Fixed(self.length),
            pad_id: self.pad,
            pad_token,
            ..Default::default()
        }));
        Ok(rules.to_string(true).map_err(malformed)? + "\n")
    }

    /// Writes [`Tokenizer::to_json`] to `path`.
    pub fn save(&self, path: &Path) -> Result<(), TokenizerError> {
        std::fs::write(path, self.to_json()?).map_err(|source| TokenizerError::File {
            path: path.to_owned(),
            source,
        })
    }

    /// The words of `text` in lower case, known or not.
    fn split(&self, text: &str) -> Result<Vec<String>, TokenizerError> {
        let Rules::Library(rules) = &self.rules else {
            return Ok(Vec::new());
        };
        let encoding = encoded(rules, text)?;
        let offsets = encoding.get_offsets().iter();
        Ok(offsets
            .map(|&(start, end)| text[start..end].to_lowercase())
            .collect())
    }
}

fn checked_length(length: usize, special: usize) -> Result<(), TokenizerError> {
    match length <= special || length > MOST_IDS {
        true => Err(TokenizerError::Length { length, special }),
        false => Ok(()),
    }
}

fn encoded(
    rules: &tokenizers::Tokenizer,
    text: &str,
) -> Result<tokenizers::Encoding, TokenizerError> {
    let failed = |e: tokenizers::Error| TokenizerError::Encode(e.to_string());
    rules.encode(text, false).map_err(failed)
}

/// The ids that the rules set before and after a text, `special` in all.
fn ends(
    rules: &tokenizers::Tokenizer,
    special: usize,
) -> Result<(Vec<u32>, Vec<u32>), TokenizerError> {
    let failed = |e: tokenizers::Error| TokenizerError::Malformed(e.to_string());
    let one = tokenizers::Encoding::from_tokens(
        vec![tokenizers::Token::new(0, String::new(), (0, 0))],
        0,
    );
    let whole = rules.post_process(one, None, true).map_err(failed)?;
    let ids = whole.get_ids();
    let text = whole.get_special_tokens_mask().iter().position(|m| *m == 0);
    match text {
        Some(at) if ids.len() == special + 1 => Ok((ids[..at].to_vec(), ids[at + 1..].to_vec())),
        _ => {
            let what = "its post-processor does more than frame a text".to_owned();
            Err(TokenizerError::Malformed(what))
        }
    }
}

fn id_of(rules: &tokenizers::Tokenizer, token: &str) -> Result<u32, TokenizerError> {
    rules
        .token_to_id(token)
        .ok_or_else(|| TokenizerError::Missing(token.to_owned()))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn words() -> Tokenizer {
        Tokenizer::from_words(["red", "a", "house", "at", "night", "blue"], 8).unwrap()
    }

    #[test]
    fn text_is_lowercased_split_framed_and_padded() {
        // a = 4, at, blue, house, night, red = 9.
        let tokens = words().encode("A red HOUSE,at night.").unwrap();
        assert_eq!(tokens.ids, [2, 4, 9, 7, 5, 8, 3, 0]);
        assert_eq!((tokens.unknown, tokens.cut), (vec![], None));
        assert_eq!(words().ids("").unwrap(), [2, 3, 0, 0, 0, 0, 0, 0]);
        assert_eq!(words().ids(" ,.\n!").unwrap(), [2, 3, 0, 0, 0, 0, 0, 0]);
        assert_eq!(words().vocabulary(), 10);
    }

    #[test]
    fn words_outside_the_vocabulary_are_reported_as_written() {
        let tokens = words().encode("a Zebra at Łódź").unwrap();
        assert_eq!(tokens.ids, [2, 4, 1, 5, 1, 3, 0, 0]);
        assert_eq!(tokens.unknown, ["Zebra", "Łódź"]);
    }

    #[test]
    fn a_long_text_is_cut_before_the_closing_token_and_the_rest_reported() {
        let tokens = words()
            .encode("a red house at night a blue, Zebra")
            .unwrap();
        assert_eq!(tokens.ids, [2, 4, 9, 7, 5, 8, 4, 3]);
        assert_eq!(tokens.cut.as_deref(), Some("blue, Zebra"));
        assert!(
            tokens.unknown.is_empty(),
            "what was cut is not reported twice"
        );
    }

    #[test]
    fn a_prompt_cannot_spell_the_special_tokens() {
        let ids = words().ids("[EOS] a [PAD]").unwrap();
        assert_eq!(ids, [2, 1, 4, 1, 3, 0, 0, 0]);
    }

    #[test]
    fn a_word_list_is_written_the_same_whatever_its_order() {
        let one = words().to_json().unwrap();
        let other = ["Night", "red-blue house", "at", "a", "a", "house"];
        assert_eq!(
            one,
            Tokenizer::from_words(other, 8).unwrap().to_json().unwrap()
        );
        let read = Tokenizer::from_json(one.as_bytes(), None).unwrap();
        assert_eq!(read.length(), 8);
        assert_eq!(read.to_json().unwrap(), one);
        assert_eq!(
            read.ids("a house").unwrap(),
            words().ids("a house").unwrap()
        );
    }

    #[test]
    fn a_saved_tokenizer_is_read_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tokenizer.json");
        words().save(&path).unwrap();
        let read = Tokenizer::open(&path, Some(12)).unwrap();
        assert_eq!(
            read.ids("red").unwrap(),
            [2, 9, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0]
        );
        let missing = Tokenizer::open(&folder.path().join("none.json"), None).unwrap_err();
        assert!(missing.to_string().contains("none.json"));
    }

    /// BERT's rules over a vocabulary of a few pieces.
    fn word_piece(vocab: Value) -> String {
        let special = |name: &str, id: u32| json!({ "id": name, "ids": [id], "tokens": [name] });
        json!({
            "version": "1.0", "truncation": null, "padding": null, "added_tokens": [],
            "normalizer": { "type": "BertNormalizer", "clean_text": true,
                "handle_chinese_chars": true, "strip_accents": null, "lowercase": true },
            "pre_tokenizer": { "type": "BertPreTokenizer" },
            "post_processor": { "type": "TemplateProcessing",
                "single": [{ "SpecialToken": { "id": "[CLS]", "type_id": 0 } },
                    { "Sequence": { "id": "A", "type_id": 0 } },
                    { "SpecialToken": { "id": "[SEP]", "type_id": 0 } }],
                "pair": [{ "Sequence": { "id": "A", "type_id": 0 } },
                    { "Sequence": { "id": "B", "type_id": 1 } }],
                "special_tokens": { "[CLS]": special("[CLS]", 2), "[SEP]": special("[SEP]", 3) } },
            "decoder": null,
            "model": { "type": "WordPiece", "unk_token": "[UNK]", "vocab": vocab,
                "continuing_subword_prefix": "##", "max_input_chars_per_word": 10 },
        })
        .to_string()
    }

    #[test]
    fn word_pieces_are_cut_as_bert_cuts_them() {
        let vocab = json!({ "[PAD]": 0, "[UNK]": 1, "[CLS]": 2, "[SEP]": 3,
            "light": 4, "##house": 5, ",": 6, "##s": 7 });
        let bert = Tokenizer::from_json(word_piece(vocab).as_bytes(), None).unwrap();
        assert_eq!(
            bert.length(),
            77,
            "the paper's, where the file says nothing"
        );
        let tokens = bert.encode("Lights, lighthouse").unwrap();
        assert_eq!(tokens.ids[..7], [2, 4, 7, 6, 4, 5, 3]);
        assert!(tokens.ids[7..].iter().all(|&id| id == 0));
        let tokens = bert.encode("light lighthouselighthouse").unwrap();
        assert_eq!(
            tokens.unknown,
            ["lighthouselighthouse"],
            "too long a word is unknown"
        );
    }

    #[test]
    fn a_wrong_file_is_an_error_that_says_what_is_wrong() {
        let error = |json: &str| Tokenizer::from_json(json.as_bytes(), None).unwrap_err();
        for bad in [
            "",
            "{",
            "[]",
            "{\"model\": 3}",
            "\u{0}",
            &words().to_json().unwrap()[..200],
        ] {
            assert!(
                matches!(error(bad), TokenizerError::Malformed(_)),
                "{bad:?}"
            );
        }
        let vocab = json!({ "[PAD]": 0, "[CLS]": 2, "[SEP]": 3 });
        assert!(matches!(error(&word_piece(vocab)), TokenizerError::Missing(t) if t == "[UNK]"));
        let vocab = json!({ "[UNK]": 0, "[CLS]": 2, "[SEP]": 3 });
        assert!(matches!(error(&word_piece(vocab)), TokenizerError::Missing(t) if t == "[PAD]"));
        for length in [0, 1, 2, MOST_IDS + 1] {
            let short = Tokenizer::from_words(["a"], length).unwrap_err();
            assert!(
                matches!(short, TokenizerError::Length { special: 2, .. }),
                "{length}"
            );
        }
        assert_eq!(
            Tokenizer::from_words(["a"], 3)
                .unwrap()
                .ids("a a a")
                .unwrap(),
            [2, 4, 3]
        );
    }
}
