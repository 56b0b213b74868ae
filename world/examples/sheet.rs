//! Writes a contact sheet of scenes: `cargo run -p ldm-world --example sheet -- sheet.png [SEED]
//! [SCALE]`. The captions go to standard output, in reading order.
#![allow(clippy::print_stdout)]

use std::error::Error;
use std::fs::File;
use std::io::BufWriter;

use ldm_world::Scene;

const COLUMNS: usize = 8;
const ROWS: usize = 6;
const GAP: usize = 4;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let path = arguments.next().unwrap_or_else(|| "sheet.png".to_owned());
    let first: u64 = arguments.next().map_or(Ok(0), |text| text.parse())?;
    let scale: usize = arguments.next().map_or(Ok(2), |text| text.parse())?;
    let edge = 64 * scale + GAP;
    let (width, height) = (COLUMNS * edge + GAP, ROWS * edge + GAP);
    let mut sheet = vec![255; 3 * width * height];
    for i in 0..COLUMNS * ROWS {
        let scene = Scene::from_seed(first + i as u64);
        let picture = scene.paint(64);
        let (left, top) = (GAP + i % COLUMNS * edge, GAP + i / COLUMNS * edge);
        for (y, x) in (0..64 * scale).flat_map(|y| (0..64 * scale).map(move |x| (y, x))) {
            let to = 3 * ((top + y) * width + left + x);
            sheet[to..to + 3].copy_from_slice(&picture.at(x / scale, y / scale));
        }
        let held = if scene.is_held_out() {
            " (held out)"
        } else {
            ""
        };
        for caption in scene.captions() {
            println!(
                "{},{}{held}: {}",
                i / COLUMNS + 1,
                i % COLUMNS + 1,
                caption.text
            );
        }
    }
    let mut encoder = png::Encoder::new(
        BufWriter::new(File::create(path)?),
        width as u32,
        height as u32,
    );
    encoder.set_color(png::ColorType::Rgb);
    encoder.write_header()?.write_image_data(&sheet)?;
    Ok(())
}
