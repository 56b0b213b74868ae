//! That the kernels of ours serve whole networks: a process of its own, since what is counted
//! is counted for all of it.

use std::ops::ControlFlow;

use burn::module::{Module, ModuleMapper, Param};
use burn::tensor::{DType, Device, Distribution, Tensor};
use ldm_kernels::device::{self, DeviceChoice, Isa};
use ldm_kernels::dispatches;
use ldm_models::autoencoder::KlAutoencoderConfig;
use ldm_models::unet::{Heads, Told, UNet, UNetConfig};
use ldm_models::weights::{Aim, Filling, KeyTable, NoPatch, SaveAs, TensorFile, Types, save};

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

/// Moves every number a little: a fresh network ends in zeros, whose result says nothing.
struct Shaken;

impl ModuleMapper for Shaken {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        param.map(|x| {
            let more = Distribution::Normal(0.0, 0.03);
            x.clone() + Tensor::random(x.dims(), more, &x.device())
        })
    }
}

/// The network with its weights in f16, and in bf16, and in f32 after they were in f16.
fn in_half_and_rounded(unet: &UNet, device: &Device) -> [UNet; 3] {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("unet.safetensors");
    save(unet, &path, SaveAs::F16).expect("it is written");
    let file = TensorFile::open(&path).expect("it is there");
    [DType::F16, DType::BF16, DType::F32].map(|weights| {
        let types = Types {
            weights,
            compute: DType::F32,
        };
        let empty = self::unet().init(device, 2).expect("a network");
        let filling = Filling {
            file: &file,
            table: &KeyTable::native(),
            types,
            patch: &NoPatch,
            aim: Aim::Run,
        };
        let filled = filling.fill(empty, &mut |_| ControlFlow::Continue(()));
        filled.expect("it fits")
    })
}

/// What weights in bf16 may change of a step on average, of its deviation: eight bits are left of
/// each number, and about twenty roundings lie one behind the other.
const BF16_TOLERANCE: f32 = 0.03;

#[test]
fn a_step_and_a_decoding_run_no_reference_on_the_cpu() {
    let open = device::open(DeviceChoice::Cpu, Isa::Auto).expect("a CPU");
    let device = open.device();
    let unet = unet().init(device, 1).expect("a network").map(&mut Shaken);
    let vae = autoencoder().init(device, 1).expect("a network");
    let before = dispatches();

    let (x, context) = (random([2, 4, 16, 16], device), random([2, 77, 768], device));
    let step = |unet: &UNet| {
        let t = Tensor::from_floats([981.0, 981.0], device);
        unet.forward(x.clone(), t, Told::tokens(Some(context.clone())))
    };
    let noise = step(&unet);
    assert_eq!(noise.dims(), [2, 4, 16, 16]);
    let after = dispatches();
    assert_eq!(after.reference, before.reference, "in the U-Net");
    assert!(after.ours >= before.ours + 300, "{after:?}");

    // The time embedding's four operations, and a layer of each of the 22 residual blocks.
    let heard = unet.hear(&Told::tokens(Some(context.clone())));
    let heard = heard.ahead(&[981.0, 961.0]);
    let [first, second, unplanned] = [981.0, 961.0, 5.0].map(|t| {
        let before = dispatches().ours;
        unet.step(x.clone(), t, &heard, None);
        dispatches().ours - before
    });
    assert_eq!([first - second, unplanned - second], [26; 2]);

    let after = dispatches();
    let picture = vae.decode(random([1, 4, 16, 16], device));
    assert_eq!(picture.dims(), [1, 3, 128, 128]);
    let decoded = dispatches();
    assert_eq!(decoded.reference, before.reference, "in the autoencoder");
    assert!(decoded.ours >= after.ours + 60, "{decoded:?}");

    let others = in_half_and_rounded(&unet, device);
    for unet in &others {
        let heard = unet.hear(&Told::tokens(Some(context.clone())));
        let known = heard.clone().ahead(&[981.0, 961.0]);
        let [alone, ahead] = [heard, known].map(|heard| unet.step(x.clone(), 981.0, &heard, None));
        assert!(
            alone.equal(ahead).all().into_scalar::<bool>(),
            "the same bits"
        );
    }
    let [half, brain, wide] = others.map(|unet| step(&unet));
    assert_eq!(
        dispatches().reference,
        before.reference,
        "with half weights"
    );
    assert_eq!(half.dtype(), DType::F32);
    let deviation = wide.clone().var(0).mean().sqrt().into_scalar::<f32>();
    assert!(
        deviation > 0.01,
        "a result that says something: {deviation}"
    );
    let error = (brain - wide.clone()).abs().mean().into_scalar::<f32>() / deviation;
    assert!(
        error > 0.0 && error < BF16_TOLERANCE,
        "with weights in bf16: {error}"
    );
    assert!(half.equal(wide).all().into_scalar::<bool>(), "as f32 does");

    ldm_kernels::silu(random([8], device).cast(DType::F64));
    assert_eq!(dispatches().reference, before.reference + 1, "of f64");
}
