//! `Conditioning`: what a picture should show.
//!
//! Not here yet: lists of entries with areas, masks, strengths and timestep ranges, control
//! hints. No node of this library makes or reads them.

use std::borrow::Cow;

use ldm_engine::{Data, Hasher, Identity, Result};
use ldm_models::guidance::Condition;

use crate::array::{Array, Pack, Unpack};
use crate::machine::Machine;

/// What a network is told besides the noisy latent.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Conditioning {
    /// Tokens to look at, `[1 or batch, n, width]`.
    pub tokens: Option<Array<3>>,
    /// Channels set behind the latent's own, `[1 or batch, channels, height, width]`.
    pub channels: Option<Array<4>>,
    /// One vector for the whole, `[1 or batch, width]`: a text's pooled encoding, with the sizes
    /// of Stable Diffusion XL behind it where they are told.
    pub vector: Option<Array<2>>,
}

/// What is known of a [`Conditioning`] before it exists.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ConditioningFacts {
    /// Shape of the tokens.
    pub tokens: Option<[usize; 3]>,
    /// Shape of the channels.
    pub channels: Option<[usize; 4]>,
    /// Shape of the vector.
    pub vector: Option<[usize; 2]>,
}

impl Conditioning {
    /// Shapes of its parts.
    pub fn facts(&self) -> ConditioningFacts {
        ConditioningFacts {
            tokens: self.tokens.as_ref().map(Array::shape),
            channels: self.channels.as_ref().map(Array::shape),
            vector: self.vector.as_ref().map(Array::shape),
        }
    }

    /// The parts on the device.
    pub fn condition(&self, machine: &Machine) -> Condition {
        let (device, dtype) = (machine.device(), burn::tensor::DType::F32);
        Condition {
            tokens: self
                .tokens
                .as_ref()
                .map(|tokens| tokens.tensor(device, dtype)),
            channels: self
                .channels
                .as_ref()
                .map(|channels| channels.tensor(device, dtype)),
        }
    }
}

impl Data for Conditioning {
    const NAME: &'static str = "Conditioning";

    fn identity(&self) -> Identity {
        let mut hasher = Hasher::default();
        hasher.part(Self::NAME.as_bytes());
        if let Some(tokens) = &self.tokens {
            tokens.hash_into(hasher.part(b"tokens"));
        }
        if let Some(channels) = &self.channels {
            channels.hash_into(hasher.part(b"channels"));
        }
        if let Some(vector) = &self.vector {
            vector.hash_into(hasher.part(b"vector"));
        }
        hasher.finish()
    }
    fn bytes(&self) -> u64 {
        self.tokens.as_ref().map_or(0, Array::bytes)
            + self.channels.as_ref().map_or(0, Array::bytes)
            + self.vector.as_ref().map_or(0, Array::bytes)
    }
    fn save(&self) -> Result<Cow<'_, [u8]>> {
        let mut pack = Pack::default();
        if let Some(tokens) = &self.tokens {
            pack = pack.with("tokens", tokens)?;
        }
        if let Some(channels) = &self.channels {
            pack = pack.with("channels", channels)?;
        }
        if let Some(vector) = &self.vector {
            pack = pack.with("vector", vector)?;
        }
        pack.bytes(String::new())
    }
    fn load(bytes: Vec<u8>) -> Result<Self> {
        let file = Unpack::open(&bytes)?;
        Ok(Self {
            tokens: file.find("tokens")?,
            channels: file.find("channels")?,
            vector: file.find("vector")?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_part_comes_back_alone_and_together() {
        let tokens = Some(Array::new([1, 2, 1], vec![1.0, 2.0]));
        let channels = Some(Array::new([1, 1, 1, 2], vec![1.0, 2.0]));
        let vector = Some(Array::new([1, 2], vec![1.0, 2.0]));
        let all = [
            (None, None, None),
            (tokens.clone(), None, None),
            (None, channels.clone(), None),
            (None, None, vector.clone()),
            (tokens, channels, vector),
        ];
        let mut identities = Vec::new();
        for (tokens, channels, vector) in all {
            let one = Conditioning {
                tokens,
                channels,
                vector,
            };
            assert_eq!(
                Conditioning::load(one.save().unwrap().into_owned()).unwrap(),
                one
            );
            identities.push(one.identity());
        }
        identities.sort();
        identities.dedup();
        assert_eq!(identities.len(), 5);
    }
}
