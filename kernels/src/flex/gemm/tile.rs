//! Register tiles: the smallest products, which everything heavy is made of.
//!
//! Promises
//! - An element of a tile is what it starts from and then, in order of depth, each product
//!   added: with AVX2 and with AVX-512 the same bits.
//!
//! Not here: what the tiles are parts of.

#[cfg(target_arch = "x86_64")]
use super::x86;
use super::{NR, Strided, portable};
use crate::isa::{self, Level};

/// What a tile's sums start from.
#[derive(Clone, Copy)]
pub(crate) enum Start {
    /// Element `(i, j)` of the tile from `start + i · row + j`.
    Tile(*const f32, usize),
    /// Element `i` of a column, in every column.
    Column(*const f32),
}

static ZEROS: [f32; 2 * NR] = [0.0; 2 * NR];

impl Start {
    /// All zeros.
    pub(crate) fn zero() -> Self {
        Self::Tile(ZEROS.as_ptr(), 0)
    }
}

/// What a word of a tile's factors is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Word {
    /// One number in f32.
    Single,
    /// Two numbers in bf16, the products of both of which are added: of even depth the lower
    /// half, of odd depth the upper.
    Pair,
}

impl Word {
    /// How many words `n` numbers fill.
    pub(crate) fn count(self, n: usize) -> usize {
        match self {
            Self::Single => n,
            Self::Pair => n.div_ceil(2),
        }
    }
}

/// One tile: `c[i][j] = start + Σ_p a[i][p] · b[p][j]` for `rows ≤` [`tallest`] and 16 columns, or
/// twice as many.
#[derive(Clone, Copy)]
pub(crate) struct Tile {
    pub(crate) rows: usize,
    /// Words of a row of `a`.
    pub(crate) depth: usize,
    pub(crate) word: Word,
    pub(crate) a: Strided,
    /// `depth × NR`, packed.
    pub(crate) b: *const f32,
    pub(crate) c: *mut f32,
    pub(crate) c_row: usize,
    pub(crate) start: Start,
    /// Sixteen more columns, for which what is read of `a` serves too.
    pub(crate) beside: Option<Beside>,
}

/// From a tile's first columns to the second ones.
#[derive(Clone, Copy)]
pub(crate) struct Beside {
    pub(crate) b: usize,
    pub(crate) c: usize,
    /// In a start that is a tile.
    pub(crate) start: usize,
}

/// Where row `i` of a tile's left side begins, counted from `a`.
pub(super) trait LeftRows: Copy {
    fn at(self, i: usize) -> usize;
}

/// Side by side, so that one address serves all.
#[derive(Clone, Copy)]
pub(super) struct Adjacent;

impl LeftRows for Adjacent {
    #[inline(always)]
    fn at(self, i: usize) -> usize {
        i
    }
}

/// Any step apart.
#[derive(Clone, Copy)]
pub(super) struct Apart(pub(super) usize);

impl LeftRows for Apart {
    #[inline(always)]
    fn at(self, i: usize) -> usize {
        i * self.0
    }
}

/// Where row `p` of a tile's right side begins, counted from `b`.
pub(super) trait RightRows: Copy {
    fn at(self, p: usize) -> usize;
}

/// One after the other.
#[derive(Clone, Copy)]
pub(super) struct Packed;

impl RightRows for Packed {
    #[inline(always)]
    fn at(self, p: usize) -> usize {
        p * NR
    }
}

/// Where a table says.
#[derive(Clone, Copy)]
pub(super) struct Table(*const usize);

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

    /// The second columns alone.
    fn second(&self, beside: Beside) -> Self {
        Self {
            b: self.b.wrapping_add(beside.b),
            c: self.c.wrapping_add(beside.c),
            start: match self.start {
                Start::Tile(from, row) => Start::Tile(from.wrapping_add(beside.start), row),
                column => column,
            },
            beside: None,
            ..*self
        }
    }

    /// `rows` rows from `i` on.
    #[cfg(target_arch = "x86_64")]
    pub(super) fn part(&self, i: usize, rows: usize) -> Self {
        Self {
            rows,
            a: self.a.below(i),
            c: self.c.wrapping_add(i * self.c_row),
            start: match self.start {
                Start::Tile(from, row) => Start::Tile(from.wrapping_add(i * row), row),
                Start::Column(from) => Start::Column(from.wrapping_add(i)),
            },
            ..*self
        }
    }

    #[inline(always)]
    unsafe fn run_on<R: RightRows>(&self, right: R) {
        // SAFETY: the pointers are the caller's promise, the CPU is asked.
        unsafe {
            #[cfg(target_arch = "x86_64")]
            match (self.word, isa::level()) {
                (Word::Pair, Level::Bf16) => return x86::pairs(self, right),
                (Word::Single, Level::Bf16 | Level::Avx512) => return x86::wide(self, right),
                (Word::Single, Level::Avx2) => {
                    x86::narrow(self, right);
                    if let Some(beside) = self.beside {
                        x86::narrow(&self.second(beside), right);
                    }
                    return;
                }
                _ => {}
            }
            portable::tile(self, right);
            if let Some(beside) = self.beside {
                portable::tile(&self.second(beside), right);
            }
        }
    }
}

/// Rows of the tallest tile of any instruction set.
pub(crate) const MOST_ROWS: usize = 24;

/// Rows of the tallest tile: with AVX2 12 accumulators, 2 vectors and 1 broadcast fill 16
/// registers; with AVX-512 24 accumulators leave 8 of 32.
fn tallest() -> usize {
    match isa::level() {
        Level::Avx512 | Level::Bf16 => MOST_ROWS,
        Level::Avx2 | Level::Portable => 6,
    }
}

/// Splits `m` rows into runs of at most [`tallest`] that differ by at most one: no run is so
/// short that the multipliers wait.
pub(crate) fn row_runs(m: usize) -> impl Iterator<Item = (usize, usize)> {
    runs(m, tallest())
}

fn runs(m: usize, most: usize) -> impl Iterator<Item = (usize, usize)> {
    let count = m.div_ceil(most);
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
        if isa::has_fma() {
            return x86::dots(blocks, a, b, out);
        }
        portable::dots(blocks, a, b, out);
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::numbers;
    use super::*;

    #[test]
    fn row_runs_cover_every_row_once_and_evenly() {
        for most in [6, 24] {
            for m in 0..100 {
                let runs: Vec<_> = runs(m, most).collect();
                let mut at = 0;
                for (from, len) in &runs {
                    assert_eq!(*from, at);
                    assert!(*len <= most && *len + 1 >= m / runs.len(), "{m}: {runs:?}");
                    at += len;
                }
                assert_eq!(at, m);
            }
        }
    }

    /// Runs a tile of `rows` on the numbers by `run`.
    fn tile(
        rows: usize,
        word: Word,
        [a, b]: [&[f32]; 2],
        run: impl Fn(&Tile),
    ) -> [f32; MOST_ROWS * NR] {
        let mut out = [0.0; MOST_ROWS * NR];
        run(&Tile {
            rows,
            depth: 100,
            word,
            a: Strided::rows(a, 100),
            b: b.as_ptr(),
            c: out.as_mut_ptr(),
            c_row: NR,
            start: Start::Column(b.as_ptr()),
            beside: None,
        });
        out
    }

    fn alike(got: &[f32], want: &[f32]) -> bool {
        let close = |(x, y): (&f32, &f32)| (x - y).abs() < 1e-4;
        got.iter().zip(want).all(close)
    }

    #[test]
    fn tiles_of_every_height_agree_with_the_portable_ones() {
        let (a, b) = (numbers(MOST_ROWS * 100, 4), numbers(100 * NR, 5));
        for rows in 1..=tallest() {
            // SAFETY: all vectors are as large as the sizes say.
            let of = |run: unsafe fn(&Tile)| {
                tile(rows, Word::Single, [&a, &b], |tile| unsafe { run(tile) })
            };
            let (got, want) = (
                of(|t| unsafe { t.run() }),
                of(|t| unsafe { portable::tile(t, Packed) }),
            );
            assert!(alike(&got, &want), "{rows} rows");
        }
    }

    #[test]
    #[cfg(target_arch = "x86_64")]
    fn avx2_and_avx_512_give_the_same_bits() {
        if isa::level() < Level::Avx512 {
            return;
        }
        let (a, b) = (numbers(6 * 100, 4), numbers(100 * NR, 5));
        // SAFETY: all vectors are as large as the sizes say; the CPU has both.
        let of = |run: unsafe fn(&Tile)| {
            tile(6, Word::Single, [&a, &b], |tile| unsafe { run(tile) }).map(f32::to_bits)
        };
        assert_eq!(
            of(|t| unsafe { x86::wide(t, Packed) }),
            of(|t| unsafe { x86::narrow(t, Packed) })
        );
    }

    #[test]
    fn pairs_are_the_products_of_their_numbers() {
        let pair = |x: f32, y: f32| {
            let [x, y] = [x, y].map(|x| u32::from(half::bf16::from_f32(x).to_bits()));
            f32::from_bits(x | y << 16)
        };
        let paired = |xs: &[f32]| -> Vec<f32> { xs.iter().map(|x| pair(*x, 1.0 - x)).collect() };
        let (a, b) = (numbers(MOST_ROWS * 100, 4), numbers(100 * NR, 5));
        let (a, b) = (paired(&a), paired(&b));
        let halves = |x: f32| {
            let bits = x.to_bits();
            [bits << 16, bits & 0xffff_0000].map(f32::from_bits)
        };
        for rows in [1, 5, 24] {
            // SAFETY: all vectors are as large as the sizes say.
            let got = tile(rows, Word::Pair, [&a, &b], |t| unsafe { t.run() });
            for (at, got) in got.iter().enumerate().take(rows * NR) {
                let (i, j) = (at / NR, at % NR);
                let product = |p: usize| {
                    let ([a, c], [b, d]) = (halves(a[i * 100 + p]), halves(b[p * NR + j]));
                    a * b + c * d
                };
                let want: f32 = (0..100).map(product).sum::<f32>() + b[i];
                assert!(
                    (got - want).abs() < 1e-3,
                    "{rows} rows, {i}, {j}: {got}, {want}"
                );
            }
        }
    }

    #[test]
    fn columns_beside_others_are_those_of_a_tile_of_their_own() {
        let (a, b) = (numbers(MOST_ROWS * 50, 4), numbers(2 * 50 * NR, 5));
        for (word, rows) in [1, 12, 13, 24]
            .map(|rows| [(Word::Single, rows), (Word::Pair, rows)])
            .concat()
        {
            let of = |b: &[f32], beside| {
                let mut out = vec![0.5; 2 * MOST_ROWS * NR];
                let tile = Tile {
                    rows: rows.min(tallest()),
                    depth: 50,
                    word,
                    a: Strided::rows(&a, 50),
                    b: b.as_ptr(),
                    c: out.as_mut_ptr(),
                    c_row: NR,
                    start: Start::Tile(out.as_ptr(), NR),
                    beside,
                };
                // SAFETY: all vectors are as large as the sizes say.
                unsafe { tile.run() };
                out.into_iter().map(f32::to_bits).collect::<Vec<_>>()
            };
            let (half, whole) = (50 * NR, MOST_ROWS * NR);
            let both = of(
                &b,
                Some(Beside {
                    b: half,
                    c: whole,
                    start: whole,
                }),
            );
            let alone = [of(&b, None), of(&b[half..], None)].map(|out| out[..whole].to_vec());
            assert_eq!(both, alone.concat(), "{word:?}, {rows} rows");
        }
    }

    #[test]
    fn portable_dots_agree_with_the_fast_ones() {
        let (a, b) = (numbers(600, 4), numbers(100 * NR, 5));
        let blocks: Vec<_> = (0..10).map(|i| (i * 8, i * 16)).collect();
        let rows = [0, 100, 200].map(|at| a[at..].as_ptr());
        let columns = [0, 3, 300, 700].map(|at| b[at..].as_ptr());
        let mut outs = [[[1.0; 4]; 3]; 2];
        // SAFETY: the largest offset is 700 + 144 + 8 of 1600.
        unsafe {
            dots(&blocks, rows, columns, &mut outs[0]);
            portable::dots(&blocks, rows, columns, &mut outs[1]);
        }
        assert!(alike(outs[0].as_flattened(), outs[1].as_flattened()));
    }
}
