//! What a scene is, how one is drawn from a seed, and which are held out of training.
//!
//! Lengths are in pixels of the 64×64 picture, and integers, so that two scenes are equal or
//! clearly not. Not here: how it looks ([`crate::paint`]) or what is said of it
//! ([`crate::caption`]).

use crate::palette::Colour;
use crate::rng::Rng;

macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$each:meta])* $variant:ident = $word:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum $name { $($(#[$each])* $variant,)* }
        impl $name {
            /// Every value, in order.
            pub const ALL: &[$name] = &[$($name::$variant),*];
            /// The word that names it.
            #[must_use]
            pub fn word(self) -> &'static str {
                match self { $($name::$variant => $word,)* }
            }
        }
    };
}

words! {
    /// The time of day; it colours the sky and lights everything else.
    Time {
        /// Lavender over pink over cream.
        Dawn = "dawn",
        /// Blue.
        Day = "day",
        /// Purple over crimson over orange.
        Dusk = "dusk",
        /// Near black, navy towards the horizon.
        Night = "night",
    }
}

words! {
    /// What covers the lower part.
    Ground {
        /// Light green.
        Meadow = "meadow",
        /// Orange sand.
        Desert = "desert",
        /// White with blue in it.
        Snow = "snow",
        /// Teal water between a far bank and a near shore.
        Lake = "lake",
    }
}

words! {
    /// What can be seen in the sky.
    Sky {
        /// High by day; low and large at dawn and dusk.
        Sun = "sun",
        /// A full disc.
        Moon = "moon",
        /// Five large ones.
        Stars = "stars",
        /// One or two.
        Clouds = "clouds",
    }
}

words! {
    /// The things that stand in a scene.
    Kind {
        /// Walls of one colour, a dark roof, a door and a window.
        House = "house",
        /// Stripes of white and one colour, a lamp.
        Lighthouse = "lighthouse",
        /// A round crown on a trunk.
        Tree = "tree",
        /// Three stacked triangles, darker and bluer than a tree.
        Pine = "pine",
        /// Hull and sail of one colour; on lakes only.
        Boat = "boat",
        /// On the horizon, with a white cap.
        Mountain = "mountain",
        /// A hot-air balloon, in the sky.
        Balloon = "balloon",
        /// With two arms; in deserts only.
        Cactus = "cactus",
    }
}

words! {
    /// The third of the picture's width a group is centred in.
    Place {
        /// The left third.
        Left = "left",
        /// The middle third.
        Middle = "middle",
        /// The right third.
        Right = "right",
    }
}

words! {
    /// How large a thing is for its kind: far ones are small and stand near the horizon.
    Size {
        /// Far.
        Small = "small",
        /// Near, at least 1.4 times a small one.
        Big = "big",
    }
}

impl Kind {
    /// The colours this kind is painted in; empty where it has only its own.
    #[must_use]
    pub fn colours(self) -> &'static [Colour] {
        use Colour::{Blue, Green, Red, White, Yellow};
        match self {
            Kind::House | Kind::Boat => &[Red, Blue, Yellow, White],
            Kind::Lighthouse => &[Red, Blue, Yellow],
            Kind::Balloon => &[Red, Blue, Yellow, Green],
            _ => &[],
        }
    }
}

/// One to three things of a kind, side by side.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Group {
    /// What they are.
    pub kind: Kind,
    /// Their colour, for the kinds that have several.
    pub colour: Option<Colour>,
    /// Which third they are centred in.
    pub place: Place,
    /// Their size; mountains are always big.
    pub size: Size,
    /// The things themselves, from left to right.
    pub(crate) things: Vec<Thing>,
}

impl Group {
    /// How many things there are, 1 to 3.
    #[must_use]
    pub fn count(&self) -> usize {
        self.things.len()
    }
}

/// One thing's geometry in 64ths of the picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Thing {
    /// Centre.
    pub(crate) x: i32,
    /// The lower edge.
    pub(crate) base: i32,
    /// The height.
    pub(crate) height: i32,
}

/// A thing and where it is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Object {
    /// What it is.
    pub kind: Kind,
    /// Its colour, for the kinds that have several.
    pub colour: Option<Colour>,
    /// `x0, y0, x1, y1` as fractions of the picture, clipped to it; y grows downward.
    /// What stands in front may hide a part.
    pub bounds: [f32; 4],
}

/// Everything that a picture shows, drawn from a seed.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Scene {
    /// The time of day.
    pub time: Time,
    /// What covers the lower part.
    pub ground: Ground,
    /// What is in the sky, at most two of them, in order; all of it can be seen.
    pub sky: Vec<Sky>,
    /// The groups of things, of different kinds and in different places; the first is the scene's
    /// subject.
    pub groups: Vec<Group>,
    /// Which of [`HILLS`] outlines the hills have.
    pub(crate) hills: usize,
    /// Centre of the sun or the moon.
    pub(crate) light: [i32; 2],
    /// Which arrangement of stars or clouds.
    pub(crate) pattern: usize,
    pub(crate) seed: u64,
}

/// How many classes [`Scene::class`] knows.
pub const CLASSES: usize = Kind::ALL.len() * Time::ALL.len();

/// What a class means, as "house at night"; `None` from [`CLASSES`] on.
#[must_use]
pub fn class_name(class: usize) -> Option<String> {
    let kind = Kind::ALL.get(class / Time::ALL.len())?.word();
    let time = Time::ALL[class % Time::ALL.len()];
    let when = if time == Time::Day { "by" } else { "at" };
    Some(format!("{kind} {when} {}", time.word()))
}

/// Never trained on: what a model makes of these shows whether it composes.
const HELD_OUT: [(Kind, Colour, Time); 4] = [
    (Kind::House, Colour::Yellow, Time::Dusk),
    (Kind::Boat, Colour::Blue, Time::Dawn),
    (Kind::Balloon, Colour::Red, Time::Day),
    (Kind::Lighthouse, Colour::Yellow, Time::Night),
];

/// Where the sky ends, in 64ths.
pub(crate) const HORIZON: i32 = 40;
/// How many outlines the hills have.
pub(crate) const HILLS: usize = 4;
/// Where a lake's near shore begins.
pub(crate) const SHORE: i32 = 54;

impl Scene {
    /// The scene of a seed, held out or not: what evaluation draws.
    #[must_use]
    pub fn from_seed(seed: u64) -> Scene {
        let rng = &mut Rng::new(seed, 1);
        let time = rng.pick(Time::ALL);
        let ground = rng.pick(Ground::ALL);
        let groups = loop {
            let groups = draw_groups(rng, ground);
            if !crowded(&groups) {
                break groups;
            }
        };
        let sky = draw_sky(rng, time);
        let mut scene = Scene {
            groups,
            sky,
            seed,
            ..Scene::empty(time, ground, rng.below(HILLS))
        };
        scene.pattern = rng.below(6);
        scene.place_clouds(rng);
        scene.place_light(rng);
        scene
    }

    /// The training scene of a seed: the first of the seed's draws that is not held out.
    #[must_use]
    pub fn train(seed: u64) -> Scene {
        let mut rng = Rng::new(seed, 2);
        loop {
            let scene = Scene::from_seed(rng.next());
            if !scene.is_held_out() {
                return scene;
            }
        }
    }

    /// Whether the scene shows a kind in a colour at a time that training never sees, about 1 in
    /// 20.
    #[must_use]
    pub fn is_held_out(&self) -> bool {
        self.groups.iter().any(|group| {
            HELD_OUT.iter().any(|&(kind, colour, time)| {
                (group.kind, group.colour, self.time) == (kind, Some(colour), time)
            })
        })
    }

    /// The seed that [`Scene::from_seed`] makes this scene from.
    #[must_use]
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// The class, `0..CLASSES`: the subject's kind and the time. See [`class_name`].
    #[must_use]
    pub fn class(&self) -> usize {
        self.groups[0].kind as usize * Time::ALL.len() + self.time as usize
    }

    /// A scene with nothing in it.
    pub(crate) fn empty(time: Time, ground: Ground, hills: usize) -> Scene {
        let (sky, groups) = (Vec::new(), Vec::new());
        Scene {
            time,
            ground,
            sky,
            groups,
            hills,
            light: [0, 0],
            pattern: 0,
            seed: 0,
        }
    }

    /// Every thing with its bounds, group by group.
    #[must_use]
    pub fn objects(&self) -> Vec<Object> {
        let each = |group: &Group| {
            let (kind, colour) = (group.kind, group.colour);
            let object = move |thing: Thing| Object {
                kind,
                colour,
                bounds: thing.bounds(kind).map(|v| (v / 64.0).clamp(0.0, 1.0)),
            };
            group.things.clone().into_iter().map(object)
        };
        self.groups.iter().flat_map(each).collect()
    }

    /// Clouds are arranged so that no thing hides the first of them; a sky too full has none.
    fn place_clouds(&mut self, rng: &mut Rng) {
        if !self.sky.contains(&Sky::Clouds) {
            return;
        }
        for _ in 0..12 {
            let cloud = cloud_bounds(CLOUDS[self.pattern][0]);
            if !self.bounds().any(|thing| overlap(thing, cloud) > 0.0) {
                return;
            }
            self.pattern = rng.below(CLOUDS.len());
        }
        self.sky.retain(|&sky| sky != Sky::Clouds);
    }

    /// The sun or moon goes where nothing hides it; where there is no such spot it is left out.
    fn place_light(&mut self, rng: &mut Rng) {
        if !self.has_light() {
            return;
        }
        let low = matches!(self.time, Time::Dawn | Time::Dusk);
        for _ in 0..24 {
            let y = if low {
                rng.between(30, 36)
            } else {
                rng.between(10, 16)
            };
            let at = [rng.between(4, 28) * 2, y];
            let r = (light_radius(self.time) + 1) as f32;
            let [x, y] = at.map(|v| v as f32);
            let disc = [x - r, y - r, x + r, y + r];
            let cloudy = self.sky.contains(&Sky::Clouds)
                && CLOUDS[self.pattern]
                    .iter()
                    .any(|&c| overlap(cloud_bounds(c), disc) > 0.0);
            if !cloudy && !self.bounds().any(|thing| overlap(thing, disc) > 0.0) {
                self.light = at;
                return;
            }
        }
        self.sky.retain(|s| !matches!(s, Sky::Sun | Sky::Moon));
    }

    /// Whether the sun or the moon is up.
    pub(crate) fn has_light(&self) -> bool {
        self.sky.iter().any(|s| matches!(s, Sky::Sun | Sky::Moon))
    }

    fn bounds(&self) -> impl Iterator<Item = [f32; 4]> {
        self.groups
            .iter()
            .flat_map(|g| g.things.iter().map(|t| t.bounds(g.kind)))
    }
}

/// Centres of the clouds in each arrangement; twice the same is one cloud.
pub(crate) const CLOUDS: [[[i32; 2]; 2]; 6] = [
    [[15, 9], [48, 15]],
    [[46, 8], [14, 16]],
    [[30, 9], [30, 9]],
    [[12, 11], [12, 11]],
    [[52, 11], [52, 11]],
    [[22, 13], [55, 7]],
];

fn cloud_bounds([x, y]: [i32; 2]) -> [f32; 4] {
    let (x, y) = (x as f32, y as f32);
    [x - 11.0, y - 6.0, x + 11.0, y + 4.0]
}

/// The area two boxes share.
fn overlap(a: [f32; 4], b: [f32; 4]) -> f32 {
    let side = |i: usize| (a[i + 2].min(b[i + 2]) - a[i].max(b[i])).max(0.0);
    side(0) * side(1)
}

/// Whether a thing's box is covered to more than three tenths by that of another group's thing
/// in front of it.
fn crowded(groups: &[Group]) -> bool {
    groups
        .iter()
        .flat_map(|g| g.things.iter().map(move |t| (g, t)))
        .any(|(back, hidden)| {
            let bounds = hidden.bounds(back.kind);
            let [x0, y0, x1, y1] = bounds;
            let most = 0.3 * (x1 - x0) * (y1 - y0);
            let front = groups.iter().filter(|g| g.kind != back.kind);
            let mut covers = front.flat_map(|g| g.things.iter().map(move |t| (g.kind, t)));
            covers.any(|(kind, t)| t.base >= hidden.base && overlap(t.bounds(kind), bounds) > most)
        })
}

/// The radius of the sun or the moon.
pub(crate) fn light_radius(time: Time) -> i32 {
    match time {
        Time::Dawn | Time::Dusk => 8,
        Time::Day | Time::Night => 6,
    }
}

impl Thing {
    /// The box in 64ths, unclipped.
    pub(crate) fn bounds(self, kind: Kind) -> [f32; 4] {
        let (x, base, h) = (self.x as f32, self.base as f32, self.height as f32);
        let half = h * half_width(kind);
        [x - half, base - h, x + half, base]
    }
}

/// Half of the width in heights.
pub(crate) fn half_width(kind: Kind) -> f32 {
    match kind {
        Kind::House => 0.52,
        Kind::Lighthouse => 0.19,
        Kind::Tree => 0.38,
        Kind::Pine => 0.31,
        Kind::Boat => 0.5,
        Kind::Mountain => 0.95,
        Kind::Balloon => 0.38,
        Kind::Cactus => 0.36,
    }
}

/// Heights of the small and the big ones; each has three steps of one pixel.
pub(crate) fn height(kind: Kind, size: Size) -> i32 {
    let [small, big] = match kind {
        Kind::House => [15, 24],
        Kind::Lighthouse => [25, 38],
        Kind::Tree => [18, 28],
        Kind::Pine => [19, 30],
        Kind::Boat => [15, 24],
        Kind::Mountain => [22, 22],
        Kind::Balloon => [17, 28],
        Kind::Cactus => [15, 25],
    };
    if size == Size::Small { small } else { big }
}

fn draw_sky(rng: &mut Rng, time: Time) -> Vec<Sky> {
    let choices: &[&[Sky]] = match time {
        Time::Night => &[&[Sky::Moon], &[Sky::Stars], &[Sky::Moon, Sky::Stars], &[]],
        _ => &[&[Sky::Sun], &[Sky::Clouds], &[Sky::Sun, Sky::Clouds], &[]],
    };
    // The two single ones 3 in 10 each, both together and none 2 in 10 each.
    choices[rng.pick(&[0, 0, 0, 1, 1, 1, 2, 2, 3, 3])].to_vec()
}

/// What may stand on a ground, its commonest kinds more than once.
fn kinds(ground: Ground) -> &'static [Kind] {
    use Kind::{Balloon, Boat, Cactus, House, Lighthouse, Mountain, Pine, Tree};
    match ground {
        Ground::Meadow => &[
            House, House, Tree, Tree, Pine, Lighthouse, Mountain, Balloon,
        ],
        Ground::Desert => &[
            House, House, Cactus, Cactus, Cactus, Mountain, Balloon, Balloon,
        ],
        Ground::Snow => &[
            House, House, Pine, Pine, Lighthouse, Lighthouse, Mountain, Balloon,
        ],
        Ground::Lake => &[
            Boat, Boat, Boat, House, Lighthouse, Tree, Pine, Mountain, Balloon,
        ],
    }
}

fn draw_groups(rng: &mut Rng, ground: Ground) -> Vec<Group> {
    let wanted = rng.pick(&[1, 1, 1, 1, 2, 2, 2, 2, 2, 3]);
    let mut places = Place::ALL.to_vec();
    rng.shuffle(&mut places);
    let mut groups: Vec<Group> = Vec::with_capacity(wanted);
    while groups.len() < wanted {
        let kind = rng.pick(kinds(ground));
        if groups.iter().all(|g| g.kind != kind) {
            let place = places[groups.len()];
            groups.push(draw_group(rng, ground, kind, place, wanted));
        }
    }
    groups
}

/// `wanted` groups share the picture: several things of a kind are big only where they are alone
/// in it.
fn draw_group(rng: &mut Rng, ground: Ground, kind: Kind, place: Place, wanted: usize) -> Group {
    let colours = kind.colours();
    let colour = (!colours.is_empty()).then(|| rng.pick(colours));
    let count = match kind {
        Kind::Tree | Kind::Pine | Kind::Cactus => rng.pick(&[1, 1, 1, 2, 2, 3]),
        _ => 1,
    };
    let roomy = count == 1 || (count == 2 && wanted == 1);
    let big = kind == Kind::Mountain || (roomy && rng.chance(66));
    let size = if big { Size::Big } else { Size::Small };
    let height = height(kind, size) + rng.between(0, 2);
    let base = draw_base(rng, ground, kind, size);
    let half = (height as f32 * half_width(kind)) as i32;
    let apart = if kind == Kind::Cactus {
        2 * half + 1
    } else {
        half * 7 / 4
    };
    // Pulled inward, so that a thing shows all of itself, and each of a row most of it.
    let reach = if kind == Kind::Mountain {
        12
    } else {
        half - count / 2 + (count - 1) * apart / 2
    };
    let middle = [12, 32, 52][place as usize] + rng.between(-3, 3);
    let middle = middle.clamp(reach, 64 - reach);
    let things = (0..count).map(|i| Thing {
        x: middle + (2 * i - (count - 1)) * apart / 2,
        base: base + if count == 3 && i == 1 { 1 } else { 0 },
        height,
    });
    Group {
        kind,
        colour,
        place,
        size,
        things: things.collect(),
    }
}

/// The line a group stands on, floats on or hangs above.
fn draw_base(rng: &mut Rng, ground: Ground, kind: Kind, size: Size) -> i32 {
    let step = rng.between(0, 2);
    match (kind, size, ground) {
        (Kind::Mountain, ..) => HORIZON + 1,
        (Kind::Balloon, Size::Small, _) => 23 + 2 * step,
        (Kind::Balloon, Size::Big, _) => 32 + step,
        (Kind::Boat, Size::Small, _) => 45 + step,
        (Kind::Boat, Size::Big, _) => 50 + step,
        (_, Size::Small, Ground::Lake) => HORIZON + 2,
        (_, Size::Small, _) => 44 + step,
        (_, Size::Big, Ground::Lake) => 58 + step,
        (_, Size::Big, _) => 55 + step,
    }
}
