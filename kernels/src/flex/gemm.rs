//! Products of matrices: the two register tiles everything heavy is made of, and a product of
//! strided matrices on one thread.
//!
//! Promises
//! - An element of a product is a sum over k in one order (even blocks of at most [`KC`], each
//!   continuing the last), whatever the size of the tiles around it and whoever computes it.
//! - AVX2 with FMA where the CPU has it, else the same loops in plain Rust.
//!
//! Not here: who runs on which thread (`conv`, `linear`, `attention`).

use super::memory::Scratch;
use super::simd::has_fma;
use super::weights::Weights;

/// Columns of a tile: two AVX2 vectors.
pub(crate) const NR: usize = 16;
/// Rows of the tallest tile: 12 accumulators, 2 vectors and 1 broadcast fill 16 registers.
pub(crate) const MR: usize = 6;
/// Depth of a block at most: `KC × NR` of the right side stay in the first cache.
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

/// What a tile's sums start from.
#[derive(Clone, Copy)]
pub(crate) enum Start {
    /// Element `(i, j)` of the tile from `start + i · row + j`.
    Tile(*const f32, usize),
    /// Element `i` of a column, in every column.
    Column(*const f32),
}

static ZEROS: [f32; NR] = [0.0; NR];

impl Start {
    /// All zeros.
    pub(crate) fn zero() -> Self {
        Self::Tile(ZEROS.as_ptr(), 0)
    }
}

/// One tile: `c[i][j] = start + Σ_p a[i][p] · b[p][j]` for `rows ≤ MR` and 16 columns.
pub(crate) struct Tile {
    pub(crate) rows: usize,
    pub(crate) depth: usize,
    pub(crate) a: Strided,
    /// `depth × NR`, packed.
    pub(crate) b: *const f32,
    pub(crate) c: *mut f32,
    pub(crate) c_row: usize,
    pub(crate) start: Start,
}

/// Where row `p` of a tile's right side begins, counted from `b`.
trait RightRows: Copy {
    fn at(self, p: usize) -> usize;
}

/// One after the other.
#[derive(Clone, Copy)]
struct Packed;

impl RightRows for Packed {
    #[inline(always)]
    fn at(self, p: usize) -> usize {
        p * NR
    }
}

/// Where a table says.
#[derive(Clone, Copy)]
struct Table(*const usize);

impl RightRows for Table {
    #[inline(always)]
    fn at(self, p: usize) -> usize {
        // SAFETY: the table is as long as the tile is deep: `Tile::run_over` asked.
        unsafe { *self.0.add(p) }
    }
}

impl Tile {
    /// # Safety
    /// `a` holds `rows × depth`, `b` `depth × NR`, `c` `rows` rows of [`NR`] that no one else
    /// touches, and `start` what it says.
    #[inline]
    pub(crate) unsafe fn run(&self) {
        // SAFETY: as the caller promises.
        unsafe { self.run_on(Packed) }
    }

    /// The same with row `p` of the right side at `b + rows[p]`, where it lies unpacked: for
    /// so few rows of the left side that packing would cost more than the product.
    ///
    /// # Safety
    /// As [`Tile::run`], with [`NR`] numbers at each of these places.
    pub(crate) unsafe fn run_over(&self, rows: &[usize]) {
        assert!(self.depth <= rows.len(), "a place for each row");
        // SAFETY: as the caller promises.
        unsafe { self.run_on(Table(rows.as_ptr())) }
    }

    #[inline(always)]
    unsafe fn run_on<R: RightRows>(&self, right: R) {
        // SAFETY: the pointers are the caller's promise, the CPU is asked.
        unsafe {
            #[cfg(target_arch = "x86_64")]
            if has_fma() {
                return match self.rows {
                    1 => x86::tile::<1, R>(self, right),
                    2 => x86::tile::<2, R>(self, right),
                    3 => x86::tile::<3, R>(self, right),
                    4 => x86::tile::<4, R>(self, right),
                    5 => x86::tile::<5, R>(self, right),
                    _ => x86::tile::<6, R>(self, right),
                };
            }
            portable::tile(self, right);
        }
    }
}

/// The size of the fewest parts of at most `most` that make up `all`, as even as can be: a short
/// last one would cost as much to start and end as the others.
pub(crate) fn even(all: usize, most: usize) -> usize {
    all.div_ceil(all.div_ceil(most).max(1))
}

/// Splits `m` rows into runs of at most [`MR`] that differ by at most one: no run is so short
/// that the multipliers wait.
pub(crate) fn row_runs(m: usize) -> impl Iterator<Item = (usize, usize)> {
    let count = m.div_ceil(MR);
    let (short, longer) = (m / count.max(1), m % count.max(1));
    (0..count).scan(0, move |at, i| {
        let len = short + usize::from(i < longer);
        let run = (*at, len);
        *at += len;
        Some(run)
    })
}

/// Products of `A` rows with `B` rows along contiguous memory, for gradients of weights:
/// `out[i][j] += Σ_t Σ_8 a[i][blocks[t].0 + ..8] · b[j][blocks[t].1 + ..8]`.
///
/// # Safety
/// Every pointer plus every offset is followed by 8 readable numbers.
#[inline]
pub(crate) unsafe fn dots(
    blocks: &[(usize, usize)],
    a: [*const f32; 3],
    b: [*const f32; 4],
    out: &mut [[f32; 4]; 3],
) {
    // SAFETY: the pointers are the caller's promise, the CPU is asked.
    unsafe {
        #[cfg(target_arch = "x86_64")]
        if has_fma() {
            return x86::dots(blocks, a, b, out);
        }
        portable::dots(blocks, a, b, out);
    }
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
}

impl<'a> RightSide<'a> {
    /// `weight`, rows of `row` numbers.
    pub(crate) fn weights(weight: Weights<'a>, row: usize) -> Self {
        match weight {
            Weights::F32(all) => Self::Matrix(Strided::rows(all, row)),
            all => Self::Weights { all, first: 0, row },
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
        }
    }
}

/// A product of `m × k` and `k × n`, written to `c` (`m` rows, `c_row` apart) on this thread.
pub(crate) struct Product<'a> {
    pub(crate) m: usize,
    pub(crate) n: usize,
    pub(crate) k: usize,
    pub(crate) a: Strided,
    pub(crate) b: RightSide<'a>,
    pub(crate) c: *mut f32,
    pub(crate) c_row: usize,
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

impl Product<'_> {
    /// # Safety
    /// `a`, `b` and `onto` hold what their sizes say; no one else touches `c`.
    pub(crate) unsafe fn run(&self, onto: Onto) {
        let depth = even(self.k, KC);
        let mut packed = Scratch::new(depth * self.n.min(NC).next_multiple_of(NR));
        for jc in (0..self.n).step_by(NC) {
            let nc = NC.min(self.n - jc);
            let mut pc = 0;
            loop {
                let kc = depth.min(self.k - pc);
                // SAFETY: the blocks lie within the matrices.
                unsafe {
                    self.pack(&mut packed, jc, nc, pc, kc);
                    let onto = if pc == 0 { onto } else { Onto::Sum };
                    self.block(&packed, jc, nc, pc, kc, onto);
                }
                pc += depth;
                if pc >= self.k {
                    break;
                }
            }
        }
    }

    /// Packs `kc × nc` of `b` at `(pc, jc)` into panels of 16 columns, short ones with zeros.
    unsafe fn pack(&self, out: &mut [f32], jc: usize, nc: usize, pc: usize, kc: usize) {
        let panels = out.chunks_exact_mut(kc.max(1) * NR);
        match self.b {
            RightSide::Matrix(b) => {
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
                    for (j, line) in room[..whole].chunks_exact(NR).enumerate() {
                        out[(j * kc + p) * NR..][..NR].copy_from_slice(line);
                    }
                }
            }
        }
    }

    /// All rows times the packed panels.
    unsafe fn block(&self, packed: &[f32], jc: usize, nc: usize, pc: usize, kc: usize, onto: Onto) {
        for ic in (0..self.m).step_by(MC) {
            let mc = MC.min(self.m - ic);
            for j in (0..nc).step_by(NR) {
                for (i, rows) in row_runs(mc) {
                    let c = self.c.wrapping_add((ic + i) * self.c_row + jc + j);
                    let tile = Tile {
                        rows,
                        depth: kc,
                        a: Strided {
                            start: self.a.at(ic + i, pc),
                            ..self.a
                        },
                        b: packed[j * kc..].as_ptr(),
                        c,
                        c_row: self.c_row,
                        start: match onto {
                            Onto::Zero => Start::zero(),
                            Onto::Sum => Start::Tile(c, self.c_row),
                            Onto::Row(row) => Start::Tile(row.wrapping_add(jc + j), 0),
                        },
                    };
                    // SAFETY: the tile lies within the matrices; a narrow one goes through
                    // a whole one on the stack.
                    unsafe {
                        match NR.min(nc - j) {
                            NR => tile.run(),
                            width => narrow(tile, width),
                        }
                    }
                }
            }
        }
    }
}

/// Runs a tile of which only the first `width` columns exist.
///
/// # Safety
/// As [`Tile::run`], with rows of `width` in `c` and in a `start` that is a tile.
unsafe fn narrow(mut tile: Tile, width: usize) {
    let mut whole = [0.0_f32; MR * NR];
    let buffer = whole.as_mut_ptr();
    let (c, c_row) = (tile.c, tile.c_row);
    if let Start::Tile(from, row) = tile.start {
        for i in 0..tile.rows {
            // SAFETY: `width` numbers in each row of the start, as the caller vouches.
            unsafe { std::ptr::copy_nonoverlapping(from.add(i * row), buffer.add(i * NR), width) };
        }
        tile.start = Start::Tile(buffer, NR);
    }
    (tile.c, tile.c_row) = (buffer, NR);
    // SAFETY: the buffer is as large as any tile; its rows are copied to those of `c`.
    unsafe {
        tile.run();
        for i in 0..tile.rows {
            std::ptr::copy_nonoverlapping(buffer.add(i * NR), c.add(i * c_row), width);
        }
    }
}

/// Packs `rows` (from, count) × `cols` (from, count ≤ 16) of `b` into `out`, zeros beyond.
unsafe fn pack_panel(out: &mut [f32], b: Strided, rows: (usize, usize), cols: (usize, usize)) {
    let (width, from) = (cols.1, b.at(rows.0, cols.0));
    for (p, line) in out.chunks_exact_mut(NR).take(rows.1).enumerate() {
        let source = from.wrapping_add(p * b.row);
        if b.col == 1 && width == NR {
            // SAFETY: 16 numbers of row `p`, as the caller vouches.
            unsafe { std::ptr::copy_nonoverlapping(source, line.as_mut_ptr(), NR) };
            continue;
        }
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

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    use super::{RightRows, Start, Tile};

    /// # Safety
    /// As [`Tile::run`], on a CPU with AVX2 and FMA, for a tile of `M` rows.
    #[target_feature(enable = "avx2,fma")]
    pub(super) unsafe fn tile<const M: usize, R: RightRows>(t: &Tile, right: R) {
        let mut acc = [[_mm256_setzero_ps(); 2]; M];
        // SAFETY: all addresses are those that `Tile::run` asks for.
        unsafe {
            for (i, acc) in acc.iter_mut().enumerate() {
                *acc = match t.start {
                    Start::Tile(from, row) => {
                        let from = from.add(i * row);
                        [_mm256_loadu_ps(from), _mm256_loadu_ps(from.add(8))]
                    }
                    Start::Column(from) => [_mm256_broadcast_ss(&*from.add(i)); 2],
                };
            }
            let rows: [*const f32; M] = std::array::from_fn(|i| t.a.at(i, 0));
            let mut step = 0;
            for p in 0..t.depth {
                let b = t.b.add(right.at(p));
                let (b0, b1) = (_mm256_loadu_ps(b), _mm256_loadu_ps(b.add(8)));
                for (row, acc) in rows.iter().zip(&mut acc) {
                    let a = _mm256_broadcast_ss(&*row.add(step));
                    acc[0] = _mm256_fmadd_ps(a, b0, acc[0]);
                    acc[1] = _mm256_fmadd_ps(a, b1, acc[1]);
                }
                step += t.a.col;
            }
            for (i, acc) in acc.iter().enumerate() {
                let to = t.c.add(i * t.c_row);
                _mm256_storeu_ps(to, acc[0]);
                _mm256_storeu_ps(to.add(8), acc[1]);
            }
        }
    }

    /// # Safety
    /// As [`super::dots`], on a CPU with AVX2 and FMA.
    #[target_feature(enable = "avx2,fma")]
    pub(super) unsafe fn dots(
        blocks: &[(usize, usize)],
        a: [*const f32; 3],
        b: [*const f32; 4],
        out: &mut [[f32; 4]; 3],
    ) {
        let mut acc = [[_mm256_setzero_ps(); 4]; 3];
        // SAFETY: all addresses are those that the caller vouches for.
        unsafe {
            for &(at_a, at_b) in blocks {
                let rows = [
                    _mm256_loadu_ps(a[0].add(at_a)),
                    _mm256_loadu_ps(a[1].add(at_a)),
                    _mm256_loadu_ps(a[2].add(at_a)),
                ];
                for j in 0..4 {
                    let column = _mm256_loadu_ps(b[j].add(at_b));
                    for i in 0..3 {
                        acc[i][j] = _mm256_fmadd_ps(rows[i], column, acc[i][j]);
                    }
                }
            }
            for (out, acc) in out.iter_mut().zip(&acc) {
                let low = _mm256_hadd_ps(acc[0], acc[1]);
                let high = _mm256_hadd_ps(acc[2], acc[3]);
                let both = _mm256_hadd_ps(low, high);
                let halves = (
                    _mm256_castps256_ps128(both),
                    _mm256_extractf128_ps::<1>(both),
                );
                let sums = _mm_add_ps(halves.0, halves.1);
                let to = out.as_mut_ptr();
                _mm_storeu_ps(to, _mm_add_ps(_mm_loadu_ps(to), sums));
            }
        }
    }
}

mod portable {
    use super::{MR, NR, RightRows, Start, Tile};

    /// # Safety
    /// As [`Tile::run`].
    pub(super) unsafe fn tile<R: RightRows>(t: &Tile, right: R) {
        let mut acc = [[0.0_f32; NR]; MR];
        // SAFETY: all addresses are those that `Tile::run` asks for.
        unsafe {
            for (i, acc) in acc.iter_mut().enumerate().take(t.rows) {
                for (j, acc) in acc.iter_mut().enumerate() {
                    *acc = match t.start {
                        Start::Tile(from, row) => *from.add(i * row + j),
                        Start::Column(from) => *from.add(i),
                    };
                }
            }
            for p in 0..t.depth {
                let b = std::slice::from_raw_parts(t.b.add(right.at(p)), NR);
                for (i, acc) in acc.iter_mut().enumerate().take(t.rows) {
                    let a = *t.a.at(i, p);
                    for (acc, b) in acc.iter_mut().zip(b) {
                        *acc += a * b;
                    }
                }
            }
            for (i, acc) in acc.iter().enumerate().take(t.rows) {
                std::ptr::copy_nonoverlapping(acc.as_ptr(), t.c.add(i * t.c_row), NR);
            }
        }
    }

    /// # Safety
    /// As [`super::dots`].
    pub(super) unsafe fn dots(
        blocks: &[(usize, usize)],
        a: [*const f32; 3],
        b: [*const f32; 4],
        out: &mut [[f32; 4]; 3],
    ) {
        for (out, a) in out.iter_mut().zip(a) {
            for (out, b) in out.iter_mut().zip(b) {
                let mut lanes = [0.0_f32; 8];
                for &(at_a, at_b) in blocks {
                    // SAFETY: 8 numbers follow each offset.
                    let (a, b) = unsafe {
                        (
                            std::slice::from_raw_parts(a.add(at_a), 8),
                            std::slice::from_raw_parts(b.add(at_b), 8),
                        )
                    };
                    for (lane, (a, b)) in lanes.iter_mut().zip(a.iter().zip(b)) {
                        *lane += a * b;
                    }
                }
                *out += lanes.iter().sum::<f32>();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(n: usize, seed: usize) -> Vec<f32> {
        (0..n)
            .map(|i| ((i * 7919 + seed * 131) % 257) as f32 / 128.0 - 1.0)
            .collect()
    }

    #[test]
    fn row_runs_cover_every_row_once_and_evenly() {
        for m in 0..100 {
            let runs: Vec<_> = row_runs(m).collect();
            let mut at = 0;
            for (from, len) in &runs {
                assert_eq!(*from, at);
                assert!(*len <= MR && *len + 1 >= m / runs.len(), "{m}: {runs:?}");
                at += len;
            }
            assert_eq!(at, m);
        }
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
                    a,
                    b: RightSide::Matrix(b),
                    c: c.as_mut_ptr(),
                    c_row: n,
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

    #[test]
    fn the_portable_tiles_agree_with_the_fast_ones() {
        let (a, b) = (numbers(6 * 100, 4), numbers(100 * NR, 5));
        let mut outs = [[0.0; MR * NR]; 2];
        for (i, out) in outs.iter_mut().enumerate() {
            let tile = Tile {
                rows: 6,
                depth: 100,
                a: Strided::rows(&a, 100),
                b: b.as_ptr(),
                c: out.as_mut_ptr(),
                c_row: NR,
                start: Start::Column(a.as_ptr()),
            };
            // SAFETY: all vectors are as large as the sizes say.
            unsafe {
                if i == 0 {
                    tile.run()
                } else {
                    portable::tile(&tile, Packed)
                }
            };
        }
        let close = |x: &f32, y: &f32| (x - y).abs() < 1e-4;
        assert!(outs[0].iter().zip(&outs[1]).all(|(x, y)| close(x, y)));

        let blocks: Vec<_> = (0..10).map(|i| (i * 8, i * 16)).collect();
        let rows = [0, 100, 200].map(|at| a[at..].as_ptr());
        let columns = [0, 3, 300, 700].map(|at| b[at..].as_ptr());
        let mut outs = [[[1.0; 4]; 3]; 2];
        // SAFETY: the largest offset is 700 + 144 + 8 of 1600.
        unsafe {
            dots(&blocks, rows, columns, &mut outs[0]);
            portable::dots(&blocks, rows, columns, &mut outs[1]);
        }
        assert!(
            outs[0]
                .as_flattened()
                .iter()
                .zip(outs[1].as_flattened())
                .all(|(x, y)| close(x, y))
        );
    }
}
