//! Weights in half precision, and attention with them: raised to f32, or multiplied as bf16 where
//! the CPU does that.

use burn::tensor::DType;

use crate::*;

#[test]
fn weights_of_half_precision_compute_as_the_same_numbers_in_f32_do() {
    let device = cpu();
    let with_weights = |case: &Case| matches!(case, Conv(..) | Linear(..));
    for case in cases().into_iter().filter(with_weights) {
        let inputs: Vec<_> = case
            .random_inputs()
            .iter()
            .map(|x| flat(x, &device))
            .collect();
        let mut halves = vec![DType::F16];
        halves.extend((!multiplies_bf16()).then_some(DType::BF16));
        for half in halves {
            let (narrow, wide) = with_half_weights(&inputs, half);
            let [got, want] = [narrow, wide].map(|inputs| read(case.apply(&inputs, true)));
            let same = got
                .iter()
                .zip(&want)
                .all(|(a, b)| a.to_bits() == b.to_bits());
            assert!(same && got.len() == want.len(), "{case:?} in {half:?}");
        }
    }
}

#[test]
fn where_gradients_are_asked_for_weights_of_half_precision_are_raised_to_f32() {
    let device = cpu().autodiff();
    for case in [
        Linear([3, 7, 13], 5, true),
        Conv([2, 5, 9, 13], 7, [3, 3], 1, Padding::same(1), true),
    ] {
        let inputs = case.random_inputs();
        let inputs: Vec<_> = inputs.iter().map(|x| flat(x, &device)).collect();
        for half in [DType::F16, DType::BF16] {
            let (narrow, wide) = with_half_weights(&inputs, half);
            let [got, want] = [narrow, wide].map(|mut inputs| {
                inputs[0] = inputs[0].clone().require_grad();
                let y = case.apply(&inputs, true);
                let grads = (y.clone() * y.clone()).sum().backward();
                let of_x = inputs[0].grad(&grads).expect("it is tracked");
                [read(y), read(of_x)]
            });
            assert_eq!(got, want, "{case:?} in {half:?}");
        }
    }
}

/// The inputs with weights of that type, and with the same numbers as f32.
fn with_half_weights(inputs: &[Tensor<1>], half: DType) -> (Vec<Tensor<1>>, Vec<Tensor<1>>) {
    let (mut narrow, mut wide) = (inputs.to_vec(), inputs.to_vec());
    narrow[1] = narrow[1].clone().cast(half);
    wide[1] = narrow[1].clone().cast(DType::F32);
    (narrow, wide)
}

/// A weight in panels, as a loader lays it.
fn in_panels(weight: Tensor<2>) -> Tensor<2> {
    let [inner, outer] = weight.dims();
    assert!(ours::reads_panels(&weight.device(), outer));
    let count = outer / ours::PANEL;
    let cut = weight.reshape([inner, count, ours::PANEL]).swap_dims(0, 1);
    cut.reshape([count * inner, ours::PANEL])
}

#[test]
fn weights_in_panels_give_the_bits_of_weights_in_rows() {
    let device = cpu();
    let sizes = [
        (1, 1, 32),
        (5, 7, 48),
        (77, 768, 3072),
        (300, 721, 96),
        (1100, 64, 320),
    ];
    for (rows, inner, outer) in sizes {
        let [x, plus] = [(inner, 1), (outer, 2)]
            .map(|(n, seed)| flat(&numbers(rows * n, seed), &device).reshape([rows, n]));
        let weight = flat(&numbers(inner * outer, 3), &device).reshape([inner, outer]);
        let bias = || Some(flat(&numbers(outer, 4), &device));
        for dtype in [DType::F32, DType::F16, DType::BF16] {
            let weight = weight.clone().cast(dtype);
            let [got, want] = [in_panels(weight.clone()), weight].map(|weight| {
                let alone = ours::linear(x.clone(), weight.clone(), bias());
                let onto = ours::linear_onto(x.clone(), weight, bias(), plus.clone());
                [read(alone), read(onto)]
            });
            assert!(got == want, "{rows} x {inner} x {outer} in {dtype:?}");
        }
    }
    for none in [1, 8, 16, 33] {
        assert!(!ours::reads_panels(&device, none));
    }
}

#[test]
fn products_of_bf16_are_those_of_rounded_numbers() {
    let device = cpu();
    let mut rounded = 0;
    for case in cases() {
        let inputs = case.random_inputs();
        let inputs: Vec<_> = inputs.iter().map(|x| flat(x, &device)).collect();
        if !matches!(case, Conv(..) | Linear(..)) {
            continue;
        }
        let (narrow, mut wide) = with_half_weights(&inputs, DType::BF16);
        let got = read(case.apply(&narrow, true));
        // Kernels of few outputs, and Winograd's, multiply f32.
        if got == read(case.apply(&wide, true)) {
            continue;
        }
        rounded += 1;
        wide[0] = wide[0].clone().cast(DType::BF16).cast(DType::F32);
        let want = read(case.apply(&wide, false));
        close(&got, &want, TOLERANCE, &format!("{case:?}"));
    }
    let wanted = usize::from(multiplies_bf16()) * 10;
    assert!(rounded >= wanted, "{rounded} layers multiplied bf16");
}

/// What rounding queries, keys, values and weights to bf16 may change, of the largest result: a
/// score of these is about 8 at most, and has two roundings of 2⁻⁹ in it.
const BF16_TOLERANCE: f32 = 3e-2;

#[test]
fn attention_of_bf16_agrees_with_the_reference_and_on_any_number_of_threads() {
    let device = cpu();
    for case in cases() {
        let Attention([b, h, n, m, d, e]) = case else {
            continue;
        };
        let inputs = case.random_inputs();
        let [q, k, v] = [(0, n, d), (1, m, d), (2, m, e)]
            .map(|(i, n, d)| flat(&inputs[i], &device).reshape([b, h, n, d]));
        let on = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
            let run = || ours::attention(q.clone(), k.clone(), v.clone(), DType::BF16);
            read(pool.unwrap().install(run))
        };
        let (got, want) = (on(1), reference::attention(q.clone(), k.clone(), v.clone()));
        assert_eq!(got, on(3), "{case:?}");
        close(&got, &read(want), BF16_TOLERANCE, &format!("{case:?}"));
        let f32 = read(f32_attention(q, k, v));
        assert_eq!(got != f32, multiplies_bf16(), "{case:?}");
    }
}

/// Whether the kernels of the CPU multiply bf16: their set ends the names of what is used.
fn multiplies_bf16() -> bool {
    let open = device::open(DeviceChoice::Cpu, Isa::Auto).expect("a CPU");
    let (sets, _) = open.numerics().split_once(" kernels ").expect("its sets");
    sets.ends_with("+bf16")
}
