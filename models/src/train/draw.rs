//! Random choices of one training step, a function of seed and step alone.

use crate::noise::Noise;

/// A stream of random choices for step `step` of a loop seeded with `seed`.
///
/// SplitMix64 (Steele, Lea and Flood 2014), started from a mix of both numbers, so that
/// a resumed loop draws what an unbroken one would have drawn.
#[derive(Debug, Clone)]
pub struct Draw(u64);

impl Draw {
    /// The stream of step `step`.
    pub fn new(seed: u64, step: u64) -> Self {
        let mut draw = Self(seed ^ 0x6c64_6d2d_6772_6170);
        draw.0 = draw.word() ^ step.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        draw.word();
        draw
    }

    /// 64 random bits.
    pub fn word(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// An index below `n`, which is above 0; the bias is under `n` / 2⁶⁴.
    pub fn below(&mut self, n: usize) -> usize {
        ((u128::from(self.word()) * n as u128) >> 64) as usize
    }

    /// A number in 0..1.
    pub fn unit(&mut self) -> f64 {
        (self.word() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// `n` standard normal values.
    pub fn normal(&mut self, n: usize) -> Vec<f32> {
        Noise::new(self.word()).randn(&[n])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_draws_the_same_whatever_came_before() {
        let mut first = Draw::new(7, 100);
        let _ = Draw::new(7, 99).word();
        let mut again = Draw::new(7, 100);
        assert_eq!(first.word(), again.word());
        assert_ne!(first.word(), Draw::new(7, 101).word());
        assert_ne!(first.word(), Draw::new(8, 100).word());
    }

    #[test]
    fn indices_cover_their_range_evenly() {
        let mut draw = Draw::new(1, 0);
        let mut seen = [0; 10];
        (0..10_000).for_each(|_| seen[draw.below(10)] += 1);
        assert!(seen.iter().all(|&n| (850..1150).contains(&n)), "{seen:?}");
    }
}
