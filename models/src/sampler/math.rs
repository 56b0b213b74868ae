//! The arithmetic that samplers share, in the letters of the DPM-Solver papers: λ = −ln σ,
//! h a step in λ.
//!
//! Logarithms and exponentials come from `libm`, so that bits do not follow the C library.

use burn::tensor::Tensor;
pub(super) use libm::{exp, expm1, log, pow};

/// Σ cᵢ xᵢ of at least one term.
pub(super) fn combine(terms: &[(f64, &Tensor<4>)]) -> Tensor<4> {
    let mut sum: Option<Tensor<4>> = None;
    for &(c, x) in terms {
        let term = x.clone() * c;
        sum = Some(match sum {
            Some(sum) => sum + term,
            None => term,
        });
    }
    sum.expect("a sum has terms")
}

/// dx/dσ = (x − D)/σ, eq. 3 of Karras et al. 2022.
pub(super) fn slope(x: &Tensor<4>, clean: &Tensor<4>, sigma: f64) -> Tensor<4> {
    (x.clone() - clean.clone()) / sigma
}

/// λ = −ln σ: half the logarithm of the signal-to-noise ratio.
pub(super) fn lambda(sigma: f64) -> f64 {
    -log(sigma)
}

/// The σ of a λ.
pub(super) fn sigma_of(lambda: f64) -> f64 {
    exp(-lambda)
}

/// The σ that an ancestral step goes down to, and the noise it adds after: σ↓² + σ↑² = σₚ².
/// k-diffusion: `get_ancestral_step`.
pub(super) fn ancestral(sigma: f64, next: f64, eta: f64) -> (f64, f64) {
    let (next2, sigma2) = (next * next, sigma * sigma);
    let up = (eta * (next2 * (sigma2 - next2) / sigma2).sqrt()).min(next);
    ((next2 - up * up).sqrt(), up)
}

/// The coefficients of ∏ (x − rᵢ), lowest power first.
pub(super) fn from_roots(roots: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut poly = vec![1.0];
    for root in roots {
        let mut next = vec![0.0; poly.len() + 1];
        for (power, c) in poly.iter().enumerate() {
            next[power + 1] += c;
            next[power] -= root * c;
        }
        poly = next;
    }
    poly
}

/// The coefficients of Lagrange's polynomial that is 1 at `nodes[j]` and 0 at the others,
/// lowest power first.
pub(super) fn lagrange(nodes: &[f64], j: usize) -> Vec<f64> {
    let others = || {
        let others = nodes.iter().enumerate().filter(move |(k, _)| *k != j);
        others.map(|(_, &node)| node)
    };
    let scale: f64 = others().map(|node| nodes[j] - node).product();
    let poly = from_roots(others());
    poly.into_iter().map(|c| c / scale).collect()
}

/// The solution of a small linear system, by Gauss with pivots. `rows` are not singular.
pub(super) fn solve(mut rows: Vec<Vec<f64>>, mut right: Vec<f64>) -> Vec<f64> {
    let n = right.len();
    for k in 0..n {
        let size = |i: &usize| rows[*i][k].abs();
        let pivot = (k..n).max_by(|i, j| size(i).total_cmp(&size(j)));
        let pivot = pivot.expect("there is a row left");
        rows.swap(k, pivot);
        right.swap(k, pivot);
        let (top, below) = rows.split_at_mut(k + 1);
        for (i, row) in below.iter_mut().enumerate() {
            let factor = row[k] / top[k][k];
            for (value, pivot) in row.iter_mut().zip(&top[k]) {
                *value -= factor * pivot;
            }
            right[k + 1 + i] -= factor * right[k];
        }
    }
    for k in (0..n).rev() {
        let known: f64 = (k + 1..n).map(|j| rows[k][j] * right[j]).sum();
        right[k] = (right[k] - known) / rows[k][k];
    }
    right
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lagrange_polynomial_is_one_at_its_node_and_zero_at_the_others() {
        let nodes = [0.3, -1.2, 2.5, 4.0];
        for j in 0..4 {
            let poly = lagrange(&nodes, j);
            for (k, x) in nodes.iter().enumerate() {
                let value = poly.iter().rev().fold(0.0, |sum, c| sum * x + c);
                let want = if j == k { 1.0 } else { 0.0 };
                assert!((value - want).abs() < 1e-12, "{j} {k}: {value}");
            }
        }
    }

    #[test]
    fn a_small_system_is_solved_with_zeros_on_its_diagonal() {
        let rows = vec![
            vec![0.0, 2.0, 1.0],
            vec![1.0, 0.0, -1.0],
            vec![3.0, 1.0, 0.0],
        ];
        let x = solve(rows, vec![7.0, -2.0, 5.0]);
        for (got, want) in x.iter().zip([1.0, 2.0, 3.0]) {
            assert!((got - want).abs() < 1e-12, "{x:?}");
        }
    }

    #[test]
    fn an_ancestral_step_splits_the_noise_that_is_left() {
        for eta in [0.0, 0.5, 1.0] {
            let (down, up) = ancestral(5.0, 2.0, eta);
            assert!((down * down + up * up - 4.0).abs() < 1e-12);
        }
        assert_eq!(ancestral(5.0, 2.0, 0.0), (2.0, 0.0));
        assert_eq!(ancestral(5.0, 0.0, 1.0), (0.0, 0.0));
    }
}
