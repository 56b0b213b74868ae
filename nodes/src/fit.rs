//! Whether a UNet, a latent and its conditionings go together: asked while planning from
//! facts, and again while running from the values.

use std::sync::Arc;

use ldm_engine::{Error, Result};
use ldm_models::unet::LabelConfig;

use crate::guidance::Guidance;
use crate::ready;
use crate::values::{
    Area, ConditioningFacts, EntryFacts, HintFacts, LatentFacts, LatentSpace, MOST_NUMBERS,
    PictureFacts, UnetAbout,
};

/// What is known of a side: `None` when its port is open, `Some(None)` when it is linked but
/// nothing is known of it yet.
pub(crate) type Told = Option<Option<Arc<ConditioningFacts>>>;

/// Whether `unet` can denoise `latent` under these two sides, positive and negative, within
/// `mask`, by this guidance.
///
/// # Errors
/// The first pairing that cannot work.
pub(crate) fn check(
    unet: &UnetAbout,
    latent: LatentFacts,
    (positive, negative): (Told, Told),
    mask: Option<PictureFacts>,
    guidance: Guidance,
) -> Result<()> {
    if matches!(guidance, Guidance::Image { .. }) {
        check_image(unet, negative.is_some())?;
    }
    let fit = Fit { unet, latent };
    fit.check_latent()?;
    if let Some(mask) = mask {
        check_batch("mask", mask.batch, latent.batch)?;
    }
    fit.check_sides(positive, negative)
}

/// Whether `unet` can be guided by a picture.
fn check_image(unet: &UnetAbout, has_negative: bool) -> Result<()> {
    if unet.config.in_channels <= unet.config.out_channels {
        let message = "this UNet is shown no picture that it could be guided by";
        return Err(Error::at("guidance", message).hint("write `Plain` or `Rescaled()`"));
    }
    if !has_negative {
        let message = "guidance by a picture needs a `negative` to compare with";
        let hint = "the empty text: `TextEncode(text_encoder: …, text: \"\")`";
        return Err(Error::at("guidance", message).hint(hint));
    }
    Ok(())
}

/// Whether there is one of something for each picture, or one for all.
///
/// # Errors
/// Both numbers, when they differ.
fn check_batch(port: &str, found: usize, batch: usize) -> Result<()> {
    if found == 1 || found == batch {
        return Ok(());
    }
    let message = format!("is for {found} pictures, the latent has {batch}");
    Err(Error::at(port, message))
}

struct Fit<'a> {
    unet: &'a UnetAbout,
    latent: LatentFacts,
}

impl Fit<'_> {
    fn check_sides(&self, positive: Told, negative: Told) -> Result<()> {
        let open = positive.is_none();
        let positive = positive.unwrap_or_else(|| Some(Arc::default()));
        if let Some(told) = &positive {
            self.check_side("positive", told)?;
        }
        if open && negative.is_some() {
            return Err(Error::at("negative", "needs a `positive` to push towards"));
        }
        let Some(Some(told)) = negative else {
            return Ok(());
        };
        // A negative side that shows no channels shows the positive one's.
        let Some(shown) = positive.map(|told| told.entries[0].channels) else {
            return Ok(());
        };
        let told = told.each(|entry| EntryFacts {
            channels: entry.channels.or(shown),
            ..entry
        });
        self.check_side("negative", &told)
    }

    fn check_latent(&self) -> Result<()> {
        let (config, latent) = (&self.unet.config, self.latent);
        latent.check()?;
        if config.out_channels != latent.channels {
            let (wanted, found) = (config.out_channels, latent.channels);
            let message = format!("this UNet makes latents of {wanted} channels, found {found}");
            return Err(Error::at("latent", message).hint(SAME));
        }
        let same = LatentSpace::same(latent.space, self.unet.space, "this UNet");
        same.map_err(|e| Error::at("latent", e.message()).hint(e.hint_text().unwrap_or(SAME)))?;
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
        Ok(())
    }

    fn check_side(&self, port: &str, told: &ConditioningFacts) -> Result<()> {
        let all = told.entries.len();
        for (at, entry) in told.entries.iter().enumerate() {
            self.check_entry(port, entry).map_err(|e| match all {
                1 => e,
                _ => e.context(format!("entry {} of {all}", at + 1)),
            })?;
        }
        Ok(())
    }

    fn check_entry(&self, port: &str, entry: &EntryFacts) -> Result<()> {
        self.check_channels(port, entry.channels)?;
        self.check_tokens(port, entry.tokens)?;
        self.check_vector(port, entry.vector)?;
        if let Some(mask) = entry.mask {
            check_batch(port, mask.batch, self.latent.batch)?;
        }
        self.check_area(entry).map_err(|e| {
            let hint = e.hint_text().unwrap_or_default().to_owned();
            Error::at(port, e.message()).hint(hint)
        })?;
        for hint in &entry.hints {
            self.check_hint(port, hint)?;
        }
        Ok(())
    }

    fn check_channels(&self, port: &str, channels: Option<[usize; 4]>) -> Result<()> {
        let (wanted, own) = (self.unet.config.in_channels, self.latent.channels);
        let [batch, added, height, width] = channels.unwrap_or_default();
        if own + added != wanted {
            let message = format!(
                "this UNet takes {wanted} channels: the latent's {own} and {} more, found {added} \
                 more",
                wanted.saturating_sub(own)
            );
            let hint = "`ConcatLatent` adds channels to a conditioning";
            return Err(Error::at(port, message).hint(hint));
        }
        let (h, w) = (self.latent.height, self.latent.width);
        if channels.is_some() && (height, width) != (h, w) {
            let message = format!("its channels are {width}×{height}, the latent is {w}×{h}");
            return Err(Error::at(port, message).hint("make them of one size"));
        }
        match channels {
            Some(_) => check_batch(port, batch, self.latent.batch),
            None => Ok(()),
        }
    }

    fn check_tokens(&self, port: &str, known: Option<[usize; 3]>) -> Result<()> {
        match (self.unet.config.context_dim, known) {
            (None, None) => Ok(()),
            (Some(wanted), Some([batch, _, found])) if wanted == found => {
                check_batch(port, batch, self.latent.batch)
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

    /// A vector that the network has no use for is left unsaid: text encoders give one to all.
    fn check_vector(&self, port: &str, known: Option<[usize; 2]>) -> Result<()> {
        let same = "use the text encoder of the same model";
        let (wanted, what, hint) = match self.unet.config.label {
            None if known.is_some_and(|[_, width]| width == CLASS) => {
                let message = "this UNet was trained without classes, it cannot be told one";
                return Err(Error::at(port, message).hint("leave `SetClass` out"));
            }
            None => return Ok(()),
            Some(LabelConfig::Classes(_)) => (CLASS, "a class", "`SetClass` gives it one"),
            Some(LabelConfig::Vector(wanted)) => (wanted, "a vector", same),
        };
        match known {
            Some([batch, found]) if found == wanted || ready::completes(found, wanted) => {
                check_batch(port, batch, self.latent.batch)
            }
            Some([_, found]) => {
                let message = format!("this UNet takes {what} of {wanted} numbers, found {found}");
                Err(Error::at(port, message).hint(hint))
            }
            None => {
                let message = format!("this UNet needs a conditioning with {what}");
                Err(Error::at(port, message).hint(hint))
            }
        }
    }

    fn check_area(&self, entry: &EntryFacts) -> Result<()> {
        let size = [self.latent.height, self.latent.width];
        match (entry.area, entry.mask) {
            (Some(Area::Mask), Some(_)) | (None, _) => Ok(()),
            (Some(area), _) => area.places(size, self.unet.space.factor, None).map(|_| ()),
        }
    }

    fn check_hint(&self, port: &str, hint: &HintFacts) -> Result<()> {
        let fits = hint.network.fits(&self.unet.config);
        fits.map_err(|e| Error::at(port, format!("a hint does not fit this UNet: {e}")))?;
        check_batch(port, hint.batch, self.latent.batch)
    }
}

/// How wide a class is as a vector, which no text encoder's is.
const CLASS: usize = 1;

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
