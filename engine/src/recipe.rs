//! A node and its ancestors, written back as a graph that runs: what a picture carries.
//!
//! Inputs and `--set` values stand as literals, parts are unfolded, paths are as written in the
//! graph; there is no absolute path and no date in it.

use std::collections::{HashMap, HashSet};
use std::fmt::Write;
use std::path::Path;

use crate::literal::Lit;
use crate::node::Arity;
use crate::plan::{Plan, Planned, Wire};
use crate::setting::Shape;
use crate::way::{self, Narrowings};

/// The graph of a node and all that it needs; what was done in parts because `memory` did not
/// hold it at once, or a device ran out, is asked for outright where a setting can ask for it:
/// tiles can be, the smaller calls of a walk cannot.
pub(crate) fn recipe(plan: &Plan, number: usize, narrowed: &Narrowings, memory: u64) -> String {
    let mut wanted = HashSet::new();
    let mut todo = vec![number];
    while let Some(at) = todo.pop() {
        if wanted.insert(at) {
            todo.extend(plan.nodes[at].parents());
        }
    }
    let members: Vec<usize> = (0..plan.nodes.len())
        .filter(|at| wanted.contains(at))
        .collect();
    let names = names(plan, &members);
    let mut inputs = Vec::new();
    let mut nodes = String::new();
    for at in &members {
        let asked = way::asked(&plan.nodes[*at], narrowed.get(at), memory);
        let line = node(plan, (*at, asked), &names, &mut inputs);
        let _ = writeln!(nodes, "        {line},");
    }
    let mut text = String::from("Graph(\n");
    if !inputs.is_empty() {
        let _ = writeln!(text, "    inputs: {{ {} }},", inputs.join(", "));
    }
    let _ = write!(text, "    nodes: {{\n{nodes}    }},\n)\n");
    text
}

/// `hires/decode` is no legal name in a file: `hires-decode`, made unique.
fn names(plan: &Plan, members: &[usize]) -> HashMap<usize, String> {
    let mut taken = HashSet::new();
    let mut names = HashMap::new();
    for at in members {
        let mut name = plan.nodes[*at].name.replace('/', "-");
        while !taken.insert(name.clone()) {
            name.push('_');
        }
        names.insert(*at, name);
    }
    names
}

fn node(
    plan: &Plan,
    (at, asked): (usize, Option<(&str, &Lit)>),
    names: &HashMap<usize, String>,
    inputs: &mut Vec<String>,
) -> String {
    let node = &plan.nodes[at];
    let mut link = |wire: &Wire| match wire {
        Wire::Node { node, output } => {
            let info = &plan.nodes[*node].kind.outputs[*output];
            Lit::Text(format!("{}.{}", names[node], info.name)).to_string()
        }
        Wire::Value(value) => {
            let name = format!("value{}", inputs.len());
            let lit = value
                .literal()
                .map_or_else(String::new, |lit| lit.to_string());
            inputs.push(format!("\"{name}\": {}({lit})", value.type_name()));
            format!("Input(\"{name}\")")
        }
    };
    let mut fields = Vec::new();
    for (info, wires) in node.kind.declaration.ports.iter().zip(&node.ports) {
        let links: Vec<String> = wires.iter().map(&mut link).collect();
        match (info.arity, links.as_slice()) {
            (_, []) => {}
            (Arity::Many, links) => fields.push(format!("{}: [{}]", info.name, links.join(", "))),
            (_, links) => fields.push(format!("{}: {}", info.name, links[0])),
        }
    }
    for (name, _, wire) in &node.linked {
        let from = link(wire);
        let from = if from.starts_with("Input") {
            from
        } else {
            format!("Link({from})")
        };
        fields.push(format!("{}: {from}", name.value));
    }
    let settings = node
        .settings
        .iter()
        .map(|(name, value)| (name.value.as_str(), &value.value))
        .filter(|(name, _)| asked.is_none_or(|(asked, _)| asked != *name));
    for (name, lit) in settings.chain(asked) {
        fields.push(format!("{name}: {}", without_folders(node, name, lit)));
    }
    format!(
        "\"{}\": {}({})",
        names[&at],
        node.kind.name,
        fields.join(", ")
    )
}

/// Absolute paths to read are cut to their file names; everything else is as written.
fn without_folders(node: &Planned, name: &str, lit: &Lit) -> String {
    let shape = node
        .kind
        .setting(name)
        .map(|info| info.shape.plain().clone());
    match (shape, lit) {
        (Some(Shape::ReadPath), Lit::Text(text)) if Path::new(text).is_absolute() => {
            let file = Path::new(text)
                .file_name()
                .map(|name| name.to_string_lossy().into_owned());
            Lit::Text(file.unwrap_or_default()).to_string()
        }
        _ => lit.to_string(),
    }
}
