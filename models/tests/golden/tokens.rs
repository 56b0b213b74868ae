//! Tokenizers, held to transformers and taming-transformers: `tests/reference/text.py`.

use ldm_models::tokenizer::{LayoutObject, LayoutTokenizer, Layouts, Tokenizer, TokenizerFiles};

use crate::recorded::Recording;

/// How many of the recorded texts give other ids, and the first of them.
fn differing(recording: &Recording, ids_of: impl Fn(&str) -> Vec<u32>) -> (usize, String) {
    let (ids, ends) = (recording.whole("ids"), recording.whole("id_ends"));
    let (mut start, mut count, mut first) = (0, 0, String::new());
    for (text, end) in recording.texts().iter().zip(ends) {
        let wanted: Vec<u32> = ids[start..end as usize]
            .iter()
            .map(|id| *id as u32)
            .collect();
        start = end as usize;
        let found = ids_of(text);
        if found != wanted {
            count += 1;
            if first.is_empty() {
                first = format!("{text:?}: {found:?}, wanted {wanted:?}");
            }
        }
    }
    (count, first)
}

#[test]
fn clips_own_vocabulary_gives_transformers_ids_on_ten_thousand_prompts() {
    let recording = Recording::open("clip_tokens");
    assert_eq!(recording.texts().len(), 10_000);
    let tokenizer = Tokenizer::clip(77).unwrap();
    assert_eq!(
        (tokenizer.start(), tokenizer.end()),
        (&[49406][..], &[49407][..])
    );
    let ids = |text: &str| tokenizer.pieces(text).unwrap().ids;
    let (count, first) = differing(&recording, ids);
    assert_eq!(count, 0, "{first}");
}

#[test]
fn a_vocabulary_with_its_merges_gives_transformers_ids() {
    let recording = Recording::open("clip_small");
    let files = TokenizerFiles {
        vocab_json: Some(recording.text("vocab.json")),
        merges_txt: Some(recording.text("merges.txt")),
        ..TokenizerFiles::default()
    };
    let json = files.json().unwrap();
    let tokenizer = Tokenizer::from_json(json.as_bytes(), Some(77)).unwrap();
    assert_eq!(
        (tokenizer.start(), tokenizer.end()),
        (&[1012][..], &[1013][..])
    );
    assert_eq!((tokenizer.pad(), tokenizer.vocabulary()), (1013, 1014));
    let (count, first) = differing(&recording, |text| tokenizer.pieces(text).unwrap().ids);
    assert_eq!(count, 0, "{first}");
}

#[test]
fn a_list_of_word_pieces_gives_transformers_ids() {
    let recording = Recording::open("bert_small");
    let files = TokenizerFiles {
        vocab_txt: Some(recording.text("vocab.txt")),
        ..TokenizerFiles::default()
    };
    let json = files.json().unwrap();
    let tokenizer = Tokenizer::from_json(json.as_bytes(), Some(1000)).unwrap();
    let framed = |text: &str| {
        let ids = tokenizer.pieces(text).unwrap().ids;
        [tokenizer.start(), &ids, tokenizer.end()].concat()
    };
    let (count, first) = differing(&recording, framed);
    assert_eq!(count, 0, "{first}");
    assert_eq!(tokenizer.pad(), 0);
}

#[test]
fn layouts_give_the_tokens_of_the_reference() {
    for (name, layouts) in [
        ("layout_boxes", Layouts::Boxes),
        ("layout_points", Layouts::Points),
    ] {
        let recording = Recording::open(name);
        let rules = LayoutTokenizer {
            layouts,
            ..LayoutTokenizer::open_images()
        };
        let plain = LayoutTokenizer {
            objects: 5,
            tokens: 1024,
            crop: false,
            groups: false,
            marks: false,
            ..rules
        };
        for case in 0..24 {
            let key = |what: &str| format!("{what}{case}");
            let classes = recording.whole(&key("classes"));
            let boxes = recording.get(&key("boxes")).as_chunks::<4>().0;
            let objects: Vec<LayoutObject> = boxes
                .iter()
                .zip(classes.as_chunks::<5>().0)
                .map(|(bounds, [class, marks @ ..])| LayoutObject {
                    class: *class as usize,
                    bounds: *bounds,
                    group: marks[0] == 1,
                    occluded: marks[1] == 1,
                    depiction: marks[2] == 1,
                    inside: marks[3] == 1,
                })
                .collect();
            let crop = Some(recording.get(&key("crop")).as_chunks().0[0]);
            let flip = recording.whole(&key("flip"))[0] == 1;
            for (rules, what) in [(rules, "tokens"), (plain, "plain")] {
                let found = rules.encode(&objects, crop, flip).unwrap();
                let wanted = recording.whole(&key(what));
                assert_eq!(found.len(), rules.length());
                let found: Vec<i64> = found.into_iter().map(i64::from).collect();
                assert_eq!(found, wanted, "{name} {what} {case}");
            }
        }
    }
}
