//! Training of the KL autoencoder: rebuild the picture, keep the latent near a Gaussian.
//!
//! Rombach et al. 2022, equation 25, with `L_rec = |x − D(z)|` and without the
//! perceptual and adversarial terms.

use std::ops::ControlFlow;
use std::path::Path;

use burn::tensor::{Device, Tensor, TensorData};

use super::error::Result;
use super::{Dataset, Draw, Schedule, Step, Trained, train};
use crate::autoencoder::{KlAutoencoder, KlAutoencoderConfig};

/// What is trained, and how.
#[derive(Debug, Clone)]
pub struct AutoencoderTraining {
    /// The network.
    pub config: KlAutoencoderConfig,
    /// Length and speed.
    pub schedule: Schedule,
    /// Pictures a step.
    pub batch: usize,
    /// Weight of the KL term, both terms counted per picture element.
    pub kl_weight: f64,
    /// Seed of the initial weights, the batches and the posterior's noise.
    pub seed: u64,
}

impl AutoencoderTraining {
    /// Trains on `data` with the state kept under `work`.
    ///
    /// # Errors
    /// As [`train`], and a config that does not fit together.
    pub fn run(
        &self,
        data: &dyn Dataset,
        work: &Path,
        device: &Device,
        on_step: &mut dyn FnMut(&Step) -> ControlFlow<()>,
    ) -> Result<Trained<KlAutoencoder>> {
        let device = device.clone().autodiff();
        let model = self.config.init(&device, self.seed)?;
        let loss = |model: &KlAutoencoder, step| Ok(self.loss(model, step, data, &device));
        train(
            model,
            &self.schedule,
            (work, &self.fingerprint(data)),
            loss,
            on_step,
        )
    }

    /// Mean |x − x̂| over elements plus `kl_weight` times the KL divergence per element.
    fn loss(
        &self,
        model: &KlAutoencoder,
        step: u64,
        data: &dyn Dataset,
        device: &Device,
    ) -> Tensor<1> {
        let mut draw = Draw::new(self.seed, step);
        let indices: Vec<_> = (0..self.batch).map(|_| draw.below(data.len())).collect();
        let shape = [self.batch, 3, data.size(), data.size()];
        let x = Tensor::<4>::from_data(TensorData::new(data.pictures(&indices), shape), device);
        let posterior = model.encode(x.clone());
        let noise = draw.normal(posterior.mean.dims().iter().product());
        let noise = TensorData::new(noise, posterior.mean.dims());
        let z = posterior.sample(Tensor::from_data(noise, device));
        let rec = (model.decode(z) - x).abs();
        let elements = shape.iter().product::<usize>() as f64;
        (sum(rec) + posterior.kl().sum_dim(0) * self.kl_weight) / elements
    }

    /// Names this training on this data: everything but the number of steps, so that raising
    /// it continues.
    pub fn fingerprint(&self, data: &dyn Dataset) -> String {
        let schedule = Schedule {
            steps: 0,
            checkpoint_every: 0,
            ..self.schedule
        };
        let seen = (data.len(), data.size());
        format!(
            "{:?}",
            Self {
                schedule,
                ..self.clone()
            }
        ) + &format!("{seen:?}")
    }
}

/// The sum of all elements, row by row: burn's own full sum follows work stealing.
pub(super) fn sum(x: Tensor<4>) -> Tensor<1> {
    let [b, ..] = x.dims();
    let rows: Tensor<2> = x.reshape([b as i64, -1]);
    rows.sum_dim(1).sum_dim(0).reshape([1])
}
