//! Every operation against its reference: values, gradients, extremes, and bits on any number
//! of threads; all of it again with each instruction set in force.
//!
//! [`TOLERANCE`] was stated first: sums of a few hundred products lose that much in either
//! order. That it is taken of 1 where the largest value of the reference is smaller came after
//! a failure: a norm over one number has the gradient 0, and ours was −1.06e-5.

mod fused;
#[cfg(feature = "cube")]
mod gpu;
mod half;
#[path = "../trial/mod.rs"]
mod trial;

use burn::tensor::{DType, Device, Tensor, TensorData};
use ldm_kernels::device::{self, DeviceChoice, DeviceError, Isa, IsaError};
use ldm_kernels::{self as ours, Padding, reference};

/// Of the largest value of the reference, or of 1, the size of what goes in.
const TOLERANCE: f32 = 2e-5;

/// One operation at one size.
#[derive(Clone, Copy, Debug)]
enum Case {
    Silu(usize),
    Gelu(usize),
    /// Rows, and values of each.
    Geglu(usize, usize),
    /// Dims, groups, whether SiLU follows.
    GroupNorm([usize; 4], usize, bool),
    LayerNorm([usize; 3]),
    /// Dims, outputs, kernel, stride, padding, whether there is a bias.
    Conv([usize; 4], usize, [usize; 2], usize, Padding, bool),
    /// Dims, outputs, whether there is a bias.
    Linear([usize; 3], usize, bool),
    /// Batch, heads, queries, keys, width, width of values.
    Attention([usize; 6]),
    /// Batch, heads, tokens, width.
    Causal([usize; 4]),
}

use Case::{Attention, Causal, Conv, Geglu, Gelu, GroupNorm, LayerNorm, Linear, Silu};

impl Case {
    /// The lengths of its inputs.
    fn inputs(self) -> Vec<usize> {
        let size = |dims: &[usize]| dims.iter().product::<usize>();
        match self {
            Silu(n) | Gelu(n) => vec![n],
            Geglu(rows, n) => vec![rows * 2 * n],
            GroupNorm(d, _, _) => vec![size(&d), d[1], d[1]],
            LayerNorm(d) => vec![size(&d), d[2], d[2]],
            Conv(d, o, k, _, _, bias) => {
                let mut all = vec![size(&d), o * d[1] * size(&k)];
                all.extend(bias.then_some(o));
                all
            }
            Linear(d, o, bias) => {
                let mut all = vec![size(&d), d[2] * o];
                all.extend(bias.then_some(o));
                all
            }
            Attention([b, h, n, m, d, e]) => [n * d, m * d, m * e].map(|s| s * b * h).to_vec(),
            Causal(d) => vec![size(&d); 3],
        }
    }

    /// Runs it, ours or the reference, on flat inputs.
    fn apply(self, x: &[Tensor<1>], fast: bool) -> Tensor<1> {
        let at = |i: usize| x[i].clone();
        let bias = |i: usize| x.get(i).cloned();
        match self {
            Silu(_) => {
                if fast {
                    ours::silu(at(0))
                } else {
                    reference::silu(at(0))
                }
            }
            Gelu(_) => {
                if fast {
                    ours::gelu(at(0))
                } else {
                    reference::gelu(at(0))
                }
            }
            Geglu(rows, n) => {
                let geglu = if fast { ours::geglu } else { reference::geglu };
                geglu(at(0).reshape([rows, 2 * n])).flatten(0, 1)
            }
            GroupNorm(d, groups, silu) => {
                let norm = match (fast, silu) {
                    (true, false) => ours::group_norm,
                    (true, true) => ours::group_norm_silu,
                    (false, false) => reference::group_norm,
                    (false, true) => reference::group_norm_silu,
                };
                norm(at(0).reshape(d), at(1), at(2), groups, 1e-5).flatten(0, 3)
            }
            LayerNorm(d) => {
                let norm = if fast {
                    ours::layer_norm
                } else {
                    reference::layer_norm
                };
                norm(at(0).reshape(d), at(1), at(2), 1e-5).flatten(0, 2)
            }
            Conv(d, o, [kh, kw], stride, padding, _) => {
                let conv = if fast {
                    ours::conv2d
                } else {
                    reference::conv2d
                };
                let weight = at(1).reshape([o, d[1], kh, kw]);
                conv(at(0).reshape(d), weight, bias(2), stride, padding).flatten(0, 3)
            }
            Linear(d, o, _) => {
                let linear = if fast {
                    ours::linear
                } else {
                    reference::linear
                };
                linear(at(0).reshape(d), at(1).reshape([d[2], o]), bias(2)).flatten(0, 2)
            }
            Attention([b, h, n, m, d, e]) => {
                let attention = if fast {
                    f32_attention
                } else {
                    reference::attention
                };
                let (k, v) = (at(1).reshape([b, h, m, d]), at(2).reshape([b, h, m, e]));
                attention(at(0).reshape([b, h, n, d]), k, v).flatten(0, 3)
            }
            Causal(d) => {
                let attention = if fast {
                    ours::causal_attention
                } else {
                    reference::causal_attention
                };
                let [q, k, v] = [0, 1, 2].map(|i| at(i).reshape(d));
                attention(q, k, v).flatten(0, 3)
            }
        }
    }

    /// The output, and the gradients of `Σ output · weights` for fixed weights.
    fn evaluate(self, inputs: &[Vec<f32>], fast: bool) -> Vec<Vec<f32>> {
        let device = cpu().autodiff();
        let leaf = |v: &Vec<f32>| flat(v, &device).require_grad();
        let leaves: Vec<_> = inputs.iter().map(leaf).collect();
        let y = self.apply(&leaves, fast);
        let weights = numbers(y.dims()[0], 99);
        let grads = (y.clone() * flat(&weights, &device)).sum().backward();
        let mut all = vec![read(y)];
        all.extend(
            leaves
                .iter()
                .map(|x| read(x.grad(&grads).expect("every input is tracked"))),
        );
        all
    }

    fn random_inputs(self) -> Vec<Vec<f32>> {
        let mut seed = 0;
        let mut next = |n| {
            seed += 1;
            numbers(n, seed)
        };
        self.inputs().into_iter().map(&mut next).collect()
    }
}

/// Names the instruction set of a process that [`all_of_this_holds_with_each_instruction_set`]
/// starts.
const FORCED: &str = "LDM_KERNELS_TEST_ISA";

/// The CPU, with the instruction set that this process is to use.
fn cpu() -> Device {
    let forced = std::env::var(FORCED);
    let isa = forced.map_or(Isa::Auto, |isa| isa.parse().expect("an instruction set"));
    let open = device::open(DeviceChoice::Cpu, isa).expect("the CPU has it");
    open.device().clone()
}

fn f32_attention(q: Tensor<4>, k: Tensor<4>, v: Tensor<4>) -> Tensor<4> {
    ours::attention(q, k, v, DType::F32)
}

fn flat(values: &[f32], device: &Device) -> Tensor<1> {
    Tensor::from_data(TensorData::new(values.to_vec(), [values.len()]), device)
}

fn read<const D: usize>(x: Tensor<D>) -> Vec<f32> {
    x.into_data().try_into_vec().expect("the results are f32")
}

/// Numbers between −2 and 2 from SplitMix64.
fn numbers(n: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x1234_5678_9abc_def1);
    let mut next = || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 40) as f32 / (1 << 22) as f32 - 2.0
    };
    (0..n).map(|_| next()).collect()
}

fn largest(values: &[f32]) -> f32 {
    values.iter().fold(0.0, |a, b| a.max(b.abs()))
}

fn cases() -> Vec<Case> {
    let same = Padding::same;
    let odd = Padding {
        top: 0,
        left: 0,
        bottom: 1,
        right: 1,
    };
    let uneven = Padding {
        top: 2,
        left: 0,
        bottom: 1,
        right: 3,
    };
    vec![
        Silu(1),
        Silu(40_001),
        Gelu(7),
        Gelu(40_001),
        Geglu(1, 1),
        Geglu(3, 37),
        Geglu(2, 20_000),
        Geglu(1000, 33),
        GroupNorm([1, 1, 1, 1], 1, false),
        GroupNorm([2, 6, 5, 7], 3, true),
        GroupNorm([3, 32, 8, 8], 32, true),
        GroupNorm([2, 48, 16, 16], 8, true),
        GroupNorm([1, 10, 33, 31], 2, false),
        LayerNorm([1, 1, 1]),
        LayerNorm([3, 33, 17]),
        LayerNorm([2, 64, 128]),
        LayerNorm([1, 5, 1100]),
        Conv([1, 1, 1, 1], 1, [1, 1], 1, same(0), true),
        Conv([1, 3, 1, 1], 5, [3, 3], 1, same(1), true),
        Conv([2, 3, 16, 16], 32, [3, 3], 1, same(1), true),
        Conv([2, 32, 16, 16], 3, [3, 3], 1, same(1), true),
        Conv([4, 20, 8, 8], 50, [3, 3], 1, same(1), false),
        Conv([5, 33, 4, 4], 17, [3, 3], 1, same(1), true),
        Conv([3, 7, 2, 2], 9, [3, 3], 1, same(1), true),
        Conv([1, 48, 64, 64], 48, [3, 3], 1, same(1), true),
        Conv([2, 130, 8, 8], 200, [3, 3], 1, same(1), true),
        Conv([2, 5, 9, 13], 7, [3, 3], 1, same(1), true),
        Conv([2, 5, 9, 13], 7, [3, 3], 2, odd, true),
        Conv([2, 16, 16, 16], 24, [3, 3], 2, odd, true),
        Conv([1, 8, 32, 32], 12, [3, 3], 2, same(1), true),
        Conv([1, 3, 17, 23], 4, [7, 5], 3, uneven, true),
        Conv([2, 4, 10, 10], 6, [2, 2], 2, same(0), false),
        Conv([2, 4, 9, 9], 6, [1, 1], 2, same(0), true),
        Conv([3, 40, 8, 8], 24, [1, 1], 1, same(0), true),
        Conv([2, 9, 4, 4], 11, [1, 1], 1, same(0), true),
        Conv([2, 9, 5, 3], 11, [1, 1], 1, same(2), true),
        Linear([1, 1, 1], 1, true),
        Linear([3, 7, 13], 5, true),
        Linear([2, 300, 64], 96, true),
        Linear([8, 200, 128], 33, false),
        Linear([1, 3, 700], 300, true),
        Attention([1, 1, 1, 1, 1, 1]),
        Attention([2, 3, 17, 9, 5, 7]),
        Attention([1, 2, 100, 130, 32, 32]),
        Attention([2, 4, 64, 64, 24, 24]),
        Attention([1, 2, 1, 300, 40, 40]),
        Attention([2, 2, 33, 77, 40, 40]),
        Attention([1, 1, 600, 97, 8, 3]),
        Attention([1, 1, 20, 192, 300, 270]),
        Causal([1, 1, 1, 3]),
        Causal([2, 3, 77, 16]),
        Causal([1, 2, 200, 24]),
    ]
}

/// `what` and its namesake agree to `tolerance` of the largest, or of 1.
fn close(got: &[f32], want: &[f32], tolerance: f32, what: &str) {
    assert_eq!(got.len(), want.len(), "{what}");
    let allowed = tolerance * largest(want).max(1.0);
    for (i, (got, want)) in got.iter().zip(want).enumerate() {
        assert!(
            (got - want).abs() <= allowed,
            "{what}[{i}] is {got}, the reference {want}"
        );
    }
}

#[test]
fn values_and_gradients_agree_with_the_reference() {
    for case in cases() {
        let inputs = case.random_inputs();
        let (got, want) = (case.evaluate(&inputs, true), case.evaluate(&inputs, false));
        for (i, (got, want)) in got.iter().zip(&want).enumerate() {
            close(got, want, TOLERANCE, &format!("{case:?}, result {i}"));
        }
    }
}

#[test]
fn a_gpu_that_is_demanded_is_one_that_these_tests_were_built_for() {
    trial::is_demanded();
}

#[test]
fn gradients_agree_with_finite_differences() {
    let few = [
        Silu(50),
        Gelu(50),
        Geglu(3, 9),
        GroupNorm([2, 6, 5, 7], 3, true),
        LayerNorm([2, 3, 17]),
        Conv([2, 3, 6, 6], 4, [3, 3], 2, Padding::same(1), true),
        Conv([1, 3, 8, 8], 4, [3, 3], 1, Padding::same(1), true),
        Linear([2, 5, 7], 3, true),
        Attention([1, 2, 5, 6, 4, 3]),
        Causal([1, 2, 6, 4]),
    ];
    let step = 1e-2_f32;
    for case in few {
        let inputs = case.random_inputs();
        let gradients = case.evaluate(&inputs, true);
        let loss = |inputs: &[Vec<f32>]| -> f64 {
            let y = &case.evaluate(inputs, true)[0];
            let weights = numbers(y.len(), 99);
            y.iter()
                .zip(weights)
                .map(|(y, w)| f64::from(*y) * f64::from(w))
                .sum()
        };
        for i in 0..inputs.len() {
            let direction = numbers(inputs[i].len(), 1000 + i as u64);
            let moved = |by: f32| {
                let mut inputs = inputs.clone();
                inputs[i]
                    .iter_mut()
                    .zip(&direction)
                    .for_each(|(x, d)| *x += by * d);
                loss(&inputs)
            };
            let slope = (moved(step) - moved(-step)) / f64::from(2.0 * step);
            let along = gradients[i + 1].iter().zip(&direction);
            let want: f64 = along.map(|(g, d)| f64::from(*g) * f64::from(*d)).sum();
            let size = f64::from(largest(&gradients[i + 1])) * (direction.len() as f64).sqrt();
            assert!(
                (slope - want).abs() < 5e-3 * size,
                "{case:?}, input {i}: {slope} {want}"
            );
        }
    }
}

#[test]
fn bits_do_not_depend_on_the_number_of_threads() {
    for case in cases() {
        let inputs = case.random_inputs();
        let on = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new()
                .num_threads(threads)
                .build()
                .unwrap();
            pool.install(|| case.evaluate(&inputs, true))
        };
        let bits = |all: Vec<Vec<f32>>| -> Vec<u32> {
            all.into_iter().flatten().map(f32::to_bits).collect()
        };
        let one = bits(on(1));
        assert!([2, 3].into_iter().all(|n| bits(on(n)) == one), "{case:?}");
    }
}

#[test]
fn a_token_under_causal_attention_sees_what_attention_over_its_past_sees() {
    let (device, shape) = (cpu(), [2, 3, 77, 16]);
    let count = shape.iter().product();
    let [q, k, v] = [1, 2, 3].map(|seed| {
        let data = TensorData::new(numbers(count, seed), shape);
        Tensor::<4>::from_data(data, &device)
    });
    let run = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
        let run = || read(ours::causal_attention(q.clone(), k.clone(), v.clone()));
        pool.unwrap().install(run)
    };
    let whole = run(1);
    assert_eq!(whole, run(3), "bits do not depend on the number of threads");
    for at in [0, 1, 40, 76] {
        let past = |x: &Tensor<4>| x.clone().narrow(2, 0, at + 1);
        let alone = f32_attention(q.clone().narrow(2, at, 1), past(&k), past(&v));
        let row = Tensor::<4>::from_data(TensorData::new(whole.clone(), shape), &device);
        close(
            &read(row.narrow(2, at, 1)),
            &read(alone),
            TOLERANCE,
            "a row",
        );
    }
}

#[test]
fn zeros_and_huge_values_give_what_the_reference_gives() {
    for case in cases() {
        for value in [0.0, 1e15, -1e15] {
            let mut inputs = case.random_inputs();
            inputs[0].fill(value);
            let got = case.evaluate(&inputs, true).swap_remove(0);
            let want = case.evaluate(&inputs, false).swap_remove(0);
            // The mean of equal numbers rounds: what is left of 1e15 is not compared.
            if value == 0.0 || !matches!(case, GroupNorm(..) | LayerNorm(_)) {
                close(&got, &want, TOLERANCE, &format!("{case:?} of {value}"));
            }
            assert!(got.iter().all(|y| y.is_finite()), "{case:?} of {value}");
        }
    }
}

#[test]
fn nan_and_infinity_come_out_where_the_reference_lets_them_out() {
    for case in cases() {
        for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let mut inputs = case.random_inputs();
            let middle = inputs[0].len() / 2;
            inputs[0][middle] = value;
            let got = case.evaluate(&inputs, true).swap_remove(0);
            let want = case.evaluate(&inputs, false).swap_remove(0);
            // A convolution by tiles lets it out in the tiles that read it: some pixels more.
            let tiles = matches!(case, Conv(_, _, [3, 3], 1, ..));
            for (i, (got, want)) in got.iter().zip(&want).enumerate() {
                let fine = want.is_finite() == got.is_finite() || tiles && want.is_finite();
                assert!(fine, "{case:?} of {value} at {i}");
            }
        }
    }
}

#[test]
fn gelu_is_exact_to_a_millionth() {
    let xs: Vec<f32> = (-6000..6000).map(|i| i as f32 * 1e-3).collect();
    let got = read(ours::gelu(flat(&xs, &cpu())));
    for (x, got) in xs.iter().zip(got) {
        let want = f64::from(*x) * normal_cdf(f64::from(*x));
        assert!(
            (f64::from(got) - want).abs() < 1e-6,
            "gelu({x}) = {got}, not {want}"
        );
    }
}

/// Φ by the series `1/2 + φ(x) · Σ x^(2n+1) / (2n+1)!!`, Marsaglia 2004.
fn normal_cdf(x: f64) -> f64 {
    let (mut term, mut sum, mut n) = (x, x, 1.0);
    while term.abs() > 1e-17 * sum.abs() {
        n += 2.0;
        term *= x * x / n;
        sum += term;
    }
    0.5 + sum * (-0.5 * x * x).exp() / (2.0 * std::f64::consts::PI).sqrt()
}

#[test]
fn views_are_read_as_they_look() {
    let device = cpu();
    let x = flat(&numbers(2 * 6 * 5 * 4, 1), &device)
        .reshape([2, 6, 5, 4])
        .permute([0, 2, 3, 1]);
    let copy = Tensor::<4>::from_data(x.to_data(), &device);
    let (gamma, beta) = (flat(&numbers(5, 2), &device), flat(&numbers(5, 3), &device));
    let of = |x: Tensor<4>| {
        read(ours::group_norm_silu(
            x,
            gamma.clone(),
            beta.clone(),
            5,
            1e-5,
        ))
    };
    assert_eq!(of(x), of(copy));
}

#[test]
fn heads_beside_each_other_are_read_as_they_look() {
    let device = Device::flex();
    let (b, n, heads, d) = (2, 37, 3, 8);
    // One projection to queries, keys and values, whose first token is left out.
    let all = flat(&numbers(b * (n + 1) * 3 * heads * d, 1), &device);
    let all = all.reshape([b, n + 1, 3 * heads, d]).narrow(1, 1, n);
    let views = [0, 1, 2].map(|i| all.clone().narrow(2, i * heads, heads).swap_dims(1, 2));
    let torn = views.clone().map(|x| {
        let x = Tensor::<4>::from_data(x.swap_dims(2, 3).to_data(), &device);
        x.swap_dims(2, 3)
    });
    let copies = views
        .clone()
        .map(|x| Tensor::<4>::from_data(x.to_data(), &device));
    for attention in [f32_attention, ours::causal_attention] {
        let of = |[q, k, v]: [Tensor<4>; 3]| read(attention(q, k, v));
        let want = of(copies.clone());
        assert_eq!(of(views.clone()), want);
        assert_eq!(of(torn.clone()), want);
    }
}

#[test]
fn keys_that_score_minus_infinity_weigh_nothing_even_a_block_of_them() {
    let device = Device::flex();
    let (keys, lost, d) = (150, 120, 4);
    let tensor = |values: Vec<f32>, n: usize| flat(&values, &device).reshape([1, 1, n, d]);
    let q = tensor(numbers(5 * d, 1).iter().map(|x| x.abs() + 0.1).collect(), 5);
    let mut k = numbers(keys * d, 2);
    k[..lost * d].fill(f32::NEG_INFINITY);
    let (k, v) = (tensor(k, keys), tensor(numbers(keys * d, 3), keys));
    let left = |x: &Tensor<4>| x.clone().narrow(2, lost, keys - lost);
    let want = read(reference::attention(q.clone(), left(&k), left(&v)));
    let got = read(f32_attention(q.clone(), k.clone(), v.clone()));
    close(&got, &want, TOLERANCE, "the keys that are left");
    let none = |x: &Tensor<4>| x.clone().narrow(2, 0, lost);
    let got = read(f32_attention(q, none(&k), none(&v)));
    assert!(got.iter().all(|y| y.is_nan()), "no key is left: {got:?}");
}

#[test]
fn what_nobody_asked_a_gradient_of_gets_none() {
    let device = cpu().autodiff();
    let x = flat(&numbers(2 * 3 * 8 * 8, 1), &device).reshape([2, 3, 8, 8]);
    let weight = flat(&numbers(4 * 27, 2), &device)
        .reshape([4, 3, 3, 3])
        .require_grad();
    let y = ours::conv2d(x.clone(), weight.clone(), None, 1, Padding::same(1));
    let grads = y.sum().backward();
    assert!(x.grad(&grads).is_none());
    assert_eq!(
        weight.grad(&grads).expect("the weight is tracked").dims(),
        [4, 3, 3, 3]
    );
}

#[test]
fn other_dtypes_go_to_the_reference() {
    use burn::tensor::DType;
    let device = cpu();
    let x = flat(&numbers(100, 1), &device).cast(DType::F64);
    let y = ours::silu(x.clone());
    assert_eq!(y.dtype(), DType::F64);
    let same = y.equal(reference::silu(x)).all();
    assert!(same.into_scalar::<bool>());
}

/// Of all results and gradients, as FNV-1a.
fn digest() -> u64 {
    let results = cases()
        .into_iter()
        .flat_map(|case| case.evaluate(&case.random_inputs(), true));
    let bytes = results.flatten().flat_map(|x| x.to_bits().to_le_bytes());
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
    })
}

/// Names the file to which a process writes its digest.
const DIGEST: &str = "LDM_KERNELS_TEST_DIGEST";

#[test]
fn all_instruction_sets_but_the_portable_one_give_the_same_bits() {
    if let Some(path) = std::env::var_os(DIGEST) {
        cpu();
        std::fs::write(path, digest().to_string()).unwrap();
        return;
    }
    if std::env::var_os(FORCED).is_some() {
        return;
    }
    let folder = std::env::temp_dir().join(format!("ldm-kernels-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let of = |isa: Isa| {
        let path = folder.join(isa.to_string());
        let mut again = std::process::Command::new(std::env::current_exe().unwrap());
        again.arg("all_instruction_sets_but_the_portable_one_give_the_same_bits");
        let ended = again
            .env(FORCED, isa.to_string())
            .env(DIGEST, &path)
            .output();
        assert!(ended.unwrap().status.success(), "{isa}");
        std::fs::read_to_string(path).unwrap()
    };
    let sets = [Isa::Avx2, Isa::Avx512, Isa::Avx512Bf16];
    let all: Vec<_> = sets.into_iter().filter(|isa| has(*isa)).map(of).collect();
    std::fs::remove_dir_all(&folder).unwrap();
    assert!(all.iter().all(|digest| *digest == all[0]), "{all:?}");
}

#[test]
fn all_of_this_holds_with_each_instruction_set() {
    if std::env::var_os(FORCED).is_some() {
        return;
    }
    let sets = [Isa::Avx512, Isa::Avx2, Isa::Portable];
    for isa in sets.into_iter().filter(|isa| has(*isa)) {
        let mut again = std::process::Command::new(std::env::current_exe().unwrap());
        let ended = again.env(FORCED, isa.to_string()).output().unwrap();
        let said = String::from_utf8_lossy(&ended.stdout);
        assert!(ended.status.success(), "{isa}: {said}");
        assert!(!said.contains(" 0 passed"), "{isa}: {said}");
    }
}

fn has(isa: Isa) -> bool {
    let missing = DeviceError::Isa(IsaError::Missing(isa));
    device::open(DeviceChoice::Cpu, isa).err() != Some(missing)
}

#[test]
fn a_set_that_the_cpu_would_not_take_by_itself_is_named_in_the_numerics() {
    cpu();
    let open = device::open(DeviceChoice::Cpu, Isa::Auto).unwrap();
    let widest = [Isa::Avx512Bf16, Isa::Avx512, Isa::Avx2, Isa::Portable];
    let widest = widest.into_iter().find(|isa| has(*isa)).unwrap();
    let forced = std::env::var(FORCED).is_ok_and(|isa| isa != widest.to_string());
    assert_eq!(
        open.numerics().contains(" ours "),
        forced,
        "{}",
        open.numerics()
    );
}
