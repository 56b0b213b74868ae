//! The files in which others keep a tokenizer, as one `tokenizer.json`.
//!
//! Promises
//! - The rules around a bare vocabulary are those that transformers puts there: CLIP's around
//!   byte pairs, BERT's around a list of word pieces.
//! - What is missing is named, with where to put it.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::clip::WORD;
use super::{CLIP_ENDS, TokenizerError};

/// What a model's folder holds of a tokenizer: the texts of the files that are there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TokenizerFiles {
    /// `tokenizer.json`, which says all.
    pub tokenizer_json: Option<String>,
    /// `vocab.json`: CLIP's byte pairs with their ids.
    pub vocab_json: Option<String>,
    /// `merges.txt`: in what order they merge.
    pub merges_txt: Option<String>,
    /// `vocab.txt`: BERT's word pieces, one a line.
    pub vocab_txt: Option<String>,
}

impl TokenizerFiles {
    /// The names of the files, in the order of the fields.
    pub const NAMES: [&str; 4] = ["tokenizer.json", "vocab.json", "merges.txt", "vocab.txt"];

    /// The files that `read` finds by name.
    pub fn find<E>(mut read: impl FnMut(&str) -> Result<Option<String>, E>) -> Result<Self, E> {
        let [tokenizer_json, vocab_json, merges_txt, vocab_txt] = Self::NAMES;
        Ok(Self {
            tokenizer_json: read(tokenizer_json)?,
            vocab_json: read(vocab_json)?,
            merges_txt: read(merges_txt)?,
            vocab_txt: read(vocab_txt)?,
        })
    }

    /// One `tokenizer.json` of them, the most telling first.
    ///
    /// # Errors
    /// There is none of them, `vocab.json` is without its `merges.txt`, or a file is not what
    /// its name says.
    pub fn json(self) -> Result<String, TokenizerError> {
        match (self.tokenizer_json, self.vocab_json, self.vocab_txt) {
            (Some(json), ..) => Ok(json),
            (_, Some(vocab), _) => match self.merges_txt {
                Some(merges) => byte_pairs(&vocab, &merges),
                None => Err(TokenizerError::NoMerges),
            },
            (_, _, Some(words)) => word_pieces(&words),
            (None, None, None) => Err(TokenizerError::NoFiles),
        }
    }
}

/// A token that a text can spell.
fn spelled(vocab: &Map<String, Value>, token: &str) -> Result<Value, TokenizerError> {
    let id = vocab.get(token).and_then(Value::as_u64);
    let id = id.ok_or_else(|| TokenizerError::Missing(token.to_owned()))?;
    Ok(json!({
        "id": id, "content": token, "single_word": false, "lstrip": false, "rstrip": false,
        "normalized": false, "special": true,
    }))
}

fn byte_pairs(vocab: &str, merges: &str) -> Result<String, TokenizerError> {
    let malformed = |e: serde_json::Error| TokenizerError::Malformed(format!("`vocab.json`: {e}"));
    let vocab: Map<String, Value> = serde_json::from_str(vocab).map_err(malformed)?;
    let mut pairs = Vec::new();
    for (at, line) in merges.lines().enumerate() {
        if line.starts_with("#version") || line.trim().is_empty() {
            continue;
        }
        match line.split(' ').collect::<Vec<_>>()[..] {
            [a, b] => pairs.push(json!([a, b])),
            _ => {
                return Err(TokenizerError::Line {
                    file: "merges.txt",
                    line: at + 1,
                    what: format!("is `{line}`, wanted two pieces with a space between"),
                });
            }
        }
    }
    let [start, end] = CLIP_ENDS;
    let added = [spelled(&vocab, start)?, spelled(&vocab, end)?];
    Ok(json!({
        "version": "1.0", "truncation": null, "padding": null,
        "normalizer": { "type": "Sequence", "normalizers": [
            { "type": "NFC" },
            { "type": "Replace", "pattern": { "Regex": r"\s+" }, "content": " " },
            { "type": "Lowercase" },
        ] },
        "pre_tokenizer": { "type": "Sequence", "pretokenizers": [
            {
                "type": "Split", "pattern": { "Regex": WORD }, "behavior": "Removed",
                "invert": true,
            },
            { "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true },
        ] },
        "post_processor": {
            "type": "RobertaProcessing", "trim_offsets": false, "add_prefix_space": false,
            "cls": [start, added[0]["id"]], "sep": [end, added[1]["id"]],
        },
        "added_tokens": added,
        "decoder": null,
        "model": {
            "type": "BPE", "dropout": null, "unk_token": end, "continuing_subword_prefix": "",
            "end_of_word_suffix": "</w>", "fuse_unk": false, "vocab": vocab, "merges": pairs,
        },
    })
    .to_string())
}

/// The special tokens that BERT's vocabularies have; the last one of no use here.
const BERT: [&str; 5] = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"];

fn word_pieces(words: &str) -> Result<String, TokenizerError> {
    let mut vocab = Map::new();
    for (at, word) in words.lines().enumerate() {
        if vocab.insert(word.to_owned(), json!(at)).is_some() {
            return Err(TokenizerError::Line {
                file: "vocab.txt",
                line: at + 1,
                what: format!("says `{word}` a second time"),
            });
        }
    }
    let known = BERT.into_iter().filter(|token| vocab.contains_key(*token));
    let known: BTreeSet<&str> = known.chain(BERT[..4].iter().copied()).collect();
    let added: Vec<Value> = known
        .into_iter()
        .map(|token| spelled(&vocab, token))
        .collect::<Result<_, _>>()?;
    // A vocabulary with capitals is of a model that tells them apart.
    let capital = |word: &String| !word.starts_with('[') && word.chars().any(char::is_uppercase);
    let lowercase = !vocab.keys().any(capital);
    let special = |name: &str| json!({ "id": name, "ids": [vocab[name]], "tokens": [name] });
    let place = |name: &str| json!({ "SpecialToken": { "id": name, "type_id": 0 } });
    let text = |name: &str, of: u32| json!({ "Sequence": { "id": name, "type_id": of } });
    let frame = [place("[CLS]"), text("A", 0), place("[SEP]")];
    Ok(json!({
        "version": "1.0", "truncation": null, "padding": null,
        "added_tokens": added,
        "normalizer": {
            "type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true,
            "strip_accents": null, "lowercase": lowercase,
        },
        "pre_tokenizer": { "type": "BertPreTokenizer" },
        "post_processor": {
            "type": "TemplateProcessing",
            "single": frame, "pair": [text("A", 0), text("B", 1)],
            "special_tokens": { "[CLS]": special("[CLS]"), "[SEP]": special("[SEP]") },
        },
        "decoder": null,
        "model": {
            "type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
            "max_input_chars_per_word": 100, "vocab": vocab,
        },
    })
    .to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tokenizer::Tokenizer;

    fn read(files: TokenizerFiles) -> Result<Tokenizer, TokenizerError> {
        Tokenizer::from_json(files.json()?.as_bytes(), Some(6))
    }

    fn clip(merges: Option<&str>) -> TokenizerFiles {
        let vocab = r#"{"a":0,"b":1,"b</w>":2,"ab</w>":3,"<|startoftext|>":4,"<|endoftext|>":5}"#;
        TokenizerFiles {
            vocab_json: Some(vocab.to_owned()),
            merges_txt: merges.map(str::to_owned),
            ..TokenizerFiles::default()
        }
    }

    #[test]
    fn a_vocabulary_with_its_merges_cuts_words() {
        let tokenizer = read(clip(Some("#version: 0.2\na b</w>\n"))).unwrap();
        assert_eq!(tokenizer.ids("AB b").unwrap(), [4, 3, 2, 5, 5, 5]);
        let open = tokenizer.padding(0);
        assert_eq!(open.ids("AB b").unwrap(), [4, 3, 2, 5, 0, 0]);
    }

    #[test]
    fn a_vocabulary_without_its_merges_is_refused_and_so_are_broken_ones() {
        let said = |files| read(files).unwrap_err().to_string();
        assert!(said(clip(None)).starts_with("`vocab.json` has no `merges.txt` beside it"));
        let three = said(clip(Some("#version: 0.2\na b</w>\na b c\n")));
        assert!(
            three.starts_with("line 3 of `merges.txt` is `a b c`"),
            "{three}"
        );
        let unknown = said(clip(Some("a x\n")));
        assert!(unknown.starts_with("this is no tokenizer"), "{unknown}");
        assert!(said(TokenizerFiles::default()).starts_with("there is no tokenizer: put"));
        let headless = TokenizerFiles {
            vocab_json: Some("{\"a\": 0}".to_owned()),
            ..clip(Some(""))
        };
        assert!(said(headless).contains("no `<|startoftext|>` token"));
    }

    #[test]
    fn word_pieces_are_read_from_a_list() {
        let list = |words: &str| TokenizerFiles {
            vocab_txt: Some(words.to_owned()),
            ..TokenizerFiles::default()
        };
        let words = "[PAD]\n[UNK]\n[CLS]\n[SEP]\nlight\n##house\n";
        let bert = read(list(words)).unwrap();
        assert_eq!(bert.ids("LightHouse x").unwrap(), [2, 4, 5, 1, 3, 0]);
        let cased = read(list(&format!("{words}Light\n"))).unwrap();
        assert_eq!(cased.ids("Lighthouse light").unwrap(), [2, 6, 5, 4, 3, 0]);
        let twice = read(list(&format!("{words}light\n")))
            .unwrap_err()
            .to_string();
        assert!(twice.starts_with("line 7 of `vocab.txt` says `light` a second time"));
        let bare = read(list("[PAD]\n[UNK]\n[CLS]\n")).unwrap_err().to_string();
        assert!(bare.contains("no `[SEP]` token"), "{bare}");
    }
}
