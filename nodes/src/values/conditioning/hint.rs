//! A hint: a picture, and the network that steers by it.

use std::sync::Arc;

use ldm_engine::{Data, Hasher, Identity};
use ldm_models::control::ControlConfig;
use ldm_models::guidance::Span;

use crate::array::Array;
use crate::values::ControlNet;

/// A picture that a network beside the U-Net steers by.
#[derive(Debug, Clone)]
pub struct Hint {
    /// The network.
    pub network: ControlNet,
    /// `[1 or batch, channels, height, width]`, 0 to 1, of any size.
    pub image: Arc<Array<4>>,
    /// What the network's output is multiplied by.
    pub strength: f64,
    /// In which part of the walk it is added.
    pub span: Span,
}

/// What is known of a [`Hint`] before it exists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HintFacts {
    /// The network.
    pub network: Arc<ControlConfig>,
    /// How many pictures there are.
    pub batch: usize,
}

impl Hint {
    /// Its network, and how many pictures it has.
    pub fn facts(&self) -> HintFacts {
        HintFacts {
            network: Arc::new(self.network.about().config.clone()),
            batch: self.image.shape()[0],
        }
    }

    /// The hash of the network's and of all else that it is.
    pub fn identity(&self) -> Identity {
        let mut hasher = Hasher::default();
        hasher.part(b"Hint").part(&self.network.identity().0);
        self.image.hash_into(&mut hasher);
        for number in [self.strength, self.span.start, self.span.end] {
            hasher.part(&number.to_bits().to_le_bytes());
        }
        hasher.finish()
    }
}

impl PartialEq for Hint {
    fn eq(&self, other: &Self) -> bool {
        self.identity() == other.identity()
    }
}
