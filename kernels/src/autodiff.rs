//! Gradients through our kernels on an autodiff device.
//!
//! Promises
//! - Inputs are kept by checkpoint, so burn's gradient checkpointing may make them again.
//! - Only the gradients that someone asked for are computed.
//!
//! Not here: second derivatives, which burn does not have either.

use std::fmt::Debug;
use std::marker::PhantomData;

use burn::backend::tensor::FloatTensor;
use burn_autodiff::checkpoint::{base::Checkpointer, strategy::CheckpointStrategy};
use burn_autodiff::grads::Gradients;
use burn_autodiff::ops::{Backward, Ops, OpsKind};
use burn_autodiff::{Autodiff, NodeId};

use crate::ops::{AttentionOptions, ConvOptions, LdmGradients, LdmOps, NormOptions};

/// An operation with `N` tensors and options, as the graph of gradients needs it.
trait Step<B: LdmOps + LdmGradients, const N: usize>: Debug + Send + Sync + 'static {
    type Options: Copy + Debug + Send + Sync + 'static;

    fn forward(inputs: [FloatTensor<B>; N], options: Self::Options) -> FloatTensor<B>;

    fn backward(
        inputs: [FloatTensor<B>; N],
        dy: FloatTensor<B>,
        options: Self::Options,
        needed: [bool; N],
    ) -> [Option<FloatTensor<B>>; N];
}

/// Carries a [`Step`] as burn's `Backward`.
#[derive(Debug)]
struct Node<S>(PhantomData<S>);

impl<B, S, const N: usize> Backward<B, N> for Node<S>
where
    B: LdmOps + LdmGradients,
    S: Step<B, N>,
    [NodeId; N]: Clone + Debug + Send,
{
    type State = ([NodeId; N], S::Options);

    fn backward(
        self,
        ops: Ops<Self::State, N>,
        grads: &mut Gradients,
        checkpointer: &mut Checkpointer,
    ) {
        let dy = grads.consume::<B>(&ops.node);
        let (inputs, options) = ops.state;
        let inputs = inputs.map(|id| checkpointer.retrieve_node_output(id));
        let needed = ops.parents.each_ref().map(Option::is_some);
        let gradients = S::backward(inputs, dy, options, needed);
        for (parent, gradient) in ops.parents.into_iter().zip(gradients) {
            if let (Some(parent), Some(gradient)) = (parent, gradient) {
                grads.register::<B>(parent.id, gradient);
            }
        }
    }
}

/// Runs a step forwards and, where an input is tracked, notes how to go back.
fn record<B, C, S, const N: usize>(
    inputs: [FloatTensor<Autodiff<B, C>>; N],
    options: S::Options,
) -> FloatTensor<Autodiff<B, C>>
where
    B: LdmOps + LdmGradients,
    C: CheckpointStrategy,
    S: Step<B, N>,
{
    let nodes = inputs.each_ref().map(|x| x.node());
    match Node::<S>(PhantomData)
        .prepare::<C>(nodes)
        .compute_bound()
        .stateful()
    {
        OpsKind::Tracked(mut prep) => {
            let ids = inputs.each_ref().map(|x| prep.checkpoint(x));
            let output = S::forward(inputs.map(|x| x.into_primitive()), options);
            prep.finish((ids, options), output)
        }
        OpsKind::UnTracked(prep) => {
            prep.finish(S::forward(inputs.map(|x| x.into_primitive()), options))
        }
    }
}

#[derive(Debug)]
struct Silu;
#[derive(Debug)]
struct Gelu;
#[derive(Debug)]
struct Geglu;
#[derive(Debug)]
struct GroupNorm;
#[derive(Debug)]
struct LayerNorm;
#[derive(Debug)]
struct Conv;
#[derive(Debug)]
struct Linear;
#[derive(Debug)]
struct Attention;

impl<B: LdmOps + LdmGradients> Step<B, 1> for Silu {
    type Options = ();

    fn forward([x]: [FloatTensor<B>; 1], (): ()) -> FloatTensor<B> {
        B::ldm_silu(x)
    }

    fn backward(
        [x]: [FloatTensor<B>; 1],
        dy: FloatTensor<B>,
        (): (),
        [needed]: [bool; 1],
    ) -> [Option<FloatTensor<B>>; 1] {
        [needed.then(|| B::ldm_silu_gradient(x, dy))]
    }
}

impl<B: LdmOps + LdmGradients> Step<B, 1> for Gelu {
    type Options = ();

    fn forward([x]: [FloatTensor<B>; 1], (): ()) -> FloatTensor<B> {
        B::ldm_gelu(x)
    }

    fn backward(
        [x]: [FloatTensor<B>; 1],
        dy: FloatTensor<B>,
        (): (),
        [needed]: [bool; 1],
    ) -> [Option<FloatTensor<B>>; 1] {
        [needed.then(|| B::ldm_gelu_gradient(x, dy))]
    }
}

impl<B: LdmOps + LdmGradients> Step<B, 1> for Geglu {
    type Options = ();

    fn forward([x]: [FloatTensor<B>; 1], (): ()) -> FloatTensor<B> {
        B::ldm_geglu(x)
    }

    fn backward(
        [x]: [FloatTensor<B>; 1],
        dy: FloatTensor<B>,
        (): (),
        [needed]: [bool; 1],
    ) -> [Option<FloatTensor<B>>; 1] {
        [needed.then(|| B::ldm_geglu_gradient(x, dy))]
    }
}

impl<B: LdmOps + LdmGradients> Step<B, 3> for GroupNorm {
    type Options = NormOptions;

    fn forward([x, gamma, beta]: [FloatTensor<B>; 3], options: NormOptions) -> FloatTensor<B> {
        B::ldm_group_norm(x, gamma, beta, options)
    }

    fn backward(
        inputs: [FloatTensor<B>; 3],
        dy: FloatTensor<B>,
        options: NormOptions,
        needed: [bool; 3],
    ) -> [Option<FloatTensor<B>>; 3] {
        B::ldm_group_norm_gradient(inputs, dy, options, needed)
    }
}

impl<B: LdmOps + LdmGradients> Step<B, 3> for LayerNorm {
    type Options = f64;

    fn forward([x, gamma, beta]: [FloatTensor<B>; 3], eps: f64) -> FloatTensor<B> {
        B::ldm_layer_norm(x, gamma, beta, eps)
    }

    fn backward(
        inputs: [FloatTensor<B>; 3],
        dy: FloatTensor<B>,
        eps: f64,
        needed: [bool; 3],
    ) -> [Option<FloatTensor<B>>; 3] {
        B::ldm_layer_norm_gradient(inputs, dy, eps, needed)
    }
}

impl<B: LdmOps + LdmGradients> Step<B, 3> for Conv {
    type Options = ConvOptions;

    fn forward([x, weight, bias]: [FloatTensor<B>; 3], options: ConvOptions) -> FloatTensor<B> {
        B::ldm_conv2d(x, weight, bias, options)
    }

    fn backward(
        inputs: [FloatTensor<B>; 3],
        dy: FloatTensor<B>,
        options: ConvOptions,
        needed: [bool; 3],
    ) -> [Option<FloatTensor<B>>; 3] {
        B::ldm_conv2d_gradient(inputs, dy, options, needed)
    }
}

impl<B: LdmOps + LdmGradients> Step<B, 3> for Linear {
    type Options = ();

    fn forward([x, weight, bias]: [FloatTensor<B>; 3], (): ()) -> FloatTensor<B> {
        B::ldm_linear(x, weight, bias)
    }

    fn backward(
        inputs: [FloatTensor<B>; 3],
        dy: FloatTensor<B>,
        (): (),
        needed: [bool; 3],
    ) -> [Option<FloatTensor<B>>; 3] {
        B::ldm_linear_gradient(inputs, dy, needed)
    }
}

impl<B: LdmOps + LdmGradients> Step<B, 3> for Attention {
    type Options = AttentionOptions;

    fn forward([q, k, v]: [FloatTensor<B>; 3], options: AttentionOptions) -> FloatTensor<B> {
        B::ldm_attention(q, k, v, options)
    }

    fn backward(
        inputs: [FloatTensor<B>; 3],
        dy: FloatTensor<B>,
        options: AttentionOptions,
        needed: [bool; 3],
    ) -> [Option<FloatTensor<B>>; 3] {
        B::ldm_attention_gradient(inputs, dy, options, needed)
    }
}

impl<B: LdmOps + LdmGradients, C: CheckpointStrategy> LdmOps for Autodiff<B, C> {
    fn ldm_silu(x: FloatTensor<Self>) -> FloatTensor<Self> {
        record::<B, C, Silu, 1>([x], ())
    }

    fn ldm_gelu(x: FloatTensor<Self>) -> FloatTensor<Self> {
        record::<B, C, Gelu, 1>([x], ())
    }

    fn ldm_geglu(x: FloatTensor<Self>) -> FloatTensor<Self> {
        record::<B, C, Geglu, 1>([x], ())
    }

    fn ldm_group_norm(
        x: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        options: NormOptions,
    ) -> FloatTensor<Self> {
        record::<B, C, GroupNorm, 3>([x, gamma, beta], options)
    }

    fn ldm_layer_norm(
        x: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        eps: f64,
    ) -> FloatTensor<Self> {
        record::<B, C, LayerNorm, 3>([x, gamma, beta], eps)
    }

    fn ldm_conv2d(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        options: ConvOptions,
    ) -> FloatTensor<Self> {
        record::<B, C, Conv, 3>([x, weight, bias], options)
    }

    fn ldm_linear(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        record::<B, C, Linear, 3>([x, weight, bias], ())
    }

    fn ldm_attention(
        q: FloatTensor<Self>,
        k: FloatTensor<Self>,
        v: FloatTensor<Self>,
        options: AttentionOptions,
    ) -> FloatTensor<Self> {
        record::<B, C, Attention, 3>([q, k, v], options)
    }
}
