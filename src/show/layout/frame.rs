//! Frames around groups. A group whose frame would hold a stranger's block, or cut another
//! frame, goes without: its name still tells who belongs to it.

use super::{Block, Rect};

/// Between a frame and what it holds.
const PADDING: f64 = 14.0;
/// More than that above, for a name.
const NAME: f64 = 18.0;

/// What so many frames around one another take, above or below.
pub(crate) fn border(depth: usize) -> f64 {
    depth as f64 * (PADDING + NAME)
}

/// The outermost group around each group.
pub(crate) fn outermost(parents: &[Option<usize>]) -> Vec<usize> {
    let mut found: Vec<usize> = Vec::with_capacity(parents.len());
    for (group, parent) in parents.iter().enumerate() {
        found.push(parent.map_or(group, |parent| found[parent]));
    }
    found
}

/// How many groups nest in each, itself among them.
pub(crate) fn depths(parents: &[Option<usize>]) -> Vec<usize> {
    let mut depths = vec![1; parents.len()];
    for (group, parent) in parents.iter().enumerate().rev() {
        if let Some(parent) = parent {
            depths[*parent] = depths[*parent].max(depths[group] + 1);
        }
    }
    depths
}

/// The frames that can be drawn, outer ones first.
pub(crate) fn frames(
    blocks: &[Block],
    parents: &[Option<usize>],
    rects: &[Rect],
) -> Vec<(usize, Rect)> {
    let mut frames: Vec<(usize, Rect)> = Vec::new();
    for (group, rect) in around(blocks, parents, rects).into_iter().enumerate() {
        let Some(rect) = rect else { continue };
        let inside = |block: &Block| ancestors(block.group, parents).any(|at| at == group);
        let mut others = blocks.iter().zip(rects).filter(|(block, _)| !inside(block));
        let alone = !others.any(|(_, other)| rect.overlaps(other));
        let nested = |(_, other): &(usize, Rect)| other.holds(&rect) || !other.overlaps(&rect);
        if alone && frames.iter().all(nested) {
            frames.push((group, rect));
        }
    }
    frames
}

/// What a frame around each group would be.
fn around(blocks: &[Block], parents: &[Option<usize>], rects: &[Rect]) -> Vec<Option<Rect>> {
    let mut held: Vec<Option<Rect>> = vec![None; parents.len()];
    let mut add = |group: usize, rect: &Rect| {
        held[group] = Some(held[group].map_or(*rect, |all| all.around(rect)));
    };
    for (block, rect) in blocks.iter().zip(rects) {
        if let Some(group) = block.group {
            add(group, rect);
        }
    }
    for group in (0..parents.len()).rev() {
        held[group] = held[group].map(padded);
        if let (Some(parent), Some(rect)) = (parents[group], held[group]) {
            held[parent] = Some(held[parent].map_or(rect, |all| all.around(&rect)));
        }
    }
    held
}

fn padded(rect: Rect) -> Rect {
    Rect {
        x: rect.x - PADDING,
        y: rect.y - PADDING - NAME,
        width: rect.width + 2.0 * PADDING,
        height: rect.height + 2.0 * PADDING + NAME,
    }
}

/// A group and all around it.
fn ancestors(group: Option<usize>, parents: &[Option<usize>]) -> impl Iterator<Item = usize> {
    std::iter::successors(group, |group| parents[*group])
}
