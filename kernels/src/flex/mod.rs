//! Our kernels for burn's CPU backend: tensors in, slices to the kernels, tensors out. All compute
//! in f32; weights of layers may lie in f16 or bf16, and with bf16 ones a CPU that multiplies bf16
//! does so.
//!
//! Promises
//! - Results and gradients are the same bits on any number of threads: tasks are cut by size
//!   alone, and what they sum is added in order.
//!
//! Not here: other dtypes, which the crate's root sends to `reference`.

mod act;
mod attention;
mod attention_gradient;
mod conv;
mod gemm;
mod linear;
mod memory;
mod norm;
mod pairs;
pub(crate) mod simd;
mod transpose;
mod weights;
mod winograd;

use burn::backend::tensor::FloatTensor;
use burn::tensor::{Bytes, DType, Shape};
use burn_flex::{Flex, FlexTensor, Layout};

use self::conv::Plus;
pub(crate) use self::gemm::NR;
use self::gemm::Word;
use self::linear::Order;
use self::weights::Weights;
use crate::Padding;
use crate::isa::multiplies_bf16;
use crate::ops::{
    AttentionOptions, ConvOptions, LdmFused, LdmGradients, LdmJoined, LdmOps, NormOptions,
};

/// A tensor whose numbers lie in order, and its sizes.
struct View(FlexTensor);

impl View {
    fn new(x: FlexTensor) -> Self {
        Self(x.to_contiguous())
    }

    fn values(&self) -> &[f32] {
        self.0.storage()
    }

    /// The numbers of a weight, which may be of half precision.
    fn weights(&self) -> Weights<'_> {
        match self.0.dtype() {
            DType::F16 => Weights::F16(self.0.storage()),
            DType::BF16 => Weights::Bf16(self.0.storage()),
            _ => Weights::F32(self.0.storage()),
        }
    }

    /// As [`View::new`], but the rows of a tensor `[b, heads, n, width]` may lie apart, as they
    /// do where heads were split off a projection: only torn rows are copied.
    fn of_rows(x: FlexTensor) -> Self {
        let steps = x.layout().strides();
        match steps[3] == 1 && steps.iter().all(|step| *step >= 0) {
            true => Self(x),
            false => Self::new(x),
        }
    }

    /// Where the rows of a view [`of_rows`](View::of_rows) lie.
    fn rows(&self) -> attention::Rows<'_> {
        let layout = self.0.layout();
        let steps = std::array::from_fn(|i| layout.strides()[i].unsigned_abs());
        let values = &self.0.storage()[layout.start_offset()..];
        attention::Rows::new(values, self.dims(), steps)
    }

    fn dims<const D: usize>(&self) -> [usize; D] {
        std::array::from_fn(|i| self.0.layout().shape()[i])
    }

    /// `values` in this tensor's shape.
    fn like(&self, values: Vec<f32>) -> FlexTensor {
        tensor(values, self.0.layout().shape().clone())
    }
}

fn groups(x: &View, options: NormOptions) -> norm::Groups {
    let [_, channels, h, w] = x.dims();
    let NormOptions { groups, eps, silu } = options;
    norm::Groups {
        channels,
        pixels: h * w,
        groups,
        eps,
        silu,
    }
}

fn conv_sizes(x: &View, weight: &View, options: ConvOptions) -> conv::Sizes {
    let [images, channels, height, width] = x.dims();
    let [outputs, _, kh, kw] = weight.dims();
    let ConvOptions { stride, padding } = options;
    let kernel = [kh, kw];
    conv::Sizes {
        images,
        channels,
        height,
        width,
        outputs,
        kernel,
        stride,
        padding,
    }
}

fn attention_sizes(q: &View, k: &View, v: &View, options: AttentionOptions) -> attention::Sizes {
    let ([batch, heads, queries, width], [_, _, keys, values]) = (q.dims(), v.dims());
    assert_eq!(k.dims(), [batch, heads, keys, width], "keys of these sizes");
    assert_eq!(
        v.dims(),
        [batch, heads, keys, values],
        "values of these sizes"
    );
    attention::Sizes {
        batch,
        heads,
        queries,
        keys,
        width,
        values,
        causal: options.causal,
        word: match options.weights {
            DType::BF16 if multiplies_bf16() => Word::Pair,
            _ => Word::Single,
        },
    }
}

impl LdmOps for Flex {
    fn ldm_silu(x: FloatTensor<Self>) -> FloatTensor<Self> {
        let x = View::new(x);
        x.like(act::silu(x.values()))
    }

    fn ldm_gelu(x: FloatTensor<Self>) -> FloatTensor<Self> {
        let x = View::new(x);
        x.like(act::gelu(x.values()))
    }

    fn ldm_geglu(x: FloatTensor<Self>) -> FloatTensor<Self> {
        let x = View::new(x);
        let mut shape = x.0.layout().shape().clone();
        let last = shape.num_dims() - 1;
        shape[last] /= 2;
        tensor(act::geglu(x.values(), shape[last]), shape)
    }

    fn ldm_group_norm(
        x: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        options: NormOptions,
    ) -> FloatTensor<Self> {
        let [x, gamma, beta] = [x, gamma, beta].map(View::new);
        let groups = groups(&x, options);
        x.like(norm::group_norm(
            x.values(),
            gamma.values(),
            beta.values(),
            groups,
        ))
    }

    fn ldm_layer_norm(
        x: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        eps: f64,
    ) -> FloatTensor<Self> {
        let [x, gamma, beta] = [x, gamma, beta].map(View::new);
        x.like(norm::layer_norm(
            x.values(),
            gamma.values(),
            beta.values(),
            eps,
        ))
    }

    fn ldm_conv2d(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        options: ConvOptions,
    ) -> FloatTensor<Self> {
        convolved(x, weight, bias, None, options)
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
        let [q, k, v] = [q, k, v].map(View::of_rows);
        let s = attention_sizes(&q, &k, &v, options);
        let y = attention::forward(q.rows(), k.rows(), v.rows(), s);
        // Heads side by side in memory: joining them is free.
        tensor(y, [s.batch, s.queries, s.heads, s.values]).transpose(1, 2)
    }
}

impl LdmFused for Flex {
    fn ldm_conv2d_onto(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        plus: FloatTensor<Self>,
        options: ConvOptions,
    ) -> FloatTensor<Self> {
        convolved(x, weight, bias, Some(plus), options)
    }

    fn ldm_conv2d_doubled(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        options: ConvOptions,
    ) -> FloatTensor<Self> {
        let [x, weight, bias] = [x, weight, bias].map(View::new);
        let mut sizes = conv_sizes(&x, &weight, options);
        (sizes.height, sizes.width) = (2 * sizes.height, 2 * sizes.width);
        let [h, w] = sizes.out();
        let y = conv::doubled(x.values(), weight.weights(), bias.values(), sizes);
        tensor(y, [sizes.images, sizes.outputs, h, w])
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

impl LdmJoined for Flex {
    fn ldm_conv2d_joined(
        first: FloatTensor<Self>,
        second: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        let [first, second, weight, bias] = [first, second, weight, bias].map(View::new);
        let options = ConvOptions {
            stride: 1,
            padding: Padding::default(),
        };
        let [b, wide, h, w] = first.dims();
        let narrow = second.dims::<4>()[1];
        let sizes = conv::Sizes {
            channels: wide + narrow,
            ..conv_sizes(&first, &weight, options)
        };
        let xs = [(first.values(), wide), (second.values(), narrow)];
        let y = conv::joined(xs, weight.weights(), bias.values(), sizes);
        tensor(y, [b, sizes.outputs, h, w])
    }

    fn ldm_group_norm_joined(
        first: FloatTensor<Self>,
        second: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        options: NormOptions,
    ) -> FloatTensor<Self> {
        let [first, second, gamma, beta] = [first, second, gamma, beta].map(View::new);
        let [b, wide, h, w] = first.dims();
        let channels = wide + second.dims::<4>()[1];
        let groups = norm::Groups {
            channels,
            ..groups(&first, options)
        };
        let xs = [first.values(), second.values()];
        let y = norm::group_norm_joined(xs, wide, gamma.values(), beta.values(), groups);
        tensor(y, [b, channels, h, w])
    }
}

impl LdmGradients for Flex {
    fn ldm_silu_gradient(x: FloatTensor<Self>, dy: FloatTensor<Self>) -> FloatTensor<Self> {
        let [x, dy] = [x, dy].map(View::new);
        x.like(act::silu_gradient(x.values(), dy.values()))
    }

    fn ldm_gelu_gradient(x: FloatTensor<Self>, dy: FloatTensor<Self>) -> FloatTensor<Self> {
        let [x, dy] = [x, dy].map(View::new);
        x.like(act::gelu_gradient(x.values(), dy.values()))
    }

    fn ldm_geglu_gradient(x: FloatTensor<Self>, dy: FloatTensor<Self>) -> FloatTensor<Self> {
        let [x, dy] = [x, dy].map(View::new);
        let shape = dy.0.layout().shape();
        let half = shape[shape.num_dims() - 1];
        x.like(act::geglu_gradient(x.values(), dy.values(), half))
    }

    fn ldm_group_norm_gradient(
        inputs: [FloatTensor<Self>; 3],
        dy: FloatTensor<Self>,
        options: NormOptions,
        needed: [bool; 3],
    ) -> [Option<FloatTensor<Self>>; 3] {
        let ([x, gamma, beta], dy) = (inputs.map(View::new), View::new(dy));
        let groups = groups(&x, options);
        let [dx, dgamma, dbeta] = norm::group_norm_gradient(
            x.values(),
            gamma.values(),
            beta.values(),
            dy.values(),
            groups,
        );
        let all = [x.like(dx), gamma.like(dgamma), beta.like(dbeta)];
        asked(all, needed)
    }

    fn ldm_layer_norm_gradient(
        inputs: [FloatTensor<Self>; 3],
        dy: FloatTensor<Self>,
        eps: f64,
        needed: [bool; 3],
    ) -> [Option<FloatTensor<Self>>; 3] {
        let ([x, gamma, beta], dy) = (inputs.map(View::new), View::new(dy));
        let [dx, dgamma, dbeta] =
            norm::layer_norm_gradient(x.values(), gamma.values(), dy.values(), eps);
        asked([x.like(dx), gamma.like(dgamma), beta.like(dbeta)], needed)
    }

    fn ldm_conv2d_gradient(
        inputs: [FloatTensor<Self>; 3],
        dy: FloatTensor<Self>,
        options: ConvOptions,
        [of_x, of_weight, of_bias]: [bool; 3],
    ) -> [Option<FloatTensor<Self>>; 3] {
        let ([x, weight, bias], dy) = (inputs.map(View::new), View::new(dy));
        let (sizes, dy) = (conv_sizes(&x, &weight, options), dy.values());
        [
            of_x.then(|| x.like(conv::input_gradient(dy, weight.values(), sizes))),
            of_weight.then(|| weight.like(conv::weight_gradient(x.values(), dy, sizes))),
            of_bias.then(|| bias.like(conv::bias_gradient(dy, sizes))),
        ]
    }

    fn ldm_linear_gradient(
        inputs: [FloatTensor<Self>; 3],
        dy: FloatTensor<Self>,
        [of_x, of_weight, of_bias]: [bool; 3],
    ) -> [Option<FloatTensor<Self>>; 3] {
        let ([x, weight, bias], dy) = (inputs.map(View::new), View::new(dy));
        let (dims, dy) = (weight.dims(), dy.values());
        [
            of_x.then(|| x.like(linear::input_gradient(dy, weight.values(), dims))),
            of_weight.then(|| weight.like(linear::weight_gradient(x.values(), dy, dims))),
            of_bias.then(|| bias.like(linear::bias_gradient(dy, dims[1]))),
        ]
    }

    fn ldm_attention_gradient(
        inputs: [FloatTensor<Self>; 3],
        dy: FloatTensor<Self>,
        options: AttentionOptions,
        needed: [bool; 3],
    ) -> [Option<FloatTensor<Self>>; 3] {
        let ([q, k, v], dy) = (inputs.map(View::new), View::new(dy));
        let sizes = attention_sizes(&q, &k, &v, options);
        let [dq, dk, dv] =
            attention_gradient::gradient(q.values(), k.values(), v.values(), dy.values(), sizes);
        asked([q.like(dq), k.like(dk), v.like(dv)], needed)
    }
}

/// [`LdmOps::ldm_conv2d`], to which `plus` is added.
fn convolved(
    x: FlexTensor,
    weight: FlexTensor,
    bias: FlexTensor,
    plus: Option<FlexTensor>,
    options: ConvOptions,
) -> FlexTensor {
    let [x, weight, bias] = [x, weight, bias].map(View::new);
    let plus = plus.map(View::new);
    let sizes = conv_sizes(&x, &weight, options);
    let [h, w] = sizes.out();
    let shape = [sizes.images, sizes.outputs, h, w];
    let every = match &plus {
        None => Plus::Nothing,
        Some(plus) if plus.dims() == shape => Plus::Picture(plus.values()),
        Some(plus) => Plus::Channels(plus.values()),
    };
    let y = conv::forward(x.values(), weight.weights(), bias.values(), sizes, every);
    tensor(y, shape)
}

/// [`LdmOps::ldm_linear`], to which `plus` is added.
fn linear(
    x: FlexTensor,
    weight: FlexTensor,
    bias: FlexTensor,
    plus: Option<FlexTensor>,
) -> FlexTensor {
    let [x, weight, bias] = [x, weight, bias].map(View::new);
    let plus = plus.map(View::new);
    let mut shape = x.0.layout().shape().clone();
    let last = shape.num_dims() - 1;
    let (inner, outer) = (shape[last], bias.values().len());
    shape[last] = outer;
    let order = match weight.dims() == [inner, outer] {
        true => Order::Rows,
        false => Order::Panels,
    };
    let weight = (weight.weights(), order);
    let plus = plus.as_ref().map(View::values);
    tensor(
        linear::forward(x.values(), weight, bias.values(), inner, plus),
        shape,
    )
}

/// A contiguous f32 tensor made of `values`.
fn tensor(values: Vec<f32>, shape: impl Into<Shape>) -> FlexTensor {
    let layout = Layout::contiguous(shape.into());
    FlexTensor::new(Bytes::from_elems(values), layout, DType::F32)
}

/// Those of three that are needed.
fn asked(all: [FlexTensor; 3], needed: [bool; 3]) -> [Option<FlexTensor>; 3] {
    let mut needed = needed.into_iter();
    all.map(|x| needed.next().unwrap_or_default().then_some(x))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_are_split_and_joined_without_a_copy() {
        let (b, n, heads, d) = (2, 20, 3, 8);
        let options = AttentionOptions {
            causal: false,
            weights: DType::F32,
        };
        let x = tensor(vec![0.5; b * n * heads * d], [b, n, heads, d]).transpose(1, 2);
        let view = View::of_rows(x.clone());
        assert_eq!(view.0.layout(), x.layout());
        let y = Flex::ldm_attention(x.clone(), x.clone(), x, options);
        assert_eq!(y.layout().shape().to_vec(), [b, heads, n, d]);
        assert!(y.transpose(1, 2).is_contiguous());
    }
}
