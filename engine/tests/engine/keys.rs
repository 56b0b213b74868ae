//! What a change between two plans says.

use crate::lab::Lab;
use ldm_engine::{Change, Outline};

#[test]
fn a_change_names_what_was_added_removed_and_changed_from_what_to_what() {
    let mut lab = Lab::new(
        r#"Graph(nodes: {
            "a": Say(text: "a"), "b": Say(text: "b"), "mix": Join(a: "a", b: "b"),
        })"#,
    );
    let first = Outline::of(&lab.plan(&["mix"]).expect("it plans"));
    let from_nothing = Change::between(&Outline::default(), &first);
    assert_eq!(from_nothing.added, ["a", "b", "mix"]);
    lab.text = lab.text.replace(
        "\"b\": Say(text: \"b\")",
        "\"c\": Say(text: \"b\", weight: 9)",
    );
    lab.text = lab.text.replace("b: \"b\"", "b: \"c\", between: \"-\"");
    let second = Outline::of(&lab.plan(&["mix"]).expect("it plans"));
    let change = Change::between(&first, &second);
    assert_eq!(change.added, ["c"]);
    assert_eq!(change.removed, ["b"]);
    assert_eq!(change.same, ["a"]);
    let (name, differences) = &change.changed[0];
    assert_eq!(name, "mix");
    let told: Vec<_> = differences
        .iter()
        .map(|d| (d.what.as_str(), d.from.as_deref(), d.to.as_deref()))
        .collect();
    assert_eq!(
        told,
        [
            ("b", Some("b.words"), Some("c.words")),
            ("between", None, Some("\"-\""))
        ]
    );
    let text = ron::to_string(&second).expect("outlines serialise");
    assert_eq!(
        ron::from_str::<Outline>(&text).expect("and read back"),
        second
    );
    assert!(Change::between(&second, &second).is_empty());
}
