//! `Preview`: a small picture to look at while the graph runs.

use std::io::Write;

use image::RgbImage;
use image::imageops::thumbnail;
use ldm_engine::{Ctx, Error, In, Node, Result};

use crate::picture;
use crate::values::{Image, PictureFacts};

/// Puts a small PNG of the pictures, side by side, into the cache folder.
///
/// Nothing is written to the output folder, and nothing at all where no previews are wanted.
///
/// ```ron
/// "look": Preview(image: "image")
/// ```
#[derive(Node)]
#[node(effect)]
pub(crate) struct Preview {
    /// What to look at.
    image: In<Image>,
    /// Longest side of each picture.
    #[node(default = 256, range = 16..=1024, unit = "px")]
    size: u32,
    /// How many of a batch are shown.
    #[node(default = 4, range = 1..=16)]
    count: usize,
}

impl Node for Preview {
    type Out = ();

    fn run(&self, ctx: &mut Ctx<'_>) -> Result<()> {
        let Some(folder) = ctx.previews().map(std::path::Path::to_path_buf) else {
            return Ok(());
        };
        let image = ctx.get(&self.image);
        let PictureFacts {
            batch,
            height,
            width,
        } = image.facts();
        let longest = width.max(height).max(self.size as usize) as u64;
        let side = |n: usize| (n as u64 * u64::from(self.size) / longest).max(1) as u32;
        let (small_width, small_height) = match longest > u64::from(self.size) {
            true => (side(width), side(height)),
            false => (width as u32, height as u32),
        };
        let mut pictures = Vec::new();
        for index in 0..batch.min(self.count) {
            let full = RgbImage::from_raw(width as u32, height as u32, image.rgb8(index));
            let full = full.ok_or_else(|| Error::new("the picture is too large to preview"))?;
            pictures.push(thumbnail(&full, small_width, small_height).into_raw());
        }
        let size = (small_width as usize, small_height as usize);
        let (size, rgb) = picture::sheet(&pictures, size, pictures.len());
        let png = picture::encode(size, &rgb, None)?;
        std::fs::create_dir_all(&folder)?;
        let path = folder.join(format!("{}.png", &blake3::hash(&png).to_hex()[..16]));
        let mut file = tempfile::NamedTempFile::new_in(&folder)?;
        file.write_all(&png)?;
        file.persist(&path)?;
        ctx.reporter().note(format!("preview: {}", path.display()));
        Ok(())
    }
}
