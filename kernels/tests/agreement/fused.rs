//! Steps that go together, beside the steps one by one.

use burn::tensor::DType;

use crate::*;

/// In f32 and with weights in bf16, which fused steps multiply as separate ones do.
#[test]
fn steps_that_go_together_give_the_bits_of_the_steps_one_by_one() {
    let device = cpu();
    let tensor =
        |dims: [usize; 4], seed| flat(&numbers(dims.iter().product(), seed), &device).reshape(dims);
    let cases = [
        (2, 40, 50, [17, 22], 3, 1),
        (2, 130, 200, [8, 8], 3, 1),
        (1, 32, 64, [40, 16], 3, 1),
        (3, 20, 30, [9, 6], 1, 1),
        (2, 16, 24, [16, 16], 3, 2),
        (1, 3, 4, [5, 3], 3, 1),
    ];
    for (case, half) in cases.iter().flat_map(|case| [(case, false), (case, true)]) {
        let (b, c, o, [h, w], k, stride) = *case;
        let (x, padding) = (tensor([b, c, h, w], 1), Padding::same(k / 2));
        let mut weight = tensor([o, c, k, k], 2);
        if half {
            weight = weight.cast(DType::BF16);
        }
        let bias = || Some(flat(&numbers(o, 3), &device));
        let alone = ours::conv2d(x.clone(), weight.clone(), bias(), stride, padding);
        for dims in [alone.dims(), [b, o, 1, 1]] {
            let plus = tensor(dims, 4);
            let (x, weight) = (x.clone(), weight.clone());
            let got = ours::conv2d_onto(x, weight, bias(), stride, padding, plus.clone());
            assert_eq!(read(got), read(alone.clone() + plus), "{case:?}");
        }
        if stride == 1 {
            let want = reference::double(x.clone());
            let want = ours::conv2d(want, weight.clone(), bias(), 1, padding);
            let got = ours::conv2d_doubled(x, weight, bias(), padding);
            assert_eq!(read(got), read(want), "{case:?}");
        }
    }
    for (rows, inner, outer) in [(1, 1, 1), (5, 7, 33), (300, 720, 97), (1100, 64, 48)] {
        let x = tensor([1, 1, rows, inner], 1);
        let plus = tensor([1, 1, rows, outer], 2);
        let weight = flat(&numbers(inner * outer, 3), &device).reshape([inner, outer]);
        for weight in [weight.clone(), weight.cast(DType::BF16)] {
            let want = ours::linear(x.clone(), weight.clone(), None) + plus.clone();
            let got = ours::linear_onto(x.clone(), weight, None, plus.clone());
            assert_eq!(read(got), read(want), "{rows} x {inner} x {outer}");
        }
    }
}

/// A part of a row of numbers as [`conv2d_onto`](ours::conv2d_onto) takes it: pictures, channels,
/// and where it begins.
pub(crate) const SLICES: [[usize; 3]; 4] = [[1, 4, 0], [1, 4, 8], [2, 24, 37], [2, 64, 256]];

/// A convolution plus the part of a row, and plus a copy of it that stands alone; of numbers that
/// `held` holds, in `dtype`.
pub(crate) fn onto_a_slice(
    [b, o, at]: [usize; 3],
    device: &Device,
    [held, dtype]: [DType; 2],
) -> [Tensor<4>; 2] {
    let tensor = |dims: [usize; 4], seed| {
        let all = flat(&numbers(dims.iter().product(), seed), device);
        all.cast(held).cast(dtype).reshape(dims)
    };
    let row: Tensor<1> = tensor([1, 1, 1, 512], 1).reshape([512]);
    let slice = row.narrow(0, at, b * o).reshape([b, o, 1, 1]);
    let copy = Tensor::from_data(slice.to_data(), (device, dtype));
    let (x, weight) = (tensor([b, 16, 5, 4], 2), tensor([o, 16, 1, 1], 3));
    [slice, copy]
        .map(|onto| ours::conv2d_onto(x.clone(), weight.clone(), None, 1, Padding::same(0), onto))
}

#[test]
fn what_is_added_may_be_a_slice_of_a_longer_row() {
    for case in SLICES {
        let [got, want] = onto_a_slice(case, &cpu(), [DType::F32; 2]).map(read);
        assert_eq!(got, want, "{case:?}");
    }
}

#[test]
fn pictures_that_are_joined_give_the_bits_of_one_that_was_made_of_them() {
    let device = cpu();
    let tensor =
        |dims: [usize; 4], seed| flat(&numbers(dims.iter().product(), seed), &device).reshape(dims);
    // Channels of each, outputs, groups, sides: a group of both, one of either, tiny ones.
    let cases = [
        (2, [40, 20], 50, 6, [17, 22]),
        (1, [64, 64], 96, 4, [16, 16]),
        (3, [2, 10], 3, 2, [1, 1]),
        (2, [700, 260], 64, 32, [8, 8]),
    ];
    for (b, [c, d], o, groups, [h, w]) in cases {
        let xs = [tensor([b, c, h, w], 1), tensor([b, d, h, w], 2)];
        let cat = || Tensor::cat(xs.to_vec(), 1);
        let [gamma, beta] = [3, 4].map(|seed| flat(&numbers(c + d, seed), &device));
        let want = ours::group_norm_silu(cat(), gamma.clone(), beta.clone(), groups, 1e-5);
        let got = ours::group_norm_silu_joined(xs.clone(), gamma, beta, groups, 1e-5);
        assert_eq!(read(got), read(want), "norm of {c} and {d}");
        let bias = || Some(flat(&numbers(o, 6), &device));
        for (k, dtype) in [
            (1, DType::F32),
            (1, DType::F16),
            (1, DType::BF16),
            (3, DType::F32),
        ] {
            if k > h {
                continue;
            }
            let weight = tensor([o, c + d, k, k], 5).cast(dtype);
            let want = ours::conv2d(cat(), weight.clone(), bias(), 1, Padding::same(0));
            let got = ours::conv2d_joined(xs.clone(), weight, bias());
            assert_eq!(read(got), read(want), "{k}x{k} of {c} and {d} in {dtype:?}");
        }
    }
}

#[test]
fn with_gradients_steps_are_taken_apart() {
    let device = cpu().autodiff();
    let leaf = |dims: [usize; 4], seed| {
        flat(&numbers(dims.iter().product(), seed), &device)
            .reshape(dims)
            .require_grad()
    };
    let (x, weight) = (leaf([1, 4, 6, 6], 1), leaf([4, 4, 3, 3], 2));
    let plus = leaf([1, 4, 12, 12], 3);
    let doubled = ours::conv2d_doubled(x.clone(), weight.clone(), None, Padding::same(1));
    let y = ours::conv2d_onto(doubled, weight, None, 1, Padding::same(1), plus.clone());
    let grads = y.sum().backward();
    assert!(x.grad(&grads).is_some());
    let ones = read(plus.grad(&grads).expect("it is tracked"));
    assert!(ones.iter().all(|g| *g == 1.0));
}
