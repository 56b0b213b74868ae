//! The tokenizer of this project's own models: a list of words.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

/// The special tokens of a word list, in the order of their ids.
pub(super) const SPECIAL: [&str; 4] = ["[PAD]", "[UNK]", "[BOS]", "[EOS]"];

/// The `tokenizer.json` of a word list. The special tokens are in the vocabulary only, not
/// "added tokens", so that a prompt cannot spell them.
pub(super) fn word_list(words: &BTreeSet<String>, length: usize) -> String {
    let tokens = SPECIAL.into_iter().chain(words.iter().map(String::as_str));
    let vocab: Map<String, Value> = tokens
        .enumerate()
        .map(|(id, token)| (token.to_owned(), json!(id)))
        .collect();
    let special = |name: &str, id: u32| json!({ "id": name, "ids": [id], "tokens": [name] });
    let place = |name: &str| json!({ "SpecialToken": { "id": name, "type_id": 0 } });
    let text = |name: &str| json!({ "Sequence": { "id": name, "type_id": 0 } });
    json!({
        "version": "1.0",
        "truncation": {
            "direction": "Right", "max_length": length, "strategy": "LongestFirst", "stride": 0,
        },
        "padding": {
            "strategy": { "Fixed": length }, "direction": "Right", "pad_to_multiple_of": null,
            "pad_id": 0, "pad_type_id": 0, "pad_token": SPECIAL[0],
        },
        "added_tokens": [],
        "normalizer": { "type": "Lowercase" },
        "pre_tokenizer": {
            "type": "Sequence",
            "pretokenizers": [
                { "type": "Punctuation", "behavior": "Removed" },
                { "type": "WhitespaceSplit" },
            ],
        },
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [place("[BOS]"), text("A"), place("[EOS]")],
            "pair": [place("[BOS]"), text("A"), place("[EOS]"), text("B"), place("[EOS]")],
            "special_tokens": { "[BOS]": special("[BOS]", 2), "[EOS]": special("[EOS]", 3) },
        },
        "decoder": null,
        "model": { "type": "WordLevel", "vocab": vocab, "unk_token": SPECIAL[1] },
    })
    .to_string()
}
