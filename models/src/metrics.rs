//! Numbers that judge pictures.
//!
//! Promises
//! - Sums run in `f64` and in order, so a figure does not depend on the thread count.
//!
//! Not here: what a picture shows (`ldm-world`'s checker), feature networks (FID, LPIPS).

/// Peak signal-to-noise ratio in dB between two pictures whose values span `range`.
///
/// `10 log₁₀(range² / mse)`; equal pictures give infinity. The paper reports the mean
/// over pictures of this figure (Rombach et al. 2022, table 8).
///
/// # Panics
/// When the two differ in length: that is a bug of the caller, not a fault of a picture.
pub fn psnr(wanted: &[f32], found: &[f32], range: f64) -> f64 {
    assert_eq!(wanted.len(), found.len(), "two pictures of one size");
    let squares: f64 = wanted
        .iter()
        .zip(found)
        .map(|(a, b)| f64::from(a - b).powi(2))
        .sum();
    let mse = squares / wanted.len() as f64;
    10.0 * (range * range / mse).log10()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uniform_error_gives_the_textbook_figure() {
        let (a, b) = (vec![0.0; 48], vec![0.1; 48]);
        assert!((psnr(&a, &b, 1.0) - 20.0).abs() < 1e-5);
        assert!((psnr(&a, &b, 2.0) - 26.0206).abs() < 1e-3);
    }

    #[test]
    fn equal_pictures_are_infinitely_close() {
        assert_eq!(psnr(&[0.5; 3], &[0.5; 3], 1.0), f64::INFINITY);
    }
}
