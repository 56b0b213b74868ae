//! What is said of a scene: several captions, each with exactly what it states.
//!
//! Short and full ones, in different orders, from a vocabulary small enough to learn. A caption
//! may leave things out; it never says what is not so. [`crate::check::attributes_of`] reads the
//! same attributes from the text alone.

use std::fmt;

use crate::palette::Colour;
use crate::rng::Rng;
use crate::scene::{Ground, Group, Kind, Place, Scene, Size, Sky, Time};

/// One thing that a caption states and a picture shows or does not.
///
/// A scene has one group of each kind at most, so the kind says which things are meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Attribute {
    /// It is this time of day.
    Time(Time),
    /// The ground is this.
    Ground(Ground),
    /// This is in the sky.
    Sky(Sky),
    /// There is at least one of these.
    Thing(Kind),
    /// The things of this kind have this colour.
    Colour(Kind, Colour),
    /// There are exactly so many, stated from two on.
    Count(Kind, usize),
    /// The things of this kind are centred in this third.
    Place(Kind, Place),
    /// The things of this kind are this large.
    Size(Kind, Size),
}

impl fmt::Display for Attribute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Attribute::Time(time) => write!(f, "time: {}", time.word()),
            Attribute::Ground(ground) => write!(f, "ground: {}", ground.word()),
            Attribute::Sky(sky) => write!(f, "sky: {}", sky.word()),
            Attribute::Thing(kind) => write!(f, "{}", kind.word()),
            Attribute::Colour(kind, colour) => write!(f, "{}: {}", kind.word(), colour.word()),
            Attribute::Count(kind, count) => write!(f, "{}: {count}", kind.word()),
            Attribute::Place(kind, place) => write!(f, "{}: {}", kind.word(), place.word()),
            Attribute::Size(kind, size) => write!(f, "{}: {}", kind.word(), size.word()),
        }
    }
}

/// A sentence and what it states.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caption {
    /// Lowercase words with commas and semicolons.
    pub text: String,
    /// What the text states, sorted, without repeats.
    pub attributes: Vec<Attribute>,
}

/// `n` scenes of `seed` with a caption each, held-out scenes among them. None is chosen: the
/// same seed gives the same list, and a longer list begins with the shorter one.
#[must_use]
pub fn evaluation_captions(seed: u64, n: usize) -> Vec<(Scene, Caption)> {
    let mut rng = Rng::new(seed, 4);
    let mut draw = || {
        let scene = Scene::from_seed(rng.next());
        let mut captions = scene.captions();
        let caption = captions.swap_remove(rng.below(captions.len()));
        (scene, caption)
    };
    (0..n).map(|_| draw()).collect()
}

/// Every word that captions use, sorted; punctuation is not among them.
#[must_use]
pub fn vocabulary() -> &'static [&'static str] {
    &[
        "a",
        "air",
        "and",
        "are",
        "at",
        "balloon",
        "beyond",
        "big",
        "blue",
        "boat",
        "by",
        "cacti",
        "cactus",
        "calm",
        "clouds",
        "dark",
        "dawn",
        "day",
        "daylight",
        "desert",
        "distant",
        "dusk",
        "early",
        "evening",
        "field",
        "floats",
        "grassy",
        "green",
        "hot",
        "house",
        "in",
        "is",
        "lake",
        "large",
        "left",
        "lighthouse",
        "meadow",
        "middle",
        "moon",
        "morning",
        "mountain",
        "near",
        "night",
        "of",
        "on",
        "out",
        "over",
        "pine",
        "pines",
        "red",
        "right",
        "sailboat",
        "sandy",
        "shine",
        "shines",
        "sky",
        "small",
        "snow",
        "snowy",
        "stand",
        "stands",
        "stars",
        "striped",
        "stripes",
        "sun",
        "the",
        "there",
        "three",
        "to",
        "tree",
        "trees",
        "two",
        "under",
        "up",
        "white",
        "with",
        "yellow",
    ]
}

impl Scene {
    /// Four captions: a short one, two full ones in different orders, and one that leaves things
    /// out.
    #[must_use]
    pub fn captions(&self) -> Vec<Caption> {
        let rng = &mut Rng::new(self.seed, 3);
        let first = rng.below(3);
        vec![
            Writer::new(self, rng).short(),
            Writer::new(self, rng).full(first),
            Writer::new(self, rng).full((first + 1) % 3),
            Writer::new(self, rng).loose(),
        ]
    }

    /// All that a caption of this scene could state, sorted.
    #[must_use]
    pub fn attributes(&self) -> Vec<Attribute> {
        let mut all = vec![Attribute::Time(self.time), Attribute::Ground(self.ground)];
        all.extend(self.sky.iter().map(|&sky| Attribute::Sky(sky)));
        for group in &self.groups {
            let kind = group.kind;
            all.extend([Attribute::Thing(kind), Attribute::Place(kind, group.place)]);
            all.extend(group.colour.map(|colour| Attribute::Colour(kind, colour)));
            if group.count() > 1 {
                all.push(Attribute::Count(kind, group.count()));
            }
            if kind != Kind::Mountain {
                all.push(Attribute::Size(kind, group.size));
            }
        }
        all.sort_unstable();
        all
    }
}

/// What is said about each group, chosen once a caption.
#[derive(Clone, Copy)]
struct Detail {
    colour: bool,
    size: bool,
    place: bool,
}

/// Writes one caption, noting what it states.
struct Writer<'a> {
    scene: &'a Scene,
    rng: &'a mut Rng,
    stated: Vec<Attribute>,
}

impl<'a> Writer<'a> {
    fn new(scene: &'a Scene, rng: &'a mut Rng) -> Self {
        Writer {
            scene,
            rng,
            stated: Vec::with_capacity(12),
        }
    }

    fn done(mut self, text: String) -> Caption {
        self.stated.sort_unstable();
        self.stated.dedup();
        Caption {
            text,
            attributes: self.stated,
        }
    }

    /// One or two things, and often where or when.
    fn short(mut self) -> Caption {
        let detail = Detail {
            colour: self.rng.chance(85),
            size: false,
            place: false,
        };
        let count = self.rng.below(self.scene.groups.len()) + 1;
        let groups = self.order(count);
        let mut text = self.list(&groups, detail);
        if self.rng.chance(65) {
            text = format!("{text} {}", self.location(groups[groups.len() - 1]));
        }
        if self.rng.chance(65) {
            text = format!("{text} {}", self.time());
        }
        self.done(text)
    }

    /// All groups with their colours, ground, time and sky, in one of three orders.
    fn full(mut self, order: usize) -> Caption {
        let detail = Detail {
            colour: true,
            size: self.rng.chance(40),
            place: self.rng.chance(60),
        };
        let groups = self.order(self.scene.groups.len());
        let last = groups[groups.len() - 1];
        let comma = if detail.place { "," } else { "" };
        let text = match order {
            0 => {
                let (list, place) = (self.list(&groups, detail), self.location(last));
                let (time, sky) = (self.time(), self.sky_clause());
                format!("{list}{comma} {place} {time}{sky}")
            }
            1 => {
                let (time, list) = (self.time(), self.list(&groups, detail));
                let verb = self.verb(&groups, detail);
                let (place, sky) = (self.location(last), self.sky_clause());
                format!("{time}, {list}{verb}{comma} {place}{sky}")
            }
            _ => {
                let (ground, time) = (self.ground(), self.time());
                let (sky, list) = (self.under_sky(), self.list(&groups, detail));
                format!("{ground} {time}{sky} with {list}")
            }
        };
        self.done(text)
    }

    /// Some groups, with or without ground, time and sky.
    fn loose(mut self) -> Caption {
        let percent = |rng: &mut Rng, n| rng.chance(n);
        let detail = Detail {
            colour: percent(self.rng, 80),
            size: percent(self.rng, 25),
            place: percent(self.rng, 40),
        };
        let count = self.rng.below(self.scene.groups.len()) + 1;
        let groups = self.order(count);
        let list = self.list(&groups, detail);
        let comma = if detail.place { "," } else { "" };
        let text = match self.rng.below(4) {
            0 => format!("{} {} with {list}", self.ground(), self.time()),
            1 => {
                let be = if groups[0].count() == 1 { "is" } else { "are" };
                format!(
                    "there {be} {list}{comma} {}",
                    self.location(groups[groups.len() - 1])
                )
            }
            2 => format!("{}, {list}{}", self.time(), self.sky_clause()),
            _ => format!("{list}{}", self.under_sky()),
        };
        self.done(text)
    }

    /// `count` groups, the subject among them, those that stand on the ground last.
    fn order(&mut self, count: usize) -> Vec<&'a Group> {
        let mut groups: Vec<&Group> = self.scene.groups.iter().take(count).collect();
        self.rng.shuffle(&mut groups);
        groups.sort_by_key(|group| !matches!(group.kind, Kind::Balloon | Kind::Mountain));
        groups
    }

    fn list(&mut self, groups: &[&Group], detail: Detail) -> String {
        let names: Vec<String> = groups
            .iter()
            .map(|group| self.name(group, detail))
            .collect();
        match names.as_slice() {
            [all @ .., before, last] => {
                let all: String = all.iter().map(|name| format!("{name}, ")).collect();
                format!("{all}{before} and {last}")
            }
            names => names.concat(),
        }
    }

    /// "two small pines on the left", "a red and white lighthouse".
    fn name(&mut self, group: &Group, detail: Detail) -> String {
        let kind = group.kind;
        self.stated.push(Attribute::Thing(kind));
        let mut words = vec![["a", "two", "three"][group.count() - 1].to_owned()];
        if group.count() > 1 {
            self.stated.push(Attribute::Count(kind, group.count()));
        }
        if detail.size && kind != Kind::Mountain {
            self.stated.push(Attribute::Size(kind, group.size));
            let choices = match group.size {
                Size::Small => ["small", "distant"],
                Size::Big => ["big", "large"],
            };
            words.push(self.rng.pick(&choices).to_owned());
        }
        let noun = self.noun(kind, group.count());
        match group.colour.filter(|_| detail.colour) {
            Some(colour) => {
                self.stated.push(Attribute::Colour(kind, colour));
                words.push(self.coloured(kind, colour, noun));
            }
            None => words.push(noun.to_owned()),
        }
        if detail.place {
            self.stated.push(Attribute::Place(kind, group.place));
            words.push(self.place(group.place).to_owned());
        }
        words.join(" ")
    }

    fn noun(&mut self, kind: Kind, count: usize) -> &'static str {
        let choices: [&str; 2] = match (kind, count) {
            (Kind::Tree, 1) => ["tree", "tree"],
            (Kind::Tree, _) => ["trees", "trees"],
            (Kind::Pine, 1) => ["pine", "pine tree"],
            (Kind::Pine, _) => ["pines", "pine trees"],
            (Kind::Boat, _) => ["boat", "sailboat"],
            (Kind::Balloon, _) => ["balloon", "hot air balloon"],
            (Kind::Cactus, 2..) => ["cacti", "cacti"],
            _ => [kind.word(); 2],
        };
        self.rng.pick(&choices)
    }

    fn coloured(&mut self, kind: Kind, colour: Colour, noun: &str) -> String {
        let colour = colour.word();
        let style = if kind == Kind::Lighthouse {
            self.rng.below(4)
        } else {
            0
        };
        match style {
            1 => format!("{colour} and white {noun}"),
            2 => format!("{colour} striped {noun}"),
            3 => format!("{noun} with {colour} stripes"),
            _ => format!("{colour} {noun}"),
        }
    }

    fn place(&mut self, place: Place) -> &'static str {
        let choices = match place {
            Place::Left => ["on the left", "to the left"],
            Place::Middle => ["in the middle", "in the middle"],
            Place::Right => ["on the right", "to the right"],
        };
        self.rng.pick(&choices)
    }

    /// Where the groups are, told of the one named last.
    fn location(&mut self, last: &Group) -> String {
        self.stated.push(Attribute::Ground(self.scene.ground));
        let (preposition, noun) = match (last.kind, self.scene.ground) {
            (Kind::Balloon, _) => ("over", None),
            (Kind::Mountain, _) => ("beyond", None),
            (Kind::Boat, Ground::Lake) => ("on", None),
            (_, Ground::Lake) => (self.rng.pick(&["by", "near", "at"]), None),
            (_, Ground::Desert) => ("in", Some("the desert")),
            (_, Ground::Snow) => ("in", Some("the snow")),
            (_, Ground::Meadow) => ("in", None),
        };
        let noun = noun.filter(|_| self.rng.chance(50));
        let noun = noun.unwrap_or_else(|| self.ground());
        format!("{preposition} {noun}")
    }

    fn ground(&mut self) -> &'static str {
        self.stated.push(Attribute::Ground(self.scene.ground));
        let choices = match self.scene.ground {
            Ground::Meadow => ["a meadow", "a grassy meadow", "a grassy field"],
            Ground::Desert => ["a desert", "a sandy desert", "a desert"],
            Ground::Snow => ["a snowy field", "a field of snow", "a snowy field"],
            Ground::Lake => ["a lake", "a lake", "a calm lake"],
        };
        self.rng.pick(&choices)
    }

    fn time(&mut self) -> &'static str {
        self.stated.push(Attribute::Time(self.scene.time));
        let choices = match self.scene.time {
            Time::Dawn => ["at dawn", "at dawn", "early in the morning"],
            Time::Day => ["by day", "by day", "in daylight"],
            Time::Dusk => ["at dusk", "at dusk", "in the evening"],
            Time::Night => ["at night", "at night", "in the dark"],
        };
        self.rng.pick(&choices)
    }

    /// " stands" where one group without places is the subject, else nothing.
    fn verb(&mut self, groups: &[&Group], detail: Detail) -> &'static str {
        match groups {
            [one] if !detail.place => match (one.kind, one.count()) {
                (Kind::Boat | Kind::Balloon, _) => " floats",
                (_, 1) => " stands",
                _ => " stand",
            },
            _ => "",
        }
    }

    /// "; the moon is up", or nothing for an empty sky.
    fn sky_clause(&mut self) -> String {
        self.stated
            .extend(self.scene.sky.iter().map(|&sky| Attribute::Sky(sky)));
        let choices: [&str; 2] = match self.scene.sky.as_slice() {
            [Sky::Sun] => ["the sun shines", "the sun is up"],
            [Sky::Moon] => ["the moon is up", "the moon shines"],
            [Sky::Stars] => ["the stars are out", "stars shine"],
            [Sky::Clouds] => ["clouds are in the sky", "there are clouds"],
            [Sky::Sun, Sky::Clouds] => ["the sun shines, there are clouds", "sun and clouds"],
            [Sky::Moon, Sky::Stars] => ["the moon and stars are out", "moon and stars shine"],
            _ => return String::new(),
        };
        let join = if self.rng.chance(50) { ", " } else { "; " };
        format!("{join}{}", self.rng.pick(&choices))
    }

    /// " under the moon and stars", or nothing for an empty sky.
    fn under_sky(&mut self) -> String {
        self.stated
            .extend(self.scene.sky.iter().map(|&sky| Attribute::Sky(sky)));
        let names: Vec<&str> = self.scene.sky.iter().map(|sky| sky.word()).collect();
        if names.is_empty() {
            String::new()
        } else {
            format!(" under the {}", names.join(" and "))
        }
    }
}
