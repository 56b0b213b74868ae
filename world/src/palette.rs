//! The colours of the world, chosen to stay apart after blur: times of day differ in the sky,
//! grounds in the lower third, and things are more saturated than either. Light is applied in
//! integers, so a colour is the same on every machine.

use crate::scene::{Ground, Time};

/// Red, green and blue, 0 to 255.
pub type Rgb = [u8; 3];

/// The colours a caption can name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Colour {
    /// Brick red.
    Red,
    /// Deep blue, darker than any sky by day.
    Blue,
    /// Sunflower yellow.
    Yellow,
    /// Warm white.
    White,
    /// Emerald, bluer than a meadow.
    Green,
}

impl Colour {
    /// Every colour.
    pub const ALL: [Colour; 5] = [
        Colour::Red,
        Colour::Blue,
        Colour::Yellow,
        Colour::White,
        Colour::Green,
    ];

    /// The word a caption uses.
    #[must_use]
    pub fn word(self) -> &'static str {
        ["red", "blue", "yellow", "white", "green"][self as usize]
    }

    /// The paint by day.
    #[must_use]
    pub fn rgb(self) -> Rgb {
        [
            [216, 44, 38],
            [40, 88, 226],
            [252, 204, 24],
            [248, 246, 238],
            [20, 158, 92],
        ][self as usize]
    }
}

/// The sky from its top over its middle to the horizon.
pub(crate) fn sky(time: Time) -> [Rgb; 3] {
    match time {
        Time::Dawn => [[150, 160, 222], [244, 176, 200], [254, 210, 190]],
        Time::Day => [[64, 146, 236], [120, 188, 246], [190, 226, 250]],
        Time::Dusk => [[70, 44, 118], [196, 78, 112], [255, 148, 64]],
        Time::Night => [[10, 14, 42], [20, 28, 72], [44, 58, 112]],
    }
}

/// The ground by day from the horizon to the picture's lower edge; a lake's is its water.
pub(crate) fn ground(ground: Ground) -> [Rgb; 2] {
    match ground {
        Ground::Meadow => [[150, 204, 92], [104, 172, 62]],
        Ground::Desert => [[236, 184, 116], [218, 150, 84]],
        Ground::Snow => [[246, 250, 255], [216, 230, 246]],
        Ground::Lake => [[120, 206, 214], [58, 150, 178]],
    }
}

/// The hills behind, by day.
pub(crate) fn hills(ground: Ground) -> Rgb {
    match ground {
        Ground::Meadow => [92, 152, 88],
        Ground::Desert => [206, 140, 92],
        Ground::Snow => [190, 208, 232],
        Ground::Lake => [88, 146, 104],
    }
}

/// How much of each channel the land keeps, in 256ths.
fn land_light(time: Time) -> [u16; 3] {
    match time {
        Time::Dawn => [250, 226, 232],
        Time::Day => [256, 256, 256],
        Time::Dusk => [226, 174, 172],
        Time::Night => [112, 118, 148],
    }
}

/// How much of each channel a thing keeps. Things are lit more than land, so that their colour
/// can be named at night.
fn thing_light(time: Time) -> [u16; 3] {
    match time {
        Time::Dawn => [254, 240, 242],
        Time::Day => [256, 256, 256],
        Time::Dusk => [242, 214, 216],
        Time::Night => [216, 214, 226],
    }
}

pub(crate) fn on_land(colour: Rgb, time: Time) -> Rgb {
    lit(colour, land_light(time))
}

pub(crate) fn on_thing(colour: Rgb, time: Time) -> Rgb {
    lit(colour, thing_light(time))
}

fn lit(colour: Rgb, light: [u16; 3]) -> Rgb {
    std::array::from_fn(|i| ((u16::from(colour[i]).min(255) * light[i].min(256)) >> 8) as u8)
}

/// `a` at 0 to `b` at `of`, rounded down.
pub(crate) fn mix(a: Rgb, b: Rgb, at: u32, of: u32) -> Rgb {
    std::array::from_fn(|i| {
        ((u32::from(a[i]) * (of - at) + u32::from(b[i]) * at) / of.max(1)) as u8
    })
}

/// A colour darkened to `keep` 256ths.
pub(crate) fn shade(colour: Rgb, keep: u16) -> Rgb {
    lit(colour, [keep; 3])
}
