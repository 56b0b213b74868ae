//! Our networks held to recorded ones: `tests/reference/networks.py` tells what was recorded.
//! More cases by the same rules stand in `autoencoders` and `unets`.
//!
//! Each case is tested from four sides:
//! - it agrees with the reference's double-precision result as closely as f32 can;
//! - it is told apart from the recorded mutants: another eps, another padding, q and k
//!   exchanged, another number of heads, …;
//! - with q and k exchanged in its weights it computes what the reference does then;
//! - a change of one per cent in any tensor of its weights is noticed, which also says that
//!   every tensor is loaded to a place where it matters.

use std::ops::Range;
use std::path::{Path, PathBuf};

use burn::module::Module;
use burn::tensor::{DType, Device, Tensor};
use half::f16;
use ldm_models::autoencoder::{KlAutoencoder, KlAutoencoderConfig, Posterior, VaeConfig};
use ldm_models::text::{TextTransformer, TextTransformerConfig};
use ldm_models::unet::{Heads, Told, UNet, UNetConfig};
use ldm_models::weights::{Family, KeyTable, NoPatch, TensorFile, load};
use safetensors::SafeTensors;

use crate::recorded::{Recording, path};

/// The results of a network under the names they were recorded by.
pub(crate) type Results = Vec<(&'static str, Vec<f32>)>;

/// One network: reads weights from a file and computes its results from the recorded inputs.
pub(crate) type Network = fn(&Recording, &Path) -> Results;

macro_rules! held_to_the_reference {
    ($($case:ident: $network:expr;)*) => {$(
        mod $case {
            use super::*;
            use crate::networks;

            #[test]
            fn agrees_with_the_reference() {
                networks::agrees(stringify!($case), $network);
            }

            #[test]
            fn is_told_apart_from_every_mutant() {
                networks::told_apart(stringify!($case), $network);
            }

            #[test]
            fn shows_exchanged_queries_and_keys() {
                networks::shows_exchanged_queries_and_keys(stringify!($case), $network);
            }

            #[test]
            fn shows_one_per_cent_in_any_tensor() {
                networks::shows_one_per_cent(stringify!($case), $network);
            }
        }
    )*};
}

pub(crate) use held_to_the_reference;

held_to_the_reference! {
    ae_f1: |g, w| autoencoder(g, w, Family::Diffusers, KlAutoencoderConfig {
        ch: 16, ch_mult: vec![1], z_channels: 4, embed_dim: 4, groups: 8, ..small_autoencoder()
    });
    ae_f4: |g, w| autoencoder(g, w, Family::Diffusers, KlAutoencoderConfig {
        ch_mult: vec![1, 2, 2], num_res_blocks: 2, ..small_autoencoder()
    });
    ae_f8: |g, w| autoencoder(g, w, Family::Diffusers, KlAutoencoderConfig {
        ch_mult: vec![1, 1, 2, 2], z_channels: 4, embed_dim: 4, ..small_autoencoder()
    });
    ae_attending: |g, w| autoencoder(g, w, Family::Diffusers, KlAutoencoderConfig {
        ch_mult: vec![1, 2, 2], attn_resolutions: vec![8, 4], ..small_autoencoder()
    });
    ae_compvis: |g, w| autoencoder(g, w, Family::CompVis, KlAutoencoderConfig {
        ch_mult: vec![1, 1, 2], attn_resolutions: vec![8], ..small_autoencoder()
    });
    unet_by_width: |g, w| unet(g, w, Family::Diffusers, UNetConfig {
        model_channels: 16, groups: 8, attention_resolutions: vec![2], heads: Heads::Width(8),
        ..small_unet()
    });
    unet_by_count: |g, w| unet(g, w, Family::CompVis, small_unet());
    unet_cross_compvis: |g, w| unet(g, w, Family::CompVis, UNetConfig {
        in_channels: 4, context_dim: Some(6), transformer_depth: vec![2], ..small_unet()
    });
    unet_cross_count: |g, w| unet(g, w, Family::Diffusers, UNetConfig {
        in_channels: 7, context_dim: Some(12), ..small_unet()
    });
    unet_cross_width: |g, w| unet(g, w, Family::Diffusers, UNetConfig {
        context_dim: Some(6), heads: Heads::Width(4), transformer_depth: vec![1, 2],
        ..small_unet()
    });
    text_diffusers: |g, w| text(g, w, Family::Diffusers);
    text_compvis: |g, w| text(g, w, Family::CompVis);
}

#[test]
fn the_posterior_is_that_of_the_reference() {
    let (recording, device) = (Recording::open("posterior"), Device::flex());
    let posterior = Posterior::from_moments(recording.tensor("moments", &device));
    let kl = posterior.kl();
    let results = [
        ("mean", numbers(posterior.mean.clone())),
        ("logvar", numbers(posterior.logvar.clone())),
        ("mode", numbers(posterior.mode())),
        (
            "sample",
            numbers(posterior.sample(recording.tensor("noise", &device))),
        ),
        ("kl", numbers(kl)),
    ];
    assert_agrees(&recording, &results);
}

pub(crate) fn agrees(case: &str, network: Network) {
    let recording = Recording::open(case);
    assert_agrees(&recording, &network(&recording, &weights(case)));
}

pub(crate) fn assert_agrees(recording: &Recording, results: &[(&str, Vec<f32>)]) {
    for (result, got) in results {
        let off = distance(got, recording.get(result));
        let allowed = tolerance(recording, result);
        assert!(
            off <= allowed,
            "{result} is {off:.1e} off, {allowed:.1e} allowed"
        );
    }
}

pub(crate) fn told_apart(case: &str, network: Network) {
    let recording = Recording::open(case);
    let results = network(&recording, &weights(case));
    let mut mutants = 0;
    for key in recording.keys().filter(|key| key.starts_with("mutant.")) {
        let result = key.rsplit('.').next().unwrap();
        let (_, got) = results.iter().find(|(name, _)| *name == result).unwrap();
        let off = distance(got, recording.get(key));
        assert!(
            off > tolerance(&recording, result),
            "{key} is only {off:.1e} off"
        );
        mutants += 1;
    }
    assert!(mutants >= 3, "the recording has {mutants} mutants");
}

pub(crate) fn shows_exchanged_queries_and_keys(case: &str, network: Network) {
    let recording = Recording::open(case);
    let file = std::fs::read(weights(case)).unwrap();
    let results = with_weights(&recording, network, &queries_and_keys_exchanged(&file));
    for (result, got) in results {
        // The same change, made by the script in the reference: ours must follow it there.
        let off = distance(&got, recording.get(&format!("mutant.qk.{result}")));
        let allowed = 4.0 * tolerance(&recording, result);
        assert!(
            off <= allowed,
            "{result} is {off:.1e} off, {allowed:.1e} allowed"
        );
        assert!(distance(&got, recording.get(result)) > tolerance(&recording, result));
    }
}

pub(crate) fn shows_one_per_cent(case: &str, network: Network) {
    let recording = Recording::open(case);
    let file = std::fs::read(weights(case)).unwrap();
    for name in SafeTensors::read_metadata(&file).unwrap().1.offset_keys() {
        let results = with_weights(&recording, network, &one_per_cent_off(&file, &name));
        let seen = results.iter().any(|(result, got)| {
            distance(got, recording.get(result)) > tolerance(&recording, result)
        });
        assert_eq!(
            seen,
            !is_idle(&name),
            "one per cent in {name}: seen is {seen}"
        );
    }
}

/// What the network computes from weights that stand in no file yet.
fn with_weights(recording: &Recording, network: Network, file: &[u8]) -> Results {
    let changed = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(changed.path(), file).unwrap();
    network(recording, changed.path())
}

/// How far f32 may stray from `result`, in standard deviations: four times as far as
/// torch's own f32 did, but no less than 1e-5.
fn tolerance(recording: &Recording, result: &str) -> f64 {
    (4.0 * recording.number(&format!("f32_error.{result}"))).max(1e-5)
}

/// The largest difference, in units of the standard deviation of `want`.
fn distance(got: &[f32], want: &[f64]) -> f64 {
    assert_eq!(got.len(), want.len(), "how many numbers");
    let n = want.len() as f64;
    let mean = want.iter().sum::<f64>() / n;
    let variance = want.iter().map(|w| (w - mean).powi(2)).sum::<f64>() / n;
    let off = |(g, w): (&f32, &f64)| (f64::from(*g) - w).abs();
    // `f64::max` would skip a NaN, which is as far away as anything.
    let further = |a: f64, b: f64| if b > a || b.is_nan() { b } else { a };
    got.iter().zip(want).map(off).fold(0.0, further) / variance.sqrt()
}

/// Whether a tensor cannot change the result: a constant added to all keys of a query
/// leaves the softmax as it is, the text encoder's way back to words is not walked, CLIP's
/// scale belongs to its training, and which codes are in use is no matter of decoding.
fn is_idle(name: &str) -> bool {
    let keys = ["to_k.bias", ".k.bias", ".k_proj.bias"];
    let unused = ["logit_scale", "quantize.used"];
    keys.iter().any(|end| name.ends_with(end))
        || unused.contains(&name)
        || name.starts_with("to_logits.")
}

/// The safetensors file with each number of one f16 tensor one per cent up or down.
fn one_per_cent_off(file: &[u8], name: &str) -> Vec<u8> {
    let mut changed = file.to_vec();
    let (numbers, rest) = changed[place(file, name)].as_chunks_mut::<2>();
    assert!(rest.is_empty(), "weights are recorded in f16");
    for (i, bytes) in numbers.iter_mut().enumerate() {
        // Signs without a pattern: a common factor could vanish in the next norm.
        let up = (i as u32).wrapping_mul(2_654_435_761) & (1 << 31) == 0;
        let factor = if up { 1.01 } else { 0.99 };
        *bytes = f16::from_f32(f16::from_le_bytes(*bytes).to_f32() * factor).to_le_bytes();
    }
    changed
}

/// The safetensors file with queries and keys exchanged wherever their shapes allow it.
fn queries_and_keys_exchanged(file: &[u8]) -> Vec<u8> {
    let mut changed = file.to_vec();
    for name in SafeTensors::read_metadata(file).unwrap().1.offset_keys() {
        for (q, k) in queries_and_keys(file, &name) {
            if q.len() == k.len() {
                changed[q.clone()].copy_from_slice(&file[k.clone()]);
                changed[k].copy_from_slice(&file[q]);
            }
        }
    }
    assert!(changed != file, "no queries and keys have equal shapes");
    changed
}

/// Where the tensor `name` holds queries, and where their keys stand.
fn queries_and_keys(file: &[u8], name: &str) -> Vec<(Range<usize>, Range<usize>)> {
    let whole = place(file, name);
    if name.contains(".qkv.") {
        let third = whole.len() / 6; // two heads, and in each queries, keys and values
        let heads = [whole.start, whole.start + 3 * third];
        return heads
            .map(|at| (at..at + third, at + third..at + 2 * third))
            .into();
    }
    if name.contains(".in_proj_") {
        let third = whole.len() / 3; // all queries, then all keys and all values
        let [q, k] = [whole.start, whole.start + third];
        return vec![(q..k, k..k + third)];
    }
    let parts = [("to_q.", "to_k."), (".q.", ".k."), (".q_proj.", ".k_proj.")];
    let pair = parts.into_iter().find(|(q, _)| name.contains(q));
    pair.map(|(q, k)| (whole, place(file, &name.replace(q, k))))
        .into_iter()
        .collect()
}

/// Where the bytes of the tensor `name` stand in a safetensors file.
fn place(file: &[u8], name: &str) -> Range<usize> {
    let (header, metadata) = SafeTensors::read_metadata(file).unwrap();
    let (start, end) = metadata.info(name).unwrap().data_offsets;
    8 + header + start..8 + header + end
}

fn small_autoencoder() -> KlAutoencoderConfig {
    KlAutoencoderConfig {
        in_channels: 3,
        ch: 8,
        ch_mult: vec![1],
        num_res_blocks: 1,
        attn_resolutions: vec![],
        resolution: 16,
        z_channels: 3,
        embed_dim: 3,
        groups: 4,
    }
}

fn autoencoder(
    recording: &Recording,
    weights: &Path,
    family: Family,
    config: KlAutoencoderConfig,
) -> Results {
    let device = Device::flex();
    let table = KeyTable::autoencoder(family, &VaeConfig::Kl(config.clone()));
    let network: KlAutoencoder = filled(config.init(&device, 0).unwrap(), weights, &table);
    let Posterior { mean, logvar } = network.encode(recording.tensor("x", &device));
    let decoded = network.decode(recording.tensor("z", &device));
    let moments = Tensor::cat(vec![mean, logvar], 1);
    vec![("moments", numbers(moments)), ("decoded", numbers(decoded))]
}

pub(crate) fn small_unet() -> UNetConfig {
    UNetConfig {
        in_channels: 3,
        out_channels: 3,
        model_channels: 8,
        channel_mult: vec![1, 2],
        num_res_blocks: 1,
        attention_resolutions: vec![1, 2],
        heads: Heads::Count(2),
        context_dim: None,
        transformer_depth: vec![1],
        groups: 4,
        middle_depth: None,
        label: None,
        scale_shift: false,
        resblock_updown: false,
    }
}

pub(crate) fn unet(
    recording: &Recording,
    weights: &Path,
    family: Family,
    config: UNetConfig,
) -> Results {
    let device = Device::flex();
    let table = KeyTable::unet(family, &config);
    let network: UNet = filled(config.init(&device, 0).unwrap(), weights, &table);
    let context = config
        .context_dim
        .map(|_| recording.tensor("context", &device));
    let label = config.label.map(|_| recording.tensor("label", &device));
    let (x, t) = (
        recording.tensor("x", &device),
        recording.tensor("t", &device),
    );
    let told = Told {
        context,
        label,
        control: None,
    };
    vec![("out", numbers(network.forward(x, t, told)))]
}

fn text(recording: &Recording, weights: &Path, family: Family) -> Results {
    let config = TextTransformerConfig {
        vocab_size: 37,
        max_length: 12,
        width: 20,
        layers: 2,
        heads: 2,
        head_width: 16,
    };
    let device = Device::flex();
    let table = KeyTable::text(family, &config);
    let network: TextTransformer = filled(config.init(&device, 0).unwrap(), weights, &table);
    vec![(
        "out",
        numbers(network.forward(recording.integers("ids", &device))),
    )]
}

pub(crate) fn filled<M: Module>(network: M, weights: &Path, table: &KeyTable) -> M {
    let file = TensorFile::open(weights).unwrap();
    load(network, &file, table, DType::F32, &NoPatch).unwrap()
}

pub(crate) fn weights(case: &str) -> PathBuf {
    path(&format!("{case}.weights"))
}

pub(crate) fn numbers<const D: usize>(x: Tensor<D>) -> Vec<f32> {
    x.into_data().try_to_vec().unwrap()
}
