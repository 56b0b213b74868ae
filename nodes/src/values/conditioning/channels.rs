//! Channels that the network sees beside the noisy latent's.

use ldm_engine::{Error, Result};

use super::{Entry, EntryFacts};
use crate::array::Array;

/// The channels' shape, given what is there and what is set behind it.
fn joined(there: Option<[usize; 4]>, added: [usize; 4]) -> Result<[usize; 4]> {
    let [batch, channels, height, width] = added;
    match there {
        None => Ok(added),
        Some([b, c, h, w]) if [b, h, w] == [batch, height, width] => Ok([b, c + channels, h, w]),
        Some([b, _, h, w]) => {
            let message =
                format!("{batch} latents of {width}×{height} cannot be set behind {b} of {w}×{h}");
            Err(Error::new(message).hint("make both of one size"))
        }
    }
}

impl EntryFacts {
    /// The entry with `added` channels behind its own.
    ///
    /// # Errors
    /// When the sizes differ.
    pub(crate) fn with_channels(self, added: [usize; 4]) -> Result<Self> {
        let channels = Some(joined(self.channels, added)?);
        Ok(Self { channels, ..self })
    }
}

impl Entry {
    /// The entry with `added` channels behind its own.
    ///
    /// # Errors
    /// When the sizes differ.
    pub(crate) fn with_channels(self, added: &Array<4>) -> Result<Self> {
        let there = self.channels.as_ref();
        let shape = joined(there.map(Array::shape), added.shape())?;
        let mut numbers = Vec::with_capacity(shape.iter().product());
        for item in 0..shape[0] {
            for part in there.into_iter().chain([added]) {
                let one = part.numbers().len() / shape[0];
                numbers.extend_from_slice(&part.numbers()[item * one..(item + 1) * one]);
            }
        }
        let channels = Some(Array::new(shape, numbers));
        Ok(Self { channels, ..self })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn channels_add_up_and_sizes_must_agree() {
        assert_eq!(joined(None, [1, 4, 8, 8]).unwrap(), [1, 4, 8, 8]);
        let there = Some([1, 4, 8, 8]);
        assert_eq!(joined(there, [1, 1, 8, 8]).unwrap(), [1, 5, 8, 8]);
        assert!(joined(there, [1, 4, 8, 16]).is_err());
        assert!(joined(Some([2, 4, 8, 8]), [1, 4, 8, 8]).is_err());
    }

    #[test]
    fn each_picture_keeps_its_own_channels_in_order() {
        let first = Array::new([2, 1, 1, 2], vec![1.0, 2.0, 3.0, 4.0]);
        let second = Array::new([2, 1, 1, 2], vec![5.0, 6.0, 7.0, 8.0]);
        let entry = Entry::default().with_channels(&first).unwrap();
        let channels = entry.with_channels(&second).unwrap().channels.unwrap();
        assert_eq!(channels.shape(), [2, 2, 1, 2]);
        assert_eq!(channels.numbers(), [1.0, 2.0, 5.0, 6.0, 3.0, 4.0, 7.0, 8.0]);
    }
}
