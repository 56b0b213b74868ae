//! The label map: for each pixel, what it shows.

use crate::paint::Canvas;
use crate::scene::{Ground, Kind, Scene};

/// What a pixel shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Label {
    /// Nothing but sky.
    Sky,
    /// The sun's disc.
    Sun,
    /// The moon's disc.
    Moon,
    /// A star.
    Stars,
    /// A cloud.
    Clouds,
    /// The hills on the horizon.
    Hills,
    /// Grass, a lake's banks too.
    Meadow,
    /// Sand.
    Desert,
    /// Snow on the ground.
    Snow,
    /// Water.
    Lake,
    /// A thing.
    Thing(Kind),
}

impl Label {
    /// How many labels there are; ids are below it.
    pub const COUNT: usize = 10 + Kind::ALL.len();

    /// The id in a label map.
    #[must_use]
    pub fn id(self) -> u8 {
        match self {
            Label::Sky => 0,
            Label::Sun => 1,
            Label::Moon => 2,
            Label::Stars => 3,
            Label::Clouds => 4,
            Label::Hills => 5,
            Label::Meadow => 6,
            Label::Desert => 7,
            Label::Snow => 8,
            Label::Lake => 9,
            Label::Thing(kind) => 10 + kind as u8,
        }
    }

    /// The word for an id, `None` from [`Label::COUNT`] on.
    #[must_use]
    pub fn name(id: u8) -> Option<&'static str> {
        const FIRST: [&str; 10] = [
            "sky", "sun", "moon", "stars", "clouds", "hills", "meadow", "desert", "snow", "lake",
        ];
        let id = usize::from(id);
        FIRST
            .get(id)
            .copied()
            .or_else(|| Some(Kind::ALL.get(id.checked_sub(10)?)?.word()))
    }

    pub(crate) fn of_ground(ground: Ground) -> Label {
        match ground {
            Ground::Meadow => Label::Meadow,
            Ground::Desert => Label::Desert,
            Ground::Snow => Label::Snow,
            Ground::Lake => Label::Lake,
        }
    }
}

/// One label id for each pixel, rows from the top.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LabelMap {
    /// Pixels in a row.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// `width × height` ids; see [`Label::name`].
    pub ids: Vec<u8>,
}

impl Scene {
    /// What each pixel of [`Scene::paint`] at the same size shows.
    #[must_use]
    pub fn label_map(&self, size: usize) -> LabelMap {
        let mut canvas = Canvas::new(size, true);
        self.paint_on(&mut canvas);
        let picture = canvas.into_picture();
        let ids = picture.rgb.chunks_exact(3).map(|pixel| pixel[0]).collect();
        LabelMap {
            width: picture.width,
            height: picture.height,
            ids,
        }
    }
}
