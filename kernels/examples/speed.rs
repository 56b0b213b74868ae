//! How fast the kernels are on this machine, beside burn's own operations.
//!
//! `cargo run --release -p ldm-kernels --example speed -- [THREADS]`
//!
//! Prints GFLOP/s (convolution, linear, attention) or GB/s (norms, activations), forwards and
//! backwards, and how many times faster than the same thing from burn's plain operations.

#![allow(clippy::print_stdout)]

use std::time::Instant;

use burn::tensor::{Device, Tensor, TensorData};
use ldm_kernels::{self as ours, Padding, reference};

#[global_allocator]
static MEMORY: ours::memory::Large = ours::memory::Large;

fn main() {
    let threads = std::env::args()
        .nth(1)
        .and_then(|n| n.parse().ok())
        .unwrap_or(1);
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
    pool.expect("a pool of threads starts").install(|| {
        println!("{threads} threads; operation, forward, backward, times burn");
        convolutions();
        others();
    });
}

fn convolutions() {
    let shapes = [
        ([8, 32, 64, 64], 32),
        ([8, 48, 64, 64], 48),
        ([8, 64, 32, 32], 64),
        ([16, 96, 16, 16], 96),
        ([16, 128, 16, 16], 128),
        ([64, 96, 8, 8], 96),
        ([64, 128, 8, 8], 128),
        ([8, 192, 8, 8], 192),
        ([64, 192, 8, 8], 192),
        ([64, 256, 8, 8], 256),
        ([64, 192, 4, 4], 192),
    ];
    for (dims, outputs) in shapes {
        let [b, c, h, w] = dims;
        let flops = 2.0 * (b * c * h * w * outputs * 9) as f64;
        let weight = tensor([outputs, c, 3, 3]);
        let run = |conv: fn(Tensor<4>, Tensor<4>, _, _, _) -> Tensor<4>| {
            let same = Padding::same(1);
            time([tensor(dims), weight.clone()], |[x, w]| {
                conv(x, w, None, 1, same)
            })
        };
        let fast = run(ours::conv2d);
        report(
            &format!("conv {dims:?}"),
            flops,
            fast,
            run(reference::conv2d),
            "GFLOP/s",
        );
    }
    let dims = [8, 48, 64, 64];
    let flops = 2.0 * (8 * 48 * 48 * 32 * 32 * 9) as f64;
    let pad = Padding {
        top: 0,
        left: 0,
        bottom: 1,
        right: 1,
    };
    let run = |conv: fn(Tensor<4>, Tensor<4>, _, _, _) -> Tensor<4>| {
        time([tensor(dims), tensor([48, 48, 3, 3])], |[x, w]| {
            conv(x, w, None, 2, pad)
        })
    };
    let fast = run(ours::conv2d);
    report(
        "conv stride 2",
        flops,
        fast,
        run(reference::conv2d),
        "GFLOP/s",
    );
    let flops = 2.0 * (64 * 128 * 128 * 64) as f64;
    let run = |conv: fn(Tensor<4>, Tensor<4>, _, _, _) -> Tensor<4>| {
        let none = Padding::same(0);
        let inputs = [tensor([64, 128, 8, 8]), tensor([128, 128, 1, 1])];
        time(inputs, |[x, w]| conv(x, w, None, 1, none))
    };
    let fast = run(ours::conv2d);
    report("conv 1x1", flops, fast, run(reference::conv2d), "GFLOP/s");
}

fn others() {
    let dims = [8, 48, 64, 64];
    let bytes = (8 * 48 * 64 * 64 * 8) as f64;
    let fast = time([tensor(dims)], |[x]| ours::silu(x));
    report(
        "silu",
        bytes,
        fast,
        time([tensor(dims)], |[x]| reference::silu(x)),
        "GB/s",
    );
    let fast = time([tensor(dims)], |[x]| ours::gelu(x));
    report(
        "gelu",
        bytes,
        fast,
        time([tensor(dims)], |[x]| reference::gelu(x)),
        "GB/s",
    );

    let (gamma, beta) = (ones(48), ones(48));
    let fast = time([tensor(dims)], |[x]| {
        ours::group_norm_silu(x, gamma.clone(), beta.clone(), 8, 1e-6)
    });
    let plain = time([tensor(dims)], |[x]| {
        reference::group_norm_silu(x, gamma.clone(), beta.clone(), 8, 1e-6)
    });
    report("group norm + silu", bytes, fast, plain, "GB/s");

    let dims = [1, 1, 4096, 128];
    let (gamma, beta) = (ones(128), ones(128));
    let bytes = (4096 * 128 * 8) as f64;
    let fast = time([tensor(dims)], |[x]| {
        ours::layer_norm(x, gamma.clone(), beta.clone(), 1e-6)
    });
    let plain = time([tensor(dims)], |[x]| {
        reference::layer_norm(x, gamma.clone(), beta.clone(), 1e-6)
    });
    report("layer norm", bytes, fast, plain, "GB/s");

    for (inner, outer) in [(128, 128), (128, 512), (512, 128)] {
        let flops = 2.0 * (4096 * inner * outer) as f64;
        let inputs = || [tensor([1, 1, 4096, inner]), tensor([1, 1, inner, outer])];
        let run = |linear: fn(Tensor<4>, Tensor<2>, Option<Tensor<1>>) -> Tensor<4>| {
            time(inputs(), |[x, w]| {
                linear(x, w.reshape([inner, outer]), None)
            })
        };
        let (fast, plain) = (run(ours::linear), run(reference::linear));
        report(
            &format!("linear {inner} to {outer}"),
            flops,
            fast,
            plain,
            "GFLOP/s",
        );
    }
    for (dims, keys) in [
        ([64, 4, 64, 32], 64),
        ([64, 4, 64, 32], 16),
        ([8, 1, 1024, 64], 1024),
    ] {
        let [b, heads, n, d] = dims;
        let flops = 4.0 * (b * heads * n * keys * d) as f64;
        let inputs = || {
            [
                tensor(dims),
                tensor([b, heads, keys, d]),
                tensor([b, heads, keys, d]),
            ]
        };
        let fast = time(inputs(), |[q, k, v]| ours::attention(q, k, v));
        let plain = time(inputs(), |[q, k, v]| reference::attention(q, k, v));
        report(
            &format!("attention {dims:?} {keys} keys"),
            flops,
            fast,
            plain,
            "GFLOP/s",
        );
    }
}

fn report(name: &str, work: f64, fast: [f64; 2], plain: [f64; 2], unit: &str) {
    // The backward pass of a product is two products, that of the rest reads twice as much.
    let [forward, backward] = [work / fast[0] * 1e-9, 2.0 * work / fast[1] * 1e-9];
    let [a, b] = [plain[0] / fast[0], plain[1] / fast[1]];
    println!("{name:36} {forward:6.1} {backward:6.1} {unit:8} ×{a:.1} ×{b:.1}");
}

/// Seconds forwards and backwards, the best of several runs.
fn time<const N: usize>(
    inputs: [Tensor<4>; N],
    op: impl Fn([Tensor<4>; N]) -> Tensor<4>,
) -> [f64; 2] {
    let device = Device::flex().autodiff();
    let inputs = inputs.map(|x| Tensor::<4>::from_data(x.into_data(), &device).require_grad());
    let weights = tensor(op(inputs.clone()).dims()).into_data();
    let weights = Tensor::<4>::from_data(weights, &device);
    let mut best = [f64::INFINITY; 2];
    let began = Instant::now();
    while began.elapsed().as_secs_f64() < 1.0 || best[1].is_infinite() {
        let start = Instant::now();
        let y = op(inputs.clone());
        let middle = Instant::now();
        let grads = (y * weights.clone()).sum().backward();
        let end = Instant::now();
        drop(grads);
        let times = [middle - start, end - middle].map(|t| t.as_secs_f64());
        best = [best[0].min(times[0]), best[1].min(times[1])];
    }
    best
}

fn ones(n: usize) -> Tensor<1> {
    Tensor::ones([n], &Device::flex().autodiff())
}

fn tensor(dims: [usize; 4]) -> Tensor<4> {
    let n: usize = dims.iter().product();
    let values: Vec<f32> = (0..n)
        .map(|i| (i * 7919 % 1009) as f32 / 504.0 - 1.0)
        .collect();
    Tensor::from_data(TensorData::new(values, dims), &Device::flex())
}
