//! Autoencoders with a codebook, and the networks that make conditionings of classes and maps,
//! held to recorded ones by the rules of `networks`: `tests/reference/autoencoders.py` tells
//! what was recorded.

use std::path::Path;

use burn::tensor::{Device, Int, Tensor};
use ldm_models::autoencoder::{
    Quantised, Remap, Unknown, VaeConfig, VqAutoencoder, VqAutoencoderConfig,
};
use ldm_models::conditioner::{ClassEmbedderConfig, SpatialRescalerConfig};
use ldm_models::weights::{Family, KeyTable};

use crate::networks::{Results, assert_agrees, filled, held_to_the_reference, numbers, weights};
use crate::recorded::{Recording, path};

held_to_the_reference! {
    vq_diffusers: |g, w| coded(g, w, Family::Diffusers, VqAutoencoderConfig {
        ch_mult: vec![1, 2, 2], ..small()
    });
    vq_compvis: |g, w| coded(g, w, Family::CompVis, small());
}

mod vq_noattn {
    use super::*;
    use crate::networks;

    fn network(recording: &Recording, weights: &Path) -> Results {
        coded(recording, weights, Family::CompVis, without_attention())
    }

    #[test]
    fn agrees_with_the_reference() {
        networks::agrees("vq_noattn", network);
    }

    #[test]
    fn is_told_apart_from_every_mutant() {
        networks::told_apart("vq_noattn", network);
    }

    #[test]
    fn shows_one_per_cent_in_any_tensor() {
        networks::shows_one_per_cent("vq_noattn", network);
    }
}

#[test]
fn the_nearest_code_is_that_of_the_reference_and_of_a_tie_either() {
    let diffusers = VqAutoencoderConfig {
        ch_mult: vec![1, 2, 2],
        ..small()
    };
    let cases = [
        ("vq_diffusers", Family::Diffusers, diffusers),
        ("vq_compvis", Family::CompVis, small()),
        ("vq_noattn", Family::CompVis, without_attention()),
    ];
    for (case, family, config) in cases {
        let (recording, device) = (Recording::open(case), Device::flex());
        let network = loaded(&weights(case), family, &config);
        let indices = |of: &str| {
            let Quantised { latent, indices } = network.quantise(recording.tensor(of, &device));
            assert_eq!(numbers(network.look_up(indices.clone())), numbers(latent));
            integers(indices)
        };
        let wanted: Vec<i64> = recording.get("nearest").iter().map(|n| *n as i64).collect();
        assert_eq!(indices("z"), wanted, "{case}");
        let (one, two) = (recording.get("one"), recording.get("two"));
        let tied = indices("tied");
        assert_eq!(tied.len(), one.len());
        for ((found, one), two) in tied.iter().zip(one).zip(two) {
            assert!(
                [*one as i64, *two as i64].contains(found),
                "{case}: {found}"
            );
        }
    }
}

#[test]
fn codes_are_counted_as_the_reference_counts_those_in_use() {
    let recording = Recording::open("vq_compvis");
    let codes =
        |of: &str| -> Vec<usize> { recording.get(of).iter().map(|n| *n as usize).collect() };
    let remap = Remap::new(codes("used"), Unknown::Extra).unwrap();
    let to_used: Vec<usize> = codes("nearest").iter().map(|n| remap.to_used(*n)).collect();
    assert_eq!(to_used, codes("to_used"));
    let to_all: Vec<usize> = to_used.iter().map(|n| remap.to_all(*n)).collect();
    assert_eq!(to_all, codes("to_all"));
}

#[test]
fn classes_and_maps_become_conditionings_as_in_the_reference() {
    let (recording, device) = (Recording::open("conditioners"), Device::flex());
    let classes = ClassEmbedderConfig {
        classes: 6,
        width: 5,
    };
    let maps = SpatialRescalerConfig {
        stages: 2,
        in_channels: 7,
        out_channels: 3,
    };
    let file = path("conditioners");
    let table = KeyTable::class_embedder(Family::CompVis).under("classes.");
    let classes = filled(classes.init(&device, 0).unwrap(), &file, &table);
    let table = KeyTable::spatial_rescaler(Family::CompVis).under("rescaler.");
    let maps = filled(maps.init(&device, 0).unwrap(), &file, &table);
    let class: Tensor<1, Int> = recording.integers("class", &device);
    let results = [
        ("tokens", numbers(classes.forward(class))),
        (
            "channels",
            numbers(maps.forward(recording.tensor("map", &device))),
        ),
    ];
    assert_agrees(&recording, &results);
}

fn small() -> VqAutoencoderConfig {
    VqAutoencoderConfig {
        in_channels: 3,
        ch: 8,
        ch_mult: vec![1, 1, 2],
        num_res_blocks: 1,
        attn_resolutions: vec![8],
        resolution: 16,
        attention: true,
        z_channels: 4,
        embed_dim: 3,
        codes: 12,
        groups: 4,
    }
}

fn without_attention() -> VqAutoencoderConfig {
    VqAutoencoderConfig {
        attn_resolutions: vec![],
        attention: false,
        ..small()
    }
}

fn coded(
    recording: &Recording,
    weights: &Path,
    family: Family,
    config: VqAutoencoderConfig,
) -> Results {
    let device = Device::flex();
    let network = loaded(weights, family, &config);
    let z: Tensor<4> = recording.tensor("z", &device);
    let latent = network.encode(recording.tensor("x", &device));
    vec![
        ("latent", numbers(latent)),
        ("decoded", numbers(network.decode(z.clone()))),
        ("unquantised", numbers(network.decode_unquantised(z))),
    ]
}

fn loaded(weights: &Path, family: Family, config: &VqAutoencoderConfig) -> VqAutoencoder {
    let table = KeyTable::autoencoder(family, &VaeConfig::Vq(config.clone()));
    filled(config.init(&Device::flex(), 0).unwrap(), weights, &table)
}

fn integers(x: Tensor<3, Int>) -> Vec<i64> {
    x.into_data().convert::<i64>().try_to_vec().unwrap()
}
