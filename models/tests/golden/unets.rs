//! More U-Nets held to recorded ones, by the rules of `networks`: `tests/reference/unets.py` tells
//! what was recorded.

use burn::tensor::{Device, Tensor};
use ldm_models::unet::{Heads, LabelConfig, UNetConfig, waves};
use ldm_models::weights::Family;

use crate::networks::{held_to_the_reference, numbers, small_unet, unet};
use crate::recorded::Recording;

held_to_the_reference! {
    unet_churches: |g, w| unet(g, w, Family::CompVis, UNetConfig {
        in_channels: 4, scale_shift: true, resblock_updown: true, ..small_unet()
    });
    unet_inpainting: |g, w| unet(g, w, Family::CompVis, UNetConfig {
        in_channels: 7, attention_resolutions: vec![2], resblock_updown: true, ..small_unet()
    });
    unet_classes: |g, w| unet(g, w, Family::CompVis, UNetConfig {
        attention_resolutions: vec![2], heads: Heads::Count(1), context_dim: Some(6),
        label: Some(LabelConfig::Classes(5)), ..small_unet()
    });
    unet_updown: |g, w| unet(g, w, Family::Diffusers, UNetConfig {
        attention_resolutions: vec![2], heads: Heads::Width(8), scale_shift: true,
        resblock_updown: true, ..small_unet()
    });
    unet_class_table: |g, w| unet(g, w, Family::Diffusers, UNetConfig {
        attention_resolutions: vec![1], label: Some(LabelConfig::Classes(7)), ..later_unet()
    });
    unet_sdxl: |g, w| unet(g, w, Family::Diffusers, UNetConfig {
        channel_mult: vec![1, 2, 2], attention_resolutions: vec![2, 4],
        transformer_depth: vec![0, 1, 2], label: Some(LabelConfig::Vector(29)), ..later_unet()
    });
    unet_refiner: |g, w| unet(g, w, Family::Diffusers, UNetConfig {
        channel_mult: vec![1, 1, 2, 2], attention_resolutions: vec![2, 4],
        transformer_depth: vec![0, 1, 1, 0], middle_depth: Some(2),
        label: Some(LabelConfig::Vector(29)), ..later_unet()
    });
}

fn later_unet() -> UNetConfig {
    UNetConfig {
        in_channels: 4,
        out_channels: 4,
        heads: Heads::Width(4),
        context_dim: Some(6),
        ..small_unet()
    }
}

/// SDXL's vector is the pooled text, then the waves of six sizes.
#[test]
fn the_vector_of_a_text_and_sizes_is_that_of_the_reference() {
    let (recording, device) = (Recording::open("unet_sdxl"), Device::flex());
    let text: Tensor<2> = recording.tensor("text", &device);
    let sizes: Tensor<2> = recording.tensor("numbers", &device);
    let waves = waves(sizes.flatten(0, 1), 4).reshape([2, 24]);
    let found = numbers(Tensor::cat(vec![text, waves], 1));
    let wanted = recording.get("label");
    assert_eq!(found.len(), wanted.len());
    for (found, wanted) in found.iter().zip(wanted) {
        // An f32 of 64 is exact to 4e-6, and so is its cosine.
        assert!(
            (f64::from(*found) - wanted).abs() < 1e-5,
            "{found} {wanted}"
        );
    }
}
