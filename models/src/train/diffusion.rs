//! Training of the text-conditional UNet with its text encoder.
//!
//! Rombach et al. 2022, equation 3: `E ‖ε − ε_θ(z_t, t, τ_θ(y))‖²`, with the caption
//! dropped now and then so that guidance has an unconditional branch.

use std::ops::ControlFlow;
use std::path::Path;

use burn::module::Module;
use burn::tensor::{Device, Int, Tensor, TensorData};

use super::autoencoder::sum;
use super::error::{Result, TrainError};
use super::latents::Latents;
use super::{Dataset, Draw, Schedule, Step, Trained, train};
use crate::autoencoder::Autoencoder;
use crate::error::Error as ModelError;
use crate::schedule::{NoiseSchedule, ScheduleConfig};
use crate::text::{TextTransformer, TextTransformerConfig};
use crate::tokenizer::Tokenizer;
use crate::unet::{Told, UNet, UNetConfig};

/// The two networks that learn together.
#[derive(Module, Debug)]
pub struct TextToLatent {
    /// Predicts the noise.
    pub unet: UNet,
    /// Reads the caption.
    pub text: TextTransformer,
}

/// What is trained, and how.
#[derive(Debug, Clone)]
pub struct DiffusionTraining {
    /// The denoiser.
    pub unet: UNetConfig,
    /// The text encoder.
    pub text: TextTransformerConfig,
    /// β over time.
    pub noise: ScheduleConfig,
    /// Length and speed.
    pub schedule: Schedule,
    /// Latents a step.
    pub batch: usize,
    /// Share of captions replaced by the empty one, 0..1.
    pub dropout: f64,
    /// Seed of the initial weights, batches, times and noise.
    pub seed: u64,
}

/// Where the loop stands.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Phase {
    /// Pictures are being encoded: block and blocks.
    Encode(usize, usize),
    /// A training step.
    Train(Step),
}

/// What the diffusion loop leaves besides the networks.
#[derive(Debug)]
pub struct TrainedDiffusion {
    /// Both networks, averaged.
    pub model: TextToLatent,
    /// What latents are multiplied by before they meet the UNet (LDM's `scale_factor`).
    pub scale: f64,
    /// Steps seen.
    pub steps: u64,
}

impl DiffusionTraining {
    /// Trains on `data` as `vae` sees it, with the state kept under `work`.
    ///
    /// `identity` names the autoencoder, so that kept latents are never another's.
    ///
    /// # Errors
    /// As [`train`], and configs that do not fit together.
    pub fn run(
        &self,
        data: &dyn Dataset,
        (vae, identity): (&Autoencoder, &str),
        tokenizer: &Tokenizer,
        work: &Path,
        device: &Device,
        on_phase: &mut dyn FnMut(Phase) -> ControlFlow<()>,
    ) -> Result<TrainedDiffusion> {
        let mut on_block = |block, blocks| on_phase(Phase::Encode(block, blocks));
        let latents = Latents::of(data, vae, (work, identity), device, &mut on_block)?;
        let device = device.clone().autodiff();
        let scale = 1.0 / latents.spread();
        let noise = self
            .noise
            .init()
            .map_err(|e| ModelError::config("schedule", e.to_string()))?;
        let captions = captions(data, tokenizer)?;
        let batches = Batches {
            of: self,
            noise,
            scale,
            captions,
            latents,
        };
        let model = TextToLatent {
            unet: self.unet.init(&device, self.seed)?,
            text: self.text.init(&device, self.seed.wrapping_add(1))?,
        };
        let fingerprint = self.fingerprint(data, identity);
        let loss = |model: &TextToLatent, step| Ok(batches.loss(model, step, &device));
        let mut on_step = |step: &Step| on_phase(Phase::Train(*step));
        let Trained { model, steps } = train(
            model,
            &self.schedule,
            (work, &fingerprint),
            loss,
            &mut on_step,
        )?;
        Ok(TrainedDiffusion {
            model,
            scale,
            steps,
        })
    }

    /// Names this training on this data with the autoencoder `identity`: everything but the
    /// number of steps, so that raising it continues.
    pub fn fingerprint(&self, data: &dyn Dataset, identity: &str) -> String {
        let schedule = Schedule {
            steps: 0,
            checkpoint_every: 0,
            ..self.schedule
        };
        let seen = (data.len(), data.size(), identity);
        format!(
            "{:?}",
            Self {
                schedule,
                ..self.clone()
            }
        ) + &format!("{seen:?}")
    }
}

/// Token ids of every caption of every picture; the last entry is the empty caption.
struct Captions {
    length: usize,
    of_picture: Vec<Vec<Vec<i32>>>,
    empty: Vec<i32>,
}

fn captions(data: &dyn Dataset, tokenizer: &Tokenizer) -> Result<Captions> {
    let ids = |index, text: &str| -> Result<Vec<i32>> {
        let ids = tokenizer.ids(text);
        let ids = ids.map_err(|e| TrainError::Caption {
            index,
            why: e.to_string(),
        })?;
        Ok(ids.into_iter().map(|id| id as i32).collect())
    };
    let of_picture = (0..data.len())
        .map(|index| {
            data.captions(index)
                .iter()
                .map(|text| ids(index, text))
                .collect()
        })
        .collect::<Result<Vec<Vec<_>>>>()?;
    if let Some(index) = of_picture.iter().position(Vec::is_empty) {
        return Err(TrainError::NoCaption { index });
    }
    let empty = ids(0, "")?;
    Ok(Captions {
        length: empty.len(),
        of_picture,
        empty,
    })
}

struct Batches<'a> {
    of: &'a DiffusionTraining,
    noise: NoiseSchedule,
    scale: f64,
    captions: Captions,
    latents: Latents,
}

impl Batches<'_> {
    /// Mean squared error of the predicted noise at times drawn evenly from 0..T.
    fn loss(&self, model: &TextToLatent, step: u64, device: &Device) -> Tensor<1> {
        let (mut draw, b) = (Draw::new(self.of.seed, step), self.of.batch);
        let [c, h, w] = self.latents.shape;
        let (mut z, mut ids, mut t) = (vec![], vec![], vec![]);
        for _ in 0..b {
            let index = draw.below(self.captions.of_picture.len());
            ids.extend_from_slice(self.caption(index, &mut draw));
            t.push(draw.below(self.noise.timesteps()));
            self.latents.sample(index, &draw.normal(c * h * w), &mut z);
        }
        let eps = tensor(draw.normal(z.len()), [b, c, h, w], device);
        let z = tensor(z, [b, c, h, w], device) * self.scale;
        let signal = |f: fn(f64) -> f64| {
            let at = |&t: &usize| f(self.noise.alpha_bar(t)) as f32;
            tensor(t.iter().map(at).collect(), [b, 1, 1, 1], device)
        };
        let noisy = z * signal(f64::sqrt) + eps.clone() * signal(|a| (1.0 - a).sqrt());
        let ids = TensorData::new(ids, [b, self.captions.length]);
        let context = model.text.forward(Tensor::<2, Int>::from_data(ids, device));
        let t = t.iter().map(|&t| t as f32).collect();
        let told = Told::tokens(Some(context));
        let found = model.unet.forward(noisy, tensor(t, [b], device), told);
        let error = found - eps;
        sum(error.clone() * error) / (b * c * h * w) as f64
    }

    fn caption(&self, index: usize, draw: &mut Draw) -> &[i32] {
        let captions = &self.captions.of_picture[index];
        let (one, dropped) = (draw.below(captions.len()), draw.unit() < self.of.dropout);
        if dropped {
            &self.captions.empty
        } else {
            &captions[one]
        }
    }
}

fn tensor<const D: usize>(values: Vec<f32>, shape: [usize; D], device: &Device) -> Tensor<D> {
    Tensor::from_data(TensorData::new(values, shape), device)
}
