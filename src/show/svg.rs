//! A picture as SVG: boxes with their sockets and settings, links coloured by type, a legend.
//!
//! Promises
//! - It is well-formed, whatever stands in names and values, and refers to nothing outside.
//! - It is readable on light and on dark ground.
//! - The same picture gives the same bytes.

use std::fmt::{self, Write};

use super::layout::{Block, Layout, Point, Rect, Stroke, Thread, lay_out};
use super::picture::{Mark, Node, Picture, shortened};
use super::text;
use super::tint::Tint;

/// Around everything.
const MARGIN: f64 = 28.0;
/// What title and legend take, above and below.
const HEAD: f64 = 48.0;
/// From the side of a box to its text.
const INSET: f64 = 14.0;
/// Name and kind of a node.
const TITLE: f64 = 50.0;
/// A row of sockets.
const SOCKETS: f64 = 21.0;
/// A row of settings.
const SETTING: f64 = 17.0;
/// Below the last row.
const FOOT: f64 = 9.0;
/// The narrowest box, and the narrowest picture.
const NARROWEST: (f64, f64) = (120.0, 400.0);
/// Sizes of fonts: names of nodes, everything else in a box, labels of links.
const FONTS: (f64, f64, f64) = (13.0, 11.0, 10.0);

/// What does not depend on the picture. Everything is inside a class of our own, so that a page
/// that the picture is pasted into keeps its own style.
const STYLE: &str = "\
.ldm text{font-family:system-ui,-apple-system,'Segoe UI',Roboto,'Helvetica Neue',Arial,sans-serif;\
font-size:11px;fill:#1f2328}
.ldm .page{fill:#f6f8fa}
.ldm .box{fill:#fff;stroke:#c4ccd4}
.ldm .kept .box{fill:#ecf9f0;stroke:#7cc795}
.ldm .unneeded .box{stroke-dasharray:4 3}
.ldm .fails .box{stroke:#cf222e;stroke-width:2}
.ldm .unneeded{opacity:.45}
.ldm .rule{stroke:#1f2328;stroke-opacity:.12}
.ldm .frame{fill:#57606a;fill-opacity:.05;stroke:#57606a;stroke-opacity:.4;stroke-dasharray:2 3}
.ldm .title{font-size:15px;font-weight:700}
.ldm .name{font-size:13px;font-weight:700}
.ldm .dim{fill:#656d76}
.ldm .label{font-size:10px;text-anchor:end;paint-order:stroke;stroke:#f6f8fa;stroke-width:3px;\
stroke-linejoin:round}
.ldm .end{text-anchor:end}
.ldm .badge{fill:#2da44e}
.ldm .tick{fill:none;stroke:#fff;stroke-width:1.8;stroke-linecap:round;stroke-linejoin:round}
.ldm .cross{fill:none;stroke:#cf222e;stroke-width:2.4;stroke-linecap:round}
.ldm .link{fill:none;stroke-width:1.8;stroke-linecap:round}
.ldm .socket{stroke-width:1.6;stroke:#fff}
";

/// The same on dark ground.
const DARK: &str = "\
.ldm text{fill:#e6edf3}
.ldm .page{fill:#0d1117}
.ldm .box{fill:#1a2028;stroke:#3d444d}
.ldm .kept .box{fill:#12291b;stroke:#2f7d4a}
.ldm .fails .box{stroke:#ff7b72}
.ldm .rule{stroke:#e6edf3}
.ldm .frame{fill:#9198a1;stroke:#9198a1}
.ldm .dim{fill:#9198a1}
.ldm .label{stroke:#0d1117}
.ldm .badge{fill:#2ea043}
.ldm .cross{stroke:#ff7b72}
.ldm .socket{stroke:#1a2028}
";

/// The picture, as a file of its own.
pub(crate) fn drawn(picture: &Picture) -> String {
    let (blocks, threads) = (blocks(picture), threads(picture));
    let parents: Vec<_> = picture.groups.iter().map(|group| group.parent).collect();
    let layout = lay_out(&blocks, &threads, &parents);
    let mut pen = Pen {
        picture,
        layout: &layout,
        types: types(picture),
        out: String::new(),
    };
    pen.draw().expect("a String takes everything");
    pen.out
}

/// Types of values on links, in order of appearance.
fn types(picture: &Picture) -> Vec<&str> {
    let mut types: Vec<&str> = Vec::new();
    for link in &picture.links {
        let data = picture.data(link);
        if !types.contains(&data) {
            types.push(data);
        }
    }
    types
}

fn threads(picture: &Picture) -> Vec<Thread> {
    let faint = |node: usize| picture.nodes[node].mark == Mark::Unneeded;
    let thread = |link: &super::picture::Link| Thread {
        from: link.from,
        outlet: link.output,
        to: link.to,
        inlet: link.input,
        faint: faint(link.to),
    };
    picture.links.iter().map(thread).collect()
}

fn blocks(picture: &Picture) -> Vec<Block> {
    picture.nodes.iter().map(block).collect()
}

/// The size of a node's box, and where its sockets are.
fn block(node: &Node) -> Block {
    let sockets = |count: usize| (0..count).map(socket_y).collect();
    let labels = node
        .inputs
        .iter()
        .map(|input| text::width(&input.data, FONTS.2));
    Block {
        width: width(node).ceil(),
        height: settings_y(node) + node_lines(node) as f64 * SETTING + FOOT,
        inlets: sockets(node.inputs.len()),
        outlets: sockets(node.outputs.len()),
        runway: labels.fold(0.0, f64::max).ceil() + 20.0,
        group: node.group,
    }
}

fn width(node: &Node) -> f64 {
    let badge = if matches!(node.mark, Mark::Kept | Mark::Fails) {
        24.0
    } else {
        0.0
    };
    let titles = [
        text::bold(&node.name, FONTS.0) + badge,
        text::width(&node.kind, FONTS.1),
    ];
    let sockets = (0..node.inputs.len().max(node.outputs.len())).map(|row| {
        let name = |sockets: &[super::picture::Socket]| {
            sockets
                .get(row)
                .map_or(0.0, |socket| text::width(&socket.name, FONTS.1))
        };
        name(&node.inputs) + name(&node.outputs) + 20.0
    });
    let settings = node.settings.iter();
    let settings = settings
        .map(|(name, value)| text::width(name, FONTS.1) + text::width(value, FONTS.1) + 6.0);
    let all = titles.into_iter().chain(sockets).chain(settings);
    all.fold(NARROWEST.0, f64::max) + 2.0 * INSET
}

/// The middle of a row of sockets, from the top of the box.
fn socket_y(row: usize) -> f64 {
    TITLE + (row as f64 + 0.5) * SOCKETS + 3.0
}

/// Where the settings begin, from the top of the box.
fn settings_y(node: &Node) -> f64 {
    let rows = node.inputs.len().max(node.outputs.len());
    let space = if rows > 0 { 6.0 } else { 3.0 };
    TITLE + rows as f64 * SOCKETS + space
}

/// Lines of settings, with the one that tells of more.
fn node_lines(node: &Node) -> usize {
    node.settings.len() + usize::from(node.more > 0)
}

struct Pen<'a> {
    picture: &'a Picture,
    layout: &'a Layout,
    types: Vec<&'a str>,
    out: String,
}

impl Pen<'_> {
    fn draw(&mut self) -> fmt::Result {
        let entries = self.entries();
        let widest = entries.iter().map(|(_, wide)| wide + 2.0 * MARGIN);
        let inner = widest.fold(self.layout.width + 2.0 * MARGIN, f64::max);
        let width = inner.max(NARROWEST.1);
        let rows = rows(&entries, width - 2.0 * MARGIN);
        let below = HEAD + MARGIN + self.layout.height;
        let height = below + HEAD / 2.0 + rows.len() as f64 * 22.0 + MARGIN / 2.0;
        self.open(width, height)?;
        writeln!(
            self.out,
            "<g transform=\"translate({MARGIN} {})\">",
            HEAD + MARGIN / 2.0
        )?;
        self.frames()?;
        self.links()?;
        for number in 0..self.picture.nodes.len() {
            self.node(number)?;
        }
        writeln!(self.out, "</g>")?;
        self.legend(&rows, below + HEAD / 2.0)?;
        writeln!(self.out, "</svg>")
    }

    fn open(&mut self, width: f64, height: f64) -> fmt::Result {
        let title = xml(&self.picture.title);
        let (wide, high) = (number(width), number(height));
        writeln!(
            self.out,
            "<svg xmlns=\"http://www.w3.org/2000/svg\" class=\"ldm\" width=\"{wide}\" \
             height=\"{high}\" viewBox=\"0 0 {wide} {high}\" role=\"img\" \
             aria-label=\"{title}\">"
        )?;
        self.style()?;
        writeln!(
            self.out,
            "<rect class=\"page\" width=\"{wide}\" height=\"{high}\" rx=\"10\"/>"
        )?;
        let nodes = self.picture.nodes.len();
        let kept = self.picture.count(Mark::Kept);
        writeln!(
            self.out,
            "<text class=\"title\" x=\"{MARGIN}\" y=\"34\">{title}<tspan class=\"dim\" dx=\"10\" \
             font-size=\"11\" font-weight=\"400\">{nodes} node{}, {kept} kept</tspan></text>",
            if nodes == 1 { "" } else { "s" }
        )
    }

    fn style(&mut self) -> fmt::Result {
        let of = |dark: bool| {
            let mut rules = String::new();
            for (number, data) in self.types.iter().enumerate() {
                let tint = Tint::of(data);
                let color = if dark { tint.dark } else { tint.light };
                rules += &format!(".ldm .s{number}{{stroke:{color}}}\n");
                rules += &format!(".ldm .f{number}{{fill:{color}}}\n");
            }
            rules
        };
        let (light, dark) = (of(false), of(true));
        writeln!(
            self.out,
            "<style>\n{STYLE}{light}\
             @media (prefers-color-scheme:dark){{\n{DARK}{dark}}}\n</style>"
        )
    }

    fn frames(&mut self) -> fmt::Result {
        for (group, frame) in &self.layout.frames {
            let (x, y) = (number(frame.x), number(frame.y));
            let (wide, high) = (number(frame.width), number(frame.height));
            let name = xml(&shortened(&self.picture.groups[*group].name, 64));
            writeln!(
                self.out,
                "<rect class=\"frame\" x=\"{x}\" y=\"{y}\" width=\"{wide}\" height=\"{high}\" \
                 rx=\"10\"/>\n<text class=\"dim\" x=\"{}\" y=\"{}\">{name}</text>",
                number(frame.x + 10.0),
                number(frame.y + 17.0)
            )?;
        }
        Ok(())
    }

    /// Faint links first and as one, so that where they meet they are as faint as elsewhere.
    fn links(&mut self) -> fmt::Result {
        let picture = self.picture;
        let faint =
            |stroke: &&Stroke| picture.nodes[picture.links[stroke.link].to].mark == Mark::Unneeded;
        let strokes = &self.layout.strokes;
        let (faint, plain): (Vec<_>, Vec<_>) = strokes.iter().partition(faint);
        writeln!(self.out, "<g class=\"unneeded\">")?;
        faint.into_iter().try_for_each(|stroke| self.link(stroke))?;
        writeln!(self.out, "</g>")?;
        plain.into_iter().try_for_each(|stroke| self.link(stroke))
    }

    fn link(&mut self, stroke: &Stroke) -> fmt::Result {
        let data = self.picture.data(&self.picture.links[stroke.link]);
        let number = self.types.iter().position(|known| *known == data);
        let number = number.expect("types of links are listed");
        let path = path(&stroke.points);
        writeln!(self.out, "<path class=\"link s{number}\" d=\"{path}\"/>")
    }

    /// The class that fills a socket; types that no link carries have no colour.
    fn fill(&self, data: &str) -> String {
        let known = self.types.iter().position(|known| *known == data);
        known.map_or_else(|| "dim".to_owned(), |number| format!("f{number}"))
    }

    fn node(&mut self, at: usize) -> fmt::Result {
        let (node, rect) = (&self.picture.nodes[at], &self.layout.blocks[at]);
        let (wide, high) = (number(rect.width), number(rect.height));
        let (name, kind) = (xml(&node.name), xml(&node.kind));
        writeln!(
            self.out,
            "<g class=\"{}\" transform=\"translate({} {})\"><title>{name}: {kind}, {}</title>\n\
             <rect class=\"box\" width=\"{wide}\" height=\"{high}\" rx=\"8\"/>\n\
             <text class=\"name\" x=\"{INSET}\" y=\"22\">{name}</text>\
             <text class=\"dim\" x=\"{INSET}\" y=\"39\">{kind}</text>",
            node.mark.class(),
            number(rect.x),
            number(rect.y),
            xml(&node.why)
        )?;
        self.badge(node.mark, rect.width - INSET - 4.0, 18.0)?;
        if !node.inputs.is_empty() || !node.outputs.is_empty() || node_lines(node) > 0 {
            writeln!(
                self.out,
                "<path class=\"rule\" d=\"M0.5 {TITLE}H{}\"/>",
                rect.width - 0.5
            )?;
        }
        self.sockets(at, rect)?;
        self.settings(node)?;
        writeln!(self.out, "</g>")
    }

    /// A tick or a cross around a point, for nodes that are kept or cannot run.
    fn badge(&mut self, mark: Mark, x: f64, y: f64) -> fmt::Result {
        let (x, y) = (number(x), number(y));
        match mark {
            Mark::Kept => writeln!(
                self.out,
                "<g transform=\"translate({x} {y})\"><circle class=\"badge\" r=\"8\"/>\
                 <path class=\"tick\" d=\"M-3.6 0.2L-1.1 2.8L3.8 -2.7\"/></g>"
            ),
            Mark::Fails => writeln!(
                self.out,
                "<path class=\"cross\" transform=\"translate({x} {y})\" \
                 d=\"M-4 -4L4 4M4 -4L-4 4\"/>"
            ),
            Mark::Runs | Mark::Unneeded => Ok(()),
        }
    }

    /// Inputs on the left, with the type of what comes in before each; outputs on the right.
    fn sockets(&mut self, at: usize, rect: &Rect) -> fmt::Result {
        let node = &self.picture.nodes[at];
        for (row, input) in node.inputs.iter().enumerate() {
            let (y, fill) = (socket_y(row), self.fill(&input.data));
            let (name, data) = (xml(&input.name), xml(&input.data));
            let (above, top) = (number(y - 5.5), number(y));
            let (below, base) = (number(y + 5.5), number(y + 4.0));
            writeln!(
                self.out,
                "<text class=\"label {fill}\" x=\"-11\" y=\"{above}\">{data}</text>\
                 <path class=\"socket {fill}\" d=\"M-5 {above}L6 {top}L-5 {below}Z\"/>\
                 <text x=\"{INSET}\" y=\"{base}\">{name}</text>"
            )?;
        }
        for (row, output) in node.outputs.iter().enumerate() {
            let (x, y) = (number(rect.width), socket_y(row));
            let (name, fill) = (xml(&output.name), self.fill(&output.data));
            let (middle, base) = (number(y), number(y + 4.0));
            writeln!(
                self.out,
                "<circle class=\"socket {fill}\" cx=\"{x}\" cy=\"{middle}\" r=\"4.5\"/>\
                 <text class=\"end\" x=\"{}\" y=\"{base}\">{name}</text>",
                number(rect.width - INSET)
            )?;
        }
        Ok(())
    }

    fn settings(&mut self, node: &Node) -> fmt::Result {
        let mut y = settings_y(node) + 12.0;
        for (name, value) in &node.settings {
            let (base, name, value) = (number(y), xml(name), xml(value));
            writeln!(
                self.out,
                "<text x=\"{INSET}\" y=\"{base}\"><tspan class=\"dim\">{name}</tspan>\
                 <tspan dx=\"5\">{value}</tspan></text>"
            )?;
            y += SETTING;
        }
        if node.more > 0 {
            let (base, more) = (number(y), node.more);
            let words = format!("… {more} more");
            writeln!(
                self.out,
                "<text class=\"dim\" x=\"{INSET}\" y=\"{base}\">{words}</text>"
            )?;
        }
        Ok(())
    }

    /// What the legend tells, and how wide each entry is.
    fn entries(&self) -> Vec<(Entry, f64)> {
        let types = (0..self.types.len()).map(Entry::Type);
        let marks = Mark::ALL
            .into_iter()
            .filter(|mark| self.picture.count(*mark) > 0);
        let all = types.chain(marks.map(Entry::Mark));
        all.map(|entry| {
            let words = self.words(entry);
            (entry, 28.0 + text::width(words, FONTS.1) + 14.0)
        })
        .collect()
    }

    fn words(&self, entry: Entry) -> &str {
        match entry {
            Entry::Type(number) => self.types[number],
            Entry::Mark(mark) => mark.words(),
        }
    }

    fn legend(&mut self, rows: &[Vec<(Entry, f64)>], top: f64) -> fmt::Result {
        for (row, entries) in rows.iter().enumerate() {
            let y = top + row as f64 * 22.0 + 8.0;
            for (entry, x) in entries {
                self.entry(*entry, MARGIN + x, y)?;
            }
        }
        Ok(())
    }

    fn entry(&mut self, entry: Entry, x: f64, y: f64) -> fmt::Result {
        let at = format!("translate({} {})", number(x), number(y));
        match entry {
            Entry::Type(number) => writeln!(
                self.out,
                "<path class=\"link s{number}\" transform=\"{at}\" d=\"M1 0H19\"/>"
            )?,
            Entry::Mark(mark) => {
                writeln!(
                    self.out,
                    "<g class=\"{}\" transform=\"{at}\"><rect class=\"box\" y=\"-7\" \
                     width=\"20\" height=\"14\" rx=\"4\"/></g>",
                    mark.class()
                )?;
                if mark == Mark::Kept {
                    let at = format!("translate({} {}) scale(.6)", number(x + 10.0), number(y));
                    writeln!(self.out, "<g transform=\"{at}\">")?;
                    self.badge(mark, 0.0, 0.0)?;
                    writeln!(self.out, "</g>")?;
                }
            }
        }
        let (x, y, words) = (number(x + 28.0), number(y + 4.0), xml(self.words(entry)));
        writeln!(
            self.out,
            "<text class=\"dim\" x=\"{x}\" y=\"{y}\">{words}</text>"
        )
    }
}

/// An entry of the legend.
#[derive(Debug, Clone, Copy)]
enum Entry {
    /// The colour of a type, by its number.
    Type(usize),
    /// The look of nodes.
    Mark(Mark),
}

/// Entries in rows that are no wider than that, each with its distance from the left.
fn rows(entries: &[(Entry, f64)], width: f64) -> Vec<Vec<(Entry, f64)>> {
    let mut rows: Vec<Vec<(Entry, f64)>> = Vec::new();
    let mut x = f64::INFINITY;
    for (entry, wide) in entries {
        if x + wide > width {
            rows.push(Vec::new());
            x = 0.0;
        }
        rows.last_mut().expect("a row was begun").push((*entry, x));
        x += wide;
    }
    rows
}

/// Level pieces straight, the others as bends that start and end level.
fn path(points: &[Point]) -> String {
    let mut path = format!("M{} {}", number(points[0].x), number(points[0].y));
    for pair in points.windows(2) {
        let (from, to) = (pair[0], pair[1]);
        let (x, y) = (number(to.x), number(to.y));
        if from.y == to.y {
            path += &format!("H{x}");
        } else {
            let middle = number(f64::midpoint(from.x, to.x));
            path += &format!("C{middle} {} {middle} {y} {x} {y}", number(from.y));
        }
    }
    path
}

/// A number with at most one digit after the point.
fn number(value: f64) -> String {
    let rounded = (value * 10.0).round() / 10.0;
    format!("{}", rounded + 0.0)
}

/// Text for content and for attributes. What XML 1.0 has no character for becomes U+FFFD.
fn xml(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\t' | '\n' | '\r' => safe.push(' '),
            '\0'..=' ' | '\u{FFFE}' | '\u{FFFF}' if c != ' ' => safe.push('\u{FFFD}'),
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
    fn it_is_well_formed_whatever_stands_in_names_and_values_and_refers_to_nothing_outside() {
        assert_eq!(
            xml("<a b=\"&\u{1}\n\u{FFFF}é"),
            "&lt;a b=&quot;&amp;\u{FFFD} \u{FFFD}é"
        );
        let mut picture = sketch(&[("a", &[]), ("p/b", &[0])]);
        picture.title = "</svg>&".to_owned();
        picture.nodes[0].kind = "]]><script>".to_owned();
        picture.nodes[0].settings[0].1 = "\"<&\u{0}\"".to_owned();
        picture.nodes[1].inputs[0].data = "'\"<x>".to_owned();
        let drawn = drawn(&picture);
        assert_eq!(drawn.matches("</svg>").count(), 1);
        assert!(!drawn.contains("<script"));
        let opened = drawn.matches('<').count() - 2 * drawn.matches("</").count();
        assert_eq!(
            opened,
            drawn.matches("/>").count(),
            "every element is closed"
        );
        for outside in ["href", "url(", "@import", "@font-face"] {
            assert!(!drawn.contains(outside), "{outside}");
        }
        assert_eq!(drawn.matches("http").count(), 1, "the name of SVG itself");
    }

    #[test]
    fn it_is_readable_on_light_and_on_dark_ground() {
        let drawn = drawn(&sketch(&[("a", &[]), ("b", &[0])]));
        let tint = Tint::of("Latent");
        for words in ["prefers-color-scheme:dark", tint.light, tint.dark] {
            assert!(drawn.contains(words), "{words}");
        }
        let classes = |style: &str| style.lines().filter(|line| line.contains(".page")).count();
        assert_eq!((classes(STYLE), classes(DARK)), (1, 1));
    }

    #[test]
    fn the_same_picture_gives_the_same_bytes() {
        let picture = || sketch(&[("a", &[]), ("p/b", &[0]), ("p/c", &[0, 1]), ("d", &[0, 2])]);
        assert_eq!(drawn(&picture()), drawn(&picture()));
    }

    #[test]
    fn numbers_are_short() {
        assert_eq!(number(1.0), "1");
        assert_eq!(number(-0.01), "0");
        assert_eq!(number(1.26), "1.3");
    }

    #[test]
    fn an_empty_picture_can_be_drawn() {
        assert!(drawn(&Picture::default()).contains("0 nodes"));
    }
}
