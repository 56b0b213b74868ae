//! What the residual blocks are told of timesteps, for many steps of a walk at once.
//!
//! ```text
//! t ─ time ─(+)─ silu ─┬─ linear of block 1 ─┐
//!     label ─┘         ├─ …                  ├─ one row a step: what each block adds, in order
//!                      └─ linear of block n ─┘
//! ```
//!
//! A step reads the weights of all these layers to multiply a row or two by them. Where the walk
//! says ahead at which timesteps it will ask, that is done once for many of them, and a step is
//! left with cutting its row. (On a GPU burn copies what it cuts, unless that begins and ends at
//! multiples of 512 bytes: small launches are left of larger ones.)
//!
//! Promises
//! - A row is the same whether it was made ahead or for its step alone; on the CPU bit for bit.
//! - So many rows are made at once, however long the walk and however large the batch.

use std::cell::RefCell;
use std::iter::repeat_n;
use std::rc::Rc;

use burn::tensor::Tensor;

use super::Heard;
use super::encoder::Encoder;
use super::level::Level;

/// Rows that are projected at once: enough to read the weights seldom, and a few megabytes.
const MOST_ROWS: usize = 128;

/// What each residual block is told at one step.
#[derive(Debug, Clone)]
pub(crate) struct Row {
    /// Of each block `[b, width]`, one behind the other in the order in which they run.
    pub(super) numbers: Tensor<1>,
    pub(super) widths: Rc<[usize]>,
}

impl Row {
    /// Of each block `[b, width]`.
    pub(crate) fn split(self) -> Vec<Tensor<2>> {
        let total: usize = self.widths.iter().sum();
        let batch = self.numbers.dims()[0] / total.max(1);
        let mut from = 0;
        let each = self.widths.iter().map(|width| {
            let count = batch * width;
            from += count;
            let part = self.numbers.clone().narrow(0, from - count, count);
            part.reshape([batch, *width])
        });
        each.collect()
    }
}

/// The timesteps of a walk, and the rows of those that come next.
#[derive(Debug, Clone, Default)]
pub(super) struct Ahead {
    /// Each once, in the order in which they are asked first.
    timesteps: Vec<f64>,
    rows: RefCell<Option<Rows>>,
}

#[derive(Debug, Clone)]
struct Rows {
    timesteps: Vec<f64>,
    batch: usize,
    /// `[timesteps, Σ b·width]`
    all: Tensor<2>,
    widths: Rc<[usize]>,
}

impl Ahead {
    /// Of a walk that will ask at these.
    pub(super) fn new(timesteps: &[f64]) -> Self {
        let mut once: Vec<f64> = Vec::new();
        for t in timesteps {
            if !once.contains(t) {
                once.push(*t);
            }
        }
        Self {
            timesteps: once,
            rows: RefCell::default(),
        }
    }
}

impl Rows {
    fn at(&self, t: f64, batch: usize) -> Option<Row> {
        let at = self.timesteps.iter().position(|known| *known == t)?;
        (self.batch == batch).then(|| self.row(at))
    }

    fn row(&self, at: usize) -> Row {
        let [_, n] = self.all.dims();
        Row {
            numbers: self.all.clone().narrow(0, at, 1).reshape([n]),
            widths: self.widths.clone(),
        }
    }
}

impl Encoder<'_> {
    /// What this half and the levels of `up`, which come after it, are told at `t` of a batch of
    /// so many.
    pub(crate) fn row(&self, t: f64, batch: usize, heard: &Heard, up: &[Level]) -> Row {
        let mut kept = heard.ahead.rows.borrow_mut();
        if let Some(row) = kept.as_ref().and_then(|rows| rows.at(t, batch)) {
            return row;
        }
        let planned = &heard.ahead.timesteps;
        let Some(next) = planned.iter().position(|planned| *planned == t) else {
            return self.rows(&[t], batch, heard, up).row(0);
        };
        let count = (MOST_ROWS / batch).clamp(1, planned.len() - next);
        let rows = self.rows(&planned[next..next + count], batch, heard, up);
        kept.insert(rows).row(0)
    }

    fn rows(&self, timesteps: &[f64], batch: usize, heard: &Heard, up: &[Level]) -> Rows {
        let steps = timesteps.len();
        let each = timesteps.iter().flat_map(|t| repeat_n(*t as f32, batch));
        let t = Tensor::from_data(&each.collect::<Vec<f32>>()[..], &self.conv_in.device());
        let label = heard.label.clone();
        let label = label.map(|label| label.repeat_dim(0, steps)); // [steps·b, c_time]
        let projected = self.project(t, label, up);
        let widths = projected.iter().map(|x| x.dims()[1]).collect();
        let each = projected.into_iter().map(|x| {
            let [_, width] = x.dims();
            x.reshape([steps, batch * width])
        });
        Rows {
            timesteps: timesteps.to_vec(),
            batch,
            all: Tensor::cat(each.collect(), 1),
            widths,
        }
    }
}
