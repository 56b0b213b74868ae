//! Two plans compared: added, removed, same, changed from what to what.
//!
//! An [`Outline`] is what is kept of a plan: kinds, settings and links by name. It serialises, so
//! that the last plan of a file can be compared with the next, also by another process. A first
//! run is a change from nothing.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::plan::{Plan, Planned};

/// What is kept of a plan to compare it with the next.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outline {
    /// Every node by name.
    pub nodes: BTreeMap<String, NodeOutline>,
}

/// What is kept of a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeOutline {
    /// Its kind.
    pub kind: String,
    /// Its kind's version.
    pub version: u32,
    /// Settings and links by field, as RON: what differs from the defaults.
    pub fields: BTreeMap<String, String>,
}

/// What differs between two plans.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Change {
    /// Nodes that are new.
    pub added: Vec<String>,
    /// Nodes that are gone.
    pub removed: Vec<String>,
    /// Nodes written as before.
    pub same: Vec<String>,
    /// Nodes written differently, with what differs.
    pub changed: Vec<(String, Vec<Difference>)>,
}

/// What differs in one node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// The field, `kind` or `version`.
    pub what: String,
    /// As it was; `None` when it was left out.
    pub from: Option<String>,
    /// As it is; `None` when it is left out.
    pub to: Option<String>,
}

impl Outline {
    /// The outline of a plan.
    pub fn of(plan: &Plan) -> Self {
        let node = |node: &Planned| (node.name().to_owned(), NodeOutline::of(plan, node));
        Self {
            nodes: plan.nodes().map(node).collect(),
        }
    }
}

impl NodeOutline {
    fn of(plan: &Plan, node: &Planned) -> Self {
        let mut fields = BTreeMap::new();
        for (name, value) in &node.settings {
            fields.insert(name.value.clone(), value.value.to_string());
        }
        for (name, lit) in node.settings() {
            fields.insert((*name).to_owned(), lit.to_string());
        }
        if node.bound.is_some() {
            let kept = |name: &String| node.settings().iter().any(|(known, _)| known == name);
            fields.retain(|name, _| kept(name));
        }
        for (name, wire) in node.linked() {
            fields.insert(name.to_owned(), format!("Link({})", plan.describe(wire)));
        }
        for (info, wires) in node.kind().declaration.ports.iter().zip(node.ports()) {
            let links: Vec<String> = wires.iter().map(|wire| plan.describe(wire)).collect();
            if !links.is_empty() {
                fields.insert(info.name.to_owned(), links.join(", "));
            }
        }
        Self {
            kind: node.kind().name.to_owned(),
            version: node.kind().version,
            fields,
        }
    }

    fn differences(&self, before: &Self) -> Vec<Difference> {
        let mut all = Vec::new();
        let mut compare = |what: &str, from: Option<String>, to: Option<String>| {
            if from != to {
                all.push(Difference {
                    what: what.to_owned(),
                    from,
                    to,
                });
            }
        };
        compare("kind", Some(before.kind.clone()), Some(self.kind.clone()));
        compare(
            "version",
            Some(before.version.to_string()),
            Some(self.version.to_string()),
        );
        let names: std::collections::BTreeSet<&String> =
            before.fields.keys().chain(self.fields.keys()).collect();
        for name in names {
            compare(
                name,
                before.fields.get(name).cloned(),
                self.fields.get(name).cloned(),
            );
        }
        all
    }
}

impl Change {
    /// What differs from `before` to `after`.
    pub fn between(before: &Outline, after: &Outline) -> Self {
        let mut change = Self::default();
        for (name, node) in &after.nodes {
            match before.nodes.get(name).map(|old| node.differences(old)) {
                None => change.added.push(name.clone()),
                Some(none) if none.is_empty() => change.same.push(name.clone()),
                Some(some) => change.changed.push((name.clone(), some)),
            }
        }
        let gone = before
            .nodes
            .keys()
            .filter(|name| !after.nodes.contains_key(*name));
        change.removed = gone.cloned().collect();
        change
    }

    /// Whether both plans are written alike.
    pub fn is_empty(&self) -> bool {
        self.added.is_empty() && self.removed.is_empty() && self.changed.is_empty()
    }
}
