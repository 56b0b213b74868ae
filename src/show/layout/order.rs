//! Who is above whom in each column: everybody near the mean of its neighbours, groups together,
//! and of all the orders seen the one with the fewest crossings.

use super::thread::{End, Item, Threads};

/// How much less than a place on the next item a place on this one counts.
const WITHIN: f64 = 0.9;

/// The items of each column from top to bottom. `outermost` tells the outermost group around
/// each group.
pub(crate) fn order(threads: &Threads, outermost: &[usize]) -> Vec<Vec<usize>> {
    let mut columns = vec![Vec::new(); threads.columns];
    for (number, item) in threads.items.iter().enumerate() {
        columns[item.column].push(number);
    }
    let mut sweeper = Sweeper::new(threads, outermost, columns);
    let mut best = (usize::MAX, Vec::new());
    for sweep in 0..sweeps(threads.items.len()) {
        sweeper.sweep(sweep % 2 == 0);
        let crossings = sweeper.crossings();
        if crossings < best.0 {
            best = (crossings, sweeper.columns.clone());
        }
        if crossings == 0 {
            break;
        }
    }
    best.1
}

/// Sweeps for so many items.
fn sweeps(items: usize) -> usize {
    match items {
        0..2_000 => 24,
        2_000..10_000 => 8,
        _ => 3,
    }
}

struct Sweeper<'a> {
    items: &'a [Item],
    outermost: &'a [usize],
    columns: Vec<Vec<usize>>,
    /// Where in its column each item is.
    places: Vec<usize>,
}

impl<'a> Sweeper<'a> {
    fn new(threads: &'a Threads, outermost: &'a [usize], columns: Vec<Vec<usize>>) -> Self {
        let mut sweeper = Self {
            items: &threads.items,
            outermost,
            places: vec![0; threads.items.len()],
            columns,
        };
        for column in 0..sweeper.columns.len() {
            sweeper.number(column);
        }
        sweeper
    }

    fn number(&mut self, column: usize) {
        for (place, item) in self.columns[column].iter().enumerate() {
            self.places[*item] = place;
        }
    }

    fn sweep(&mut self, forward: bool) {
        let count = self.columns.len();
        for step in 1..count {
            let column = if forward { step } else { count - 1 - step };
            self.arrange(column, forward);
            self.number(column);
        }
    }

    /// Sorts a column by the neighbours on one side; who has none stays where it is.
    fn arrange(&mut self, column: usize, forward: bool) {
        let beside = if forward { column - 1 } else { column + 1 };
        let items = std::mem::take(&mut self.columns[column]);
        let scale = self.columns[beside].len() as f64 / items.len() as f64;
        let key = |item: &usize| {
            let ends = match forward {
                true => &self.items[*item].before,
                false => &self.items[*item].after,
            };
            let stays = self.places[*item] as f64 * scale;
            mean(ends.iter().map(|end| self.height(end))).unwrap_or(stays)
        };
        let keyed: Vec<(usize, f64)> = items.iter().map(|item| (*item, key(item))).collect();
        let mut grouped = self.grouped(keyed);
        grouped.sort_by(|a, b| {
            a.0.total_cmp(&b.0)
                .then(a.1.cmp(&b.1))
                .then(a.3.total_cmp(&b.3))
        });
        self.columns[column] = grouped.into_iter().map(|(_, _, item, _)| item).collect();
    }

    /// Items with the mean of their group first, then the group, then their own key.
    fn grouped(&self, keyed: Vec<(usize, f64)>) -> Vec<(f64, usize, usize, f64)> {
        let group = |item: usize| self.items[item].group.map(|group| self.outermost[group]);
        let mut means = std::collections::BTreeMap::<usize, (f64, f64)>::new();
        for (item, key) in &keyed {
            if let Some(group) = group(*item) {
                let mean = means.entry(group).or_default();
                *mean = (mean.0 + key, mean.1 + 1.0);
            }
        }
        let entry = |(item, key): (usize, f64)| match group(item) {
            Some(group) => (means[&group].0 / means[&group].1, group + 1, item, key),
            None => (key, 0, item, key),
        };
        keyed.into_iter().map(entry).collect()
    }

    /// Where a piece ends in the neighbouring column, counted in items.
    fn height(&self, end: &End) -> f64 {
        let item = &self.items[end.item];
        let within = if item.height > 0.0 {
            end.there / item.height
        } else {
            0.5
        };
        self.places[end.item] as f64 + within * WITHIN
    }

    fn crossings(&self) -> usize {
        (1..self.columns.len())
            .map(|column| self.crossings_before(column))
            .sum()
    }

    /// Pairs of pieces that cross between a column and the one before it.
    fn crossings_before(&self, column: usize) -> usize {
        let mut pieces: Vec<(f64, f64)> = Vec::new();
        for item in &self.columns[column] {
            let own = &self.items[*item];
            for end in &own.before {
                let within = if own.height > 0.0 {
                    end.here / own.height
                } else {
                    0.5
                };
                let here = self.places[*item] as f64 + within * WITHIN;
                pieces.push((self.height(end), here));
            }
        }
        pieces.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.total_cmp(&b.1)));
        let mut ends: Vec<f64> = pieces.into_iter().map(|(_, end)| end).collect();
        inversions(&mut ends)
    }
}

fn mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let (sum, count) = values.fold((0.0, 0.0), |(sum, count), value| (sum + value, count + 1.0));
    (count > 0.0).then(|| sum / count)
}

/// Pairs that stand the wrong way round; sorts them, merging runs of doubling length.
fn inversions(values: &mut Vec<f64>) -> usize {
    let (mut count, mut run) = (0, 1);
    while run < values.len() {
        let mut merged = Vec::with_capacity(values.len());
        for both in values.chunks(2 * run) {
            let (mut left, mut right) = both.split_at(run.min(both.len()));
            while let (Some(l), Some(r)) = (left.first(), right.first()) {
                if l <= r {
                    merged.push(*l);
                    left = &left[1..];
                } else {
                    merged.push(*r);
                    right = &right[1..];
                    count += left.len();
                }
            }
            merged.extend(left.iter().chain(right));
        }
        *values = merged;
        run *= 2;
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inversions_are_counted_as_the_slow_way_counts_them() {
        for length in 0..40_u64 {
            let values: Vec<f64> = (0..length).map(|i| (i * 7919 % 31) as f64).collect();
            let slow = (0..values.len())
                .flat_map(|i| (i..values.len()).map(move |j| (i, j)))
                .filter(|(i, j)| values[*i] > values[*j])
                .count();
            let mut sorted = values.clone();
            assert_eq!(inversions(&mut sorted), slow, "{values:?}");
            assert!(sorted.is_sorted());
        }
    }
}
