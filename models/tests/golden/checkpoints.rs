//! Checkpoints of PyTorch's own making, and checkpoints that attack whoever opens them: the
//! files of `tests/reference/checkpoints.py`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use ldm_models::adapter::{Adapter, Method, Part};
use ldm_models::inversion::Inversion;
use ldm_models::weights::TensorFile;
use safetensors::{Dtype, SafeTensors};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden/checkpoints")
}

fn open(name: &str) -> Result<TensorFile, String> {
    TensorFile::open(&folder().join(name)).map_err(|error| error.to_string())
}

/// Shape, type and numbers of each tensor that the checkpoints hold, by the `safetensors`
/// crate alone.
fn expected() -> BTreeMap<String, (Vec<usize>, Dtype, Vec<f32>)> {
    let bytes = std::fs::read(folder().join("tensors.safetensors")).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let tensors = file.iter().map(|(name, tensor)| {
        let size = tensor.dtype().bitsize() / 8;
        let number = |b: &[u8]| match tensor.dtype() {
            Dtype::F16 => half::f16::from_le_bytes([b[0], b[1]]).to_f32(),
            Dtype::BF16 => half::bf16::from_le_bytes([b[0], b[1]]).to_f32(),
            Dtype::F32 => f32::from_le_bytes(b.try_into().unwrap()),
            Dtype::F64 => f64::from_le_bytes(b.try_into().unwrap()) as f32,
            _ => 0.0,
        };
        let numbers = tensor.data().chunks_exact(size).map(number).collect();
        (
            name.to_owned(),
            (tensor.shape().to_vec(), tensor.dtype(), numbers),
        )
    });
    tensors.collect()
}

#[test]
fn checkpoints_hold_what_pytorch_wrote_however_it_lay() {
    let expected = expected();
    for name in [
        "plain.ckpt",
        "stream.ckpt",
        "trainer.ckpt",
        "trainer_stream.ckpt",
    ] {
        let file = open(name).unwrap();
        let mut names = file.names();
        names.sort();
        assert!(names.iter().eq(expected.keys()), "{name}: {names:?}");
        for (key, (shape, dtype, numbers)) in &expected {
            assert_eq!(file.shape(key), Some(&shape[..]), "{name} {key}");
            assert_eq!(file.dtype(key).unwrap(), dtype.to_string(), "{name} {key}");
            if file.is_float(key) {
                assert_eq!(&file.read(key).unwrap(), numbers, "{name} {key}");
            }
        }
    }
    assert_eq!(
        expected
            .values()
            .filter(|(_, _, numbers)| numbers.len() > 1)
            .count(),
        13
    );
}

#[test]
fn what_is_wrapped_around_weights_is_left_away_and_noted() {
    let file = open("trainer.ckpt").unwrap();
    assert_eq!(file.note("global_step"), Some("470000"));
    assert_eq!(file.note("pytorch-lightning_version"), Some("1.4.2"));
    assert_eq!(open("parameters.ckpt").unwrap().names(), ["f32"]);
    let mut nested = open("nested.ckpt").unwrap().names();
    nested.sort();
    assert_eq!(nested, ["params.a", "params_ema.a"]);
    let mut network = open("network.ckpt").unwrap().names();
    network.sort();
    assert_eq!(network, ["0.bias", "0.weight", "1.bias", "1.weight"]);
}

#[test]
fn adapters_and_embeddings_are_read_from_pickles_too() {
    let adapter = Adapter::of(open("adapter.pt").unwrap()).unwrap();
    let [target] = adapter.targets() else {
        panic!("one layer is changed");
    };
    assert_eq!(
        (target.part(), target.method()),
        (Part::Unet, Some(Method::Lora))
    );
    assert!(adapter.leftover().is_empty());
    for (name, count) in [
        ("embedding_web_ui.pt", 2),
        ("embedding_old.pt", 2),
        ("embedding_diffusers.bin", 1),
        ("embedding_bare.pt", 2),
    ] {
        let inversion = Inversion::open("cat", &open(name).unwrap()).unwrap();
        let vectors = inversion.vectors(0, 1, 4).unwrap();
        let numbers = vectors.iter().flat_map(|vector| vector.iter().copied());
        let wanted = (0..4 * count).map(|i| i as f32);
        assert!(numbers.eq(wanted), "{name}: {vectors:?}");
    }
}

/// `names.txt` says what each refusal has to name. The recording script saw Python run each
/// of these files: it makes a file called `ran` in the working folder.
#[test]
fn nothing_in_a_hostile_checkpoint_is_run_and_its_name_is_told() {
    let before = Path::new("ran").exists();
    let names = std::fs::read_to_string(folder().join("hostile/names.txt")).unwrap();
    let files = std::fs::read_dir(folder().join("hostile")).unwrap().count();
    assert_eq!(names.lines().count(), files - 1, "each file is tried");
    assert!(files > 15);
    for line in names.lines() {
        let (name, wanted) = line.split_once(' ').unwrap();
        let said = open(&format!("hostile/{name}.ckpt")).unwrap_err();
        assert!(
            said.contains(wanted),
            "wanted {wanted:?} of {name} in {said:?}"
        );
    }
    assert!(!before && !Path::new("ran").exists());
}

#[test]
fn packed_archives_are_refused_unread() {
    for (name, entry) in [("compressed", "data.pkl"), ("bomb", "archive/data.pkl")] {
        let said = open(&format!("{name}.ckpt")).unwrap_err();
        assert!(
            said.contains("is compressed, which torch.save never does"),
            "{said}"
        );
        assert!(said.contains(entry), "{said}");
    }
}

/// Every cut, and every byte changed: an error or the tensors, never more.
#[test]
fn damaged_checkpoints_are_errors() {
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("a.ckpt");
    for name in ["parameters.ckpt", "nested.ckpt", "stream.ckpt"] {
        let whole = std::fs::read(folder().join(name)).unwrap();
        for length in (0..whole.len()).step_by(13) {
            std::fs::write(&path, &whole[..length]).unwrap();
            let said = TensorFile::open(&path).unwrap_err().to_string();
            assert!(said.contains("a.ckpt"), "{said}");
        }
        for at in (0..whole.len()).step_by(7) {
            let mut bytes = whole.clone();
            bytes[at] ^= 0x81;
            std::fs::write(&path, bytes).unwrap();
            if let Ok(file) = TensorFile::open(&path) {
                let floats = file.names().into_iter().filter(|name| file.is_float(name));
                floats.for_each(|name| drop(file.read(&name).unwrap()));
            }
        }
    }
}
