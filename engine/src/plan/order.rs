//! Order: cycles found, roots chosen, what no root needs marked.

use petgraph::algo::{kosaraju_scc, toposort};
use petgraph::graph::{DiGraph, NodeIndex};

use crate::diagnostic::Diagnostic;
use crate::graph::Graph;
use crate::names;

use super::expand::{Entry, Raw};
use super::{Plan, Planned, Planner, Root, Wire};

/// Names shown of a cycle.
const SHOWN: usize = 6;

impl Planner<'_> {
    /// Node numbers so that every wire leads forward; nothing when there is a cycle.
    pub(super) fn order(&mut self, nodes: &[Planned]) -> Option<Vec<usize>> {
        let mut links: DiGraph<(), (), usize> = DiGraph::default();
        for _ in nodes {
            links.add_node(());
        }
        for (number, node) in nodes.iter().enumerate() {
            for parent in node.parents() {
                links.add_edge(NodeIndex::new(parent), NodeIndex::new(number), ());
            }
        }
        if let Ok(order) = toposort(&links, None) {
            return Some(order.into_iter().map(NodeIndex::index).collect());
        }
        for mut cycle in kosaraju_scc(&links) {
            cycle.sort();
            let cycle: Vec<usize> = cycle.into_iter().map(NodeIndex::index).collect();
            let alone = cycle.len() == 1;
            if alone && !nodes[cycle[0]].parents().any(|parent| parent == cycle[0]) {
                continue;
            }
            self.errors.push(describe_cycle(nodes, &cycle));
        }
        None
    }

    pub(super) fn choose_roots(&mut self, graph: &Graph, raw: &[Raw], plan: &mut Plan) {
        plan.roots = match self.options.only.is_empty() {
            true => self.own_roots(graph, raw, plan),
            false => self.only_roots(plan),
        };
        let mut todo: Vec<usize> = plan.roots.iter().map(|root| root.node).collect();
        while let Some(number) = todo.pop() {
            if !std::mem::replace(&mut plan.nodes[number].needed, true) {
                todo.extend(plan.nodes[number].parents());
            }
        }
    }

    fn own_roots(&mut self, graph: &Graph, raw: &[Raw], plan: &Plan) -> Vec<Root> {
        let effects = plan
            .nodes
            .iter()
            .enumerate()
            .filter(|(_, node)| node.is_effect());
        let mut roots: Vec<Root> = effects
            .map(|(node, _)| Root {
                node,
                wanted: Vec::new(),
            })
            .collect();
        let has_effects = !roots.is_empty();
        for (name, link) in &graph.outputs {
            let (node, output) = match self.output(raw, &link.value, &graph.place(link.span)) {
                Ok(Wire::Node { node, output }) => (node, output),
                Ok(Wire::Value(_)) => continue,
                Err(error) => {
                    self.errors.extend(error);
                    continue;
                }
            };
            if !has_effects {
                roots.push(Root {
                    node,
                    wanted: vec![(output, name.value.clone())],
                });
            }
        }
        if roots.is_empty() && self.errors.is_empty() {
            let message = "nothing to run: the graph has no node that saves and no `outputs`";
            let hint = "add a SaveImage, `outputs: {\"name\": \"node\"}`, or pass `--only NODE`";
            let place = graph.place((0..0).into());
            self.errors
                .push(Diagnostic::error(message).at(&place).hint(hint));
        }
        roots
    }

    fn only_roots(&mut self, plan: &Plan) -> Vec<Root> {
        let mut roots = Vec::new();
        for name in &self.options.only {
            let (node, output) = match name.split_once('.') {
                Some((node, output)) => (node, Some(output)),
                None => (name.as_str(), None),
            };
            let numbers = self.named(node, plan);
            if numbers.is_empty() {
                let message = format!("there is no node `{name}` for `--only`");
                let known = plan.nodes.iter().map(|node| &*node.name);
                let hint = names::hint(node, known);
                self.errors
                    .push(Diagnostic::error(message).maybe_hint(hint));
            }
            for number in numbers {
                roots.push(root_of(plan, number, output));
            }
        }
        roots
    }

    /// The node of that full name, or every node that an output of that part comes from.
    fn named(&self, name: &str, plan: &Plan) -> Vec<usize> {
        if let Some(number) = plan.nodes.iter().position(|node| *node.name == *name) {
            return vec![number];
        }
        let prefix = format!("{name}/");
        let Some(scope) = self.scopes.iter().find(|scope| scope.prefix == prefix) else {
            return Vec::new();
        };
        let target = |link: &str| match scope.names.get(link.split('.').next()?)? {
            Entry::Node(number) => Some(*number),
            _ => None,
        };
        scope
            .graph
            .outputs
            .iter()
            .filter_map(|(_, link)| target(&link.value))
            .collect()
    }
}

fn root_of(plan: &Plan, number: usize, output: Option<&str>) -> Root {
    let node = &plan.nodes[number];
    let outputs = node.kind.outputs.iter().enumerate();
    let wanted = outputs
        .filter(|(_, info)| output.is_none_or(|output| info.name == output))
        .map(|(at, info)| (at, format!("{}.{}", node.name, info.name)))
        .collect();
    Root {
        node: number,
        wanted,
    }
}

fn describe_cycle(nodes: &[Planned], cycle: &[usize]) -> Diagnostic {
    let first = &nodes[cycle[0]];
    if let [alone] = cycle {
        let message = format!("`{}` is linked to itself", first.name);
        let place = own_link(nodes, *alone, cycle);
        return Diagnostic::error(message)
            .at(&place)
            .hint("link it to another node");
    }
    let path = walk(nodes, cycle);
    let mut shown: Vec<String> = path
        .iter()
        .take(SHOWN)
        .map(|number| format!("`{}`", nodes[*number].name))
        .collect();
    if path.len() > SHOWN {
        shown.push(format!("… ({} nodes)", path.len()));
    }
    shown.push(format!("`{}`", nodes[path[0]].name));
    let message = format!("these nodes wait for each other: {}", shown.join(" → "));
    let mut error = Diagnostic::error(message).at(&own_link(nodes, path[0], cycle));
    for number in path.iter().take(SHOWN).skip(1) {
        error = error.also(&own_link(nodes, *number, cycle), "and here");
    }
    error.hint("take one of these links out")
}

/// A round through a strongly connected set: parents are followed until one comes again.
fn walk(nodes: &[Planned], cycle: &[usize]) -> Vec<usize> {
    let inside: std::collections::HashSet<usize> = cycle.iter().copied().collect();
    let mut at_step = std::collections::HashMap::new();
    let mut path = Vec::new();
    let mut at = cycle[0];
    while !at_step.contains_key(&at) {
        at_step.insert(at, path.len());
        path.push(at);
        let inner = nodes[at].parents().find(|parent| inside.contains(parent));
        at = inner.expect("every node of a cycle has a parent in it");
    }
    path.drain(..at_step[&at]);
    path
}

/// Where a node links into the cycle.
fn own_link(nodes: &[Planned], number: usize, cycle: &[usize]) -> crate::place::Place {
    let node = &nodes[number];
    let leads = |wire: &Wire| matches!(wire, Wire::Node { node, .. } if cycle.contains(node));
    let ports = node.kind.declaration.ports.iter().zip(&node.ports);
    let port = ports
        .filter(|(_, wires)| wires.iter().any(leads))
        .map(|(info, _)| info.name);
    let linked = node.linked.iter().filter(|(_, _, wire)| leads(wire));
    let field = port
        .chain(linked.map(|(name, ..)| name.value.as_str()))
        .next();
    node.field_place(field)
}
