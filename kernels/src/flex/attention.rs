//! Scaled dot-product attention, a block of keys at a time.
//!
//! Promises
//! - A task holds the scores of [`KEYS`] keys and two times [`NR`] queries: memory grows with the
//!   sequence, not with its square.
//! - Queries, keys and values are read where they lie, their rows any step apart; the result lies
//!   as the next layer reads it, heads side by side.
//! - Sums follow the order of the keys in blocks of [`KEYS`], whoever computes them.
//!
//! Everything is transposed, with [`NR`] queries as the lanes. The scores of a block, `K Qᵀ`,
//! then need no sum across lanes for a query's largest score and its sum of weights, and they
//! lie as the right side of `Oᵀ += Vᵀ P` wants them: nothing but the queries is ever packed.
//! Where a block brings a larger score, what was summed before is scaled down (Milakov &
//! Gimelshein 2018, arXiv 1805.02867; Dao et al. 2022, arXiv 2205.14135).
//!
//! Products are of f32, or of bf16 in pairs where [`Sizes::word`] says so: then queries, keys,
//! values and weights are rounded to it; scores, weights and sums are f32 all the same.
//!
//! Not here: masks other than the causal one; gradients (`attention_gradient`).

use std::ops::Range;

use rayon::prelude::*;

use super::gemm::{Beside, KC, NR, Start, Strided, Tile, Word, row_runs};
use super::memory::{Scratch, Shared, filled};
use super::pairs;
use super::simd::{exp2, multiversion};
use super::transpose::transpose;

/// Keys whose scores are held at once, an even number: 6 KiB, which stay in the first cache with
/// their values.
const KEYS: usize = 96;
/// Panels of [`NR`] queries that at most pass over a block of keys in the second cache.
const PANELS: usize = 8;
/// Tasks that small calls are cut into, for as many threads.
const TASKS: usize = 32;
/// Columns of queries that are packed at once.
const COLUMNS: usize = 64;

/// The sizes of one call.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sizes {
    pub(crate) batch: usize,
    pub(crate) heads: usize,
    pub(crate) queries: usize,
    pub(crate) keys: usize,
    /// Width of queries and keys.
    pub(crate) width: usize,
    /// Width of values.
    pub(crate) values: usize,
    /// Whether a query sees only the keys up to its own place.
    pub(crate) causal: bool,
    /// What products are made of.
    pub(crate) word: Word,
}

impl Sizes {
    /// Heads of all samples.
    pub(crate) fn pairs(&self) -> usize {
        self.batch * self.heads
    }

    /// What the products of queries and keys are multiplied with.
    pub(crate) fn scale(&self) -> f32 {
        (self.width as f32).sqrt().recip()
    }

    /// How many of the keys the query at `at` sees.
    pub(crate) fn seen(&self, at: usize) -> usize {
        match self.causal {
            true => self.keys.min(at + 1),
            false => self.keys,
        }
    }
}

/// A tensor `[b, heads, n, width]`, the numbers of a row side by side.
#[derive(Clone, Copy)]
pub(crate) struct Rows<'a> {
    values: &'a [f32],
    /// From a sample, a head and a row to the next.
    steps: [usize; 3],
}

impl<'a> Rows<'a> {
    /// `values` starts with the tensor's first number.
    pub(crate) fn new(values: &'a [f32], dims: [usize; 4], steps: [usize; 3]) -> Self {
        let [b, heads, n, width] = dims;
        let last = |count: usize, step: usize| count.saturating_sub(1) * step;
        let end = last(b, steps[0]) + last(heads, steps[1]) + last(n, steps[2]) + width;
        assert!(
            dims.contains(&0) || end <= values.len(),
            "a tensor {dims:?} in steps of {steps:?} lies within its storage"
        );
        Self { values, steps }
    }

    fn head(self, sample: usize, head: usize) -> Strided {
        let at = sample * self.steps[0] + head * self.steps[1];
        Strided {
            start: self.values.as_ptr().wrapping_add(at),
            row: self.steps[2],
            col: 1,
        }
    }
}

/// `softmax(q kᵀ / √d) v` of tensors of these sizes, in memory `[b, queries, heads, values]`.
pub(crate) fn forward(q: Rows<'_>, k: Rows<'_>, v: Rows<'_>, s: Sizes) -> Vec<f32> {
    let panels = s.queries.div_ceil(NR);
    let each = (s.pairs() * panels / TASKS).clamp(1, PANELS);
    let tasks = panels.div_ceil(each);
    let rounded = (s.word == Word::Pair).then(|| Rounded::new(k, v, s));
    filled(s.pairs() * s.queries * s.values, |out| {
        let out = Shared::new(out);
        (0..s.pairs() * tasks).into_par_iter().for_each(|task| {
            let (pair, first) = (task / tasks, task % tasks * each);
            let (sample, head) = (pair / s.heads, pair % s.heads);
            let (keys, values) = match &rounded {
                Some(rounded) => rounded.head(pair, s),
                None => (k.head(sample, head), v.head(sample, head).transposed()),
            };
            let head = Head {
                q: q.head(sample, head),
                keys,
                values,
                out: out.at((sample * s.queries * s.heads + head) * s.values),
                s,
            };
            head.run(first..panels.min(first + each));
        });
    })
}

/// Keys and values in pairs: neighbours in a key, and a number of one key beside that of the next.
struct Rounded {
    /// `[pair][key][width]`
    keys: Scratch,
    /// `[pair][two keys][value]`
    values: Scratch,
}

impl Rounded {
    fn new(k: Rows<'_>, v: Rows<'_>, s: Sizes) -> Self {
        let [wide, high] = [s.width, s.keys].map(|n| s.word.count(n));
        let mut keys = Scratch::new(s.pairs() * s.keys * wide);
        let mut values = Scratch::new(s.pairs() * s.values * high);
        let both = keys.par_chunks_exact_mut((s.keys * wide).max(1));
        both.zip(values.par_chunks_exact_mut((s.values * high).max(1)))
            .enumerate()
            .for_each(|(pair, (keys, values))| {
                let (sample, head) = (pair / s.heads, pair % s.heads);
                let from = k.head(sample, head);
                for (i, key) in keys.chunks_exact_mut(wide.max(1)).enumerate() {
                    // SAFETY: `Rows` measured every row of the tensor.
                    let row = unsafe { std::slice::from_raw_parts(from.at(i, 0), s.width) };
                    pairs::pack(row, key);
                }
                let from = v.head(sample, head);
                // SAFETY: as above.
                let row = |i| unsafe { std::slice::from_raw_parts(from.at(i, 0), s.values) };
                for (i, both) in values.chunks_exact_mut(s.values.max(1)).enumerate() {
                    match 2 * i + 1 < s.keys {
                        true => pairs::join(row(2 * i), row(2 * i + 1), both),
                        false => pairs::join_one(row(2 * i), both),
                    }
                }
            });
        Self { keys, values }
    }

    /// Rows of keys, and columns of which each is a value of all keys.
    fn head(&self, pair: usize, s: Sizes) -> (Strided, Strided) {
        let [wide, high] = [s.width, s.keys].map(|n| s.word.count(n));
        (
            Strided::rows(&self.keys[pair * s.keys * wide..], wide),
            Strided::rows(&self.values[pair * s.values * high..], s.values).transposed(),
        )
    }
}

/// One head of one sample.
struct Head {
    q: Strided,
    /// Words of the keys, a row each.
    keys: Strided,
    /// Words of the values: a row for each number of a value, whose columns are keys.
    values: Strided,
    /// Where the first query's result goes.
    out: *mut f32,
    s: Sizes,
}

/// [`NR`] queries, a lane each, after some blocks of keys.
struct Panel {
    /// The first of them.
    first: usize,
    /// The largest scores.
    high: [f32; NR],
    /// The sums of the weights.
    total: [f32; NR],
}

impl Panel {
    fn new(first: usize) -> Self {
        Self {
            first,
            high: [f32::NEG_INFINITY; NR],
            total: [0.0; NR],
        }
    }
}

/// Room for a block of keys and two panels.
struct Room {
    /// Scores, then weights, a panel after the other.
    scores: Scratch,
    /// Weights in pairs.
    joined: Scratch,
}

impl Room {
    fn new() -> Self {
        Self {
            scores: Scratch::new(2 * KEYS * NR),
            joined: Scratch::new(KEYS * NR),
        }
    }
}

impl Head {
    /// Computes some panels; no other task has them.
    fn run(&self, panels: Range<usize>) {
        let s = self.s;
        let mut panels: Vec<_> = panels.map(|i| Panel::new(i * NR)).collect();
        let (wide, deep) = (s.word.count(s.width) * NR, s.values * NR);
        let mut queries = Scratch::new(panels.len() * wide);
        let mut sums = Scratch::new(panels.len() * deep);
        let mut room = Room::new();
        let mut lines = Scratch::new(s.width * NR);
        for (i, panel) in panels.iter().enumerate() {
            let queries = &mut queries[i * wide..][..wide];
            match s.word {
                Word::Single => self.pack(panel.first, queries),
                Word::Pair => {
                    self.pack(panel.first, &mut lines);
                    pairs::join_lines(&lines, NR, queries);
                }
            }
        }
        for at in (0..s.keys).step_by(KEYS) {
            let parts = queries.chunks(2 * wide.max(1));
            let parts = parts.zip(sums.chunks_mut(2 * deep.max(1)));
            for (two, (queries, sums)) in panels.chunks_mut(2).zip(parts) {
                let last = two[two.len() - 1].first + NR - 1;
                let seen = s.seen(last).saturating_sub(at).min(KEYS);
                if seen > 0 {
                    self.block(two, at..at + seen, queries, &mut room, sums);
                }
            }
        }
        for (i, panel) in panels.iter().enumerate() {
            self.finish(panel, &sums[i * deep..][..deep]);
        }
    }

    /// The scaled queries from `first` on as `[width, NR]`, zeros beyond the last.
    ///
    /// Scores are in units of ln 2, for [`exp2`].
    fn pack(&self, first: usize, out: &mut [f32]) {
        let s = self.s;
        let rows = NR.min(s.queries - first);
        let factors = [s.scale() * std::f32::consts::LOG2_E; COLUMNS];
        if rows < NR {
            out.fill(0.0);
        }
        for p in (0..s.width).step_by(COLUMNS) {
            let size = [rows, COLUMNS.min(s.width - p)];
            let from = (self.q.at(first, p), self.q.row);
            // SAFETY: `rows` queries follow the first; `out` has a row for each column.
            unsafe { transpose(size, from, Some(&factors), (out[p * NR..].as_mut_ptr(), NR)) };
        }
    }

    /// Adds some keys to the sums of one panel or two, of which they are within sight.
    fn block(
        &self,
        two: &mut [Panel],
        keys: Range<usize>,
        queries: &[f32],
        room: &mut Room,
        sums: &mut [f32],
    ) {
        let (at, size) = (keys.start, keys.len() * NR);
        self.score(keys, two.len(), queries, &mut room.scores);
        let each = room.scores.chunks_mut(KEYS * NR);
        let each = each.zip(sums.chunks_mut((self.s.values * NR).max(1)));
        for (panel, (scores, sums)) in two.iter_mut().zip(each) {
            let rows = scores[..size].as_chunks_mut().0;
            if self.s.causal {
                hide_later(rows, at, panel.first);
            }
            let factor = weigh(rows, panel);
            if at > 0 {
                rescale(sums.as_chunks_mut().0, &factor);
            }
        }
        self.collect(at, [two.len(), size], room, sums);
    }

    /// `scores = K Qᵀ` of some keys, for one panel or two.
    fn score(&self, keys: Range<usize>, panels: usize, queries: &[f32], scores: &mut [f32]) {
        let (word, width) = (self.s.word, self.s.word.count(self.s.width));
        for p in (0..width).step_by(KC) {
            for (i, rows) in row_runs(keys.len()) {
                let start = self.keys.at(keys.start + i, p);
                let step = Step {
                    word,
                    rows,
                    depth: KC.min(width - p),
                    a: Strided { start, ..self.keys },
                    onto: p > 0,
                    panels,
                };
                step.run(
                    (&queries[p * NR..], width * NR),
                    (&mut scores[i * NR..], KEYS * NR),
                );
            }
        }
    }

    /// `sums += Vᵀ weights` over the keys from `at` on, whose weights fill `size`, for one panel or
    /// two; the first block finds nothing there yet.
    fn collect(&self, at: usize, [panels, size]: [usize; 2], room: &mut Room, sums: &mut [f32]) {
        let word = self.s.word;
        let (from, depth, weights, apart) = match word {
            Word::Single => (at, size / NR, &room.scores, KEYS * NR),
            Word::Pair => {
                let depth = word.count(size / NR);
                let apart = KEYS / 2 * NR;
                for i in 0..panels {
                    let weights = &room.scores[i * KEYS * NR..][..size];
                    pairs::join_lines(weights, NR, &mut room.joined[i * apart..][..depth * NR]);
                }
                (at / 2, depth, &room.joined, apart)
            }
        };
        let deep = self.s.values * NR;
        for (i, rows) in row_runs(self.s.values) {
            let start = self.values.at(i, from);
            let step = Step {
                word,
                rows,
                depth,
                a: Strided {
                    start,
                    ..self.values
                },
                onto: at > 0,
                panels,
            };
            step.run((weights, apart), (&mut sums[i * NR..], deep));
        }
    }

    /// Divides a panel's sums by those of its weights, and puts them in place.
    fn finish(&self, panel: &Panel, sums: &[f32]) {
        let s = self.s;
        let size = [s.values, NR.min(s.queries - panel.first)];
        let step = s.heads * s.values;
        let to = (self.out.wrapping_add(panel.first * step), step);
        let factors = panel.total.map(f32::recip);
        // SAFETY: `sums` has `values` rows; these queries of the result are this task's alone.
        unsafe { transpose(size, (sums.as_ptr(), NR), Some(&factors), to) };
    }
}

/// `c = a b`, or `c += a b`, for a few rows of one panel or two.
struct Step {
    word: Word,
    rows: usize,
    /// Words of a row of `a`.
    depth: usize,
    a: Strided,
    onto: bool,
    panels: usize,
}

impl Step {
    /// `b` and `c` come with what lies between the first panel's and the second's.
    fn run(&self, (b, b_apart): (&[f32], usize), (c, c_apart): (&mut [f32], usize)) {
        let more = self.panels - 1;
        assert!(b.len() >= more * b_apart + self.depth * NR);
        assert!(c.len() >= more * c_apart + self.rows * NR);
        let c = c.as_mut_ptr();
        let start = match self.onto {
            true => Start::Tile(c, NR),
            false => Start::zero(),
        };
        let tile = Tile {
            rows: self.rows,
            depth: self.depth,
            word: self.word,
            a: self.a,
            b: b.as_ptr(),
            c,
            c_row: NR,
            start,
            beside: (more > 0).then_some(Beside {
                b: b_apart,
                c: c_apart,
                start: if self.onto { c_apart } else { 0 },
            }),
        };
        // SAFETY: `b` and `c` were just measured; `a` lies within keys or values, which `Rows`
        // or `Rounded` measured.
        unsafe { tile.run() }
    }
}

/// Takes from queries, the first of which is `first`, the keys that stand after them: `scores`
/// are of the keys from `at` on.
fn hide_later(scores: &mut [[f32; NR]], at: usize, first: usize) {
    for (i, row) in scores.iter_mut().enumerate() {
        let earlier = (at + i).saturating_sub(first).min(NR);
        row[..earlier].fill(f32::NEG_INFINITY);
    }
}

multiversion! {
    /// Makes scores weights, whose sums `panel` gets; says what older sums must be multiplied
    /// with. A score of −∞ has no weight.
    fn weigh(scores: &mut [[f32; NR]], panel: &mut Panel) -> [f32; NR] = weigh_body
}
multiversion! {
    /// Multiplies each row with the factors.
    fn rescale(rows: &mut [[f32; NR]], factors: &[f32; NR]) = rescale_body
}

/// Half of the lanes at a time: what the loop needs then stays in registers.
#[inline(always)]
fn weigh_body<const FMA: bool>(scores: &mut [[f32; NR]], panel: &mut Panel) -> [f32; NR] {
    const HALF: usize = NR / 2;
    let before = panel.high;
    for row in scores.iter() {
        for (high, x) in panel.high.iter_mut().zip(row) {
            *high = if *x > *high { *x } else { *high };
        }
    }
    let mut factors = [0.0; NR];
    for h in [0, HALF] {
        // Never −∞, which would leave NaN where the next block may bring a finite score.
        let high: [f32; HALF] = std::array::from_fn(|l| panel.high[h + l].max(f32::MIN));
        let factor: [f32; HALF] = std::array::from_fn(|l| exp2::<FMA>(before[h + l] - high[l]));
        let mut total: [f32; HALF] = std::array::from_fn(|l| panel.total[h + l] * factor[l]);
        for row in scores.iter_mut() {
            for (l, total) in total.iter_mut().enumerate() {
                row[h + l] = exp2::<FMA>(row[h + l] - high[l]);
                *total += row[h + l];
            }
        }
        panel.total[h..][..HALF].copy_from_slice(&total);
        factors[h..][..HALF].copy_from_slice(&factor);
    }
    factors
}

#[inline(always)]
fn rescale_body<const FMA: bool>(rows: &mut [[f32; NR]], factors: &[f32; NR]) {
    for row in rows {
        for (x, factor) in row.iter_mut().zip(factors) {
            *x *= factor;
        }
    }
}
