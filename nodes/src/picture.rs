//! Picture files: PNG out, anything common in.
//!
//! Promises
//! - The same pixels and text give the same bytes: no date, no program version.
//! - A file's claims are checked before memory is taken for them.

use std::io::{BufRead, Seek};

use image::{DynamicImage, ImageDecoder, ImageReader, Limits};
use ldm_engine::{Error, Result};
use png::{BitDepth, ColorType, Compression, Encoder};

/// Widest and highest picture that is read or written.
pub(crate) const MOST_SIDE: u32 = 16_384;
/// Most memory that reading one picture may take.
pub(crate) const MOST_BYTES: u64 = 1 << 30;
/// The text entry of a PNG that holds the graph it was made by.
pub(crate) const RECIPE: &str = "ldm-graph";

/// What a picture file says of itself.
pub(crate) struct Header {
    pub(crate) width: u32,
    pub(crate) height: u32,
    pub(crate) has_alpha: bool,
}

/// Reads the header only.
pub(crate) fn header(file: impl BufRead + Seek) -> Result<Header> {
    let decoder = reader(file)?.into_decoder().map_err(|e| not_one(&e))?;
    let (width, height) = decoder.dimensions();
    if width.max(height) > MOST_SIDE {
        return Err(Error::new(format!(
            "is {width}×{height}, at most {MOST_SIDE} are read"
        )));
    }
    Ok(Header {
        width,
        height,
        has_alpha: decoder.color_type().has_alpha(),
    })
}

/// Reads the whole picture.
pub(crate) fn decode(file: impl BufRead + Seek) -> Result<DynamicImage> {
    reader(file)?.decode().map_err(|e| not_one(&e))
}

fn reader<R: BufRead + Seek>(file: R) -> Result<ImageReader<R>> {
    let mut reader = ImageReader::new(file).with_guessed_format()?;
    let mut limits = Limits::default();
    limits.max_image_width = Some(MOST_SIDE);
    limits.max_image_height = Some(MOST_SIDE);
    limits.max_alloc = Some(MOST_BYTES);
    reader.limits(limits);
    Ok(reader)
}

fn not_one(error: &image::ImageError) -> Error {
    Error::new(format!("is no picture that can be read: {error}"))
        .hint("PNG, JPEG, WebP, BMP and GIF are read")
}

/// `rgb [height, width, 3]` as a PNG; `recipe` becomes a text entry.
pub(crate) fn encode(
    (width, height): (usize, usize),
    rgb: &[u8],
    recipe: Option<String>,
) -> Result<Vec<u8>> {
    let side = |n: usize| u32::try_from(n).ok().filter(|n| *n <= MOST_SIDE);
    let (Some(w), Some(h)) = (side(width), side(height)) else {
        let message =
            format!("the file would be {width}×{height}, at most {MOST_SIDE} are written");
        return Err(Error::new(message));
    };
    let mut bytes = Vec::new();
    let mut encoder = Encoder::new(&mut bytes, w, h);
    encoder.set_color(ColorType::Rgb);
    encoder.set_depth(BitDepth::Eight);
    encoder.set_compression(Compression::Balanced);
    if let Some(recipe) = recipe {
        encoder.add_itxt_chunk(RECIPE.to_owned(), recipe)?;
    }
    let mut writer = encoder.write_header()?;
    writer.write_image_data(rgb)?;
    writer.finish()?;
    Ok(bytes)
}

/// The pictures `[height, width, 3]` of one size as a sheet of `columns`; what is left of the
/// last row is black. Gives the sheet's width and height too.
pub(crate) fn sheet(
    pictures: &[Vec<u8>],
    (width, height): (usize, usize),
    columns: usize,
) -> ((usize, usize), Vec<u8>) {
    let columns = columns.clamp(1, pictures.len().max(1));
    let rows = pictures.len().div_ceil(columns);
    let (line, wide) = (width * 3, width * columns);
    let mut rgb = vec![0; wide * 3 * height * rows];
    for (at, picture) in pictures.iter().enumerate() {
        let (row, column) = (at / columns, at % columns);
        for (y, pixels) in picture.chunks_exact(line).enumerate() {
            let start = (row * height + y) * wide * 3 + column * line;
            rgb[start..start + line].copy_from_slice(pixels);
        }
    }
    ((wide, height * rows), rgb)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Cursor;

    #[test]
    fn a_png_carries_its_recipe_and_its_pixels() {
        let rgb: Vec<u8> = (0..2 * 3 * 3).collect();
        let bytes = encode((3, 2), &rgb, Some("Graph(…)".to_owned())).unwrap();
        assert_eq!(
            decode(Cursor::new(&bytes)).unwrap().into_rgb8().into_raw(),
            rgb
        );
        let reader = png::Decoder::new(Cursor::new(&bytes)).read_info().unwrap();
        let text = &reader.info().utf8_text[0];
        assert_eq!(
            (&text.keyword[..], text.get_text().unwrap()),
            (RECIPE, "Graph(…)".to_owned())
        );
        let plain = encode((3, 2), &rgb, None).unwrap();
        let reader = png::Decoder::new(Cursor::new(&plain)).read_info().unwrap();
        assert!(reader.info().utf8_text.is_empty());
    }

    #[test]
    fn a_sheet_runs_left_to_right_and_down() {
        let pictures: Vec<Vec<u8>> = (1..=3).map(|n| vec![n; 3]).collect();
        let (size, rgb) = sheet(&pictures, (1, 1), 2);
        assert_eq!(
            (size, rgb),
            ((2, 2), vec![1, 1, 1, 2, 2, 2, 3, 3, 3, 0, 0, 0])
        );
        assert_eq!(sheet(&pictures, (1, 1), 9).0, (3, 1));
    }

    #[test]
    fn what_is_no_picture_is_told_and_lies_take_no_memory() {
        let words = header(Cursor::new(b"not a picture")).err().unwrap();
        assert!(words.message().starts_with("is no picture"), "{words}");
        let mut png = encode((1, 1), &[0; 3], None).unwrap();
        for cut in 0..png.len() {
            let _ = decode(Cursor::new(&png[..cut])).err();
        }
        png[16..24].copy_from_slice(&[0x7f, 0xff, 0xff, 0xff, 0x7f, 0xff, 0xff, 0xff]);
        assert!(header(Cursor::new(&png)).is_err());
        assert!(decode(Cursor::new(&png)).is_err());
    }
}
