//! Which graph files a plan is made of beside its own: those that its parts name.

use std::sync::Arc;

use crate::graph::NodeDecl;
use crate::literal::Lit;
use crate::place::{Place, Source};

use super::Planner;
use super::expand::{Entry, PART, Scope};

/// A graph file used as a node.
#[derive(Debug, Clone)]
pub(crate) struct PartFile {
    /// The node's full name: `hires`, `outer/hires`.
    pub(crate) name: String,
    /// The path as written in the graph.
    pub(crate) text: String,
    /// What was read there.
    pub(crate) source: Arc<Source>,
    /// Where the path stands.
    pub(crate) place: Place,
}

impl Planner<'_> {
    pub(super) fn part_files(&self) -> Vec<PartFile> {
        let scopes = self.scopes.iter();
        scopes.flat_map(|outer| self.parts_of(outer)).collect()
    }

    fn parts_of<'s>(&'s self, outer: &'s Scope) -> impl Iterator<Item = PartFile> + 's {
        let declared = outer.graph.nodes.iter();
        let parts = declared.filter(|decl| decl.kind.value == PART);
        parts.filter_map(|decl| self.part_file(outer, decl))
    }

    fn part_file(&self, outer: &Scope, decl: &NodeDecl) -> Option<PartFile> {
        let Some(Entry::Part(inner)) = outer.names.get(&decl.name.value) else {
            return None;
        };
        let (_, path) = decl.fields.iter().find(|(name, _)| name.value == "graph")?;
        let Lit::Text(text) = &path.value else {
            return None;
        };
        let inner = &self.scopes[*inner];
        Some(PartFile {
            name: inner.prefix.trim_end_matches('/').to_owned(),
            text: text.clone(),
            source: inner.graph.source.clone(),
            place: outer.graph.place(path.span),
        })
    }
}
