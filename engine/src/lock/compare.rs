//! What differs between a lock and a plan of now, each difference with its place in the graph or
//! the flag that made it.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use crate::diagnostic::Diagnostic;
use crate::place::Place;
use crate::plan::{Plan, Planned};
use crate::setting::Shape;
use crate::value::Identity;

use super::{Lock, Locked, SEED, WAY};

/// Most scalars of a value that a message shows.
const SHOWN: usize = 120;

impl Lock {
    /// Everything in which `now`, the lock of `plan`, differs from this one; warnings for what
    /// changes no result. What was locked and is only not run this time is no difference.
    pub fn compare(&self, now: &Self, plan: &Plan) -> Vec<Diagnostic> {
        let mut found = Comparison {
            locked: self,
            now,
            plan,
            anew: format!("lock anew with `ldm-graph lock {}`", plan.name),
            all: Vec::new(),
        };
        found.program();
        found.numerics();
        found.kinds();
        found.nodes();
        found.files();
        found.all
    }
}

struct Comparison<'a> {
    locked: &'a Lock,
    now: &'a Lock,
    plan: &'a Plan,
    /// What to do when the difference is meant.
    anew: String,
    all: Vec<Diagnostic>,
}

/// How the content of a file differs.
type Contents = (String, Option<Identity>, Option<Identity>);

impl Comparison<'_> {
    fn tell(&mut self, message: String, place: Option<&Place>, hint: &str) {
        let error = Diagnostic::error(message).hint(format!("{hint}, or {}", self.anew));
        self.all.push(match place {
            Some(place) => error.at(place),
            None => error,
        });
    }

    fn program(&mut self) {
        let (old, new) = (short(&self.locked.program), &self.now.program);
        if self.locked.program != *new {
            let message = format!("locked by ldm-graph {old}, this is {new}");
            let hint = "kinds and kernels carry versions of their own, which are compared";
            self.all.push(Diagnostic::warning(message).hint(hint));
        }
    }

    fn numerics(&mut self) {
        if self.now.numerics.is_empty() {
            return;
        }
        let said = |lock: &Lock| match lock.numerics.is_empty() {
            true => "none".to_owned(),
            false => short(&format!("{}: {}", lock.device, lock.numerics)),
        };
        let (old, new) = (said(self.locked), said(self.now));
        if old != new {
            let message = format!("numerics were {old}, now {new}");
            let hint = "run on the device that was locked, in its `--dtype`";
            self.tell(message, None, hint);
        }
    }

    fn kinds(&mut self) {
        for (kind, new) in &self.now.kinds {
            let Some(old) = self.locked.kinds.get(kind).filter(|old| *old != new) else {
                continue;
            };
            let message = format!("{kind} has version {new}, locked with {old}");
            let program = short(&self.locked.program);
            self.tell(message, None, &format!("run with ldm-graph {program}"));
        }
    }

    fn nodes(&mut self) {
        let plan = self.plan;
        for node in plan.nodes.iter().filter(|node| node.needed) {
            let now = self.now.nodes.get(&*node.name);
            match (self.locked.nodes.get(&*node.name), now) {
                (Some(old), Some(new)) => self.node(node, old, new),
                _ => {
                    let message = format!("`{}` was not locked", node.name);
                    self.tell(message, Some(&node.place()), "take it out");
                }
            }
        }
        let known: HashSet<&str> = plan.nodes.iter().map(|node| &*node.name).collect();
        let locked = self.locked.nodes.keys();
        for gone in locked.filter(|name| !known.contains(name.as_str())) {
            let message = format!("`{gone}` was locked, and is not in the graph");
            self.tell(message, None, "put it back");
        }
    }

    fn node(&mut self, node: &Planned, old: &Locked, new: &Locked) {
        if old.kind != new.kind {
            let message = format!("`{}` was a {}, is a {}", node.name, old.kind, new.kind);
            return self.tell(message, Some(&node.place()), "put it back");
        }
        if !self.locked.kinds.contains_key(&old.kind) {
            let message = format!("the version of {} was not locked", old.kind);
            self.tell(
                message,
                Some(&node.place()),
                "take the lock from whoever wrote it",
            );
        }
        // A seed that comes through a link stands with the other links.
        let name = format!("{}.{SEED}", node.name);
        let seed = |lock: &Lock, fields: &BTreeMap<String, String>| {
            let given = lock.seeds.get(&name).or_else(|| fields.get(SEED));
            given.cloned()
        };
        let (was, is) = (seed(self.locked, &old.fields), seed(self.now, &new.fields));
        self.field(node, SEED, was.as_ref(), is.as_ref());
        let fields: BTreeSet<&String> = old.fields.keys().chain(new.fields.keys()).collect();
        for field in fields.into_iter().filter(|field| *field != SEED) {
            self.field(node, field, old.fields.get(field), new.fields.get(field));
        }
    }

    fn field(&mut self, node: &Planned, field: &str, old: Option<&String>, new: Option<&String>) {
        if old == new {
            return;
        }
        let info = node.kind.setting(field);
        let default = info.and_then(|info| Some(info.default.as_ref()?.to_string()));
        let show = |value: Option<&String>| {
            let value = value.or(default.as_ref()).map(String::as_str);
            short(value.unwrap_or("unset"))
        };
        let (old, new) = (show(old), show(new));
        let message = format!("`{}.{field}` was {old}, is {new}", node.name);
        let given = node.settings.iter().find(|(name, _)| name.value == field);
        let place = match given {
            Some((_, value)) => node.place_of(value.span),
            None => node.field_place(Some(field)),
        };
        let hint = match field {
            WAY => "run with the `--memory` that was locked with",
            _ => "put it back",
        };
        self.tell(message, Some(&place), hint);
    }

    fn files(&mut self) {
        let mut differing: BTreeMap<Contents, Vec<(&str, Place)>> = BTreeMap::new();
        let (locked, now, plan) = (self.locked, self.now, self.plan);
        let nodes = plan
            .nodes
            .iter()
            .filter(|node| node.needed && locked.nodes.contains_key(&*node.name));
        let nodes = nodes.map(|node| (&*node.name, reading(node)));
        let parts = plan.parts.iter();
        let parts = parts.map(|part| (part.name.as_str(), part.place.clone()));
        let parts = parts.filter(|(name, _)| now.files.contains_key(*name));
        let none = BTreeMap::new();
        for (owner, place) in nodes.chain(parts) {
            let old = locked.files.get(owner).unwrap_or(&none);
            let new = now.files.get(owner).unwrap_or(&none);
            let paths: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
            for path in paths {
                let (was, is) = (old.get(path).copied(), new.get(path).copied());
                if was != is {
                    let readers = differing.entry((path.clone(), was, is)).or_default();
                    readers.push((owner, place.clone()));
                }
            }
        }
        for (contents, readers) in differing {
            self.file(&contents, &readers);
        }
    }

    fn file(&mut self, (path, was, is): &Contents, readers: &[(&str, Place)]) {
        let names: Vec<&str> = readers.iter().map(|(name, _)| *name).collect();
        let (names, path) = (crate::names::list(&names), short(path));
        let (message, hint) = match (was, is) {
            (Some(was), Some(is)) => {
                let message = format!("the content of `{path}` was {was:?}, is {is:?}");
                (message, format!("put the file back that {names} read"))
            }
            (None, _) => {
                let message = format!("`{path}` was not locked, and {names} would read it");
                (message, "take it out".to_owned())
            }
            (Some(_), None) => {
                let message = format!("`{path}` was locked, and {names} would not read it");
                (message, "put it back".to_owned())
            }
        };
        self.tell(message, readers.first().map(|(_, place)| place), &hint);
    }
}

/// Where a node says what it reads.
fn reading(node: &Planned) -> Place {
    let mut settings = node.kind.declaration.settings.iter();
    let path = settings.find(|info| *info.shape.plain() == Shape::ReadPath);
    let given = path.and_then(|info| {
        let mut settings = node.settings.iter();
        settings.find(|(name, _)| name.value == info.name)
    });
    given.map_or_else(|| node.place(), |(_, value)| node.place_of(value.span))
}

/// What a lock says, fit to be shown: a stranger may have written it.
fn short(text: &str) -> String {
    let mut shown: String = text
        .chars()
        .take(SHOWN)
        .map(|c| if c.is_control() { '\u{fffd}' } else { c })
        .collect();
    if shown.len() < text.len() {
        shown.push('…');
    }
    shown
}
