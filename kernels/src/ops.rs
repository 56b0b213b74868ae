//! The operations as burn's extension sees them: forwards for the dispatcher, gradients for
//! [`autodiff`](crate::autodiff).
//!
//! Not here: the choice between these and `reference`, which the crate's root makes.

use burn::backend::{Backend, backend_extension, tensor::FloatTensor};
use burn::tensor::DType;

use crate::Padding;

/// How a group norm works.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NormOptions {
    /// Runs of channels that share a mean.
    pub(crate) groups: usize,
    /// Added to the variance.
    pub(crate) eps: f64,
    /// Whether SiLU follows.
    pub(crate) silu: bool,
}

/// How a convolution moves over a picture.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ConvOptions {
    /// Pixels from one window to the next, both ways.
    pub(crate) stride: usize,
    /// The zero border.
    pub(crate) padding: Padding,
}

/// How queries meet keys.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AttentionOptions {
    /// Whether a query sees only the keys up to its own place.
    pub(crate) causal: bool,
    /// The type of the weights that queries, keys and values were made with: where it is bf16,
    /// a CPU that multiplies bf16 rounds what it multiplies.
    pub(crate) weights: DType,
}

/// Forward operations, dispatched to the backend of their tensors. On the CPU all are f32 (weights
/// of layers may be of half precision), on a GPU all tensors of a call are of one type.
///
/// A bias `[o]` is always given; on a GPU an empty one stands for none.
#[backend_extension(
    Cube: cfg(feature = "cube"),
    Flex,
    Fusion: cfg(feature = "cube"),
    Autodiff
)]
pub(crate) trait LdmOps: Backend {
    /// `x · sigmoid(x)`.
    #[fusion(dtype = x, shape = x)]
    fn ldm_silu(x: FloatTensor<Self>) -> FloatTensor<Self>;

    /// `x · Φ(x)`.
    #[fusion(dtype = x, shape = x)]
    fn ldm_gelu(x: FloatTensor<Self>) -> FloatTensor<Self>;

    /// `x [.., 2n]` → `[.., n]`: the first half of each row times GELU of the second.
    #[fusion(dtype = x, shape = halved(x))]
    fn ldm_geglu(x: FloatTensor<Self>) -> FloatTensor<Self>;

    /// Group norm of `x [b, c, h, w]` with `gamma` and `beta [c]`.
    #[fusion(dtype = x, shape = x)]
    fn ldm_group_norm(
        x: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        options: NormOptions,
    ) -> FloatTensor<Self>;

    /// Layer norm of `x [.., c]` with `gamma` and `beta [c]`.
    #[fusion(dtype = x, shape = x)]
    fn ldm_layer_norm(
        x: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        eps: f64,
    ) -> FloatTensor<Self>;

    /// `x [b, c, h, w]` with `weight [o, c, kh, kw]` and `bias [o]`.
    #[fusion(dtype = x, shape = convolved(x, weight, options))]
    fn ldm_conv2d(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        options: ConvOptions,
    ) -> FloatTensor<Self>;

    /// `x [.., in]` with `weight [in, out]` and `bias [out]`.
    #[fusion(dtype = x, shape = with_last(x, weight[1]))]
    fn ldm_linear(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
    ) -> FloatTensor<Self>;

    /// `q [b, heads, n, d]`, `k [b, heads, m, d]`, `v [b, heads, m, e]`.
    #[fusion(dtype = q, shape = with_last(q, v[3]))]
    fn ldm_attention(
        q: FloatTensor<Self>,
        k: FloatTensor<Self>,
        v: FloatTensor<Self>,
        options: AttentionOptions,
    ) -> FloatTensor<Self>;
}

/// Steps that go together without what would lie between them; on the CPU the bits are those of the
/// steps one by one. No gradients: with these the steps are taken apart.
#[backend_extension(Cube: cfg(feature = "cube"), Flex, Fusion: cfg(feature = "cube"))]
pub(crate) trait LdmFused: Backend {
    /// [`LdmOps::ldm_conv2d`], to which `plus` is added: `[b, o, h, w]`, or `[b, o, 1, 1]`.
    #[fusion(dtype = x, shape = convolved(x, weight, options))]
    fn ldm_conv2d_onto(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        plus: FloatTensor<Self>,
        options: ConvOptions,
    ) -> FloatTensor<Self>;

    /// [`LdmOps::ldm_conv2d`] of `x` with each pixel made two by two.
    #[fusion(dtype = x, shape = convolved(&doubled(x), weight, options))]
    fn ldm_conv2d_doubled(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        options: ConvOptions,
    ) -> FloatTensor<Self>;

    /// [`LdmOps::ldm_linear`], to which `plus [.., out]` is added.
    #[fusion(dtype = plus, shape = plus)]
    fn ldm_linear_onto(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        plus: FloatTensor<Self>,
    ) -> FloatTensor<Self>;
}

/// Operations on two pictures whose channels stand one behind the other, without a copy of both;
/// where there are gradients, or on a GPU, the copy is made.
#[backend_extension(Flex)]
pub(crate) trait LdmJoined: Backend {
    /// [`LdmOps::ldm_conv2d`] of 1×1 of `first [b, c, h, w]` and `second [b, d, h, w]`, with
    /// `weight [o, c + d, 1, 1]` and `bias [o]`.
    fn ldm_conv2d_joined(
        first: FloatTensor<Self>,
        second: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
    ) -> FloatTensor<Self>;

    /// [`LdmOps::ldm_group_norm`] of two pictures like that.
    fn ldm_group_norm_joined(
        first: FloatTensor<Self>,
        second: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        options: NormOptions,
    ) -> FloatTensor<Self>;
}

/// Gradients of [`LdmOps`] with respect to their tensors, given that of the output, `dy`.
///
/// Where an operation has three, `needed` says which are wanted; the others are `None`. A backend
/// whose gradients are the reference's has none of these.
#[allow(
    unused_variables,
    reason = "what stands in for a gradient reads nothing"
)]
pub(crate) trait LdmGradients: Backend {
    /// Of [`LdmOps::ldm_silu`].
    fn ldm_silu_gradient(x: FloatTensor<Self>, dy: FloatTensor<Self>) -> FloatTensor<Self> {
        of_the_reference()
    }

    /// Of [`LdmOps::ldm_gelu`].
    fn ldm_gelu_gradient(x: FloatTensor<Self>, dy: FloatTensor<Self>) -> FloatTensor<Self> {
        of_the_reference()
    }

    /// Of [`LdmOps::ldm_geglu`].
    fn ldm_geglu_gradient(x: FloatTensor<Self>, dy: FloatTensor<Self>) -> FloatTensor<Self> {
        of_the_reference()
    }

    /// Of [`LdmOps::ldm_group_norm`].
    fn ldm_group_norm_gradient(
        inputs: [FloatTensor<Self>; 3],
        dy: FloatTensor<Self>,
        options: NormOptions,
        needed: [bool; 3],
    ) -> [Option<FloatTensor<Self>>; 3] {
        of_the_reference()
    }

    /// Of [`LdmOps::ldm_layer_norm`].
    fn ldm_layer_norm_gradient(
        inputs: [FloatTensor<Self>; 3],
        dy: FloatTensor<Self>,
        eps: f64,
        needed: [bool; 3],
    ) -> [Option<FloatTensor<Self>>; 3] {
        of_the_reference()
    }

    /// Of [`LdmOps::ldm_conv2d`].
    fn ldm_conv2d_gradient(
        inputs: [FloatTensor<Self>; 3],
        dy: FloatTensor<Self>,
        options: ConvOptions,
        needed: [bool; 3],
    ) -> [Option<FloatTensor<Self>>; 3] {
        of_the_reference()
    }

    /// Of [`LdmOps::ldm_linear`].
    fn ldm_linear_gradient(
        inputs: [FloatTensor<Self>; 3],
        dy: FloatTensor<Self>,
        needed: [bool; 3],
    ) -> [Option<FloatTensor<Self>>; 3] {
        of_the_reference()
    }

    /// Of [`LdmOps::ldm_attention`].
    fn ldm_attention_gradient(
        inputs: [FloatTensor<Self>; 3],
        dy: FloatTensor<Self>,
        options: AttentionOptions,
        needed: [bool; 3],
    ) -> [Option<FloatTensor<Self>>; 3] {
        of_the_reference()
    }
}

fn of_the_reference<T>() -> T {
    unreachable!("the crate's root sends what wants such gradients to the reference")
}

#[cfg(feature = "cube")]
use shapes::{convolved, doubled, halved, with_last};

/// The shapes of results, which fusion asks for before they are computed.
#[cfg(feature = "cube")]
mod shapes {
    use burn::tensor::Shape;

    use super::ConvOptions;

    pub(super) fn halved(x: &Shape) -> Shape {
        with_last(x, x[x.num_dims() - 1] / 2)
    }

    pub(super) fn with_last(x: &Shape, width: usize) -> Shape {
        let mut shape = x.clone();
        let last = shape.num_dims() - 1;
        shape[last] = width;
        shape
    }

    pub(super) fn doubled(x: &Shape) -> Shape {
        Shape::new([x[0], x[1], 2 * x[2], 2 * x[3]])
    }

    pub(super) fn convolved(x: &Shape, weight: &Shape, options: &ConvOptions) -> Shape {
        let ConvOptions { stride, padding } = options;
        let height = x[2] + padding.top + padding.bottom - weight[2];
        let width = x[3] + padding.left + padding.right - weight[3];
        Shape::new([x[0], weight[0], height / stride + 1, width / stride + 1])
    }
}
