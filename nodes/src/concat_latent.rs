//! `ConcatLatent`: a latent that the network sees beside the noisy one.

use ldm_engine::{Ctx, Error, Facts, In, Node, Result};

use crate::array::Array;
use crate::values::{Conditioning, ConditioningFacts, Latent, LatentFacts};

/// Adds a latent's channels to a conditioning.
///
/// For networks with more input channels than a latent has, as inpainting and super-resolution
/// have: `Denoise` sets these channels behind the noisy ones at every step.
///
/// ```ron
/// "shown": ConcatLatent(conditioning: "wanted", latent: "start")
/// ```
#[derive(Node)]
pub(crate) struct ConcatLatent {
    /// What to add to; without it the channels stand alone.
    conditioning: Option<In<Conditioning>>,
    /// What the network should see, of the size that is denoised.
    latent: In<Latent>,
}

/// The channels' shape, given what is there and what is added.
fn joined(there: Option<[usize; 4]>, added: [usize; 4]) -> Result<[usize; 4]> {
    let [batch, channels, height, width] = added;
    match there {
        None => Ok(added),
        Some([b, c, h, w]) if [b, h, w] == [batch, height, width] => Ok([b, c + channels, h, w]),
        Some([b, _, h, w]) => {
            let message =
                format!("{batch} latents of {width}×{height} cannot be set behind {b} of {w}×{h}");
            Err(Error::at("latent", message).hint("encode both at one size"))
        }
    }
}

impl Node for ConcatLatent {
    type Out = Conditioning;

    fn facts(&self, facts: &mut Facts<'_>) -> Result<()> {
        let there = match &self.conditioning {
            None => Some(ConditioningFacts::default()),
            Some(port) => facts.of::<ConditioningFacts, _>(port).map(|there| *there),
        };
        let latent = facts.of::<LatentFacts, _>(&self.latent);
        if let (Some(there), Some(l)) = (there, latent) {
            let added = [l.batch, l.channels, l.height, l.width];
            let channels = Some(joined(there.channels, added)?);
            facts.give(ConditioningFacts { channels, ..there });
        }
        Ok(())
    }

    fn run(&self, ctx: &mut Ctx<'_>) -> Result<Conditioning> {
        let latent = ctx.get(&self.latent);
        let there = ctx
            .get(&self.conditioning)
            .map_or_else(Conditioning::default, |c| (*c).clone());
        let before = there.channels.as_ref().map(Array::shape);
        let shape = joined(before, latent.numbers.shape())?;
        let mut numbers = Vec::with_capacity(shape.iter().product());
        for item in 0..shape[0] {
            for part in there.channels.iter().chain([&latent.numbers]) {
                let one = part.numbers().len() / shape[0];
                numbers.extend_from_slice(&part.numbers()[item * one..(item + 1) * one]);
            }
        }
        Ok(Conditioning {
            channels: Some(Array::new(shape, numbers)),
            ..there
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn channels_add_up_and_sizes_must_agree() {
        assert_eq!(joined(None, [1, 4, 8, 8]).unwrap(), [1, 4, 8, 8]);
        assert_eq!(
            joined(Some([1, 4, 8, 8]), [1, 1, 8, 8]).unwrap(),
            [1, 5, 8, 8]
        );
        assert!(joined(Some([1, 4, 8, 8]), [1, 4, 8, 16]).is_err());
        assert!(joined(Some([2, 4, 8, 8]), [1, 4, 8, 8]).is_err());
    }
}
