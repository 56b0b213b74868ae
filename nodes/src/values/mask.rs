//! `Mask`: where, `[batch, height, width]`, 0 to 1.

use std::borrow::Cow;

use ldm_engine::{Data, Hasher, Identity, Result};
use ldm_models::resize::{Method, resize};

use super::PictureFacts;
use crate::array::{Array, Pack, Unpack};

/// How much each pixel is meant: 1 wholly, 0 not at all.
#[derive(Debug, Clone, PartialEq)]
pub struct Mask(pub Array<3>);

impl Mask {
    /// How many masks and how large.
    pub fn facts(&self) -> PictureFacts {
        let [batch, height, width] = self.0.shape();
        PictureFacts {
            batch,
            height,
            width,
        }
    }

    /// The masks at another height and width, in straight lines between pixels.
    pub(crate) fn resized(&self, size: [usize; 2]) -> Array<3> {
        let [count, height, width] = self.0.shape();
        let numbers = resize(self.0.numbers(), [height, width], size, Method::Bilinear);
        Array::new([count, size[0], size[1]], numbers)
    }
}

impl Data for Mask {
    const NAME: &'static str = "Mask";

    fn identity(&self) -> Identity {
        let mut hasher = Hasher::default();
        self.0.hash_into(hasher.part(Self::NAME.as_bytes()));
        hasher.finish()
    }
    fn bytes(&self) -> u64 {
        self.0.bytes()
    }
    fn save(&self) -> Result<Cow<'_, [u8]>> {
        Pack::default().with("mask", &self.0)?.bytes(String::new())
    }
    fn load(bytes: Vec<u8>) -> Result<Self> {
        Ok(Self(Unpack::open(&bytes)?.get("mask")?))
    }
}
