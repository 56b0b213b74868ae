//! Our kernels for GPUs, in CubeCL: for every runtime that cubecl has, among them CUDA, and wgpu
//! where they are tested without a GPU. Numbers are f32, f16 or bf16, and sums are f32.
//!
//! Promises
//! - Convolutions read and write pictures whose channels lie last in memory, and so does whatever
//!   stands between two of them here: nothing is turned round on the way.
//!
//! Not here: gradients, and other types: the crate's root sends both to `reference`. Products and
//! convolutions themselves are burn's.

mod act;
mod add;
pub(crate) mod attention;
mod norm;
pub(crate) mod rows;

use burn::backend::Cube;
use burn::backend::tensor::FloatTensor;
use burn::tensor::ops::ConvOptions as BurnConvOptions;
use burn_cubecl::CubeBackend;
use burn_cubecl::kernel::conv::{ConvStrategy, conv_forward};
use burn_cubecl::kernel::matmul::{MatmulStrategy, matmul};
use burn_cubecl::ops::permute_nhwc_to_nchw;
use burn_cubecl::tensor::CubeTensor;

use self::add::Added;
use self::rows::{Rows, dims, seen_as};
use crate::ops::{AttentionOptions, ConvOptions, LdmFused, LdmGradients, LdmOps, NormOptions};

impl LdmOps for CubeBackend {
    fn ldm_silu(x: FloatTensor<Self>) -> FloatTensor<Self> {
        act::silu(x)
    }

    fn ldm_gelu(x: FloatTensor<Self>) -> FloatTensor<Self> {
        act::gelu(x)
    }

    fn ldm_geglu(x: FloatTensor<Self>) -> FloatTensor<Self> {
        act::geglu(x)
    }

    fn ldm_group_norm(
        x: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        options: NormOptions,
    ) -> FloatTensor<Self> {
        norm::group_norm(x, gamma, beta, options)
    }

    fn ldm_layer_norm(
        x: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        eps: f64,
    ) -> FloatTensor<Self> {
        norm::layer_norm(x, gamma, beta, eps)
    }

    fn ldm_conv2d(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        options: ConvOptions,
    ) -> FloatTensor<Self> {
        conv(x, weight, Some(bias), options)
    }

    fn ldm_linear(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        linear(x, weight, bias, None)
    }

    fn ldm_attention(
        q: FloatTensor<Self>,
        k: FloatTensor<Self>,
        v: FloatTensor<Self>,
        options: AttentionOptions,
    ) -> FloatTensor<Self> {
        attention::attention(q, k, v, options.causal)
    }
}

impl LdmFused for CubeBackend {
    fn ldm_conv2d_onto(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        plus: FloatTensor<Self>,
        options: ConvOptions,
    ) -> FloatTensor<Self> {
        let y = conv(x, weight, None, options);
        let [b, o, h, w] = dims(&y);
        let share = match dims(&plus) == [b, o, h, w] {
            true => 1,
            false => h * w,
        };
        let y = Rows::of_pixels(y);
        let plus = Some((Rows::of_pixels(plus), share));
        add::add_to(&y, Added { bias, plus });
        permute_nhwc_to_nchw(y.tensor)
    }

    fn ldm_conv2d_doubled(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        options: ConvOptions,
    ) -> FloatTensor<Self> {
        conv(add::doubled(x), weight, Some(bias), options)
    }

    fn ldm_linear_onto(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        plus: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        linear(x, weight, bias, Some(plus))
    }
}

/// Never asked for: see [`LdmGradients`].
impl LdmGradients for Cube {}

/// Burn's convolution, which adds a bias at its end, channels last.
fn conv(
    x: CubeTensor,
    weight: CubeTensor,
    bias: Option<CubeTensor>,
    options: ConvOptions,
) -> CubeTensor {
    let ConvOptions { stride, padding } = options;
    let options = BurnConvOptions::new_with_padding(
        [stride; 2],
        [(padding.top, padding.bottom), (padding.left, padding.right)],
        [1; 2],
        1,
    );
    let bias = bias.filter(|bias| bias.meta.num_elements() > 0);
    conv_forward(x, weight, bias, options, ConvStrategy::default())
        .expect("burn's direct convolution takes any that the crate's root has checked")
}

/// Burn's product of `x [.., in]` and `weight [in, out]`, then one kernel for what is added.
fn linear(
    x: CubeTensor,
    weight: CubeTensor,
    bias: CubeTensor,
    plus: Option<CubeTensor>,
) -> CubeTensor {
    let mut shape = x.meta.shape().clone();
    let (last, dtype) = (shape.num_dims() - 1, x.dtype);
    shape[last] = weight.meta.shape()[1];
    let x = Rows::of(x);
    let x = seen_as(x.tensor, [x.count, x.width], [x.step, 1]);
    let y = matmul(x, weight, None, MatmulStrategy::default(), dtype)
        .expect("burn's plain product takes any matrices that fit each other");
    let y = Rows::of(y);
    let plus = plus.map(|plus| (Rows::of(plus), 1));
    add::add_to(&y, Added { bias, plus });
    y.seen_as(shape)
}

/// A GPU for tests of what is inside, and the types that it computes in.
#[cfg(test)]
fn tried() -> Option<(burn_cubecl::CubeDevice, Vec<burn::tensor::DType>)> {
    let opened = crate::trial::gpu()?;
    let types = crate::trial::types(&opened);
    match opened.as_dispatch() {
        burn::backend::DispatchDevice::Cube(device) => Some((device.clone(), types)),
        _ => unreachable!("GPUs are cubecl's"),
    }
}
