//! Numbers rounded to bf16 and put together two by two, as tiles of [`Word::Pair`] take them.
//!
//! Promise: rounding is to the nearest, ties to even; infinities and NaN stay what they are.
//!
//! Not here: weights that are bf16 already (`weights`).
//!
//! [`Word::Pair`]: super::gemm::Word::Pair

use half::bf16;
use rayon::prelude::*;

use super::memory::Scratch;
#[cfg(target_arch = "x86_64")]
use crate::isa::multiplies_bf16;

/// The bits of the nearest bf16, in the upper half.
#[inline(always)]
fn rounded(x: f32) -> u32 {
    let bits = x.to_bits();
    let near = bits.wrapping_add(0x7fff + (bits >> 16 & 1));
    // What is no number must not be carried into one.
    let quiet = bits | 0x0040_0000;
    let nan = bits & 0x7fff_ffff > 0x7f80_0000;
    (if nan { quiet } else { near }) & 0xffff_0000
}

/// A word of each number of `low` and the one of `high` beside it.
pub(crate) fn join(low: &[f32], high: &[f32], out: &mut [f32]) {
    #[cfg(target_arch = "x86_64")]
    if multiplies_bf16() {
        // SAFETY: a set is in force only on a CPU that has it.
        return unsafe { x86::join(low, high, out) };
    }
    join_each(low, high, out);
}

fn join_each(low: &[f32], high: &[f32], out: &mut [f32]) {
    for ((low, high), out) in low.iter().zip(high).zip(out) {
        *out = f32::from_bits(rounded(*low) >> 16 | rounded(*high));
    }
}

/// A word of each number, with zero beside it.
pub(crate) fn join_one(low: &[f32], out: &mut [f32]) {
    for (low, out) in low.iter().zip(out) {
        *out = f32::from_bits(rounded(*low) >> 16);
    }
}

/// Words of neighbouring lines of `width` numbers; the last of an odd number is paired with zeros.
pub(crate) fn join_lines(lines: &[f32], width: usize, out: &mut [f32]) {
    #[cfg(target_arch = "x86_64")]
    if multiplies_bf16() && width == x86::WIDE {
        // SAFETY: as above.
        return unsafe { x86::join_lines(lines, out) };
    }
    for (two, out) in lines.chunks(2 * width).zip(out.chunks_exact_mut(width)) {
        match two.split_at_checked(width) {
            Some((low, high)) if !high.is_empty() => join(low, high, out),
            _ => join_one(two, out),
        }
    }
}

/// Words of a line's neighbours; the last of an odd number is paired with zero.
pub(crate) fn pack(line: &[f32], out: &mut [f32]) {
    let (twos, last) = line.as_chunks::<2>();
    pack_twos(twos, out);
    if let [last] = last {
        out[twos.len()] = f32::from_bits(rounded(*last) >> 16);
    }
}

fn pack_twos(twos: &[[f32; 2]], out: &mut [f32]) {
    #[cfg(target_arch = "x86_64")]
    if multiplies_bf16() {
        // SAFETY: as above.
        return unsafe { x86::pack(twos, out) };
    }
    pack_each(twos, out);
}

fn pack_each(twos: &[[f32; 2]], out: &mut [f32]) {
    for ([low, high], out) in twos.iter().zip(out) {
        *out = f32::from_bits(rounded(*low) >> 16 | rounded(*high));
    }
}

/// [`pack`] of every row of `width` numbers.
pub(crate) fn pack_rows(rows: &[f32], width: usize) -> Scratch {
    /// Rows of a task.
    const ROWS: usize = 64;
    let row = width.div_ceil(2);
    let mut out = Scratch::new(rows.len() / width.max(1) * row);
    out.par_chunks_mut((row * ROWS).max(1))
        .zip(rows.par_chunks((width * ROWS).max(1)))
        .for_each(|(out, rows)| {
            for (out, row) in out.chunks_exact_mut(row).zip(rows.chunks_exact(width)) {
                pack(row, out);
            }
        });
    out
}

/// Words of the numbers of `low` and those of `high`, zeros where there are none.
pub(crate) fn interleave(low: &[bf16], high: Option<&[bf16]>, out: &mut [f32]) {
    let bits = |x: &bf16| u32::from(x.to_bits());
    match high {
        Some(high) => {
            for ((low, high), out) in low.iter().zip(high).zip(out) {
                *out = f32::from_bits(bits(low) | bits(high) << 16);
            }
        }
        None => {
            for (low, out) in low.iter().zip(out) {
                *out = f32::from_bits(bits(low));
            }
        }
    }
}

/// [`interleave`] of neighbouring lines of `width` numbers; the last of an odd number is paired
/// with zeros.
pub(crate) fn interleave_lines(lines: &[bf16], width: usize, out: &mut [f32]) {
    for (two, out) in lines.chunks(2 * width).zip(out.chunks_exact_mut(width)) {
        let (low, high) = two.split_at(width.min(two.len()));
        interleave(low, (!high.is_empty()).then_some(high), out);
    }
}

/// Words of neighbours in bf16; the last of an odd number is paired with zero.
pub(crate) fn copy(line: &[bf16], out: &mut [f32]) {
    let (twos, last) = line.as_chunks::<2>();
    let bits = |x: &bf16| u32::from(x.to_bits());
    for ([low, high], out) in twos.iter().zip(out.iter_mut()) {
        *out = f32::from_bits(bits(low) | bits(high) << 16);
    }
    if let [last] = last {
        out[twos.len()] = f32::from_bits(bits(last));
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    use super::{join_each, join_one, pack_each};

    /// Words of a line.
    pub(super) const WIDE: usize = 16;

    /// Where each half of a word comes from: all lower ones stand before all upper ones.
    const BESIDE: [i16; 32] = {
        let mut from = [0; 32];
        let mut i = 0;
        while i < WIDE {
            (from[2 * i], from[2 * i + 1]) = (i as i16, (WIDE + i) as i16);
            i += 1;
        }
        from
    };

    /// Two lines rounded, one behind the other.
    #[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
    fn both(low: &[f32; WIDE], high: &[f32; WIDE]) -> __m512i {
        // SAFETY: both are sixteen numbers; all bits are integers.
        unsafe {
            let (low, high) = (
                _mm512_loadu_ps(low.as_ptr()),
                _mm512_loadu_ps(high.as_ptr()),
            );
            std::mem::transmute(_mm512_cvtne2ps_pbh(high, low))
        }
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
    pub(super) fn join(low: &[f32], high: &[f32], out: &mut [f32]) {
        let n = low.len().min(high.len()).min(out.len());
        let (low, last_low) = low[..n].as_chunks::<WIDE>();
        let (high, last_high) = high[..n].as_chunks::<WIDE>();
        let (out, last) = out[..n].as_chunks_mut::<WIDE>();
        // SAFETY: `BESIDE` is 32 numbers, each line sixteen words.
        unsafe {
            let beside = _mm512_loadu_si512(BESIDE.as_ptr().cast());
            for ((low, high), out) in low.iter().zip(high).zip(out) {
                let words = _mm512_permutexvar_epi16(beside, both(low, high));
                _mm512_storeu_si512(out.as_mut_ptr().cast(), words);
            }
        }
        join_each(last_low, last_high, last);
    }

    /// Lines of [`WIDE`].
    #[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
    pub(super) fn join_lines(lines: &[f32], out: &mut [f32]) {
        let (lines, _) = lines.as_chunks::<WIDE>();
        let (twos, last) = lines.as_chunks::<2>();
        let (out, _) = out.as_chunks_mut::<WIDE>();
        let (joined, rest) = out.split_at_mut(twos.len());
        // SAFETY: `BESIDE` is 32 numbers, each line sixteen words.
        unsafe {
            let beside = _mm512_loadu_si512(BESIDE.as_ptr().cast());
            for ([low, high], out) in twos.iter().zip(joined) {
                let words = _mm512_permutexvar_epi16(beside, both(low, high));
                _mm512_storeu_si512(out.as_mut_ptr().cast(), words);
            }
        }
        if let ([low], [out, ..]) = (last, rest) {
            join_one(low, out);
        }
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
    pub(super) fn pack(twos: &[[f32; 2]], out: &mut [f32]) {
        let n = twos.len().min(out.len());
        let (lines, last_twos) = twos[..n].as_chunks::<WIDE>();
        let (out, last) = out[..n].as_chunks_mut::<WIDE>();
        for (line, out) in lines.iter().zip(out) {
            let (halves, _) = line.as_flattened().as_chunks::<WIDE>();
            let words = both(&halves[0], &halves[1]);
            // SAFETY: a line is sixteen words.
            unsafe { _mm512_storeu_si512(out.as_mut_ptr().cast(), words) };
        }
        pack_each(last_twos, last);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_rounded_as_half_rounds_them() {
        let patterns = (0..=u32::MAX).step_by(65_521).map(f32::from_bits);
        let edges = [
            0.0,
            -0.0,
            f32::MAX,
            f32::INFINITY,
            -f32::INFINITY,
            f32::MIN_POSITIVE,
        ];
        let ties = [0x3f80_8000, 0x3f81_8000, 0x7f7f_8000].map(f32::from_bits);
        for x in patterns.chain(edges).chain(ties) {
            let (got, want) = (rounded(x) >> 16, u32::from(bf16::from_f32(x).to_bits()));
            assert!(
                got == want || x.is_nan() && bf16::from_bits(got as u16).is_nan(),
                "{x}"
            );
        }
        assert!(bf16::from_bits((rounded(f32::from_bits(0x7fff_ffff)) >> 16) as u16).is_nan());
    }

    #[test]
    fn lines_of_any_length_are_paired_as_one_by_one() {
        let line: Vec<f32> = (0..150).map(|i| (i as f32 - 70.3) * 1.01).collect();
        for n in [0, 1, 15, 16, 17, 64, 75] {
            let (low, high) = (&line[..n], &line[n..2 * n]);
            let mut outs = vec![vec![7.0; n]; 2];
            join(low, high, &mut outs[0]);
            join_each(low, high, &mut outs[1]);
            assert_eq!(outs[0], outs[1]);
            let (twos, _) = line[..2 * n].as_chunks();
            pack_twos(twos, &mut outs[0]);
            pack_each(twos, &mut outs[1]);
            assert_eq!(outs[0], outs[1]);
        }
    }

    #[test]
    fn lines_of_sixteen_are_paired_as_others_are() {
        let lines: Vec<f32> = (0..5 * 16).map(|i| (i as f32 - 31.7) * 1.01).collect();
        let mut out = vec![7.0; 3 * 16];
        for count in [1, 2, 5] {
            join_lines(&lines[..count * 16], 16, &mut out);
            for (i, two) in lines[..count * 16].chunks(32).enumerate() {
                let mut want = [0.0; 16];
                match two.split_at_checked(16) {
                    Some((low, [])) => join_one(low, &mut want),
                    Some((low, high)) => join_each(low, high, &mut want),
                    None => unreachable!(),
                }
                assert_eq!(out[i * 16..][..16], want);
            }
        }
    }

    #[test]
    fn lines_in_bf16_are_paired_as_two_by_two() {
        let lines: Vec<bf16> = (0..20).map(|i| bf16::from_f32(i as f32)).collect();
        let mut out = [7.0; 12];
        interleave_lines(&lines, 4, &mut out);
        let mut want = [7.0; 12];
        for (i, out) in want.chunks_exact_mut(4).enumerate() {
            let high = lines.get(8 * i + 4..8 * i + 8);
            interleave(&lines[8 * i..8 * i + 4], high, out);
        }
        assert_eq!(out, want);
    }

    #[test]
    fn an_odd_last_number_is_paired_with_zero() {
        let word = |low: f32, high: f32| {
            let [low, high] = [low, high].map(|x| u32::from(bf16::from_f32(x).to_bits()));
            low | high << 16
        };
        let line = [1.0, 2.0, 3.0];
        let mut out = [7.0; 2];
        let bits = |out: &[f32]| out.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
        pack(&line, &mut out);
        assert_eq!(bits(&out), [word(1.0, 2.0), word(3.0, 0.0)]);
        copy(&line.map(bf16::from_f32), &mut out);
        assert_eq!(bits(&out), [word(1.0, 2.0), word(3.0, 0.0)]);
        let mut out = [7.0; 4];
        join_lines(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], 2, &mut out);
        let want = [
            word(1.0, 3.0),
            word(2.0, 4.0),
            word(5.0, 0.0),
            word(6.0, 0.0),
        ];
        assert_eq!(bits(&out), want);
    }
}
