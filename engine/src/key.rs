//! Keys: all that a node's result can depend on, in labelled parts.
//!
//! Promise: a key covers kind and version, settings in canonical form, identities on the ports,
//! contents of files, and for kinds that compute the numerics; never paths, names of nodes, the
//! order of a map, clocks, thread counts or the output folder.
//!
//! The parts stay beside the key, so that a run can say what changed.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::kind::{Kind, Nature, PortInfo};
use crate::plan::Bound;
use crate::value::{Hasher, Identity};

/// Raised when the layout of keys changes, so that no old one is found.
const LAYOUT: &[u8] = b"ldm-graph key 1";

/// The labelled parts of a key.
#[derive(Clone)]
pub(crate) struct KeyParts {
    kind: Arc<Kind>,
    bound: Arc<Bound>,
    /// Identities on all links, port by port, as many on each as `bound` counts.
    links: Vec<Identity>,
    /// Contents of the files, in the order in which the node shows them.
    files: Vec<Identity>,
    numerics: Arc<str>,
    key: Identity,
}

impl KeyParts {
    pub(crate) fn new(
        kind: Arc<Kind>,
        bound: Arc<Bound>,
        links: Vec<Identity>,
        files: Vec<Identity>,
        numerics: Arc<str>,
    ) -> Self {
        let mut parts = Self {
            kind,
            bound,
            links,
            files,
            numerics,
            key: Identity([0; 32]),
        };
        parts.key = parts.hash();
        parts
    }

    /// The key itself.
    pub(crate) fn key(&self) -> Identity {
        self.key
    }

    /// The same parts with other identities on the links.
    pub(crate) fn set_links(&mut self, links: Vec<Identity>) {
        self.links = links;
        self.key = self.hash();
    }

    /// Whether these are the identities on the links.
    pub(crate) fn links_are(&self, links: impl Iterator<Item = Option<Identity>>) -> bool {
        links.eq(self.links.iter().copied().map(Some))
    }

    /// The ports that are linked, with the identities on each.
    fn ports(&self) -> impl Iterator<Item = (&PortInfo, &[Identity])> {
        let mut rest = self.links.as_slice();
        let counted = self.kind.declaration.ports.iter().zip(&self.bound.counts);
        let ports = counted.map(move |(info, count)| {
            let (port, after) = rest.split_at(*count);
            rest = after;
            (info, port)
        });
        ports.filter(|(_, identities)| !identities.is_empty())
    }

    /// Whether all but the links is this; a bound node belongs to one kind.
    pub(crate) fn are_of(&self, bound: &Arc<Bound>, files: &[Identity], numerics: &str) -> bool {
        Arc::ptr_eq(&self.bound, bound) && self.files == files && *self.numerics == *numerics
    }

    fn hash(&self) -> Identity {
        let mut hasher = Hasher::default();
        hasher.part(LAYOUT).part(self.kind.name.as_bytes());
        hasher.part(&self.kind.version.to_le_bytes());
        for (name, value) in &self.bound.keyed {
            hasher
                .part(b"setting")
                .part(name.as_bytes())
                .part(value.as_bytes());
        }
        for (info, identities) in self.ports() {
            hasher.part(b"port").part(info.name.as_bytes());
            hasher.part(&(identities.len() as u64).to_le_bytes());
            for identity in identities {
                hasher.part(&identity.0);
            }
        }
        for identity in &self.files {
            hasher.part(b"file").part(&identity.0);
        }
        if self.kind.computes {
            hasher.part(b"numerics").part(self.numerics.as_bytes());
        }
        hasher.finish()
    }

    /// The parts as plain data.
    pub(crate) fn labels(&self) -> Labels {
        let settings = self.bound.keyed.iter();
        let files = self.bound.reads.iter().zip(&self.files);
        Labels {
            key: self.key,
            kind: self.kind.name.to_owned(),
            version: self.kind.version,
            settings: settings
                .map(|(name, value)| ((*name).to_owned(), value.clone()))
                .collect(),
            ports: self
                .ports()
                .map(|(info, identities)| (info.name.to_owned(), identities.to_vec()))
                .collect(),
            files: files
                .map(|(read, identity)| (read.text.clone(), *identity))
                .collect(),
            numerics: match self.kind.computes {
                true => self.numerics.to_string(),
                false => String::new(),
            },
        }
    }

    /// Why a node with these parts runs, `before` being those of its last run.
    pub(crate) fn why(&self, before: Option<&Labels>) -> Cow<'static, str> {
        match (before, self.kind.nature) {
            (_, Nature::Volatile) => "it always runs".into(),
            (None, _) => "it is new".into(),
            (Some(before), Nature::Effect) if before.key == self.key => {
                "its files are gone or changed".into()
            }
            (Some(before), _) => self.labels().because(before, &self.kind).into(),
        }
    }
}

impl std::fmt::Debug for KeyParts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "parts of {:?}", self.key)
    }
}

/// The parts of a key as plain data: what is kept of a node's last run, to say what changed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Labels {
    pub(crate) key: Identity,
    kind: String,
    version: u32,
    /// Those that differ from their defaults, in the form that the key hashes.
    settings: BTreeMap<String, String>,
    ports: BTreeMap<String, Vec<Identity>>,
    files: Vec<(String, Identity)>,
    /// Empty for kinds that do not compute.
    numerics: String,
}

impl Labels {
    fn because(&self, before: &Self, kind: &Kind) -> String {
        if self.kind != before.kind {
            return format!("it was a {}, now a {}", before.kind, self.kind);
        }
        if self.version != before.version {
            let (old, new) = (before.version, self.version);
            return format!("{} has version {new}, was {old}", self.kind);
        }
        let numerics = || {
            let (old, new) = (&before.numerics, &self.numerics);
            (old != new).then(|| format!("numerics were {old}, now {new}"))
        };
        self.changed_setting(before, kind)
            .or_else(|| self.changed_port(before))
            .or_else(|| self.changed_file(before))
            .or_else(numerics)
            .unwrap_or_else(|| "its result is no longer kept".to_owned())
    }

    fn changed_setting(&self, before: &Self, kind: &Kind) -> Option<String> {
        let default = |name: &str| {
            let default = kind.setting(name)?.default.as_ref();
            default.map(ToString::to_string)
        };
        let show = |settings: &BTreeMap<String, String>, name: &str| {
            let value = settings.get(name).cloned().or_else(|| default(name));
            value.unwrap_or_else(|| "unset".to_owned())
        };
        let mut names = self.settings.keys().chain(before.settings.keys());
        let name = names.find(|name| self.settings.get(*name) != before.settings.get(*name))?;
        let (old, new) = (show(&before.settings, name), show(&self.settings, name));
        Some(format!("`{name}` was {old}, now {new}"))
    }

    fn changed_port(&self, before: &Self) -> Option<String> {
        let mut names = self.ports.keys().chain(before.ports.keys());
        let name = names.find(|name| self.ports.get(*name) != before.ports.get(*name))?;
        Some(format!("`{name}` gets something else"))
    }

    fn changed_file(&self, before: &Self) -> Option<String> {
        if self.files.len() != before.files.len() {
            return Some("it reads other files".to_owned());
        }
        let mut pairs = self.files.iter().zip(&before.files);
        let ((name, _), _) = pairs.find(|((_, new), (_, old))| new != old)?;
        Some(format!("the content of `{name}` changed"))
    }
}
