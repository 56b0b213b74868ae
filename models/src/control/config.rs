//! The shapes of ControlNets and adapters, checked before anything is made.

use std::fmt;

use burn::tensor::Device;
use serde::{Deserialize, Serialize};

use super::Controller;
use super::adapter::Adapter;
use super::net::ControlNet;
use crate::error::{Error, Result};
use crate::nn::Init;
use crate::unet::UNetConfig;

/// The kinds of networks that steer a U-Net, each with its shape.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ControlConfig {
    /// A ControlNet.
    Net(ControlNetConfig),
    /// A T2I-Adapter.
    Adapter(AdapterConfig),
}

/// The shape of a ControlNet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ControlNetConfig {
    /// The U-Net whose way down and middle it has; what goes out of that is not looked at.
    pub unet: UNetConfig,
    /// Channels of a hint.
    pub hint_channels: usize,
    /// Widths of the hint's own network; the size is halved between two of them.
    pub hint_widths: Vec<usize>,
    /// Whether results are averaged over all places (`global_pool_conditions`).
    #[serde(default)]
    pub pooled: bool,
}

/// The shape of a T2I-Adapter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdapterConfig {
    /// The large or the small network.
    pub kind: AdapterKind,
    /// Channels of a hint: 3, or 1 for drawings.
    pub in_channels: usize,
    /// How many pixels of a hint's side one place of the latent has.
    pub factor: usize,
    /// Side of the squares of pixels that become channels first: `factor`, or twice that where
    /// the first feature is added behind a halving.
    pub unshuffle: usize,
    /// Width of each level.
    pub channels: Vec<usize>,
    /// Whether each level halves the size first.
    pub halved: Vec<bool>,
    /// Blocks of each level.
    pub blocks: usize,
    /// Where each level's features are added.
    pub places: Vec<Place>,
}

/// The networks that T2I-Adapters come as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum AdapterKind {
    /// Blocks at the width of the features.
    Full,
    /// Blocks at a quarter of it.
    Light,
}

/// Where in a U-Net a feature is added.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Place {
    /// On the way down, to what leaves this skip behind; the first convolution's is 0.
    Skip(usize),
    /// Behind the middle.
    Middle,
}

impl ControlConfig {
    /// How many pixels of a hint's side one place of the latent has.
    pub fn factor(&self) -> usize {
        match self {
            Self::Net(config) => 1 << (config.hint_widths.len() - 1),
            Self::Adapter(config) => config.factor,
        }
    }

    /// Channels of the hints that it takes; an adapter of one channel takes any picture.
    pub fn hint_channels(&self) -> usize {
        match self {
            Self::Net(config) => config.hint_channels,
            Self::Adapter(config) => config.in_channels.max(3),
        }
    }

    /// Whether the numbers describe a network, and which one does not.
    ///
    /// # Errors
    /// The first that does not.
    pub fn check(&self) -> Result<()> {
        match self {
            Self::Net(config) => config.check(),
            Self::Adapter(config) => config.check(),
        }
    }

    /// A fresh network whose parameters are drawn from `seed` when first used.
    ///
    /// # Errors
    /// As [`ControlConfig::check`].
    pub fn init(&self, device: &Device, seed: u64) -> Result<Controller> {
        self.check()?;
        let mut init = Init::new("control", device, seed);
        Ok(match self {
            Self::Net(config) => Controller::Net(ControlNet::new(&mut init, config)),
            Self::Adapter(config) => Controller::Adapter(Adapter::new(&mut init, config)),
        })
    }

    /// Whether what it gives can be added inside `unet`.
    ///
    /// # Errors
    /// Both sides, where they differ.
    pub fn fits(&self, unet: &UNetConfig) -> Result<()> {
        match self {
            Self::Net(config) => config.fits(unet),
            Self::Adapter(config) => config.fits(unet),
        }
    }
}

impl ControlNetConfig {
    fn check(&self) -> Result<()> {
        self.unet.check()?;
        let wrong = |why: String| Err(Error::config("ControlNet", why));
        let widths = &self.hint_widths;
        if widths.is_empty() || widths.len() > 8 || widths.iter().any(|w| *w == 0 || *w > 1 << 16) {
            return wrong(format!(
                "hint_widths is {widths:?}, wanted 1 to 8 numbers above 0"
            ));
        }
        match self.hint_channels {
            1..=64 => Ok(()),
            n => wrong(format!("hint_channels is {n}, wanted 1 to 64")),
        }
    }

    fn fits(&self, unet: &UNetConfig) -> Result<()> {
        let (own, theirs) = (skips(&self.unet), skips(unet));
        if own != theirs {
            return misfit("ControlNet", &own, &theirs);
        }
        let wide =
            |config: &UNetConfig| config.context_dim.map_or("none".into(), |n| n.to_string());
        if self.unet.context_dim != unet.context_dim {
            let (own, theirs) = (wide(&self.unet), wide(unet));
            let why = format!("looks at tokens {own} wide, those of this U-Net are {theirs} wide");
            return Err(Error::config("ControlNet", why + FAMILY));
        }
        if self.unet.label.is_some() && self.unet.label != unet.label {
            let (own, theirs) = (self.unet.label, unet.label);
            let why = format!("is told {own:?}, this U-Net {theirs:?}");
            return Err(Error::config("ControlNet", why + FAMILY));
        }
        let (own, latent) = (self.unet.in_channels, unet.out_channels);
        if own != latent {
            let why = format!("sees latents of {own} channels, this U-Net makes {latent}");
            return Err(Error::config("ControlNet", why + FAMILY));
        }
        Ok(())
    }
}

impl AdapterConfig {
    fn check(&self) -> Result<()> {
        let wrong = |why: String| Err(Error::config("T2I-Adapter", why));
        let levels = self.channels.len();
        if levels == 0 || self.halved.len() != levels || self.places.len() != levels {
            let (halved, places) = (self.halved.len(), self.places.len());
            return wrong(format!(
                "has {levels} widths, {halved} sizes and {places} places, wanted as many of each"
            ));
        }
        let sizes = [
            ("in_channels", self.in_channels, 64),
            ("factor", self.factor, 64),
            ("unshuffle", self.unshuffle, 64),
            ("blocks", self.blocks, 1 << 10),
        ];
        let widths = self.channels.iter().map(|c| ("channels", *c, 1 << 16));
        for (field, n, most) in sizes.into_iter().chain(widths) {
            if n == 0 || n > most {
                return wrong(format!("{field} is {n}, wanted 1 to {most}"));
            }
        }
        let last = self.places.iter().find_map(|place| match place {
            Place::Skip(at) if *at > 1 << 10 => Some(at),
            _ => None,
        });
        match last {
            Some(at) => wrong(format!("a place is skip {at}, wanted at most 1024")),
            None => Ok(()),
        }
    }

    fn fits(&self, unet: &UNetConfig) -> Result<()> {
        let skips = skips(unet);
        let at = |place: &Place| match place {
            Place::Skip(at) => skips.get(*at).copied(),
            Place::Middle => Some(middle(unet)),
        };
        let (own, theirs) = (self.features(), self.places.iter().filter_map(at));
        let theirs: Vec<Feature> = theirs.collect();
        match own == theirs {
            true => Ok(()),
            false => misfit("T2I-Adapter", &own, &theirs),
        }
    }

    fn features(&self) -> Vec<Feature> {
        let mut shrink = self.unshuffle / self.factor;
        let levels = self.channels.iter().zip(&self.halved);
        let feature = levels.map(|(channels, halved)| {
            shrink *= if *halved { 2 } else { 1 };
            Feature {
                channels: *channels,
                shrink,
            }
        });
        feature.collect()
    }
}

const FAMILY: &str = "; use one that was made for this model";

/// What stands in one place of a network.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Feature {
    channels: usize,
    /// How often it goes into the latent's side.
    shrink: usize,
}

impl fmt::Display for Feature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at 1/{}", self.channels, self.shrink)
    }
}

fn misfit(network: &'static str, own: &[Feature], theirs: &[Feature]) -> Result<()> {
    let list = |features: &[Feature]| {
        let words: Vec<String> = features.iter().map(Feature::to_string).collect();
        words.join(", ")
    };
    let (own, theirs) = (list(own), list(theirs));
    let why = format!("gives features [{own}], this U-Net has [{theirs}] in their places");
    Err(Error::config(network, why + FAMILY))
}

/// What the skips of a U-Net are, in the order they are kept.
fn skips(unet: &UNetConfig) -> Vec<Feature> {
    let last = unet.channel_mult.len() - 1;
    let first = Feature {
        channels: unet.model_channels,
        shrink: 1,
    };
    let mut skips = vec![first];
    for level in 0..=last {
        let (channels, shrink) = (unet.width(level), 1 << level);
        let feature = |shrink| Feature { channels, shrink };
        skips.extend(vec![feature(shrink); unet.num_res_blocks]);
        skips.extend((level < last).then(|| feature(2 * shrink)));
    }
    skips
}

fn middle(unet: &UNetConfig) -> Feature {
    let last = unet.channel_mult.len() - 1;
    Feature {
        channels: unet.width(last),
        shrink: 1 << last,
    }
}
