//! What a run would do, and why, without running: keys are made from what is known, and a node
//! below the first one that would run can only be told to wait for it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde::Serialize;

use crate::cache::{Past, Record};
use crate::event::From;
use crate::key::KeyParts;
use crate::kind::Nature;
use crate::literal::Lit;
use crate::plan::{Bound, Planned, Wire, bind};
use crate::value::{Identity, Storage};
use crate::way::{self, Narrowed};

use super::{Run, stands};

/// What a run would do with a node.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Outlook {
    /// The node's name.
    pub node: String,
    /// What would happen to it.
    pub fate: Fate,
    /// What it does for want of memory, where planning knows that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub narrowed: Option<Narrowed>,
}

/// What would happen to a node.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Fate {
    /// Its result is known.
    Kept {
        /// Where.
        from: From,
        /// How long ago it was made, where the clock makes sense.
        age: Option<Duration>,
        /// Bytes of its values, where they lie; `None` when they were evicted, or are handles
        /// or files.
        bytes: Option<u64>,
    },
    /// It runs.
    Runs {
        /// The first reason.
        because: String,
    },
    /// It runs, unless what these nodes give turns out to be what it was.
    Depends {
        /// The nodes above it that run, nearest first.
        on: Vec<String>,
    },
    /// No root needs it.
    Unneeded,
    /// It cannot run.
    Fails {
        /// Why.
        because: String,
    },
}

impl Run<'_> {
    /// What this run would do with every node, in the order of the plan; nothing runs and
    /// nothing is written.
    pub fn explain(&self) -> Vec<Outlook> {
        let nodes = self.plan.nodes.len();
        let mut foresight = Foresight {
            run: self,
            past: self.cache.past(&self.plan.name),
            known: vec![None; nodes],
        };
        let mut fates = vec![Fate::Unneeded; nodes];
        for at in &self.plan.order {
            if self.plan.nodes[*at].needed {
                fates[*at] = foresight.fate(*at);
            }
        }
        let nodes = self.plan.nodes.iter();
        nodes
            .zip(fates)
            .map(|(node, fate)| self.outlook(node, fate))
            .collect()
    }

    fn outlook(&self, node: &Planned, fate: Fate) -> Outlook {
        let bound = node.bound.as_ref().filter(|_| node.needed);
        Outlook {
            node: node.name.to_string(),
            fate,
            narrowed: bound.and_then(|bound| Narrowed::of(node, bound, self.host.memory)),
        }
    }
}

struct Foresight<'a> {
    run: &'a Run<'a>,
    past: Past,
    /// What each node gives, where its result is known.
    known: Vec<Option<Arc<Record>>>,
}

impl Foresight<'_> {
    fn fate(&mut self, node: usize) -> Fate {
        let plan = self.run.plan;
        let planned = &plan.nodes[node];
        let parents = plan.parents.of(node).iter();
        let unknown: Vec<String> = parents
            .filter(|parent| self.known[**parent].is_none())
            .map(|parent| plan.nodes[*parent].name.to_string())
            .collect();
        if !unknown.is_empty() {
            return Fate::Depends { on: unknown };
        }
        let bound = match self.bound(node) {
            Ok(Some(bound)) => bound,
            Ok(None) => {
                let linked: BTreeSet<usize> = planned.linked.iter().filter_map(of_node).collect();
                let names = linked.into_iter().map(|at| plan.nodes[at].name.to_string());
                return Fate::Depends {
                    on: names.collect(),
                };
            }
            Err(because) => return Fate::Fails { because },
        };
        let table = self.run.cache.files();
        let hashes = bound.reads.iter().map(|read| table.identity(&read.path));
        let files: Vec<Identity> = match hashes.collect() {
            Ok(files) => files,
            Err(error) => {
                let because = error.message().to_owned();
                return Fate::Fails { because };
            }
        };
        let Some(links) = planned.of_wires(|wire| self.wire(wire)) else {
            let because = "something that it needs is not there".to_owned();
            return Fate::Fails { because };
        };
        let host = self.run.host;
        let numerics = way::numerics(planned, &bound, &host.numerics.as_str().into(), host.memory);
        let parts = KeyParts::new(planned.kind.clone(), bound, links, files, numerics);
        let found = match planned.kind.nature {
            Nature::Volatile => None,
            Nature::Pure | Nature::Effect => self.run.cache.find(&parts.key()),
        };
        match found.filter(|(record, _)| stands(self.run, record)) {
            Some((record, from)) => {
                let fate = self.kept(&record, from);
                self.known[node] = Some(record);
                fate
            }
            None => {
                let before = self.past.before(&planned.name);
                let because = parts.why(before.as_ref()).into_owned();
                Fate::Runs { because }
            }
        }
    }

    fn kept(&self, record: &Record, from: From) -> Fate {
        let made = SystemTime::UNIX_EPOCH + Duration::from_secs(record.made);
        let objects = record
            .outputs
            .iter()
            .flatten()
            .filter(|(_, storage)| *storage == Storage::Object);
        let bytes = objects.map(|(identity, _)| self.run.cache.lies(identity));
        let bytes: Option<Vec<u64>> = bytes.collect();
        Fate::Kept {
            from,
            age: SystemTime::now().duration_since(made).ok(),
            bytes: bytes
                .filter(|all| !all.is_empty())
                .map(|all| all.into_iter().sum()),
        }
    }

    /// The built node; nothing while the value of a linked setting is not at hand.
    fn bound(&self, node: usize) -> Result<Option<Arc<Bound>>, String> {
        let planned = &self.run.plan.nodes[node];
        if let Some(bound) = &planned.bound {
            return Ok(Some(bound.clone()));
        }
        let literals: Option<Vec<Lit>> = planned
            .linked
            .iter()
            .map(|(_, _, wire)| match wire {
                Wire::Value(value) => value.literal(),
                Wire::Node { node, output } => {
                    let data = self.run.plan.nodes[*node].kind.outputs[*output].data;
                    let identity = self.identity(*node, *output)?;
                    self.run.cache.value(&identity, data)?.literal()
                }
            })
            .collect();
        let Some(literals) = literals else {
            return Ok(None);
        };
        match bind(planned, literals, &self.run.plan.search) {
            Ok(bound) => Ok(Some(Arc::new(bound))),
            Err(errors) => Err(errors
                .first()
                .map_or_else(String::new, |error| error.message.clone())),
        }
    }

    fn wire(&self, wire: &Wire) -> Option<Identity> {
        match wire {
            Wire::Value(value) => Some(value.identity()),
            Wire::Node { node, output } => self.identity(*node, *output),
        }
    }

    fn identity(&self, node: usize, output: usize) -> Option<Identity> {
        let (identity, _) = (*self.known[node].as_ref()?.outputs.get(output)?)?;
        Some(identity)
    }
}

fn of_node<A, B>((_, _, wire): &(A, B, Wire)) -> Option<usize> {
    match wire {
        Wire::Node { node, .. } => Some(*node),
        Wire::Value(_) => None,
    }
}
