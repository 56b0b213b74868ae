//! How an adapter's tensors become a change of one layer's weight: which there are, which
//! pieces each needs, and what shape of weight they are for.
//!
//! Everything here follows from names and shapes; no number is read.
//!
//! Not here: the arithmetic (`merge`).

use std::fmt;

use super::names::Piece;

/// A way to write a change of a weight `W [out, in, …]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Method {
    /// `up · down`; of a convolution also `up · mid · down`. Hu et al. 2021 (arXiv
    /// 2106.09685); LoCon and its Tucker form: Yeh et al. 2023 (LyCORIS, arXiv 2309.14859).
    Lora,
    /// `(w1a · w1b) ∘ (w2a · w2b)`. Hyeon-Woo et al. 2021 (FedPara, arXiv 2108.06098).
    Loha,
    /// `w1 ⊗ w2`. Yeh et al. 2023 (LyCORIS).
    Lokr,
    /// `W · a1 · a2 + b1 · b2`. Chavan et al. 2023 (arXiv 2306.07967).
    Glora,
    /// Rotates the outputs in blocks. Qiu et al. 2023 (arXiv 2306.07280).
    Oft,
    /// Rotates the outputs in blocks, in several stages with a butterfly's order between.
    /// Liu et al. 2023 (arXiv 2311.06243).
    Boft,
    /// The change itself.
    Diff,
    /// The new weight itself.
    Set,
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Lora => "LoRA",
            Self::Loha => "LoHa",
            Self::Lokr => "LoKr",
            Self::Glora => "GLoRA",
            Self::Oft => "OFT",
            Self::Boft => "BOFT",
            Self::Diff => "diff",
            Self::Set => "set_weight",
        })
    }
}

use Piece::{
    Blocks, Diff, DoraScale, Down, GloraA1, GloraA2, GloraB1, GloraB2, HadaT1, HadaT2, HadaW1A,
    HadaW1B, HadaW2A, HadaW2B, LokrT2, LokrW1, LokrW1A, LokrW1B, LokrW2, LokrW2A, LokrW2B,
    Magnitude, Mid, Rescale, Set, Up,
};

/// For each method the pieces it may have.
const METHODS: &[(Method, &[Piece])] = &[
    (Method::Lora, &[Up, Down, Mid]),
    (
        Method::Loha,
        &[HadaW1A, HadaW1B, HadaW2A, HadaW2B, HadaT1, HadaT2],
    ),
    (
        Method::Lokr,
        &[LokrW1, LokrW1A, LokrW1B, LokrW2, LokrW2A, LokrW2B, LokrT2],
    ),
    (Method::Glora, &[GloraA1, GloraA2, GloraB1, GloraB2]),
    (Method::Oft, &[Blocks, Rescale]),
    (Method::Diff, &[Diff]),
    (Method::Set, &[Set]),
];

/// The shapes of one layer's pieces.
pub(super) trait Shapes {
    /// The shape of a piece, if there is one.
    fn shape(&self, piece: Piece) -> Option<&[usize]>;

    fn has(&self, piece: Piece) -> bool {
        self.shape(piece).is_some()
    }

    /// A piece as a matrix: its rows, and all else as columns.
    fn matrix(&self, piece: Piece) -> Option<[usize; 2]> {
        self.shape(piece).map(as_matrix)
    }
}

/// Any shape as a matrix: rows, and all else as columns.
pub(super) fn as_matrix(shape: &[usize]) -> [usize; 2] {
    match shape.split_first() {
        Some((rows, rest)) => [*rows, rest.iter().product()],
        None => [1, 1],
    }
}

impl Method {
    /// The method that these pieces are of; none when they change no weight.
    ///
    /// # Errors
    /// They are of several, or one is missing; the rest of a sentence about the layer.
    pub(super) fn of(pieces: &impl Shapes) -> Result<Option<Self>, String> {
        let present = |(_, marks): &&(Self, &[Piece])| marks.iter().any(|m| pieces.has(*m));
        let mut found = METHODS.iter().filter(present).map(|(method, _)| *method);
        let Some(method) = found.next() else {
            return Ok(None);
        };
        if let Some(other) = found.next() {
            return Err(format!("has tensors of {method} and of {other}"));
        }
        let method = match pieces.shape(Blocks) {
            Some([_, _, _, _]) => Self::Boft,
            _ => method,
        };
        method.is_whole(pieces)?;
        if (pieces.has(DoraScale) || pieces.has(Magnitude)) && !method.takes_magnitudes() {
            return Err(format!(
                "has magnitudes (DoRA), which {method} has no use for"
            ));
        }
        Ok(Some(method))
    }

    fn takes_magnitudes(self) -> bool {
        matches!(self, Self::Lora | Self::Loha | Self::Lokr | Self::Glora)
    }

    /// Whether no piece is missing.
    fn is_whole(self, pieces: &impl Shapes) -> Result<(), String> {
        let all = |wanted: &[Piece]| wanted.iter().all(|piece| pieces.has(*piece));
        let factor = |whole, factors: [Piece; 2]| pieces.has(whole) || all(&factors);
        let whole = match self {
            Self::Lora => all(&[Up, Down]),
            Self::Loha => {
                all(&[HadaW1A, HadaW1B, HadaW2A, HadaW2B])
                    && pieces.has(HadaT1) == pieces.has(HadaT2)
            }
            Self::Lokr => factor(LokrW1, [LokrW1A, LokrW1B]) && factor(LokrW2, [LokrW2A, LokrW2B]),
            Self::Glora => all(&[GloraA1, GloraA2, GloraB1, GloraB2]),
            Self::Oft | Self::Boft => pieces.has(Blocks),
            Self::Diff | Self::Set => true,
        };
        match whole {
            true => Ok(()),
            false => Err(format!("lacks one of the tensors that {self} is made of")),
        }
    }

    /// The weight, as a matrix, that these pieces change, where they go together and go with
    /// one of `shape`; none where they do not.
    pub(super) fn target(self, pieces: &impl Shapes, shape: &[usize]) -> Option<[usize; 2]> {
        let target = match self {
            Self::Lora if pieces.has(Mid) => {
                tucker(pieces.matrix(Up)?, pieces.shape(Mid)?, pieces.matrix(Down)?)
            }
            Self::Lora => product(pieces.matrix(Up)?, pieces.matrix(Down)?),
            Self::Loha => loha(pieces),
            Self::Lokr => lokr(pieces),
            Self::Glora => glora(pieces, shape).map(|_| as_matrix(shape)),
            Self::Oft | Self::Boft => rotated(pieces.shape(Blocks)?, shape),
            Self::Diff => pieces.matrix(Diff),
            Self::Set => pieces.matrix(Set),
        }?;
        (magnitudes_fit(pieces, shape) && rescale_fits(pieces, shape)).then_some(target)
    }
}

/// `[a, r] · [r, b]` → `[a, b]`, if the ranks agree.
fn product([a, r]: [usize; 2], [s, b]: [usize; 2]) -> Option<[usize; 2]> {
    (r == s).then_some([a, b])
}

/// `up [out, m]`, `mid [m, n, …]`, `down [n, in]` → `[out, in × …]`
fn tucker(up: [usize; 2], mid: &[usize], down: [usize; 2]) -> Option<[usize; 2]> {
    let [m, n, kernel @ ..] = mid else {
        return None;
    };
    let inner = kernel.iter().product::<usize>() * down[1];
    (up[1] == *m && down[0] == *n).then_some([up[0], inner])
}

fn swapped([a, b]: [usize; 2]) -> [usize; 2] {
    [b, a]
}

/// In the Tucker form both factors have the rank first.
fn loha(pieces: &impl Shapes) -> Option<[usize; 2]> {
    let half = |a, b, mid| {
        let (a, b) = (pieces.matrix(a)?, pieces.matrix(b)?);
        match pieces.shape(mid) {
            Some(mid) => tucker(swapped(a), mid, b),
            None => product(a, b),
        }
    };
    let first = half(HadaW1A, HadaW1B, HadaT1)?;
    (half(HadaW2A, HadaW2B, HadaT2)? == first).then_some(first)
}

fn lokr(pieces: &impl Shapes) -> Option<[usize; 2]> {
    let first = match pieces.matrix(LokrW1) {
        Some(whole) => whole,
        None => product(pieces.matrix(LokrW1A)?, pieces.matrix(LokrW1B)?)?,
    };
    let second = match (pieces.matrix(LokrW2), pieces.shape(LokrT2)) {
        (Some(whole), _) => whole,
        (None, Some(mid)) => tucker(
            swapped(pieces.matrix(LokrW2A)?),
            mid,
            pieces.matrix(LokrW2B)?,
        )?,
        (None, None) => product(pieces.matrix(LokrW2A)?, pieces.matrix(LokrW2B)?)?,
    };
    Some([first[0] * second[0], first[1] * second[1]])
}

/// Which pieces are a1, a2, b1, b2: early versions of LyCORIS wrote each pair the other way
/// round.
pub(super) fn glora(pieces: &impl Shapes, shape: &[usize]) -> Option<[Piece; 4]> {
    let weight = as_matrix(shape);
    let inputs = *shape.get(1)?;
    let orders = [
        [GloraA1, GloraA2, GloraB1, GloraB2],
        [GloraA2, GloraA1, GloraB2, GloraB1],
    ];
    orders.into_iter().find(|[a1, a2, b1, b2]| {
        let of = |a, b| product(pieces.matrix(a)?, pieces.matrix(b)?);
        of(*a1, *a2) == Some([inputs, inputs]) && of(*b1, *b2) == Some(weight)
    })
}

/// Blocks `[n, b, b]`, or `[stages, n, b, b]` with an even `b`, turn `n × b` outputs.
fn rotated(blocks: &[usize], shape: &[usize]) -> Option<[usize; 2]> {
    let [out, rest] = as_matrix(shape);
    let turns = match *blocks {
        [n, b, c] => b == c && n * b == out,
        [stages, n, b, c] => {
            let widest = u32::try_from(stages)
                .ok()
                .and_then(|stages| b.checked_mul(2usize.checked_pow(stages.saturating_sub(1))?));
            b == c && n * b == out && b % 2 == 0 && widest.is_some_and(|w| w > 0 && out % w == 0)
        }
        _ => false,
    };
    turns.then_some([out, rest])
}

fn magnitudes_fit(pieces: &impl Shapes, shape: &[usize]) -> bool {
    let rows = |shape_of: &[usize]| shape_of.iter().product::<usize>() == shape[0];
    let scale = pieces
        .shape(DoraScale)
        .is_none_or(|of| rows(of) || (of.len() > 1 && of[0] == 1 && shape.get(1) == of.get(1)));
    scale && pieces.shape(Magnitude).is_none_or(rows)
}

fn rescale_fits(pieces: &impl Shapes, shape: &[usize]) -> bool {
    let rows = |of: &[usize]| of.iter().product::<usize>() == shape[0];
    pieces.shape(Rescale).is_none_or(rows)
}
