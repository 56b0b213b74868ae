//! `ImageScale`: a picture of another size, without a network.

use ldm_engine::{Choice, Ctx, Facts, In, Node, Result};
use ldm_models::resize::{self, margins, resize};

use crate::array::Array;
use crate::values::{Image, PictureFacts};

/// Brings pictures to a size.
///
/// The numbers are those of PyTorch and Pillow, so that what was made with ComfyUI's node of this
/// name can be made again.
///
/// ```ron
/// "thumbnail": ImageScale(image: "photo", width: 16, height: 16, crop: true)
/// ```
#[derive(Node)]
pub(crate) struct ImageScale {
    /// What to scale.
    image: In<Image>,
    /// The new width.
    #[node(range = 1..=16384, unit = "px")]
    width: usize,
    /// The new height.
    #[node(range = 1..=16384, unit = "px")]
    height: usize,
    /// How new pixels come from old ones.
    #[node(default = Method::Lanczos)]
    method: Method,
    /// Cuts the middle out where the shape is another, in place of stretching it.
    #[node(default = false)]
    crop: bool,
}

/// How new pixels come from old ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Choice)]
pub(crate) enum Method {
    /// Each new pixel is the nearest old one; ComfyUI's `nearest-exact`.
    Nearest,
    /// A straight line between neighbours.
    Bilinear,
    /// A cubic through neighbours; sharper, and may overshoot at edges.
    Bicubic,
    /// The mean of what a new pixel covers: good for making smaller.
    Area,
    /// A windowed sinc, the sharpest; does not skip pixels when making smaller.
    Lanczos,
}

impl From<Method> for resize::Method {
    fn from(method: Method) -> Self {
        match method {
            Method::Nearest => Self::Nearest,
            Method::Bilinear => Self::Bilinear,
            Method::Bicubic => Self::Bicubic,
            Method::Area => Self::Area,
            Method::Lanczos => Self::Lanczos,
        }
    }
}

impl ImageScale {
    fn scaled(&self, batch: usize) -> Result<PictureFacts> {
        let (height, width) = (self.height, self.width);
        let picture = PictureFacts {
            batch,
            height,
            width,
        };
        picture.checked()
    }
}

/// The pictures at `to [height, width]`; with `crop` their middle, so that nothing is stretched.
pub(crate) fn scaled(
    pixels: &Array<4>,
    to: [usize; 2],
    method: resize::Method,
    crop: bool,
) -> Array<4> {
    let [batch, channels, height, width] = pixels.shape();
    let from = [height, width];
    let cut = if crop { margins(from, to) } else { [0, 0] };
    let kept = [height - 2 * cut[0], width - 2 * cut[1]];
    let inner: Vec<f32> = pixels
        .numbers()
        .chunks_exact(width)
        .enumerate()
        .filter(|(row, _)| (cut[0]..cut[0] + kept[0]).contains(&(row % height)))
        .flat_map(|(_, row)| &row[cut[1]..cut[1] + kept[1]])
        .copied()
        .collect();
    let numbers = resize(&inner, kept, to, method);
    Array::new([batch, channels, to[0], to[1]], numbers)
}

impl Node for ImageScale {
    type Out = Image;

    fn facts(&self, facts: &mut Facts<'_>) -> Result<()> {
        if let Some(picture) = facts.of::<PictureFacts, _>(&self.image) {
            facts.give(self.scaled(picture.batch)?);
        }
        Ok(())
    }

    fn run(&self, ctx: &mut Ctx<'_>) -> Result<Image> {
        let image = ctx.get(&self.image);
        let to = [self.height, self.width];
        self.scaled(image.facts().batch)?;
        Image::new(scaled(image.pixels(), to, self.method.into(), self.crop))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crop_keeps_the_middle_of_every_picture_and_channel() {
        let row = |first: f32| (0..6).map(move |x| first + x as f32);
        let numbers: Vec<f32> = (0..2 * 3 * 2)
            .flat_map(|at| row(10.0 * at as f32))
            .collect();
        let pixels = Array::new([2, 3, 2, 6], numbers);
        let got = scaled(&pixels, [2, 2], resize::Method::Nearest, true);
        assert_eq!(got.shape(), [2, 3, 2, 2]);
        assert_eq!(got.numbers()[..4], [2.0, 3.0, 12.0, 13.0]);
        assert_eq!(got.numbers()[22..], [112.0, 113.0]);
        let stretched = scaled(&pixels, [2, 2], resize::Method::Area, false);
        assert_eq!(stretched.numbers()[..2], [1.0, 4.0]);
    }
}
