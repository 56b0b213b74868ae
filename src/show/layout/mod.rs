//! Where the boxes of a layered drawing stand, and how its links run; after Sugiyama, Tagawa
//! and Toda 1981. It knows sizes and links, and nothing of what they mean or how they look.
//!
//! ```text
//! rank    a column for each block: links lead to the right
//! thread  links over several columns pass through stops; links from one outlet share them
//! order   who is above whom: sweeps of barycentres, against crossings
//! place   how far down: medians of the neighbours, pooled where they collide
//! route   columns get their width, links their points
//! frame   groups that hold nobody else's block get a frame
//! ```
//!
//! Promises
//! - No two blocks overlap.
//! - Links lead to the right, and none passes over a block.
//! - The same blocks and links give the same drawing.
//! - Ten thousand blocks are laid out in seconds: sweeps grow fewer, and when stops would grow
//!   too many, the longest links run straight, over whatever lies there.

mod frame;
mod order;
mod place;
mod rank;
mod route;
mod thread;

/// A box to be laid out, and where links end on it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Block {
    /// How wide it must be; it becomes as wide as its column.
    pub(crate) width: f64,
    /// How high it is.
    pub(crate) height: f64,
    /// How far down each inlet is on its left side.
    pub(crate) inlets: Vec<f64>,
    /// How far down each outlet is on its right side.
    pub(crate) outlets: Vec<f64>,
    /// How far before its left side links must have stopped bending.
    pub(crate) runway: f64,
    /// The innermost group that holds it.
    pub(crate) group: Option<usize>,
}

/// A link from an outlet of a block to an inlet of another, all by number.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Thread {
    /// The block it comes from.
    pub(crate) from: usize,
    /// The outlet there.
    pub(crate) outlet: usize,
    /// The block it leads to.
    pub(crate) to: usize,
    /// The inlet there.
    pub(crate) inlet: usize,
    /// Whether it is drawn only where no other link from its outlet is.
    pub(crate) faint: bool,
}

/// A point; y grows downward.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(crate) struct Point {
    /// From the left.
    pub(crate) x: f64,
    /// From the top.
    pub(crate) y: f64,
}

/// A place and a size.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(crate) struct Rect {
    /// Its left side.
    pub(crate) x: f64,
    /// Its upper side.
    pub(crate) y: f64,
    /// From left to right.
    pub(crate) width: f64,
    /// From top to bottom.
    pub(crate) height: f64,
}

impl Rect {
    fn right(&self) -> f64 {
        self.x + self.width
    }

    fn bottom(&self) -> f64 {
        self.y + self.height
    }

    fn overlaps(&self, other: &Self) -> bool {
        self.x < other.right()
            && other.x < self.right()
            && self.y < other.bottom()
            && other.y < self.bottom()
    }

    fn holds(&self, other: &Self) -> bool {
        self.x <= other.x
            && self.y <= other.y
            && other.right() <= self.right()
            && other.bottom() <= self.bottom()
    }

    fn around(&self, other: &Self) -> Self {
        let (x, y) = (self.x.min(other.x), self.y.min(other.y));
        Self {
            x,
            y,
            width: self.right().max(other.right()) - x,
            height: self.bottom().max(other.bottom()) - y,
        }
    }
}

/// The run of a link. A piece between points of equal height is straight, every other one is to
/// be drawn as a bend that starts and ends level.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Stroke {
    /// The link; where links share a way, only the first of them has it.
    pub(crate) link: usize,
    /// From left to right.
    pub(crate) points: Vec<Point>,
}

/// Where everything is.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Layout {
    /// The blocks, in their order.
    pub(crate) blocks: Vec<Rect>,
    /// The links, those that are not faint first among those that share a way.
    pub(crate) strokes: Vec<Stroke>,
    /// Frames of groups, outer ones first.
    pub(crate) frames: Vec<(usize, Rect)>,
    /// How wide all of it is.
    pub(crate) width: f64,
    /// How high all of it is.
    pub(crate) height: f64,
}

/// Lays blocks out. `parents` tells for each group the one that holds it, which comes before it.
/// Links must not lead in a circle.
pub(crate) fn lay_out(blocks: &[Block], links: &[Thread], parents: &[Option<usize>]) -> Layout {
    let columns = rank::columns(blocks.len(), links);
    let threads = thread::threads(blocks, links, &columns);
    let outermost = frame::outermost(parents);
    let order = order::order(&threads, &outermost);
    let tops = place::tops(&threads, &order, &outermost, &frame::depths(parents));
    let mut layout = route::route(blocks, links, &threads, &tops);
    layout.frames = frame::frames(blocks, parents, &layout.blocks);
    layout.moved_to_origin();
    layout
}

impl Layout {
    /// Moves everything so that it starts at 0, 0, and measures it.
    fn moved_to_origin(&mut self) {
        let frames = self.frames.iter().map(|(_, frame)| *frame);
        let rects = self.blocks.iter().copied().chain(frames);
        let points = self.strokes.iter().flat_map(|stroke| &stroke.points);
        let points = points.map(|point| Rect {
            x: point.x,
            y: point.y,
            ..Rect::default()
        });
        let all = rects.chain(points).reduce(|all, one| all.around(&one));
        let all = all.unwrap_or_default();
        (self.width, self.height) = (all.width, all.height);
        let frames = self.frames.iter_mut().map(|(_, frame)| frame);
        for rect in self.blocks.iter_mut().chain(frames) {
            rect.x -= all.x;
            rect.y -= all.y;
        }
        for point in self
            .strokes
            .iter_mut()
            .flat_map(|stroke| &mut stroke.points)
        {
            point.x -= all.x;
            point.y -= all.y;
        }
    }
}

#[cfg(test)]
mod tests;
