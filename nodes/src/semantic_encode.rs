//! `SemanticEncode`: a map of classes in, conditioning out.

use burn::tensor::DType;
use ldm_engine::{Ctx, Error, Facts, In, Node, Result};

use crate::array::Array;
use crate::machine::Machine;
use crate::values::{
    Conditioning, ConditioningFacts, Entry, EntryFacts, Image, PictureFacts, SpatialRescaler,
    SpatialRescalerAbout,
};

/// What stands where in a picture, by a map of classes.
///
/// For models of semantic synthesis: the map is a grey picture of the size of the result, whose
/// levels, 0 to 255, are the numbers of classes.
///
/// ```ron
/// "layout": SemanticEncode(spatial_rescaler: "landscapes", map: "map")
/// ```
#[derive(Node)]
#[node(device)]
pub(crate) struct SemanticEncode {
    /// The network that makes the map small.
    spatial_rescaler: In<SpatialRescaler>,
    /// The map.
    map: In<Image>,
}

/// The channels that a map gives.
fn channels(about: &SpatialRescalerAbout, map: PictureFacts) -> Result<[usize; 4]> {
    let (factor, [height, width]) = (about.config.factor(), [map.height, map.width]);
    if !height.is_multiple_of(factor) || !width.is_multiple_of(factor) {
        let message = format!("wants sides that are multiples of {factor}, found {width}×{height}");
        return Err(Error::at("map", message).hint("crop it"));
    }
    let channels = about.config.out_channels;
    Ok([map.batch, channels, height / factor, width / factor])
}

/// `pixels [b, 3, h, w]` from 0 to 1 → `[b, classes, h, w]`, 1 where a class stands and else 0
fn one_hot(pixels: &Array<4>, classes: usize) -> Result<Array<4>> {
    let [batch, colours, height, width] = pixels.shape();
    let area = height * width;
    let mut hot = vec![0.0; batch * classes * area];
    for item in 0..batch {
        let planes = &pixels.numbers()[item * colours * area..][..colours * area];
        for at in 0..area {
            let [red, green, blue] = [0, 1, 2].map(|c| (planes[c * area + at] * 255.0).round());
            let (x, y, class) = (at % width, at / width, red as usize);
            if red != green || red != blue {
                let message = format!("is no grey picture: {red} {green} {blue} at {x}, {y}");
                return Err(Error::at("map", message).hint("a map's levels are classes"));
            }
            if class >= classes {
                let message = format!("shows class {class} at {x}, {y}; there are {classes}");
                return Err(Error::at("map", message).hint("count the classes from 0"));
            }
            hot[(item * classes + class) * area + at] = 1.0;
        }
    }
    Ok(Array::new([batch, classes, height, width], hot))
}

impl Node for SemanticEncode {
    type Out = Conditioning;

    fn facts(&self, facts: &mut Facts<'_>) -> Result<()> {
        let about = facts.of::<SpatialRescalerAbout, _>(&self.spatial_rescaler);
        let map = facts.of::<PictureFacts, _>(&self.map);
        if let (Some(about), Some(map)) = (about, map) {
            let channels = Some(channels(&about, *map)?);
            facts.give(ConditioningFacts::from(EntryFacts {
                channels,
                ..EntryFacts::default()
            }));
        }
        Ok(())
    }

    fn run(&self, ctx: &mut Ctx<'_>) -> Result<Conditioning> {
        let machine = ctx.extension::<Machine>()?;
        let (rescaler, map) = (ctx.get(&self.spatial_rescaler), ctx.get(&self.map));
        channels(rescaler.about(), map.facts())?;
        let hot = one_hot(map.pixels(), rescaler.about().config.in_channels)?;
        let network = rescaler.network(&machine, &ctx.reporter())?;
        let channels = network.forward(hot.tensor(machine.device(), DType::F32));
        Ok(Conditioning::from(Entry {
            channels: Some(machine.read(channels, "the map's channels")?),
            ..Entry::default()
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grey(levels: [u8; 4]) -> Array<4> {
        let plane: Vec<f32> = levels.iter().map(|n| f32::from(*n) / 255.0).collect();
        Array::new([1, 3, 2, 2], plane.repeat(3))
    }

    #[test]
    fn each_level_becomes_the_plane_of_its_class() {
        let hot = one_hot(&grey([0, 2, 2, 1]), 3).unwrap();
        assert_eq!(hot.shape(), [1, 3, 2, 2]);
        let planes = [1., 0., 0., 0., 0., 0., 0., 1., 0., 1., 1., 0.];
        assert_eq!(hot.numbers(), planes);
    }

    #[test]
    fn a_colour_and_an_unknown_class_are_told_with_their_places() {
        let said = |pixels: &Array<4>| one_hot(pixels, 3).unwrap_err().to_string();
        assert!(said(&grey([0, 3, 0, 0])).contains("shows class 3 at 1, 0; there are 3"));
        let mut numbers = grey([0; 4]).numbers().to_vec();
        numbers[2] = 1.0;
        let red = Array::new([1, 3, 2, 2], numbers);
        assert!(
            said(&red).contains("is no grey picture: 255 0 0 at 0, 1"),
            "{}",
            said(&red)
        );
    }
}
