//! Archives and streams written out by hand, and what they may not claim.

use std::path::Path;

use super::*;

/// A zip archive of entries that are not compressed; `claim` changes the size that the list
/// gives the last entry.
fn zip(entries: &[(&str, &[u8])], claim: impl Fn(u32) -> u32) -> Vec<u8> {
    let (mut out, mut list) = (vec![], vec![]);
    for (i, (name, bytes)) in entries.iter().enumerate() {
        let at = out.len() as u32;
        let length = bytes.len() as u32;
        let told = if i + 1 == entries.len() {
            claim(length)
        } else {
            length
        };
        let name_length = (name.len() as u16).to_le_bytes();
        out.extend(b"PK\x03\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00");
        out.extend(length.to_le_bytes());
        out.extend(length.to_le_bytes());
        out.extend(name_length);
        out.extend([0, 0]);
        out.extend(name.as_bytes());
        out.extend(*bytes);
        list.extend(b"PK\x01\x02\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00");
        list.extend(told.to_le_bytes());
        list.extend(told.to_le_bytes());
        list.extend(name_length);
        list.extend([0; 12]);
        list.extend(at.to_le_bytes());
        list.extend(name.as_bytes());
    }
    let (at, count) = (out.len() as u32, entries.len() as u16);
    let length = list.len() as u32;
    out.extend(list);
    out.extend(b"PK\x05\x06\x00\x00\x00\x00");
    out.extend(count.to_le_bytes());
    out.extend(count.to_le_bytes());
    out.extend(length.to_le_bytes());
    out.extend(at.to_le_bytes());
    out.extend([0, 0]);
    out
}

/// The pickle of `{"a": tensor}` over storage 0 of floats, its sizes pickled.
fn pickle(offset: &[u8], shape: &[u8], strides: &[u8]) -> Vec<u8> {
    let before = b"\x80\x02}X\x01\x00\x00\x00actorch._utils\n_rebuild_tensor_v2\n\
        ((U\x07storagectorch\nFloatStorage\nU\x010U\x03cpuK\x08tQ";
    [&before[..], offset, shape, strides, b"\x89}tRs."].concat()
}

fn archive(pickle: &[u8], storage: &[u8]) -> Vec<u8> {
    zip(&[("x/data.pkl", pickle), ("x/data/0", storage)], |size| {
        size
    })
}

fn layout(bytes: &[u8]) -> Result<Layout> {
    read(Path::new("a.ckpt"), bytes)
}

fn refusal(bytes: &[u8]) -> String {
    layout(bytes)
        .expect_err("a lie must be refused")
        .to_string()
}

#[test]
fn a_tensor_of_an_archive_is_a_range_of_the_file() {
    let numbers: Vec<u8> = (0..8u8).flat_map(|i| f32::from(i).to_le_bytes()).collect();
    let bytes = archive(
        &pickle(b"K\x02", b"K\x02K\x03\x86", b"K\x03K\x01\x86"),
        &numbers,
    );
    let view = layout(&bytes).unwrap().views["a"].clone();
    assert_eq!(bytes[view.span()], numbers[8..32]);
    assert_eq!(view.shape, [2, 3]);
}

#[test]
fn tensors_stay_inside_their_storage() {
    let storage = [0u8; 32];
    for (offset, shape, strides, wanted) in [
        (
            &b"K\x03"[..],
            &b"K\x02K\x03\x86"[..],
            &b"K\x03K\x01\x86"[..],
            "beyond the 32 bytes",
        ),
        (b"K\x00", b"K\x09\x85", b"K\x01\x85", "beyond the 32 bytes"),
        (
            b"K\x00",
            b"K\x02K\x02\x86",
            b"K\x07K\x02\x86",
            "beyond the 32 bytes",
        ),
        (
            b"\x8a\x08\xff\xff\xff\xff\xff\xff\xff\x7f",
            b"K\x01\x85",
            b"K\x01\x85",
            "a shape no memory could hold",
        ),
        (
            b"K\x00",
            b"\x8a\x08\xff\xff\xff\xff\xff\xff\xff\x7fK\x04\x86",
            b"K\x00K\x00\x86",
            "a shape no memory could hold",
        ),
        (
            b"K\x00",
            b"J\xff\xff\xff\x7f\x85",
            b"K\x00\x85",
            "repeat the 32 bytes",
        ),
    ] {
        let said = refusal(&archive(&pickle(offset, shape, strides), &storage));
        assert!(said.contains(wanted), "wanted {wanted:?} in {said:?}");
        assert!(said.starts_with("a.ckpt "), "{said}");
    }
}

#[test]
fn an_archive_unfolds_into_no_more_than_it_is() {
    let pickle = pickle(b"K\x00", b"K\x02\x85", b"K\x01\x85");
    let entries = [("x/data.pkl", &pickle[..]), ("x/data/0", &[0u8; 32][..])];
    for claim in [1 << 20, u32::MAX - 1] {
        let said = refusal(&zip(&entries, |_| claim));
        assert!(said.contains("claims"), "{said}");
    }
    // A hundred entries that are one and the same range.
    let mut bytes = archive(&pickle, &[0; 4000]);
    let end = bytes.len() - 22;
    let list = u32::from_le_bytes(bytes[end + 16..end + 20].try_into().unwrap()) as usize;
    let second = list + 46 + "x/data.pkl".len();
    let entry = bytes[second..end].to_vec();
    let tail = bytes.split_off(end);
    bytes.extend(entry.repeat(98));
    bytes.extend(tail);
    let end = bytes.len() - 22;
    bytes[end + 10..end + 12].copy_from_slice(&100u16.to_le_bytes());
    let said = refusal(&bytes);
    assert!(said.contains("entries claim more than the"), "{said}");
}

/// A safetensors file with this header and so many bytes behind it.
fn safe(header: &str, data: usize) -> Vec<u8> {
    let length = (header.len() as u64).to_le_bytes();
    [&length[..], header.as_bytes(), &vec![0; data]].concat()
}

#[test]
fn a_name_stands_once_in_a_header() {
    let entry = r#""a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}"#;
    assert!(layout(&safe(&format!("{{{entry}}}"), 4)).is_ok());
    let said = refusal(&safe(&format!("{{{entry},{entry}}}"), 4));
    assert!(said.contains("it has two entries for `a`"), "{said}");
}

#[test]
fn what_may_be_either_format_is_refused_with_both_named() {
    let short = b"12345";
    let random = [0x9c; 64];
    for (bytes, wanted) in [
        (&short[..], "it has 5 bytes"),
        (&random[..], "claim a header of 11285066962739960988 bytes"),
    ] {
        let said = refusal(bytes);
        let both = "neither a safetensors file nor a checkpoint of PyTorch";
        assert!(said.contains(both) && said.contains(wanted), "{said}");
    }
}

#[test]
fn archives_that_hold_no_weights_say_so() {
    for (entries, wanted) in [
        (&[][..], "without a `data.pkl`"),
        (
            &[("word/document.xml", &b"<a/>"[..])],
            "without a `data.pkl`",
        ),
        (&[("a/b/data.pkl", b"N.")], "without a `data.pkl`"),
        (&[("a/data.pkl", b"N.")], "holds no tensors"),
        (
            &[("a/data.pkl", b"N."), ("a/constants.pkl", b"N.")],
            "holds a program",
        ),
        (
            &[("a/data.pkl", b"N."), ("a/byteorder", b"big")],
            "big-endian",
        ),
    ] {
        let said = refusal(&zip(entries, |size| size));
        assert!(said.contains(wanted), "wanted {wanted:?} in {said:?}");
    }
    let lacking = zip(
        &[("x/data.pkl", &pickle(b"K\x00", b"K\x02\x85", b"K\x01\x85"))],
        |size| size,
    );
    assert!(refusal(&lacking).contains("lacks the bytes of storage `0`"));
}
