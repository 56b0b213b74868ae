//! The whole list, walked: what every kind owes its reader.

use ldm_engine::names::is_legal;
use ldm_engine::{SettingInfo, Shape};

use crate::list;

#[test]
fn every_kind_has_a_summary_an_example_described_fields_and_a_legal_name() {
    for kind in list() {
        let name = kind.name;
        assert!(
            is_legal(name) && name.starts_with(char::is_uppercase),
            "{name}"
        );
        assert!(
            kind.summary().ends_with('.'),
            "{name}: `{}`",
            kind.summary()
        );
        assert!(
            kind.example.contains(&format!(": {name}(")),
            "{name} has no example of itself"
        );
        for port in &kind.ports {
            assert!(is_field(port.name), "{name}.{}", port.name);
            assert!(
                port.doc.ends_with('.'),
                "{name}.{}: `{}`",
                port.name,
                port.doc
            );
        }
        for output in &kind.outputs {
            assert!(is_field(&output.name), "{name}.{}", output.name);
        }
        check_settings(name, &kind.settings);
    }
}

fn check_settings(name: &str, settings: &[SettingInfo]) {
    for setting in settings {
        let field = format!("{name}.{}", setting.name);
        assert!(is_field(setting.name), "{field}");
        assert!(setting.doc.ends_with('.'), "{field}: `{}`", setting.doc);
        if let Shape::Choice(variants) = setting.shape.plain() {
            for variant in *variants {
                assert!(
                    variant.doc.ends_with('.'),
                    "{field}: {}: `{}`",
                    variant.name,
                    variant.doc
                );
                check_settings(&format!("{field}: {}", variant.name), &variant.settings);
            }
        }
    }
}

fn is_field(name: &str) -> bool {
    is_legal(name)
        && name
            .chars()
            .all(|c| c.is_ascii_lowercase() || c == '_' || c.is_ascii_digit())
}

#[test]
fn the_same_field_has_the_same_bounds_and_default_everywhere() {
    let mut seen: Vec<(&str, &str, String)> = Vec::new();
    for kind in list() {
        for setting in &kind.declaration.settings {
            let same = [
                "steps", "cfg", "seed", "sampler", "width", "height", "batch",
            ];
            if kind.name.starts_with("Train") || !same.contains(&setting.name) {
                continue;
            }
            // An optional seed draws only where it is given: that is another thing.
            if matches!(setting.shape, Shape::Optional(_)) {
                continue;
            }
            let words = format!(
                "{:?} {:?} {:?}",
                setting.shape, setting.range, setting.default
            );
            let before = seen.iter().find(|(name, ..)| *name == setting.name);
            match before {
                Some((_, other, found)) => {
                    assert_eq!(&words, found, "{}.{} and {other}", kind.name, setting.name);
                }
                None => seen.push((setting.name, kind.name, words)),
            }
        }
    }
}
