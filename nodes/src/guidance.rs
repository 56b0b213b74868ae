//! How guidance weighs one side against the other, as a setting of a graph.

use ldm_engine::Choice;
use ldm_models::guidance as models;

/// How `cfg` weighs the positive side against the negative one.
#[derive(Debug, Clone, Copy, PartialEq, Choice)]
pub enum Guidance {
    /// Away from the negative side, towards the positive one, `cfg` times as far.
    Plain,
    /// The same, brought back towards the spread of the positive side (Lin et al. 2023): against
    /// pictures that a high `cfg` makes too bright.
    Rescaled {
        /// How much of it is brought back; the paper takes 0.7.
        #[node(default = 0.7, range = 0.0..=1.0)]
        phi: f64,
        /// What is brought back.
        #[node(default = RescaleOf::Velocity)]
        of: RescaleOf,
    },
    /// InstructPix2Pix: `cfg` weighs the text alone, and the picture beside it is weighed apart.
    Image {
        /// How strongly the picture is kept to; 1 is not at all beyond what the text says.
        #[node(default = 1.5, range = 0.0..=100.0)]
        image_cfg: f64,
    },
}

/// What rescaled guidance brings back to its spread.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Choice)]
pub enum RescaleOf {
    /// The velocity, whatever the network predicts: ComfyUI's `RescaleCFG`.
    Velocity,
    /// What the network predicts: diffusers' `guidance_rescale`.
    Output,
}

impl Guidance {
    /// As the models say it, with the strength that goes with it.
    pub(crate) fn with(self, cfg: f64) -> models::Guidance {
        match self {
            Self::Plain => models::Guidance::Plain { cfg },
            Self::Rescaled { phi, of } => models::Guidance::Rescaled {
                cfg,
                phi,
                of: match of {
                    RescaleOf::Velocity => models::RescaleOf::Velocity,
                    RescaleOf::Output => models::RescaleOf::Output,
                },
            },
            Self::Image { image_cfg: image } => models::Guidance::Image { cfg, image },
        }
    }
}
