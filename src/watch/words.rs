//! An edit in words and as an event.

use std::path::PathBuf;

use ldm_engine::{Change, Diagnostic, Difference, Plan, paths::shown};
use serde::Serialize;

/// Longest value shown, in characters.
const LONGEST: usize = 60;

/// What `watch` tells beside the events of its runs.
#[derive(Serialize)]
#[serde(tag = "event", rename_all = "lowercase")]
pub(super) enum Told<'a> {
    /// An edit is taken over.
    Change {
        #[serde(flatten)]
        change: &'a Change,
        /// Files that nodes read and that hold something else now.
        files: &'a [PathBuf],
    },
    /// An edit is wrong; the last good graph stays.
    Errors { errors: &'a [Diagnostic] },
}

/// Puts defaults where settings are left out: the reader wants to know what is used.
pub(super) fn spell_out(change: &mut Change, before: &Plan, after: &Plan) {
    let default = |plan: &Plan, node: &str, setting: &str| {
        let setting = plan.node(node)?.kind().setting(setting)?;
        setting.default.as_ref().map(ToString::to_string)
    };
    for (node, differences) in &mut change.changed {
        for Difference { what, from, to } in differences {
            *from = from.take().or_else(|| default(before, node, what));
            *to = to.take().or_else(|| default(after, node, what));
        }
    }
}

/// A change in lines; one of places or names only has none.
pub(super) fn lines(change: &Change, files: &[PathBuf]) -> Vec<String> {
    let mut lines = Vec::new();
    for (node, differences) in &change.changed {
        let all: Vec<String> = differences.iter().map(difference).collect();
        lines.push(format!("changed: {node} ({})", all.join(", ")));
    }
    let mut list = |word: &str, names: &[String]| {
        if !names.is_empty() {
            lines.push(format!("{word}: {}", names.join(", ")));
        }
    };
    list("added", &change.added);
    list("removed", &change.removed);
    let files: Vec<String> = files.iter().map(|path| shown(path)).collect();
    list("changed on disk", &files);
    lines
}

fn difference(difference: &Difference) -> String {
    let value = |value: &Option<String>| {
        let value = value.as_deref().unwrap_or("unset");
        match value.char_indices().nth(LONGEST) {
            Some((at, _)) => format!("{}…", &value[..at]),
            None => value.to_owned(),
        }
    };
    let Difference { what, from, to } = difference;
    format!("{what} {} → {}", value(from), value(to))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn differs(what: &str, from: Option<&str>, to: Option<&str>) -> Difference {
        let own = |value: Option<&str>| value.map(str::to_owned);
        Difference {
            what: what.to_owned(),
            from: own(from),
            to: own(to),
        }
    }

    #[test]
    fn a_change_is_told_in_a_line_for_each_node_and_list() {
        let change = Change {
            added: vec!["mask".to_owned(), "blur".to_owned()],
            removed: vec!["old".to_owned()],
            same: vec!["model".to_owned()],
            changed: vec![(
                "latent".to_owned(),
                vec![
                    differs("cfg", Some("5.0"), Some("7.0")),
                    differs("steps", None, Some("20")),
                ],
            )],
        };
        let lines = lines(&change, &[PathBuf::from("/in/a.png")]);
        let wanted = [
            "changed: latent (cfg 5.0 → 7.0, steps unset → 20)",
            "added: mask, blur",
            "removed: old",
            "changed on disk: /in/a.png",
        ];
        assert_eq!(lines, wanted);
    }

    #[test]
    fn a_long_value_is_cut() {
        let long = "ä".repeat(200);
        let told = difference(&differs("text", Some(&long), None));
        assert!(
            told.starts_with("text ä") && told.ends_with("… → unset"),
            "{told}"
        );
        assert!(told.chars().count() < 80, "{told}");
    }
}
