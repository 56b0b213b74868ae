//! Which node feeds which: one list of numbers for all nodes, so that none has a list of its own.

use super::Planned;

/// Some nodes for each node.
#[derive(Debug, Clone, Default)]
pub(crate) struct Table {
    /// Where the list of each node ends; it starts where the one before ends.
    ends: Vec<usize>,
    nodes: Vec<usize>,
}

impl Table {
    /// The nodes that feed each needed one, each once, in the order of their numbers; no other
    /// node is waited for.
    pub(super) fn parents(nodes: &[Planned]) -> Self {
        let mut table = Self {
            ends: Vec::with_capacity(nodes.len()),
            nodes: Vec::with_capacity(nodes.len()),
        };
        let mut parents = Vec::new();
        for node in nodes {
            parents.clear();
            parents.extend(node.parents().filter(|_| node.needed));
            parents.sort_unstable();
            parents.dedup();
            table.nodes.extend_from_slice(&parents);
            table.ends.push(table.nodes.len());
        }
        table
    }

    /// The same links from their other end, again in the order of the numbers.
    pub(super) fn turned(&self) -> Self {
        let mut ends = vec![0; self.ends.len()];
        self.nodes.iter().for_each(|node| ends[*node] += 1);
        let mut end = 0;
        for count in &mut ends {
            end += *count;
            *count = end - *count;
        }
        // Each list now ends where it starts, until it is filled.
        let mut nodes = vec![0; self.nodes.len()];
        for from in 0..self.ends.len() {
            for to in self.of(from) {
                nodes[ends[*to]] = from;
                ends[*to] += 1;
            }
        }
        Self { ends, nodes }
    }

    /// The nodes for one node.
    pub(crate) fn of(&self, node: usize) -> &[usize] {
        let start = node.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.nodes[start..self.ends[node]]
    }
}
