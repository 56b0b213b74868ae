//! A picture as a Mermaid flowchart, which many pages of Markdown draw.
//!
//! Promise: no name, kind or value can be taken for Mermaid or for HTML.

use std::fmt::{self, Write};

use super::picture::{Link, Mark, Node, Picture, Step};

/// The flowchart, every line ended.
pub(crate) fn drawn(picture: &Picture) -> String {
    let mut text = String::new();
    write(&mut text, picture).expect("a String takes everything");
    text
}

fn write(text: &mut String, picture: &Picture) -> fmt::Result {
    writeln!(text, "flowchart LR")?;
    let mut depth = 1;
    for step in picture.steps() {
        depth -= usize::from(step == Step::Close);
        let indent = "  ".repeat(depth);
        match step {
            Step::Node(number) => {
                let node = node(&picture.nodes[number]);
                writeln!(text, "{indent}n{number}{node}")?;
            }
            Step::Open(group) => {
                let name = escaped(&picture.groups[group].name);
                writeln!(text, "{indent}subgraph g{group}[\"{name}\"]")?;
            }
            Step::Close => writeln!(text, "{indent}end")?,
        }
        depth += usize::from(matches!(step, Step::Open(_)));
    }
    for link in &picture.links {
        let Link { from, to, .. } = link;
        writeln!(
            text,
            "  n{from} -->|\"{}\"| n{to}",
            escaped(picture.data(link))
        )?;
    }
    for mark in Mark::ALL {
        if let Some(style) = style(mark).filter(|_| picture.count(mark) > 0) {
            writeln!(text, "  classDef {} {style}", mark.class())?;
        }
    }
    Ok(())
}

fn node(node: &Node) -> String {
    let (name, kind) = (escaped(&node.name), escaped(&node.kind));
    let class = match style(node.mark) {
        Some(_) => format!(":::{}", node.mark.class()),
        None => String::new(),
    };
    format!("[\"<b>{name}</b><br/>{kind}\"]{class}")
}

/// How nodes of a mark look, where they look other than plain.
fn style(mark: Mark) -> Option<&'static str> {
    match mark {
        Mark::Kept => Some("fill:#dafbe1,stroke:#2da44e,color:#1f2328"),
        Mark::Runs => None,
        Mark::Unneeded => Some("opacity:0.45,stroke-dasharray:4 3"),
        Mark::Fails => Some("stroke:#cf222e,stroke-width:2px"),
    }
}

/// Text for a place between double quotes, in Mermaid's own entities.
fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            c if c.is_alphanumeric() || " _-/.,()…".contains(c) => safe.push(c),
            c if c.is_control() => safe.push(' '),
            c => {
                write!(safe, "#{};", u32::from(c)).expect("a String takes everything");
            }
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::super::picture::tests::sketch;
    use super::*;

    #[test]
    fn no_name_kind_or_value_can_be_taken_for_mermaid_or_for_html() {
        assert_eq!(escaped("hires/decode-2_b"), "hires/decode-2_b");
        assert_eq!(
            escaped("a\"]<b>&#`\n;"),
            "a#34;#93;#60;b#62;#38;#35;#96; #59;"
        );
        assert_eq!(escaped("ä 空"), "ä 空");
    }

    #[test]
    fn nodes_parts_links_and_marks_are_there() {
        let mut picture = sketch(&[("a", &[]), ("p/b", &[0])]);
        picture.nodes[0].mark = Mark::Kept;
        let wanted = "flowchart LR\n  \
            n0[\"<b>a</b><br/>Kind\"]:::kept\n  \
            subgraph g0[\"p\"]\n    \
            n1[\"<b>p/b</b><br/>Kind\"]\n  \
            end\n  \
            n0 -->|\"Latent\"| n1\n  \
            classDef kept fill:#dafbe1,stroke:#2da44e,color:#1f2328\n";
        assert_eq!(drawn(&picture), wanted);
    }
}
