//! A Brownian motion over noise levels, found again at any level from a seed alone.
//!
//! The motion is torchsde's `BrownianTree` (Li et al. 2020, arXiv 2001.01328) for the same
//! seed and range: halves of intervals are drawn by Brownian bridges, each from a seed of its
//! own that numpy's `SeedSequence` splits off. So pictures agree with k-diffusion and ComfyUI,
//! and the order of the questions does not matter.
//!
//! Promises, each tested
//! - W(a, c) = W(a, b) + W(b, c), and W(a, b) has the variance |b − a|.
//! - Equal seeds and ranges give equal values whatever was asked before.
//! - The values are torchsde's: recorded in `tests/golden/brownian.safetensors`.

use burn::tensor::{DType, Tensor, TensorData};

use crate::noise::Noise;

/// numpy's `pool_size` in torchsde's tree.
const POOL: usize = 24;

/// Points whose motion is kept: a step asks for three at most.
const KEPT: usize = 4;

/// Brownian motion of a latent over an interval of σ.
pub struct BrownianTree {
    seed: u64,
    shape: [usize; 4],
    /// The interval, to six places.
    ends: (f64, f64),
    /// The motion over all of it.
    whole: Vec<f64>,
    /// The motion from the lower end to some points.
    kept: Vec<(f64, Vec<f64>)>,
}

impl BrownianTree {
    /// The motion of a latent of `shape [b, c, h, w]` from `least` to `most`.
    pub fn new(seed: u64, least: f64, most: f64, shape: &[usize; 4]) -> Self {
        let [least, most] = [least, most].map(single);
        let length = (most - least).abs().sqrt();
        let whole = gauss(shape, seeds(seed, &[])[0]);
        Self {
            seed,
            shape: *shape,
            ends: (rounded(least.min(most)), rounded(least.max(most))),
            whole: whole.into_iter().map(|z| z * length).collect(),
            kept: Vec::new(),
        }
    }

    /// What is added from one σ to another, in units of its own spread, like `x` in device
    /// and dtype.
    pub fn like(&mut self, x: &Tensor<4>, from: f64, to: f64) -> Tensor<4> {
        let [from, to] = [from, to].map(single);
        // From a level to itself nothing is added, where a quotient would be none.
        let length = (to - from).abs().sqrt().max(f64::MIN_POSITIVE);
        let values: Vec<f32> = self
            .between(from, to)
            .iter()
            .map(|w| (w / length) as f32)
            .collect();
        let data = TensorData::new(values, self.shape);
        Tensor::<4>::from_data(data, (&x.device(), DType::F32)).cast(x.dtype())
    }

    /// W(to) − W(from), in row-major order.
    fn between(&mut self, from: f64, to: f64) -> Vec<f64> {
        let from = self.at(from);
        let to = self.at(to);
        to.iter().zip(&from).map(|(to, from)| to - from).collect()
    }

    /// W at `sigma`, counted from the lower end; beyond the ends, the end's.
    fn at(&mut self, sigma: f64) -> Vec<f64> {
        let t = rounded(sigma).clamp(self.ends.0, self.ends.1);
        if let Some((_, w)) = self.kept.iter().find(|(point, _)| *point == t) {
            return w.clone();
        }
        let w = self.bridge(t);
        if self.kept.len() == KEPT {
            self.kept.remove(0);
        }
        self.kept.push((t, w.clone()));
        w
    }

    /// Halves the interval that holds `t` until `t` is an end of it.
    fn bridge(&self, t: f64) -> Vec<f64> {
        let (mut low, mut high) = self.ends;
        let mut below = vec![0.0; self.whole.len()];
        let mut inside = self.whole.clone();
        let (mut key, mut depth) = (0, 0);
        while low < t && t < high {
            let middle = rounded(0.5 * (low + high));
            let share = (middle - low) / (high - low);
            let spread = ((middle - low) * (high - middle) / (high - low)).sqrt();
            let fresh = gauss(&self.shape, seeds(self.seed, &[key, depth])[0]);
            let left = inside
                .iter()
                .zip(fresh)
                .map(|(w, z)| share * w + spread * z);
            let left: Vec<f64> = left.collect();
            if t <= middle {
                (inside, high, key) = (left, middle, 2 * key);
            } else {
                for (i, left) in left.into_iter().enumerate() {
                    below[i] += left;
                    inside[i] -= left;
                }
                (low, key) = (middle, 2 * key + 1);
            }
            depth += 1;
        }
        if t >= high {
            below
                .iter_mut()
                .zip(inside)
                .for_each(|(below, w)| *below += w);
        }
        below
    }
}

/// The f32 nearest to `sigma`: what ComfyUI's schedules hand to the tree.
fn single(sigma: f64) -> f64 {
    f64::from(sigma as f32)
}

/// To six decimal places, as Python's `round`: by the exact decimal value.
fn rounded(x: f64) -> f64 {
    format!("{x:.6}").parse().expect("digits make a number")
}

/// Standard normal values from one 32-bit seed, as torch draws them.
fn gauss(shape: &[usize], seed: u32) -> Vec<f64> {
    let mut noise = Noise::new(u64::from(seed));
    noise.randn(shape).into_iter().map(f64::from).collect()
}

/// The first words of numpy's `SeedSequence(entropy, spawn_key, pool_size=24)`.
///
/// After O'Neill's `seed_seq_fe`; the constants are numpy's.
fn seeds(entropy: u64, spawn_key: &[u64]) -> [u32; 4] {
    let mut words = words(entropy);
    if !spawn_key.is_empty() {
        words.resize(words.len().max(POOL), 0);
        spawn_key
            .iter()
            .for_each(|key| words.extend(self::words(*key)));
    }
    let mut pool = mixed(&words);
    let mut constant = 0x8b51_f9dd_u32;
    for word in &mut pool[..4] {
        *word ^= constant;
        constant = constant.wrapping_mul(0x58f3_8ded);
        *word = word.wrapping_mul(constant);
        *word ^= *word >> 16;
    }
    [pool[0], pool[1], pool[2], pool[3]]
}

/// A number as 32-bit words, the lowest first; 0 is one word.
fn words(number: u64) -> Vec<u32> {
    let (low, high) = (number as u32, (number >> 32) as u32);
    if high == 0 {
        vec![low]
    } else {
        vec![low, high]
    }
}

/// The pool in which every word has met every other.
fn mixed(words: &[u32]) -> [u32; POOL] {
    let mut constant = 0x43b0_d7e5_u32;
    let mut hash = |word: u32| {
        let word = word ^ constant;
        constant = constant.wrapping_mul(0x931e_8875);
        let word = word.wrapping_mul(constant);
        word ^ (word >> 16)
    };
    let mix = |x: u32, y: u32| {
        let word = x
            .wrapping_mul(0xca01_f9dd)
            .wrapping_sub(y.wrapping_mul(0x4973_f715));
        word ^ (word >> 16)
    };
    let mut pool = [0; POOL];
    for (i, word) in pool.iter_mut().enumerate() {
        *word = hash(words.get(i).copied().unwrap_or(0));
    }
    for from in 0..POOL {
        for to in (0..POOL).filter(|to| *to != from) {
            pool[to] = mix(pool[to], hash(pool[from]));
        }
    }
    for &word in words.iter().skip(POOL) {
        for to in &mut pool {
            *to = mix(*to, hash(word));
        }
    }
    pool
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHAPE: [usize; 4] = [2, 4, 16, 16];

    fn tree() -> BrownianTree {
        BrownianTree::new(7, 0.03, 14.6, &SHAPE)
    }

    fn variance(w: &[f64]) -> f64 {
        w.iter().map(|w| w * w).sum::<f64>() / w.len() as f64
    }

    #[test]
    fn from_a_level_to_itself_nothing_is_added() {
        let x = Tensor::<4>::zeros([1, 1, 2, 2], &burn::tensor::Device::flex());
        let mut motion = BrownianTree::new(3, 0.1, 10.0, &[1, 1, 2, 2]);
        let added = motion.like(&x, 2.0, 2.0).into_data().try_into_vec::<f32>();
        assert_eq!(added.unwrap(), [0.0; 4]);
    }

    #[test]
    fn increments_add_up_and_have_the_variance_of_their_length() {
        let mut tree = tree();
        let points = [14.6, 9.0, 8.5, 3.1, 0.4, 0.03];
        let all = tree.between(14.6, 0.03);
        let mut sum = vec![0.0; all.len()];
        for pair in points.windows(2) {
            let part = tree.between(pair[0], pair[1]);
            // 2048 values: their variance strays by 3 % of itself as often as not.
            let share = variance(&part) / (pair[0] - pair[1]);
            assert!((0.87..1.13).contains(&share), "{pair:?}: {share}");
            sum.iter_mut().zip(part).for_each(|(sum, w)| *sum += w);
        }
        let apart = sum.iter().zip(all).map(|(a, b)| (a - b).abs());
        assert!(apart.fold(0.0, f64::max) < 1e-12);
    }

    #[test]
    fn steps_that_do_not_overlap_are_independent() {
        let mut tree = tree();
        let (a, b) = (tree.between(9.0, 5.0), tree.between(5.0, 2.0));
        let shared = a.iter().zip(&b).map(|(a, b)| a * b).sum::<f64>() / a.len() as f64;
        let shared = shared / (variance(&a) * variance(&b)).sqrt();
        assert!(shared.abs() < 0.08, "{shared}");
    }

    #[test]
    fn the_order_of_questions_does_not_matter() {
        let (mut one, mut other) = (tree(), tree());
        let first = one.between(7.0, 2.0);
        for (from, to) in [(14.6, 0.1), (3.0, 2.9), (2.0, 1.0), (1.0, 0.5), (0.5, 0.2)] {
            other.between(from, to);
        }
        assert_eq!(first, other.between(7.0, 2.0));
        let back = one.between(2.0, 7.0);
        assert!(back.iter().zip(&first).all(|(a, b)| *a == -b));
    }

    #[test]
    fn beyond_the_ends_nothing_moves() {
        let mut tree = tree();
        assert!(tree.between(14.6, 80.0).iter().all(|w| *w == 0.0));
        assert!(tree.between(0.03, 0.0).iter().all(|w| *w == 0.0));
    }

    #[test]
    fn seeds_are_those_of_numpy() {
        // numpy.random.SeedSequence(42, spawn_key=(5, 3), pool_size=24).generate_state(4)
        assert_eq!(
            seeds(42, &[5, 3]),
            [3084123560, 468215949, 242942938, 2650128260]
        );
        assert_eq!(
            seeds(42, &[]),
            [387750627, 2536650517, 4078839648, 2023786165]
        );
        assert_eq!(
            seeds((1 << 40) + 3, &[0, 0]),
            [2818185428, 3486231666, 4234899130, 735342412]
        );
    }
}
