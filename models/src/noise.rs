//! Start noise: the values of PyTorch's CPU `randn`, from a seed.
//!
//! One seed means one picture on every device, and the picture that ComfyUI and
//! diffusers draw with a CPU generator.
//!
//! Promises
//! - The values are torch's for `torch.Generator().manual_seed(seed)` followed by the
//!   same calls, to 1e-6: recorded values are in `tests/golden/noise.safetensors`.
//! - Equal seeds give equal bits on every machine: sine, cosine and logarithm come from
//!   the `libm` crate, never from the C library.
//!
//! Not here: f16 draws. Torch's own f16 `randn` is another sequence of roundings; like
//! ComfyUI and diffusers we draw in f32 and cast.

use burn::tensor::{DType, Device, Tensor, TensorData};

/// From this many values on, torch fills blocks of 16 instead of drawing pairs.
const BLOCK: usize = 16;

/// A stream of Gaussian noise, as `torch.Generator("cpu")` holds one.
///
/// Torch seeds its Mersenne Twister with one 32-bit word: of the `u64` seed only the low
/// 32 bits count, so seeds that differ above them draw the same noise.
///
/// ```
/// let mut noise = ldm_models::noise::Noise::new(42);
/// let x = noise.randn(&[5]);
/// assert!((x[0] - 0.33669037).abs() < 1e-6 && (x[4] + 1.12285638).abs() < 1e-6);
/// ```
#[derive(Clone, Debug)]
pub struct Noise {
    words: Mt19937,
    /// The second value of a pair, kept for the next draw of fewer than 16.
    kept: Option<f64>,
}

impl Noise {
    /// The stream that `manual_seed(seed)` starts.
    pub fn new(seed: u64) -> Self {
        Self {
            words: Mt19937::new(seed as u32),
            kept: None,
        }
    }

    /// `torch.randn(shape)`: the next values of N(0, 1), in row-major order.
    ///
    /// A batch is one call over `[batch, c, h, w]`, so picture 1 of a batch is not the
    /// picture of the next seed.
    pub fn randn(&mut self, shape: &[usize]) -> Vec<f32> {
        let n = shape.iter().product();
        if n < BLOCK {
            (0..n).map(|_| self.one() as f32).collect()
        } else {
            self.blocks(n)
        }
    }

    /// [`Noise::randn`] as an f32 tensor on `device`.
    pub fn tensor<const D: usize>(&mut self, shape: [usize; D], device: &Device) -> Tensor<D> {
        let data = TensorData::new(self.randn(&shape), shape);
        Tensor::from_data(data, (device, DType::F32))
    }

    /// Noise of the shape, device and dtype of `x`, drawn in f32 and cast.
    pub fn like<const D: usize>(&mut self, x: &Tensor<D>) -> Tensor<D> {
        self.tensor(x.dims(), &x.device()).cast(x.dtype())
    }

    /// One value of a short draw: Box–Muller in f64, two values from two uniforms.
    fn one(&mut self) -> f64 {
        if let Some(z) = self.kept.take() {
            return z;
        }
        let (u1, u2) = (self.uniform53(), self.uniform53());
        let r = libm::sqrt(-2.0 * libm::log(1.0 - u2));
        let theta = 2.0 * std::f64::consts::PI * u1;
        self.kept = Some(r * libm::sin(theta));
        r * libm::cos(theta)
    }

    /// A long draw: uniforms first, then Box–Muller in place, 16 at a time. A ragged end
    /// is drawn afresh over the last 16 places.
    fn blocks(&mut self, n: usize) -> Vec<f32> {
        let mut values: Vec<f32> = (0..n).map(|_| self.uniform24()).collect();
        values.chunks_exact_mut(BLOCK).for_each(box_muller);
        if !n.is_multiple_of(BLOCK) {
            let tail = &mut values[n - BLOCK..];
            tail.fill_with(|| self.uniform24());
            box_muller(tail);
        }
        values
    }

    /// A uniform f32 in 0..1 from the low 24 bits of one word.
    fn uniform24(&mut self) -> f32 {
        (self.words.next() & 0x00FF_FFFF) as f32 / (1u32 << 24) as f32
    }

    /// A uniform f64 in 0..1 from the low 53 bits of two words, the high word first.
    fn uniform53(&mut self) -> f64 {
        let x = u64::from(self.words.next()) << 32 | u64::from(self.words.next());
        (x & ((1 << 53) - 1)) as f64 / (1u64 << 53) as f64
    }
}

/// Turns 16 uniforms into 16 Gaussians: radii from the first eight, angles from the rest.
///
/// The angle is the f32 product that torch's vector code forms; a finer one would differ
/// from torch by more than 1e-6 where the radius is large.
fn box_muller(block: &mut [f32]) {
    let (a, b) = block.split_at_mut(BLOCK / 2);
    for (a, b) in a.iter_mut().zip(b) {
        let r = libm::sqrtf(-2.0 * libm::logf(1.0 - *a));
        let theta = std::f32::consts::TAU * *b;
        (*a, *b) = (r * libm::cosf(theta), r * libm::sinf(theta));
    }
}

/// The Mersenne Twister of Matsumoto and Nishimura (1998), 32-bit words.
#[derive(Clone, Debug)]
struct Mt19937 {
    state: [u32; 624],
    at: usize,
}

impl Mt19937 {
    /// The one-word initialisation of 2002, which torch and numpy use for a small seed.
    fn new(seed: u32) -> Self {
        let mut state = [seed; 624];
        for i in 1..624 {
            let last = state[i - 1];
            state[i] = 1_812_433_253u32
                .wrapping_mul(last ^ (last >> 30))
                .wrapping_add(i as u32);
        }
        Self { state, at: 624 }
    }

    fn next(&mut self) -> u32 {
        if self.at == 624 {
            self.twist();
            self.at = 0;
        }
        let mut y = self.state[self.at];
        self.at += 1;
        y ^= y >> 11;
        y ^= (y << 7) & 0x9D2C_5680;
        y ^= (y << 15) & 0xEFC6_0000;
        y ^ (y >> 18)
    }

    fn twist(&mut self) {
        for i in 0..624 {
            let y = (self.state[i] & 0x8000_0000) | (self.state[(i + 1) % 624] & 0x7FFF_FFFF);
            let mag = if y & 1 == 1 { 0x9908_B0DF } else { 0 };
            self.state[i] = self.state[(i + 397) % 624] ^ (y >> 1) ^ mag;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Asserts the first and last values of a draw recorded from torch 2.15.
    fn check(noise: &mut Noise, shape: &[usize], first: &[f64], last: &[f64]) {
        let x: Vec<f64> = noise.randn(shape).into_iter().map(f64::from).collect();
        assert_eq!(x.len(), shape.iter().product::<usize>());
        for (got, want) in x
            .iter()
            .zip(first)
            .chain(x[x.len() - last.len()..].iter().zip(last))
        {
            assert!((got - want).abs() <= 1e-6, "{shape:?}: {got} is not {want}");
        }
    }

    #[test]
    fn the_twister_gives_the_reference_words() {
        // The first outputs for seed 5489, the default seed of C++'s std::mt19937.
        let mut words = Mt19937::new(5489);
        assert_eq!(
            [words.next(), words.next(), words.next()],
            [3499211612, 581869302, 3890346734]
        );
        for _ in 3..9_999 {
            words.next();
        }
        // The standard states the ten-thousandth ([rand.predef]).
        assert_eq!(words.next(), 4123659995);
    }

    #[test]
    fn short_and_long_draws_follow_torch_through_one_stream() {
        let mut noise = Noise::new(42);
        let short = [
            0.336690366,
            0.128809407,
            0.234462366,
            0.23033303,
            -1.12285638,
        ];
        check(&mut noise, &[5], &short, &[]);
        // The first of these was kept from the draw before.
        check(
            &mut noise,
            &[3],
            &[-0.186328292, 2.20820141, -0.637997031],
            &[],
        );
        let tail = [0.896268308, 0.0499053858, 2.26671791];
        check(
            &mut noise,
            &[20],
            &[1.64231694, -0.159597471, -0.497397542],
            &tail,
        );
        check(&mut noise, &[2], &[0.522716045, -0.238356873], &[]);
        let (first, last) = ([-0.837124646, -0.922390044], [-0.188153133, -0.771153212]);
        check(&mut noise, &[1, 4, 8, 8], &first, &last);
        let (first, last) = ([0.213682994, -1.23510599], [1.21011269, -2.14114237]);
        check(&mut noise, &[4, 4, 8, 8], &first, &last);
    }

    #[test]
    fn ragged_ends_are_drawn_afresh() {
        let mut noise = Noise::new(0);
        check(
            &mut noise,
            &[16],
            &[-1.12583983, -1.1523602],
            &[1.11677718, -0.247278154],
        );
        check(
            &mut noise,
            &[37],
            &[-1.35265374, -1.6959312],
            &[-0.49492535, -1.49591494],
        );
        check(&mut noise, &[1], &[0.667359293], &[]);
        let mut noise = Noise::new((1 << 31) + 5);
        check(
            &mut noise,
            &[2, 3],
            &[0.50073576, -0.356022298],
            &[1.34556198, -1.02745724],
        );
        check(
            &mut noise,
            &[16387],
            &[0.703375161, 1.30008852],
            &[-0.418537915, 0.303623199],
        );
    }

    #[test]
    fn only_the_low_32_bits_of_a_seed_count() {
        let draw = |seed| Noise::new(seed).randn(&[40]);
        assert_eq!(draw((1 << 32) + 42), draw(42));
        assert_ne!(draw(43), draw(42));
        let mut noise = Noise::new(i64::MAX as u64);
        check(
            &mut noise,
            &[5],
            &[1.21976304, -0.392979473],
            &[-0.0755101964],
        );
        check(&mut noise, &[17], &[1.87585175], &[1.56224072]);
    }

    #[test]
    fn a_tensor_of_noise_has_the_shape_and_dtype_of_its_model() {
        let device = Device::flex();
        let x = Tensor::<4>::zeros([2, 3, 4, 5], (&device, DType::F16));
        let drawn = Noise::new(7).like(&x);
        assert_eq!((drawn.dims(), drawn.dtype()), ([2, 3, 4, 5], DType::F16));
        let values = Noise::new(7).tensor([2, 3, 4, 5], &device).into_data();
        assert_eq!(
            values.try_to_vec::<f32>().unwrap(),
            Noise::new(7).randn(&[120])
        );
    }

    #[test]
    fn nothing_is_drawn_for_an_empty_shape() {
        let mut noise = Noise::new(1);
        assert!(noise.randn(&[4, 0]).is_empty());
        assert_eq!(noise.randn(&[20]), Noise::new(1).randn(&[20]));
    }
}
