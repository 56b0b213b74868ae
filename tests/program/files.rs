//! Files that lie: weights, pictures and graphs that are not what they say. All of them are
//! found while planning, from headers, without a panic or memory in proportion to the lie.

use crate::lab::{Ended, Lab, make_model};

const VAE: &str = "weights/text/vae.safetensors";
const OPEN: &str = r#"Graph(
    nodes: {"model": LoadModel(path: "weights/text")},
    outputs: {"vae": "model.vae"},
)"#;

/// `check` of a graph that opens a model whose autoencoder's file was changed.
fn with_vae(change: impl FnOnce(Vec<u8>) -> Vec<u8>) -> Ended {
    let lab = Lab::new();
    make_model(&lab.path("weights/text"));
    lab.write("g.ron", OPEN);
    lab.run(["check", "g.ron"]).code(0);
    let before = lab.read(VAE).expect("the weights");
    lab.write(VAE, change(before));
    lab.run(["check", "g.ron"])
}

/// A safetensors file of this header and so many bytes of data.
fn safetensors(header: &str, data: usize) -> Vec<u8> {
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend(header.as_bytes());
    file.resize(file.len() + data, 0);
    file
}

/// The header of a safetensors file.
fn header(file: &[u8]) -> String {
    let length: [u8; 8] = file[..8].try_into().expect("eight bytes");
    let length = usize::try_from(u64::from_le_bytes(length)).expect("a header that fits");
    String::from_utf8(file[8..8 + length].to_vec()).expect("a header is text")
}

#[track_caller]
fn refused(ended: &Ended) {
    ended
        .code(2)
        .says("error: `model.path`")
        .says("g.ron:2:")
        .says("vae.safetensors");
    assert!(!ended.err.contains("bug"), "{}", ended.err);
}

#[test]
fn missing_weights_are_named() {
    let lab = Lab::new();
    make_model(&lab.path("weights/text"));
    lab.write("g.ron", OPEN);
    std::fs::remove_file(lab.path(VAE)).expect("the weights are there");
    refused(&lab.run(["check", "g.ron"]));
}

#[test]
fn truncated_weights_are_refused() {
    refused(&with_vae(|mut file| {
        file.truncate(file.len() - 10);
        file
    }));
    refused(&with_vae(|file| file[..40].to_vec()));
    refused(&with_vae(|file| file[..5].to_vec()));
    refused(&with_vae(|_| Vec::new()));
}

#[test]
fn a_header_larger_than_its_file_is_refused() {
    refused(&with_vae(|mut file| {
        file[..8].copy_from_slice(&(1_u64 << 40).to_le_bytes());
        file
    }));
    refused(&with_vae(|mut file| {
        file[..8].copy_from_slice(&u64::MAX.to_le_bytes());
        file
    }));
}

#[test]
fn offsets_that_overlap_or_lead_out_are_refused() {
    let tensor = |name: &str, from: usize, to: usize| {
        format!(r#""{name}":{{"dtype":"F32","shape":[4],"data_offsets":[{from},{to}]}}"#)
    };
    let two = |a: String, b: String| format!("{{{a},{b}}}");
    let overlapping = two(tensor("a", 0, 16), tensor("b", 8, 24));
    refused(&with_vae(|_| safetensors(&overlapping, 24)));
    let out = two(tensor("a", 0, 16), tensor("b", 16, 32));
    refused(&with_vae(|_| safetensors(&out, 20)));
    let huge = r#"{"a":{"dtype":"F32","shape":[4294967296,4294967296,16],"data_offsets":[0,16]}}"#;
    refused(&with_vae(|_| safetensors(huge, 16)));
}

#[test]
fn a_header_that_is_no_json_is_refused() {
    refused(&with_vae(|_| safetensors("this is no JSON", 0)));
    refused(&with_vae(|_| {
        b"PK\x03\x04 this is a zip, as checkpoints of torch are".to_vec()
    }));
}

#[test]
fn a_wrong_shape_or_type_names_the_tensor_and_both_sides() {
    let change = |file: Vec<u8>, from: &str, to: &str| {
        let before = header(&file);
        let at = before
            .find(from)
            .unwrap_or_else(|| panic!("{from} is not in {before}"));
        let after = format!("{}{to}{}", &before[..at], &before[at + from.len()..]);
        let data = file.len() - 8 - before.len();
        safetensors(&after, data)
    };
    // [4, 3, 3, 3] and [3, 4, 3, 3] take the same bytes.
    let shape = with_vae(|file| change(file, "[4,3,3,3]", "[3,4,3,3]"));
    refused(&shape);
    shape.says("[4, 3, 3, 3]").says("[3, 4, 3, 3]");
    let dtype = with_vae(|file| change(file, r#""dtype":"F32""#, r#""dtype":"I32""#));
    refused(&dtype);
    dtype.says("I32");
}

#[test]
fn a_manifest_that_is_none_is_refused() {
    let lab = Lab::new();
    make_model(&lab.path("weights/text"));
    lab.write("g.ron", OPEN);
    for wrong in [
        "",
        "Model(",
        "Model(format: 99)",
        "{}",
        "\u{feff}Model()",
        "Model(vae: 3)",
    ] {
        lab.write("weights/text/model.ron", wrong);
        lab.run(["check", "g.ron"])
            .code(2)
            .says("error: `model.path`")
            .says("model.ron");
    }
    lab.write("weights/text/model.ron", b"Model(\xff)");
    lab.run(["check", "g.ron"]).code(2).says("UTF-8");
}

#[test]
fn a_picture_that_is_none_is_refused() {
    let lab = Lab::new();
    lab.write(
        "g.ron",
        r#"Graph(
        nodes: {"photo": LoadImage(path: "a.png")}, outputs: {"x": "photo.image"},
    )"#,
    );
    let lie = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\xff\xff\xff\xff\xff\xff\xff\xff\x08\x02\0\0\0";
    for wrong in [
        &b""[..],
        b"no picture",
        b"\x89PNG\r\n\x1a\n",
        lie,
        b"GIF89a",
        b"\xff\xd8\xff",
    ] {
        lab.write("a.png", wrong);
        let ended = lab.run(["check", "g.ron"]);
        ended.code(2).says("error: `photo").says("a.png");
    }
}

#[test]
fn a_graph_of_a_hundred_megabytes_is_refused_at_once() {
    let lab = Lab::new();
    let mut text = String::with_capacity(100_000_100);
    text.push_str("Graph(nodes: {\n");
    while text.len() < 100_000_000 {
        text.push_str("    // nothing to see here, but a good deal of it\n");
    }
    text.push_str("})\n");
    lab.write("large.ron", text);
    let start = std::time::Instant::now();
    lab.run(["check", "large.ron"])
        .code(2)
        .says("large.ron")
        .says("64 MiB");
    assert!(start.elapsed().as_secs() < 10, "{:?}", start.elapsed());
}

#[test]
fn endless_and_odd_files_are_refused() {
    let lab = Lab::new();
    lab.run(["check", "/dev/zero"]).code(2).says("/dev/zero");
    lab.run(["check", "."]).code(2).says("error: ");
    lab.write("empty.ron", "");
    lab.run(["check", "empty.ron"])
        .code(2)
        .says("empty.ron:1:1");
}
