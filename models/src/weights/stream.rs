//! Numbers of a file, read in bands: one is read while the last is cast.
//!
//! ```text
//! file ── read ── band ─┬─ cast, turned as wanted ── result
//!             next band ┘
//! ```
//!
//! A band is a run of a tensor's bytes, so that the file is read in order, in long runs and
//! once, whatever order the numbers are wanted in.
//!
//! Promises
//! - What is made is the result and a [`Room`], which is used again for the next tensor.
//! - Of a tensor with gaps, as a third of the rows of each head, the gaps are not read.

use super::cast::{Float, Numbers, Wanted};
use super::gather::{Axis, Gather, Gathered, Shape, TILE, lay};
use super::part::Part;
use crate::error::Result;

/// As many bytes as a band has; where rows are long, up to twice as many.
const BAND: usize = 2 << 20;

/// Bytes between two runs that are cheaper to read than to leave out.
const GAP: usize = 4096;

/// Numbers in a file.
#[derive(Debug)]
pub(super) struct Stored<'a> {
    pub(super) part: &'a Part,
    /// The byte at which the first begins.
    pub(super) start: usize,
    pub(super) float: Float,
    pub(super) room: &'a mut Room,
}

/// Room for the band that is cast and the one that is read.
#[derive(Debug)]
pub(super) struct Room {
    /// Bytes of a band.
    band: usize,
    cast: Vec<u8>,
    read: Vec<u8>,
}

impl Default for Room {
    fn default() -> Self {
        Self {
            band: BAND,
            cast: vec![],
            read: vec![],
        }
    }
}

impl Gather for Stored<'_> {
    fn gather<T: Wanted>(self, view: Shape<'_>) -> Result<Gathered<T>> {
        let mut numbers = T::zeros(view.0.iter().product());
        let mut odd = 0;
        let bands = self.bands(view);
        let Some(first) = bands.first() else {
            return Ok(Gathered { numbers, odd });
        };
        let Room { cast, read, .. } = self.room;
        let fill = |band: &Band, room: &mut Vec<u8>| {
            let size = self.float.size();
            room.resize(room.len().max(band.span() * size), 0);
            let room = &mut room[..band.span() * size];
            self.part.read(self.start + band.from * size, room)
        };
        fill(first, cast)?;
        for (i, band) in bands.iter().enumerate() {
            let held = Numbers::Bytes(cast, self.float);
            let mut here = || lay(held, &band.axes, &mut numbers[band.to..]);
            let (was_read, more) = match bands.get(i + 1) {
                Some(next) => rayon::join(|| fill(next, read), here),
                // Planning reads small tensors before there is a pool of threads.
                None => (Ok(()), here()),
            };
            was_read?;
            odd += more;
            std::mem::swap(cast, read);
        }
        Ok(Gathered { numbers, odd })
    }
}

impl Stored<'_> {
    /// The numbers of `view`, in bands.
    fn bands(&self, view: Shape<'_>) -> Vec<Band> {
        let whole = Band {
            axes: Axis::all_of(view),
            from: 0,
            to: 0,
        };
        let mut bands = vec![];
        if !view.0.contains(&0) {
            let size = self.float.size();
            whole.cut(self.room.band / size, GAP / size, &mut bands);
        }
        bands
    }
}

/// A part of a view: some steps along its axes from a first number on.
#[derive(Debug, Clone)]
struct Band {
    axes: Vec<Axis>,
    /// Where its first number stands in the source, and in the result.
    from: usize,
    to: usize,
}

impl Band {
    /// How many numbers there are from its first to behind its last.
    fn span(&self) -> usize {
        let reach = self.axes.iter().map(|axis| (axis.length - 1) * axis.from);
        reach.sum::<usize>() + 1
    }

    /// Cuts it along the axis of the longest steps, so that no part reads more than `most`
    /// numbers and a step, nor leaves out more than `gap` at a time.
    fn cut(self, most: usize, gap: usize, bands: &mut Vec<Self>) {
        let long = self.axes.iter().enumerate().filter(|(_, a)| a.length > 1);
        let Some((widest, axis)) = long.max_by_key(|(_, axis)| axis.from) else {
            return bands.push(self);
        };
        let axis = *axis;
        let step = self.part(widest, 0, 1).span();
        if step > most || step + gap < axis.from {
            for i in 0..axis.length {
                self.part(widest, i, 1).cut(most, gap, bands);
            }
            return;
        }
        let steps = match most / axis.from.max(1) {
            // Whole squares, where it is turned.
            steps @ TILE.. => steps - steps % TILE,
            steps => steps.max(1),
        };
        for i in (0..axis.length).step_by(steps) {
            bands.push(self.part(widest, i, steps.min(axis.length - i)));
        }
    }

    /// `length` steps along the axis number `along`, from step `first` on.
    fn part(&self, along: usize, first: usize, length: usize) -> Self {
        let mut part = self.clone();
        let axis = &mut part.axes[along];
        part.from += first * axis.from;
        part.to += first * axis.to;
        axis.length = length;
        part
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use half::{bf16, f16};
    use std::io::Write;

    /// A file of these bytes as one tensor, and where they begin.
    fn stored(bytes: &[u8]) -> (Part, usize) {
        let length = bytes.len();
        let header =
            format!(r#"{{"a":{{"dtype":"U8","shape":[{length}],"data_offsets":[0,{length}]}}}}"#);
        let mut file = tempfile::NamedTempFile::new().unwrap();
        let lead = (header.len() as u64).to_le_bytes();
        file.write_all(&[&lead, header.as_bytes(), bytes].concat())
            .unwrap();
        let part = Part::of(file.as_file(), file.path()).unwrap().0;
        (part, lead.len() + header.len())
    }

    /// Bands so small that most of [`VIEWS`] take many.
    fn small() -> Room {
        Room {
            band: 1 << 13,
            ..Room::default()
        }
    }

    const VIEWS: [Shape<'static>; 16] = [
        (&[], &[]),
        (&[7], &[3]),
        (&[4, 0, 2], &[2, 2, 1]),
        (&[100_000], &[1]),
        (&[20, 5000], &[0, 1]),
        (&[400, 300], &[300, 1]),
        (&[300, 400], &[1, 300]),
        // Squares that do not fit, and rows longer than a band.
        (&[131, 197], &[1, 131]),
        (&[9001, 30], &[1, 9001]),
        // Gaps, small and large, beside each other and within.
        (&[200, 130], &[201, 1]),
        (&[20, 9], &[1, 9000]),
        (&[3, 30, 31], &[60_301, 1, 30]),
        (&[64, 4, 16], &[1, 3 * 16 * 640, 640]),
        (&[4, 16, 640], &[3 * 16 * 640, 640, 1]),
        (&[50, 4, 8, 2], &[1, 1200, 50, 50_000]),
        // Large enough to be shared among threads.
        (&[600, 500], &[1, 600]),
    ];

    #[test]
    fn a_file_gives_the_numbers_that_memory_does() {
        let numbers: Vec<f32> = (0..310_000).map(|i| (i % 2039) as f32).collect();
        let types: [(Float, Vec<u8>); 3] = [
            (
                Float::F16,
                bytes(&numbers, |x| f16::from_f32(x).to_le_bytes()),
            ),
            (
                Float::Bf16,
                bytes(&numbers, |x| bf16::from_f32(x).to_le_bytes()),
            ),
            (Float::F32, bytes(&numbers, f32::to_le_bytes)),
        ];
        for (float, bytes) in types {
            let (part, start) = stored(&bytes);
            for mut room in [small(), Room::default()] {
                for (view, skipped) in VIEWS.iter().flat_map(|view| [(view, 0), (view, 11)]) {
                    let skipped = skipped * float.size();
                    let memory = Numbers::Bytes(&bytes[skipped..], float);
                    let start = start + skipped;
                    same::<f32>(at(&part, start, float, &mut room), memory, *view);
                    same::<f16>(at(&part, start, float, &mut room), memory, *view);
                }
            }
        }
    }

    fn bytes<const N: usize>(numbers: &[f32], one: impl Fn(f32) -> [u8; N]) -> Vec<u8> {
        numbers.iter().flat_map(|x| one(*x)).collect()
    }

    fn at<'a>(part: &'a Part, start: usize, float: Float, room: &'a mut Room) -> Stored<'a> {
        Stored {
            part,
            start,
            float,
            room,
        }
    }

    fn same<T: Wanted + PartialEq>(file: Stored<'_>, memory: Numbers<'_>, view: Shape<'_>) {
        let got = file.gather::<T>(view).unwrap();
        let wanted = memory.gather::<T>(view).unwrap();
        assert!(got.numbers == wanted.numbers, "{view:?}");
        assert_eq!(got.odd, wanted.odd, "{view:?}");
    }

    #[test]
    fn no_band_is_longer_than_two_and_no_large_gap_is_read() {
        let (part, start) = stored(&[0; 8]);
        let spans = |view: Shape<'_>| -> Vec<usize> {
            let bands = at(&part, start, Float::F16, &mut small()).bands(view);
            bands.iter().map(Band::span).collect()
        };
        for view in VIEWS {
            assert!(
                spans(view).iter().all(|span| 2 * span <= 2 * small().band),
                "{view:?}"
            );
        }
        let third: Shape<'_> = (&[64, 4, 1600], &[1, 3 * 1600 * 64, 64]);
        assert_eq!(spans(third).iter().sum::<usize>(), 64 * 4 * 1600);
        let every_other: Shape<'_> = (&[1000], &[2]);
        assert_eq!(spans(every_other), [1999], "in one run");
    }
}
