//! One walk from noise to a latent: a network with its guidance, under a sampler.
//!
//! The state stays in f32, whatever the network computes in.

use std::ops::ControlFlow;

use burn::tensor::{DType, Tensor};
use ldm_engine::{Error, Reporter, Result};
use ldm_models::guidance::{Condition, Guided};
use ldm_models::prediction::Denoiser;
use ldm_models::sampler::{SampleError, Sampler, Seeded, Walk};
use ldm_models::unet::UNet;

use crate::array::Array;
use crate::machine::Machine;
use crate::values::UnetAbout;

/// What a walk is made of besides its start.
pub(crate) struct Sampling<'a> {
    pub(crate) machine: &'a Machine,
    pub(crate) about: &'a UnetAbout,
    pub(crate) network: &'a UNet,
    pub(crate) sampler: &'a Sampler,
    pub(crate) walk: Walk,
    pub(crate) cfg: f64,
    pub(crate) seed: u64,
}

impl Sampling<'_> {
    /// Walks `start [b, c, h, w]` down to a clean latent of the same shape.
    ///
    /// # Errors
    /// What does not fit; a device that fails; a stop that was asked for.
    pub(crate) fn walk(
        &self,
        start: &Array<4>,
        positive: Condition,
        negative: Option<Condition>,
        reporter: &Reporter,
    ) -> Result<Array<4>> {
        let dtype = self.machine.dtype();
        let call = |x: Tensor<4>, t: Tensor<1>, tokens: Option<Tensor<3>>| {
            let tokens = tokens.map(|tokens| tokens.cast(dtype));
            let out = self.network.forward(x.cast(dtype), t, tokens);
            out.cast(DType::F32)
        };
        let guided = Guided::new(call, self.cfg, positive, negative, start.shape())?;
        let schedule = self.about.schedule.init()?;
        let model = Denoiser::new(&guided, &schedule, self.about.prediction);
        let clean = self.sampler.sample(
            &model,
            start.tensor(self.machine.device(), DType::F32),
            self.walk,
            &mut Seeded::new(self.seed),
            &mut |step| match reporter.step(step.index as u64 + 1, step.of as u64) {
                Ok(()) => ControlFlow::Continue(()),
                Err(_) => ControlFlow::Break(()),
            },
        );
        let clean = clean.map_err(|e| match e {
            SampleError::Stopped(_) => Error::stopped(),
            other => at_its_field(&other),
        })?;
        Array::read(clean, "the denoised latent")
    }
}

/// The error at the setting that would mend it.
pub(crate) fn at_its_field(error: &SampleError) -> Error {
    let field = match error {
        SampleError::Schedule(e) if e.is_of_steps() => "steps",
        _ => "sampler",
    };
    Error::at(field, error.to_string())
}
