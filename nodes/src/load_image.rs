//! `LoadImage`: a picture from a file.

use std::io::BufReader;

use ldm_engine::{Ctx, Error, Facts, Node, Outputs, ReadPath, Result, paths};

use crate::array::Array;
use crate::picture;
use crate::values::{Image, Mask, PictureFacts};

/// Reads a picture: PNG, JPEG, WebP, BMP, or the first frame of a GIF.
///
/// Colours are taken as they are in the file; what is transparent keeps the colour that the
/// file gives it. Rotation marks of cameras are not followed.
///
/// ```ron
/// "photo": LoadImage(path: "images/scene.png")
/// ```
#[derive(Node)]
pub(crate) struct LoadImage {
    /// The file.
    path: ReadPath,
}

/// What a picture file gives.
#[derive(Outputs)]
pub(crate) struct Loaded {
    /// The picture.
    image: Image,
    /// 1 where the picture is transparent; absent where the file has no transparency.
    mask: Option<Mask>,
}

impl Node for LoadImage {
    type Out = Loaded;

    fn facts(&self, facts: &mut Facts<'_>) -> Result<()> {
        let file = facts
            .open(&self.path)
            .map_err(|e| Error::at("path", e.message()))?;
        let name = paths::shown(file.path());
        let header = picture::header(BufReader::new(file)).map_err(|e| wrong(&name, &e))?;
        let size = PictureFacts {
            batch: 1,
            height: header.height as usize,
            width: header.width as usize,
        };
        let size = size.checked().map_err(|e| wrong(&name, &e))?;
        facts.give_on("image", size);
        match header.has_alpha {
            true => facts.give_on("mask", size),
            false => facts.absent("mask"),
        }
        Ok(())
    }

    fn run(&self, ctx: &mut Ctx<'_>) -> Result<Loaded> {
        let file = ctx.open(&self.path)?;
        let name = paths::shown(file.path());
        let found = picture::decode(BufReader::new(file)).map_err(|e| wrong(&name, &e))?;
        let has_alpha = found.color().has_alpha();
        let found = found.into_rgba32f();
        let (width, height) = (found.width() as usize, found.height() as usize);
        let area = width * height;
        let mut numbers = vec![0.0; 3 * area];
        let mut alpha = vec![0.0; if has_alpha { area } else { 0 }];
        for (at, pixel) in found.pixels().enumerate() {
            for channel in 0..3 {
                numbers[channel * area + at] = pixel.0[channel];
            }
            if has_alpha {
                alpha[at] = 1.0 - pixel.0[3];
            }
        }
        Ok(Loaded {
            image: Image::new(Array::new([1, 3, height, width], numbers))?,
            mask: has_alpha.then(|| Mask(Array::new([1, height, width], alpha))),
        })
    }
}

fn wrong(name: &str, error: &Error) -> Error {
    let at = Error::at("path", format!("{name} {}", error.message()));
    match error.hint_text() {
        Some(hint) => at.hint(hint),
        None => at,
    }
}
