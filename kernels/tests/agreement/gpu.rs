//! The same operations on a GPU, against the reference on the CPU in f32: with CUDA where it works,
//! or through wgpu, for which a driver that computes on the CPU will do. Without a device they are
//! skipped and say so, or fail where one is demanded: see `tests/trial/mod.rs`.

use burn::tensor::DType;

use crate::trial::types;
use crate::*;

/// A device to try, if there is one. Not in a process that has an instruction set forced on it: what
/// a GPU computes is the same there.
fn gpu() -> Option<Device> {
    match std::env::var_os(FORCED) {
        Some(_) => None,
        None => trial::gpu(),
    }
}

/// Of the largest value of the reference, or of 1: what rounding results to the type loses, a few
/// times over. Products of f32 are of TF32 on NVIDIA's tensor cores, which has f16's digits.
fn tolerance(dtype: DType, product: bool) -> f32 {
    match dtype {
        DType::F32 if product && cfg!(feature = "cuda") => 2e-3,
        DType::F32 => TOLERANCE,
        DType::F16 => 4e-3,
        _ => 3e-2,
    }
}

/// `values` as the type holds them.
fn rounded(values: &[f32], dtype: DType) -> Vec<f32> {
    read(flat(values, &cpu()).cast(dtype).cast(DType::F32))
}

fn on(device: &Device, values: &[f32], dtype: DType) -> Tensor<1> {
    Tensor::from_data(
        TensorData::new(values.to_vec(), [values.len()]),
        (device, dtype),
    )
}

/// The same picture with its channels last in memory.
fn channels_last(x: Tensor<4>) -> Tensor<4> {
    let (device, dtype) = (x.device(), x.dtype());
    let turned = x.permute([0, 2, 3, 1]).into_data();
    Tensor::<4>::from_data(turned, (&device, dtype)).permute([0, 3, 1, 2])
}

fn read_back<const D: usize>(x: Tensor<D>) -> Vec<f32> {
    read(x.cast(DType::F32))
}

/// All cases with CUDA; through wgpu those of our own kernels, and of burn's products a few, since
/// each shape of these is tuned by trying kernels, which takes a program that plays a GPU minutes.
/// And what only a GPU's kernels do otherwise: groups so long that they are cut into parts.
fn gpu_cases() -> Vec<Case> {
    let tuned = |case: &Case| matches!(case, Conv(..) | Linear(..) | Attention(_) | Causal(_));
    let few = |case: &Case| {
        matches!(
            case,
            Conv([2, 5, 9, 13], _, _, 2, ..) | Linear([3, 7, 13], ..)
        )
    };
    let mut all = cases();
    all.retain(|case| cfg!(feature = "cuda") || !tuned(case) || few(case));
    all.extend([
        GroupNorm([2, 4, 200, 210], 2, true),
        GroupNorm([1, 3, 257, 263], 1, false),
        LayerNorm([2, 70, 320]),
        Geglu(40, 320),
    ]);
    if cfg!(feature = "cuda") {
        all.extend([
            Attention([1, 2, 300, 77, 40, 40]),
            Attention([2, 1, 32, 160, 24, 8]),
            Causal([2, 2, 77, 64]),
        ]);
    }
    all
}

#[test]
fn on_a_gpu_values_agree_with_the_reference_in_every_type() {
    let Some(device) = gpu() else { return };
    let types = types(&device);
    for case in gpu_cases() {
        for dtype in types.clone() {
            let inputs = case.random_inputs();
            let inputs: Vec<_> = inputs.iter().map(|x| rounded(x, dtype)).collect();
            let there: Vec<_> = inputs.iter().map(|x| on(&device, x, dtype)).collect();
            let here: Vec<_> = inputs.iter().map(|x| flat(x, &cpu())).collect();
            let (got, want) = (case.apply(&there, true), case.apply(&here, false));
            assert_eq!(got.dtype(), dtype, "{case:?}");
            let product = matches!(case, Conv(..) | Linear(..) | Attention(_) | Causal(_));
            let allowed = tolerance(dtype, product);
            close(
                &read_back(got),
                &read(want),
                allowed,
                &format!("{case:?} in {dtype:?}"),
            );
        }
    }
}

#[test]
fn on_a_gpu_pictures_are_read_with_their_channels_first_last_and_in_views() {
    let Some(device) = gpu() else { return };
    let types = types(&device);
    for (dims, groups) in [([2, 6, 5, 7], 3), ([2, 64, 9, 8], 8), ([1, 8, 150, 300], 2)] {
        let [b, c, h, w] = dims;
        for dtype in types.clone() {
            let numbers = rounded(&numbers(b * c * h * w, 1), dtype);
            let [gamma, beta] = [2, 3].map(|seed| rounded(&crate::numbers(c, seed), dtype));
            let norm = |x: Tensor<4>, device: &Device, dtype| {
                let [gamma, beta] = [&gamma, &beta].map(|v| on(device, v, dtype));
                ours::group_norm_silu(x, gamma, beta, groups, 1e-6)
            };
            let here = norm(flat(&numbers, &cpu()).reshape(dims), &cpu(), DType::F32);
            let want = read(here);
            let x = on(&device, &numbers, dtype).reshape(dims);
            // A part of a larger picture, channels first and last; lines turned into columns.
            let wider = Tensor::cat(vec![x.clone(), x.clone().mul_scalar(3.0)], 3);
            let deeper = Tensor::cat(vec![x.clone(), x.clone().mul_scalar(3.0)], 1);
            let views = [
                x.clone(),
                channels_last(x.clone()),
                wider.narrow(3, 0, w),
                channels_last(deeper).narrow(1, 0, c),
                x.swap_dims(2, 3).mul_scalar(1.0).swap_dims(2, 3),
            ];
            for (i, view) in views.into_iter().enumerate() {
                let got = read_back(norm(view, &device, dtype));
                let what = format!("{dims:?} in {dtype:?}, view {i}");
                close(&got, &want, tolerance(dtype, false), &what);
            }
        }
    }
}

#[test]
fn on_a_gpu_unary_operations_read_views_as_they_look() {
    let Some(device) = gpu() else { return };
    let x = on(&device, &numbers(2 * 6 * 5 * 8, 1), DType::F32).reshape([2, 6, 5, 8]);
    let views = [
        x.clone().permute([0, 2, 3, 1]),
        x.clone().permute([3, 1, 0, 2]),
        x.clone().narrow(3, 2, 5),
        channels_last(x.clone()),
        x.clone().narrow(0, 1, 1).expand([3, 6, 5, 8]),
    ];
    for (i, view) in views.into_iter().enumerate() {
        let copy = Tensor::<4>::from_data(view.to_data(), &cpu());
        let [silu, gelu, geglu] = [ours::silu(view.clone()), ours::gelu(view.clone()), {
            let even = view.dims()[3] / 2 * 2;
            ours::geglu(view.narrow(3, 0, even))
        }];
        let even = copy.dims()[3] / 2 * 2;
        let wanted = [
            reference::silu(copy.clone()),
            reference::gelu(copy.clone()),
            reference::geglu(copy.narrow(3, 0, even)),
        ];
        for (got, want) in [silu, gelu, geglu].into_iter().zip(wanted) {
            assert_eq!(got.dims(), want.dims(), "view {i}");
            close(&read(got), &read(want), TOLERANCE, &format!("view {i}"));
        }
    }
}

#[test]
fn on_a_gpu_steps_that_go_together_agree_with_the_steps_one_by_one() {
    let Some(device) = gpu() else { return };
    let types = types(&device);
    let cases = [(2, 16, 24, [9, 6], 3, 1), (1, 5, 7, [8, 5], 1, 1)];
    for (b, c, o, [h, w], k, stride) in cases {
        for dtype in types.clone() {
            let allowed = tolerance(dtype, true);
            let tensor = |dims: [usize; 4], seed| {
                let all = rounded(&numbers(dims.iter().product(), seed), dtype);
                let [there, here] = [on(&device, &all, dtype), flat(&all, &cpu())];
                (there.reshape(dims), here.reshape(dims))
            };
            let padding = Padding::same(k / 2);
            let ((x, x_here), (weight, weight_here)) =
                (tensor([b, c, h, w], 1), tensor([o, c, k, k], 2));
            let (bias, bias_here) = tensor([1, o, 1, 1], 3);
            let [bias, bias_here] = [bias, bias_here].map(|bias| bias.flatten(0, 3));
            for biased in [true, false] {
                let bias = || biased.then(|| bias.clone());
                let bias_here = || biased.then(|| bias_here.clone());
                let alone = reference::conv2d(
                    x_here.clone(),
                    weight_here.clone(),
                    bias_here(),
                    stride,
                    padding,
                );
                for dims in [alone.dims(), [b, o, 1, 1]] {
                    let (plus, plus_here) = tensor(dims, 4);
                    let want = read(alone.clone() + plus_here);
                    let pictures = [
                        (x.clone(), plus.clone()),
                        (channels_last(x.clone()), channels_last(plus)),
                    ];
                    for (x, plus) in pictures {
                        let weight = weight.clone();
                        let got = ours::conv2d_onto(x, weight, bias(), stride, padding, plus);
                        let what = format!("{dims:?} onto, {dtype:?}");
                        close(&read_back(got), &want, allowed, &what);
                    }
                }
                let want = reference::double(x_here.clone());
                let want = reference::conv2d(want, weight_here.clone(), bias_here(), 1, padding);
                for x in [x.clone(), channels_last(x.clone())] {
                    let got = ours::conv2d_doubled(x, weight.clone(), bias(), padding);
                    let got = read_back(got);
                    close(&got, &read(want.clone()), allowed, "a picture doubled");
                }
            }
        }
    }
    for (rows, inner, outer) in [(5, 7, 33), (60, 72, 40)] {
        for dtype in types.clone() {
            let all = [inner * rows, inner * outer, outer, rows * outer];
            let all = [1, 2, 3, 4].map(|i| rounded(&numbers(all[i - 1], i as u64), dtype));
            let run = |device: &Device, dtype| {
                let [x, weight, bias, plus] = all.each_ref().map(|v| on(device, v, dtype));
                let x = x.reshape([1, rows, inner]);
                let weight = weight.reshape([inner, outer]);
                let plus = plus.reshape([1, rows, outer]);
                ours::linear_onto(x, weight, Some(bias), plus)
            };
            let (got, want) = (run(&device, dtype), run(&cpu(), DType::F32));
            let what = format!("{rows} x {inner} x {outer} onto, {dtype:?}");
            close(&read_back(got), &read(want), tolerance(dtype, true), &what);
        }
    }
}

#[test]
fn on_a_gpu_what_is_added_may_be_a_slice_of_a_longer_row() {
    let Some(device) = gpu() else { return };
    let types = types(&device);
    for case in fused::SLICES {
        for dtype in types.clone() {
            let [got, copied] = fused::onto_a_slice(case, &device, [dtype; 2]).map(read_back);
            let [want, _] = fused::onto_a_slice(case, &cpu(), [dtype, DType::F32]).map(read);
            let what = format!("{case:?} in {dtype:?}");
            assert_eq!(got, copied, "{what}");
            close(&got, &want, tolerance(dtype, true), &what);
        }
    }
}

/// What every layer makes of f32 with weights that `narrow` makes of theirs.
fn layers(device: &Device, narrow: impl Fn(Tensor<4>) -> Tensor<4>) -> Vec<Vec<f32>> {
    let tensor = |dims: [usize; 4], seed| {
        let all = numbers(dims.iter().product(), seed);
        on(device, &all, DType::F32).reshape(dims)
    };
    let (x, rows) = (tensor([2, 16, 9, 6], 1), tensor([1, 1, 60, 16], 2));
    let kernel = || narrow(tensor([24, 16, 3, 3], 3));
    let point = || narrow(tensor([24, 16, 1, 1], 4));
    let matrix = || narrow(tensor([1, 1, 16, 24], 5)).reshape([16, 24]);
    let bias = || Some(tensor([1, 1, 1, 24], 6).reshape([24]));
    let parts = [(0, 10), (10, 6)].map(|(from, count)| x.clone().narrow(1, from, count));
    let (same, plus) = (Padding::same(1), tensor([2, 24, 1, 1], 7));
    let all = vec![
        ours::conv2d(x.clone(), kernel(), bias(), 1, same),
        ours::conv2d(
            channels_last(x.clone()),
            channels_last(kernel()),
            None,
            1,
            same,
        ),
        ours::conv2d_onto(x.clone(), kernel(), bias(), 1, same, plus),
        ours::conv2d_doubled(x, kernel(), bias(), same),
        ours::conv2d_joined(parts, point(), bias()),
        ours::linear(rows.clone(), matrix(), bias()),
        ours::linear_onto(rows, matrix(), None, tensor([1, 1, 60, 24], 8)),
    ];
    all.into_iter().map(read).collect()
}

#[test]
fn on_a_gpu_weights_of_half_precision_compute_as_the_same_numbers_in_f32_do() {
    let Some(device) = gpu() else { return };
    let types = types(&device);
    for half in types.into_iter().filter(|half| *half != DType::F32) {
        let want = layers(&cpu(), |weight| weight.cast(half).cast(DType::F32));
        for device in [device.clone(), device.clone().autodiff()] {
            let got = layers(&device, |weight| weight.cast(half));
            for (i, (got, want)) in got.iter().zip(&want).enumerate() {
                let what = format!("layer {i}, weights in {half:?}, {device:?}");
                close(got, want, tolerance(DType::F32, true), &what);
            }
        }
    }
}

#[test]
fn on_a_gpu_weights_in_the_hosts_memory_are_brought_over() {
    let Some(device) = gpu() else { return };
    let want = layers(&device, |weight| weight);
    let got = layers(&device, |weight| weight.to_device(&cpu()));
    for (i, (got, want)) in got.iter().zip(&want).enumerate() {
        close(
            got,
            want,
            tolerance(DType::F32, true),
            &format!("layer {i}"),
        );
    }
}

#[test]
fn on_a_gpu_a_mean_far_from_zero_costs_no_digits_of_the_variance() {
    let Some(device) = gpu() else { return };
    let numbers: Vec<f32> = numbers(4 * 30 * 30, 1).iter().map(|x| x + 4096.0).collect();
    let of = |device: &Device| {
        let [gamma, beta] = [1.0, 0.0].map(|v| on(device, &[v; 4], DType::F32));
        let x = on(device, &numbers, DType::F32).reshape([1, 4, 30, 30]);
        read(ours::group_norm(x, gamma, beta, 1, 1e-6))
    };
    // The numbers themselves have four digits less.
    close(&of(&device), &of(&cpu()), 1e-3, "a norm far from zero");
}

#[test]
fn on_a_gpu_gradients_are_those_of_the_reference() {
    let Some(device) = gpu() else { return };
    let gradient = |device: &Device| {
        let device = device.clone().autodiff();
        let x = on(&device, &numbers(2 * 6 * 4 * 4, 1), DType::F32).reshape([2, 6, 4, 4]);
        let x = x.require_grad();
        let [gamma, beta] = [2, 3].map(|seed| on(&device, &numbers(6, seed), DType::F32));
        let y = ours::group_norm_silu(x.clone(), gamma, beta, 3, 1e-5);
        let grads = (y.clone() * y).sum().backward();
        read(x.grad(&grads).expect("it is tracked"))
    };
    let (got, want) = (gradient(&device), gradient(&cpu()));
    close(&got, &want, 1e-4, "a norm's gradient");
}
