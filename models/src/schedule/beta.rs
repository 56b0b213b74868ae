//! The quantiles of the beta distribution, without a statistics library.

/// Steps of the continued fraction; it settles in a tenth of these.
const MOST_TERMS: usize = 500;

/// The x at which the Beta(`a`, `b`) distribution has `p` of its mass below, 0..=1.
///
/// By halving: 60 steps leave less than the rounding of f64 for any x above 1e-18.
pub(super) fn quantile(p: f64, a: f64, b: f64) -> f64 {
    if p <= 0.0 || p >= 1.0 {
        return p.clamp(0.0, 1.0);
    }
    // Near 1 the mass above is the smaller number, and keeps more digits.
    if p > 0.5 {
        return 1.0 - quantile(1.0 - p, b, a);
    }
    let (mut low, mut high) = (0.0, 1.0);
    for _ in 0..1100 {
        let middle = 0.5 * (low + high);
        if middle <= low || middle >= high {
            break;
        }
        if mass_below(middle, a, b) < p {
            low = middle;
        } else {
            high = middle;
        }
    }
    high
}

/// The regularised incomplete beta function Iₓ(a, b): DLMF 8.17.
fn mass_below(x: f64, a: f64, b: f64) -> f64 {
    // The fraction settles fast below the mean; above, the mirror image is taken.
    if x > (a + 1.0) / (a + b + 2.0) {
        return 1.0 - mass_below(1.0 - x, b, a);
    }
    let log_beta = libm::lgamma(a) + libm::lgamma(b) - libm::lgamma(a + b);
    let front = libm::exp(a * libm::log(x) + b * libm::log1p(-x) - log_beta) / a;
    front / fraction(x, a, b)
}

/// The denominator of DLMF 8.17.22, 1 + d₁/(1 + d₂/(1 + …)), by Lentz's method.
fn fraction(x: f64, a: f64, b: f64) -> f64 {
    let (mut f, mut c, mut d) = (1.0, 1.0, 0.0);
    for n in 1..MOST_TERMS {
        let m = (n / 2) as f64;
        let term = if n % 2 == 0 {
            m * (b - m) * x / ((a + 2.0 * m - 1.0) * (a + 2.0 * m))
        } else {
            -(a + m) * (a + b + m) * x / ((a + 2.0 * m) * (a + 2.0 * m + 1.0))
        };
        d = 1.0 / (1.0 + term * d);
        c = 1.0 + term / c;
        f *= c * d;
        if (c * d - 1.0).abs() < 1e-16 {
            break;
        }
    }
    f
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_of_beta_one_one_are_the_line() {
        for p in [0.0, 1e-9, 0.25, 0.5, 0.999, 1.0] {
            assert!((quantile(p, 1.0, 1.0) - p).abs() < 1e-14, "{p}");
        }
    }

    /// Beta(½, ½) has the arcsine law: x = sin²(πp/2).
    #[test]
    fn quantiles_of_the_arcsine_law_are_its_sines() {
        for p in [1e-6, 0.01, 0.3, 0.5, 0.77, 0.9999] {
            let want = (std::f64::consts::FRAC_PI_2 * p).sin().powi(2);
            let got = quantile(p, 0.5, 0.5);
            assert!((got / want - 1.0).abs() < 1e-12, "{p}: {got} not {want}");
        }
    }

    /// Beta(a, 1) has the mass xᵃ below x.
    #[test]
    fn quantiles_of_a_power_law_are_its_roots() {
        for (p, a) in [(0.2, 3.0), (0.9, 3.0), (0.7, 0.25)] {
            let (got, want) = (quantile(p, a, 1.0), p.powf(1.0 / a));
            assert!((got / want - 1.0).abs() < 1e-12, "{p}: {got} not {want}");
        }
    }
}
