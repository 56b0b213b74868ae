//! Whether a UNet, a latent and its conditionings go together: asked while planning from
//! facts, and again while running from the values.

use ldm_engine::{Error, Result};

use crate::values::{ConditioningFacts, LatentFacts, LatentSpace, MOST_NUMBERS, UnetAbout};

/// What is known of a side: `None` when its port is open, `Some(None)` when it is linked but
/// nothing is known of it yet.
pub(crate) type Told = Option<Option<ConditioningFacts>>;

/// Whether `unet` can denoise `latent` under these two sides.
///
/// # Errors
/// The first pairing that cannot work.
pub(crate) fn check(
    unet: &UnetAbout,
    latent: LatentFacts,
    positive: Told,
    negative: Told,
) -> Result<()> {
    let fit = Fit {
        unet,
        latent,
        positive,
    };
    fit.check_latent()?;
    fit.check_tokens("positive", positive)?;
    match (positive, negative) {
        (None, Some(_)) => Err(Error::at("negative", "needs a `positive` to push towards")),
        (_, Some(negative)) => fit.check_tokens("negative", Some(negative)),
        (_, None) => Ok(()),
    }
}

struct Fit<'a> {
    unet: &'a UnetAbout,
    latent: LatentFacts,
    positive: Told,
}

impl Fit<'_> {
    fn check_latent(&self) -> Result<()> {
        let (config, latent) = (&self.unet.config, self.latent);
        latent.check()?;
        if config.out_channels != latent.channels {
            let (wanted, found) = (config.out_channels, latent.channels);
            let message = format!("this UNet makes latents of {wanted} channels, found {found}");
            return Err(Error::at("latent", message).hint(SAME));
        }
        let same = LatentSpace::same(latent.space, self.unet.space, "this UNet");
        same.map_err(|e| Error::at("latent", e.message()).hint(SAME))?;
        let multiple = config.size_multiple();
        let (h, w) = (latent.height, latent.width);
        if !h.is_multiple_of(multiple) || !w.is_multiple_of(multiple) {
            let factor = self.unet.space.factor;
            let message = format!(
                "this UNet takes latents whose sides are multiples of {multiple}, found {w}×{h}"
            );
            let side = multiple * factor;
            let hint = format!("make the picture's width and height multiples of {side}");
            return Err(Error::at("latent", message).hint(hint));
        }
        match self.positive {
            Some(None) => Ok(()),
            known => self.check_channels(known.flatten().and_then(|told| told.channels)),
        }
    }

    fn check_channels(&self, channels: Option<[usize; 4]>) -> Result<()> {
        let (wanted, own) = (self.unet.config.in_channels, self.latent.channels);
        let added = channels.map_or(0, |[_, channels, ..]| channels);
        if own + added == wanted {
            return Ok(());
        }
        let message = format!(
            "this UNet takes {wanted} channels: the latent's {own} and {} more, found {added} more",
            wanted.saturating_sub(own)
        );
        Err(Error::at("positive", message).hint("`ConcatLatent` adds channels to a conditioning"))
    }

    fn check_tokens(&self, port: &str, told: Told) -> Result<()> {
        let known = match told {
            Some(None) => return Ok(()),
            known => known.flatten().and_then(|told| told.tokens),
        };
        match (self.unet.config.context_dim, known) {
            (None, None) => Ok(()),
            (Some(wanted), Some([batch, _, found])) if wanted == found => {
                self.check_batch(port, batch)
            }
            (Some(wanted), Some([_, _, found])) => {
                let message = format!("this UNet takes tokens {wanted} wide, found {found}");
                Err(Error::at(port, message).hint("use the text encoder of the same model"))
            }
            (Some(_), None) => {
                let message = "this UNet needs a conditioning with tokens";
                Err(Error::at(port, message).hint("`TextEncode` gives one; the text may be empty"))
            }
            (None, Some(_)) => {
                let message = "this UNet was trained without tokens, it cannot be told any";
                Err(Error::at(port, message).hint(format!("leave `{port}` out")))
            }
        }
    }

    fn check_batch(&self, port: &str, found: usize) -> Result<()> {
        let batch = self.latent.batch;
        if found == 1 || found == batch {
            return Ok(());
        }
        Err(Error::at(
            port,
            format!("is for {found} pictures, the latent has {batch}"),
        ))
    }
}

const SAME: &str = "use the autoencoder of the same model";

impl LatentFacts {
    /// # Errors
    /// When there is nothing in it, or absurdly much.
    pub(crate) fn check(&self) -> Result<()> {
        let sides = [self.batch, self.channels, self.height, self.width];
        let all = sides.iter().try_fold(1usize, |all, n| all.checked_mul(*n));
        match all {
            Some(all) if all > 0 && all <= MOST_NUMBERS => Ok(()),
            _ => {
                let message = format!("a latent of {sides:?} holds nothing, or over 1 GiB");
                Err(Error::new(message).hint("a smaller `batch`, `width` or `height`"))
            }
        }
    }
}
