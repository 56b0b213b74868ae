//! On a GPU every operation is one of ours, in each type that it has, burn's products, convolutions
//! and attention within it; what is not is counted: a call that gives way to the reference in silence
//! fails this test.
//!
//! At the shapes of Stable Diffusion 1.5 at 512 × 512, for one picture and with few outputs; through
//! wgpu layers of 64 × 64 pixels are given 16 × 16 and few shapes of attention are tried, since each
//! shape is tuned by trying kernels, which takes a driver that computes on the CPU minutes. Results
//! are read: a kernel that cannot be launched at such a shape fails too.
//!
//! What is expected: all are ours, but for attention. That is ours in half precision where a device
//! multiplies tiles of f16, as every one of CUDA's since Volta does and a driver on the CPU does not;
//! in f32, and for the autoencoder's one head of 512, it is the reference's. So is what gradients are
//! asked of.
//!
//! Alone in its process, because all of a process's calls are counted together. Without a GPU it is
//! skipped and says so, or fails where one is demanded: see `tests/trial/mod.rs`.
#![cfg(feature = "cube")]

mod trial;

use burn::tensor::{DType, Device, Tensor};
#[cfg(feature = "cuda")]
use ldm_kernels::device;
use ldm_kernels::{self as ours, Dispatches, Padding, dispatches};

/// A call by its name.
type Call = (&'static str, Box<dyn Fn() -> Tensor<1>>);

/// Calls that kernels of ours served and did not serve while `run` ran, and what it gave.
fn counted<T>(run: impl FnOnce() -> T) -> ([u64; 2], T) {
    let before = dispatches();
    let given = run();
    let Dispatches { ours, reference } = dispatches();
    let counts = [ours - before.ours, reference - before.reference];
    (counts, given)
}

fn call<const D: usize>(name: &'static str, run: impl Fn() -> Tensor<D> + 'static) -> Call {
    let flat = move || {
        let y = run();
        let count = y.dims().iter().product::<usize>();
        y.reshape([count])
    };
    (name, Box::new(flat))
}

/// Makes tensors of ones.
#[derive(Clone)]
struct Ones(Device, DType);

impl Ones {
    fn of<const D: usize>(&self, dims: [usize; D]) -> Tensor<D> {
        Tensor::ones(dims, (&self.0, self.1))
    }

    fn bias(&self, n: usize) -> Option<Tensor<1>> {
        Some(self.of([n]))
    }
}

/// A side of the largest pictures that layers are given, in pixels.
const SIDE: usize = if cfg!(feature = "cuda") { 64 } else { 16 };

/// A call that makes its tensors anew each time.
macro_rules! on {
    ($name:literal, [$($ones:ident),+], $run:expr) => {{
        $(let $ones = $ones.clone();)+
        call($name, move || $run)
    }};
}

/// Norms, and what works on each number.
fn plain(x: &Ones) -> Vec<Call> {
    vec![
        on!("silu", [x], ours::silu(x.of([1, 1280]))),
        on!("gelu", [x], ours::gelu(x.of([1, 77, 3072]))),
        on!("geglu", [x], ours::geglu(x.of([1, 64, 2 * 5120]))),
        on!("group_norm", [x], {
            ours::group_norm(x.of([1, 320, 64, 64]), x.of([320]), x.of([320]), 32, 1e-6)
        }),
        on!("group_norm_silu", [x], {
            ours::group_norm_silu(x.of([1, 1280, 8, 8]), x.of([1280]), x.of([1280]), 32, 1e-5)
        }),
        on!("group_norm_silu_joined", [x], {
            let xs = [1280, 640].map(|c| x.of([1, c, 16, 16]));
            ours::group_norm_silu_joined(xs, x.of([1920]), x.of([1920]), 32, 1e-5)
        }),
        on!("layer_norm", [x], {
            ours::layer_norm(x.of([1, 4096, 320]), x.of([320]), x.of([320]), 1e-5)
        }),
    ]
}

/// Layers, whose weights `w` makes.
fn layers(x: &Ones, w: &Ones) -> Vec<Call> {
    let (same, none) = (Padding::same(1), Padding::same(0));
    let deep = |x: &Ones, w: &Ones| (x.of([1, 1280, 8, 8]), w.of([8, 1280, 3, 3]), x.bias(8));
    vec![
        on!("conv2d", [x, w], {
            let (x, weight) = (x.of([1, 320, SIDE, SIDE]), w.of([4, 320, 3, 3]));
            ours::conv2d(x, weight, None, 1, same)
        }),
        on!("conv2d of 1 x 1", [x, w], {
            let (weight, bias) = (w.of([8, 320, 1, 1]), x.bias(8));
            ours::conv2d(x.of([1, 320, SIDE, SIDE]), weight, bias, 1, none)
        }),
        on!("conv2d_onto of channels", [x, w], {
            let (onto, (x, weight, bias)) = (x.of([1, 8, 1, 1]), deep(&x, &w));
            ours::conv2d_onto(x, weight, bias, 1, same, onto)
        }),
        on!("conv2d_onto of a picture", [x, w], {
            let (onto, (x, weight, bias)) = (x.of([1, 8, 8, 8]), deep(&x, &w));
            ours::conv2d_onto(x, weight, bias, 1, same, onto)
        }),
        on!("conv2d_doubled", [x, w], {
            let (x, weight, bias) = deep(&x, &w);
            ours::conv2d_doubled(x, weight, bias, same)
        }),
        on!("conv2d_joined", [x, w], {
            let xs = [1280, 640].map(|c| x.of([1, c, 16, 16]));
            ours::conv2d_joined(xs, w.of([8, 1920, 1, 1]), x.bias(8))
        }),
        on!("linear", [x, w], {
            ours::linear(x.of([1, SIDE * SIDE, 320]), w.of([320, 40]), None)
        }),
        on!("linear of a prompt", [x, w], {
            ours::linear(x.of([1, 77, 768]), w.of([768, 40]), None)
        }),
        on!("linear_onto", [x, w], {
            let (weight, onto) = (w.of([1280, 8]), x.of([1, 64, 8]));
            ours::linear_onto(x.of([1, 64, 1280]), weight, x.bias(8), onto)
        }),
    ]
}

/// Attentions of one head: queries, keys, width, and whether they are CLIP's.
fn attentions(x: &Ones) -> Vec<Call> {
    let mut sizes = vec![(64, 77, 160, false), (77, 77, 64, true)];
    if cfg!(feature = "cuda") {
        let large = [
            (4096, 77, 40),
            (4096, 4096, 40),
            (1024, 1024, 80),
            (64, 64, 160),
        ];
        sizes.extend(large.map(|(n, m, d)| (n, m, d, false)));
    }
    let each = sizes.into_iter().map(|(n, m, d, causal)| {
        let x = x.clone();
        call("attention", move || {
            let [q, k, v] = [n, m, m].map(|rows| x.of([1, 1, rows, d]));
            match causal {
                true => ours::causal_attention(q, k, v),
                false => ours::attention(q, k, v, x.1),
            }
        })
    });
    each.collect()
}

/// Runs the calls and reads what they give; counts how many of them kernels of ours served.
fn served(calls: Vec<Call>, what: &str) -> Vec<&'static str> {
    let mut served = Vec::new();
    for (name, run) in calls {
        let (counts, y) = counted(run);
        let values = y.cast(DType::F32).into_data().try_into_vec::<f32>();
        let values = values.expect("they were cast to f32");
        assert!(values.iter().all(|y| y.is_finite()), "{name} {what}");
        match counts {
            [1, 0] => served.push(name),
            [0, 1] => {}
            _ => panic!("{name} {what} is one call, not {counts:?}"),
        }
    }
    served
}

fn names(calls: &[Call]) -> Vec<&'static str> {
    calls.iter().map(|(name, _)| *name).collect()
}

#[test]
fn nothing_falls_back_on_a_gpu_but_what_is_said_to() {
    let Some(device) = trial::gpu() else { return };
    let types = trial::types(&device);
    for dtype in types.clone() {
        let (x, what) = (Ones(device.clone(), dtype), format!("in {dtype:?}"));
        let mut all = plain(&x);
        all.extend(layers(&x, &x));
        let wanted = names(&all);
        assert_eq!(served(all, &what), wanted, "{what}");
        let all = attentions(&x);
        let wanted = names(&all);
        let ours = served(all, &what);
        match (dtype, cfg!(feature = "cuda")) {
            (DType::F32, _) => assert!(ours.is_empty(), "{ours:?} {what}"),
            (_, true) => assert_eq!(ours, wanted, "{what}"),
            (_, false) => assert!(ours.is_empty() || ours == wanted, "{ours:?} {what}"),
        }
        let wide = || x.of([1, 1, 64, 512]);
        let (counts, _) = counted(|| ours::attention(wide(), wide(), wide(), dtype));
        assert_eq!(counts, [0, 1], "the autoencoder's {what}");
    }
    for half in types.into_iter().filter(|dtype| *dtype != DType::F32) {
        let [x, w] = [DType::F32, half].map(|dtype| Ones(device.clone(), dtype));
        let all = layers(&x, &w);
        let (wanted, what) = (names(&all), format!("in f32 with weights in {half:?}"));
        assert_eq!(served(all, &what), wanted, "{what}");
    }
    #[cfg(feature = "cuda")]
    attends_by_the_flash_kernel(&device);
    let tracked = Tensor::<4>::ones([1, 8, 4, 4], (&device.autodiff(), DType::F32));
    let (counts, _) = counted(|| ours::silu(tracked));
    assert_eq!(counts, [0, 1], "gradients are the reference's");
}

/// Where its flash kernel cannot be launched burn takes its fallback and does not say so, and the
/// call counts as ours all the same: which kernels were launched tells.
#[cfg(feature = "cuda")]
fn attends_by_the_flash_kernel(device: &Device) {
    let x = Ones(device.clone(), DType::F16);
    for (n, d) in [(4096, 40), (1024, 80)] {
        let of = || x.of([2, 8, n, d]);
        let run = || drop(ours::attention(of(), of(), of(), DType::F16));
        run(); // which tunes it
        let launched = ours::bench::profile(device, run);
        let flash = |one: &ours::bench::Launched| one.kernel.contains("cubek_attention");
        assert!(launched.iter().any(flash), "{n} tokens: {launched:?}");
    }
}
