//! A product whose right side is read in place: for tap `k` and pixel `j` its element is
//! `source[taps[k] + pixel(j)]`, packed sixteen pixels at a time or, for few outputs, not at all.
//! There may be several sources, one below the other.
//!
//! Not here: which taps and pixels there are (`conv`).

use std::ops::Range;

use rayon::prelude::*;

use super::super::gemm::{Beside, KC, MOST_ROWS, NR, Start, Strided, Tile, Word, even, row_runs};
use super::super::memory::{Scratch, Shared};
use super::super::pairs;
use super::super::weights::Weights;
use super::{Grid, TASKS};

/// Pixels that one task computes.
const TASK: usize = 128;
/// Rows of outputs up to which the picture is read in place: too few to pay for packing it.
const FEW: usize = 12;
/// Rows of the weight that stay in the second cache while panels pass.
const HIGH: usize = 192;

/// `out[i][j] = bias[i] + Σ_k weight[i][k] · source[taps[k] + pixel(j)]`, over all taps of all
/// inputs, whose pixels are written to the same places.
pub(super) struct Implicit<'a> {
    pub(super) rows: usize,
    pub(super) weight: Weights<'a>,
    pub(super) bias: &'a [f32],
    pub(super) inputs: &'a [Input<'a>],
    pub(super) out: Shared,
    /// From a row of outputs (a channel) to the next.
    pub(super) out_row: usize,
}

/// What some of the taps read.
pub(super) struct Input<'a> {
    pub(super) source: &'a [f32],
    pub(super) taps: &'a [usize],
    pub(super) grid: Grid,
}

/// Sixteen pixels: where each reads and writes.
struct Panel {
    from: [usize; NR],
    to: [usize; NR],
    /// Pixels that exist; the rest repeat the first.
    width: usize,
    /// Neighbours read together: 16, 8, 4 or 1.
    run: usize,
    /// Whether all sixteen are written together.
    whole: bool,
}

impl Implicit<'_> {
    pub(super) fn run(&self) {
        let pixel_tasks = self.pixels().div_ceil(TASK);
        let row_tasks = match pixel_tasks {
            0 => return,
            n => TASKS.div_ceil(n).min(self.rows.div_ceil(MOST_ROWS)).max(1),
        };
        let rows = self.rows.div_ceil(row_tasks).next_multiple_of(MOST_ROWS);
        (0..pixel_tasks * row_tasks)
            .into_par_iter()
            .for_each(|task| {
                let from = task % row_tasks * rows;
                let rows = from..self.rows.min(from + rows);
                if !rows.is_empty() {
                    self.task(task / row_tasks * TASK, rows);
                }
            });
    }

    fn pixels(&self) -> usize {
        self.inputs.first().map_or(0, |input| input.grid.len())
    }

    /// Numbers of a row of the weight.
    fn depth(&self) -> usize {
        self.inputs.iter().map(|input| input.taps.len()).sum()
    }

    fn task(&self, first: usize, rows: Range<usize>) {
        let last = self.pixels().min(first + TASK);
        let mut before = 0;
        for input in self.inputs {
            self.part(input, before, first..last, rows.clone());
            before += input.taps.len();
        }
    }

    /// Adds the products of the taps of `input`, which `before` taps of others come before.
    fn part(&self, input: &Input<'_>, before: usize, pixels: Range<usize>, rows: Range<usize>) {
        let panels: Vec<Panel> = pixels
            .clone()
            .step_by(NR)
            .map(|j| input.grid.panel(j, pixels.end))
            .collect();
        let all = input.taps.len();
        let word = self.word();
        // Where no tap reaches, as between the steps of a 1×1 kernel, the bias is still written.
        let block = match word {
            Word::Single => even(all, KC).max(1),
            Word::Pair => even(all, 2 * KC).next_multiple_of(2).max(2),
        };
        let mut packed = Scratch::new(word.count(block) * panels.len() * NR);
        let high = even(rows.len(), HIGH).next_multiple_of(MOST_ROWS);
        let mut room = Scratch::new(high * spaced(word.count(block)));
        let mut done = 0;
        loop {
            let taps = &input.taps[done..all.min(done + block)];
            let lines = packed.chunks_exact_mut((word.count(taps.len()) * NR).max(1));
            let rights: Vec<Right> = panels
                .iter()
                .zip(lines)
                .map(|(panel, lines)| panel.right(rows.len(), word, lines, taps, input.source))
                .collect();
            for top in rows.clone().step_by(high) {
                let some = top..rows.end.min(top + high);
                let from = before + done;
                let left = self.left(some.clone(), from..from + taps.len(), word, &mut room);
                let mut at = 0;
                while at < panels.len() {
                    let beside = beside(&panels[at..], &rights[at..]);
                    for (i, len) in row_runs(some.len()) {
                        let (panel, right) = (&panels[at], (&rights[at], beside));
                        self.tile(panel, right, left.below(i), top + i, len, from);
                    }
                    at += 1 + usize::from(beside.is_some());
                }
            }
            done += block;
            if done >= all {
                break;
            }
        }
    }

    /// What words the sums are made of: outputs too few to pack for are read in place.
    fn word(&self) -> Word {
        match self.weight.as_pairs() {
            Some(_) if self.rows > FEW => Word::Pair,
            _ => Word::Single,
        }
    }

    /// Some rows of the weight, of the taps `taps`: where they lie, or as `word`s in `room`, where
    /// they are widened or only lie better.
    fn left(
        &self,
        rows: Range<usize>,
        taps: Range<usize>,
        word: Word,
        room: &mut [f32],
    ) -> Strided {
        let (all, n) = (self.depth(), taps.len());
        let width = spaced(word.count(n));
        let copies = rows.clone().zip(room.chunks_exact_mut(width));
        match (word, self.weight) {
            (Word::Single, Weights::F32(weight)) if !crowded(all) => {
                let mut left = Strided::rows(&weight[rows.start * all..rows.end * all], all);
                left.start = left.start.wrapping_add(taps.start);
                return left;
            }
            (Word::Pair, Weights::Bf16(weight)) => copies.for_each(|(row, room)| {
                pairs::copy(&weight[row * all + taps.start..][..n], room);
            }),
            (_, Weights::F32(weight)) => copies.for_each(|(row, room)| {
                room[..n].copy_from_slice(&weight[row * all + taps.start..][..n]);
            }),
            (_, weight) => copies.for_each(|(row, room)| {
                weight.get(row * all + taps.start, n, room);
            }),
        }
        Strided::rows(&room[..rows.len() * width], width)
    }

    /// Adds the products of the taps of `right`, which `done` come before, to `len` rows of a
    /// panel and what is beside it, those from `row` on; `a` is what the weight has for them.
    fn tile(
        &self,
        p: &Panel,
        (right, beside): (&Right, Option<Beside>),
        a: Strided,
        row: usize,
        len: usize,
        done: usize,
    ) {
        let out = |j: usize| self.out.at(row * self.out_row + p.to[j]);
        let mut buffer = [0.0_f32; MOST_ROWS * NR];
        let (c, c_row) = match p.whole {
            true => (out(0), self.out_row),
            false => (buffer.as_mut_ptr(), NR),
        };
        let start = match done {
            0 => Start::Column(self.bias[row..row + len].as_ptr()),
            _ => Start::Tile(c, c_row),
        };
        let each = |copy: &dyn Fn(*mut f32, *mut f32)| {
            for at in (0..len * p.width).filter(|_| !p.whole) {
                let (i, j) = (at / p.width, at % p.width);
                copy(
                    out(j).wrapping_add(i * self.out_row),
                    c.wrapping_add(i * NR + j),
                );
            }
        };
        // SAFETY: pixels of a panel are in the output, this task alone writes those of these
        // rows; the right side holds what the taps read, the weight `len` rows of all taps.
        unsafe {
            if done > 0 {
                each(&|out, tile| *tile = *out);
            }
            let tile = Tile {
                rows: len,
                depth: right.words(),
                word: right.word,
                a,
                b: right.start,
                c,
                c_row,
                start,
                beside,
            };
            match right.packed {
                true => tile.run(),
                false => tile.run_over(right.taps),
            }
            each(&|out, tile| *out = *tile);
        }
    }
}

impl Grid {
    /// The sixteen pixels from `j` on, of those below `last`.
    fn panel(&self, j: usize, last: usize) -> Panel {
        let width = NR.min(last - j);
        let [from, to] = self.places(j, width);
        let together = |at: &[usize], run: usize| {
            at.chunks(run)
                .all(|c| c.iter().enumerate().all(|(i, at)| *at == c[0] + i))
        };
        let run = [16, 8, 4]
            .into_iter()
            .find(|run| together(&from, *run))
            .unwrap_or(1);
        Panel {
            from,
            to,
            width,
            run,
            whole: width == NR && together(&to, NR),
        }
    }
}

/// The second of these panels, where it is packed and written right behind the first.
fn beside(panels: &[Panel], rights: &[Right]) -> Option<Beside> {
    let ([one, two, ..], [first, second, ..]) = (panels, rights) else {
        return None;
    };
    let follows = one.whole && two.whole && two.to[0] == one.to[0] + NR;
    (follows && first.packed && second.packed).then(|| Beside {
        b: first.words() * NR,
        c: NR,
        start: NR,
    })
}

/// Whether rows of `n` numbers would push each other from the first cache: whether all begin in a
/// few of its sets.
fn crowded(n: usize) -> bool {
    n.is_multiple_of(256)
}

/// A step between rows of `n` numbers that spreads them: an odd number of its lines.
fn spaced(n: usize) -> usize {
    (n.div_ceil(16) | 1) * 16
}

/// What some taps read for the pixels of a panel: packed, or in place at `start + tap`.
struct Right<'a> {
    start: *const f32,
    taps: &'a [usize],
    word: Word,
    packed: bool,
}

impl Right<'_> {
    /// How many words deep it is.
    fn words(&self) -> usize {
        self.word.count(self.taps.len())
    }
}

impl Panel {
    /// What the taps read, packed into `lines` if `rows` of outputs make up for it.
    fn right<'a>(
        &self,
        rows: usize,
        word: Word,
        lines: &mut [f32],
        taps: &'a [usize],
        source: &[f32],
    ) -> Right<'a> {
        let packed = rows > FEW || self.run < NR || word == Word::Pair;
        let start = match (packed, word) {
            (true, Word::Single) => {
                self.pack(lines, taps, source);
                lines.as_ptr()
            }
            (true, Word::Pair) => {
                self.pack_pairs(lines, taps, source);
                lines.as_ptr()
            }
            (false, _) => {
                self.check::<NR>(taps, source);
                source[self.from[0]..].as_ptr()
            }
        };
        Right {
            start,
            taps,
            word,
            packed,
        }
    }

    /// [`Panel::pack`] into words of two taps each.
    fn pack_pairs(&self, out: &mut [f32], taps: &[usize], source: &[f32]) {
        /// Taps that are packed before they are joined.
        const TAPS: usize = 32;
        let mut lines = [0.0; TAPS * NR];
        for (taps, out) in taps.chunks(TAPS).zip(out.chunks_mut(TAPS / 2 * NR)) {
            let lines = &mut lines[..taps.len() * NR];
            self.pack(lines, taps, source);
            pairs::join_lines(lines, NR, out);
        }
    }

    /// Writes what the taps read, sixteen pixels a line.
    fn pack(&self, out: &mut [f32], taps: &[usize], source: &[f32]) {
        match self.run {
            16 => self.pack_runs::<16>(out, taps, source),
            8 => self.pack_runs::<8>(out, taps, source),
            4 => self.pack_runs::<4>(out, taps, source),
            _ => self.pack_runs::<1>(out, taps, source),
        }
    }

    /// Panics where a tap would read beyond the bordered picture.
    fn check<const RUN: usize>(&self, taps: &[usize], source: &[f32]) {
        let furthest = taps.iter().max().copied().unwrap_or(0)
            + self.from.iter().step_by(RUN).max().copied().unwrap_or(0);
        assert!(
            furthest + RUN <= source.len(),
            "a tap reads within the bordered picture"
        );
    }

    fn pack_runs<const RUN: usize>(&self, out: &mut [f32], taps: &[usize], source: &[f32]) {
        self.check::<RUN>(taps, source);
        let from = &self.from;
        for (line, tap) in out.chunks_exact_mut(NR).zip(taps) {
            for (to, from) in line.chunks_exact_mut(RUN).zip(from.iter().step_by(RUN)) {
                // SAFETY: no tap and no pixel reads further than what was just checked.
                unsafe {
                    let from = source.as_ptr().add(tap + from);
                    std::ptr::copy_nonoverlapping(from, to.as_mut_ptr(), RUN);
                }
            }
        }
    }
}
