//! A hint: a picture, and the network that steers by it.

use std::fmt::Debug;
use std::sync::Arc;

use ldm_engine::{Data, Hasher, Identity, Reporter, Result};
use ldm_models::guidance::{ControlModel, Span};

use crate::array::Array;
use crate::machine::Machine;
use crate::values::{About, Model};

/// A handle on a network that steers by hints.
pub trait ControlHandle: Debug + Send + Sync {
    /// The hash of what it is made of.
    fn identity(&self) -> Identity;

    /// The network with its weights, read now if they are not in memory.
    ///
    /// # Errors
    /// When the file is not what it was, does not hold this network, or finds no room.
    fn control(&self, machine: &Machine, reporter: &Reporter) -> Result<Arc<dyn ControlModel>>;
}

impl<A: About> ControlHandle for Model<A>
where
    A::Module: ControlModel,
{
    fn identity(&self) -> Identity {
        Data::identity(self)
    }

    fn control(&self, machine: &Machine, reporter: &Reporter) -> Result<Arc<dyn ControlModel>> {
        Ok(self.network(machine, reporter)?)
    }
}

/// A picture that a network beside the U-Net steers by.
#[derive(Debug, Clone)]
pub struct Hint {
    /// The network.
    pub network: Arc<dyn ControlHandle>,
    /// `[1 or batch, channels, k·h, k·w]` for a latent of `h` by `w`; a picture's is 0 to 1.
    pub image: Arc<Array<4>>,
    /// What the network's output is multiplied by.
    pub strength: f64,
    /// In which part of the walk it is added.
    pub span: Span,
}

/// What is known of a [`Hint`] before it exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HintFacts {
    /// Shape of its picture.
    pub image: [usize; 4],
}

impl Hint {
    /// The shape of its picture.
    pub fn facts(&self) -> HintFacts {
        HintFacts {
            image: self.image.shape(),
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
