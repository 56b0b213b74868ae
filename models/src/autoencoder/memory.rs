//! What memory the activations of a picture take: known before a weight is read.
//!
//! Counted are the tensors that live at once at the widest moment, in f32, for one picture. They
//! all grow with the area, so the widest moment is the same at every size:
//!
//! ```text
//! block      x, norm, conv 1        2·in + out     norms and convolutions give new tensors,
//!            x, norm, conv 2        in + 2·out     and x waits for the sum
//! attention  x, q, k, v, out            5 of its width
//! △          enlarged, conv         2·width, four times the area
//! ends       norm, conv, and the picture as it comes and goes
//! ```
//!
//! With them stand a 3×3 kernel's weights as Winograd's method turns them (F(4×4, 3×3): 36
//! numbers for 9), which do not grow.
//!
//! Not here: the weights themselves; a batch, as pictures go one at a time; what each thread
//! works in, some MB; the scores of attention, which the CPU's kernel never holds at once.

use super::VaeConfig;
use super::config::Shape;

/// Tensors of its width that attention holds at once.
const ATTENTION: u64 = 5;
/// Pictures that wait beside the network: as it is read or written, scaled, and blended.
const PICTURES: u64 = 4;
/// Numbers that a 3×3 kernel becomes.
const TURNED: u64 = 36;

impl VaeConfig {
    /// Bytes that decoding one latent of `[height, width]` takes at the most, beside the weights.
    pub fn decode_bytes(&self, latent: [usize; 2]) -> u64 {
        let (shape, last) = (self.shape(), self.shape().ch_mult.len() - 1);
        let mut most = Most::middle(&shape);
        let mut from = shape.width(last);
        for level in (0..=last).rev() {
            let to = shape.width(level);
            most.level(&shape, level, from);
            if level > 0 {
                most.hold(level - 1, 2 * to as u64);
            }
            from = to;
        }
        most.bytes(&shape, latent)
    }

    /// Bytes that encoding one picture takes at the most, beside the weights, its latent being
    /// of `[height, width]`.
    pub fn encode_bytes(&self, latent: [usize; 2]) -> u64 {
        let shape = self.shape();
        let mut most = Most::middle(&shape);
        let mut from = shape.ch;
        for level in 0..shape.ch_mult.len() {
            most.level(&shape, level, from);
            from = shape.width(level);
        }
        most.bytes(&shape, latent)
    }
}

/// The most numbers that stand at once for each place of the latent.
struct Most {
    numbers: u64,
    /// The number of the coarsest level.
    last: usize,
}

impl Most {
    /// Of the blocks at the latent's size.
    fn middle(shape: &Shape<'_>) -> Self {
        let last = shape.ch_mult.len() - 1;
        let mut most = Self { numbers: 0, last };
        let width = shape.width(last) as u64;
        most.hold(
            last,
            if shape.attention {
                ATTENTION * width
            } else {
                3 * width
            },
        );
        most
    }

    /// Of a level's blocks, the first of which widens from `from`, and of either end.
    fn level(&mut self, shape: &Shape<'_>, level: usize, from: usize) {
        let (from, to) = (from as u64, shape.width(level) as u64);
        self.hold(level, (2 * from + to).max(from + 2 * to).max(3 * to));
        if shape.attends(level) {
            self.hold(level, ATTENTION * to);
        }
    }

    /// So many numbers stand at once for each pixel of `level`.
    fn hold(&mut self, level: usize, numbers: u64) {
        let pixels = 1 << (2 * (self.last - level));
        self.numbers = self.numbers.max(numbers.saturating_mul(pixels));
    }

    /// The bytes for a latent of these sides.
    fn bytes(&self, shape: &Shape<'_>, [height, width]: [usize; 2]) -> u64 {
        let picture = (PICTURES * shape.in_channels as u64) << (2 * self.last);
        let places = (height as u64).saturating_mul(width as u64);
        let all = self.numbers.saturating_add(picture).saturating_mul(places);
        let widest = (0..=self.last).map(|level| shape.width(level) as u64).max();
        let widest = widest.unwrap_or_default();
        let turned = TURNED.saturating_mul(widest.saturating_mul(widest));
        all.saturating_add(turned).saturating_mul(4)
    }
}
