//! Masks at the size of a latent, as PyTorch's `interpolate` resizes them.
//!
//! Not here: resizing pictures.

use crate::array::Array;

/// Straight lines between the four nearest pixels: `mode="bilinear"`, without aligned corners
/// and without antialiasing. `[n, h, w]` → `[n, height, width]`
pub(crate) fn bilinear(planes: &Array<3>, [height, width]: [usize; 2]) -> Array<3> {
    let [_, h, w] = planes.shape();
    let (rows, columns) = (between(h, height), between(w, width));
    resized(planes, [height, width], |plane, y, x| {
        let ((top, bottom, down), (left, right, along)) = (rows[y], columns[x]);
        let row = |y: usize| plane[y * w + left] * (1.0 - along) + plane[y * w + right] * along;
        row(top) * (1.0 - down) + row(bottom) * down
    })
}

/// The pixel that is there: `mode="nearest"`. `[n, h, w]` → `[n, height, width]`
pub(crate) fn nearest(planes: &Array<3>, [height, width]: [usize; 2]) -> Array<3> {
    let [_, h, w] = planes.shape();
    resized(planes, [height, width], |plane, y, x| {
        plane[y * h / height * w + x * w / width]
    })
}

fn resized(
    planes: &Array<3>,
    [height, width]: [usize; 2],
    at: impl Fn(&[f32], usize, usize) -> f32,
) -> Array<3> {
    let [count, h, w] = planes.shape();
    if [h, w] == [height, width] {
        return planes.clone();
    }
    let mut numbers = Vec::with_capacity(count * height * width);
    for plane in planes.numbers().chunks_exact(h * w) {
        let places = (0..height).flat_map(|y| (0..width).map(move |x| (y, x)));
        numbers.extend(places.map(|(y, x)| at(plane, y, x)));
    }
    Array::new([count, height, width], numbers)
}

/// For each of `to` places the two of `from` beside it, and how near the second is.
fn between(from: usize, to: usize) -> Vec<(usize, usize, f32)> {
    let scale = from as f32 / to as f32;
    let place = |at: usize| {
        let middle = ((at as f32 + 0.5) * scale - 0.5).max(0.0);
        let low = (middle as usize).min(from - 1);
        (low, (low + 1).min(from - 1), middle - low as f32)
    };
    (0..to).map(place).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 0, 1, 4, 9, … so that no place is like another.
    fn squares(height: usize, width: usize) -> Array<3> {
        let numbers = (0..height * width).map(|i| (i * i) as f32).collect();
        Array::new([1, height, width], numbers)
    }

    fn check(got: &Array<3>, want: &[f32]) {
        let near = |(a, b): (&f32, &f32)| (a - b).abs() <= 1e-5 * b.abs().max(1.0);
        let all = got.numbers().iter().zip(want).all(near);
        assert!(all && got.numbers().len() == want.len(), "{got:?}");
    }

    /// Recorded from torch 2.15: `interpolate(x, size, mode="bilinear")`.
    #[test]
    fn lines_between_pixels_are_torchs() {
        let small = bilinear(&squares(3, 5), [2, 3]);
        check(&small, BILINEAR_SMALL);
        check(&bilinear(&squares(2, 2), [3, 4]), BILINEAR_LARGE);
    }

    /// Recorded from torch 2.15: `interpolate(x, size, mode="nearest")`.
    #[test]
    fn the_nearest_pixel_is_torchs() {
        check(&nearest(&squares(3, 5), [2, 3]), NEAREST_SMALL);
        check(&nearest(&squares(2, 2), [3, 4]), NEAREST_LARGE);
    }

    #[test]
    fn the_same_size_is_the_same_mask() {
        let mask = squares(3, 5);
        assert_eq!(
            (bilinear(&mask, [3, 5]), nearest(&mask, [3, 5])),
            (mask.clone(), mask)
        );
    }
    const BILINEAR_SMALL: &[f32] = &[7.416667, 15.25, 29.083332, 87.416664, 120.25, 159.083328];
    const BILINEAR_LARGE: &[f32] = &[
        0.0, 0.25, 0.75, 1.0, 2.0, 2.75, 4.25, 5.0, 4.0, 5.25, 7.75, 9.0,
    ];
    const NEAREST_SMALL: &[f32] = &[0.0, 1.0, 9.0, 25.0, 36.0, 64.0];
    const NEAREST_LARGE: &[f32] = &[0.0, 0.0, 1.0, 1.0, 0.0, 0.0, 1.0, 1.0, 4.0, 4.0, 9.0, 9.0];
}
