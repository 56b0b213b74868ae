//! Drawings of chains, trees and whatever a generator comes up with.

use super::*;

/// Small numbers that look thrown, the same each time.
struct Dice(u64);

impl Dice {
    fn throw(&mut self, sides: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        usize::try_from(self.0 >> 33).expect("31 bits") % sides
    }
}

/// A graph of so many blocks, each fed by up to three of those before it.
fn thrown(seed: u64, count: usize) -> (Vec<Block>, Vec<Thread>) {
    let mut dice = Dice(seed);
    let (mut blocks, mut links) = (Vec::new(), Vec::new());
    for to in 0..count {
        let inlets = dice.throw(4).min(to);
        let down = |count: usize| (0..count).map(|row| 40.0 + 20.0 * row as f64).collect();
        for inlet in 0..inlets {
            links.push(Thread {
                from: dice.throw(to),
                outlet: dice.throw(2),
                to,
                inlet,
                faint: dice.throw(5) == 0,
            });
        }
        blocks.push(Block {
            width: 100.0 + dice.throw(100) as f64,
            height: 120.0 + dice.throw(50) as f64,
            inlets: down(inlets),
            outlets: down(2),
            runway: 20.0 + dice.throw(40) as f64,
            group: (dice.throw(3) == 0).then(|| dice.throw(3)),
        });
    }
    (blocks, links)
}

/// Three groups, the last inside the first.
const PARENTS: [Option<usize>; 3] = [None, None, Some(0)];

fn chain(count: usize) -> (Vec<Block>, Vec<Thread>) {
    let block = Block {
        width: 100.0,
        height: 60.0,
        inlets: vec![30.0],
        outlets: vec![30.0],
        runway: 20.0,
        group: None,
    };
    let link = |to| Thread {
        from: to - 1,
        outlet: 0,
        to,
        inlet: 0,
        faint: false,
    };
    (vec![block; count], (1..count).map(link).collect())
}

#[test]
fn no_two_blocks_overlap() {
    for seed in 0..60 {
        let (blocks, links) = thrown(seed, 40);
        let rects = lay_out(&blocks, &links, &PARENTS).blocks;
        for (at, rect) in rects.iter().enumerate() {
            let mut others = rects[..at].iter();
            assert!(
                !others.any(|other| rect.overlaps(other)),
                "seed {seed}, block {at}"
            );
            assert!(rect.width >= blocks[at].width && rect.height == blocks[at].height);
        }
    }
}

#[test]
fn links_lead_to_the_right_and_none_passes_over_a_block() {
    for seed in 0..60 {
        let (blocks, links) = thrown(seed, 40);
        let layout = lay_out(&blocks, &links, &PARENTS);
        assert_eq!(layout.strokes.len(), links.len());
        for stroke in &layout.strokes {
            let link = &links[stroke.link];
            let (from, to) = (&layout.blocks[link.from], &layout.blocks[link.to]);
            assert!(from.right() < to.x, "seed {seed}");
            let last = stroke.points[stroke.points.len() - 1];
            let inlet = to.y + blocks[link.to].inlets[link.inlet];
            assert_eq!(last, Point { x: to.x, y: inlet });
            for pair in stroke.points.windows(2) {
                assert!(pair[0].x <= pair[1].x, "seed {seed}");
                let piece = Rect {
                    x: pair[0].x + 0.5,
                    y: pair[0].y.min(pair[1].y),
                    width: pair[1].x - pair[0].x - 1.0,
                    height: (pair[0].y - pair[1].y).abs() + 0.001,
                };
                let hit = layout.blocks.iter().find(|block| block.overlaps(&piece));
                assert!(
                    piece.width < 0.0 || hit.is_none(),
                    "seed {seed}: {piece:?} {hit:?}"
                );
            }
        }
    }
}

#[test]
fn every_link_can_be_followed_back_to_its_outlet() {
    for seed in 0..60 {
        let (blocks, links) = thrown(seed, 40);
        let layout = lay_out(&blocks, &links, &PARENTS);
        for stroke in &layout.strokes {
            let link = &links[stroke.link];
            let from = &layout.blocks[link.from];
            let outlet = Point {
                x: from.right(),
                y: from.y + blocks[link.from].outlets[link.outlet],
            };
            let same = |other: &&Stroke| {
                let other = &links[other.link];
                (other.from, other.outlet) == (link.from, link.outlet)
            };
            let mut way = layout
                .strokes
                .iter()
                .filter(same)
                .flat_map(|other| &other.points);
            let start = stroke.points[0];
            assert!(
                start == outlet || way.any(|point| *point == start),
                "seed {seed}"
            );
        }
    }
}

#[test]
fn the_same_blocks_and_links_give_the_same_drawing() {
    let (blocks, links) = thrown(5, 60);
    let first = lay_out(&blocks, &links, &PARENTS);
    assert_eq!(first, lay_out(&blocks, &links, &PARENTS));
    assert!(first.width > 0.0 && first.height > 0.0);
    let lowest = first
        .blocks
        .iter()
        .map(|rect| rect.y)
        .fold(f64::MAX, f64::min);
    assert!(lowest >= 0.0);
}

#[test]
fn a_chain_is_level() {
    let (blocks, links) = chain(9);
    let layout = lay_out(&blocks, &links, &[]);
    assert!(layout.blocks.iter().all(|rect| rect.y == 0.0));
    assert_eq!(layout.height, 60.0);
}

#[test]
fn links_from_one_outlet_share_their_way() {
    let (blocks, mut links) = chain(5);
    links[1].from = 0;
    links.extend([3, 4].map(|to| Thread {
        from: 0,
        to,
        ..links[0]
    }));
    let layout = lay_out(&blocks, &links, &[]);
    let points = layout.strokes.iter().map(|stroke| stroke.points.len());
    // The longest goes all the way; each of the others has only its own end.
    assert!(
        points.filter(|points| *points > 3).count() <= 1,
        "{:?}",
        layout.strokes
    );
}

#[test]
fn ten_thousand_blocks_are_laid_out_in_seconds() {
    let start = std::time::Instant::now();
    let (blocks, links) = chain(10_000);
    lay_out(&blocks, &links, &[]);
    let (blocks, links) = thrown(1, 10_000);
    lay_out(&blocks, &links, &PARENTS);
    // One model that feeds every node of a chain.
    let (blocks, mut links) = chain(10_000);
    let first = links[0];
    links.extend((2..10_000).map(|to| Thread { to, ..first }));
    let points = |layout: Layout| layout.strokes.iter().map(|s| s.points.len()).sum::<usize>();
    assert!(points(lay_out(&blocks, &links, &[])) < 100_000);
    // Generous: other programs run beside the tests.
    assert!(start.elapsed().as_secs() < 60, "{:?}", start.elapsed());
}

#[test]
fn groups_get_frames_that_hold_their_own_and_nobody_else() {
    let (mut blocks, links) = chain(5);
    blocks[1].group = Some(0);
    blocks[2].group = Some(2);
    let layout = lay_out(&blocks, &links, &PARENTS);
    let groups: Vec<usize> = layout.frames.iter().map(|(group, _)| *group).collect();
    assert_eq!(groups, [0, 2]);
    let (outer, inner) = (layout.frames[0].1, layout.frames[1].1);
    assert!(outer.holds(&inner) && outer.holds(&layout.blocks[1]));
    assert!(inner.holds(&layout.blocks[2]) && !inner.overlaps(&layout.blocks[1]));
    for seed in 0..60 {
        let (blocks, links) = thrown(seed, 12);
        let layout = lay_out(&blocks, &links, &PARENTS);
        for (group, frame) in &layout.frames {
            let member = |block: &Block| {
                block.group == Some(*group) || (*group == 0 && block.group == Some(2))
            };
            for (block, rect) in blocks.iter().zip(&layout.blocks) {
                assert_eq!(member(block), frame.holds(rect), "seed {seed}");
                assert_eq!(member(block), frame.overlaps(rect), "seed {seed}");
            }
        }
    }
}
