//! Columns get their places from left to right, and links their points. Within a column all
//! lines are level; they bend between columns, where no block is.

use super::thread::{Threads, Trunk};
use super::{Block, Layout, Point, Rect, Stroke, Thread};

/// The narrowest gap in which lines bend.
const NARROWEST: f64 = 48.0;
/// The widest.
const WIDEST: f64 = 150.0;
/// Of its height, a bend likes so much width.
const SLOPE: f64 = 0.22;

/// A column: blocks and level lines from `left` to `right`.
#[derive(Debug, Clone, Copy, Default)]
struct Column {
    /// Where lines have stopped bending.
    runway: f64,
    left: f64,
    right: f64,
}

/// Turns the tops of all items into places of blocks and points of links.
pub(crate) fn route(blocks: &[Block], links: &[Thread], threads: &Threads, tops: &[f64]) -> Layout {
    let columns = columns(blocks, threads, tops);
    let items = threads.items.iter().zip(tops).zip(blocks);
    let rects = items.map(|((item, top), block)| {
        let column = columns[item.column];
        Rect {
            x: column.left,
            y: *top,
            width: column.right - column.left,
            height: block.height,
        }
    });
    let router = Router {
        blocks,
        links,
        threads,
        tops,
        columns: &columns,
    };
    let strokes = threads.trunks.iter().flat_map(|trunk| router.trunk(trunk));
    Layout {
        blocks: rects.collect(),
        strokes: strokes.collect(),
        ..Layout::default()
    }
}

fn columns(blocks: &[Block], threads: &Threads, tops: &[f64]) -> Vec<Column> {
    let mut columns = vec![Column::default(); threads.columns];
    let (mut runways, mut rises) = (vec![0.0_f64; columns.len()], vec![0.0_f64; columns.len()]);
    for (at, item) in threads.items.iter().enumerate() {
        let column = item.column;
        if let Some(block) = blocks.get(at) {
            columns[column].right = columns[column].right.max(block.width);
            runways[column] = runways[column].max(block.runway);
        }
        for end in &item.before {
            let rise = tops[at] + end.here - tops[end.item] - end.there;
            rises[column] = rises[column].max(rise.abs());
        }
    }
    let mut x = 0.0;
    for (at, column) in columns.iter_mut().enumerate() {
        if at > 0 {
            x += (rises[at] * SLOPE).clamp(NARROWEST, WIDEST).round();
        }
        column.runway = x;
        column.left = x + runways[at];
        column.right += column.left;
        x = column.right;
    }
    columns
}

struct Router<'a> {
    blocks: &'a [Block],
    links: &'a [Thread],
    threads: &'a Threads,
    tops: &'a [f64],
    columns: &'a [Column],
}

impl Router<'_> {
    /// The lines of all links from one outlet; each begins where those before it leave the way.
    fn trunk(&self, trunk: &Trunk) -> Vec<Stroke> {
        let first = &self.links[trunk.links[0]];
        let start = self.threads.items[first.from].column;
        let down = self.tops[first.from] + self.blocks[first.from].outlets[first.outlet];
        let mut drawn = 0;
        let mut strokes = Vec::with_capacity(trunk.links.len());
        for number in &trunk.links {
            let link = &self.links[*number];
            // How many stops it passes; a link without stops runs straight from the block.
            let passed = self.threads.items[link.to].column - start - 1;
            let passed = passed.min(trunk.stops.len());
            let from = drawn.min(passed);
            let mut points = vec![match from.checked_sub(1) {
                None => self.point(self.columns[start].right, down),
                Some(stop) => self.leaving(trunk.stops[stop]),
            }];
            for stop in &trunk.stops[from..passed] {
                let leaving = self.leaving(*stop);
                let column = self.columns[self.threads.items[*stop].column];
                points.extend([self.point(column.runway, leaving.y), leaving]);
            }
            points.extend(self.arriving(link));
            drawn = drawn.max(passed);
            strokes.push(Stroke {
                link: *number,
                points,
            });
        }
        strokes
    }

    fn point(&self, x: f64, y: f64) -> Point {
        Point { x, y }
    }

    /// Where a line leaves the column of a stop.
    fn leaving(&self, stop: usize) -> Point {
        let column = self.threads.items[stop].column;
        self.point(self.columns[column].right, self.tops[stop])
    }

    /// The level end of a link, before the block it leads to.
    fn arriving(&self, link: &Thread) -> [Point; 2] {
        let column = self.columns[self.threads.items[link.to].column];
        let y = self.tops[link.to] + self.blocks[link.to].inlets[link.inlet];
        [self.point(column.runway, y), self.point(column.left, y)]
    }
}
