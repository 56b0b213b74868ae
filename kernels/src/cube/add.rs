//! What follows a product or a convolution, in one launch: a bias, and what is added to the result.
//! And a picture with each pixel made two by two, channels last as convolutions read it.

use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::tensor::CubeTensor;
use cubecl::prelude::*;
use cubecl::std::FastDivmod;

use super::rows::{Rows, address, arg, dims, elem, one_each, picture_beside};

/// What is added to each row of a result.
pub(super) struct Added {
    /// The same numbers to each row; none where it is empty.
    pub(super) bias: CubeTensor,
    /// Rows, and to how many rows of the result each of them is added.
    pub(super) plus: Option<(Rows, usize)>,
}

/// Adds in place to `y`, which nothing else holds.
pub(super) fn add_to(y: &Rows, added: Added) {
    let Added { bias, plus } = added;
    let bias = (bias.meta.num_elements() > 0).then(|| into_contiguous(bias));
    if bias.is_none() && plus.is_none() {
        return;
    }
    let (plus, share) = plus.map_or((None, 1), |(rows, share)| (Some(rows), share));
    let step = plus.as_ref().map_or(0, |plus| plus.step);
    let plus = plus.map(|plus| plus.tensor);
    let size = y.vector(&[step]);
    let (count, dim, vectors) = one_each(&y.tensor.client, y.count * y.width, size);
    let read: Vec<_> = [&y.tensor].into_iter().chain(&bias).chain(&plus).collect();
    // SAFETY: a unit reads and writes one vector of a row of `y`, and reads those of the bias and
    // of `plus` that are its; it ends past the last.
    unsafe {
        add_kernel::launch_unchecked(
            &y.tensor.client,
            count,
            dim,
            address(&read),
            size,
            arg(&y.tensor),
            bias.as_ref().map(arg).into(),
            plus.as_ref().map(arg).into(),
            y.width / size,
            y.step / size,
            share,
            step / size,
            vectors,
            elem(y.tensor.dtype),
        );
    }
}

#[cube(launch_unchecked, address_type = "dynamic")]
fn add_kernel<E: Float, N: Size>(
    y: &mut Tensor<Vector<E, N>>,
    bias: ComptimeOption<&Tensor<Vector<E, N>>>,
    plus: ComptimeOption<&Tensor<Vector<E, N>>>,
    width: FastDivmod<usize>,
    step: usize,
    share: FastDivmod<usize>,
    plus_step: usize,
    vectors: usize,
    #[define(E)] _dtype: ElemType,
) {
    if ABSOLUTE_POS >= vectors {
        terminate!();
    }
    let (row, column) = width.div_mod(ABSOLUTE_POS);
    let at = row * step + column;
    let mut sum = Vector::<f32, N>::cast_from(y[at]);
    #[comptime]
    if let ComptimeOption::Some(bias) = bias {
        sum += Vector::cast_from(bias[column]);
    }
    #[comptime]
    if let ComptimeOption::Some(plus) = plus {
        sum += Vector::cast_from(plus[share.div(row) * plus_step + column]);
    }
    y[at] = Vector::cast_from(sum);
}

/// `x [b, c, h, w]` → `[b, c, 2h, 2w]`.
pub(super) fn doubled(x: CubeTensor) -> CubeTensor {
    let [b, c, h, w] = dims(&x);
    let x = Rows::of_pixels(x);
    let y = picture_beside(&x.tensor, [b, c, 2 * h, 2 * w]);
    let size = x.vector(&[]);
    let (count, dim, vectors) = one_each(&y.client, 4 * x.count * c, size);
    // SAFETY: a unit writes one vector of a pixel and reads that of the pixel it comes from; it
    // ends past the last.
    unsafe {
        double_kernel::launch_unchecked(
            &y.client,
            count,
            dim,
            address(&[&x.tensor, &y]),
            size,
            arg(&x.tensor),
            arg(&y),
            c / size,
            2 * w,
            w,
            x.step / size,
            vectors,
            elem(y.dtype),
        );
    }
    y
}

#[cube(launch_unchecked, address_type = "dynamic")]
fn double_kernel<E: Float, N: Size>(
    x: &Tensor<Vector<E, N>>,
    y: &mut Tensor<Vector<E, N>>,
    channels: FastDivmod<usize>,
    width: FastDivmod<usize>,
    half: usize,
    step: usize,
    vectors: usize,
    #[define(E)] _dtype: ElemType,
) {
    if ABSOLUTE_POS >= vectors {
        terminate!();
    }
    let (pixel, channel) = channels.div_mod(ABSOLUTE_POS);
    let (line, column) = width.div_mod(pixel);
    // Pictures have an even number of lines, so they come in pairs through all of them.
    let from = line / 2 * half + column / 2;
    y[ABSOLUTE_POS] = x[from * step + channel];
}
