//! The step sizes of `dpm_adaptive`.

use libm::{atan, pow};

use super::Adaptive;

/// A controller with proportional, integral and derivative answers to 1/error, as k-diffusion
/// has it; the limiter is that of Söderlind and Wang 2006.
pub(super) struct Pid {
    /// The step to try next.
    pub(super) h: f64,
    exponents: [f64; 3],
    accept_safety: f64,
    /// 1/error of this step and the two kept before it.
    inverse: Option<[f64; 3]>,
}

impl Pid {
    pub(super) fn new(how: &Adaptive) -> Self {
        let order = if how.eta > 0.0 { 1.5 } else { how.order as f64 };
        Self {
            h: how.h_init,
            exponents: [
                (how.pcoeff + how.icoeff + how.dcoeff) / order,
                -(how.pcoeff + 2.0 * how.dcoeff) / order,
                how.dcoeff / order,
            ],
            accept_safety: how.accept_safety,
            inverse: None,
        }
    }

    /// Whether a step of this error is kept; the next step becomes longer or shorter by it.
    pub(super) fn accepts(&mut self, error: f64) -> bool {
        let now = 1.0 / (error + 1e-8);
        let inverse = self.inverse.get_or_insert([now; 3]);
        inverse[0] = now;
        let powers = inverse.iter().zip(self.exponents);
        let factor: f64 = powers
            .map(|(base, exponent)| pow(*base, exponent))
            .product();
        let limited = 1.0 + atan(factor - 1.0);
        let keep = limited >= self.accept_safety;
        if keep {
            *inverse = [now, now, inverse[1]];
        }
        self.h *= limited;
        keep
    }
}
