//! Keeping part of a latent as it is, with a network that was not trained to.
//!
//! ComfyUI's way, with its noise mask: what the network sees outside the mask is the latent
//! that is kept, under the noise that the walk began with, and what it is heard to say there is
//! that latent. (CompVis's samplers set the state itself, with fresh noise at each step, and
//! let the network say what it likes.) Being a network, it needs no help of a sampler.

use burn::tensor::Tensor;

use super::space::Space;
use crate::prediction::{Both, Network, Prediction};
use crate::schedule::NoiseSchedule;

/// A network that makes anew what a mask covers, and repeats the rest.
pub struct Keeping<'a> {
    /// The network underneath.
    pub network: &'a dyn Network,
    /// The schedule it was trained on.
    pub schedule: &'a NoiseSchedule,
    /// What it predicts.
    pub prediction: Prediction,
    /// 1 where the latent is made anew, 0 where it is kept, `[1 or b, 1, h, w]`.
    pub mask: Tensor<4>,
    /// What is kept, `[b, c, h, w]`.
    pub latent: Tensor<4>,
    /// The noise that the walk begins with, `[b, c, h, w]`.
    pub noise: Tensor<4>,
}

impl Network for Keeping<'_> {
    fn predict(&self, x: Tensor<4>, t: f64) -> Tensor<4> {
        self.predict_both(x, t).guided
    }

    fn predict_both(&self, x: Tensor<4>, t: f64) -> Both {
        let space = Space::at(t, self.schedule, self.prediction);
        let known = self.latent.clone() * space.signal + self.noise.clone() * space.spread;
        let seen = self.blend(x.clone(), known);
        let both = self.network.predict_both(seen.clone(), t);
        let kept = |out| {
            let clean = self.blend(space.clean(seen.clone(), out), self.latent.clone());
            space.output(x.clone(), clean)
        };
        Both {
            guided: kept(both.guided),
            negative: kept(both.negative),
        }
    }

    fn ahead(&self, timesteps: &[f64]) {
        self.network.ahead(timesteps);
    }
}

impl Keeping<'_> {
    /// `new` where the mask is 1, `kept` where it is 0.
    fn blend(&self, new: Tensor<4>, kept: Tensor<4>) -> Tensor<4> {
        new * self.mask.clone() + kept * (-self.mask.clone() + 1.0)
    }
}
