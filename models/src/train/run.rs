//! The loop itself: loss, gradients, step, checkpoint.

use std::ops::ControlFlow;
use std::path::Path;

use burn::module::Module;
use burn::tensor::Tensor;

use super::checkpoint::Checkpoint;
use super::error::{Result, TrainError};
use super::optimizer::{AdamW, AdamWSettings};

/// How long a loop runs and how fast it walks.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Schedule {
    /// Steps in all; raising it continues a finished run.
    pub steps: u64,
    /// Learning rate after the warm-up.
    pub lr: f64,
    /// Steps over which the rate rises from 0, linearly (LDM's `LambdaLinear`).
    pub warmup: u64,
    /// Steps at the end over which it falls to 0, linearly; 0 keeps it to the end.
    pub cooldown: u64,
    /// Steps between checkpoints.
    pub checkpoint_every: u64,
    /// Settings of the optimiser.
    pub optimizer: AdamWSettings,
}

impl Schedule {
    /// The learning rate of step `step`, counted from 0.
    pub fn lr_at(&self, step: u64) -> f64 {
        let rise = (step + 1) as f64 / (self.warmup.max(1)) as f64;
        let left = self.steps.saturating_sub(step) as f64;
        let fall = left / (self.cooldown.max(1)) as f64;
        self.lr
            * rise.min(1.0)
            * if self.cooldown == 0 {
                1.0
            } else {
                fall.min(1.0)
            }
    }
}

/// One step, as the callback sees it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Step {
    /// Steps done, counted from 1.
    pub step: u64,
    /// Steps in all.
    pub steps: u64,
    /// Loss of this step's batch.
    pub loss: f64,
    /// Learning rate of this step.
    pub lr: f64,
}

/// What a loop leaves.
#[derive(Debug)]
pub struct Trained<M> {
    /// The network with averaged weights, off the autodiff device.
    pub model: M,
    /// Steps it has seen.
    pub steps: u64,
}

/// Trains `model`, which lives on an autodiff device, until `schedule.steps`.
///
/// `loss` gives the loss of step `n` (from 0) as `[1]`. The checkpoint under `work` is
/// taken up when it stands there; `fingerprint` says which settings it must belong to.
/// When `on_step` answers stop, the state is written and [`TrainError::Stopped`] returned.
///
/// # Errors
/// [`TrainError::Stopped`]; a checkpoint that is damaged, or of other settings; a loss that
/// is no number; a folder that cannot be written.
pub fn train<M: Module>(
    model: M,
    schedule: &Schedule,
    (work, fingerprint): (&Path, &str),
    mut loss: impl FnMut(&M, u64) -> Result<Tensor<1>>,
    on_step: &mut dyn FnMut(&Step) -> ControlFlow<()>,
) -> Result<Trained<M>> {
    let checkpoint = Checkpoint::new(work, fingerprint);
    let mut optimizer = AdamW::new(schedule.optimizer);
    let device = model
        .devices()
        .into_iter()
        .next()
        .expect("a network has weights");
    checkpoint.restore(&mut optimizer, &device.inner())?;
    let mut model = optimizer.resumed(model);
    while optimizer.steps < schedule.steps {
        let at = optimizer.steps;
        let value = loss(&model, at)?;
        let grads = value.backward();
        let value = f64::from(value.inner().into_scalar::<f32>());
        if !value.is_finite() {
            return Err(TrainError::Diverged {
                step: at + 1,
                loss: value,
            });
        }
        let lr = schedule.lr_at(at);
        model = optimizer.step(model, grads, lr);
        let step = Step {
            step: at + 1,
            steps: schedule.steps,
            loss: value,
            lr,
        };
        let stop = on_step(&step).is_break();
        if stop || step.step.is_multiple_of(schedule.checkpoint_every.max(1)) {
            checkpoint.write(&optimizer)?;
        }
        if stop {
            return Err(TrainError::Stopped);
        }
    }
    checkpoint.write(&optimizer)?;
    Ok(Trained {
        steps: optimizer.steps,
        model: optimizer.averaged(model),
    })
}
