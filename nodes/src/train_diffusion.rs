//! `TrainDiffusion`: captioned pictures and their autoencoder in, a UNet and its text encoder
//! out.

use std::ops::ControlFlow;

use ldm_engine::{Ctx, Data, Error, Facts, In, Node, Outputs, Result};
use ldm_models::prediction::Prediction;
use ldm_models::schedule::ScheduleConfig;
use ldm_models::text::{TextConfig, TextNetwork, TextTransformerConfig};
use ldm_models::tokenizer::Tokenizer;
use ldm_models::train::diffusion::{DiffusionTraining, Phase};
use ldm_models::train::{AdamWSettings, Schedule};
use ldm_models::unet::{Heads, UNetConfig};

use crate::machine::Machine;
use crate::train_autoencoder::ended;
use crate::values::{
    Dataset, LatentSpace, TextEncoder, TextEncoderAbout, Unet, UnetAbout, Vae, VaeAbout,
};

/// Trains a text-conditional UNet from scratch, with its text encoder.
///
/// The pictures are encoded once and kept beside the checkpoint in the cache folder. A run that
/// was stopped continues, and so does a finished one when `steps` is raised. The tokenizer
/// knows the words of the dataset's captions and no other.
///
/// ```ron
/// "text": TrainDiffusion(
///     dataset: "scenes", vae: "vae", channels: 96, multipliers: [1, 1], blocks: 1,
///     steps: 6000, batch: 64, lr: 0.001,
/// )
/// ```
#[derive(Node)]
#[node(device)]
pub(crate) struct TrainDiffusion {
    /// Captioned pictures.
    dataset: In<Dataset>,
    /// Whose latents the UNet learns.
    vae: In<Vae>,
    /// Width of the finest level.
    #[node(default = 192, range = 8..=4096)]
    channels: usize,
    /// Width of each level as a multiple of `channels`; each after the first halves the size.
    multipliers: Vec<usize>,
    /// Residual blocks a level; one more on the way up.
    #[node(default = 2, range = 1..=8)]
    blocks: usize,
    /// Width of an attention head.
    #[node(default = 32, range = 1..=256)]
    head_channels: usize,
    /// Groups of every norm; divides every width.
    #[node(default = 16, range = 1..=256)]
    norm_groups: usize,
    /// Width of the text encoder's tokens.
    #[node(default = 96, range = 8..=4096)]
    context: usize,
    /// Layers of the text encoder.
    #[node(default = 2, range = 1..=64)]
    text_layers: usize,
    /// Tokens a caption has at most.
    #[node(default = 32, range = 3..=512)]
    text_length: usize,
    /// Training steps in all.
    #[node(range = 1..=100_000_000)]
    steps: u64,
    /// Latents a step.
    #[node(default = 64, range = 1..=4096)]
    batch: usize,
    /// Learning rate after the warm-up.
    #[node(default = 1e-4, range = 1e-9..=1.0)]
    lr: f64,
    /// Steps over which the rate rises.
    #[node(default = 0, range = 0..=1_000_000)]
    warmup: u64,
    /// Steps at the end over which it falls to 0.
    #[node(default = 0, range = 0..=1_000_000)]
    cooldown: u64,
    /// Decay of the averaged weights.
    #[node(default = 0.9999, range = 0.0..=1.0)]
    ema: f64,
    /// Share of captions replaced by the empty one, for guidance.
    #[node(default = 0.1, range = 0.0..=1.0)]
    dropout: f64,
    /// Seed of weights, batches, times and noise.
    #[node(default = 0)]
    seed: u64,
    /// Steps between checkpoints.
    #[node(default = 100, range = 1..=1_000_000)]
    checkpoint_every: u64,
}

/// What training gives.
#[derive(Outputs)]
pub(crate) struct Made {
    /// Predicts the noise.
    unet: Unet,
    /// Reads the captions.
    text_encoder: TextEncoder,
}

impl TrainDiffusion {
    fn training(&self, vae: &VaeAbout, words: usize) -> DiffusionTraining {
        let optimizer = AdamWSettings {
            ema: self.ema,
            clip: 1.0,
            ..AdamWSettings::default()
        };
        let levels = self.multipliers.len() as u32;
        DiffusionTraining {
            unet: UNetConfig {
                in_channels: vae.config.embed_dim(),
                out_channels: vae.config.embed_dim(),
                model_channels: self.channels,
                channel_mult: self.multipliers.clone(),
                num_res_blocks: self.blocks,
                attention_resolutions: (0..levels).map(|level| 1 << level.min(16)).collect(),
                heads: Heads::Width(self.head_channels),
                context_dim: Some(self.context),
                transformer_depth: vec![1],
                groups: self.norm_groups,
                middle_depth: None,
                label: None,
                scale_shift: false,
                resblock_updown: false,
            },
            text: TextTransformerConfig {
                vocab_size: words,
                max_length: self.text_length,
                width: self.context,
                layers: self.text_layers,
                heads: 4,
                head_width: self.context.div_ceil(4),
            },
            // The paper's for latents that a scale brought to variance 1.
            noise: ScheduleConfig::scaled_linear(0.0015, 0.0195),
            schedule: Schedule {
                steps: self.steps,
                lr: self.lr,
                warmup: self.warmup,
                cooldown: self.cooldown,
                checkpoint_every: self.checkpoint_every,
                optimizer,
            },
            batch: self.batch,
            dropout: self.dropout,
            seed: self.seed,
        }
    }
}

impl Node for TrainDiffusion {
    type Out = Made;

    fn facts(&self, facts: &mut Facts<'_>) -> Result<()> {
        let Some(vae) = facts.of::<VaeAbout, _>(&self.vae) else {
            return Ok(());
        };
        let training = self.training(&vae, 2);
        training
            .unet
            .check()
            .map_err(|e| Error::at("channels", e.to_string()))?;
        training
            .text
            .check()
            .map_err(|e| Error::at("context", e.to_string()))
    }

    fn run(&self, ctx: &mut Ctx<'_>) -> Result<Made> {
        let machine = ctx.extension::<Machine>()?;
        let (dataset, vae) = (ctx.get(&self.dataset), ctx.get(&self.vae));
        let pictures = dataset.pictures();
        let tokenizer = Tokenizer::from_words(pictures.words(), self.text_length)?;
        let training = self.training(vae.about(), tokenizer.vocabulary());
        let identity = vae.identity().to_string();
        let fingerprint = training.fingerprint(pictures, &identity);
        let work = ctx.work(&[fingerprint.as_bytes(), &dataset.identity().0])?;
        let reporter = ctx.reporter();
        let network = vae.network(&machine, &reporter)?;
        let with = (&*network, &*identity);
        let trained = training.run(
            pictures,
            with,
            &tokenizer,
            &work,
            machine.device(),
            &mut |at| {
                let told = match at {
                    Phase::Encode(block, blocks) => reporter.step(block as u64, blocks as u64),
                    Phase::Train(step) => reporter.step(step.step, step.steps),
                };
                if told.is_ok() {
                    ControlFlow::Continue(())
                } else {
                    ControlFlow::Break(())
                }
            },
        );
        let trained = trained.map_err(ended)?;
        let space = LatentSpace {
            factor: vae.about().config.factor(),
            scale: trained.scale,
        };
        let unet = UnetAbout {
            config: training.unet,
            schedule: training.noise,
            prediction: Prediction::Epsilon,
            space,
        };
        let config = TextConfig::Bert(training.text);
        let text = TextEncoderAbout::new(config, tokenizer.to_json()?);
        let network = TextNetwork::Bert(trained.model.text);
        Ok(Made {
            unet: Unet::made(unet, &trained.model.unet)?,
            text_encoder: TextEncoder::made(text, &network)?,
        })
    }
}
