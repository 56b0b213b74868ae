//! Group norm, with or without SiLU, and layer norm, which is a group norm of pictures of one
//! pixel: mean and variance in f32, whatever the type of the numbers.
//!
//! A cube of units sums one group of one picture and then writes it: one launch. A group too long
//! for that is cut into parts, each summed by a cube of its own; a second launch puts the parts'
//! sums together and writes.
//!
//! Promises
//! - Pictures are read with their channels last or first, as they lie, and the result lies the
//!   same way.
//! - A unit sums what differs from the first number that it sees, and sums are joined as Chan,
//!   Golub & LeVeque 1979 do: a mean far from 0 costs no digits of the variance.
//! - Sums are joined in one order: the same bits each time.

use burn::tensor::DType;
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::ops::permute_nchw_to_nhwc;
use burn_cubecl::tensor::CubeTensor;
use cubecl::prelude::*;
use cubecl::std::FastDivmod;
use cubecl::{calculate_cube_count_elemwise, client::Client};

use super::act::silu_of;
use super::rows::{Rows, address, arg, beside, dims, elem, picture_beside, vector};
use crate::ops::NormOptions;

/// A group of more numbers is cut into parts of about so many, lest a few multiprocessors read a
/// large picture while the others wait. Reckoned from what one reads in the time of a launch, and
/// not measured.
const LONG: usize = 1 << 17;
const PART: usize = 1 << 16;
/// A part is summed by one unit when the parts are put together.
const MOST_PARTS: usize = 256;

/// `x [b, c, h, w]`, `gamma` and `beta [c]`.
pub(super) fn group_norm(
    x: CubeTensor,
    gamma: CubeTensor,
    beta: CubeTensor,
    options: NormOptions,
) -> CubeTensor {
    let [b, c, h, w] = dims(&x);
    let channels = c / options.groups;
    let first = channels_first(&x);
    let (x, y, layout) = if first {
        let y = beside(&x, [b, c, h, w], x.dtype);
        let [image, channel] = [x.meta.strides()[0], x.meta.strides()[1]];
        let layout = Layout {
            inner: h * w,
            outer: channels,
            steps: [image, channels * channel, channel],
            out: [c * h * w, channels * h * w, h * w],
            last: false,
        };
        (x, y, layout)
    } else {
        let y = picture_beside(&x, [b, c, h, w]);
        let rows = Rows::of(permute_nchw_to_nhwc(x));
        let layout = Layout {
            inner: channels,
            outer: h * w,
            steps: [h * w * rows.step, channels, rows.step],
            out: [h * w * c, channels, c],
            last: true,
        };
        (rows.tensor, y, layout)
    };
    let affine = [gamma, beta].map(into_contiguous);
    launch(&x, &affine, &y, layout, b, options);
    y
}

/// `x [.., c]`, `gamma` and `beta [c]`.
pub(super) fn layer_norm(
    x: CubeTensor,
    gamma: CubeTensor,
    beta: CubeTensor,
    eps: f64,
) -> CubeTensor {
    let shape = x.meta.shape().clone();
    let x = Rows::of(x);
    let y = beside(&x.tensor, shape, x.tensor.dtype);
    let layout = Layout {
        inner: x.width,
        outer: 1,
        steps: [x.step, 0, 0],
        out: [x.width, 0, 0],
        last: true,
    };
    let options = NormOptions {
        groups: 1,
        eps,
        silu: false,
    };
    let affine = [gamma, beta].map(into_contiguous);
    launch(&x.tensor, &affine, &y, layout, x.count, options);
    y
}

/// How the groups of a tensor lie: `outer` runs of `inner` numbers in order, where one of the two
/// counts pixels and the other channels.
#[derive(Clone, Copy)]
struct Layout {
    inner: usize,
    outer: usize,
    /// From a picture to the next, from a group to the next, from a run to the next.
    steps: [usize; 3],
    /// The same of what is written.
    out: [usize; 3],
    /// Whether channels are what lies in order.
    last: bool,
}

/// Whether the pixels of each channel lie in order, and no channels do.
fn channels_first(x: &CubeTensor) -> bool {
    let [_, c, h, w] = dims(x);
    let strides = x.meta.strides();
    let lines = h == 1 || strides[2] == w;
    let pixels = w == 1 || strides[3] == 1;
    lines && pixels && !(c > 1 && strides[1] == 1)
}

/// How the groups of some pictures are cut for the cubes that norm them.
struct Cut {
    layout: Layout,
    /// Groups of a picture, and parts of a group.
    groups: usize,
    parts: usize,
    /// Parts of all groups of all pictures: one for each cube.
    cubes: usize,
    /// Numbers of a vector.
    size: usize,
    /// Vectors of a part, and of a group.
    part: usize,
    vectors: usize,
    /// Of a cube.
    units: usize,
}

impl Cut {
    fn of(x: &CubeTensor, layout: Layout, images: usize, groups: usize) -> Self {
        let numbers = layout.inner * layout.outer;
        let all = [&[layout.inner], &layout.steps[..], &layout.out[..]].concat();
        let size = vector(&x.client, x.dtype, &all);
        let vectors = numbers / size;
        let parts = match numbers > LONG {
            true => numbers.div_ceil(PART).min(MOST_PARTS),
            false => 1,
        };
        let part = vectors.div_ceil(parts);
        Self {
            layout,
            groups,
            parts,
            cubes: images * parts * groups,
            size,
            part,
            vectors,
            units: units(&x.client, part.max(parts)),
        }
    }

    fn cubes(&self, client: &Client) -> (CubeCount, CubeDim) {
        let count = calculate_cube_count_elemwise(client, self.cubes, CubeDim::new_single());
        (count, CubeDim::new_1d(self.units as u32))
    }

    fn plan(&self) -> PlanLaunch {
        let Layout {
            inner,
            outer,
            steps,
            out,
            last,
        } = self.layout;
        PlanLaunch::new(
            self.groups,
            self.parts,
            self.groups,
            self.parts,
            self.cubes,
            self.part,
            self.vectors,
            inner / self.size,
            steps[0] / self.size,
            steps[1] / self.size,
            steps[2] / self.size,
            out[0] / self.size,
            out[1] / self.size,
            out[2] / self.size,
            match last {
                true => inner / self.size,
                false => outer,
            },
        )
    }
}

fn launch(
    x: &CubeTensor,
    [gamma, beta]: &[CubeTensor; 2],
    y: &CubeTensor,
    layout: Layout,
    images: usize,
    options: NormOptions,
) {
    let cut = Cut::of(x, layout, images, options.groups);
    let sums = (cut.parts > 1).then(|| sums(x, &cut));
    let (count, dim) = cut.cubes(&y.client);
    // SAFETY: a unit reads and writes vectors of its cube's part of a group alone, which the plan
    // places within the tensors, and reads the sums of that group; cubes past the last do nothing.
    unsafe {
        norm_kernel::launch_unchecked(
            &y.client,
            count,
            dim,
            address(&[x, y, gamma]),
            cut.size,
            if layout.last { cut.size } else { 1 },
            arg(x),
            arg(gamma),
            arg(beta),
            sums.as_ref().map(arg).into(),
            arg(y),
            cut.plan(),
            options.eps as f32,
            layout.last,
            options.silu,
            cut.units,
            elem(x.dtype),
        );
    }
}

/// The [`Sums`] of every part, in the order of their cubes.
fn sums(x: &CubeTensor, cut: &Cut) -> CubeTensor {
    let sums = beside(x, [cut.cubes, 3], DType::F32);
    let (count, dim) = cut.cubes(&x.client);
    // SAFETY: a unit reads vectors of its cube's part of a group alone, which the plan places
    // within the tensor, and the first of a cube writes its sums; cubes past the last do nothing.
    unsafe {
        sum_kernel::launch_unchecked(
            &x.client,
            count,
            dim,
            address(&[x, &sums]),
            cut.size,
            arg(x),
            arg(&sums),
            cut.plan(),
            cut.units,
            elem(x.dtype),
        );
    }
    sums
}

/// Units of a cube that has this many vectors to sum: a power of two, as sums are joined by pairs.
fn units(client: &Client, vectors: usize) -> usize {
    let most = client.properties().hardware.max_units_per_cube as usize;
    let most = 1 << most.clamp(1, 1024).ilog2();
    vectors.next_power_of_two().clamp(32, 1024).min(most)
}

/// Where a cube finds its part of a group, in vectors.
#[derive(CubeType, CubeLaunch)]
struct Plan {
    groups: FastDivmod<usize>,
    parts: FastDivmod<usize>,
    group_count: usize,
    part_count: usize,
    cubes: usize,
    /// Vectors of a part, and of a group.
    part: usize,
    vectors: usize,
    /// Vectors that lie in order.
    inner: FastDivmod<usize>,
    image: usize,
    group: usize,
    run: usize,
    out_image: usize,
    out_group: usize,
    out_run: usize,
    /// From the scales of a group to those of the next.
    affine: usize,
}

/// Where a cube works.
#[derive(CubeType)]
struct Place {
    image: usize,
    group: usize,
    /// The first vector of the part, counted from that of the group, and the first after it.
    from: usize,
    to: usize,
}

/// Of some numbers: how many, their mean, and the sum of what is left of them, squared.
#[derive(CubeType)]
struct Sums {
    count: f32,
    mean: f32,
    squares: f32,
}

/// Norms each part with the sums of its group: of all its parts where they are given, else what it
/// sums itself, as the part is the group.
#[cube(launch_unchecked, address_type = "dynamic")]
fn norm_kernel<E: Float, N: Size, M: Size>(
    x: &Tensor<Vector<E, N>>,
    gamma: &Tensor<Vector<E, M>>,
    beta: &Tensor<Vector<E, M>>,
    sums: ComptimeOption<&Tensor<f32>>,
    y: &mut Tensor<Vector<E, N>>,
    plan: Plan,
    eps: f32,
    #[comptime] last: bool,
    #[comptime] silu: bool,
    #[comptime] units: usize,
    #[define(E)] _dtype: ElemType,
) {
    if CUBE_POS >= plan.cubes {
        terminate!();
    }
    let place = place(&plan);
    #[comptime]
    let own = match sums {
        ComptimeOption::Some(sums) => given(sums, &plan, &place),
        ComptimeOption::None => summed::<E, N>(x, &plan, &place),
    };
    let all = joined(own, units);
    write::<E, N, M>(x, gamma, beta, y, &plan, &place, &all, eps, last, silu);
}

#[cube(launch_unchecked, address_type = "dynamic")]
fn sum_kernel<E: Float, N: Size>(
    x: &Tensor<Vector<E, N>>,
    sums: &mut Tensor<f32>,
    plan: Plan,
    #[comptime] units: usize,
    #[define(E)] _dtype: ElemType,
) {
    if CUBE_POS >= plan.cubes {
        terminate!();
    }
    let place = place(&plan);
    let all = joined(summed::<E, N>(x, &plan, &place), units);
    if UNIT_POS == 0 {
        sums[3 * CUBE_POS] = all.count;
        sums[3 * CUBE_POS + 1] = all.mean;
        sums[3 * CUBE_POS + 2] = all.squares;
    }
}

/// Groups change fastest: with channels last, cubes that run together read one line of memory.
#[cube]
fn place(plan: &Plan) -> Place {
    let (rest, group) = plan.groups.div_mod(CUBE_POS);
    let (image, part) = plan.parts.div_mod(rest);
    let from = part * plan.part;
    let mut to = from + plan.part;
    if to > plan.vectors {
        to = plan.vectors;
    }
    Place {
        image,
        group,
        from,
        to,
    }
}

/// The sums of the part of its group whose turn is this unit's; none past the last.
#[cube]
fn given(sums: &Tensor<f32>, plan: &Plan, place: &Place) -> Sums {
    let mut own = Sums {
        count: 0.0,
        mean: 0.0,
        squares: 0.0,
    };
    let part = UNIT_POS as usize;
    if part < plan.part_count {
        let at = 3 * ((place.image * plan.part_count + part) * plan.group_count + place.group);
        own.count = sums[at];
        own.mean = sums[at + 1];
        own.squares = sums[at + 2];
    }
    own
}

/// The sums of every vector of a part that is this unit's.
#[cube]
fn summed<E: Float, N: Size>(x: &Tensor<Vector<E, N>>, plan: &Plan, place: &Place) -> Sums {
    let base = place.image * plan.image + place.group * plan.group;
    let mut shift = 0.0f32;
    let mut at = place.from + UNIT_POS as usize;
    if at < place.to {
        let (run, within) = plan.inner.div_mod(at);
        shift = f32::cast_from(x[base + run * plan.run + within].extract(0usize));
    }
    let mut sum = Vector::<f32, N>::new(0.0);
    let mut squares = Vector::<f32, N>::new(0.0);
    let mut vectors = 0.0f32;
    while at < place.to {
        let (run, within) = plan.inner.div_mod(at);
        let left =
            Vector::<f32, N>::cast_from(x[base + run * plan.run + within]) - Vector::new(shift);
        sum += left;
        squares += left * left;
        vectors += 1.0;
        at += CUBE_DIM as usize;
    }
    let mut count = 0.0f32;
    let mut all = 0.0f32;
    let mut all_squares = 0.0f32;
    #[unroll]
    for lane in 0..N::value() {
        count += vectors;
        all += sum.extract(lane);
        all_squares += squares.extract(lane);
    }
    let mut mean = 0.0f32;
    let mut rest = 0.0f32;
    if count > 0.0 {
        mean = all / count;
        rest = all_squares - all * mean;
        // Rounding may leave less than nothing. NaN is not less, and stays.
        if rest < 0.0 {
            rest = 0.0;
        }
    }
    Sums {
        count,
        mean: mean + shift,
        squares: rest,
    }
}

/// The sums of all units of a cube, which is a power of two of them.
#[cube]
fn joined(own: Sums, #[comptime] units: usize) -> Sums {
    let unit = UNIT_POS as usize;
    let mut counts = Shared::<[f32]>::new_slice(units);
    let mut means = Shared::<[f32]>::new_slice(units);
    let mut squares = Shared::<[f32]>::new_slice(units);
    counts[unit] = own.count;
    means[unit] = own.mean;
    squares[unit] = own.squares;
    sync_cube();
    let mut half = (CUBE_DIM / 2) as usize;
    while half > 0 {
        if unit < half {
            let (a, b) = (counts[unit], counts[unit + half]);
            if b > 0.0 {
                let apart = means[unit + half] - means[unit];
                let share = b / (a + b);
                means[unit] += apart * share;
                squares[unit] += squares[unit + half] + apart * apart * a * share;
                counts[unit] = a + b;
            }
        }
        sync_cube();
        half /= 2;
    }
    Sums {
        count: counts[0],
        mean: means[0],
        squares: squares[0],
    }
}

/// Every vector of a part that is this unit's, normed.
#[cube]
fn write<E: Float, N: Size, M: Size>(
    x: &Tensor<Vector<E, N>>,
    gamma: &Tensor<Vector<E, M>>,
    beta: &Tensor<Vector<E, M>>,
    y: &mut Tensor<Vector<E, N>>,
    plan: &Plan,
    place: &Place,
    sums: &Sums,
    eps: f32,
    #[comptime] last: bool,
    #[comptime] silu: bool,
) {
    let scale = 1.0f32 / (sums.squares / sums.count + eps).sqrt();
    let base = place.image * plan.image + place.group * plan.group;
    let out = place.image * plan.out_image + place.group * plan.out_group;
    let affine = place.group * plan.affine;
    let mut at = place.from + UNIT_POS as usize;
    while at < place.to {
        let (run, within) = plan.inner.div_mod(at);
        let left =
            Vector::<f32, N>::cast_from(x[base + run * plan.run + within]) - Vector::new(sums.mean);
        let normed = left * Vector::new(scale);
        let result = if comptime!(last) {
            let gamma = Vector::<f32, N>::cast_from(gamma[affine + within]);
            normed * gamma + Vector::cast_from(beta[affine + within])
        } else {
            let gamma = f32::cast_from(gamma[affine + run].extract(0usize));
            let beta = f32::cast_from(beta[affine + run].extract(0usize));
            normed * Vector::new(gamma) + Vector::new(beta)
        };
        let result = if comptime!(silu) {
            silu_of::<N>(result)
        } else {
            result
        };
        y[out + run * plan.out_run + within] = Vector::cast_from(result);
        at += CUBE_DIM as usize;
    }
}
