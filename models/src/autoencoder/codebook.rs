//! The nearest code, and codes counted among those in use.

use crate::error::{Error, Result};

/// For each of `pixels [n, width]`, which of `codes [m, width]` is nearest.
pub(super) fn nearest(pixels: &[f32], codes: &[f32], width: usize) -> Vec<i64> {
    // One row for each number of a code, so that distances to many codes are made at once.
    let rows: Vec<Vec<f32>> = (0..width)
        .map(|at| codes.iter().skip(at).step_by(width).copied().collect())
        .collect();
    let mut distances = vec![0.0; codes.len() / width];
    let of = |pixel: &[f32]| {
        distances.fill(0.0);
        for (row, x) in rows.iter().zip(pixel) {
            for (distance, code) in distances.iter_mut().zip(row) {
                *distance += (x - code) * (x - code);
            }
        }
        first_least(&distances)
    };
    pixels.chunks_exact(width).map(of).collect()
}

fn first_least(distances: &[f32]) -> i64 {
    let (mut at, mut least) = (0, f32::INFINITY);
    for (i, &distance) in (0..).zip(distances) {
        if distance < least {
            (at, least) = (i, distance);
        }
    }
    at
}

/// The codes in use, counted from 0 (`remap` of the released code): of a large codebook
/// training leaves many untouched, and a model of codes needs no word for those.
///
/// The released code can also draw a code where one is unknown; that is left out, since
/// nothing here depends on chance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remap {
    used: Vec<usize>,
    unknown: Unknown,
}

/// What stands for a code that is not in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unknown {
    /// One number more than there are codes in use.
    Extra,
    /// This number.
    Index(usize),
}

impl Remap {
    /// Of the codes `used`, in the order in which they are counted.
    ///
    /// # Errors
    /// When there is none, or `unknown` is no number that the others have.
    pub fn new(used: Vec<usize>, unknown: Unknown) -> Result<Self> {
        let fail = |why| Err(Error::config("VQ autoencoder", why));
        match unknown {
            _ if used.is_empty() => fail("remap uses no code; name one at least".to_owned()),
            Unknown::Index(i) if i >= used.len() => {
                let n = used.len();
                fail(format!("remap's unknown index is {i}, wanted below {n}"))
            }
            _ => Ok(Self { used, unknown }),
        }
    }

    /// How many numbers [`Remap::to_used`] gives.
    pub fn numbers(&self) -> usize {
        self.used.len() + usize::from(self.unknown == Unknown::Extra)
    }

    /// From a code of the whole codebook to its number among those in use.
    pub fn to_used(&self, code: usize) -> usize {
        let known = self.used.iter().position(|used| *used == code);
        known.unwrap_or(match self.unknown {
            Unknown::Extra => self.used.len(),
            Unknown::Index(i) => i,
        })
    }

    /// Back again; what stood for the unknown becomes the first code in use.
    pub fn to_all(&self, number: usize) -> usize {
        *self.used.get(number).unwrap_or(&self.used[0])
    }
}
