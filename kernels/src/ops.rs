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

/// Forward operations, dispatched to the backend of their tensors. All are f32.
#[backend_extension(Flex, Autodiff)]
pub(crate) trait LdmOps: Backend {
    /// `x · sigmoid(x)`.
    fn ldm_silu(x: FloatTensor<Self>) -> FloatTensor<Self>;

    /// `x · Φ(x)`.
    fn ldm_gelu(x: FloatTensor<Self>) -> FloatTensor<Self>;

    /// `x [.., 2n]` → `[.., n]`: the first half of each row times GELU of the second.
    fn ldm_geglu(x: FloatTensor<Self>) -> FloatTensor<Self>;

    /// Group norm of `x [b, c, h, w]` with `gamma` and `beta [c]`.
    fn ldm_group_norm(
        x: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        options: NormOptions,
    ) -> FloatTensor<Self>;

    /// Layer norm of `x [.., c]` with `gamma` and `beta [c]`.
    fn ldm_layer_norm(
        x: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        eps: f64,
    ) -> FloatTensor<Self>;

    /// `x [b, c, h, w]` with `weight [o, c, kh, kw]` and `bias [o]`.
    fn ldm_conv2d(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        options: ConvOptions,
    ) -> FloatTensor<Self>;

    /// `x [.., in]` with `weight [in, out]` and `bias [out]`.
    fn ldm_linear(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
    ) -> FloatTensor<Self>;

    /// `q [b, heads, n, d]`, `k [b, heads, m, d]`, `v [b, heads, m, e]`.
    fn ldm_attention(
        q: FloatTensor<Self>,
        k: FloatTensor<Self>,
        v: FloatTensor<Self>,
        options: AttentionOptions,
    ) -> FloatTensor<Self>;
}

/// Steps that go together without what would lie between them; the bits are those of the steps one
/// by one. No gradients: with these the steps are taken apart.
#[backend_extension(Flex)]
pub(crate) trait LdmFused: Backend {
    /// [`LdmOps::ldm_conv2d`], to which `plus` is added: `[b, o, h, w]`, or `[b, o, 1, 1]`.
    fn ldm_conv2d_onto(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        plus: FloatTensor<Self>,
        options: ConvOptions,
    ) -> FloatTensor<Self>;

    /// [`LdmOps::ldm_conv2d`] of `x` with each pixel made two by two.
    fn ldm_conv2d_doubled(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        options: ConvOptions,
    ) -> FloatTensor<Self>;

    /// [`LdmOps::ldm_conv2d`] of 1×1 of `first` and `second`, whose channels stand one behind the
    /// other.
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

    /// [`LdmOps::ldm_linear`], to which `plus [.., out]` is added.
    fn ldm_linear_onto(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        plus: FloatTensor<Self>,
    ) -> FloatTensor<Self>;
}

/// Gradients of [`LdmOps`] with respect to their tensors, given that of the output, `dy`.
///
/// Where an operation has three, `needed` says which are wanted; the others are `None`.
pub(crate) trait LdmGradients: Backend {
    /// Of [`LdmOps::ldm_silu`].
    fn ldm_silu_gradient(x: FloatTensor<Self>, dy: FloatTensor<Self>) -> FloatTensor<Self>;

    /// Of [`LdmOps::ldm_gelu`].
    fn ldm_gelu_gradient(x: FloatTensor<Self>, dy: FloatTensor<Self>) -> FloatTensor<Self>;

    /// Of [`LdmOps::ldm_geglu`].
    fn ldm_geglu_gradient(x: FloatTensor<Self>, dy: FloatTensor<Self>) -> FloatTensor<Self>;

    /// Of [`LdmOps::ldm_group_norm`].
    fn ldm_group_norm_gradient(
        inputs: [FloatTensor<Self>; 3],
        dy: FloatTensor<Self>,
        options: NormOptions,
        needed: [bool; 3],
    ) -> [Option<FloatTensor<Self>>; 3];

    /// Of [`LdmOps::ldm_layer_norm`].
    fn ldm_layer_norm_gradient(
        inputs: [FloatTensor<Self>; 3],
        dy: FloatTensor<Self>,
        eps: f64,
        needed: [bool; 3],
    ) -> [Option<FloatTensor<Self>>; 3];

    /// Of [`LdmOps::ldm_conv2d`].
    fn ldm_conv2d_gradient(
        inputs: [FloatTensor<Self>; 3],
        dy: FloatTensor<Self>,
        options: ConvOptions,
        needed: [bool; 3],
    ) -> [Option<FloatTensor<Self>>; 3];

    /// Of [`LdmOps::ldm_linear`].
    fn ldm_linear_gradient(
        inputs: [FloatTensor<Self>; 3],
        dy: FloatTensor<Self>,
        needed: [bool; 3],
    ) -> [Option<FloatTensor<Self>>; 3];

    /// Of [`LdmOps::ldm_attention`].
    fn ldm_attention_gradient(
        inputs: [FloatTensor<Self>; 3],
        dy: FloatTensor<Self>,
        options: AttentionOptions,
        needed: [bool; 3],
    ) -> [Option<FloatTensor<Self>>; 3];
}
