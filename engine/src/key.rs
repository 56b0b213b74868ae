//! Keys: all that a node's result can depend on, in labelled parts.
//!
//! Promise: a key covers kind and version, settings in canonical form, identities on the ports,
//! contents of files, and for kinds that compute the numerics; never paths, names of nodes, the
//! order of a map, clocks, thread counts or the output folder.
//!
//! The parts stay beside the key, so that a run can say what changed.

use std::sync::Arc;

use crate::kind::Kind;
use crate::plan::Bound;
use crate::value::{Hasher, Identity};

/// Raised when the layout of keys changes, so that no old one is found.
const LAYOUT: &[u8] = b"ldm-graph key 1";

/// The labelled parts of a key.
#[derive(Clone)]
pub(crate) struct KeyParts {
    pub(crate) kind: Arc<Kind>,
    pub(crate) bound: Arc<Bound>,
    /// Identities on each port.
    pub(crate) ports: Vec<Vec<Identity>>,
    /// Contents of the files, in the order in which the node shows them.
    pub(crate) files: Vec<Identity>,
    pub(crate) numerics: Arc<str>,
}

impl KeyParts {
    pub(crate) fn key(&self) -> Identity {
        let mut hasher = Hasher::default();
        hasher.part(LAYOUT).part(self.kind.name.as_bytes());
        hasher.part(&self.kind.version.to_le_bytes());
        for (name, value) in &self.bound.keyed {
            hasher
                .part(b"setting")
                .part(name.as_bytes())
                .part(value.as_bytes());
        }
        for (info, identities) in self.kind.declaration.ports.iter().zip(&self.ports) {
            if identities.is_empty() {
                continue;
            }
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

    /// The first reason why this key is not the one before it.
    pub(crate) fn because(&self, before: &KeyParts) -> String {
        if self.kind.name != before.kind.name {
            return format!("it was a {}, now a {}", before.kind.name, self.kind.name);
        }
        if self.kind.version != before.kind.version {
            let (old, new) = (before.kind.version, self.kind.version);
            return format!("{} has version {new}, was {old}", self.kind.name);
        }
        self.changed_setting(before)
            .or_else(|| self.changed_port(before))
            .or_else(|| self.changed_file(before))
            .or_else(|| {
                (self.numerics != before.numerics)
                    .then(|| format!("numerics were {}, now {}", before.numerics, self.numerics))
            })
            .unwrap_or_else(|| "its result is no longer kept".to_owned())
    }

    fn changed_setting(&self, before: &KeyParts) -> Option<String> {
        let default = |name: &str| {
            let info = self.kind.setting(name)?;
            info.default.as_ref().map(ToString::to_string)
        };
        let look = |bound: &Bound, name: &str| {
            let found = bound.keyed.iter().find(|(known, _)| *known == name);
            found
                .map(|(_, value)| value.clone())
                .or_else(|| default(name))
        };
        let names = self
            .bound
            .keyed
            .iter()
            .chain(&before.bound.keyed)
            .map(|(name, _)| *name);
        names
            .map(|name| (name, look(&before.bound, name), look(&self.bound, name)))
            .find(|(_, old, new)| old != new)
            .map(|(name, old, new)| {
                let show = |value: Option<String>| value.unwrap_or_else(|| "unset".to_owned());
                format!("`{name}` was {}, now {}", show(old), show(new))
            })
    }

    fn changed_port(&self, before: &KeyParts) -> Option<String> {
        let ports = self
            .kind
            .declaration
            .ports
            .iter()
            .zip(self.ports.iter().zip(&before.ports));
        let changed = ports.into_iter().find(|(_, (new, old))| new != old);
        changed.map(|(info, _)| format!("`{}` gets something else", info.name))
    }

    fn changed_file(&self, before: &KeyParts) -> Option<String> {
        if self.files == before.files {
            return None;
        }
        let pairs = self.files.iter().zip(&before.files);
        let at = pairs.take_while(|(new, old)| new == old).count();
        let name = self
            .bound
            .reads
            .get(at)
            .map_or("its files", |read| read.text.as_str());
        Some(format!("the content of `{name}` changed"))
    }
}
