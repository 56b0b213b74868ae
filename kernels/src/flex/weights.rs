//! Weights as they lie in memory: in f32, or in half as many bytes.
//!
//! Promises
//! - A weight in half precision is widened, which is exact, where a kernel takes it up, and
//!   computed with in f32: the result is that of the same weights in f32, bit for bit.
//! - Only where the CPU multiplies bf16 ([`Weights::as_pairs`]) a kernel may round the other factor
//!   to bf16 instead; sums are f32 there too.
//!
//! Not here: rounding to half precision, which loading does.

use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};

use super::simd::{has_fma, multiversion};
use crate::isa::multiplies_bf16;

/// The numbers of a weight, one after the other.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Weights<'a> {
    F32(&'a [f32]),
    F16(&'a [f16]),
    Bf16(&'a [bf16]),
}

impl<'a> Weights<'a> {
    /// `n` numbers from `at` on: where they lie, or widened into the start of `room`.
    pub(crate) fn get<'b>(self, at: usize, n: usize, room: &'b mut [f32]) -> &'b [f32]
    where
        'a: 'b,
    {
        match self {
            Self::F32(all) => &all[at..at + n],
            Self::F16(all) => {
                let room = &mut room[..n];
                widen_f16(&all[at..at + n], room);
                room
            }
            Self::Bf16(all) => {
                let room = &mut room[..n];
                widen_bf16(&all[at..at + n], room);
                room
            }
        }
    }

    /// The numbers, where they are multiplied as they are: in bf16, by a CPU that does.
    pub(crate) fn as_pairs(self) -> Option<&'a [bf16]> {
        match self {
            Self::Bf16(all) if multiplies_bf16() => Some(all),
            _ => None,
        }
    }

    /// How many numbers of room a part of `n` takes.
    pub(crate) fn room(self, n: usize) -> usize {
        match self {
            Self::F32(_) => 0,
            Self::F16(_) | Self::Bf16(_) => n,
        }
    }
}

multiversion! {
    /// The upper half of an f32 is a bf16.
    fn widen_bf16(from: &[bf16], to: &mut [f32]) = widen_bf16_body
}
#[inline(always)]
fn widen_bf16_body<const FMA: bool>(from: &[bf16], to: &mut [f32]) {
    for (to, from) in to.iter_mut().zip(from) {
        *to = f32::from_bits(u32::from(from.to_bits()) << 16);
    }
}

fn widen_f16(from: &[f16], to: &mut [f32]) {
    #[cfg(target_arch = "x86_64")]
    if has_fma() {
        // SAFETY: AVX2 is in force only on a CPU that has F16C too.
        return unsafe { x86::widen_f16(from, to) };
    }
    from.convert_to_f32_slice(to);
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    use half::f16;

    #[target_feature(enable = "avx,f16c")]
    pub(super) fn widen_f16(from: &[f16], to: &mut [f32]) {
        let ((from, last), (to, rest)) = (from.as_chunks::<8>(), to.as_chunks_mut::<8>());
        for (from, to) in from.iter().zip(to) {
            // SAFETY: eight numbers on either side.
            unsafe {
                let eight = _mm_loadu_si128(from.as_ptr().cast());
                _mm256_storeu_ps(to.as_mut_ptr(), _mm256_cvtph_ps(eight));
            }
        }
        for (from, to) in last.iter().zip(rest) {
            *to = from.to_f32();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_half_number_is_widened_exactly() {
        let bits: Vec<u16> = (0..=u16::MAX).collect();
        let halves: Vec<f16> = bits.iter().map(|x| f16::from_bits(*x)).collect();
        let brains: Vec<bf16> = bits.iter().map(|x| bf16::from_bits(*x)).collect();
        let mut room = vec![0.0; halves.len()];
        // From 3 on, so that neither end is a whole vector.
        let n = halves.len() - 3;
        for (got, want) in Weights::F16(&halves)
            .get(3, n, &mut room)
            .iter()
            .zip(&halves[3..])
        {
            assert!(got.to_bits() == want.to_f32().to_bits() || want.is_nan() && got.is_nan());
        }
        for (got, want) in Weights::Bf16(&brains)
            .get(3, n, &mut room)
            .iter()
            .zip(&brains[3..])
        {
            assert!(got.to_bits() == want.to_f32().to_bits() || want.is_nan() && got.is_nan());
        }
    }

    #[test]
    fn what_is_wide_already_is_not_copied() {
        let all = [1.0, 2.0, 3.0];
        let weights = Weights::F32(&all);
        assert_eq!(weights.room(3), 0);
        assert_eq!(weights.get(1, 2, &mut []).as_ptr(), all[1..].as_ptr());
    }
}
