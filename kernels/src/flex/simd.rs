//! Arithmetic on slices, for the instruction set in force.
//!
//! Promises
//! - Elementwise functions are written once over slices and compiled twice: for AVX2 with FMA
//!   and for whatever the target guarantees. [`multiversion`] chooses at run time.
//! - Sums have a fixed shape (16 lanes, blocks of [`BLOCK`], blocks added in f64), so their bits
//!   follow neither thread count nor vector width.
//!
//! Not here: products of matrices (`gemm`), which instruction set that is (`isa`).

pub(crate) use crate::isa::has_fma;

/// Defines a function that runs `body::<true>` compiled for AVX2 and FMA where the CPU has
/// them and `body::<false>` elsewhere. `body` must be `#[inline(always)]`.
macro_rules! multiversion {
    ($(#[$meta:meta])* $vis:vis fn $name:ident($($arg:ident: $ty:ty),* $(,)?)
        $(-> $ret:ty)? = $body:ident) => {
        $(#[$meta])*
        $vis fn $name($($arg: $ty),*) $(-> $ret)? {
            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx2,fma")]
                fn fast($($arg: $ty),*) $(-> $ret)? {
                    $body::<true>($($arg),*)
                }
                if $crate::flex::simd::has_fma() {
                    // SAFETY: they are in force only on a CPU that has AVX2 and FMA.
                    return unsafe { fast($($arg),*) };
                }
            }
            $body::<false>($($arg),*)
        }
    };
}
pub(crate) use multiversion;

/// `a · b + c`, in one rounding where the CPU has it.
#[inline(always)]
pub(crate) fn madd<const FMA: bool>(a: f32, b: f32, c: f32) -> f32 {
    match FMA {
        true => a.mul_add(b, c),
        false => a * b + c,
    }
}

/// `e^x` to about 1e-7 of the result; 0 below −86, infinite above 88.73, NaN for NaN.
///
/// `2^n · e^r` with `n` the nearest integer to `x / ln 2` and a polynomial of degree 6 in `r`
/// (the coefficients of Cephes' `expf`).
#[inline(always)]
pub(crate) fn exp<const FMA: bool>(x: f32) -> f32 {
    const ROUND: f32 = 12_582_912.0; // 1.5 · 2^23: adding it leaves the integer in the low bits.
    let c = if x > 89.0 { 89.0 } else { x };
    let c = if c < -86.0 { -86.0 } else { c };
    let shifted = madd::<FMA>(c, std::f32::consts::LOG2_E, ROUND);
    let n = shifted - ROUND;
    let r = madd::<FMA>(n, -0.693_359_4, c);
    let r = madd::<FMA>(n, 2.121_944_4e-4, r);
    let p = madd::<FMA>(1.987_569_1e-4, r, 1.398_2e-3);
    let p = madd::<FMA>(p, r, 8.333_452e-3);
    let p = madd::<FMA>(p, r, 4.166_579_6e-2);
    let p = madd::<FMA>(p, r, 1.666_666_5e-1);
    let p = madd::<FMA>(p, r, 0.5);
    let y = madd::<FMA>(p, r * r, r) + 1.0;
    // Half of 2^n, so that n = 128 does not overflow before the product does.
    let half_scale = f32::from_bits((shifted.to_bits() << 23).wrapping_add(126 << 23));
    if x < -86.0 { 0.0 } else { y * half_scale * 2.0 }
}

/// `2^x` for `x ≤ 0` to about 2e-7 of the result; 0 below −126, NaN for NaN.
///
/// As [`exp`], with the polynomial of degree 5 that has the least largest error relative to
/// `2^r` for `|r| ≤ 1/2` among those with its value and slope at 0.
#[inline(always)]
pub(crate) fn exp2<const FMA: bool>(x: f32) -> f32 {
    // 1.5 · 2^23 and the exponent's bias: the low bits are the exponent of 2^n.
    const ROUND: f32 = 12_582_912.0 + 127.0;
    let shifted = x + ROUND;
    let r = x - (shifted - ROUND);
    let p = madd::<FMA>(1.330_060_5e-3, r, 9.669_691e-3);
    let p = madd::<FMA>(p, r, 5.550_558_5e-2);
    let p = madd::<FMA>(p, r, 0.240_222_83);
    let p = madd::<FMA>(p, r, std::f32::consts::LN_2);
    let p = madd::<FMA>(p, r, 1.0);
    let scale = f32::from_bits(shifted.to_bits() << 23);
    // All ones, or zero below −126: a branch would keep the loop around it from vectors.
    let keep = u32::from(x < -126.0).wrapping_sub(1);
    f32::from_bits((p * scale).to_bits() & keep)
}

/// `1 / (1 + e^−x)`.
#[inline(always)]
pub(crate) fn sigmoid<const FMA: bool>(x: f32) -> f32 {
    1.0 / (1.0 + exp::<FMA>(-x))
}

/// The normal distribution function `Φ(x)` and its density `φ(x)`.
///
/// Abramowitz & Stegun 7.1.26, whose error in erf is at most 1.5e-7.
#[inline(always)]
pub(crate) fn normal<const FMA: bool>(x: f32) -> (f32, f32) {
    let gauss = exp::<FMA>(-0.5 * x * x);
    let t = 1.0 / madd::<FMA>(0.327_591_1 * std::f32::consts::FRAC_1_SQRT_2, x.abs(), 1.0);
    let p = madd::<FMA>(1.061_405_4, t, -1.453_152);
    let p = madd::<FMA>(p, t, 1.421_413_8);
    let p = madd::<FMA>(p, t, -0.284_496_74);
    let p = madd::<FMA>(p, t, 0.254_829_6);
    let tail = 0.5 * p * t * gauss;
    let phi = if x > 0.0 { 1.0 - tail } else { tail };
    (phi, gauss * 0.398_942_3)
}

/// Lanes of a sum: two AVX2 vectors.
pub(crate) const LANES: usize = 16;
/// Elements summed in f32 before they are added in f64.
pub(crate) const BLOCK: usize = 1024;

/// The sum of `term(i)` for `i < n`, `n ≤ BLOCK`: in [`LANES`] lanes, then pairwise.
#[inline(always)]
pub(crate) fn lane_sum(n: usize, term: impl Fn(usize) -> f32) -> f32 {
    let mut lanes = [0.0_f32; LANES];
    let whole = n / LANES * LANES;
    let mut i = 0;
    while i < whole {
        for (l, lane) in lanes.iter_mut().enumerate() {
            *lane += term(i + l);
        }
        i += LANES;
    }
    for (l, lane) in lanes.iter_mut().enumerate().take(n - whole) {
        *lane += term(whole + l);
    }
    fold(lanes)
}

/// Adds the lanes in halves.
#[inline(always)]
pub(crate) fn fold(mut lanes: [f32; LANES]) -> f32 {
    let mut width = LANES / 2;
    while width > 0 {
        for l in 0..width {
            lanes[l] += lanes[l + width];
        }
        width /= 2;
    }
    lanes[0]
}

multiversion! {
    /// Adds each of `xs` to the one of `ys` beside it.
    pub(crate) fn add(xs: &[f32], ys: &mut [f32]) = add_body
}

#[inline(always)]
fn add_body<const FMA: bool>(xs: &[f32], ys: &mut [f32]) {
    for (x, y) in xs.iter().zip(ys) {
        *y += x;
    }
}

multiversion! {
    /// The sum of `xs`.
    pub(crate) fn sum(xs: &[f32]) -> f64 = sum_body
}

#[inline(always)]
fn sum_body<const FMA: bool>(xs: &[f32]) -> f64 {
    xs.chunks(BLOCK)
        .map(|x| f64::from(lane_sum(x.len(), |i| x[i])))
        .sum()
}

multiversion! {
    /// The sum of `(x − mean)²` over `xs`.
    pub(crate) fn square_sum(xs: &[f32], mean: f32) -> f64 = square_sum_body
}

#[inline(always)]
fn square_sum_body<const FMA: bool>(xs: &[f32], mean: f32) -> f64 {
    let part = |x: &[f32]| {
        lane_sum(x.len(), |i| {
            let d = x[i] - mean;
            d * d
        })
    };
    xs.chunks(BLOCK).map(|x| f64::from(part(x))).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    multiversion! { fn exps(xs: &[f32], out: &mut [f32]) = exps_body }
    #[inline(always)]
    fn exps_body<const FMA: bool>(xs: &[f32], out: &mut [f32]) {
        for (o, x) in out.iter_mut().zip(xs) {
            *o = exp::<FMA>(*x);
        }
    }

    #[test]
    fn exp_is_right_to_two_units_in_the_last_place() {
        let xs: Vec<f32> = (-8600..8870).map(|i| i as f32 * 0.01).collect();
        let mut fast = vec![0.0; xs.len()];
        exps(&xs, &mut fast);
        for (x, y) in xs.iter().zip(&fast) {
            for y in [*y, exp::<false>(*x)] {
                let want = f64::from(*x).exp();
                assert!(
                    (f64::from(y) - want).abs() <= 2.4e-7 * want,
                    "exp({x}) = {y}"
                );
            }
        }
    }

    #[test]
    fn exp_of_extremes_is_zero_infinity_and_nan() {
        assert_eq!(exp::<false>(f32::NEG_INFINITY), 0.0);
        assert_eq!(exp::<false>(f32::INFINITY), f32::INFINITY);
        assert_eq!(exp::<false>(88.8), f32::INFINITY);
        assert!(exp::<false>(88.7).is_finite());
        assert!(exp::<false>(f32::NAN).is_nan());
        assert_eq!(exp::<false>(0.0), 1.0);
    }

    multiversion! { fn powers(xs: &[f32], out: &mut [f32]) = powers_body }
    #[inline(always)]
    fn powers_body<const FMA: bool>(xs: &[f32], out: &mut [f32]) {
        for (o, x) in out.iter_mut().zip(xs) {
            *o = exp2::<FMA>(*x);
        }
    }

    #[test]
    fn exp2_is_right_to_two_units_in_the_last_place_and_at_its_ends() {
        let xs: Vec<f32> = (-126_000..=0).map(|i| i as f32 / 1e3).collect();
        let mut fast = vec![0.0; xs.len()];
        powers(&xs, &mut fast);
        for (x, y) in xs.iter().zip(&fast) {
            for y in [*y, exp2::<false>(*x)] {
                let want = f64::from(*x).exp2();
                let wrong = (f64::from(y) - want).abs() / want;
                assert!(wrong <= 2.4e-7, "2^{x} = {y}");
            }
        }
        assert_eq!(exp2::<false>(0.0), 1.0);
        assert_eq!(exp2::<false>(-126.01), 0.0);
        assert_eq!(exp2::<false>(f32::MIN), 0.0);
        assert_eq!(exp2::<false>(f32::NEG_INFINITY), 0.0);
        assert!(exp2::<false>(f32::from_bits(0x7fc0_0001)).is_nan());
    }

    #[test]
    fn sums_match_f64_over_odd_lengths() {
        for n in [0, 1, 15, 16, 17, 1023, 1025, 5000] {
            let xs: Vec<f32> = (0..n)
                .map(|i| ((i * 37 % 101) as f32 - 50.0) * 0.1)
                .collect();
            let want: f64 = xs.iter().map(|x| f64::from(*x)).sum();
            assert!((sum(&xs) - want).abs() < 1e-3, "{n}");
            let want: f64 = xs.iter().map(|x| (f64::from(*x) - 0.5).powi(2)).sum();
            assert!(
                (square_sum(&xs, 0.5) - want).abs() <= 1e-5 * want.max(1.0),
                "{n}"
            );
        }
    }
}
