//! Tiles for AVX2 with FMA, for AVX-512, and for its products of bf16.
//!
//! Every function is called only on a CPU that has its set: `isa` says which is in force.

use std::arch::x86_64::*;

use super::tile::{Adjacent, Apart, Beside, LeftRows, RightRows, Start, Tile};

/// Calls `$tile` for the tile's number of rows, of those that are listed.
macro_rules! by_rows {
    ([$($rows:literal)*] $most:literal, $tile:ident, $t:expr, $left:expr, $right:expr) => {
        match $t.rows {
            $($rows => $tile::<$rows, _, _>($t, $left, $right),)*
            _ => $tile::<$most, _, _>($t, $left, $right),
        }
    };
    (6, $($rest:tt)*) => { by_rows!([1 2 3 4 5] 6, $($rest)*) };
    (12, $($rest:tt)*) => { by_rows!([1 2 3 4 5 6 7 8 9 10 11] 12, $($rest)*) };
    (24, $($rest:tt)*) => {
        by_rows!(
            [1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23] 24,
            $($rest)*
        )
    };
}

/// At most 6 rows.
///
/// # Safety
/// As [`Tile::run`], on a CPU with AVX2 and FMA.
#[target_feature(enable = "avx2,fma")]
pub(super) unsafe fn narrow<R: RightRows>(t: &Tile, right: R) {
    // SAFETY: as the caller promises.
    unsafe { by_rows!(6, tile_256, t, Apart(t.a.row), right) }
}

/// At most 24 rows.
///
/// # Safety
/// As [`Tile::run`], on a CPU with AVX-512.
#[target_feature(enable = "avx512f")]
pub(super) unsafe fn wide<R: RightRows>(t: &Tile, right: R) {
    // SAFETY: as the caller promises.
    unsafe {
        match (t.beside, t.a.row) {
            (None, 1) => by_rows!(24, tile_512, t, Adjacent, right),
            (None, row) => by_rows!(24, tile_512, t, Apart(row), right),
            (Some(beside), row) => {
                for part in halves(t) {
                    match row {
                        1 => by_rows!(12, two_512, &part, Adjacent, (right, beside)),
                        _ => by_rows!(12, two_512, &part, Apart(row), (right, beside)),
                    }
                }
            }
        }
    }
}

/// At most 24 rows of pairs.
///
/// # Safety
/// As [`Tile::run`], on a CPU with AVX-512 and its products of bf16.
#[target_feature(enable = "avx512f,avx512bf16")]
pub(super) unsafe fn pairs<R: RightRows>(t: &Tile, right: R) {
    // SAFETY: as the caller promises.
    unsafe {
        match (t.beside, t.a.row) {
            (None, 1) => by_rows!(24, tile_pairs, t, Adjacent, right),
            (None, row) => by_rows!(24, tile_pairs, t, Apart(row), right),
            (Some(beside), row) => {
                for part in halves(t) {
                    match row {
                        1 => by_rows!(12, two_pairs, &part, Adjacent, (right, beside)),
                        _ => by_rows!(12, two_pairs, &part, Apart(row), (right, beside)),
                    }
                }
            }
        }
    }
}

/// The tile in parts of at most 12 rows, as tiles of 32 columns have.
fn halves(t: &Tile) -> impl Iterator<Item = Tile> {
    let high = match t.rows {
        0..=12 => t.rows,
        rows => rows.div_ceil(2),
    };
    [t.part(0, high), t.part(high, t.rows - high)]
        .into_iter()
        .filter(|part| part.rows > 0)
}

#[target_feature(enable = "avx2,fma")]
unsafe fn tile_256<const M: usize, L: LeftRows, R: RightRows>(t: &Tile, left: L, right: R) {
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
        let rows: [*const f32; M] = std::array::from_fn(|i| t.a.start.add(left.at(i)));
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

/// Defines a tile of one AVX-512 vector a row, which adds `$product(a, b)` to a sum.
macro_rules! tile_of_512 {
    ($name:ident, $features:literal, $add:expr) => {
        #[target_feature(enable = $features)]
        unsafe fn $name<const M: usize, L: LeftRows, R: RightRows>(t: &Tile, left: L, right: R) {
            let mut acc = [_mm512_setzero_ps(); M];
            // SAFETY: all addresses are those that `Tile::run` asks for.
            unsafe {
                for (i, acc) in acc.iter_mut().enumerate() {
                    *acc = match t.start {
                        Start::Tile(from, row) => _mm512_loadu_ps(from.add(i * row)),
                        Start::Column(from) => _mm512_set1_ps(*from.add(i)),
                    };
                }
                let rows: [*const f32; M] = std::array::from_fn(|i| t.a.start.add(left.at(i)));
                let mut step = 0;
                for p in 0..t.depth {
                    let b = _mm512_loadu_ps(t.b.add(right.at(p)));
                    for (row, acc) in rows.iter().zip(&mut acc) {
                        let a = _mm512_set1_ps(*row.add(step));
                        *acc = ($add)(*acc, a, b);
                    }
                    step += t.a.col;
                }
                for (i, acc) in acc.iter().enumerate() {
                    _mm512_storeu_ps(t.c.add(i * t.c_row), *acc);
                }
            }
        }
    };
}

/// Defines a tile of two AVX-512 vectors a row: a broadcast serves both. Products of pairs wait for
/// one each, and take a third longer in tiles of one vector.
macro_rules! two_of_512 {
    ($name:ident, $features:literal, $add:expr) => {
        #[target_feature(enable = $features)]
        unsafe fn $name<const M: usize, L: LeftRows, R: RightRows>(
            t: &Tile,
            left: L,
            (right, beside): (R, Beside),
        ) {
            let mut acc = [[_mm512_setzero_ps(); 2]; M];
            // SAFETY: all addresses are those that `Tile::run` asks for.
            unsafe {
                for (i, acc) in acc.iter_mut().enumerate() {
                    *acc = match t.start {
                        Start::Tile(from, row) => {
                            let from = from.add(i * row);
                            [
                                _mm512_loadu_ps(from),
                                _mm512_loadu_ps(from.add(beside.start)),
                            ]
                        }
                        Start::Column(from) => [_mm512_set1_ps(*from.add(i)); 2],
                    };
                }
                let rows: [*const f32; M] = std::array::from_fn(|i| t.a.start.add(left.at(i)));
                let mut step = 0;
                for p in 0..t.depth {
                    let b = t.b.add(right.at(p));
                    let (b0, b1) = (_mm512_loadu_ps(b), _mm512_loadu_ps(b.add(beside.b)));
                    for (row, acc) in rows.iter().zip(&mut acc) {
                        let a = shared(row.add(step));
                        acc[0] = ($add)(acc[0], a, b0);
                        acc[1] = ($add)(acc[1], a, b1);
                    }
                    step += t.a.col;
                }
                for (i, acc) in acc.iter().enumerate() {
                    let to = t.c.add(i * t.c_row);
                    _mm512_storeu_ps(to, acc[0]);
                    _mm512_storeu_ps(to.add(beside.c), acc[1]);
                }
            }
        }
    };
}

/// A word in every lane of a register, for more than one product: the compiler would rather
/// broadcast it again for each.
#[target_feature(enable = "avx512f")]
#[inline]
unsafe fn shared(word: *const f32) -> __m512 {
    let lanes;
    // SAFETY: the caller vouches for the word; nothing is written.
    unsafe {
        std::arch::asm!(
            "vbroadcastss {lanes}, dword ptr [{word}]",
            lanes = out(zmm_reg) lanes,
            word = in(reg) word,
            options(pure, readonly, nostack, preserves_flags)
        );
    }
    lanes
}

tile_of_512!(tile_512, "avx512f", |sum, a, b| _mm512_fmadd_ps(a, b, sum));
tile_of_512!(tile_pairs, "avx512f,avx512bf16", |sum, a, b| {
    _mm512_dpbf16_ps(sum, pairs_of(a), pairs_of(b))
});

two_of_512!(two_512, "avx512f", |sum, a, b| _mm512_fmadd_ps(a, b, sum));
two_of_512!(two_pairs, "avx512f,avx512bf16", |sum, a, b| {
    _mm512_dpbf16_ps(sum, pairs_of(a), pairs_of(b))
});

/// The same bits as pairs of bf16.
#[inline(always)]
fn pairs_of(words: __m512) -> __m512bh {
    // SAFETY: both are 512 bits, any of which are numbers.
    unsafe { std::mem::transmute(words) }
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
