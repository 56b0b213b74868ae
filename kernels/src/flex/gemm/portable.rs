//! Tiles in plain Rust, for CPUs without the sets of `x86`.

use super::NR;
use super::tile::{MOST_ROWS, RightRows, Start, Tile, Word};

/// # Safety
/// As [`Tile::run`].
pub(super) unsafe fn tile<R: RightRows>(t: &Tile, right: R) {
    let mut acc = [[0.0_f32; NR]; MOST_ROWS];
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
                match t.word {
                    Word::Single => acc.iter_mut().zip(b).for_each(|(acc, b)| *acc += a * b),
                    Word::Pair => acc.iter_mut().zip(b).for_each(|(acc, b)| {
                        let ([a, c], [b, d]) = (halves(a), halves(*b));
                        *acc += a * b;
                        *acc += c * d;
                    }),
                }
            }
        }
        for (i, acc) in acc.iter().enumerate().take(t.rows) {
            std::ptr::copy_nonoverlapping(acc.as_ptr(), t.c.add(i * t.c_row), NR);
        }
    }
}

/// The two numbers of a pair, the lower one first.
fn halves(word: f32) -> [f32; 2] {
    let bits = word.to_bits();
    [bits << 16, bits & 0xffff_0000].map(f32::from_bits)
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
