//! What this machine can do at most: multiply-adds that never leave the registers, and copying
//! more memory than any cache holds.

use std::hint::black_box;
use std::time::Instant;

use rayon::prelude::*;

use crate::isa;
#[cfg(target_arch = "x86_64")]
use crate::isa::{Level, has_fma};

/// The most that all threads of the pool did together.
#[derive(Clone, Copy, Debug)]
pub struct Ceiling {
    /// In 10⁹ multiplications and additions a second, f32, with the instruction set in force.
    pub gflops: f64,
    /// The same of numbers in bf16, where the CPU multiplies these.
    pub gflops_bf16: Option<f64>,
    /// In 10⁹ bytes a second, read and written.
    pub gbytes: f64,
}

/// Sums that grow side by side: enough to hide how long one multiply-add takes.
const CHAINS: usize = 12;

/// Numbers of a vector of AVX-512.
#[cfg(target_arch = "x86_64")]
const WIDE: usize = 16;

/// Multiply-adds of a chain in one run.
const LENGTH: usize = 20_000_000;

/// Numbers that are copied: 64 MiB.
const COPIED: usize = 16 << 20;

/// Numbers that one task copies.
const PIECE: usize = 64 << 10;

/// Measures them, for about a second.
pub fn ceiling() -> Ceiling {
    let of = |run: fn() -> f64| {
        best(|| {
            let done: f64 = rayon::broadcast(|_| run()).into_iter().sum();
            2.0 * done
        })
    };
    Ceiling {
        gflops: of(multiply_adds),
        gflops_bf16: isa::multiplies_bf16().then(|| of(multiply_adds_bf16)),
        gbytes: copying(),
    }
}

fn copying() -> f64 {
    let from = vec![1.0_f32; COPIED];
    let mut to = vec![0.0_f32; COPIED];
    best(|| {
        let pieces = to.par_chunks_mut(PIECE).zip(from.par_chunks(PIECE));
        pieces.for_each(|(to, from)| to.copy_from_slice(from));
        black_box(&to);
        (2 * COPIED * size_of::<f32>()) as f64
    })
}

/// The best rate of five runs that each tell what they did, in 10⁹ a second.
fn best(mut run: impl FnMut() -> f64) -> f64 {
    let mut rates = [0.0; 5];
    for rate in &mut rates {
        let start = Instant::now();
        *rate = run() / start.elapsed().as_secs_f64() * 1e-9;
    }
    rates.into_iter().fold(0.0, f64::max)
}

/// Multiplies and adds on this thread; tells how often.
fn multiply_adds() -> f64 {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a set is in force only on a CPU that has it.
    unsafe {
        if matches!(isa::level(), Level::Avx512 | Level::Bf16) {
            x86::wide_chains(LENGTH);
            return (LENGTH * CHAINS * WIDE) as f64;
        }
        if has_fma() {
            x86::chains(LENGTH);
            return (LENGTH * CHAINS * 8) as f64;
        }
    }
    portable_chains(LENGTH);
    (LENGTH * CHAINS * 4) as f64
}

/// The same of bf16, on a CPU that multiplies it.
fn multiply_adds_bf16() -> f64 {
    #[cfg(target_arch = "x86_64")]
    if isa::multiplies_bf16() {
        // SAFETY: as above.
        unsafe { x86::chains_of_pairs(LENGTH) };
        return (LENGTH * CHAINS * 2 * WIDE) as f64;
    }
    0.0
}

/// In vectors of four, which every x86-64 and ARM64 has.
fn portable_chains(length: usize) {
    let start = |i| black_box(i as f32);
    let mut sums: [[f32; 4]; CHAINS] = std::array::from_fn(|i| [start(i); 4]);
    let (a, b) = (black_box(0.999_f32), black_box(1e-3_f32));
    for _ in 0..length {
        for sum in &mut sums {
            *sum = sum.map(|x| x * a + b);
        }
    }
    black_box(sums);
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;
    use std::hint::black_box;

    use super::CHAINS;

    #[target_feature(enable = "avx2,fma")]
    pub(super) fn chains(length: usize) {
        let start = |i| _mm256_set1_ps(black_box(i as f32));
        let mut sums: [_; CHAINS] = std::array::from_fn(start);
        let (a, b) = (
            _mm256_set1_ps(black_box(0.999)),
            _mm256_set1_ps(black_box(1e-3)),
        );
        for _ in 0..length {
            for sum in &mut sums {
                *sum = _mm256_fmadd_ps(*sum, a, b);
            }
        }
        black_box(sums);
    }

    #[target_feature(enable = "avx512f")]
    pub(super) fn wide_chains(length: usize) {
        let start = |i| _mm512_set1_ps(black_box(i as f32));
        let mut sums: [_; CHAINS] = std::array::from_fn(start);
        let (a, b) = (
            _mm512_set1_ps(black_box(0.999)),
            _mm512_set1_ps(black_box(1e-3)),
        );
        for _ in 0..length {
            for sum in &mut sums {
                *sum = _mm512_fmadd_ps(*sum, a, b);
            }
        }
        black_box(sums);
    }

    #[target_feature(enable = "avx512f,avx512bf16")]
    pub(super) fn chains_of_pairs(length: usize) {
        let start = |i| _mm512_set1_ps(black_box(i as f32));
        let mut sums: [_; CHAINS] = std::array::from_fn(start);
        let [a, b] = [0.999, 1e-3].map(|x| {
            let x = _mm512_set1_ps(black_box(x));
            _mm512_cvtne2ps_pbh(x, x)
        });
        for _ in 0..length {
            for sum in &mut sums {
                *sum = _mm512_dpbf16_ps(*sum, a, b);
            }
        }
        black_box(sums);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bf16_has_a_most_where_it_is_multiplied() {
        let most = ceiling();
        assert_eq!(most.gflops_bf16.is_some(), isa::multiplies_bf16());
        assert!(most.gflops > 0.0 && most.gbytes > 0.0);
        assert!(most.gflops_bf16.is_none_or(|bf16| bf16 > 0.0));
    }
}
