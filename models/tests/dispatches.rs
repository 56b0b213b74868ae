//! That the kernels of ours serve whole networks: a process of its own, since what is counted
//! is counted for all of it.

use burn::tensor::{DType, Device, Distribution, Tensor};
use ldm_kernels::device::{self, DeviceChoice, Isa};
use ldm_kernels::dispatches;
use ldm_models::autoencoder::KlAutoencoderConfig;
use ldm_models::unet::{Heads, Told, UNetConfig};

/// Stable Diffusion 1.5's, with a tenth of its widths.
fn unet() -> UNetConfig {
    UNetConfig {
        in_channels: 4,
        out_channels: 4,
        model_channels: 32,
        channel_mult: vec![1, 2, 4, 4],
        num_res_blocks: 2,
        attention_resolutions: vec![1, 2, 4],
        heads: Heads::Count(8),
        context_dim: Some(768),
        transformer_depth: vec![1],
        middle_depth: None,
        label: None,
        scale_shift: false,
        resblock_updown: false,
        groups: 32,
    }
}

/// Stable Diffusion's, with a quarter of its widths.
fn autoencoder() -> KlAutoencoderConfig {
    KlAutoencoderConfig {
        in_channels: 3,
        ch: 32,
        ch_mult: vec![1, 2, 4, 4],
        num_res_blocks: 2,
        attn_resolutions: vec![],
        resolution: 128,
        z_channels: 4,
        embed_dim: 4,
        groups: 32,
    }
}

fn random<const D: usize>(shape: [usize; D], device: &Device) -> Tensor<D> {
    Tensor::random(shape, Distribution::Normal(0.0, 1.0), device)
}

#[test]
fn a_step_and_a_decoding_run_no_reference_on_the_cpu() {
    let open = device::open(DeviceChoice::Cpu, Isa::Auto).expect("a CPU");
    let device = open.device();
    let unet = unet().init(device, 1).expect("a network");
    let vae = autoencoder().init(device, 1).expect("a network");
    let before = dispatches();

    let told = Told::tokens(Some(random([2, 77, 768], device)));
    let t = Tensor::from_floats([981.0, 981.0], device);
    let noise = unet.forward(random([2, 4, 16, 16], device), t, told);
    assert_eq!(noise.dims(), [2, 4, 16, 16]);
    let after = dispatches();
    assert_eq!(after.reference, before.reference, "in the U-Net");
    assert!(after.ours >= before.ours + 300, "{after:?}");

    let picture = vae.decode(random([1, 4, 16, 16], device));
    assert_eq!(picture.dims(), [1, 3, 128, 128]);
    let decoded = dispatches();
    assert_eq!(decoded.reference, before.reference, "in the autoencoder");
    assert!(decoded.ours >= after.ours + 60, "{decoded:?}");

    ldm_kernels::silu(random([8], device).cast(DType::F64));
    assert_eq!(dispatches().reference, before.reference + 1, "of f64");
}
