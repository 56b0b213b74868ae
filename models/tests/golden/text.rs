//! CLIP's text transformers, held to transformers and OpenCLIP: `tests/reference/text.py`.

use std::path::{Path, PathBuf};

use burn::tensor::{Device, Int, Tensor};
use ldm_models::nn::parameter_count;
use ldm_models::text::{Activation, ClipConfig, ClipText, TextConfig, size_vector};
use ldm_models::weights::{ClipNames, Family, KeyTable, NoPatch, TensorFile, load};

use crate::networks::{Results, assert_agrees, filled, held_to_the_reference, numbers};
use crate::recorded::{Recording, path};

held_to_the_reference! {
    clip_hf: |g, w| clip(g, w, ClipNames::Transformers, ClipConfig {
        activation: Activation::QuickGelu, projection: Some(10), end: None, ..small()
    });
    clip_flat: |g, w| clip(g, w, ClipNames::Flat, ClipConfig { end: Some(30), ..small() });
    clip_open: |g, w| clip(g, w, ClipNames::OpenClip, ClipConfig {
        projection: Some(10), feed: 60, end: Some(36), ..small()
    });
}

const STATES: [&str; 3] = ["state1", "state2", "state3"];

pub(crate) fn small() -> ClipConfig {
    ClipConfig {
        vocab_size: 37,
        max_length: 12,
        width: 24,
        layers: 3,
        heads: 3,
        feed: 56,
        activation: Activation::Gelu,
        projection: None,
        pad: 0,
        end: None,
        layer: 1,
        norm: true,
    }
}

fn clip(recording: &Recording, weights: &Path, names: ClipNames, config: ClipConfig) -> Results {
    let device = Device::flex();
    let table = KeyTable::clip(names, &config);
    let network: ClipText = filled(config.init(&device, 0).unwrap(), weights, &table);
    let ids: Tensor<2, Int> = recording.integers("ids", &device);
    let [_, length] = ids.dims();
    let rows = recording.whole("ids");
    let rows = rows.chunks(length);
    let ends: Vec<usize> = rows
        .map(|row| config.end_of(row.iter().map(|id| *id as u32)))
        .collect();
    let states = network.states(network.embed(ids));
    let last = states[states.len() - 1].clone();
    let mut results: Results = vec![
        ("out", numbers(network.norm(last.clone()))),
        ("pooled", numbers(network.pooled(last, &ends))),
    ];
    results.extend(
        STATES
            .into_iter()
            .zip(states.into_iter().skip(1).map(numbers)),
    );
    results
}

#[test]
fn the_text_transformers_of_the_field_have_their_sizes() {
    let sizes = Recording::open("clip_sizes");
    let h = ClipConfig::vit_h();
    let shorter = ClipConfig {
        layers: 23,
        layer: 1,
        ..h.clone()
    };
    for (name, config) in [
        ("vit_l", ClipConfig::vit_l()),
        ("vit_h", h),
        ("vit_h_23", shorter),
        ("big_g", ClipConfig::big_g()),
    ] {
        let network = config.init(&Device::flex(), 0).unwrap();
        let wanted = sizes.whole(name)[0] as usize;
        assert_eq!(parameter_count(&network), wanted, "{name}");
    }
}

/// The weights of a small network under a prefix, among tensors of others.
pub(crate) fn beside(parts: &[(&str, &str)]) -> tempfile::NamedTempFile {
    let mut owned = Vec::new();
    for (case, prefix) in parts {
        let bytes = std::fs::read(path(&format!("{case}.weights"))).unwrap();
        let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        for (name, view) in file.tensors() {
            let data = view.data().to_vec();
            owned.push((
                format!("{prefix}{name}"),
                view.dtype(),
                view.shape().to_vec(),
                data,
            ));
        }
    }
    let views = owned.iter().map(|(name, dtype, shape, data)| {
        let view = safetensors::tensor::TensorView::new(*dtype, shape.clone(), data).unwrap();
        (name.as_str(), view)
    });
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), safetensors::serialize(views, None).unwrap()).unwrap();
    file
}

#[test]
fn two_transformers_are_read_from_one_file_and_a_spare_tensor_is_told() {
    let first = ClipConfig {
        activation: Activation::QuickGelu,
        projection: Some(10),
        end: None,
        ..small()
    };
    let second = ClipConfig {
        projection: Some(10),
        feed: 60,
        ..small()
    };
    let config = TextConfig::TwoClips { first, second };
    let file = beside(&[("clip_hf", "c.0.transformer."), ("clip_open", "c.1.model.")]);
    let file = TensorFile::open(file.path()).unwrap();
    let table = KeyTable::text_encoder(Family::CompVis, &config).under("c.");
    let network = || config.init(&Device::flex(), 0).unwrap();
    load(network(), &file, &table, burn::tensor::DType::F32, &NoPatch).unwrap();
    let table = KeyTable::text_encoder(Family::Diffusers, &config).under("c.");
    let faults = ldm_models::weights::faults(&network(), &file, &table);
    let wanted = "c.text_encoder.text_model.final_layer_norm.weight";
    assert!(
        faults.missing.iter().any(|(name, _)| name == wanted),
        "{faults}"
    );
}

#[test]
fn a_projection_that_nobody_wants_is_passed_over() {
    let config = ClipConfig {
        feed: 60,
        ..small()
    };
    let table = KeyTable::clip(ClipNames::OpenClip, &config);
    let weights: PathBuf = path("clip_open.weights");
    let _: ClipText = filled(config.init(&Device::flex(), 0).unwrap(), &weights, &table);
}

#[test]
fn sizes_are_told_as_the_reference_tells_them() {
    let recording = Recording::open("size_vectors");
    let rows = recording.get("numbers").chunks(6);
    let vectors = rows.flat_map(|numbers| size_vector(&[], numbers)).collect();
    assert_agrees(&recording, &[("out", vectors)]);
}
