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
    let biased = bias.meta.num_elements() > 0;
    if !biased && plus.is_none() {
        return;
    }
    let bias = into_contiguous(bias);
    let plussed = plus.is_some();
    // What is not read still wants an argument.
    let (plus, share) = plus.unwrap_or_else(|| (y.clone(), 1));
    let size = y.vector(&[plus.step]);
    let vectors = y.count * y.width / size;
    let (count, dim) = one_each(&y.tensor.client, vectors);
    let bias = if biased { &bias } else { &plus.tensor };
    // SAFETY: a unit reads and writes one vector of a row of `y`, and reads those of the bias and
    // of `plus` that are its; it ends past the last.
    unsafe {
        add_kernel::launch_unchecked(
            &y.tensor.client,
            count,
            dim,
            address(&[&y.tensor, bias, &plus.tensor]),
            size,
            arg(&y.tensor),
            arg(bias),
            arg(&plus.tensor),
            y.width / size,
            y.step / size,
            share,
            plus.step / size,
            vectors,
            biased,
            plussed,
            elem(y.tensor.dtype),
        );
    }
}

#[cube(launch_unchecked, address_type = "dynamic")]
fn add_kernel<E: Float, N: Size>(
    y: &mut Tensor<Vector<E, N>>,
    bias: &Tensor<Vector<E, N>>,
    plus: &Tensor<Vector<E, N>>,
    width: FastDivmod<usize>,
    step: usize,
    share: FastDivmod<usize>,
    plus_step: usize,
    vectors: usize,
    #[comptime] biased: bool,
    #[comptime] plussed: bool,
    #[define(E)] _dtype: ElemType,
) {
    if ABSOLUTE_POS >= vectors {
        terminate!();
    }
    let (row, column) = width.div_mod(ABSOLUTE_POS);
    let at = row * step + column;
    let mut sum = Vector::<f32, N>::cast_from(y[at]);
    if comptime!(biased) {
        sum += Vector::cast_from(bias[column]);
    }
    if comptime!(plussed) {
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
    let vectors = 4 * x.count * c / size;
    let (count, dim) = one_each(&y.client, vectors);
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
