//! The scenes of the world: the same forever, varied, and described truthfully.

use std::collections::{BTreeSet, HashSet};

use ldm_world::{
    Attribute, CLASSES, Ground, Kind, Label, Scene, check, class_name, evaluation_captions,
    vocabulary,
};

/// The first 64 scenes with their captions, as they were when `VERSION` became 1.
const RECORDED: &str = "0aa8c32890516348eb48070bd40daef6156fdd6946b519378706ef6f09275f39";

#[test]
fn pictures_and_captions_never_change_within_a_version() {
    let mut hasher = blake3::Hasher::new();
    for seed in 0..64 {
        let scene = Scene::from_seed(seed);
        hasher.update(&scene.paint(64).rgb);
        hasher.update(&scene.label_map(64).ids);
        for caption in scene.captions() {
            hasher.update(caption.text.as_bytes());
        }
    }
    assert_eq!(
        hasher.finalize().to_hex().as_str(),
        RECORDED,
        "bump VERSION and record again"
    );
}

#[test]
fn captions_use_the_vocabulary_and_all_of_it() {
    let known: BTreeSet<&str> = vocabulary().iter().copied().collect();
    assert!(known.len() <= 250);
    assert!(vocabulary().is_sorted());
    let mut used = BTreeSet::new();
    for seed in 0..10_000 {
        for caption in Scene::from_seed(seed).captions() {
            for word in caption
                .text
                .split([' ', ',', ';'])
                .filter(|word| !word.is_empty())
            {
                let word = known
                    .get(word)
                    .unwrap_or_else(|| panic!("{word} in {}", caption.text));
                used.insert(*word);
            }
        }
    }
    assert_eq!(known, used, "words that no caption uses");
}

#[test]
fn captions_state_what_is_so_and_the_text_alone_says_it() {
    for seed in 0..10_000 {
        let scene = Scene::from_seed(seed);
        let all = scene.attributes();
        let captions = scene.captions();
        assert!(captions.len() >= 2);
        for caption in captions {
            assert_eq!(
                check::attributes_of(&caption.text),
                caption.attributes,
                "{}",
                caption.text
            );
            assert!(!caption.attributes.is_empty());
            for attribute in &caption.attributes {
                assert!(all.contains(attribute), "{attribute:?} in {}", caption.text);
            }
        }
    }
}

#[test]
fn the_captions_of_a_scene_differ() {
    let different = |seed: &u64| {
        let captions = Scene::from_seed(*seed).captions();
        captions
            .iter()
            .map(|c| &c.text)
            .collect::<HashSet<_>>()
            .len()
            > 2
    };
    assert_eq!((0..2000).filter(different).count(), 2000);
}

#[test]
fn a_sentence_in_the_manner_of_a_caption_is_understood() {
    let stated = check::attributes_of("A red house by a lake, at night.");
    let names: Vec<String> = stated.iter().map(Attribute::to_string).collect();
    assert_eq!(
        names,
        ["time: night", "ground: lake", "house", "house: red"]
    );
}

#[test]
fn training_never_sees_what_is_held_out() {
    let held = (0..20_000)
        .filter(|&seed| Scene::from_seed(seed).is_held_out())
        .count();
    assert!((600..1600).contains(&held), "{held} of 20000 are held out");
    assert!((0..5000).all(|seed| !Scene::train(seed).is_held_out()));
    assert!(
        evaluation_captions(7, 200)
            .iter()
            .any(|(scene, _)| scene.is_held_out())
    );
}

#[test]
fn a_scene_is_found_again_by_its_seed() {
    for seed in 0..500 {
        let scene = Scene::train(seed);
        assert_eq!(Scene::from_seed(scene.seed()), scene);
    }
}

#[test]
fn every_attribute_is_common_enough_to_learn() {
    let scenes: Vec<Scene> = (0..8000).map(Scene::from_seed).collect();
    let share = |attribute: Attribute| {
        scenes
            .iter()
            .filter(|s| s.attributes().contains(&attribute))
            .count()
    };
    for &kind in Kind::ALL {
        assert!(share(Attribute::Thing(kind)) > 400, "{kind:?}");
        for &colour in kind.colours() {
            assert!(
                share(Attribute::Colour(kind, colour)) > 160,
                "{kind:?} {colour:?}"
            );
        }
    }
}

#[test]
fn boats_are_on_lakes_and_cacti_in_deserts() {
    for scene in (0..5000).map(Scene::from_seed) {
        for group in &scene.groups {
            assert!(group.kind != Kind::Boat || scene.ground == Ground::Lake);
            assert!(group.kind != Kind::Cactus || scene.ground == Ground::Desert);
        }
    }
}

#[test]
fn labels_and_boxes_agree_with_each_other() {
    for scene in (0..1000).map(Scene::from_seed) {
        let map = scene.label_map(64);
        assert!(map.ids.iter().all(|&id| Label::name(id).is_some()));
        for group in &scene.groups {
            let id = Label::Thing(group.kind).id();
            let boxes: Vec<[f32; 4]> = scene
                .objects()
                .iter()
                .filter(|o| o.kind == group.kind)
                .map(|o| o.bounds)
                .collect();
            let inside = |x: f32, y: f32| {
                let slack = 1.0 / 64.0;
                boxes.iter().any(|b| {
                    (b[0] - slack..b[2] + slack).contains(&x)
                        && (b[1] - slack..b[3] + slack).contains(&y)
                })
            };
            let mut seen = 0;
            for i in (0..map.ids.len()).filter(|&i| map.ids[i] == id) {
                let (x, y) = ((i % 64) as f32 / 64.0, (i / 64) as f32 / 64.0);
                assert!(
                    inside(x, y),
                    "seed {} {:?} at {x} {y}",
                    scene.seed(),
                    group.kind
                );
                seen += 1;
            }
            assert!(
                seen >= 40,
                "seed {} shows {seen} pixels of {:?}",
                scene.seed(),
                group.kind
            );
        }
    }
}

#[test]
fn classes_are_within_their_count_and_named() {
    let seen: BTreeSet<usize> = (0..4000)
        .map(|seed| Scene::from_seed(seed).class())
        .collect();
    assert_eq!(seen.len(), CLASSES);
    assert!(seen.iter().all(|&class| class_name(class).is_some()));
    assert_eq!(class_name(CLASSES), None);
}

#[test]
fn a_larger_picture_shows_the_same_scene() {
    let scene = Scene::from_seed(3);
    let (small, large) = (scene.paint(64), scene.paint(256));
    let mut error = 0.0;
    for (y, x) in (0..64).flat_map(|y| (0..64).map(move |x| (y, x))) {
        for channel in 0..3 {
            let block = (0..16).map(|i| f64::from(large.at(4 * x + i % 4, 4 * y + i / 4)[channel]));
            let mean = block.sum::<f64>() / 16.0;
            error += (mean - f64::from(small.at(x, y)[channel])).powi(2);
        }
    }
    assert!(
        error / (64.0 * 64.0 * 3.0) < 20.0,
        "mean squared error {error}"
    );
}

#[test]
fn absurd_sizes_are_clamped() {
    assert_eq!(Scene::from_seed(0).paint(0).width, 8);
}

/// With 60,000 draws from N equally likely pictures one expects 1.8e9 / N pairs of equal ones;
/// unequal chances only add pairs. Fewer than 1,800 pairs therefore show more than a million.
#[test]
fn there_are_more_than_a_million_scenes() {
    let mut seen = std::collections::HashMap::new();
    for seed in 0..60_000 {
        let scene = Scene::from_seed(seed);
        *seen
            .entry(blake3::hash(&scene.paint(64).rgb))
            .or_insert(0_u64) += 1;
    }
    let pairs: u64 = seen.values().map(|n| n * (n - 1) / 2).sum();
    assert!(pairs < 1800, "{pairs} equal pairs");
}
