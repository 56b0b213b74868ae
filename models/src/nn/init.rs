//! Fresh parameters: named by their network and order, filled from a seed.
//!
//! Promises
//! - The same network, seed and shapes give the same bits on every machine and device:
//!   numbers are drawn on the host by SplitMix64, each parameter from its own stream.
//! - Nothing is drawn before it is used: a network that is loaded right after it was
//!   made never pays for its fresh parameters.
//! - A parameter's id is the same in every process, so that an optimiser's state can be
//!   stored by id and found again.

use burn::module::Param;
use burn::tensor::{Device, Tensor, TensorData};

/// Hands out the parameters of one network, in the order of its construction.
#[derive(Debug)]
pub struct Init {
    device: Device,
    seed: u64,
    network: u64,
    made: u64,
}

impl Init {
    /// Parameters for the network called `network` on `device`, drawn from `seed`.
    ///
    /// Two networks that are trained by one optimiser need different names, since ids
    /// come from the name.
    pub fn new(network: &str, device: &Device, seed: u64) -> Self {
        let digest = blake3::hash(network.as_bytes());
        let first = digest
            .as_bytes()
            .first_chunk()
            .expect("a digest has 32 bytes");
        Self {
            device: device.clone(),
            seed,
            network: u64::from_le_bytes(*first),
            made: 0,
        }
    }

    /// U(−`bound`, `bound`).
    pub fn uniform<const D: usize>(&mut self, shape: [usize; D], bound: f64) -> Param<Tensor<D>> {
        self.parameter(shape, move |stream| {
            (bound * (2.0 * stream.unit() - 1.0)) as f32
        })
    }

    /// N(0, `std`²).
    pub fn normal<const D: usize>(&mut self, shape: [usize; D], std: f64) -> Param<Tensor<D>> {
        self.parameter(shape, move |stream| (std * stream.normal()) as f32)
    }

    /// `value` everywhere.
    pub fn constant<const D: usize>(&mut self, shape: [usize; D], value: f32) -> Param<Tensor<D>> {
        self.parameter(shape, move |_| value)
    }

    fn parameter<const D: usize>(
        &mut self,
        shape: [usize; D],
        draw: impl Fn(&mut Stream) -> f32 + Send + Sync + 'static,
    ) -> Param<Tensor<D>> {
        let id = mix(self.network.wrapping_add(self.made));
        let mut stream = Stream(mix(self.seed ^ id));
        self.made += 1;
        let fill = move |device: &Device, require_grad: bool| {
            let numbers = (0..shape.iter().product())
                .map(|_| draw(&mut stream))
                .collect();
            let data = TensorData::new::<f32, _>(numbers, shape);
            device.memory_persistent_allocations(data, |data| {
                Tensor::<D>::from_data(data, device).set_require_grad(require_grad)
            })
        };
        Param::uninitialized(id.into(), fill, self.device.clone(), true, shape.into())
    }
}

/// Steele, Lea and Flood's SplitMix64: a counter put through a mixer.
struct Stream(u64);

impl Stream {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(GOLDEN);
        mix(self.0)
    }

    /// A number in [0, 1) with 53 random bits.
    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// A standard normal number, by Box and Muller; its twin is thrown away.
    fn normal(&mut self) -> f64 {
        let radius = libm::sqrt(-2.0 * libm::log(1.0 - self.unit()));
        radius * libm::cos(std::f64::consts::TAU * self.unit())
    }
}

/// 2⁶⁴ divided by the golden ratio, odd.
const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;

fn mix(x: u64) -> u64 {
    let x = x.wrapping_add(GOLDEN);
    let x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    x ^ (x >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(param: &Param<Tensor<1>>) -> Vec<f32> {
        param.val().into_data().try_to_vec().unwrap()
    }

    #[test]
    fn the_same_seed_draws_the_same_parameters_under_the_same_ids() {
        let draw = |seed| {
            let mut init = Init::new("net", &Device::flex(), seed);
            [init.uniform([64], 0.5), init.normal([64], 0.5)]
        };
        let ([a, b], [c, d], [e, _]) = (draw(7), draw(7), draw(8));
        assert_eq!((values(&a), values(&b)), (values(&c), values(&d)));
        assert_eq!((a.id, b.id), (c.id, d.id));
        assert_ne!(values(&a), values(&e));
        assert_ne!(a.id, b.id);
        let other = Init::new("other", &Device::flex(), 7).uniform([64], 0.5);
        assert_ne!(a.id, other.id);
    }

    #[test]
    fn the_distributions_have_the_bounds_and_moments_they_say() {
        let mut init = Init::new("net", &Device::flex(), 1);
        let uniform = values(&init.uniform([40_000], 0.25));
        let normal = values(&init.normal([40_000], 0.02));
        let moments = |v: &[f32]| {
            let n = v.len() as f64;
            let mean = v.iter().map(|&x| f64::from(x)).sum::<f64>() / n;
            let square = v.iter().map(|&x| f64::from(x) * f64::from(x)).sum::<f64>() / n;
            (mean, (square - mean * mean).sqrt())
        };
        assert!(uniform.iter().all(|x| x.abs() <= 0.25));
        let ((um, us), (nm, ns)) = (moments(&uniform), moments(&normal));
        assert!(
            um.abs() < 4e-3 && (us - 0.25 / 3f64.sqrt()).abs() < 2e-3,
            "{um} {us}"
        );
        assert!(nm.abs() < 6e-4 && (ns - 0.02).abs() < 4e-4, "{nm} {ns}");
    }

    #[test]
    fn nothing_is_drawn_before_it_is_used() {
        let huge = Init::new("net", &Device::flex(), 1).uniform([1 << 40], 1.0);
        assert_eq!(huge.lazy_shape().num_elements(), 1 << 40);
        assert!(!huge.is_initialized());
    }
}
