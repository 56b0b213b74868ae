//! Prompts, held to ComfyUI: `tests/reference/text.py`.

use std::collections::HashMap;

use burn::tensor::Device;
use ldm_models::inversion::{Inversion, NamedTensor};
use ldm_models::prompt::{Reader, Syntax, Token, encode};
use ldm_models::text::{Activation, ClipConfig, TextConfig, TextNetwork};
use ldm_models::tokenizer::{Tokenizer, TokenizerFiles};
use ldm_models::weights::{ClipNames, KeyTable};

use crate::networks::{assert_agrees, filled, numbers};
use crate::recorded::{Recording, path};

/// The recorded embeddings over one run of `vectors`, each `width` wide.
fn embeddings(vectors: &[f32], width: usize) -> Vec<Inversion> {
    let mut rest = vectors;
    let counts = [("one", 1), ("three", 3), ("ten", 10)];
    let made = counts.map(|(name, count)| {
        let (numbers, after) = rest.split_at(count * width);
        rest = after;
        let tensor = NamedTensor {
            name: name.to_owned(),
            shape: vec![count, width],
            numbers: numbers.to_vec(),
        };
        Inversion::of(name, vec![tensor]).unwrap()
    });
    made.into()
}

#[test]
fn rows_and_weights_are_comfyuis() {
    let recording = Recording::open("prompts");
    let tokenizer = Tokenizer::clip(77).unwrap();
    // Vectors that tell their number: the recording has ids below 0 in their place.
    let config = ClipConfig {
        width: 1,
        heads: 1,
        ..ClipConfig::vit_l()
    };
    let vectors: Vec<f32> = (0..14).map(|i| -1.0 - i as f32).collect();
    let reader = Reader {
        config: &TextConfig::Clip(config),
        tokenizer: &tokenizer,
        syntax: Syntax::ComfyUi,
        embeddings: &embeddings(&vectors, 1),
    };
    let (ids, weights) = (recording.whole("ids"), recording.get("weights"));
    let ends = recording.whole("row_ends");
    let mut start = 0;
    for (text, end) in recording.texts().iter().zip(ends) {
        let rows = &reader.rows(&[text]).unwrap().rows[0];
        let place = start * 77..end as usize * 77;
        start = end as usize;
        let found: Vec<i64> = rows.iter().flat_map(|row| &row.tokens).map(id).collect();
        assert_eq!(found, ids[place.clone()], "{text:?}");
        let found = rows.iter().flat_map(|row| &row.weights);
        for (found, wanted) in found.zip(&weights[place]) {
            assert!(
                (f64::from(*found) - wanted).abs() < 1e-6,
                "{text:?}: {found} {wanted}"
            );
        }
    }
}

fn id(token: &Token) -> i64 {
    match token {
        Token::Id(id) => i64::from(*id),
        Token::Vector(vector) => vector[0] as i64,
    }
}

#[test]
fn weighted_words_are_encoded_as_comfyui_encodes_them() {
    let recording = Recording::open("prompt_encode");
    let small = Recording::open("clip_small");
    let files = TokenizerFiles {
        vocab_json: Some(small.text("vocab.json")),
        merges_txt: Some(small.text("merges.txt")),
        ..TokenizerFiles::default()
    };
    let json = files.json().unwrap();
    let tokenizer = Tokenizer::from_json(json.as_bytes(), Some(16)).unwrap();
    let vectors: Vec<f32> = recording.get("vectors").iter().map(|x| *x as f32).collect();
    let embeddings = embeddings(&vectors, 16);
    let texts: Vec<String> = serde_json::from_str(recording.note("texts")).unwrap();
    let mut results = HashMap::new();
    for (skip, norm) in [(1, true), (2, true), (2, false)] {
        let config = ClipConfig {
            vocab_size: 1014,
            max_length: 16,
            width: 16,
            layers: 2,
            heads: 2,
            feed: 40,
            activation: Activation::QuickGelu,
            projection: Some(6),
            pad: 1013,
            end: Some(1013),
            layer: 1,
            norm,
        };
        let device = Device::flex();
        let table = KeyTable::clip(ClipNames::Transformers, &config);
        let network = config.init(&device, 0).unwrap();
        let network = filled(network, &path("prompt_encode.weights"), &table);
        let config = TextConfig::Clip(config);
        let reader = Reader {
            config: &config,
            tokenizer: &tokenizer,
            syntax: Syntax::ComfyUi,
            embeddings: &embeddings,
        };
        let network = TextNetwork::Clip(network);
        for (i, text) in texts.iter().enumerate() {
            let rows = reader.rows(&[text]).unwrap();
            let found = encode(&network, &reader, &rows, Some(skip), &device).unwrap();
            let of = format!("{i}.skip{skip}{}", if norm { ".norm" } else { "" });
            results.insert(format!("out{of}"), numbers(found.tokens));
            results.insert(format!("pooled{of}"), numbers(found.pooled.unwrap()));
        }
    }
    assert_eq!(results.len(), 24);
    let results: Vec<(&str, Vec<f32>)> = results
        .iter()
        .map(|(name, found)| (&name[..], found.clone()))
        .collect();
    assert_agrees(&recording, &results);
}
