//! The little linear algebra that adapters are made of, on the host in f32.
//!
//! Products run through the CPU's kernels, whose sums follow from shapes alone.

use burn::tensor::{Device, Tensor, TensorData};
use ldm_kernels::linear;

use super::method::as_matrix;
use crate::error::{Error, Result};

/// Rows of numbers.
#[derive(Debug, Clone)]
pub(super) struct Matrix {
    pub(super) rows: usize,
    pub(super) columns: usize,
    pub(super) numbers: Vec<f32>,
}

impl Matrix {
    /// A tensor of any shape: its rows, and all else as columns.
    pub(super) fn of(shape: &[usize], numbers: Vec<f32>) -> Self {
        let [rows, columns] = as_matrix(shape);
        Self {
            rows,
            columns,
            numbers,
        }
    }

    /// `self [a, r] · other [r, b]` → `[a, b]`
    pub(super) fn times(&self, other: &Self) -> Result<Self> {
        let device = Device::flex();
        let tensor = |m: &Self| {
            let data = TensorData::new(m.numbers.clone(), [m.rows, m.columns]);
            Tensor::<2>::from_data(data, &device)
        };
        let data = linear(tensor(self), tensor(other), None).try_into_data();
        let numbers = data.map_err(|e| Error::device(&e))?.try_into_vec::<f32>();
        Ok(Self {
            rows: self.rows,
            columns: other.columns,
            numbers: numbers.map_err(|_| Error::bug("f32 that are not f32"))?,
        })
    }

    /// `[a, b]` → `[b, a]`
    pub(super) fn turned(&self) -> Self {
        self.swapped(self.rows, self.columns)
    }

    /// The numbers seen as `[.., a, b]` and put in the order of `[.., b, a]`, in rows of `a`.
    pub(super) fn swapped(&self, a: usize, b: usize) -> Self {
        Self {
            rows: self.numbers.len() / a,
            columns: a,
            numbers: swap_last(&self.numbers, a, b),
        }
    }

    /// `up [out, m]`, `mid [m, n, k]`, `down [n, in]` → `[out, in × k]`
    pub(super) fn tucker(up: &Self, mid: &Self, down: &Self) -> Result<Self> {
        let (m, n, inputs) = (mid.rows, down.rows, down.columns);
        let k = mid.columns / n;
        let inner = mid.swapped(n, k).times(down)?; // [m × k, in]
        let numbers = swap_last(&inner.numbers, k, inputs);
        up.times(&Self::of(&[m, inputs, k], numbers))
    }

    /// `self [a, c] ⊗ other [b, d × k]` → `[a × b, c × d × k]`, `k` being the size of a
    /// kernel, which the first factor has none of.
    pub(super) fn kronecker(&self, other: &Self) -> Self {
        let mut numbers = Vec::with_capacity(self.numbers.len() * other.numbers.len());
        for row in self.numbers.chunks_exact(self.columns) {
            for other_row in other.numbers.chunks_exact(other.columns) {
                for x in row {
                    numbers.extend(other_row.iter().map(|y| x * y));
                }
            }
        }
        Self {
            rows: self.rows * other.rows,
            columns: self.columns * other.columns,
            numbers,
        }
    }

    /// Number by number.
    pub(super) fn hadamard(mut self, other: &Self) -> Self {
        (self.numbers.iter_mut().zip(&other.numbers)).for_each(|(x, y)| *x *= y);
        self
    }
}

/// `[.., a, b]` → `[.., b, a]`
fn swap_last(numbers: &[f32], a: usize, b: usize) -> Vec<f32> {
    let each = numbers.chunks_exact(a * b);
    each.flat_map(|one| (0..a * b).map(move |i| one[(i % a) * b + i / a]))
        .collect()
}

/// Cayley's rotation `(1 + Q)(1 − Q)⁻¹` of `Q [n, n]`, which equals its negative transpose.
///
/// Solved without exchanging rows: every leading block of `1 − Q` is invertible, since its
/// symmetric half is the identity.
pub(super) fn cayley(q: &[f64], n: usize) -> Vec<f64> {
    let one = |i: usize, j: usize| f64::from(u8::from(i == j));
    let mut left: Vec<f64> = (0..n * n).map(|at| one(at / n, at % n) - q[at]).collect();
    let mut right: Vec<f64> = (0..n * n).map(|at| one(at / n, at % n) + q[at]).collect();
    for pivot in 0..n {
        let by = left[pivot * n + pivot];
        for rows in [&mut left, &mut right] {
            rows[pivot * n..][..n].iter_mut().for_each(|x| *x /= by);
        }
        for row in (0..n).filter(|row| *row != pivot) {
            let by = left[row * n + pivot];
            for rows in [&mut left, &mut right] {
                for j in 0..n {
                    rows[row * n + j] -= by * rows[pivot * n + j];
                }
            }
        }
    }
    right
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matrix(rows: usize, columns: usize, first: f32) -> Matrix {
        let numbers = (0..rows * columns).map(|i| first + i as f32).collect();
        Matrix {
            rows,
            columns,
            numbers,
        }
    }

    #[test]
    fn a_product_of_kronecker_has_blocks() {
        let product = matrix(1, 2, 2.0).kronecker(&matrix(2, 2, 1.0));
        assert_eq!((product.rows, product.columns), (2, 4));
        assert_eq!(product.numbers, [2., 4., 3., 6., 6., 8., 9., 12.]);
    }

    #[test]
    fn the_tucker_form_sums_over_both_ranks() {
        let (up, mid, down) = (matrix(2, 2, 1.0), matrix(2, 6, 0.5), matrix(3, 4, -2.0));
        let got = Matrix::tucker(&up, &mid, &down).unwrap(); // k = 2
        for (o, i, k) in [(0, 0, 0), (1, 3, 1), (0, 2, 1), (1, 1, 0)] {
            let mut want = 0.0;
            for m in 0..2 {
                for n in 0..3 {
                    want += up.numbers[o * 2 + m]
                        * mid.numbers[m * 6 + n * 2 + k]
                        * down.numbers[n * 4 + i];
                }
            }
            assert_eq!(got.numbers[o * 8 + i * 2 + k], want);
        }
    }

    #[test]
    fn a_rotation_keeps_lengths() {
        let q = [0.0, 0.5, -1.0, -0.5, 0.0, 2.0, 1.0, -2.0, 0.0];
        let r = cayley(&q, 3);
        for i in 0..3 {
            for j in 0..3 {
                let dot: f64 = (0..3).map(|k| r[i * 3 + k] * r[j * 3 + k]).sum();
                let want = f64::from(u8::from(i == j));
                assert!((dot - want).abs() < 1e-12, "{r:?}");
            }
        }
    }
}
