//! A product of strided matrices on one thread, and the register tiles it is made of.
//!
//! Promises
//! - An element of a product is a sum over k in one order (even blocks of at most [`KC`], each
//!   continuing the last), whatever the size of the tiles around it and whoever computes it.
//!
//! Not here: who runs on which thread (`conv`, `linear`, `attention`).

mod portable;
mod tile;
#[cfg(target_arch = "x86_64")]
mod x86;

pub(crate) use tile::{Beside, MOST_ROWS, Start, Tile, Word, dots, row_runs};

use half::bf16;
use rayon::prelude::*;

use super::memory::Scratch;
use super::pairs;
use super::simd;
use super::transpose::transpose;
use super::weights::Weights;

/// Columns of a tile: two AVX2 vectors, or one of AVX-512.
pub(crate) const NR: usize = 16;
/// Words of a block's depth at most: `KC × NR` of the right side stay in the first cache.
pub(crate) const KC: usize = 352;
/// Rows of the left side that stay in the second cache while columns pass.
const MC: usize = 192;
/// Columns packed at once.
const NC: usize = 256;

/// A matrix in memory: element `(i, j)` is at `start + i · row + j · col`.
#[derive(Clone, Copy)]
pub(crate) struct Strided {
    pub(crate) start: *const f32,
    pub(crate) row: usize,
    pub(crate) col: usize,
}

impl Strided {
    /// Rows one after the other, `width` numbers each.
    pub(crate) fn rows(values: &[f32], width: usize) -> Self {
        Self {
            start: values.as_ptr(),
            row: width,
            col: 1,
        }
    }

    /// The same matrix with rows and columns swapped.
    pub(crate) fn transposed(self) -> Self {
        Self {
            row: self.col,
            col: self.row,
            ..self
        }
    }

    pub(crate) fn at(self, i: usize, j: usize) -> *const f32 {
        self.start.wrapping_add(i * self.row + j * self.col)
    }

    /// Its rows from `i` on.
    pub(crate) fn below(self, i: usize) -> Self {
        let start = self.at(i, 0);
        Self { start, ..self }
    }
}

/// The size of the fewest parts of at most `most` that make up `all`, as even as can be: a short
/// last one would cost as much to start and end as the others.
pub(crate) fn even(all: usize, most: usize) -> usize {
    all.div_ceil(all.div_ceil(most).max(1))
}

/// The right side of a product.
#[derive(Clone, Copy)]
pub(crate) enum RightSide<'a> {
    Matrix(Strided),
    /// Columns of a weight that is `row` wide, from `first` on.
    Weights {
        all: Weights<'a>,
        first: usize,
        row: usize,
    },
    /// The same of `rows` rows in bf16, two by two.
    Pairs {
        all: &'a [bf16],
        first: usize,
        row: usize,
        rows: usize,
    },
    /// A weight in panels of [`NR`] columns, each of `depth` rows one after the other, from panel
    /// `first` on.
    Panels {
        all: Weights<'a>,
        first: usize,
        depth: usize,
    },
}

impl<'a> RightSide<'a> {
    /// `weight`, rows of `row` numbers.
    pub(crate) fn weights(weight: Weights<'a>, row: usize) -> Self {
        match weight {
            Weights::F32(all) => Self::Matrix(Strided::rows(all, row)),
            all => Self::Weights { all, first: 0, row },
        }
    }

    /// What a word of it is.
    fn word(self) -> Word {
        match self {
            Self::Pairs { .. } => Word::Pair,
            Self::Panels { all, .. } if all.as_pairs().is_some() => Word::Pair,
            _ => Word::Single,
        }
    }

    /// The columns from `j` on.
    pub(crate) fn columns(self, j: usize) -> Self {
        match self {
            Self::Matrix(matrix) => Self::Matrix(Strided {
                start: matrix.at(0, j),
                ..matrix
            }),
            Self::Weights { all, first, row } => {
                let first = first + j;
                Self::Weights { all, first, row }
            }
            Self::Pairs {
                all,
                first,
                row,
                rows,
            } => Self::Pairs {
                all,
                first: first + j,
                row,
                rows,
            },
            Self::Panels { all, first, depth } => {
                debug_assert!(j.is_multiple_of(NR), "panels are not cut");
                let first = first + j / NR;
                Self::Panels { all, first, depth }
            }
        }
    }
}

/// A product of `m × k` and `k × n`, written to `c` (`m` rows, `c_row` apart) on this thread.
///
/// With a right side of pairs `k` counts these, and `a` holds such words too.
pub(crate) struct Product<'a> {
    pub(crate) m: usize,
    pub(crate) n: usize,
    pub(crate) k: usize,
    pub(crate) a: Left<'a>,
    pub(crate) b: RightSide<'a>,
    pub(crate) c: *mut f32,
    pub(crate) c_row: usize,
    /// What is added to the finished sums: `m` rows of `n` as far apart as those of `c`.
    pub(crate) plus: Option<*const f32>,
}

/// What a product is added to.
#[derive(Clone, Copy)]
pub(crate) enum Onto {
    /// Nothing.
    Zero,
    /// What is in `c`.
    Sum,
    /// `n` numbers, in every row.
    Row(*const f32),
}

/// The left side of a product.
#[derive(Clone, Copy)]
pub(crate) enum Left<'a> {
    Matrix(Strided),
    /// As [`pack_left`] made it, of as many rows and columns as the product has.
    Packed(&'a [f32]),
}

/// Panels of [`NR`] columns, one beginning `step` numbers behind the other.
#[derive(Clone, Copy)]
struct Panels<'a> {
    all: &'a [f32],
    step: usize,
    /// Whether they may have to come from memory.
    distant: bool,
}

/// The blocks of a depth of `k`: where each begins and how deep it is. There is always one.
fn blocks(k: usize) -> impl Iterator<Item = (usize, usize)> {
    let depth = even(k, KC);
    (0..k.div_ceil(depth.max(1)).max(1)).map(move |i| (i * depth, depth.min(k - i * depth)))
}

/// Runs of rows for tiles, of which none crosses a block of [`MC`].
fn runs(m: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..m)
        .step_by(MC)
        .flat_map(move |ic| row_runs(MC.min(m - ic)).map(move |(i, rows)| (ic + i, rows)))
}

/// Packs `m × k` of `a`: of each block of the depth each run of rows, column by column. Rows a
/// power of two apart would push each other from the first cache.
///
/// # Safety
/// `a` holds them.
pub(crate) unsafe fn pack_left(a: Strided, [m, k]: [usize; 2], out: &mut [f32]) {
    let a = Readable(a);
    let size = (m * even(k, KC)).max(1);
    out[..m * k]
        .par_chunks_mut(size)
        .zip(blocks(k).collect::<Vec<_>>())
        .for_each(|(out, block)| {
            // SAFETY: as the caller promises.
            unsafe { pack_left_block(a.matrix(), m, block, out) };
        });
}

/// A matrix that tasks read together.
#[derive(Clone, Copy)]
struct Readable(Strided);

// SAFETY: nothing is written through it.
unsafe impl Sync for Readable {}

impl Readable {
    fn matrix(&self) -> Strided {
        self.0
    }
}

/// One block of [`pack_left`].
///
/// # Safety
/// As there.
unsafe fn pack_left_block(a: Strided, m: usize, (pc, kc): (usize, usize), out: &mut [f32]) {
    for (at, rows) in runs(m) {
        let (from, to) = (a.at(at, pc), &mut out[at * kc..][..rows * kc]);
        // SAFETY: these rows have these columns; the run has room for all of them.
        unsafe {
            if a.col == 1 {
                transpose([rows, kc], (from, a.row), None, (to.as_mut_ptr(), rows));
                continue;
            }
            for (p, column) in to.chunks_exact_mut(rows).enumerate() {
                for (i, to) in column.iter_mut().enumerate() {
                    *to = *from.add(p * a.col + i * a.row);
                }
            }
        }
    }
}

impl Product<'_> {
    /// # Safety
    /// `a`, `b`, `onto` and `plus` hold what their sizes say; no one else touches `c`.
    pub(crate) unsafe fn run(&self, onto: Onto) {
        let depth = even(self.k, KC);
        let mut right = Scratch::new(depth * self.n.min(NC).next_multiple_of(NR));
        let mut room = match self.a {
            Left::Matrix(_) => Scratch::new(self.m * depth),
            Left::Packed(_) => Scratch::new(0),
        };
        for (pc, kc) in blocks(self.k) {
            let left = match self.a {
                Left::Packed(all) => &all[self.m * pc..][..self.m * kc],
                Left::Matrix(a) => {
                    // SAFETY: the block lies within the matrix.
                    unsafe { pack_left_block(a, self.m, (pc, kc), &mut room) };
                    &room
                }
            };
            for jc in (0..self.n).step_by(NC) {
                let nc = NC.min(self.n - jc);
                // SAFETY: the blocks lie within the matrices.
                unsafe {
                    let right = self.panels(&mut right, (jc, nc), (pc, kc));
                    let onto = if pc == 0 { onto } else { Onto::Sum };
                    self.block(left, right, (jc, nc), kc, onto);
                    if let Some(plus) = self.plus.filter(|_| pc + kc == self.k) {
                        self.add(plus, jc, nc);
                    }
                }
            }
        }
    }

    /// `kc × nc` of `b` at `(pc, jc)` in panels: where they lie, or packed into `room`.
    ///
    /// # Safety
    /// `b` holds them.
    unsafe fn panels<'a>(
        &'a self,
        room: &'a mut [f32],
        (jc, nc): (usize, usize),
        (pc, kc): (usize, usize),
    ) -> Panels<'a> {
        if let RightSide::Panels {
            all: Weights::F32(all),
            first,
            depth,
        } = self.b
        {
            return Panels {
                all: &all[((first + jc / NR) * depth + pc) * NR..],
                step: depth * NR,
                distant: true,
            };
        }
        // SAFETY: as the caller promises.
        unsafe { self.pack(room, jc, nc, pc, kc) };
        Panels {
            all: room,
            step: kc * NR,
            distant: false,
        }
    }

    /// Packs `kc × nc` of `b` at `(pc, jc)` into panels of 16 columns, short ones with zeros.
    unsafe fn pack(&self, out: &mut [f32], jc: usize, nc: usize, pc: usize, kc: usize) {
        match self.b {
            RightSide::Matrix(b) if b.col == 1 => {
                let mut room = [0.0; NC];
                let whole = nc.next_multiple_of(NR);
                for p in 0..kc {
                    if p + AHEAD < kc {
                        prefetch::<NEAR>(b.at(pc + p + AHEAD, jc), nc);
                    }
                    // SAFETY: row `pc + p` has these columns.
                    let row = unsafe { std::slice::from_raw_parts(b.at(pc + p, jc), nc) };
                    if nc == whole {
                        spread(row, out, kc, p);
                        continue;
                    }
                    room[..nc].copy_from_slice(row);
                    spread(&room[..whole], out, kc, p);
                }
            }
            RightSide::Matrix(b) => {
                let panels = out.chunks_exact_mut(kc.max(1) * NR);
                for (panel, j) in panels.zip((0..nc).step_by(NR)) {
                    let width = NR.min(nc - j);
                    // SAFETY: rows `pc..pc + kc` and columns `jc + j..jc + j + width` are in `b`.
                    unsafe { pack_panel(panel, b, (pc, kc), (jc + j, width)) };
                }
            }
            RightSide::Weights { all, first, row } => {
                let mut room = [0.0; NC];
                // Beyond the last column they stay zeros.
                let whole = nc.next_multiple_of(NR);
                for p in 0..kc {
                    all.get((pc + p) * row + first + jc, nc, &mut room);
                    spread(&room[..whole], out, kc, p);
                }
            }
            RightSide::Pairs {
                all,
                first,
                row,
                rows,
            } => {
                let mut room = [0.0; NC];
                let whole = nc.next_multiple_of(NR);
                for p in 0..kc {
                    let low = 2 * (pc + p);
                    let line = |i: usize| &all[i * row + first + jc..][..nc];
                    let high = (low + 1 < rows).then(|| line(low + 1));
                    pairs::interleave(line(low), high, &mut room);
                    spread(&room[..whole], out, kc, p);
                }
            }
            RightSide::Panels { all, first, depth } => {
                let panels = out.chunks_exact_mut(kc.max(1) * NR);
                for (panel, j) in panels.zip(0..nc.div_ceil(NR)) {
                    let top = (first + jc / NR + j) * depth;
                    match all.as_pairs() {
                        Some(all) => {
                            let (from, to) = (2 * pc, (2 * (pc + kc)).min(depth));
                            let rows = &all[(top + from) * NR..(top + to) * NR];
                            pairs::interleave_lines(rows, NR, panel);
                        }
                        None => {
                            all.get((top + pc) * NR, kc * NR, panel);
                        }
                    }
                }
            }
        }
    }

    /// Adds `nc` columns from `jc` on, while they are in the cache.
    unsafe fn add(&self, plus: *const f32, jc: usize, nc: usize) {
        for i in 0..self.m {
            let at = i * self.c_row + jc;
            // SAFETY: both have this row, which this product alone writes.
            let (row, plus) = unsafe {
                (
                    std::slice::from_raw_parts_mut(self.c.add(at), nc),
                    std::slice::from_raw_parts(plus.add(at), nc),
                )
            };
            simd::add(plus, row);
        }
    }

    /// All rows times the packed panels.
    unsafe fn block(
        &self,
        left: &[f32],
        right: Panels<'_>,
        (jc, nc): (usize, usize),
        kc: usize,
        onto: Onto,
    ) {
        let word = self.b.word();
        // Of single numbers one panel stays in the first cache, and two do not.
        let wide = match word {
            Word::Single => NR,
            Word::Pair => WIDE,
        };
        for ic in (0..self.m).step_by(MC) {
            let m = MC.min(self.m - ic);
            for j in (0..nc).step_by(wide) {
                let b = right.all[j / NR * right.step..].as_ptr();
                for (i, rows) in row_runs(m) {
                    if right.distant && ic == 0 {
                        // Of the next panel as large a part as of these rows.
                        let part = (kc * NR * rows).div_ceil(m);
                        let next = b.wrapping_add(right.step + i * part / rows);
                        prefetch::<FAR>(next, part);
                    }
                    let c = self.c.wrapping_add((ic + i) * self.c_row + jc + j);
                    let tile = Tile {
                        rows,
                        depth: kc,
                        word,
                        a: Strided::rows(&left[(ic + i) * kc..][..rows * kc], rows).transposed(),
                        b,
                        c,
                        c_row: self.c_row,
                        start: match onto {
                            Onto::Zero => Start::zero(),
                            Onto::Sum => Start::Tile(c, self.c_row),
                            Onto::Row(row) => Start::Tile(row.wrapping_add(jc + j), 0),
                        },
                        beside: (wide.min(nc - j) > NR).then_some(Beside {
                            b: right.step,
                            c: NR,
                            start: NR,
                        }),
                    };
                    // SAFETY: the tile lies within the matrices; a narrow one goes through
                    // a whole one on the stack.
                    unsafe {
                        match wide.min(nc - j) {
                            NR | WIDE => tile.run(),
                            width => narrow(tile, width),
                        }
                    }
                }
            }
        }
    }
}

/// Columns of the widest tile.
const WIDE: usize = 2 * NR;

/// Runs a tile of which only the first `width` columns exist.
///
/// # Safety
/// As [`Tile::run`], with rows of `width` in `c` and in a `start` that is a tile.
unsafe fn narrow(mut tile: Tile, width: usize) {
    let mut whole = [0.0_f32; MOST_ROWS * WIDE];
    let buffer = whole.as_mut_ptr();
    let (c, c_row) = (tile.c, tile.c_row);
    if let Start::Tile(from, row) = tile.start {
        for i in 0..tile.rows {
            // SAFETY: `width` numbers in each row of the start, as the caller vouches.
            unsafe {
                std::ptr::copy_nonoverlapping(from.add(i * row), buffer.add(i * WIDE), width);
            }
        }
        tile.start = Start::Tile(buffer, WIDE);
        tile.beside = tile.beside.map(|beside| Beside {
            start: NR,
            ..beside
        });
    }
    (tile.c, tile.c_row) = (buffer, WIDE);
    // SAFETY: the buffer is as large as any tile; its rows are copied to those of `c`.
    unsafe {
        tile.run();
        for i in 0..tile.rows {
            std::ptr::copy_nonoverlapping(buffer.add(i * WIDE), c.add(i * c_row), width);
        }
    }
}

/// Rows that a weight is asked of memory before they are packed: too short and too far apart for
/// the CPU to see them coming.
const AHEAD: usize = 16;

/// To the first cache, and to the second.
const NEAR: i32 = 3;
const FAR: i32 = 2;

/// Has `n` numbers from `from` on brought nearer: [`NEAR`] or [`FAR`].
fn prefetch<const HINT: i32>(from: *const f32, n: usize) {
    #[cfg(target_arch = "x86_64")]
    for at in (0..n).step_by(16) {
        // SAFETY: a hint, which no address can make fail.
        unsafe { std::arch::x86_64::_mm_prefetch::<HINT>(from.wrapping_add(at).cast()) };
    }
}

/// Gives each of the panels, which are `depth` deep, its part of row `p`.
fn spread(row: &[f32], panels: &mut [f32], depth: usize, p: usize) {
    for (j, line) in row.chunks_exact(NR).enumerate() {
        panels[(j * depth + p) * NR..][..NR].copy_from_slice(line);
    }
}

/// Packs `rows` (from, count) × `cols` (from, count ≤ 16) of `b` into `out`, zeros beyond.
unsafe fn pack_panel(out: &mut [f32], b: Strided, rows: (usize, usize), cols: (usize, usize)) {
    let (width, from) = (cols.1, b.at(rows.0, cols.0));
    for (p, line) in out.chunks_exact_mut(NR).take(rows.1).enumerate() {
        let source = from.wrapping_add(p * b.row);
        for (j, to) in line.iter_mut().enumerate() {
            // SAFETY: only columns below `width` are read.
            *to = if j < width {
                unsafe { *source.add(j * b.col) }
            } else {
                0.0
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers between −1 and 1.01 that follow from their places.
    pub(super) fn numbers(n: usize, seed: usize) -> Vec<f32> {
        (0..n)
            .map(|i| ((i * 7919 + seed * 131) % 257) as f32 / 128.0 - 1.0)
            .collect()
    }

    #[test]
    fn a_product_of_any_shape_and_stride_is_right() {
        let cases = [
            (1, 1, 1),
            (3, 5, 0),
            (7, 17, 33),
            (200, 300, 257),
            (6, 16, 600),
            (50, 3, 9),
        ];
        for (m, n, k) in cases {
            let (a, b, bias) = (numbers(m * k, 1), numbers(k * n, 2), numbers(n, 3));
            for (swap_a, swap_b) in [(false, false), (true, false), (false, true)] {
                let of = |v: &[f32], rows: usize, cols: usize, swap: bool| match swap {
                    true => Strided::rows(v, rows).transposed(),
                    false => Strided::rows(v, cols),
                };
                let (a, b) = (of(&a, m, k, swap_a), of(&b, k, n, swap_b));
                let mut c = vec![7.0; m * n];
                let product = Product {
                    m,
                    n,
                    k,
                    a: Left::Matrix(a),
                    b: RightSide::Matrix(b),
                    c: c.as_mut_ptr(),
                    c_row: n,
                    plus: None,
                };
                for (i, onto) in [Onto::Row(bias.as_ptr()), Onto::Sum]
                    .into_iter()
                    .enumerate()
                {
                    // SAFETY: all vectors are as large as the sizes say.
                    unsafe { product.run(onto) };
                    for (at, &got) in c.iter().enumerate() {
                        let (r, s) = (at / n, at % n);
                        let want: f64 = (0..k)
                            // SAFETY: as above.
                            .map(|p| unsafe { f64::from(*a.at(r, p)) * f64::from(*b.at(p, s)) })
                            .sum();
                        let want = want * (i + 1) as f64 + f64::from(bias[s]);
                        assert!((f64::from(got) - want).abs() < 1e-4 * (k as f64).sqrt().max(1.0));
                    }
                }
            }
        }
    }
}
