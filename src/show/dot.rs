//! A picture as a digraph for Graphviz.
//!
//! Promise: no name, kind or value can end its quotes, or be taken for an entity.

use std::fmt::{self, Write};

use super::picture::{Mark, Node, Picture, Step};
use super::tint::Tint;

/// How everything looks that says nothing else.
const PLAIN: &str = "  rankdir=LR
  graph [fontname=\"Helvetica,Arial,sans-serif\", fontsize=11, labelloc=t]
  node [shape=box, style=\"rounded,filled\", fillcolor=\"#ffffff\", color=\"#8c959f\", \
fontname=\"Helvetica,Arial,sans-serif\", fontsize=11]
  edge [fontname=\"Helvetica,Arial,sans-serif\", fontsize=9]
";

/// The digraph, every line ended.
pub(crate) fn drawn(picture: &Picture) -> String {
    let mut text = String::new();
    write(&mut text, picture).expect("a String takes everything");
    text
}

fn write(text: &mut String, picture: &Picture) -> fmt::Result {
    writeln!(text, "digraph {} {{", quoted(&picture.title))?;
    text.write_str(PLAIN)?;
    let mut depth = 1;
    for step in picture.steps() {
        depth -= usize::from(step == Step::Close);
        let indent = "  ".repeat(depth);
        match step {
            Step::Node(number) => {
                let node = node(&picture.nodes[number]);
                writeln!(text, "{indent}n{number} [{node}]")?;
            }
            Step::Open(group) => {
                let name = quoted(&picture.groups[group].name);
                writeln!(text, "{indent}subgraph cluster_{group} {{")?;
                writeln!(
                    text,
                    "{indent}  graph [label={name}, style=rounded, color=\"#8c959f\"]"
                )?;
            }
            Step::Close => writeln!(text, "{indent}}}")?,
        }
        depth += usize::from(matches!(step, Step::Open(_)));
    }
    for link in &picture.links {
        let data = picture.data(link);
        let (label, color) = (quoted(data), Tint::of(data).light);
        let port = quoted(&picture.nodes[link.to].inputs[link.input].name);
        writeln!(
            text,
            "  n{} -> n{} [label={label}, edgetooltip={port}, color=\"{color}\", \
             fontcolor=\"{color}\"]",
            link.from, link.to
        )?;
    }
    writeln!(text, "}}")
}

fn node(node: &Node) -> String {
    // `\n` centres the line that it ends, `\l` puts it left.
    let mut label = format!("{}\\n{}\\n", escaped(&node.name), escaped(&node.kind));
    for (name, value) in &node.settings {
        label += &format!("{}: {}\\l", escaped(name), escaped(value));
    }
    if node.more > 0 {
        label += &format!("… {} more\\l", node.more);
    }
    let style = match node.mark {
        Mark::Kept => ", fillcolor=\"#dafbe1\", color=\"#2da44e\"",
        Mark::Runs => "",
        Mark::Unneeded => ", style=\"rounded,dashed\", fontcolor=\"#8c959f\"",
        Mark::Fails => ", color=\"#cf222e\", penwidth=2",
    };
    let (class, why) = (node.mark.class(), quoted(&node.why));
    format!("label=\"{label}\", class=\"{class}\", tooltip={why}{style}")
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", escaped(text))
}

/// Text for a place between double quotes.
fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '"' => safe.push_str("\\\""),
            '\\' => safe.push_str("\\\\"),
            '&' => safe.push_str("&amp;"),
            c if c.is_control() => safe.push(' '),
            c => safe.push(c),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::super::picture::tests::sketch;
    use super::*;

    #[test]
    fn no_name_kind_or_value_can_end_its_quotes_or_be_taken_for_an_entity() {
        assert_eq!(
            quoted("a \"b\" \\ &lt; \n"),
            "\"a \\\"b\\\" \\\\ &amp;lt;  \""
        );
    }

    #[test]
    fn nodes_parts_links_and_marks_are_there() {
        let mut picture = sketch(&[("a", &[]), ("p/b", &[0])]);
        picture.nodes[0].mark = Mark::Kept;
        let drawn = drawn(&picture);
        for words in [
            "n0 [label=\"a\\nKind\\nsteps: 20\\l\", class=\"kept\"",
            "subgraph cluster_0 {\n    graph [label=\"p\"",
            "    n1 [label=\"p/b\\nKind",
            "n0 -> n1 [label=\"Latent\", edgetooltip=\"latent\", color=\"#bf3989\"",
        ] {
            assert!(drawn.contains(words), "`{words}` is not in:\n{drawn}");
        }
        let braces = |c| drawn.matches(c).count();
        assert_eq!(braces('{'), braces('}'));
    }
}
