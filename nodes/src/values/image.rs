//! `Image`: pictures of one size, `[batch, 3, height, width]`, red green blue, 0 to 1.

use std::borrow::Cow;

use ldm_engine::{Data, Error, Hasher, Identity, Result};

use crate::array::{Array, Pack, Unpack};

/// A batch of pictures; numbers outside 0..1 are kept, and cut off where a file is written.
#[derive(Debug, Clone, PartialEq)]
pub struct Image(Array<4>);

/// What is known of an [`Image`] or a [`Mask`](super::Mask) before it exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PictureFacts {
    /// How many there are.
    pub batch: usize,
    /// Pixels from top to bottom.
    pub height: usize,
    /// Pixels from left to right.
    pub width: usize,
}

/// Most numbers in one batch of pictures or latents: 1 GiB.
pub(crate) const MOST_NUMBERS: usize = 1 << 28;

impl PictureFacts {
    /// Itself, when so many pictures of this size can be held.
    ///
    /// # Errors
    /// When there is nothing in them, or absurdly much.
    pub fn checked(self) -> Result<Self> {
        let sides = [self.batch, 3, self.height, self.width];
        let all = sides.iter().try_fold(1usize, |all, n| all.checked_mul(*n));
        match all {
            Some(all) if all > 0 && all <= MOST_NUMBERS => Ok(self),
            _ => {
                let Self {
                    batch,
                    height,
                    width,
                } = self;
                let message =
                    format!("{batch} pictures of {width}×{height} are none or over 1 GiB");
                Err(Error::new(message).hint("fewer pictures, or smaller ones"))
            }
        }
    }
}

impl Image {
    /// Pictures from `pixels [batch, 3, height, width]`.
    ///
    /// # Errors
    /// When there are not three channels, or no pixels.
    pub fn new(pixels: Array<4>) -> Result<Self> {
        match pixels.shape() {
            [b, 3, h, w] if b > 0 && h > 0 && w > 0 => Ok(Self(pixels)),
            shape => Err(Error::new(format!(
                "{shape:?} is no picture: [batch, 3, height, width]"
            ))),
        }
    }

    /// Pictures from bytes `[batch, height, width, 3]`.
    ///
    /// # Errors
    /// As [`Image::new`].
    pub fn from_rgb8(batch: usize, height: usize, width: usize, rgb: &[u8]) -> Result<Self> {
        let area = height * width;
        let mut numbers = vec![0.0; batch * 3 * area];
        for (at, pixel) in rgb.chunks_exact(3).enumerate() {
            let (item, at) = (at / area.max(1), at % area.max(1));
            for (channel, byte) in pixel.iter().enumerate() {
                numbers[(item * 3 + channel) * area + at] = f32::from(*byte) / 255.0;
            }
        }
        Self::new(Array::new([batch, 3, height, width], numbers))
    }

    /// `[batch, 3, height, width]`, 0 to 1
    pub fn pixels(&self) -> &Array<4> {
        &self.0
    }

    /// How many pictures and how large.
    pub fn facts(&self) -> PictureFacts {
        let [batch, _, height, width] = self.0.shape();
        PictureFacts {
            batch,
            height,
            width,
        }
    }

    /// Picture `index` as bytes `[height, width, 3]`.
    pub fn rgb8(&self, index: usize) -> Vec<u8> {
        let [_, _, height, width] = self.0.shape();
        let area = height * width;
        let planes = &self.0.numbers()[index * 3 * area..(index + 1) * 3 * area];
        let byte = |x: f32| (x.clamp(0.0, 1.0) * 255.0).round() as u8;
        (0..area)
            .flat_map(|at| [0, 1, 2].map(|c| byte(planes[c * area + at])))
            .collect()
    }
}

impl Data for Image {
    const NAME: &'static str = "Image";

    fn identity(&self) -> Identity {
        let mut hasher = Hasher::default();
        self.0.hash_into(hasher.part(Self::NAME.as_bytes()));
        hasher.finish()
    }
    fn bytes(&self) -> u64 {
        self.0.bytes()
    }
    fn save(&self) -> Result<Cow<'_, [u8]>> {
        Pack::default().with("image", &self.0)?.bytes(String::new())
    }
    fn load(bytes: Vec<u8>) -> Result<Self> {
        Self::new(Unpack::open(&bytes)?.get("image")?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_become_a_picture_and_come_back() {
        let rgb: Vec<u8> = (0..2 * 2 * 3 * 3).map(|i| (i * 7 % 256) as u8).collect();
        let image = Image::from_rgb8(2, 2, 3, &rgb).unwrap();
        assert_eq!([image.rgb8(0), image.rgb8(1)].concat(), rgb);
        assert_eq!(
            image.pixels().numbers()[6],
            f32::from(rgb[1]) / 255.0,
            "planes, then pixels"
        );
        assert_eq!(
            Image::load(image.save().unwrap().into_owned()).unwrap(),
            image
        );
    }

    #[test]
    fn four_channels_or_no_pixels_are_no_picture() {
        assert!(Image::new(Array::zeros([1, 4, 2, 2])).is_err());
        assert!(Image::new(Array::zeros([1, 3, 0, 2])).is_err());
    }
}
