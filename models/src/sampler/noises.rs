//! Where a walk's noise comes from: the start's and the steps'.
//!
//! Promises
//! - The start noise is PyTorch's for the seed, whatever the steps do.
//! - What a step draws depends on the seed and on the steps before it, never on a clock or a
//!   device.

use burn::tensor::Tensor;

use super::brownian::BrownianTree;
use crate::choice::choices;
use crate::noise::Noise;

choices! {
    /// Where the noise comes from that a step adds.
    #[derive(Copy)]
    pub enum StepNoise {
        /// The stream that drew the start noise goes on, as diffusers does.
        Continue,
        /// A stream of its own, as ComfyUI has for a seed.
        Fresh {
            /// Added to the seed: 1 in today's ComfyUI on the CPU; 0 before November 2025, when
            /// the first step's noise was the start noise again.
            plus: usize [0..=1000] = 1,
        },
        /// One Brownian motion over the noise levels, the values of torchsde for the seed:
        /// k-diffusion's and ComfyUI's way for samplers of stochastic differential equations.
        ///
        /// More steps refine the same motion, so that pictures keep their content.
        Brownian,
    }
}

/// What a walk draws from.
pub trait NoiseSource {
    /// The start noise, like `x` in shape, device and dtype.
    fn start(&mut self, x: &Tensor<4>) -> Tensor<4>;

    /// Says where the steps' noise shall come from, for latents like `x` between two σ.
    fn prepare(&mut self, how: StepNoise, least: f64, most: f64, x: &Tensor<4>);

    /// Noise of variance 1 for the step from one σ to another, like `x`.
    fn step(&mut self, x: &Tensor<4>, from: f64, to: f64) -> Tensor<4>;
}

/// Draws that are handed in, one after the other: a replay.
impl<F: FnMut(&Tensor<4>) -> Tensor<4>> NoiseSource for F {
    fn start(&mut self, x: &Tensor<4>) -> Tensor<4> {
        self(x)
    }

    fn prepare(&mut self, _: StepNoise, _: f64, _: f64, _: &Tensor<4>) {}

    fn step(&mut self, x: &Tensor<4>, _: f64, _: f64) -> Tensor<4> {
        self(x)
    }
}

/// All noise of a walk, from a seed.
pub struct Seeded {
    seed: u64,
    stream: Noise,
    steps: Steps,
}

/// What draws the steps' noise.
enum Steps {
    /// The start's own stream.
    Start,
    /// Another.
    Apart(Box<Noise>),
    /// A Brownian motion over σ.
    Brownian(Box<BrownianTree>),
}

impl Seeded {
    /// The noise that `torch.manual_seed(seed)` starts.
    pub fn new(seed: u64) -> Self {
        Self {
            seed,
            stream: Noise::new(seed),
            steps: Steps::Start,
        }
    }
}

impl NoiseSource for Seeded {
    fn start(&mut self, x: &Tensor<4>) -> Tensor<4> {
        self.stream.like(x)
    }

    fn prepare(&mut self, how: StepNoise, least: f64, most: f64, x: &Tensor<4>) {
        self.steps = match how {
            StepNoise::Continue => Steps::Start,
            StepNoise::Fresh { plus } => {
                Steps::Apart(Box::new(Noise::new(self.seed.wrapping_add(plus as u64))))
            }
            StepNoise::Brownian => {
                let tree = BrownianTree::new(self.seed, least, most, &x.dims());
                Steps::Brownian(Box::new(tree))
            }
        };
    }

    fn step(&mut self, x: &Tensor<4>, from: f64, to: f64) -> Tensor<4> {
        match &mut self.steps {
            Steps::Start => self.stream.like(x),
            Steps::Apart(noise) => noise.like(x),
            Steps::Brownian(tree) => tree.like(x, from, to),
        }
    }
}
