//! A layer's weight with an adapter's change in it. `W [out, in, …]` is flattened to
//! `[out, in × kernel]`, `s` is the strength and `r` the rank.
//!
//! ```text
//! added:     W' = W + s·c·Δ            c = alpha / r, Δ as `Method` says
//! DoRA:      W' = W + s·(V · m/‖V‖ − W)     V = W + c·Δ, norms of rows or of columns
//! rotated:   W' = W + s·(g·R·W − W)    R = (1 + Q)(1 − Q)⁻¹ in blocks, Q = B − Bᵀ
//! replaced:  W' = the new one          s ≠ 0
//! ```
//!
//! Promise: strength 0 changes no bit.

use super::matrix::{Matrix, cayley};
use super::method::{Method, Shapes, as_matrix, glora};
use super::names::Piece;
use super::{Adapter, Target};
use crate::error::{Error, Result};

/// One target's numbers.
pub(super) struct Pieces<'a> {
    pub(super) adapter: &'a Adapter,
    pub(super) target: &'a Target,
}

impl Shapes for Pieces<'_> {
    fn shape(&self, piece: Piece) -> Option<&[usize]> {
        self.adapter.shape(self.target, piece)
    }
}

impl Pieces<'_> {
    fn read(&self, piece: Piece) -> Result<Vec<f32>> {
        self.adapter.read(self.target, piece)
    }

    fn get(&self, piece: Piece) -> Result<Matrix> {
        let numbers = self.read(piece)?;
        Ok(Matrix::of(self.shape(piece).unwrap_or_default(), numbers))
    }

    /// `weight`, of `shape`, with this change at `strength`.
    pub(super) fn change_weight(
        &self,
        method: Method,
        strength: f64,
        shape: &[usize],
        weight: &mut Vec<f32>,
    ) -> Result<()> {
        let whole = match method {
            Method::Set => {
                *weight = self.read(Piece::Set)?;
                return Ok(());
            }
            Method::Oft => self.rotated(shape, weight)?,
            Method::Boft => self.rotated_in_stages(shape, weight)?,
            _ => {
                let (delta, scale) = (self.delta(method, shape, weight)?, self.scale(method)?);
                if !(self.has(Piece::DoraScale) || self.has(Piece::Magnitude)) {
                    add(weight, &delta, strength * scale);
                    return Ok(());
                }
                self.with_magnitudes(shape, weight, &delta, scale)?
            }
        };
        towards(weight, &whole, strength);
        Ok(())
    }

    /// `bias` with this change at `strength`.
    pub(super) fn change_bias(&self, strength: f64, bias: &mut [f32]) -> Result<()> {
        add(bias, &self.read(Piece::DiffBias)?, strength);
        Ok(())
    }

    /// Δ, flattened.
    fn delta(&self, method: Method, shape: &[usize], weight: &[f32]) -> Result<Vec<f32>> {
        let delta = match method {
            Method::Lora if self.has(Piece::Mid) => {
                let (up, mid) = (self.get(Piece::Up)?, self.get(Piece::Mid)?);
                Matrix::tucker(&up, &mid, &self.get(Piece::Down)?)?
            }
            Method::Lora => self.get(Piece::Up)?.times(&self.get(Piece::Down)?)?,
            Method::Loha => {
                let second = self.factor(Piece::HadaW2A, Piece::HadaW2B, Piece::HadaT2)?;
                self.factor(Piece::HadaW1A, Piece::HadaW1B, Piece::HadaT1)?
                    .hadamard(&second)
            }
            Method::Lokr => self.lokr()?,
            Method::Glora => self.glora(shape, weight)?,
            Method::Diff => self.get(Piece::Diff)?,
            Method::Oft | Method::Boft | Method::Set => {
                return Err(Error::bug("a method that adds nothing"));
            }
        };
        Ok(delta.numbers)
    }

    /// `a · b`; or, with a `mid`, its Tucker form, in which `a` has the rank first.
    fn factor(&self, a: Piece, b: Piece, mid: Piece) -> Result<Matrix> {
        let (a, b) = (self.get(a)?, self.get(b)?);
        match self.has(mid) {
            true => Matrix::tucker(&a.turned(), &self.get(mid)?, &b),
            false => a.times(&b),
        }
    }

    fn lokr(&self) -> Result<Matrix> {
        let first = match self.has(Piece::LokrW1) {
            true => self.get(Piece::LokrW1)?,
            false => self
                .get(Piece::LokrW1A)?
                .times(&self.get(Piece::LokrW1B)?)?,
        };
        let second = match self.has(Piece::LokrW2) {
            true => self.get(Piece::LokrW2)?,
            false => self.factor(Piece::LokrW2A, Piece::LokrW2B, Piece::LokrT2)?,
        };
        Ok(first.kronecker(&second))
    }

    /// `W · a1 · a2 + b1 · b2`; of a convolution the first product is over its inputs.
    fn glora(&self, shape: &[usize], weight: &[f32]) -> Result<Matrix> {
        let order = glora(self, shape);
        let [a1, a2, b1, b2] =
            order.ok_or(Error::bug("an adapter that was not held against it"))?;
        let mut sum = self.get(b1)?.times(&self.get(b2)?)?;
        let kernel = sum.columns / shape[1];
        let a = self.get(a1)?.times(&self.get(a2)?)?;
        let inputs_last = Matrix::of(shape, weight.to_vec()).swapped(shape[1], kernel);
        let turned = inputs_last.times(&a)?.swapped(kernel, shape[1]);
        add(&mut sum.numbers, &turned.numbers, 1.0);
        Ok(sum)
    }

    /// alpha / r. Files without alpha mean alpha = r.
    fn scale(&self, method: Method) -> Result<f64> {
        let rank_of = |piece| self.matrix(piece).map(|[rows, _]| rows);
        let rank = match method {
            Method::Lora => rank_of(Piece::Down),
            Method::Loha => rank_of(Piece::HadaW1B),
            Method::Lokr => rank_of(Piece::LokrW2B).or_else(|| rank_of(Piece::LokrW1B)),
            Method::Glora => self.glora_rank(),
            Method::Oft | Method::Boft | Method::Diff | Method::Set => None,
        };
        match rank {
            Some(rank) => self.adapter.scale(self.target, rank),
            None => Ok(1.0),
        }
    }

    /// The side that a1 and a2 share is the shorter one.
    fn glora_rank(&self) -> Option<usize> {
        let [a, b] = self.matrix(Piece::GloraA1)?;
        Some(a.min(b))
    }

    /// `V · m/‖V‖` for `V = W + c·Δ`. Liu et al. 2024 (DoRA, arXiv 2402.09353), whose
    /// magnitudes are of what we call rows; LyCORIS also has magnitudes of inputs.
    fn with_magnitudes(
        &self,
        shape: &[usize],
        weight: &[f32],
        delta: &[f32],
        scale: f64,
    ) -> Result<Vec<f32>> {
        let mut v = weight.to_vec();
        add(&mut v, delta, scale);
        let piece = match self.has(Piece::Magnitude) {
            true => Piece::Magnitude,
            false => Piece::DoraScale,
        };
        let of = self.shape(piece).unwrap_or_default();
        let [out, rest] = as_matrix(shape);
        let by_row = piece == Piece::Magnitude || of.first() == Some(&out);
        let kernel = rest / shape.get(1).copied().unwrap_or(1);
        scale_groups(&mut v, &self.read(piece)?, |at| match by_row {
            true => at / rest,
            false => at % rest / kernel,
        });
        Ok(v)
    }

    /// `g · Rᵀ · W` in blocks of rows.
    fn rotated(&self, shape: &[usize], weight: &[f32]) -> Result<Vec<f32>> {
        let (stages, size) = self.rotations(shape[0])?;
        let [_, rest] = as_matrix(shape);
        let turn = |stage: &Vec<Vec<f64>>, numbers: &[f32]| {
            turn(stage, size, numbers, rest, &|row| row, Order::Transposed)
        };
        let turned = stages.iter().fold(weight.to_vec(), |w, s| turn(s, &w));
        self.rescaled(turned, rest)
    }

    /// `g · Rₘ … R₂ · R₁ · W`, between which rows are dealt out as in a butterfly.
    fn rotated_in_stages(&self, shape: &[usize], weight: &[f32]) -> Result<Vec<f32>> {
        let (stages, size) = self.rotations(shape[0])?;
        let [_, rest] = as_matrix(shape);
        let mut numbers = weight.to_vec();
        for (at, stage) in stages.iter().enumerate() {
            let half = (size / 2) << at;
            let place = |row: usize| {
                let (group, inside) = (row / (2 * half), row % (2 * half));
                group * 2 * half + (inside % 2) * half + inside / 2
            };
            numbers = turn(stage, size, &numbers, rest, &place, Order::AsIs);
        }
        self.rescaled(numbers, rest)
    }

    /// The rotations, stage by stage and block by block, and the size of a block. A positive
    /// alpha bounds the norm of all Q together, in units of the outputs.
    fn rotations(&self, outputs: usize) -> Result<(Vec<Vec<Vec<f64>>>, usize)> {
        let of = self.shape(Piece::Blocks).unwrap_or_default();
        let (size, stages) = (
            *of.last().unwrap_or(&1),
            if of.len() == 4 { of[0] } else { 1 },
        );
        let blocks = self.read(Piece::Blocks)?;
        let mut qs: Vec<Vec<f64>> = (blocks.chunks_exact(size * size))
            .map(|b| skew(b, size))
            .collect();
        let bound = self.adapter.alpha(self.target)?.unwrap_or(0.0) * outputs as f64;
        let norm = (qs.iter().flatten().map(|x| x * x).sum::<f64>()).sqrt() + 1e-8;
        if bound > 0.0 && norm > bound {
            (qs.iter_mut().flatten()).for_each(|x| *x *= bound / norm);
        }
        let turns: Vec<Vec<f64>> = qs.iter().map(|q| cayley(q, size)).collect();
        let each = turns.len() / stages;
        Ok((turns.chunks(each).map(<[_]>::to_vec).collect(), size))
    }

    fn rescaled(&self, mut numbers: Vec<f32>, rest: usize) -> Result<Vec<f32>> {
        if self.has(Piece::Rescale) {
            let by = self.read(Piece::Rescale)?;
            for (row, by) in numbers.chunks_exact_mut(rest).zip(by) {
                row.iter_mut().for_each(|x| *x *= by);
            }
        }
        Ok(numbers)
    }
}

/// `B − Bᵀ`
fn skew(block: &[f32], n: usize) -> Vec<f64> {
    let at = |i: usize| f64::from(block[i]);
    (0..n * n).map(|i| at(i) - at(i % n * n + i / n)).collect()
}

/// Which way a block is multiplied.
#[derive(Clone, Copy, PartialEq)]
enum Order {
    AsIs,
    Transposed,
}

/// Multiplies blocks of `size` rows by `blocks`; `place` says which row stands at a place of
/// the order that blocks are cut from.
fn turn(
    blocks: &[Vec<f64>],
    size: usize,
    numbers: &[f32],
    rest: usize,
    place: &dyn Fn(usize) -> usize,
    order: Order,
) -> Vec<f32> {
    let mut turned = vec![0.0; numbers.len()];
    let mut sum = vec![0.0; rest];
    for row in 0..numbers.len() / rest {
        let (block, i) = (&blocks[row / size], row % size);
        sum.fill(0.0);
        for j in 0..size {
            let by = match order {
                Order::AsIs => block[i * size + j],
                Order::Transposed => block[j * size + i],
            };
            let from = &numbers[place(row - i + j) * rest..][..rest];
            sum.iter_mut()
                .zip(from)
                .for_each(|(s, x)| *s += by * f64::from(*x));
        }
        let into = &mut turned[place(row) * rest..][..rest];
        into.iter_mut().zip(&sum).for_each(|(x, s)| *x = *s as f32);
    }
    turned
}

/// Gives each group of `numbers`, of which `group` tells by the place, its wanted length.
fn scale_groups(numbers: &mut [f32], lengths: &[f32], group: impl Fn(usize) -> usize) {
    let mut squares = vec![0.0; lengths.len()];
    for (at, x) in numbers.iter().enumerate() {
        squares[group(at)] += f64::from(*x).powi(2);
    }
    let factor = |(m, square): (&f32, f64)| f64::from(*m) / square.sqrt();
    let factors: Vec<f64> = lengths.iter().zip(squares).map(factor).collect();
    for (at, x) in numbers.iter_mut().enumerate() {
        // A group of zeros has no direction to scale, and stays.
        let factor = factors[group(at)];
        *x = (f64::from(*x) * if factor.is_finite() { factor } else { 1.0 }) as f32;
    }
}

/// `into + by · what`
fn add(into: &mut [f32], what: &[f32], by: f64) {
    let by = by as f32;
    into.iter_mut().zip(what).for_each(|(x, y)| *x += by * y);
}

/// `from + by · (to − from)`, and `to` itself where `by` is 1.
fn towards(from: &mut [f32], to: &[f32], by: f64) {
    if by == 1.0 {
        return from.copy_from_slice(to);
    }
    let by = by as f32;
    (from.iter_mut().zip(to)).for_each(|(x, to)| *x += by * (to - *x));
}
