//! Matrices turned, and scaled where that is wanted: rows into lanes and back.
//!
//! Promises
//! - Each number is multiplied at most once: the same bits with AVX2 and without. Without factors
//!   words are moved whatever they hold.
//!
//! Not here: copies without a turn.

#[cfg(target_arch = "x86_64")]
use super::simd::has_fma;

/// Rows and columns of a block that is turned in registers.
const SIDE: usize = 8;

/// `to[j][i] = from[i][j] · factors[j]`, or without the factors, for `rows × cols`, each with a
/// step from row to row.
///
/// # Safety
/// `from` holds `rows` rows of `cols`, and `to` `cols` rows of `rows` that no one else touches.
pub(crate) unsafe fn transpose(
    [rows, cols]: [usize; 2],
    (from, from_row): (*const f32, usize),
    factors: Option<&[f32]>,
    (to, to_row): (*mut f32, usize),
) {
    let factors = factors.map(|all| &all[..cols]);
    for i in (0..rows).step_by(SIDE) {
        for j in (0..cols).step_by(SIDE) {
            let size = [SIDE.min(rows - i), SIDE.min(cols - j)];
            let from = from.wrapping_add(i * from_row + j);
            let to = to.wrapping_add(j * to_row + i);
            let factors = factors.map(|all| &all[j..]);
            // SAFETY: the block lies within both matrices; the CPU is asked.
            unsafe {
                #[cfg(target_arch = "x86_64")]
                if size == [SIDE; 2] && has_fma() {
                    x86::block((from, from_row), factors, (to, to_row));
                    continue;
                }
                block(size, (from, from_row), factors, (to, to_row));
            }
        }
    }
}

/// # Safety
/// As [`transpose`].
unsafe fn block(
    [rows, cols]: [usize; 2],
    (from, from_row): (*const f32, usize),
    factors: Option<&[f32]>,
    (to, to_row): (*mut f32, usize),
) {
    for j in 0..cols {
        let factor = factors.map(|all| all[j]);
        for i in 0..rows {
            // SAFETY: within both matrices, as the caller vouches.
            unsafe {
                let x = *from.add(i * from_row + j);
                *to.add(j * to_row + i) = factor.map_or(x, |factor| x * factor);
            }
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    use super::SIDE;

    /// # Safety
    /// As [`super::transpose`] for a whole block, on a CPU with AVX2.
    #[target_feature(enable = "avx2")]
    pub(super) unsafe fn block(
        (from, from_row): (*const f32, usize),
        factors: Option<&[f32]>,
        (to, to_row): (*mut f32, usize),
    ) {
        // SAFETY: 8 rows of 8 numbers on both sides, as the caller vouches.
        unsafe {
            let mut rows: [__m256; SIDE] =
                std::array::from_fn(|i| _mm256_loadu_ps(from.add(i * from_row)));
            if let Some(factors) = factors {
                assert!(factors.len() >= SIDE, "a factor for each column of a block");
                let factors = _mm256_loadu_ps(factors.as_ptr());
                rows = rows.map(|row| _mm256_mul_ps(row, factors));
            }
            for (j, row) in turn(rows).into_iter().enumerate() {
                _mm256_storeu_ps(to.add(j * to_row), row);
            }
        }
    }

    /// Pairs of rows, then pairs of pairs, then halves.
    #[target_feature(enable = "avx2")]
    fn turn(r: [__m256; SIDE]) -> [__m256; SIDE] {
        let quad = |r: [__m256; 4]| {
            let [low, high] = [
                _mm256_unpacklo_ps(r[0], r[1]),
                _mm256_unpackhi_ps(r[0], r[1]),
            ];
            let [low2, high2] = [
                _mm256_unpacklo_ps(r[2], r[3]),
                _mm256_unpackhi_ps(r[2], r[3]),
            ];
            [
                _mm256_shuffle_ps::<0b01_00_01_00>(low, low2),
                _mm256_shuffle_ps::<0b11_10_11_10>(low, low2),
                _mm256_shuffle_ps::<0b01_00_01_00>(high, high2),
                _mm256_shuffle_ps::<0b11_10_11_10>(high, high2),
            ]
        };
        let (a, b) = (
            quad([r[0], r[1], r[2], r[3]]),
            quad([r[4], r[5], r[6], r[7]]),
        );
        std::array::from_fn(|j| match j < 4 {
            true => _mm256_permute2f128_ps::<0x20>(a[j], b[j]),
            false => _mm256_permute2f128_ps::<0x31>(a[j - 4], b[j - 4]),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_size_is_turned_and_scaled() {
        for (rows, cols) in [(1, 1), (8, 8), (16, 40), (16, 77), (5, 16), (23, 9), (0, 3)] {
            let (from_row, to_row) = (cols + 3, rows + 2);
            let from: Vec<f32> = (0..rows * from_row).map(|i| i as f32 + 0.3).collect();
            let factors: Vec<f32> = (0..cols).map(|j| 0.7 + j as f32).collect();
            let mut to = vec![-1.0; cols * to_row];
            let (a, b) = ((from.as_ptr(), from_row), (to.as_mut_ptr(), to_row));
            // SAFETY: both are as large as their steps say.
            for factors in [Some(&factors[..]), None] {
                unsafe { transpose([rows, cols], a, factors, b) };
                for (at, got) in to.iter().enumerate() {
                    let (j, i) = (at / to_row, at % to_row);
                    let want = match i < rows {
                        true => from[i * from_row + j] * factors.map_or(1.0, |all| all[j]),
                        false => -1.0,
                    };
                    assert_eq!(*got, want, "{rows} x {cols} at {j}, {i}");
                }
            }
        }
    }
}
