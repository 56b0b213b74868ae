//! Pictures made larger or smaller, by the methods and numbers of PyTorch and Pillow.
//!
//! Each method is a row of weights for each new pixel, along the height and along the width.
//!
//! Promises
//! - `Nearest`, `Bilinear`, `Bicubic` and `Area` give what PyTorch's `interpolate` gives
//!   (`nearest-exact` and no antialiasing), as ComfyUI uses it; `Lanczos` what Pillow gives, but
//!   for its rounding to bytes.
//! - The same numbers on every machine: everything is added up on the host, in f64.
//!
//! Not here: networks that enlarge (`upscale`).

use std::f64::consts::PI;

/// How a new pixel comes from old ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// The old pixel that is nearest.
    Nearest,
    /// A straight line between the nearest two.
    Bilinear,
    /// A cubic through the nearest four, which overshoots at edges.
    Bicubic,
    /// The mean of the old pixels that the new one lies over.
    Area,
    /// A windowed sinc over six, more where the picture gets smaller.
    Lanczos,
}

/// Planes `[height, width]`, one after another, brought from one size to another.
///
/// # Panics
/// When the numbers are not whole planes of the first size, or a side is 0: faults of callers.
pub fn resize(numbers: &[f32], from: [usize; 2], to: [usize; 2], method: Method) -> Vec<f32> {
    let plane = from[0] * from[1];
    assert!(plane > 0 && to[0] * to[1] > 0 && numbers.len().is_multiple_of(plane));
    if from == to {
        return numbers.to_vec();
    }
    let rows = method.weights(from[0], to[0]);
    let columns = method.weights(from[1], to[1]);
    let planes = numbers.chunks_exact(plane);
    planes.flat_map(|p| one(p, from, &rows, &columns)).collect()
}

/// Rows and columns to cut from each side, so that what is left has the shape of `to`, as
/// ComfyUI's `center` crop.
pub fn margins(from: [usize; 2], to: [usize; 2]) -> [usize; 2] {
    let [height, width] = from.map(|n| n as f64);
    let (old, new) = (width / height, to[1] as f64 / to[0] as f64);
    let half = |side: f64, kept: f64| {
        let margin = ((side - side * kept) / 2.0).round_ties_even();
        margin.min(((side - 1.0) / 2.0).floor()) as usize // something is left of any picture
    };
    if old > new {
        [0, half(width, new / old)]
    } else {
        [half(height, old / new), 0]
    }
}

/// Old pixels and how much each counts.
type Weights = Vec<(usize, f64)>;

fn one(plane: &[f32], from: [usize; 2], rows: &[Weights], columns: &[Weights]) -> Vec<f32> {
    let mut wide = Vec::with_capacity(from[0] * columns.len());
    for row in plane.chunks_exact(from[1]) {
        wide.extend(columns.iter().map(|new| sum(new, |x| row[x])));
    }
    let all = rows.iter().flat_map(|new| {
        let wide = &wide;
        (0..columns.len()).map(move |x| sum(new, |y| wide[y * columns.len() + x]))
    });
    all.collect()
}

fn sum(new: &Weights, old: impl Fn(usize) -> f32) -> f32 {
    let parts = new.iter().map(|(at, weight)| weight * f64::from(old(*at)));
    parts.sum::<f64>() as f32
}

impl Method {
    /// For each of `to` new pixels, the old ones that it is made of.
    fn weights(self, from: usize, to: usize) -> Vec<Weights> {
        let scale = from as f64 / to as f64;
        (0..to)
            .map(|new| match self {
                Self::Nearest => nearest(new, from, to),
                Self::Bilinear => bilinear((new as f64 + 0.5) * scale - 0.5, from),
                Self::Bicubic => bicubic((new as f64 + 0.5) * scale - 0.5, from),
                Self::Area => area(new, from, to),
                Self::Lanczos => lanczos((new as f64 + 0.5) * scale, scale, from),
            })
            .collect()
    }
}

/// In f32, as PyTorch finds the place.
fn nearest(new: usize, from: usize, to: usize) -> Weights {
    let at = (new as f32 + 0.5) * (from as f32 / to as f32);
    vec![((at as usize).min(from - 1), 1.0)]
}

fn bilinear(at: f64, from: usize) -> Weights {
    let at = at.max(0.0);
    let (low, part) = (at as usize, at.fract());
    vec![(low, 1.0 - part), ((low + 1).min(from - 1), part)]
}

/// Keys's cubic with a = −0.75.
fn bicubic(at: f64, from: usize) -> Weights {
    const A: f64 = -0.75;
    let near = |x: f64| ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0;
    let far = |x: f64| ((A * x - 5.0 * A) * x + 8.0 * A) * x - 4.0 * A;
    let (low, t) = (at.floor(), at - at.floor());
    let weights = [far(1.0 + t), near(t), near(1.0 - t), far(2.0 - t)];
    let place = |i: usize| (low + i as f64 - 1.0).clamp(0.0, (from - 1) as f64) as usize;
    weights
        .into_iter()
        .enumerate()
        .map(|(i, weight)| (place(i), weight))
        .collect()
}

fn area(new: usize, from: usize, to: usize) -> Weights {
    let (start, end) = (new * from / to, ((new + 1) * from).div_ceil(to));
    let share = 1.0 / (end - start) as f64;
    (start..end).map(|old| (old, share)).collect()
}

/// Wider where the picture gets smaller, so that nothing is skipped.
fn lanczos(center: f64, scale: f64, from: usize) -> Weights {
    let stretch = scale.max(1.0);
    let reach = 3.0 * stretch;
    let start = (center - reach + 0.5).max(0.0) as usize;
    let end = ((center + reach + 0.5) as usize).min(from);
    let raw = (start..end).map(|old| {
        let x = (old as f64 - center + 0.5) / stretch;
        (
            old,
            if x.abs() < 3.0 {
                sinc(x) * sinc(x / 3.0)
            } else {
                0.0
            },
        )
    });
    let raw: Weights = raw.collect();
    let sum: f64 = raw.iter().map(|(_, weight)| weight).sum();
    raw.into_iter().map(|(old, w)| (old, w / sum)).collect()
}

fn sinc(x: f64) -> f64 {
    if x == 0.0 {
        1.0
    } else {
        libm::sin(PI * x) / (PI * x)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Method; 5] = [
        Method::Nearest,
        Method::Bilinear,
        Method::Bicubic,
        Method::Area,
        Method::Lanczos,
    ];

    #[test]
    fn every_method_keeps_an_even_picture_even_at_any_size() {
        for method in ALL {
            for (from, to) in [([1, 1], [3, 2]), ([5, 7], [1, 1]), ([9, 4], [4, 9])] {
                let got = resize(&vec![0.5; 2 * from[0] * from[1]], from, to, method);
                assert_eq!(got.len(), 2 * to[0] * to[1]);
                assert!(got.iter().all(|x| (x - 0.5).abs() < 1e-6), "{method:?}");
            }
        }
    }

    #[test]
    fn what_is_cut_leaves_the_shape_that_is_wanted() {
        assert_eq!(margins([512, 768], [64, 64]), [0, 128]);
        assert_eq!(margins([768, 512], [64, 64]), [128, 0]);
        assert_eq!(margins([512, 512], [64, 64]), [0, 0]);
        assert_eq!(
            margins([10, 15], [10, 10]),
            [0, 2],
            "2.5 goes to the even side"
        );
        assert_eq!(margins([1, 1000], [1000, 1]), [0, 499]);
    }
}
