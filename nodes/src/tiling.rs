//! How much of a picture an autoencoder works on at once.
//!
//! Promises
//! - Whether a picture is cut follows from its size, the autoencoder's shape and what `--memory`
//!   allows, never from what is free; only where a device's memory ran out it is cut all the same.
//!   A result in tiles is never found for one at once.
//! - Pictures go one at a time, so each is cut as it would be alone.
//!
//! Not here: how tiles are cut and blended (`ldm_models::tiles`), what activations take
//! (`ldm_models::autoencoder`).

use burn::tensor::Device;
use ldm_engine::{Choice, Ctx, Error, Facts, Result, Setting, Way};
use ldm_models::nn::parameter_count;
use ldm_models::tiles::{Lay, Tiles};

use crate::machine::Machine;
use crate::values::{About, LatentFacts, VaeAbout};
use crate::weights::mebibytes;

/// How much of a picture an autoencoder works on at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Choice)]
pub(crate) enum Tiling {
    /// All of it where that fits beside the autoencoder's weights in what `--memory` allows for
    /// weights; else tiles of 512, 256 or 128 px, the largest that fit, and smaller ones where a
    /// GPU's memory runs out; an eighth of each overlaps.
    Auto,
    /// All of it, whatever that takes.
    Off,
    /// Overlapping tiles whose seams are blended, as in ComfyUI's `VAEDecodeTiled` and
    /// `VAEEncodeTiled`, but in one pass. Each is normalised by itself, so that colours may drift
    /// a little from one to the next.
    Tiles {
        /// Sides of a tile, a multiple of the autoencoder's factor.
        #[node(default = 512, range = 32..=8192, unit = "px")]
        size: usize,
        /// How far tiles lie over each other, a multiple of the factor too.
        #[node(default = 64, range = 0..=4096, unit = "px")]
        overlap: usize,
    },
}

/// Sides of the tiles that are tried where a picture is too large, in pixels.
const TRIED: [usize; 3] = [512, 256, 128];
/// What part of such a tile lies over the next.
const SHARED: usize = 8;

/// Which way a picture goes through the autoencoder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Toward {
    Picture,
    Latent,
}

impl Tiling {
    /// Whether memory decides.
    pub(crate) fn has_ways(self) -> bool {
        self == Self::Auto
    }

    /// Tells planning in what ways a picture of this latent can be worked on.
    ///
    /// # Errors
    /// When tiles were asked for that cannot be cut.
    pub(crate) fn tell(
        self,
        facts: &mut Facts<'_>,
        vae: &VaeAbout,
        (latent, toward): (LatentFacts, Toward),
    ) -> Result<()> {
        let cuts = self.cuts(vae, latent)?;
        if self.has_ways() {
            facts.ways(ways(&cuts, vae, (latent, toward))?);
        }
        Ok(())
    }

    /// The tiles in which to work on each picture, or none for all at once; says so where memory
    /// decided, and makes room for what that takes.
    ///
    /// # Errors
    /// When tiles were asked for that cannot be cut.
    pub(crate) fn choose(
        self,
        ctx: &Ctx<'_>,
        vae: &VaeAbout,
        (latent, toward): (LatentFacts, Toward),
    ) -> Result<Option<Tiles>> {
        let cuts = self.cuts(vae, latent)?;
        let ways = ways(&cuts, vae, (latent, toward))?;
        let at = ctx.way(&ways);
        if let Some(tiles) = cuts[at].filter(|_| at > 0) {
            let count = tiles.count([latent.height, latent.width]);
            let (words, whole) = (&ways[at].words, mebibytes(ways[0].bytes));
            let message = format!("{count} tiles, {words}: at once it would take {whole}");
            ctx.reporter().note(message);
        }
        ctx.extension::<Machine>()?.weights().leave(ways[at].bytes);
        Ok(cuts[at])
    }

    /// The ways to cut a latent of this size, the best first; `None` is not at all.
    fn cuts(self, vae: &VaeAbout, latent: LatentFacts) -> Result<Vec<Option<Tiles>>> {
        let factor = vae.config.factor();
        match self {
            Self::Off => Ok(vec![None]),
            Self::Tiles { size, overlap } => {
                check(size, overlap, factor)?;
                Ok(vec![Some(cut(size / factor, overlap / factor))])
            }
            Self::Auto => {
                let tiles = TRIED.map(|size| cut(size / factor, (size / SHARED).div_ceil(factor)));
                let smaller = |tiles: &Tiles| {
                    tiles.overlap < tiles.size && !tiles.cover([latent.height, latent.width])
                };
                let smaller = tiles.into_iter().filter(smaller).map(Some);
                Ok(std::iter::once(None).chain(smaller).collect())
            }
        }
    }
}

fn cut(size: usize, overlap: usize) -> Tiles {
    let lay = Lay::Evenly;
    Tiles { size, overlap, lay }
}

/// Whether tiles of so many pixels can be cut from a latent.
fn check(size: usize, overlap: usize, factor: usize) -> Result<()> {
    for (name, found) in [("size", size), ("overlap", overlap)] {
        if !found.is_multiple_of(factor) {
            let message = format!("`{name}` is {found}, wanted a multiple of {factor}");
            let near = found.next_multiple_of(factor);
            return Err(Error::at("tiling", message).hint(format!("write {near}")));
        }
    }
    if overlap >= size {
        let message = format!("`overlap` is {overlap}, wanted less than the tiles' {size}");
        return Err(Error::at("tiling", message).hint("a smaller `overlap`"));
    }
    Ok(())
}

/// What each of the cuts takes, the autoencoder's weights included, in the order of the cuts.
fn ways(
    cuts: &[Option<Tiles>],
    vae: &VaeAbout,
    (latent, toward): (LatentFacts, Toward),
) -> Result<Vec<Way>> {
    let factor = vae.config.factor();
    // The device is only remembered by networks whose parameters are never drawn.
    let weights = 4 * parameter_count(&vae.init(&Device::flex())?) as u64;
    let way = |cut: &Option<Tiles>| {
        let most = |side: usize| cut.map_or(side, |tiles| tiles.size.min(side));
        let sides = [most(latent.height), most(latent.width)];
        let activations = match toward {
            Toward::Picture => vae.config.decode_bytes(sides),
            Toward::Latent => vae.config.encode_bytes(sides),
        };
        let sides = cut.map(|tiles| (tiles.size * factor, tiles.overlap * factor));
        let words = |(size, overlap)| format!("in tiles of {size} px that share {overlap} px");
        let asked = |(size, overlap)| Tiling::Tiles { size, overlap }.write();
        Way {
            bytes: weights.saturating_add(activations),
            words: sides.map_or_else(String::new, words),
            asked: sides.map(|sides| ("tiling", asked(sides))),
        }
    };
    Ok(cuts.iter().map(way).collect())
}
