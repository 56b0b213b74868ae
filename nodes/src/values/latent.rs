//! `Latent`: pictures as a UNet sees them, `[batch, channels, height / f, width / f]`.

use std::borrow::Cow;

use ldm_engine::{Data, Error, Hasher, Identity, Result};
use serde::{Deserialize, Serialize};

use crate::array::{Array, Pack, Unpack};

/// A batch of latents, scaled to about unit variance: what an autoencoder gives, times the
/// model's scale. (diffusers keeps them so too; ComfyUI keeps them unscaled.)
#[derive(Debug, Clone, PartialEq)]
pub struct Latent {
    /// `[batch, channels, height, width]`
    pub numbers: Array<4>,
    /// Whose latents these are, where that is known.
    pub space: Option<LatentSpace>,
}

/// The space that latents live in: two autoencoders that agree here may still differ.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct LatentSpace {
    /// Pixels of a picture's side per number of the latent's.
    pub factor: usize,
    /// What the autoencoder's numbers were multiplied by.
    pub scale: f64,
}

/// What is known of a [`Latent`] before it exists.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LatentFacts {
    /// How many there are.
    pub batch: usize,
    /// Numbers for each place.
    pub channels: usize,
    /// Places from top to bottom.
    pub height: usize,
    /// Places from left to right.
    pub width: usize,
    /// Whose latents these are, where that is known.
    pub space: Option<LatentSpace>,
}

impl Latent {
    /// How many, how large, and whose.
    pub fn facts(&self) -> LatentFacts {
        let [batch, channels, height, width] = self.numbers.shape();
        LatentFacts {
            batch,
            channels,
            height,
            width,
            space: self.space,
        }
    }
}

impl LatentSpace {
    /// The space as a file's header notes it.
    pub(crate) fn note(space: Option<Self>) -> Result<String> {
        space.map_or_else(|| Ok(String::new()), |space| Ok(ron::to_string(&space)?))
    }

    /// The space from a header's note.
    pub(crate) fn from_note(note: &str) -> Result<Option<Self>> {
        match note {
            "" => Ok(None),
            note => Ok(Some(ron::from_str(note)?)),
        }
    }

    /// Whether latents of two spaces can meet; what is not known may fit.
    ///
    /// # Errors
    /// Both sides, when they differ.
    pub fn same(found: Option<Self>, wanted: Self, whose: &str) -> Result<()> {
        let Some(found) = found else { return Ok(()) };
        if found.factor != wanted.factor {
            let (f, w) = (found.factor, wanted.factor);
            let message = format!("the latent is {f} times smaller than its picture, {whose} {w}");
            return Err(Error::new(message).hint("use the autoencoder of the same model"));
        }
        if found.scale != wanted.scale {
            let (f, w) = (found.scale, wanted.scale);
            let message = format!("the latent is scaled by {f}, {whose} by {w}");
            let hint = "use the autoencoder of the same model; one in a file of its own does not \
                        say the scale, write the UNet's: `LoadVae(path: …, scale: …)`";
            return Err(Error::new(message).hint(hint));
        }
        Ok(())
    }
}

impl Data for Latent {
    const NAME: &'static str = "Latent";

    fn identity(&self) -> Identity {
        let mut hasher = Hasher::default();
        self.numbers.hash_into(hasher.part(Self::NAME.as_bytes()));
        if let Some(LatentSpace { factor, scale }) = self.space {
            hasher
                .part(&(factor as u64).to_le_bytes())
                .part(&scale.to_bits().to_le_bytes());
        }
        hasher.finish()
    }
    fn bytes(&self) -> u64 {
        self.numbers.bytes()
    }
    fn save(&self) -> Result<Cow<'_, [u8]>> {
        Pack::default()
            .with("latent", &self.numbers)?
            .bytes(LatentSpace::note(self.space)?)
    }
    fn load(bytes: Vec<u8>) -> Result<Self> {
        let file = Unpack::open(&bytes)?;
        let space = LatentSpace::from_note(&file.note)?;
        Ok(Self {
            numbers: file.get("latent")?,
            space,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_latent_comes_back_with_its_space() {
        let space = Some(LatentSpace {
            factor: 8,
            scale: 0.1 + 0.2,
        });
        for space in [space, None] {
            let latent = Latent {
                numbers: Array::new([1, 1, 1, 2], vec![0.1, -2.0]),
                space,
            };
            let back = Latent::load(latent.save().unwrap().into_owned()).unwrap();
            assert_eq!((back.identity(), &back), (latent.identity(), &latent));
        }
    }

    #[test]
    fn spaces_that_differ_do_not_meet_and_unknown_ones_may() {
        let space = |factor, scale| LatentSpace { factor, scale };
        let same = |found, wanted| LatentSpace::same(found, wanted, "this model");
        assert!(same(None, space(8, 1.0)).is_ok());
        assert!(same(Some(space(8, 1.0)), space(8, 1.0)).is_ok());
        let error = same(Some(space(4, 1.0)), space(8, 1.0)).unwrap_err();
        assert!(error.message().contains("4 times smaller") && error.message().ends_with("8"));
        assert!(same(Some(space(8, 1.0)), space(8, 0.9)).is_err());
    }
}
