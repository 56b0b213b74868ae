//! The timestep as a vector: waves of falling frequency, then two linear layers.
//!
//! ```text
//! t ─ [cos t·f, sin t·f] ─ linear1 ─ silu ─ linear2 ─ out       f = 10000^(−i / half)
//! ```
//!
//! Ho et al. 2020 (arXiv 2006.11239) write the sines first and divide by half − 1; the
//! latent diffusion networks do as drawn here.

use burn::module::Module;
use burn::tensor::{Tensor, TensorData};
use ldm_kernels as kernels;

use crate::nn::{Init, Linear};

/// From timesteps to the vector that every block is told.
#[derive(Module, Debug)]
pub(crate) struct TimeEmbedding {
    linear1: Linear,
    linear2: Linear,
    waves: usize,
}

impl TimeEmbedding {
    pub(super) fn new(init: &mut Init, width: usize) -> Self {
        Self {
            linear1: Linear::new(init, width, 4 * width),
            linear2: Linear::new(init, 4 * width, 4 * width),
            waves: width,
        }
    }

    /// `t [b]` in f32 → `[b, 4·width]` in the type that the network
    /// computes in
    pub(super) fn forward(&self, t: Tensor<1>) -> Tensor<2> {
        let told = waves(t, self.waves).cast(self.linear1.dtype());
        let t = self.linear1.forward(told);
        self.linear2.forward(kernels::silu(t))
    }
}

/// `t [b]` → `[b, width]`: cosines, then sines, then a zero where `width` is odd.
///
/// Timesteps are told by these, and SDXL's sizes and crops.
pub fn waves(t: Tensor<1>, width: usize) -> Tensor<2> {
    let half = width / 2;
    let slowest = 10_000f64;
    let frequencies: Vec<f32> = (0..half)
        .map(|i| libm::exp(-libm::log(slowest) * i as f64 / half as f64) as f32)
        .collect();
    let [b] = t.dims();
    let options = (&t.device(), t.dtype());
    let frequencies = Tensor::<2>::from_data(TensorData::new(frequencies, [1, half]), options);
    let angles = t.reshape([b, 1]) * frequencies; // [b, half]
    let mut parts = vec![angles.clone().cos(), angles.sin()];
    if width % 2 == 1 {
        parts.push(Tensor::zeros([b, 1], options));
    }
    Tensor::cat(parts, 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::weights::TensorFile;
    use burn::tensor::Device;

    #[test]
    fn cosines_come_first_and_an_odd_width_ends_in_zero() {
        let t = Tensor::<1>::from_data([0.0, 3.0], &Device::flex());
        let got: Vec<f32> = waves(t, 5).into_data().try_to_vec().unwrap();
        let slow = 3.0 * 0.01f32;
        let wanted = [
            [1.0, 1.0, 0.0, 0.0, 0.0],
            [3f32.cos(), slow.cos(), 3f32.sin(), slow.sin(), 0.0],
        ];
        for (got, wanted) in got.iter().zip(wanted.as_flattened()) {
            assert!((got - wanted).abs() < 1e-6, "{got} {wanted}");
        }
    }

    /// Recorded from CompVis's code by `tests/reference/networks.py`.
    #[test]
    fn waves_are_those_of_the_reference() {
        let path = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../tests/golden/timesteps.safetensors"
        );
        let file = TensorFile::open(path.as_ref()).unwrap();
        let t = file.read("t").unwrap();
        for width in [7, 8, 32, 320] {
            let t = Tensor::<1>::from_data(&t[..], &Device::flex());
            let got: Vec<f32> = waves(t, width).into_data().try_to_vec().unwrap();
            let torch = file
                .note(&format!("f32_error.dim{width}"))
                .unwrap()
                .parse::<f32>()
                .unwrap();
            let wanted = file.read(&format!("dim{width}")).unwrap();
            assert_eq!(got.len(), wanted.len());
            for (got, wanted) in got.iter().zip(&wanted) {
                // Half is below the standard deviation of any of them.
                let allowed = 0.5 * (4.0 * torch).max(1e-5);
                assert!(
                    (got - wanted).abs() <= allowed,
                    "{got} {wanted} of width {width}"
                );
            }
        }
    }
}
