//! Long links pass through a stop in every column between, so that each column keeps a place
//! for them. Links from one outlet share their stops: a model that feeds all of a graph is one
//! line with branches, not a bundle of lines.

use std::collections::BTreeMap;

use super::{Block, Thread};

/// Stops of a whole drawing; what is longer runs straight.
const STOPS: usize = 30_000;

/// What stands in a column: a block or a stop.
#[derive(Debug, Clone)]
pub(crate) struct Item {
    /// Where it stands.
    pub(crate) column: usize,
    /// How high it is; a stop has no height.
    pub(crate) height: f64,
    /// The group of a block, or of all that a stop connects.
    pub(crate) group: Option<usize>,
    /// Whether it is a stop.
    pub(crate) is_stop: bool,
    /// Pieces of links that end here.
    pub(crate) before: Vec<End>,
    /// Pieces of links that begin here.
    pub(crate) after: Vec<End>,
}

/// The other end of a piece of a link, between neighbouring columns.
#[derive(Debug, Clone, Copy)]
pub(crate) struct End {
    /// The item there.
    pub(crate) item: usize,
    /// How far down on this item.
    pub(crate) here: f64,
    /// How far down on that item.
    pub(crate) there: f64,
    /// How much it matters that the piece is level.
    pub(crate) weight: f64,
}

/// All links from one outlet.
#[derive(Debug)]
pub(crate) struct Trunk {
    /// The links, in the order in which they are drawn.
    pub(crate) links: Vec<usize>,
    /// The stop in each column after the block; empty when it has none, or runs straight.
    pub(crate) stops: Vec<usize>,
}

/// Blocks and stops, and what connects them. Items up to the number of blocks are the blocks.
#[derive(Debug)]
pub(crate) struct Threads {
    /// Blocks, then stops.
    pub(crate) items: Vec<Item>,
    /// Links by their outlets.
    pub(crate) trunks: Vec<Trunk>,
    /// How many columns there are.
    pub(crate) columns: usize,
}

/// Threads links through columns.
pub(crate) fn threads(blocks: &[Block], links: &[Thread], columns: &[usize]) -> Threads {
    let item = |(block, column): (&Block, &usize)| Item {
        column: *column,
        height: block.height,
        group: block.group,
        is_stop: false,
        before: Vec::new(),
        after: Vec::new(),
    };
    let mut threads = Threads {
        items: blocks.iter().zip(columns).map(item).collect(),
        trunks: trunks(links, columns),
        columns: columns.iter().max().map_or(0, |last| last + 1),
    };
    let span = |trunk: &Trunk| {
        let spans = trunk.links.iter().map(|link| span(&links[*link], columns));
        spans.max().expect("a trunk has links")
    };
    let mut shortest: Vec<(usize, usize)> = threads.trunks.iter().map(span).zip(0..).collect();
    shortest.sort_unstable();
    let mut left = STOPS;
    for (span, trunk) in shortest {
        let stops = span - 1;
        let threaded = stops <= left;
        left -= if threaded { stops } else { 0 };
        threads.pass(trunk, if threaded { stops } else { 0 }, blocks, links);
    }
    threads
}

/// How many columns a link leads forward.
fn span(link: &Thread, columns: &[usize]) -> usize {
    columns[link.to] - columns[link.from]
}

/// Links by outlet; within one, faint ones last and long ones first.
fn trunks(links: &[Thread], columns: &[usize]) -> Vec<Trunk> {
    let mut by_outlet: BTreeMap<(usize, usize), Vec<usize>> = BTreeMap::new();
    for (number, link) in links.iter().enumerate() {
        by_outlet
            .entry((link.from, link.outlet))
            .or_default()
            .push(number);
    }
    let trunk = |mut numbers: Vec<usize>| {
        numbers.sort_by_key(|at| (links[*at].faint, usize::MAX - span(&links[*at], columns)));
        Trunk {
            links: numbers,
            stops: Vec::new(),
        }
    };
    by_outlet.into_values().map(trunk).collect()
}

impl Threads {
    /// Makes a trunk's stops and the pieces of its links.
    fn pass(&mut self, trunk: usize, stops: usize, blocks: &[Block], links: &[Thread]) {
        let members = self.trunks[trunk].links.clone();
        let first = &links[members[0]];
        let start = self.items[first.from].column;
        let ends = members.iter().map(|link| blocks[links[*link].to].group);
        let shared = ends.clone().all(|group| group == blocks[first.from].group);
        let outlet = blocks[first.from].outlets[first.outlet];
        let (mut last, mut down) = (first.from, outlet);
        for stop in 0..stops {
            let number = self.items.len();
            self.items.push(Item {
                column: start + stop + 1,
                height: 0.0,
                group: blocks[first.from].group.filter(|_| shared),
                is_stop: true,
                before: Vec::new(),
                after: Vec::new(),
            });
            let weight = if stop == 0 { 2.0 } else { 8.0 };
            self.join((last, down), (number, 0.0), weight);
            (last, down) = (number, 0.0);
            self.trunks[trunk].stops.push(number);
        }
        for link in members {
            let link = &links[link];
            let inlet = blocks[link.to].inlets[link.inlet];
            match self.items[link.to].column - start - 1 {
                0 => self.join((link.from, outlet), (link.to, inlet), 1.0),
                passed if passed <= stops => {
                    let stop = self.trunks[trunk].stops[passed - 1];
                    self.join((stop, 0.0), (link.to, inlet), 2.0);
                }
                _ => {}
            }
        }
    }

    fn join(&mut self, from: (usize, f64), to: (usize, f64), weight: f64) {
        let end = |item, here, there| End {
            item,
            here,
            there,
            weight,
        };
        self.items[from.0].after.push(end(to.0, from.1, to.1));
        self.items[to.0].before.push(end(from.0, to.1, from.1));
    }
}
