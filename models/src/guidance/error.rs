//! What does not go together.

/// Why conditions and a latent do not go together.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum GuidanceError {
    /// A strength that is no number to multiply with.
    #[error("`{name}` is {value}, but guidance needs a finite number: 1 is off, 3 to 8 is usual")]
    Strength {
        /// The setting.
        name: &'static str,
        /// Its value.
        value: f64,
    },
    /// A share that is none.
    #[error("`{name}` is {value}, wanted 0 to 1")]
    Share {
        /// The setting.
        name: &'static str,
        /// Its value.
        value: f64,
    },
    /// How much a condition or a hint counts is no number that can be weighed.
    #[error("a strength of the {which} side is {value}, wanted a finite number from 0 on")]
    Weight {
        /// `positive` or `negative`.
        which: &'static str,
        /// The strength.
        value: f64,
    },
    /// A condition for another number of pictures.
    #[error(
        "the {which} {what} are for {found} pictures, but the latent has {batch}: give 1 or {batch}"
    )]
    Batch {
        /// `positive` or `negative`.
        which: &'static str,
        /// `tokens`, `channels`, `vectors`, `masks` or `hints`.
        what: &'static str,
        /// The condition's batch.
        found: usize,
        /// The latent's batch.
        batch: usize,
    },
    /// Channels or a mask of another size than the latent.
    #[error(
        "the {which} {what} are {found:?} high and wide, but the latent is {wanted:?}: \
         make them the latent's size"
    )]
    Size {
        /// `positive` or `negative`.
        which: &'static str,
        /// `channels` or `masks`.
        what: &'static str,
        /// Height and width found.
        found: [usize; 2],
        /// Height and width of the latent.
        wanted: [usize; 2],
    },
    /// A hint that is no whole multiple of the latent.
    #[error(
        "a {which} hint is {found:?} high and wide, wanted the latent's {latent:?} times a whole \
         number, the same for both"
    )]
    Hint {
        /// `positive` or `negative`.
        which: &'static str,
        /// Height and width found.
        found: [usize; 2],
        /// Height and width of the latent.
        latent: [usize; 2],
    },
    /// An area that leaves the latent, or holds nothing.
    #[error("a {which} area {area:?} is empty or leaves the latent, {latent:?} high and wide")]
    Area {
        /// `positive` or `negative`.
        which: &'static str,
        /// The area.
        area: super::Area,
        /// Height and width of the latent.
        latent: [usize; 2],
    },
    /// A side without a single condition.
    #[error("the {0} side has no condition: an empty prompt is one")]
    NoCondition(&'static str),
    /// Tokens, channels or a vector in one condition, and none in another.
    #[error("only some conditions have {0}: give them to all, on both sides, or to none")]
    OneSided(&'static str),
    /// Two conditions of different width.
    #[error(
        "the {what} of one condition are {first} wide and of another {other}: \
         encode all with the same model"
    )]
    Width {
        /// `tokens`, `channels` or `vectors`.
        what: &'static str,
        /// Width of the first.
        first: usize,
        /// Width of another.
        other: usize,
    },
    /// A prompt of no tokens at all.
    #[error("the {0} condition has no tokens: an empty prompt still has its padding")]
    Empty(&'static str),
    /// Guidance by an image, without one.
    #[error(
        "guidance by an image needs a negative condition, and channels of an image on both sides"
    )]
    NoImage,
}
