//! `ConcatImage`: a picture that the network sees beside the noisy latent.

use ldm_engine::{Ctx, Error, Facts, In, Node, Result};

use crate::array::Array;
use crate::concat_latent::before;
use crate::values::{Conditioning, Image, PictureFacts};

/// Adds a picture's channels, as they are, to a conditioning.
///
/// For the paper's super-resolution: a small picture with a pixel for each place of the latent
/// is set behind the noisy channels at every step, its colours from -1 to 1.
///
/// ```ron
/// "larger": ConcatImage(image: "photo")
/// ```
#[derive(Node)]
pub(crate) struct ConcatImage {
    /// What to add to; without it the channels stand alone.
    conditioning: Option<In<Conditioning>>,
    /// What the network should see; as many pixels as the latent has places.
    image: In<Image>,
}

impl Node for ConcatImage {
    type Out = Conditioning;

    fn facts(&self, facts: &mut Facts<'_>) -> Result<()> {
        let there = before(facts, self.conditioning.as_ref());
        let image = facts.of::<PictureFacts, _>(&self.image);
        if let (Some(there), Some(i)) = (there, image) {
            let added = [i.batch, 3, i.height, i.width];
            facts.give(there.with_channels(added).map_err(at_image)?);
        }
        Ok(())
    }

    fn run(&self, ctx: &mut Ctx<'_>) -> Result<Conditioning> {
        let image = ctx.get(&self.image);
        let there = ctx.get(&self.conditioning).unwrap_or_default();
        let pixels = image.pixels();
        let numbers = pixels.numbers().iter().map(|x| x * 2.0 - 1.0);
        let added = Array::new(pixels.shape(), numbers.collect());
        there.with_channels(&added).map_err(at_image)
    }
}

fn at_image(error: Error) -> Error {
    let hint = error.hint_text().unwrap_or_default().to_owned();
    Error::at("image", error.message()).hint(hint)
}
