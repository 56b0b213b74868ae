//! What a picture of a graph shows, before anyone draws it.
//!
//! Promises
//! - Every node is there, and every link, once.
//! - Every name, kind and value in it is one line and of bounded length.
//!
//! Not here: where things stand (`layout`), and how they look (`svg`, `mermaid`, `dot`).

use ldm_engine::{Fate, Outlook, Plan, Planned, Wire};

/// Characters of a name or a value that are shown.
const LONGEST: usize = 32;
/// Settings shown of a node.
const SETTINGS: usize = 6;

/// A graph as it is drawn.
#[derive(Debug, Default)]
pub(crate) struct Picture {
    /// The name of the graph's file.
    pub(crate) title: String,
    /// All nodes; links and groups count them.
    pub(crate) nodes: Vec<Node>,
    /// Every link, in the order of the nodes and sockets that they lead to.
    pub(crate) links: Vec<Link>,
    /// Parts, each after the one that holds it.
    pub(crate) groups: Vec<Group>,
}

/// A node as it is drawn.
#[derive(Debug)]
pub(crate) struct Node {
    /// Its name.
    pub(crate) name: String,
    /// Its kind.
    pub(crate) kind: String,
    /// What would happen to it.
    pub(crate) mark: Mark,
    /// The same in words.
    pub(crate) why: String,
    /// What links lead to: ports, then linked settings.
    pub(crate) inputs: Vec<Socket>,
    /// What it gives.
    pub(crate) outputs: Vec<Socket>,
    /// Settings that differ from their defaults: name and value.
    pub(crate) settings: Vec<(String, String)>,
    /// How many settings more there are.
    pub(crate) more: usize,
    /// The innermost part that holds it.
    pub(crate) group: Option<usize>,
}

/// An end of links.
#[derive(Debug)]
pub(crate) struct Socket {
    /// Its name.
    pub(crate) name: String,
    /// The type of what goes through it.
    pub(crate) data: String,
}

/// A link between two nodes, all four by number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Link {
    /// The node it comes from.
    pub(crate) from: usize,
    /// The output there.
    pub(crate) output: usize,
    /// The node it leads to.
    pub(crate) to: usize,
    /// The input there.
    pub(crate) input: usize,
}

/// A part: nodes that share the beginning of their names.
#[derive(Debug)]
pub(crate) struct Group {
    /// `hires`, or `hires/inner`.
    pub(crate) name: String,
    /// The part that holds it.
    pub(crate) parent: Option<usize>,
}

/// A step through a picture, from part to part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// A part begins.
    Open(usize),
    /// A node stands here.
    Node(usize),
    /// The last part that began ends.
    Close,
}

/// What a run would do with a node, as far as a picture tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mark {
    /// Its result is there.
    Kept,
    /// It would run.
    Runs,
    /// No root needs it.
    Unneeded,
    /// It cannot run.
    Fails,
}

impl Mark {
    /// All marks, in the order of the legend.
    pub(crate) const ALL: [Self; 4] = [Self::Kept, Self::Runs, Self::Unneeded, Self::Fails];

    /// Its class in style sheets.
    pub(crate) fn class(self) -> &'static str {
        match self {
            Self::Kept => "kept",
            Self::Runs => "runs",
            Self::Unneeded => "unneeded",
            Self::Fails => "fails",
        }
    }

    /// As a legend says it.
    pub(crate) fn words(self) -> &'static str {
        match self {
            Self::Kept => "kept",
            Self::Runs => "would run",
            Self::Unneeded => "not needed",
            Self::Fails => "cannot run",
        }
    }
}

impl Picture {
    /// The picture of a plan, marked with what would happen to each of its nodes.
    pub(crate) fn new(plan: &Plan, outlooks: &[Outlook]) -> Self {
        let mut picture = Self {
            title: title(plan.name()),
            ..Self::default()
        };
        for (planned, outlook) in plan.nodes().zip(outlooks) {
            let group = picture.group(planned.name());
            let number = picture.nodes.len();
            let mut node = node(plan, planned, &outlook.fate, group);
            for (name, wires) in wires(planned) {
                picture
                    .links
                    .extend(connect(&mut node, number, name, wires));
            }
            picture.nodes.push(node);
        }
        for link in &picture.links {
            let data = picture.nodes[link.from].outputs[link.output].data.clone();
            picture.nodes[link.to].inputs[link.input].data = data;
        }
        picture
    }

    /// The type of what a link carries.
    pub(crate) fn data(&self, link: &Link) -> &str {
        &self.nodes[link.from].outputs[link.output].data
    }

    /// How many nodes have this mark.
    pub(crate) fn count(&self, mark: Mark) -> usize {
        self.nodes.iter().filter(|node| node.mark == mark).count()
    }

    /// Parts and nodes as they nest: what a part holds stands between its two steps.
    pub(crate) fn steps(&self) -> Vec<Step> {
        let mut held = vec![(Vec::new(), Vec::new()); self.groups.len() + 1];
        let place = |group: Option<usize>| group.map_or(0, |group| group + 1);
        for (number, node) in self.nodes.iter().enumerate() {
            held[place(node.group)].0.push(number);
        }
        for (number, group) in self.groups.iter().enumerate() {
            held[place(group.parent)].1.push(number);
        }
        let mut steps = Vec::new();
        nest(&held, 0, &mut steps);
        steps
    }

    /// The innermost part of a node's name, after those that hold it.
    fn group(&mut self, name: &str) -> Option<usize> {
        let ends = name.match_indices('/').map(|(at, _)| at);
        let mut parent = None;
        for end in ends {
            let name = &name[..end];
            let known = self.groups.iter().rposition(|group| group.name == name);
            parent = Some(known.unwrap_or_else(|| {
                let name = name.to_owned();
                self.groups.push(Group { name, parent });
                self.groups.len() - 1
            }));
        }
        parent
    }
}

/// Steps through the nodes and parts that a part holds. Parts nest as deep as planning allows.
fn nest(held: &[(Vec<usize>, Vec<usize>)], at: usize, steps: &mut Vec<Step>) {
    let (nodes, groups) = &held[at];
    steps.extend(nodes.iter().map(|node| Step::Node(*node)));
    for group in groups {
        steps.push(Step::Open(*group));
        nest(held, group + 1, steps);
        steps.push(Step::Close);
    }
}

/// The last part of a path, which is what a graph is called.
fn title(path: &str) -> String {
    let name = std::path::Path::new(path).file_name();
    let name = name.map_or_else(|| path.to_owned(), |name| name.to_string_lossy().into());
    shortened(&name, 2 * LONGEST)
}

fn node(plan: &Plan, planned: &Planned, fate: &Fate, group: Option<usize>) -> Node {
    let outputs = planned.kind().outputs.iter().map(|output| Socket {
        name: shortened(&output.name, LONGEST),
        data: output.data.name.to_owned(),
    });
    let ports = planned.kind().declaration.ports.iter().zip(planned.ports());
    let values = ports.flat_map(|(port, wires)| wires.iter().map(move |wire| (port.name, wire)));
    let values = values.filter(|(_, wire)| matches!(wire, Wire::Value(_)));
    let values = values.map(|(name, wire)| (name, plan.describe(wire)));
    let settings = planned.settings().iter();
    let settings = settings.map(|(name, value)| (*name, value.to_string()));
    let all: Vec<(&str, String)> = values.chain(settings).collect();
    // A line that says "1 more" could as well say what it is.
    let shown = if all.len() > SETTINGS {
        SETTINGS - 1
    } else {
        SETTINGS
    };
    let short = |(name, value): &(&str, String)| ((*name).to_owned(), shortened(value, LONGEST));
    Node {
        name: shortened(planned.name(), LONGEST),
        kind: shortened(planned.kind().declaration.name, LONGEST),
        mark: mark(fate),
        why: shortened(&words(fate), 8 * LONGEST),
        inputs: Vec::new(),
        outputs: outputs.collect(),
        settings: all.iter().take(shown).map(short).collect(),
        more: all.len().saturating_sub(shown),
        group,
    }
}

/// What a node's links come through: its ports, then its linked settings.
fn wires(planned: &Planned) -> impl Iterator<Item = (&str, Vec<&Wire>)> {
    let ports = planned.kind().declaration.ports.iter().zip(planned.ports());
    let ports = ports.map(|(port, wires)| (port.name, wires.iter().collect()));
    ports.chain(planned.linked().map(|(name, wire)| (name, vec![wire])))
}

/// Gives a node an input for these wires, if any of them is a link, and the links to it.
fn connect(node: &mut Node, to: usize, name: &str, wires: Vec<&Wire>) -> Vec<Link> {
    let input = node.inputs.len();
    let mut links: Vec<Link> = Vec::new();
    let mut seen = std::collections::HashSet::new();
    for wire in wires {
        if let Wire::Node { node: from, output } = *wire
            && seen.insert((from, output))
        {
            links.push(Link {
                from,
                output,
                to,
                input,
            });
        }
    }
    if !links.is_empty() {
        node.inputs.push(Socket {
            name: shortened(name, LONGEST),
            data: String::new(),
        });
    }
    links
}

fn mark(fate: &Fate) -> Mark {
    match fate {
        Fate::Kept { .. } => Mark::Kept,
        Fate::Runs { .. } | Fate::Depends { .. } => Mark::Runs,
        Fate::Unneeded => Mark::Unneeded,
        Fate::Fails { .. } => Mark::Fails,
    }
}

/// A fate in words that stay the same while nothing changes: without ages.
fn words(fate: &Fate) -> String {
    match fate {
        Fate::Kept { .. } => "kept".to_owned(),
        Fate::Runs { because } => format!("would run: {because}"),
        Fate::Depends { on } => {
            let mut on = on.clone();
            on.sort();
            let on = ldm_engine::names::list(&on);
            format!("would run, unless what comes from {on} is unchanged")
        }
        Fate::Unneeded => "not needed".to_owned(),
        Fate::Fails { because } => format!("cannot run: {because}"),
    }
}

/// One line of so many characters at most, the last of them `…` where some are left out.
pub(crate) fn shortened(text: &str, most: usize) -> String {
    let plain = |c: char| {
        if c.is_whitespace() || c.is_control() {
            ' '
        } else {
            c
        }
    };
    let mut chars = text.chars().map(plain);
    let mut short: String = chars.by_ref().take(most).collect();
    if chars.next().is_some() {
        short.pop();
        short.push('…');
    }
    short
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A picture of nodes with these names, each linked to those it names.
    pub(crate) fn sketch(nodes: &[(&str, &[usize])]) -> Picture {
        let mut picture = Picture::default();
        for (to, (name, parents)) in nodes.iter().enumerate() {
            let socket = |name: &str| Socket {
                name: name.to_owned(),
                data: "Latent".to_owned(),
            };
            let links = parents.iter().enumerate().map(|(input, from)| Link {
                from: *from,
                output: 0,
                to,
                input,
            });
            picture.links.extend(links);
            let group = picture.group(name);
            picture.nodes.push(Node {
                name: (*name).to_owned(),
                kind: "Kind".to_owned(),
                mark: Mark::Runs,
                why: "would run: it never ran".to_owned(),
                inputs: parents.iter().map(|_| socket("latent")).collect(),
                outputs: vec![socket("latent")],
                settings: vec![("steps".to_owned(), "20".to_owned())],
                more: 0,
                group,
            });
        }
        picture
    }

    /// Says something.
    #[derive(ldm_engine::Node)]
    struct Word {
        /// What to say.
        text: String,
    }

    impl ldm_engine::Node for Word {
        type Out = ldm_engine::Text;
        fn run(&self, _: &mut ldm_engine::Ctx) -> ldm_engine::Result<ldm_engine::Text> {
            Ok(ldm_engine::Text(self.text.clone()))
        }
    }

    /// Takes the first of many.
    #[derive(ldm_engine::Node)]
    struct First {
        /// The many.
        many: Vec<ldm_engine::In<ldm_engine::Text>>,
    }

    impl ldm_engine::Node for First {
        type Out = ldm_engine::Text;
        fn run(&self, ctx: &mut ldm_engine::Ctx) -> ldm_engine::Result<ldm_engine::Text> {
            Ok(ldm_engine::Text(ctx.get(&self.many[0]).0.clone()))
        }
    }

    #[test]
    fn every_node_is_there_and_every_link_once() {
        let text = r#"Graph(
            inputs: {"said": Text("hm")},
            nodes: {
                "first": First(many: ["a", "b", "a", Input("said")]),
                "a": Word(text: "ho"),
                "b": Word(text: Link("a")),
            },
            outputs: {"all": "first"},
        )"#;
        let kinds = [ldm_engine::kind::<Word>(), ldm_engine::kind::<First>()];
        let source = ldm_engine::Source::new("g.ron", text);
        let graph = ldm_engine::Graph::parse(source, std::path::Path::new("g.ron"));
        let options = ldm_engine::Options::default();
        let kinds = ldm_engine::Kinds::new(kinds);
        let plan = graph.and_then(|graph| Plan::new(&graph, &kinds, &options));
        let plan = plan.expect("a sound graph");
        let outlook = |node: &Planned| Outlook {
            node: node.name().to_owned(),
            fate: Fate::Unneeded,
            narrowed: None,
        };
        let outlooks: Vec<Outlook> = plan.nodes().map(outlook).collect();
        let picture = Picture::new(&plan, &outlooks);
        let names: Vec<&str> = picture.nodes.iter().map(|node| &*node.name).collect();
        assert_eq!(names, ["first", "a", "b"]);
        let ends: Vec<_> = picture
            .links
            .iter()
            .map(|link| (link.from, link.to))
            .collect();
        assert_eq!(ends, [(1, 0), (2, 0), (1, 2)]);
        assert!(
            picture
                .links
                .iter()
                .all(|link| picture.data(link) == "Text")
        );
        let many = ("many".to_owned(), "\"hm\"".to_owned());
        assert_eq!(picture.nodes[0].settings, [many]);
        assert_eq!(picture.nodes[2].inputs[0].name, "text");
    }

    #[test]
    fn every_name_kind_and_value_in_it_is_one_line_and_of_bounded_length() {
        assert_eq!(shortened("a lake", 6), "a lake");
        assert_eq!(shortened("a lakes", 6), "a lak…");
        assert_eq!(shortened("a\nb\tc\u{7}d", 9), "a b c d");
        assert_eq!(shortened("ééééé", 3), "éé…");
        assert_eq!(title("graphs/x\n.ron"), "x .ron");
    }

    #[test]
    fn parts_are_known_from_names_each_after_the_one_that_holds_it() {
        let picture = sketch(&[("a", &[]), ("p/q/b", &[0]), ("p/c", &[1]), ("d", &[2])]);
        let groups: Vec<_> = picture
            .groups
            .iter()
            .map(|g| (&*g.name, g.parent))
            .collect();
        assert_eq!(groups, [("p", None), ("p/q", Some(0))]);
        let of: Vec<_> = picture.nodes.iter().map(|node| node.group).collect();
        assert_eq!(of, [None, Some(1), Some(0), None]);
        let steps = [
            Step::Node(0),
            Step::Node(3),
            Step::Open(0),
            Step::Node(2),
            Step::Open(1),
            Step::Node(1),
            Step::Close,
            Step::Close,
        ];
        assert_eq!(picture.steps(), steps);
    }

    #[test]
    fn a_fate_is_told_without_an_age() {
        let kept = Fate::Kept {
            from: ldm_engine::From::Disk,
            age: Some(std::time::Duration::from_secs(5)),
            bytes: Some(3),
        };
        assert_eq!((mark(&kept), &*words(&kept)), (Mark::Kept, "kept"));
        let depends = Fate::Depends {
            on: vec!["b".to_owned(), "a".to_owned()],
        };
        assert!(words(&depends).contains("`a` and `b`"));
    }
}
