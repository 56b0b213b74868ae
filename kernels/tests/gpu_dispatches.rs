//! On a GPU every operation is served by a kernel of ours, in each type that it has, and what is
//! not is counted: a kernel that gives way to the reference in silence fails this test.
//!
//! Alone in its process, because all of a process's calls are counted together.
#![cfg(feature = "cube")]
#![allow(
    clippy::print_stderr,
    reason = "who reads of a test that passed must know why"
)]

use burn::tensor::{DType, Device, Tensor};
use ldm_kernels::{self as ours, Dispatches, Padding, dispatches};

#[cfg(feature = "cuda")]
fn gpu() -> Option<Device> {
    use ldm_kernels::device::{DeviceChoice, Isa, open};
    let open = open(DeviceChoice::Cuda(0), Isa::Auto).ok()?;
    Some(open.device().clone())
}

#[cfg(not(feature = "cuda"))]
fn gpu() -> Option<Device> {
    let found = Device::enumerate(burn::tensor::DeviceType::Wgpu);
    found.into_vec().into_iter().next()
}

/// Calls that kernels of ours served and did not serve while `run` ran.
fn counted(run: impl FnOnce()) -> [u64; 2] {
    let before = dispatches();
    run();
    let Dispatches { ours, reference } = dispatches();
    [ours - before.ours, reference - before.reference]
}

#[test]
fn nothing_falls_back_on_a_gpu_but_what_is_said_to() {
    let Some(device) = gpu() else {
        eprintln!("not tried: no GPU");
        return;
    };
    for dtype in [DType::F32, DType::F16, DType::BF16] {
        if !device.supports_dtype(dtype) {
            continue;
        }
        let x = || Tensor::<4>::ones([1, 8, 4, 4], (&device, dtype));
        let rows = || Tensor::<3>::ones([1, 4, 8], (&device, dtype));
        let one = || Tensor::<1>::ones([8], (&device, dtype));
        let kernel = || Tensor::<4>::ones([8, 8, 3, 3], (&device, dtype));
        let matrix = || Tensor::<2>::ones([8, 8], (&device, dtype));
        let same = Padding::same(1);
        let all = counted(|| {
            ours::silu(x());
            ours::gelu(x());
            ours::geglu(rows());
            ours::group_norm(x(), one(), one(), 2, 1e-5);
            ours::group_norm_silu(x(), one(), one(), 2, 1e-5);
            ours::layer_norm(rows(), one(), one(), 1e-5);
            ours::conv2d(x(), kernel(), Some(one()), 1, same);
            ours::conv2d(x(), kernel(), None, 1, same);
            ours::conv2d_onto(x(), kernel(), Some(one()), 1, same, x());
            ours::conv2d_doubled(x(), kernel(), None, same);
            ours::linear(rows(), matrix(), None);
            ours::linear_onto(rows(), matrix(), Some(one()), rows());
        });
        assert_eq!(all, [12, 0], "{dtype:?}");
        // An attention is ours where its kernel may take it: in half precision, on tensor cores.
        let heads = || Tensor::<4>::ones([1, 2, 64, 40], (&device, dtype));
        let attention = counted(|| {
            ours::attention(heads(), heads(), heads(), dtype);
            ours::causal_attention(heads(), heads(), heads());
        });
        let flash = dtype != DType::F32 && cfg!(feature = "cuda");
        assert_eq!(attention, if flash { [2, 0] } else { [0, 2] }, "{dtype:?}");
        let wide = || Tensor::<4>::ones([1, 1, 64, 512], (&device, dtype));
        let wide = counted(|| drop(ours::attention(wide(), wide(), wide(), dtype)));
        assert_eq!(wide, [0, 1], "{dtype:?}");
    }
    let tracked = Tensor::<4>::ones([1, 8, 4, 4], (&device.clone().autodiff(), DType::F32));
    let tracked = counted(|| drop(ours::silu(tracked)));
    assert_eq!(tracked, [0, 1], "gradients are the reference's");
}
