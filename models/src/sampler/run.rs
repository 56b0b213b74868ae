//! A walk under way: the network, the noise and the callback, as a sampler's function sees
//! them.

use std::ops::ControlFlow;

use burn::tensor::Tensor;

use super::noises::NoiseSource;
use super::{OnStep, Step, Stopped};
use crate::prediction::{Denoiser, Guess};
use crate::schedule::{Level, NoiseSchedule};

/// Which timestep a network is told for a noise level between two.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Told {
    /// The one between: k-diffusion, and diffusers' Euler and its kin.
    #[default]
    Between,
    /// The nearest whole one: ComfyUI, and diffusers' DPM-Solver family.
    Nearest,
}

/// What a sampler asks for on its way. Each call of the network is told to the callback,
/// which may stop the walk there.
pub struct Run<'a> {
    model: &'a Denoiser<'a>,
    noise: &'a mut dyn NoiseSource,
    on_step: &'a mut OnStep<'a>,
    told: Told,
    index: usize,
    of: usize,
}

impl<'a> Run<'a> {
    /// A walk of `of` network calls.
    pub fn new(
        model: &'a Denoiser<'a>,
        noise: &'a mut dyn NoiseSource,
        on_step: &'a mut OnStep<'a>,
        of: usize,
    ) -> Self {
        Self {
            model,
            noise,
            on_step,
            told: Told::Between,
            index: 0,
            of,
        }
    }

    /// The same walk, with the network told these timesteps.
    pub fn telling(self, told: Told) -> Self {
        Self { told, ..self }
    }

    /// The same walk, of which the network knows before at which levels it will be asked.
    pub fn ahead(self, levels: impl Iterator<Item = Level>) -> Self {
        self.model.ahead(levels.map(|level| self.tell_level(level)));
        self
    }

    /// The schedule the network was trained on.
    pub fn schedule(&self) -> &'a NoiseSchedule {
        self.model.schedule()
    }

    /// D(x; σ): the clean latent in a variance-exploding `x [b, c, h, w]`.
    pub fn denoise(&mut self, x: &Tensor<4>, level: Level) -> Result<Tensor<4>, Stopped> {
        let clean = self.model.denoise(x.clone(), self.tell_level(level));
        self.tell(&clean)?;
        Ok(clean)
    }

    /// The same at a noise level that no schedule planned.
    pub fn denoise_at(&mut self, x: &Tensor<4>, sigma: f64) -> Result<Tensor<4>, Stopped> {
        self.denoise(x, Level::of(sigma, self.schedule()))
    }

    /// The clean latent under guidance and under the negative condition alone.
    pub fn denoise_both(
        &mut self,
        x: &Tensor<4>,
        level: Level,
    ) -> Result<(Tensor<4>, Tensor<4>), Stopped> {
        let both = self.model.denoise_both(x.clone(), self.tell_level(level));
        self.tell(&both.0)?;
        Ok(both)
    }

    /// The clean latent and the noise in a variance-preserving `x` at timestep `t`.
    pub fn guess(&mut self, x: &Tensor<4>, t: usize) -> Result<Guess, Stopped> {
        self.guess_at(x, self.schedule().alpha_bar(t), t)
    }

    /// The same for an `x` that holds the noise of `alpha_bar`, while the network is told `t`.
    pub fn guess_at(&mut self, x: &Tensor<4>, alpha_bar: f64, t: usize) -> Result<Guess, Stopped> {
        let guess = self.model.guess_at(x.clone(), alpha_bar, t as f64);
        self.tell(&guess.x0)?;
        Ok(guess)
    }

    /// Gaussian noise of variance 1 like `x`, for the way between two noise levels.
    pub fn noise(&mut self, x: &Tensor<4>, from: f64, to: f64) -> Tensor<4> {
        self.noise.step(x, from, to)
    }

    /// Gaussian noise of variance 1 like `x`, for no way in particular.
    pub fn draw(&mut self, x: &Tensor<4>) -> Tensor<4> {
        self.noise.step(x, 1.0, 0.0)
    }

    /// How many network calls there will be, for a sampler that finds out on its way.
    pub(super) fn expect(&mut self, of: usize) {
        self.of = of.max(self.index + 1);
    }

    /// How many network calls there were.
    pub(super) fn calls(&self) -> usize {
        self.index
    }

    fn tell_level(&self, level: Level) -> Level {
        match self.told {
            Told::Between => level,
            Told::Nearest => Level {
                t: self.schedule().nearest_timestep(level.sigma),
                ..level
            },
        }
    }

    /// Tells the callback of a network call, and turns its stop into an error.
    fn tell(&mut self, clean: &Tensor<4>) -> Result<(), Stopped> {
        let step = Step {
            index: self.index,
            of: self.of,
            clean,
        };
        self.index += 1;
        match (self.on_step)(step) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(()) => Err(Stopped),
        }
    }
}
