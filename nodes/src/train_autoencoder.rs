//! `TrainAutoencoder`: pictures in, the network that compresses them out.

use std::ops::ControlFlow;

use ldm_engine::{Ctx, Data, Error, Facts, In, Node, Result};
use ldm_models::autoencoder::{Autoencoder, KlAutoencoderConfig, VaeConfig};
use ldm_models::train::autoencoder::AutoencoderTraining;
use ldm_models::train::{AdamWSettings, Schedule, TrainError};

use crate::machine::Machine;
use crate::values::{Dataset, DatasetFacts, Vae, VaeAbout};

/// Trains a KL autoencoder from scratch.
///
/// The state is written to the cache folder every `checkpoint_every` steps: a run that was
/// stopped continues, and so does a finished one when `steps` is raised. The result has the
/// averaged weights, and a latent scale of 1 until a UNet is trained on it.
///
/// ```ron
/// "vae": TrainAutoencoder(
///     dataset: "scenes", channels: 16, multipliers: [1, 2, 4, 4], blocks: 1,
///     latent_channels: 8, norm_groups: 8, steps: 2800, batch: 8, lr: 0.0015,
/// )
/// ```
#[derive(Node)]
#[node(version = 2, device)]
pub(crate) struct TrainAutoencoder {
    /// The pictures.
    dataset: In<Dataset>,
    /// Width of the finest level.
    #[node(default = 128, range = 8..=1024)]
    channels: usize,
    /// Width of each level as a multiple of `channels`; each after the first halves the size.
    multipliers: Vec<usize>,
    /// Residual blocks a level.
    #[node(default = 2, range = 1..=8)]
    blocks: usize,
    /// Channels of the latent.
    #[node(default = 4, range = 1..=256)]
    latent_channels: usize,
    /// Groups of every norm; divides every width.
    #[node(default = 32, range = 1..=256)]
    norm_groups: usize,
    /// Training steps in all.
    #[node(range = 1..=100_000_000)]
    steps: u64,
    /// Pictures a step.
    #[node(default = 8, range = 1..=4096)]
    batch: usize,
    /// Learning rate after the warm-up.
    #[node(default = 4.5e-5, range = 1e-9..=1.0)]
    lr: f64,
    /// Steps over which the rate rises.
    #[node(default = 0, range = 0..=1_000_000)]
    warmup: u64,
    /// Steps at the end over which it falls to 0.
    #[node(default = 0, range = 0..=1_000_000)]
    cooldown: u64,
    /// Decay of the averaged weights.
    #[node(default = 0.999, range = 0.0..=1.0)]
    ema: f64,
    /// Weight of the KL term beside the reconstruction, both per picture element.
    #[node(default = 1e-6, range = 0.0..=1.0)]
    kl_weight: f64,
    /// Seed of weights, batches and noise.
    #[node(default = 0)]
    seed: u64,
    /// Steps between checkpoints.
    #[node(default = 200, range = 1..=1_000_000)]
    checkpoint_every: u64,
}

impl TrainAutoencoder {
    fn training(&self, size: usize) -> AutoencoderTraining {
        let optimizer = AdamWSettings {
            ema: self.ema,
            weight_decay: 0.0,
            ..AdamWSettings::default()
        };
        AutoencoderTraining {
            config: KlAutoencoderConfig {
                in_channels: 3,
                ch: self.channels,
                ch_mult: self.multipliers.clone(),
                num_res_blocks: self.blocks,
                attn_resolutions: vec![],
                resolution: size,
                z_channels: self.latent_channels,
                embed_dim: self.latent_channels,
                groups: self.norm_groups,
            },
            schedule: Schedule {
                steps: self.steps,
                lr: self.lr,
                warmup: self.warmup,
                cooldown: self.cooldown,
                checkpoint_every: self.checkpoint_every,
                optimizer,
            },
            batch: self.batch,
            kl_weight: self.kl_weight,
            seed: self.seed,
        }
    }

    fn about(&self, dataset: DatasetFacts) -> Result<VaeAbout> {
        let config = self.training(dataset.size).config;
        config
            .check()
            .map_err(|e| Error::at("multipliers", e.to_string()))?;
        let (factor, size) = (config.factor(), dataset.size);
        if !size.is_multiple_of(factor) {
            let message = format!("halves pictures to 1/{factor}, but theirs is {size} px");
            return Err(Error::at("multipliers", message).hint("use fewer levels"));
        }
        Ok(VaeAbout {
            config: VaeConfig::Kl(config),
            scale: 1.0,
            fits_f16: false,
        })
    }
}

/// How the end of a training loop reads to the engine.
pub(crate) fn ended(error: TrainError) -> Error {
    match error {
        TrainError::Stopped => Error::stopped(),
        other => Error::new(other.to_string()),
    }
}

impl Node for TrainAutoencoder {
    type Out = Vae;

    fn facts(&self, facts: &mut Facts<'_>) -> Result<()> {
        if let Some(dataset) = facts.of::<DatasetFacts, _>(&self.dataset) {
            facts.give(self.about(*dataset)?);
        }
        Ok(())
    }

    fn run(&self, ctx: &mut Ctx<'_>) -> Result<Vae> {
        let machine = ctx.extension::<Machine>()?;
        let dataset = ctx.get(&self.dataset);
        let about = self.about(dataset.facts())?;
        let training = self.training(dataset.facts().size);
        let fingerprint = training.fingerprint(dataset.pictures());
        let work = ctx.work(&[fingerprint.as_bytes(), &dataset.identity().0])?;
        let reporter = ctx.reporter();
        let trained =
            training.run(
                dataset.pictures(),
                &work,
                machine.device(),
                &mut |step| match reporter.step(step.step, step.steps) {
                    Ok(()) => ControlFlow::Continue(()),
                    Err(_) => ControlFlow::Break(()),
                },
            );
        Vae::made(about, &Autoencoder::Kl(trained.map_err(ended)?.model))
    }
}
