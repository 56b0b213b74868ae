//! What a finished PNG carries: its pixels, and the graph that made it.
//!
//! Promises
//! - A file's claims are checked before memory is taken for them, and its text entries are
//!   bounded, packed and unpacked: the file may come from a stranger.
//! - A file that is cut off is an error, also behind its pixels, and so are damaged pixels; text
//!   that is damaged is not read.
//! - Pixels are compared as they are shown: how they are packed (palette, grey, interlacing)
//!   makes no difference.
//!
//! Not here: running the graph again (`ldm-graph verify`).

use std::io::{self, BufRead, Seek, SeekFrom};

use ldm_engine::{Error, Result};
use png::{BitDepth, ColorType, Decoder, DecodingError, Info, Limits, Transformations};

use crate::picture::{MOST_BYTES, MOST_SIDE, RECIPE};

/// Most bytes of one text entry, unpacked; graphs that people write are a thousand times smaller.
const MOST_TEXT: usize = 16 << 20;
/// Most bytes that a file may make the decoder hold beside the pixels: all its text, packed.
const MOST_CHUNKS: usize = 64 << 20;

/// Text entries by which other programs are known. ComfyUI's `workflow` names it better than
/// its `prompt`, so it is first.
const OTHERS: [(&str, &str); 8] = [
    ("workflow", "ComfyUI"),
    ("prompt", "ComfyUI"),
    ("parameters", "AUTOMATIC1111's web UI"),
    ("invokeai_metadata", "InvokeAI"),
    ("invokeai_graph", "InvokeAI"),
    ("sd-metadata", "InvokeAI"),
    ("Dream", "InvokeAI"),
    ("fooocus_scheme", "Fooocus"),
];

/// A PNG file that was read whole.
pub struct Carried {
    width: u32,
    height: u32,
    /// `[height, width, 4]`
    rgba: Vec<u8>,
    graph: Option<String>,
    other: Option<&'static str>,
}

impl Carried {
    /// Reads a PNG file.
    ///
    /// # Errors
    /// When it is none, is cut off or damaged, is too large, or carries too much text.
    pub fn read(mut file: impl BufRead + Seek) -> Result<Self> {
        check_signature(&mut file)?;
        let mut decoder = Decoder::new_with_limits(file, Limits { bytes: MOST_CHUNKS });
        decoder.set_transformations(Transformations::EXPAND | Transformations::ALPHA);
        let mut reader = decoder.read_info().map_err(|e| wrong(&e))?;
        let (width, height) = reader.info().size();
        if width.max(height) > MOST_SIDE {
            let message = format!("is {width}×{height}, at most {MOST_SIDE} are read");
            return Err(Error::new(message));
        }
        if reader.info().bit_depth == BitDepth::Sixteen {
            let message = "has 16 bits a channel; the pictures that ldm-graph writes have 8";
            return Err(Error::new(message));
        }
        let bytes = reader.output_buffer_size();
        let bytes = bytes.filter(|bytes| *bytes as u64 <= MOST_BYTES);
        let bytes = bytes.ok_or_else(|| Error::new("is too large"))?;
        let mut pixels = vec![0; bytes];
        let frame = reader.next_frame(&mut pixels).map_err(|e| wrong(&e))?;
        pixels.truncate(frame.buffer_size());
        // Text may stand behind the pixels, and so may damage.
        reader.finish().map_err(|e| wrong(&e))?;
        let info = reader.info();
        Ok(Self {
            width,
            height,
            rgba: rgba(pixels, frame.color_type),
            graph: text(info, RECIPE)?,
            other: other(info),
        })
    }

    /// The graph that made it, as text.
    pub fn graph(&self) -> Option<&str> {
        self.graph.as_deref()
    }

    /// Another program whose metadata it carries.
    pub fn other_program(&self) -> Option<&'static str> {
        self.other
    }

    /// Its width and height.
    pub fn size(&self) -> (u32, u32) {
        (self.width, self.height)
    }

    /// How its pixels differ from those of another picture; nothing when the sizes do.
    pub fn difference(&self, other: &Self) -> Option<Difference> {
        if self.size() != other.size() {
            return None;
        }
        let mut found = Difference {
            pixels: u64::from(self.width) * u64::from(self.height),
            ..Difference::default()
        };
        let (mut sum, row) = (0_u64, u64::from(self.width));
        let pairs = self.rgba.chunks_exact(4).zip(other.rgba.chunks_exact(4));
        for (at, (a, b)) in (0_u64..).zip(pairs) {
            if a == b {
                continue;
            }
            let off = a.iter().zip(b).map(|(a, b)| a.abs_diff(*b));
            let largest = off.clone().max().unwrap_or(0);
            sum += off.map(u64::from).sum::<u64>();
            found.differing += 1;
            found.far += u64::from(largest > FAR);
            found.largest = found.largest.max(largest);
            found.first.get_or_insert((at % row + 1, at / row + 1));
        }
        #[allow(clippy::cast_precision_loss)]
        let mean = sum as f64 / (found.pixels * 3) as f64;
        found.mean = mean;
        Some(found)
    }
}

/// A pixel that is off by more in any channel is seen as another colour, not as rounding.
const FAR: u8 = 8;
/// Most pixels that may be so far off, as a share: a few at edges tip over when a GPU sums in
/// another order, and no picture changes by it.
const MOST_FAR: f64 = 0.01;
/// Most that pixels may be off on the mean, of 255: f16 on two GPUs stays below 1.
const MOST_MEAN: f64 = 2.0;

/// How the pixels of two pictures of one size differ.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Difference {
    /// How many pixels there are.
    pub pixels: u64,
    /// How many differ.
    pub differing: u64,
    /// How many differ by more than rounding explains.
    far: u64,
    /// The largest difference in a channel, of 255.
    pub largest: u8,
    /// The mean over the three colours, of 255; what is transparent adds to it.
    mean: f64,
    /// Column and row, from 1, of the first pixel that differs.
    pub first: Option<(u64, u64)>,
}

impl Difference {
    /// Whether there is none at all: what two runs on the CPU owe each other.
    pub fn is_none(&self) -> bool {
        self.differing == 0
    }

    /// Whether it is what two runs on GPUs may differ by.
    #[allow(clippy::cast_precision_loss)]
    pub fn is_rounding(&self) -> bool {
        self.mean <= MOST_MEAN && self.far as f64 <= MOST_FAR * self.pixels as f64
    }
}

fn check_signature(file: &mut (impl BufRead + Seek)) -> Result<()> {
    let mut start = [0; 8];
    match file.read_exact(&mut start) {
        Ok(()) if start == *b"\x89PNG\r\n\x1a\n" => {}
        Err(error) if error.kind() != io::ErrorKind::UnexpectedEof => return Err(error.into()),
        _ => return Err(Error::new("is no PNG").hint("only PNG files carry a graph")),
    }
    file.seek(SeekFrom::Start(0))?;
    Ok(())
}

fn wrong(error: &DecodingError) -> Error {
    match error {
        DecodingError::IoError(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
            Error::new("is cut off").hint("copy or download it again")
        }
        DecodingError::LimitsExceeded => {
            let most = MOST_CHUNKS >> 20;
            Error::new(format!("carries over {most} MiB beside its pixels"))
        }
        other => Error::new(format!("is damaged: {other}")).hint("copy or download it again"),
    }
}

/// Four channels of the two or four that the decoder gives.
fn rgba(pixels: Vec<u8>, color: ColorType) -> Vec<u8> {
    match color {
        ColorType::GrayscaleAlpha => {
            let pairs = pixels.chunks_exact(2);
            pairs.flat_map(|p| [p[0], p[0], p[0], p[1]]).collect()
        }
        _ => pixels,
    }
}

/// The text entry of that name, whichever of PNG's three sorts it is.
fn text(info: &Info<'_>, keyword: &str) -> Result<Option<String>> {
    let much = || {
        let most = MOST_TEXT >> 20;
        Error::new(format!(
            "carries a graph that is damaged or over {most} MiB"
        ))
    };
    let plain = |text: String| match text.len() <= MOST_TEXT {
        true => Ok(Some(text)),
        false => Err(much()),
    };
    if let Some(entry) = info.utf8_text.iter().find(|entry| entry.keyword == keyword) {
        let mut entry = entry.clone();
        // Without a bound first, `get_text` unpacks whatever it is given.
        entry
            .decompress_text_with_limit(MOST_TEXT)
            .map_err(|_| much())?;
        return plain(entry.get_text()?);
    }
    let mut packed = info.compressed_latin1_text.iter();
    if let Some(entry) = packed.find(|entry| entry.keyword == keyword) {
        let mut entry = entry.clone();
        entry
            .decompress_text_with_limit(MOST_TEXT)
            .map_err(|_| much())?;
        return plain(entry.get_text()?);
    }
    let mut entries = info.uncompressed_latin1_text.iter();
    match entries.find(|entry| entry.keyword == keyword) {
        Some(entry) => plain(entry.text.clone()),
        None => Ok(None),
    }
}

fn other(info: &Info<'_>) -> Option<&'static str> {
    let utf8 = info.utf8_text.iter().map(|entry| &entry.keyword);
    let packed = info
        .compressed_latin1_text
        .iter()
        .map(|entry| &entry.keyword);
    let latin = info
        .uncompressed_latin1_text
        .iter()
        .map(|entry| &entry.keyword);
    let keywords: Vec<&String> = utf8.chain(packed).chain(latin).collect();
    let mut known = OTHERS.iter();
    let found = known.find(|(keyword, _)| keywords.iter().any(|found| found == keyword));
    found.map(|(_, program)| *program)
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use png::Encoder;
    use png::text_metadata::{ITXtChunk, TEXtChunk, ZTXtChunk};

    use super::*;

    fn read(png: &[u8]) -> Result<Carried> {
        Carried::read(Cursor::new(png))
    }

    fn words(png: &[u8]) -> String {
        let read = read(png).err();
        read.expect("it is wrong").message().to_owned()
    }

    /// A picture of these pixels, `[1, width, 3]`.
    fn picture(rgb: &[u8]) -> Vec<u8> {
        crate::picture::encode((rgb.len() / 3, 1), rgb, Some("Graph(…)".to_owned())).unwrap()
    }

    /// A black pixel with what `add` puts before it.
    fn with(add: impl FnOnce(&mut Encoder<'_, &mut Vec<u8>>)) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut encoder = Encoder::new(&mut bytes, 1, 1);
        encoder.set_color(ColorType::Rgb);
        add(&mut encoder);
        let mut writer = encoder.write_header().unwrap();
        writer.write_image_data(&[0; 3]).unwrap();
        writer.finish().unwrap();
        bytes
    }

    #[test]
    fn a_picture_carries_its_graph_in_any_sort_of_text() {
        let carried = read(&picture(&[1, 2, 3])).unwrap();
        assert_eq!(
            (carried.graph(), carried.size()),
            (Some("Graph(…)"), (1, 1))
        );
        let latin = with(|e| e.add_text_chunk(RECIPE.into(), "Graph()".into()).unwrap());
        assert_eq!(read(&latin).unwrap().graph(), Some("Graph()"));
        let packed = with(|e| e.add_ztxt_chunk(RECIPE.into(), "Graph()".into()).unwrap());
        assert_eq!(read(&packed).unwrap().graph(), Some("Graph()"));
        let none = with(|_| {});
        assert_eq!(
            (
                read(&none).unwrap().graph(),
                read(&none).unwrap().other_program()
            ),
            (None, None)
        );
    }

    #[test]
    fn text_behind_the_pixels_is_found() {
        let mut bytes = Vec::new();
        let mut encoder = Encoder::new(&mut bytes, 1, 1);
        encoder.set_color(ColorType::Rgb);
        let mut writer = encoder.write_header().unwrap();
        writer.write_image_data(&[0; 3]).unwrap();
        let chunk = ITXtChunk::new(RECIPE, "Graph()");
        writer.write_text_chunk(&chunk).unwrap();
        writer.finish().unwrap();
        assert_eq!(read(&bytes).unwrap().graph(), Some("Graph()"));
    }

    #[test]
    fn other_programs_are_known_by_their_metadata() {
        let of = |keyword: &str| {
            let png = with(|e| e.add_text_chunk(keyword.into(), "{}".into()).unwrap());
            read(&png).unwrap().other_program()
        };
        assert_eq!(of("prompt"), Some("ComfyUI"));
        assert_eq!(of("parameters"), Some("AUTOMATIC1111's web UI"));
        assert_eq!(of("Title"), None);
    }

    #[test]
    fn a_file_that_is_cut_off_is_an_error_and_damaged_text_is_not_read() {
        let png = picture(&[7; 30]);
        assert_eq!(words(b"\xff\xd8\xff\xe0 a photo"), "is no PNG");
        for cut in 0..png.len() {
            let said = words(&png[..cut]);
            let wanted = if cut < 8 { "is no PNG" } else { "is cut off" };
            assert_eq!(said, wanted, "at {cut} of {}", png.len());
        }
        for at in 8..png.len() {
            let mut damaged = png.clone();
            damaged[at] ^= 0x55;
            // No panic, and whatever is read is not the picture with another graph.
            if let Ok(carried) = read(&damaged) {
                assert!(
                    carried.graph().is_none_or(|graph| graph == "Graph(…)"),
                    "{at}"
                );
            }
        }
    }

    #[test]
    fn text_that_unpacks_to_too_much_is_refused() {
        let much = "a".repeat(MOST_TEXT + 1);
        let mut packed = ITXtChunk::new(RECIPE, much.clone());
        packed.compressed = true;
        packed.compress_text().unwrap();
        let bomb = with_chunk(&packed);
        assert!(
            bomb.len() < MOST_TEXT / 100,
            "it is small as a file: {}",
            bomb.len()
        );
        assert!(words(&bomb).ends_with("over 16 MiB"), "{}", words(&bomb));
        let mut packed = ZTXtChunk::new(RECIPE, much.clone());
        packed.compress_text().unwrap();
        assert!(words(&with_chunk(&packed)).ends_with("over 16 MiB"));
        assert!(words(&with_chunk(&TEXtChunk::new(RECIPE, much))).ends_with("over 16 MiB"));
        let huge = TEXtChunk::new("Title", "a".repeat(MOST_CHUNKS + 1));
        assert_eq!(
            words(&with_chunk(&huge)),
            "carries over 64 MiB beside its pixels"
        );
    }

    fn with_chunk(chunk: &impl png::text_metadata::EncodableTextChunk) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut encoder = Encoder::new(&mut bytes, 1, 1);
        encoder.set_color(ColorType::Rgb);
        let mut writer = encoder.write_header().unwrap();
        writer.write_text_chunk(chunk).unwrap();
        writer.write_image_data(&[0; 3]).unwrap();
        writer.finish().unwrap();
        bytes
    }

    #[test]
    fn sizes_that_are_lies_take_no_memory() {
        let mut png = picture(&[0; 3]);
        png[16..24].copy_from_slice(&[0x7f, 0xff, 0xff, 0xff, 0x7f, 0xff, 0xff, 0xff]);
        assert!(read(&png).is_err());
    }

    #[test]
    fn a_difference_tells_how_many_how_far_and_where() {
        let of = |rgb: &[u8]| read(&picture(rgb)).unwrap();
        let (a, b) = (
            of(&[10; 12]),
            of(&[10, 10, 10, 10, 13, 10, 10, 10, 10, 10, 10, 9]),
        );
        let found = a.difference(&b).unwrap();
        assert_eq!((found.pixels, found.differing, found.largest), (4, 2, 3));
        assert_eq!(found.first, Some((2, 1)));
        assert!(!found.is_none() && found.is_rounding());
        assert!(a.difference(&of(&[10; 12])).unwrap().is_none());
        assert!(a.difference(&of(&[10; 9])).is_none(), "other sizes");
    }

    #[test]
    fn rounding_is_little_on_the_mean_and_nowhere_far() {
        let wide = 200;
        let base = read(&picture(&vec![100; wide * 3])).unwrap();
        let off = |by: u8, pixels: usize| {
            let mut rgb = vec![100; wide * 3];
            rgb[..pixels * 3].iter_mut().for_each(|value| *value += by);
            base.difference(&read(&picture(&rgb)).unwrap())
                .unwrap()
                .is_rounding()
        };
        assert!(off(FAR + 1, 2), "one of a hundred pixels may be far off");
        assert!(!off(FAR + 1, 3));
        assert!(off(2, wide), "all may be a little off");
        assert!(!off(4, wide));
    }

    #[test]
    fn how_pixels_are_packed_makes_no_difference() {
        let mut grey = Vec::new();
        let mut encoder = Encoder::new(&mut grey, 2, 1);
        encoder.set_color(ColorType::Grayscale);
        let mut writer = encoder.write_header().unwrap();
        writer.write_image_data(&[5, 9]).unwrap();
        writer.finish().unwrap();
        let colour = read(&picture(&[5, 5, 5, 9, 9, 9])).unwrap();
        assert!(colour.difference(&read(&grey).unwrap()).unwrap().is_none());
    }
}
