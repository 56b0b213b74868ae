//! `ldm-graph verify`: the graph of a picture, run again, and its pixels compared.

use std::path::Path;

use crate::lab::{Ended, Lab, models, utf8};

/// Two pictures from text.
const PICTURES: &str = r#"
    "model": LoadModel(path: "weights/text"),
    "wanted": TextEncode(text_encoder: "model", text: "a red house"),
    "noise": EmptyLatent(vae: "model", width: 16, height: 16, batch: 2),
    "latent": Denoise(
        unet: "model", latent: "noise", positive: "wanted",
        sampler: Ddim(eta: 0.0), steps: 2, seed: 1,
    ),
    "image": VaeDecode(vae: "model", latent: "latent"),
    "save": SaveImage(image: "image", path: "a-{index}.png"),
"#;

/// A picture that is only read and written: nothing computes.
const COPY: &str = r#"
    "photo": LoadImage(path: "photo.png"),
    "save": SaveImage(image: "photo.image", path: "copy.png"),
"#;

/// A lab in which `out/a-0.png` and `out/a-1.png` were made.
fn made() -> Lab {
    let lab = Lab::new();
    lab.graph(PICTURES, &["--no-cache"]).code(0);
    lab
}

/// A lab in which `out/copy.png` was made of `photo.png`, a picture of 3 by 2 pixels.
fn copied() -> Lab {
    let lab = Lab::new();
    lab.write("photo.png", png((3, 2), &(0..18).collect::<Vec<u8>>(), &[]));
    lab.graph(COPY, &[]).code(0);
    lab
}

fn verify<const N: usize>(lab: &Lab, pictures: [&str; N]) -> Ended {
    let mut arguments = vec!["verify", "--models", utf8(models())];
    arguments.extend(pictures);
    lab.run(arguments)
}

/// A PNG of `rgb` with text entries, without help from an image library: what comes from a
/// stranger must not depend on ours.
fn png((width, height): (u32, u32), rgb: &[u8], texts: &[(&str, &str)]) -> Vec<u8> {
    let mut file = b"\x89PNG\r\n\x1a\n".to_vec();
    let mut header = Vec::new();
    header.extend(width.to_be_bytes());
    header.extend(height.to_be_bytes());
    header.extend([8, 2, 0, 0, 0]);
    chunk(&mut file, b"IHDR", &header);
    for (keyword, text) in texts {
        chunk(
            &mut file,
            b"iTXt",
            &[keyword.as_bytes(), b"\0\0\0\0\0", text.as_bytes()].concat(),
        );
    }
    let row = |row: &[u8]| [&[0], row].concat();
    let raw: Vec<u8> = rgb.chunks(width as usize * 3).flat_map(row).collect();
    chunk(&mut file, b"IDAT", &stored(&raw));
    chunk(&mut file, b"IEND", &[]);
    file
}

fn chunk(file: &mut Vec<u8>, name: &[u8; 4], data: &[u8]) {
    file.extend((data.len() as u32).to_be_bytes());
    let body = [name, data].concat();
    file.extend(&body);
    file.extend(crc(&body).to_be_bytes());
}

fn crc(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = (crc >> 1) ^ (0xedb8_8320 * (crc & 1));
        }
    }
    !crc
}

/// zlib's form of bytes that are not packed.
fn stored(raw: &[u8]) -> Vec<u8> {
    let length = u16::try_from(raw.len()).expect("a small picture");
    let mut packed = vec![0x78, 0x01, 0x01];
    packed.extend(length.to_le_bytes());
    packed.extend((!length).to_le_bytes());
    packed.extend(raw);
    let (mut a, mut b) = (1_u32, 0_u32);
    for byte in raw {
        a = (a + u32::from(*byte)) % 65_521;
        b = (b + a) % 65_521;
    }
    packed.extend(((b << 16) | a).to_be_bytes());
    packed
}

/// A black pixel that carries this graph.
fn carrying(graph: &str) -> Vec<u8> {
    png((1, 1), &[0; 3], &[("ldm-graph", graph)])
}

fn is_empty(folder: &Path) -> bool {
    let mut entries = std::fs::read_dir(folder).expect("a folder");
    entries.next().is_none()
}

#[test]
fn on_the_cpu_pixels_are_equal_or_they_are_not() {
    let lab = made();
    let ended = verify(&lab, ["out/a-0.png", "out/a-1.png"]);
    assert_eq!(
        ended.code(0).out,
        "out/a-0.png: the same pixels, made by `save` as a-0.png\n\
         out/a-1.png: the same pixels, made by `save` as a-1.png\n"
    );
    ended.says("computing on the CPU");

    // Of another name, and elsewhere: the file whose pixels agree is found.
    let second = lab.read("out/a-1.png").expect("a picture");
    lab.write("far/away/mine.png", &second);
    let ended = verify(&lab, ["far/away/mine.png"]);
    assert_eq!(
        ended.code(0).out,
        "far/away/mine.png: the same pixels, made by `save` as a-1.png\n"
    );

    // The graph of one picture in the other's place: its own name is tried first, not believed.
    lab.write("swapped/a-0.png", &second);
    let ended = verify(&lab, ["swapped/a-0.png"]);
    assert!(
        ended.code(0).out.ends_with("made by `save` as a-1.png\n"),
        "{}",
        ended.out
    );

    // One bit of one pixel.
    let graph = graph_of(&lab.read("out/a-0.png").expect("a picture"));
    let other = graph.replace("seed: 1", "seed: 2");
    assert_ne!(graph, other);
    lab.write(
        "black.png",
        png((16, 16), &[0; 768], &[("ldm-graph", &other)]),
    );
    let ended = verify(&lab, ["black.png"]);
    let out = &ended.code(1).out;
    assert!(
        out.starts_with("black.png: ") && out.contains(" of 256 pixels differ"),
        "{out}"
    );
    ended.says("computed on cpu");
}

/// The graph that a picture of ours carries.
fn graph_of(png: &[u8]) -> String {
    let text = String::from_utf8_lossy(png);
    let start = text.find("Graph(").expect("a graph");
    let end = text[start..].find("\n)\n").expect("its end");
    text[start..start + end + 3].to_owned()
}

#[test]
fn one_bit_of_one_pixel_is_seen_and_placed() {
    let lab = copied();
    assert_eq!(
        verify(&lab, ["out/copy.png"]).code(0).out,
        "out/copy.png: the same pixels, made by `save` as copy.png\n"
    );
    let graph = graph_of(&lab.read("out/copy.png").expect("a picture"));
    let mut rgb: Vec<u8> = (0..18).collect();
    rgb[13] ^= 1;
    lab.write("edited.png", png((3, 2), &rgb, &[("ldm-graph", &graph)]));
    assert_eq!(
        verify(&lab, ["edited.png"]).code(1).out,
        "edited.png: 1 of 6 pixels differ, by at most 1 of 255, the first in column 2 of row 2, \
         made by `save` as copy.png\n"
    );
    lab.write(
        "cropped.png",
        png((3, 1), &rgb[..9], &[("ldm-graph", &graph)]),
    );
    assert_eq!(
        verify(&lab, ["cropped.png"]).code(1).out,
        "cropped.png: it is 3×1, `save` made copy.png of 3×2\n"
    );
    // A file that was read has changed since.
    lab.write("photo.png", png((3, 2), &rgb, &[]));
    verify(&lab, ["out/copy.png"]).code(1);
}

#[test]
fn no_result_that_was_kept_before_has_a_part_in_the_verdict() {
    let lab = Lab::new();
    lab.graph(PICTURES, &[]).code(0);
    // What a cache would give without looking: objects of another picture under every name.
    let cache = lab.path("cache");
    let before = listed(&cache);
    assert!(before.len() > 3, "the run kept results");
    for path in before.iter().filter(|path| path.is_file()) {
        std::fs::write(path, b"nothing that can be read").expect("a file");
    }
    let ended = verify(&lab, ["-v", "out/a-0.png"]);
    ended.code(0).says("latent: runs");
    assert!(!ended.err.contains(": kept"), "{}", ended.err);
    assert_eq!(listed(&cache), before, "and it keeps none");
}

fn listed(folder: &Path) -> Vec<std::path::PathBuf> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten() {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            all.extend(listed(&path));
        }
        all.push(path);
    }
    all.sort();
    all
}

#[test]
fn what_the_graph_writes_is_gone_when_the_verdict_is_there() {
    let lab = copied();
    std::fs::remove_file(lab.path("graph.ron")).expect("a file");
    let temporary = lab.path("temporary");
    std::fs::create_dir(&temporary).expect("a folder");
    let picture = lab.read("out/copy.png").expect("a picture");
    std::fs::remove_dir_all(lab.path("out")).expect("a folder");
    lab.write("copy.png", &picture);
    let verify = |name: &str| {
        let mut command = lab.command(["verify", name]);
        command.env("TMPDIR", &temporary);
        Ended::of(command.output().expect("the program starts"))
    };
    verify("copy.png").code(0);
    assert!(is_empty(&temporary), "nothing stays behind");
    assert!(
        !lab.path("out").exists(),
        "and nothing is written elsewhere"
    );
    assert_eq!(lab.read("copy.png"), Some(picture.clone()));
    // A graph that wants out of the folder is no graph.
    let out = graph_of(&picture).replace("copy.png", "../../copy.png");
    lab.write("evil.png", carrying(&out));
    verify("evil.png")
        .code(2)
        .says("leaves the output folder")
        .says("evil.png (graph):");
    assert!(is_empty(&temporary));
}

#[test]
fn files_are_looked_for_from_the_picture_then_from_the_working_folder_upward() {
    let lab = copied();
    let picture = lab.read("out/copy.png").expect("a picture");
    // Beside the picture's folder, while the program is at work elsewhere.
    let elsewhere = Lab::new();
    let path = lab.path("out/copy.png");
    elsewhere.run(["verify", utf8(&path)]).code(0);
    // In the working folder, while the picture is elsewhere.
    let moved = elsewhere.write("copy.png", &picture);
    lab.run(["verify", utf8(&moved)]).code(0);
    // Nowhere.
    let ended = elsewhere.run(["verify", "copy.png"]);
    ended.code(2).says("`photo`: there is no file `photo.png`");
    ended.says("copy.png (graph):3:").says("tried ");
    let help = lab.run(["verify", "--help"]).out;
    let help = help.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(
        help.contains("looked for in the picture's folder and those above it"),
        "{help}"
    );
    assert!(help.contains("2 of 255 on the mean"), "{help}");
}

#[test]
fn a_picture_from_a_stranger_is_a_misuse_with_words_at_worst() {
    let lab = copied();
    let says = |name: &str, content: &[u8], words: &str| {
        lab.write(name, content);
        let ended = verify(&lab, [name]);
        ended.code(2).says(words);
        assert_eq!(ended.out, "", "no verdict");
        assert!(!ended.err.contains("bug"), "{}", ended.err);
    };
    let black = |texts: &[(&str, &str)]| png((1, 1), &[0; 3], texts);
    says("a.png", &black(&[]), "a.png carries no graph");
    says(
        "b.png",
        &black(&[("prompt", "{}"), ("workflow", "{}")]),
        "carries metadata of ComfyUI",
    );
    says(
        "c.png",
        &black(&[("parameters", "a house")]),
        "carries metadata of AUTOMATIC1111",
    );
    says("d.jpg", b"\xff\xd8\xff\xe0 a photo", "d.jpg is no PNG");
    let whole = lab.read("out/copy.png").expect("a picture");
    says("e.png", &whole[..whole.len() - 9], "e.png is cut off");
    says(
        "f.png",
        &carrying("Graph(format: 2, nodes: {})"),
        "this graph has format 2",
    );
    says(
        "g.png",
        &carrying("Graph(nodes: {\n \"a\": Magic(),\n})"),
        "g.png (graph):2:7",
    );
    says("h.png", &carrying("{\"3\": {}}"), "h.png (graph):1:1");
    says("i.png", &carrying("Graph(nodes: {})"), "i.png");
    says(
        "j.png",
        &carrying(&"(".repeat(100_000)),
        "brackets nest deeper",
    );
    let only = r#"Graph(nodes: {"p": LoadImage(path: "photo.png")}, outputs: {"x": "p.image"})"#;
    says(
        "k.png",
        &carrying(only),
        "the graph of k.png writes no file",
    );
    lab.run(["verify", "missing.png"])
        .code(2)
        .says("cannot read missing.png");
    lab.run(["verify", "out"]).code(2).says("out is a folder");
    lab.run(["verify"]).code(2).says("<PICTURE>");
}

#[test]
fn it_ends_as_the_worst_picture_did_and_tells_of_all() {
    let lab = copied();
    let graph = graph_of(&lab.read("out/copy.png").expect("a picture"));
    lab.write("other.png", png((3, 2), &[9; 18], &[("ldm-graph", &graph)]));
    lab.write("none.png", png((1, 1), &[0; 3], &[]));
    let ended = verify(&lab, ["other.png", "out/copy.png"]);
    assert_eq!(ended.code(1).out.lines().count(), 2);
    let ended = verify(&lab, ["none.png", "other.png", "out/copy.png"]);
    assert_eq!(ended.code(2).out.lines().count(), 2);
}
