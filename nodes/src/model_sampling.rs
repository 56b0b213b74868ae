//! `ModelSampling`: how a network was trained, said by the graph.

use ldm_engine::{Choice, Ctx, Error, Facts, In, Node, Result};
use ldm_models::prediction as models;
use ldm_models::schedule as models_schedule;

use crate::values::{Unet, UnetAbout};

/// Says what a UNet predicts, and how noise grew in its training, in place of what its file says.
///
/// For files that do not say it, or say it wrongly: a fine-tune that predicts the velocity, say.
/// What is left out stays. The weights are those of `unet`, in memory once.
///
/// ```ron
/// "as_velocity": ModelSampling(unet: "model", prediction: Velocity)
/// ```
#[derive(Node)]
pub(crate) struct ModelSampling {
    /// The network.
    unet: In<Unet>,
    /// What it predicts.
    prediction: Option<Prediction>,
    /// How noise grew over the timesteps of its training.
    betas: Option<Betas>,
    /// Whether its last timestep was made nothing but noise (Lin et al. 2023).
    zero_snr: Option<ZeroSnr>,
}

/// What a network was trained to predict.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Choice)]
pub(crate) enum Prediction {
    /// The noise: CompVis's `eps`, diffusers' `epsilon`.
    Epsilon,
    /// The clean latent: CompVis's `x0`, diffusers' `sample`.
    X0,
    /// The velocity: diffusers' `v_prediction`.
    Velocity,
    /// EDM's mixture of both (Karras et al. 2022); with `betas: Edm()`.
    Edm,
}

/// How noise grew over the timesteps of training. CompVis and diffusers use the same words for
/// different curves.
#[derive(Debug, Clone, Copy, PartialEq, Choice)]
pub(crate) enum Betas {
    /// The square of a line between the roots: CompVis's `linear`, diffusers' `scaled_linear`.
    ScaledLinear {
        /// The first of them.
        #[node(default = 0.00085, range = 0.0..=1.0)]
        start: f64,
        /// The last of them.
        #[node(default = 0.012, range = 0.0..=1.0)]
        end: f64,
    },
    /// A line: CompVis's `sqrt_linear`, diffusers' `linear`.
    Linear {
        /// The first of them.
        #[node(default = 0.0001, range = 0.0..=1.0)]
        start: f64,
        /// The last of them.
        #[node(default = 0.02, range = 0.0..=1.0)]
        end: f64,
    },
    /// Noise whose logarithm grows evenly, as EDM trains.
    Edm {
        /// The least noise.
        #[node(default = 0.002, range = 0.0..=1000.0)]
        sigma_min: f64,
        /// The most noise.
        #[node(default = 80.0, range = 0.0..=1000.0)]
        sigma_max: f64,
    },
    /// A squared cosine: CompVis's `cosine`, diffusers' `squaredcos_cap_v2`.
    Cosine,
}

/// Whether the last timestep of training was made nothing but noise, and by whose numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Choice)]
pub(crate) enum ZeroSnr {
    /// It was not.
    No,
    /// diffusers' `rescale_betas_zero_snr`.
    Diffusers,
    /// ComfyUI's `zsnr`, which leaves a trace of the picture.
    ComfyUi,
}

impl ModelSampling {
    /// The network as the graph describes it.
    fn described(&self, unet: &UnetAbout) -> Result<UnetAbout> {
        let mut about = unet.clone();
        about.prediction = match self.prediction {
            None => about.prediction,
            Some(Prediction::Epsilon) => models::Prediction::Epsilon,
            Some(Prediction::X0) => models::Prediction::X0,
            Some(Prediction::Velocity) => models::Prediction::Velocity,
            Some(Prediction::Edm) => models::Prediction::Edm,
        };
        about.schedule.betas = match self.betas {
            None => about.schedule.betas,
            Some(Betas::ScaledLinear { start, end }) => {
                models_schedule::Betas::ScaledLinear { start, end }
            }
            Some(Betas::Linear { start, end }) => models_schedule::Betas::Linear { start, end },
            Some(Betas::Edm {
                sigma_min,
                sigma_max,
            }) => models_schedule::Betas::Edm {
                sigma_min,
                sigma_max,
            },
            Some(Betas::Cosine) => models_schedule::Betas::Cosine,
        };
        about.schedule.rescale_zero_snr = match self.zero_snr {
            None => about.schedule.rescale_zero_snr,
            Some(ZeroSnr::No) => models_schedule::ZeroSnr::No,
            Some(ZeroSnr::Diffusers) => models_schedule::ZeroSnr::Diffusers,
            Some(ZeroSnr::ComfyUi) => models_schedule::ZeroSnr::ComfyUi,
        };
        let fine = about.schedule.check();
        fine.map_err(|e| Error::at("betas", e.to_string()))?;
        let fine = about.schedule.init();
        fine.map_err(|e| {
            let hint = "`Diffusers` fits every schedule";
            Error::at("zero_snr", e.to_string()).hint(hint)
        })?;
        Ok(about)
    }
}

impl Node for ModelSampling {
    type Out = Unet;

    fn facts(&self, facts: &mut Facts<'_>) -> Result<()> {
        if let Some(unet) = facts.of::<UnetAbout, _>(&self.unet) {
            facts.give(self.described(&unet)?);
        }
        Ok(())
    }

    fn run(&self, ctx: &mut Ctx<'_>) -> Result<Unet> {
        let unet = ctx.get(&self.unet);
        let about = self.described(unet.about())?;
        if about == *unet.about() {
            return Ok((*unet).clone());
        }
        unet.described(about)
    }
}
