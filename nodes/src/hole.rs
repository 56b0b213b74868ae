//! Holes in pictures, as networks that fill them are shown them.
//!
//! Two conventions, of `scripts/inpaint.py` of CompVis and of diffusers' inpainting pipeline; they
//! differ in what a hole holds, in the mask's numbers and in the order of channels.

use ldm_engine::Choice;

use crate::array::Array;
use crate::values::{LatentFacts, Mask, PictureFacts};

/// The order of an inpainting network's channels, and the numbers of the hole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Choice)]
pub(crate) enum Layout {
    /// Mask (0 and 1), then the picture with a grey hole: Stable Diffusion's inpainting models.
    StableDiffusion,
    /// The picture with a black hole, then the mask (-1 and 1): the paper's.
    Ldm,
}

impl Layout {
    /// What a hole in a picture from -1 to 1 holds.
    fn hole(self) -> f32 {
        match self {
            Self::StableDiffusion => 0.0,
            Self::Ldm => -1.0,
        }
    }

    /// The number that the network is shown for a mask's.
    fn shown(self, mask: f32) -> f32 {
        match self {
            Self::StableDiffusion => mask,
            Self::Ldm => mask * 2.0 - 1.0,
        }
    }

    /// The pictures from -1 to 1 with their holes.
    pub(crate) fn around(self, pixels: &Array<4>, holes: &Array<3>) -> Array<4> {
        let [_, _, height, width] = pixels.shape();
        let (area, holes) = (height * width, holes.numbers());
        let numbers = pixels.numbers().iter().enumerate().map(|(at, pixel)| {
            let (item, place) = (at / (3 * area), at % area);
            let open = holes[item * area + place] > 0.0;
            if open { self.hole() } else { pixel * 2.0 - 1.0 }
        });
        Array::new(pixels.shape(), numbers.collect())
    }

    /// The holes at the latent's size, as the network is shown them.
    pub(crate) fn mask(self, holes: &Array<3>, latent: LatentFacts) -> Array<4> {
        let small = nearest(holes, [latent.height, latent.width]);
        let numbers = small.numbers().iter().map(|mask| self.shown(*mask));
        let shape = [latent.batch, 1, latent.height, latent.width];
        Array::new(shape, numbers.collect())
    }
}

/// 1 in a hole and 0 beside it, for each picture at its size.
pub(crate) fn holes(mask: &Mask, image: PictureFacts) -> Array<3> {
    let sized = mask.resized([image.height, image.width]);
    let set = |mask: &f32| f32::from(u8::from(*mask >= 0.5));
    let one: Vec<f32> = sized.numbers().iter().map(set).collect();
    let shape = [image.batch, image.height, image.width];
    Array::new(shape, one.repeat(image.batch / sized.shape()[0]))
}

/// The masks at another size, by PyTorch's `interpolate(mode="nearest")`, as both programs
/// shrink them: each place takes the first pixel that it covers. (`resize` takes the middle one.)
fn nearest(masks: &Array<3>, [height, width]: [usize; 2]) -> Array<3> {
    let [count, h, w] = masks.shape();
    let mut numbers = Vec::with_capacity(count * height * width);
    for mask in masks.numbers().chunks_exact(h * w) {
        let places = (0..height).flat_map(|y| (0..width).map(move |x| (y, x)));
        numbers.extend(places.map(|(y, x)| mask[y * h / height * w + x * w / width]));
    }
    Array::new([count, height, width], numbers)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Recorded from torch 2.15: `interpolate(x, size, mode="nearest")` of 0, 1, 4, 9, …
    #[test]
    fn the_nearest_pixel_is_torchs() {
        let check = |[h, w]: [usize; 2], to, want: &[f32]| {
            let squares = (0..h * w).map(|i| (i * i) as f32).collect();
            let small = nearest(&Array::new([1, h, w], squares), to);
            assert_eq!(small.numbers(), want);
        };
        check([3, 5], [2, 3], &[0.0, 1.0, 9.0, 25.0, 36.0, 64.0]);
        let large = [0.0, 0.0, 1.0, 1.0, 0.0, 0.0, 1.0, 1.0, 4.0, 4.0, 9.0, 9.0];
        check([2, 2], [3, 4], &large);
    }

    /// A 2×2 picture of 0.75 whose right column is a hole: `scripts/inpaint.py` of CompVis and
    /// `prepare_mask_and_masked_image` of diffusers, by hand.
    #[test]
    fn each_layout_digs_and_shows_its_own_hole() {
        let facts = PictureFacts {
            batch: 2,
            height: 2,
            width: 2,
        };
        let mask = Mask(Array::new([1, 2, 2], vec![0.0, 0.5, 0.49, 1.0]));
        let holes = holes(&mask, facts);
        assert_eq!(holes.numbers(), [0.0, 1.0, 0.0, 1.0].repeat(2));
        let latent = LatentFacts {
            batch: 2,
            channels: 4,
            height: 1,
            width: 2,
            space: None,
        };
        for (layout, hole, shown) in [
            (Layout::StableDiffusion, 0.0, [0.0, 1.0]),
            (Layout::Ldm, -1.0, [-1.0, 1.0]),
        ] {
            let pixels = Array::new([2, 3, 2, 2], vec![0.75; 24]);
            let around = layout.around(&pixels, &holes);
            assert_eq!(around.numbers(), [0.5, hole].repeat(12));
            assert_eq!(layout.mask(&holes, latent).numbers(), shown.repeat(2));
        }
    }
}
