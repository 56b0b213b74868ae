//! How far down everything stands: near the median of what it is linked to, and no closer to
//! its neighbours than is pleasant.

use super::frame;
use super::thread::{End, Item, Threads};

/// Between two blocks.
const BETWEEN_BLOCKS: f64 = 30.0;
/// Between a block and a stop.
const BESIDE_BLOCK: f64 = 20.0;
/// The weight of what need not move, against 1 of what would like to.
const FIRM: f64 = 1000.0;
/// Between two stops.
const BETWEEN_STOPS: f64 = 14.0;

/// The top of every item. Items of a column stand in the order given.
pub(crate) fn tops(
    threads: &Threads,
    order: &[Vec<usize>],
    outermost: &[usize],
    depths: &[usize],
) -> Vec<f64> {
    let spacing = Spacing {
        items: &threads.items,
        outermost,
        depths,
    };
    let mut tops = vec![0.0; threads.items.len()];
    let columns: Vec<Column> = order.iter().map(|items| spacing.column(items)).collect();
    for column in &columns {
        column.settle(&mut tops, |_| (0.0, 1.0));
    }
    let rounds = if threads.items.len() < 10_000 { 12 } else { 4 };
    for round in 0..rounds {
        let side = if round + 2 >= rounds {
            Side::Both
        } else {
            Side::Before
        };
        for column in &columns {
            column.settle_among(&mut tops, &threads.items, side);
        }
        let side = if round + 2 >= rounds {
            Side::Both
        } else {
            Side::After
        };
        for column in columns.iter().rev() {
            column.settle_among(&mut tops, &threads.items, side);
        }
    }
    for column in &columns {
        column.settle_leaves(&mut tops, &threads.items);
    }
    tops
}

/// Which neighbours an item looks at.
#[derive(Debug, Clone, Copy)]
enum Side {
    Before,
    After,
    Both,
}

struct Spacing<'a> {
    items: &'a [Item],
    outermost: &'a [usize],
    depths: &'a [usize],
}

impl Spacing<'_> {
    fn column<'a>(&self, items: &'a [usize]) -> Column<'a> {
        let mut offset = 0.0;
        let mut offsets = Vec::with_capacity(items.len());
        for (place, item) in items.iter().enumerate() {
            if let Some(above) = place.checked_sub(1) {
                offset += self.items[items[above]].height + self.gap(items[above], *item);
            }
            offsets.push(offset);
        }
        Column { items, offsets }
    }

    fn gap(&self, above: usize, below: usize) -> f64 {
        let (above, below) = (&self.items[above], &self.items[below]);
        let plain = match (above.is_stop, below.is_stop) {
            (true, true) => BETWEEN_STOPS,
            (false, false) => BETWEEN_BLOCKS,
            _ => BESIDE_BLOCK,
        };
        match above.group == below.group {
            true => plain,
            false => plain + self.border(above) + self.border(below),
        }
    }

    /// What frames around an item may take below or above it.
    fn border(&self, item: &Item) -> f64 {
        let groups = item.group.map(|group| self.depths[self.outermost[group]]);
        groups.map_or(0.0, frame::border)
    }
}

/// The items of a column, and how far each is below the first when they stand close.
struct Column<'a> {
    items: &'a [usize],
    offsets: Vec<f64>,
}

impl Column<'_> {
    fn settle_among(&self, tops: &mut [f64], items: &[Item], side: Side) {
        // Who has no neighbours on that side stays, unless somebody wants the place.
        let wish = |at: &usize| wish(&items[*at], side, tops).unwrap_or((tops[*at], 0.05));
        let wishes: Vec<(f64, f64)> = self.items.iter().map(wish).collect();
        self.settle(tops, |place| wishes[place]);
    }

    /// What has but one link comes level with its other end, where nobody else need move.
    fn settle_leaves(&self, tops: &mut [f64], items: &[Item]) {
        let wish = |at: &usize| {
            let item = &items[*at];
            let links = item.before.len() + item.after.len();
            let level = wish(item, Side::Both, tops).filter(|_| links == 1);
            level.map_or((tops[*at], FIRM), |(top, _)| (top, 1.0))
        };
        let wishes: Vec<(f64, f64)> = self.items.iter().map(wish).collect();
        self.settle(tops, |place| wishes[place]);
    }

    fn settle(&self, tops: &mut [f64], wish: impl Fn(usize) -> (f64, f64)) {
        for (item, top) in self.items.iter().zip(pooled(&self.offsets, wish)) {
            tops[*item] = top;
        }
    }
}

/// The tops nearest to what is wished, by weighted least squares, that are as far apart as the
/// offsets: neighbours that collide move as one, to the mean of their wishes.
fn pooled(offsets: &[f64], wish: impl Fn(usize) -> (f64, f64)) -> Vec<f64> {
    // Each pool: the sum of weighted wishes, of weights, and how many are in it.
    let mut pools: Vec<(f64, f64, usize)> = Vec::new();
    for (place, offset) in offsets.iter().enumerate() {
        let (top, weight) = wish(place);
        pools.push(((top - offset) * weight, weight, 1));
        while let [.., above, below] = pools[..]
            && above.0 / above.1 > below.0 / below.1
        {
            pools.truncate(pools.len() - 2);
            pools.push((above.0 + below.0, above.1 + below.1, above.2 + below.2));
        }
    }
    let starts = pools.iter();
    let starts =
        starts.flat_map(|(sum, weight, count)| std::iter::repeat_n((sum / weight).round(), *count));
    offsets
        .iter()
        .zip(starts)
        .map(|(offset, start)| start + offset)
        .collect()
}

/// The top at which an item's links are most level, and how much that matters.
fn wish(item: &Item, side: Side, tops: &[f64]) -> Option<(f64, f64)> {
    let (before, after): (&[End], &[End]) = match side {
        Side::Before => (&item.before, &[]),
        Side::After => (&[], &item.after),
        Side::Both => (&item.before, &item.after),
    };
    let level = |end: &End| (tops[end.item] + end.there - end.here, end.weight);
    let wishes: Vec<(f64, f64)> = before.iter().chain(after).map(level).collect();
    let weight = wishes.iter().map(|(_, weight)| weight).sum();
    Some((median(wishes)?, weight))
}

/// The weighted median; between two that weigh the same, their middle.
fn median(mut values: Vec<(f64, f64)>) -> Option<f64> {
    values.sort_by(|a, b| a.0.total_cmp(&b.0));
    let half = values.iter().map(|(_, weight)| weight).sum::<f64>() / 2.0;
    let mut sum = 0.0;
    for (place, (value, weight)) in values.iter().enumerate() {
        sum += weight;
        if sum > half {
            return Some(*value);
        }
        if sum == half {
            let next = values.get(place + 1).map_or(*value, |(next, _)| *next);
            return Some(f64::midpoint(*value, next));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_weighs() {
        assert_eq!(median(vec![]), None);
        assert_eq!(median(vec![(3.0, 1.0)]), Some(3.0));
        assert_eq!(median(vec![(4.0, 1.0), (2.0, 1.0)]), Some(3.0));
        assert_eq!(median(vec![(4.0, 3.0), (2.0, 1.0)]), Some(4.0));
    }

    #[test]
    fn neighbours_that_collide_share_their_wishes() {
        let column = Column {
            items: &[0, 1, 2],
            offsets: vec![0.0, 10.0, 20.0],
        };
        let mut tops = [0.0; 3];
        column.settle(&mut tops, |place| ([100.0, 100.0, 400.0][place], 1.0));
        assert_eq!(tops, [95.0, 105.0, 400.0]);
    }
}
