//! Loops on networks of a few channels.

use std::ops::ControlFlow;
use std::path::Path;

use burn::tensor::Device;

use super::autoencoder::AutoencoderTraining;
use super::diffusion::{DiffusionTraining, Phase};
use super::{AdamWSettings, Dataset, Schedule, Step, TrainError};
use crate::autoencoder::{Autoencoder, KlAutoencoder, KlAutoencoderConfig};
use crate::schedule::ScheduleConfig;
use crate::text::TextTransformerConfig;
use crate::tokenizer::Tokenizer;
use crate::unet::{Heads, UNetConfig};
use crate::weights::{SaveAs, save};

/// Squares of one colour, red or blue.
struct Squares;

impl Dataset for Squares {
    fn len(&self) -> usize {
        12
    }

    fn size(&self) -> usize {
        8
    }

    fn picture(&self, index: usize, out: &mut [f32]) {
        let bright = (index % 2) * 2 * 64;
        out.fill(-0.8);
        out[bright..bright + 64].fill(0.2 + 0.05 * index as f32);
    }

    fn captions(&self, index: usize) -> Vec<String> {
        vec![["red", "blue"][index % 2].to_owned()]
    }

    fn words(&self) -> Vec<String> {
        vec!["blue".to_owned(), "red".to_owned()]
    }
}

fn schedule(steps: u64) -> Schedule {
    let optimizer = AdamWSettings {
        ema: 0.9,
        clip: 1.0,
        ..AdamWSettings::default()
    };
    Schedule {
        steps,
        lr: 3e-3,
        warmup: 2,
        cooldown: 0,
        checkpoint_every: 4,
        optimizer,
    }
}

fn autoencoder(steps: u64) -> AutoencoderTraining {
    let config = KlAutoencoderConfig {
        in_channels: 3,
        ch: 8,
        ch_mult: vec![1, 2],
        num_res_blocks: 1,
        attn_resolutions: vec![],
        resolution: 8,
        z_channels: 2,
        embed_dim: 2,
        groups: 4,
    };
    AutoencoderTraining {
        config,
        schedule: schedule(steps),
        batch: 4,
        kl_weight: 1e-3,
        seed: 3,
    }
}

fn diffusion(steps: u64, words: usize) -> DiffusionTraining {
    DiffusionTraining {
        unet: UNetConfig {
            in_channels: 2,
            out_channels: 2,
            model_channels: 8,
            channel_mult: vec![1, 1],
            num_res_blocks: 1,
            attention_resolutions: vec![1],
            heads: Heads::Count(2),
            context_dim: Some(8),
            transformer_depth: vec![1],
            groups: 4,
            middle_depth: None,
            label: None,
            scale_shift: false,
            resblock_updown: false,
        },
        text: TextTransformerConfig {
            vocab_size: words,
            max_length: 4,
            width: 8,
            layers: 1,
            heads: 2,
            head_width: 4,
        },
        noise: ScheduleConfig::scaled_linear(0.0015, 0.0195),
        schedule: schedule(steps),
        batch: 4,
        dropout: 0.25,
        seed: 5,
    }
}

fn bytes(network: &impl burn::module::Module) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("network.safetensors");
    save(network, &path, SaveAs::F32).unwrap();
    std::fs::read(path).unwrap()
}

/// Trains under `work` until `steps`, or until the callback of step `stop`; gives the losses.
fn train_to(steps: u64, stop: u64, work: &Path) -> (Result<KlAutoencoder, TrainError>, Vec<f64>) {
    let mut losses = Vec::new();
    let mut on_step = |step: &Step| {
        losses.push(step.loss);
        if step.step == stop {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    };
    let trained = autoencoder(steps).run(&Squares, work, &Device::flex(), &mut on_step);
    (trained.map(|trained| trained.model), losses)
}

#[test]
fn a_stopped_loop_continues_as_if_it_had_not_been() {
    let (whole, parts) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (wanted, all) = train_to(7, 0, whole.path());
    let (stopped, first) = train_to(7, 3, parts.path());
    assert!(matches!(stopped, Err(TrainError::Stopped)));
    let (found, second) = train_to(7, 0, parts.path());
    assert_eq!([first, second].concat(), all);
    assert_eq!(bytes(&found.unwrap()), bytes(&wanted.unwrap()));
}

#[test]
fn raising_the_steps_continues_a_finished_loop() {
    let (whole, parts) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (wanted, _) = train_to(6, 0, whole.path());
    train_to(4, 0, parts.path()).0.unwrap();
    let (found, losses) = train_to(6, 0, parts.path());
    assert_eq!(losses.len(), 2);
    assert_eq!(bytes(&found.unwrap()), bytes(&wanted.unwrap()));
}

#[test]
fn training_rebuilds_better_than_no_training() {
    let work = tempfile::tempdir().unwrap();
    let (_, losses) = train_to(60, 0, work.path());
    let (first, last) = (losses[0], losses[losses.len() - 1]);
    assert!(last < 0.6 * first, "{first} to {last}");
}

#[test]
fn a_state_of_other_settings_is_refused_and_kept() {
    let work = tempfile::tempdir().unwrap();
    train_to(2, 0, work.path()).0.unwrap();
    let before = std::fs::read(work.path().join("checkpoint.safetensors")).unwrap();
    let other = AutoencoderTraining {
        batch: 5,
        ..autoencoder(2)
    };
    let go_on = &mut |_: &Step| ControlFlow::Continue(());
    let error = other
        .run(&Squares, work.path(), &Device::flex(), go_on)
        .unwrap_err();
    assert!(
        error.to_string().contains("belongs to another training"),
        "{error}"
    );
    let after = std::fs::read(work.path().join("checkpoint.safetensors")).unwrap();
    assert_eq!(before, after);
}

#[test]
fn a_damaged_state_is_told_by_its_path() {
    let work = tempfile::tempdir().unwrap();
    train_to(2, 0, work.path()).0.unwrap();
    let path = work.path().join("checkpoint.safetensors");
    let whole = std::fs::read(&path).unwrap();
    std::fs::write(&path, &whole[..whole.len() / 2]).unwrap();
    let error = train_to(2, 0, work.path()).0.unwrap_err().to_string();
    assert!(error.contains("checkpoint.safetensors"), "{error}");
}

#[test]
fn a_diffusion_loop_encodes_once_and_continues_as_if_unbroken() {
    let device = Device::flex();
    let vae = Autoencoder::Kl(autoencoder(1).config.init(&device, 1).unwrap());
    let tokenizer = Tokenizer::from_words(Squares.words(), 4).unwrap();
    let training = diffusion(5, tokenizer.vocabulary());
    let run = |work: &Path, stop: u64| {
        training.run(
            &Squares,
            (&vae, "vae"),
            &tokenizer,
            work,
            &device,
            &mut |phase| match phase {
                Phase::Train(step) if step.step == stop => ControlFlow::Break(()),
                _ => ControlFlow::Continue(()),
            },
        )
    };
    let (whole, parts) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let wanted = run(whole.path(), 0).unwrap();
    assert!(matches!(run(parts.path(), 2), Err(TrainError::Stopped)));
    let latents = || {
        let files = std::fs::read_dir(parts.path())
            .unwrap()
            .map(|file| file.unwrap());
        let mut kept: Vec<_> = files
            .filter(|file| file.file_name().to_string_lossy().starts_with("latents-"))
            .map(|file| file.metadata().unwrap().modified().unwrap())
            .collect();
        kept.sort();
        kept
    };
    let encoded = latents();
    let found = run(parts.path(), 0).unwrap();
    assert_eq!(encoded, latents());
    assert_eq!((found.steps, found.scale), (wanted.steps, wanted.scale));
    assert_eq!(bytes(&found.model), bytes(&wanted.model));
}
