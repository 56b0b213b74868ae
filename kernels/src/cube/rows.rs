//! Tensors on a GPU as rows of numbers: what the kernels here are launched on.
//!
//! Promises
//! - A view whose numbers lie in rows at one distance is taken as it lies: no copy for what a
//!   convolution (channels last), a product (rows with a gap behind) or a split of heads gives.
//! - Only a view that does not is copied, by burn's own kernel.
//!
//! Not here: what is computed.

use burn::tensor::{DType, Shape};
use burn_cubecl::CubeDevice;
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::ops::numeric::empty_device_contiguous_dtype;
use burn_cubecl::ops::{permute, permute_nchw_to_nhwc, permute_nhwc_to_nchw};
use burn_cubecl::tensor::CubeTensor;
use cubecl::client::Client;
use cubecl::ir::{AddressType, ElemType, FloatKind};
use cubecl::prelude::{CubeCount, CubeDim, TensorArg, VectorSize};
use cubecl::{calculate_cube_count_elemwise, zspace::metadata::Metadata};

/// A tensor whose last dimension lies in order, in rows at one distance from each other.
#[derive(Clone)]
pub(crate) struct Rows {
    pub(crate) tensor: CubeTensor,
    /// How many rows there are.
    pub(crate) count: usize,
    /// Numbers of a row.
    pub(crate) width: usize,
    /// Numbers from the start of a row to that of the next.
    pub(crate) step: usize,
}

impl Rows {
    /// Of the last dimension of any tensor.
    pub(crate) fn of(x: CubeTensor) -> Self {
        let x = match row_step(x.meta.shape(), x.meta.strides()) {
            Some(_) => x,
            None => into_contiguous(x),
        };
        let shape = x.meta.shape();
        let width = shape[shape.num_dims() - 1];
        let count = shape.num_elements() / width.max(1);
        let step = row_step(shape, x.meta.strides()).unwrap_or(width);
        Self {
            tensor: x,
            count,
            width,
            step,
        }
    }

    /// Of the channels of `x [b, c, h, w]`: `b · h · w` rows of `c`.
    pub(crate) fn of_pixels(x: CubeTensor) -> Self {
        Self::of(permute_nchw_to_nhwc(x))
    }

    /// The tensor under a shape with the same last dimension.
    pub(crate) fn seen_as(self, shape: Shape) -> CubeTensor {
        let mut strides = vec![1; shape.num_dims()];
        let mut next = self.step;
        for i in (0..shape.num_dims() - 1).rev() {
            strides[i] = next;
            next *= shape[i];
        }
        let mut x = self.tensor;
        *x.meta = Metadata::new(shape, strides);
        x
    }

    /// One row of all, where no gap lies between them: it is cut into vectors at any width.
    pub(crate) fn joined(mut self) -> Self {
        if self.step == self.width {
            self.width *= self.count;
            (self.count, self.step) = (1, self.width);
        }
        self
    }

    /// The size of the vectors in which rows can be read and written, beside other numbers that
    /// it must divide.
    pub(crate) fn vector(&self, beside: &[usize]) -> usize {
        let all = [&[self.width, self.step], beside].concat();
        vector(&self.tensor.client, self.tensor.dtype, &all)
    }
}

/// The largest vector of this type that a kernel reads at once and that divides all of `numbers`.
///
/// Where a tensor begins is not asked: burn begins a slice at a multiple of what the device aligns
/// memory to (512 bytes with CUDA), many vectors, and copies one that would begin elsewhere.
pub(crate) fn vector(client: &Client, dtype: DType, numbers: &[usize]) -> usize {
    let mut sizes = client.io_optimized_vector_sizes(dtype.size());
    sizes
        .find(|size| numbers.iter().all(|n| n.is_multiple_of(*size)))
        .unwrap_or(1)
}

/// How far apart the rows of the last dimension lie, if at one distance and each in order.
fn row_step(shape: &[usize], strides: &[usize]) -> Option<usize> {
    let last = shape.len() - 1;
    if shape[last] > 1 && strides[last] != 1 {
        return None;
    }
    let (mut step, mut next) = (None, None);
    for i in (0..last).rev().filter(|i| shape[*i] > 1) {
        if next.is_some_and(|next| next != strides[i]) {
            return None;
        }
        step = step.or(Some(strides[i]));
        next = Some(strides[i] * shape[i]);
    }
    Some(step.unwrap_or(shape[last]))
}

/// `x` with its dimensions in the order in which its numbers lie, and how to turn them back.
pub(crate) fn as_it_lies(x: CubeTensor) -> (CubeTensor, Vec<usize>) {
    let (shape, strides) = (x.meta.shape(), x.meta.strides());
    let mut order: Vec<usize> = (0..shape.num_dims()).collect();
    // Dimensions of one have no place of their own: they go first, and stay in order.
    order.sort_by_key(|i| match shape[*i] {
        1 => std::cmp::Reverse(usize::MAX),
        _ => std::cmp::Reverse(strides[*i]),
    });
    let mut back = vec![0; order.len()];
    order.iter().enumerate().for_each(|(at, i)| back[*i] = at);
    (permute(x, &order), back)
}

/// Room for a tensor beside `x`, its numbers in order.
pub(crate) fn beside(x: &CubeTensor, shape: impl Into<Shape>, dtype: DType) -> CubeTensor {
    let (client, device): (Client, CubeDevice) = (x.client.clone(), x.device.clone());
    empty_device_contiguous_dtype(client, device, shape.into(), dtype)
}

/// Room for a picture `[b, c, h, w]` beside `x`, its channels last in memory.
pub(crate) fn picture_beside(x: &CubeTensor, [b, c, h, w]: [usize; 4]) -> CubeTensor {
    permute_nhwc_to_nchw(beside(x, [b, h, w, c], x.dtype))
}

/// The same numbers under another shape, for which they need not move.
pub(crate) fn seen_as<const D: usize>(
    mut x: CubeTensor,
    shape: [usize; D],
    strides: [usize; D],
) -> CubeTensor {
    *x.meta = Metadata::new(shape, strides);
    x
}

/// The sizes of a tensor of `D` dimensions.
pub(crate) fn dims<const D: usize>(x: &CubeTensor) -> [usize; D] {
    std::array::from_fn(|i| x.meta.shape()[i])
}

/// What cubecl calls this type, one of the three that our kernels know.
pub(crate) fn elem(dtype: DType) -> ElemType {
    ElemType::Float(match dtype {
        DType::F16 => FloatKind::F16,
        DType::BF16 => FloatKind::BF16,
        _ => FloatKind::F32,
    })
}

/// The width of the indices that reach all of these tensors.
pub(crate) fn address(tensors: &[&CubeTensor]) -> AddressType {
    let widths = tensors.iter().map(|x| x.required_address_type());
    widths.max().unwrap_or_default()
}

/// A tensor as an argument of a kernel.
pub(crate) fn arg(x: &CubeTensor) -> TensorArg {
    x.clone().into_tensor_arg()
}

/// How a kernel is launched that has one unit for each vector of `numbers`, and how many these are.
pub(crate) fn one_each(
    client: &Client,
    numbers: usize,
    size: VectorSize,
) -> (CubeCount, CubeDim, usize) {
    let vectors = numbers / size;
    let dim = CubeDim::new(client, vectors);
    (
        calculate_cube_count_elemwise(client, vectors, dim),
        dim,
        vectors,
    )
}

#[cfg(test)]
mod tests {
    use burn::backend::ops::FloatTensorOps;
    use burn::tensor::TensorData;
    use burn_cubecl::{CubeBackend, kernel::slice, ops::reshape};

    use super::super::tried;
    use super::*;

    #[test]
    fn a_slice_of_a_row_is_read_where_it_lies_and_begins_where_vectors_may() {
        let Some((device, types)) = tried() else {
            return;
        };
        let memory = device.client().properties().memory.alignment;
        for dtype in types {
            let apart = memory as usize / dtype.size();
            let row = TensorData::zeros::<f32, _>([4 * apart]).convert_dtype(dtype);
            let row = CubeBackend::float_from_data(row, &device);
            for (from, width) in [(apart, apart), (4, 8), (apart + 4, 4)] {
                let range = from..from + 2 * width;
                let part = slice(row.clone(), std::slice::from_ref(&range));
                let begins = part.handle.offset_start.unwrap_or(0);
                assert_eq!(begins, if from == apart { memory } else { 0 });
                let client = part.client.clone();
                let mut vectors = client.io_optimized_vector_sizes(dtype.size());
                let bytes = |size| (size * dtype.size()) as u64;
                assert!(vectors.all(|size| memory.is_multiple_of(bytes(size))));
                let handle = part.handle.clone();
                let rows = Rows::of_pixels(reshape(part, Shape::new([2, width, 1, 1])));
                assert_eq!((rows.count, rows.width, rows.step), (2, width, width));
                let lies = rows.tensor.handle.memory.descriptor();
                assert!(std::ptr::eq(lies, handle.memory.descriptor()));
                assert_eq!(rows.tensor.handle.offset_start, handle.offset_start);
            }
        }
    }

    #[test]
    fn rows_at_one_distance_are_found_and_others_are_not() {
        let cases = [
            (vec![2, 3, 4], vec![12, 4, 1], Some(4)),
            // A gap behind each row, as products leave it.
            (vec![2, 3, 4], vec![24, 8, 1], Some(8)),
            // A gap behind some rows only.
            (vec![2, 3, 4], vec![32, 8, 1], None),
            // Channels that do not lie in order.
            (vec![2, 3, 4], vec![12, 1, 3], None),
            // A dimension of one keeps any step.
            (vec![2, 1, 4], vec![4, 77, 1], Some(4)),
            (vec![1, 1, 4], vec![9, 9, 1], Some(4)),
            // One row, repeated.
            (vec![5, 4], vec![0, 1], Some(0)),
            (vec![4], vec![1], Some(4)),
            (vec![4], vec![2], None),
        ];
        for (shape, strides, want) in cases {
            assert_eq!(row_step(&shape, &strides), want, "{shape:?} {strides:?}");
        }
    }
}
