//! What the checker compares a picture with: empty scenes, and each thing alone, all blurred.

use crate::label::Label;
use crate::paint::{Canvas, Picture, cloud, light, paint_thing, star};
use crate::palette::Colour;
use crate::scene::{Ground, HILLS, Kind, Scene, Size, Thing, Time, height};

/// The edge of what is compared.
pub(super) const EDGE: usize = 64;

/// Red, green and blue, 0 to 255.
pub(super) type Pixel = [f32; 3];

/// The squared distance of two colours, clipped: one pixel that is quite wrong counts no more
/// than another.
pub(super) fn distance(a: Pixel, b: Pixel) -> f32 {
    let [r, g, b] = [a[0] - b[0], a[1] - b[1], a[2] - b[2]];
    (r * r + g * g + b * b).min(9000.0)
}

/// The picture at 64×64: means of the pixels that fall into each, or the nearest one.
pub(super) fn resampled(picture: &Picture) -> Vec<Pixel> {
    let range = |i: usize, n: usize| {
        let start = i * n / EDGE;
        start..((i + 1) * n / EDGE).max(start + 1)
    };
    let mut pixels = Vec::with_capacity(EDGE * EDGE);
    for (y, x) in (0..EDGE).flat_map(|y| (0..EDGE).map(move |x| (y, x))) {
        let (rows, columns) = (range(y, picture.height), range(x, picture.width));
        let count = (rows.len() * columns.len()) as f32;
        let mut sum = [0.0; 3];
        for (y, x) in rows.flat_map(|y| columns.clone().map(move |x| (y, x))) {
            picture
                .at(x, y)
                .iter()
                .zip(&mut sum)
                .for_each(|(&v, sum)| *sum += f32::from(v));
        }
        pixels.push(sum.map(|v| v / count));
    }
    pixels
}

/// Blurred with a standard deviation of one pixel: twice [1 2 1]/4 each way, edges repeated.
pub(super) fn blurred<const N: usize>(pixels: &[[f32; N]]) -> Vec<[f32; N]> {
    let mut now = pixels.to_vec();
    for step in [1, EDGE, 1, EDGE] {
        let before = now.clone();
        for (i, pixel) in now.iter_mut().enumerate() {
            let along = if step == 1 { i % EDGE } else { i / EDGE };
            let low = if along == 0 { i } else { i - step };
            let high = if along == EDGE - 1 { i } else { i + step };
            *pixel = std::array::from_fn(|c| {
                0.25 * before[low][c] + 0.5 * before[i][c] + 0.25 * before[high][c]
            });
        }
    }
    now
}

/// An empty scene.
pub(super) struct Backdrop {
    pub(super) time: Time,
    pub(super) ground: Ground,
    pub(super) pixels: Vec<Pixel>,
    /// The depth of each pixel: sky or land.
    pub(super) depth: Vec<i32>,
}

/// Depths, the smaller the farther; things on the ground have their base.
const SKY: i32 = -7;
const LIGHT: i32 = -6;
const CLOUD: i32 = -5;
const MOUNTAIN: i32 = -4;
const LAND: i32 = -3;
const BALLOON: i32 = -2;

impl Backdrop {
    /// One for each time, ground and outline of hills.
    pub(super) fn all() -> Vec<Backdrop> {
        let mut all = Vec::new();
        for (&time, &ground) in Time::ALL
            .iter()
            .flat_map(|time| Ground::ALL.iter().map(move |ground| (time, ground)))
        {
            all.extend((0..HILLS).map(|hills| {
                let scene = Scene::empty(time, ground, hills);
                let depth = |&id: &u8| if id == Label::Sky.id() { SKY } else { LAND };
                Backdrop {
                    time,
                    ground,
                    pixels: blurred(&resampled(&scene.paint(EDGE))),
                    depth: scene.label_map(EDGE).ids.iter().map(depth).collect(),
                }
            }));
        }
        all
    }

    /// The mean clipped distance to a picture.
    pub(super) fn misfit(&self, pixels: &[Pixel]) -> f32 {
        let each = self.pixels.iter().zip(pixels);
        each.map(|(&a, &b)| distance(a, b)).sum::<f32>() / (EDGE * EDGE) as f32
    }
}

/// What a template shows.
#[derive(Clone, Copy, Debug)]
pub(super) enum Item {
    Thing(Kind, Option<Colour>, Size),
    Light,
    Cloud,
    Star,
}

impl Item {
    /// Whether both are of one kind, whatever their colour and size.
    pub(super) fn is_like(self, other: Item) -> bool {
        match (self, other) {
            (Item::Thing(a, ..), Item::Thing(b, ..)) => a == b,
            (a, b) => std::mem::discriminant(&a) == std::mem::discriminant(&b),
        }
    }

    /// How many of these a scene can have.
    pub(super) fn most(self) -> usize {
        match self {
            Item::Thing(Kind::Tree | Kind::Pine | Kind::Cactus, ..) => 3,
            Item::Thing(..) | Item::Light => 1,
            Item::Cloud => 2,
            Item::Star => 5,
        }
    }
}

/// A pixel of a template: its colour times its cover, and its cover.
#[derive(Clone, Copy)]
pub(super) struct Ink {
    colour: Pixel,
    pub(super) cover: f32,
}

impl Ink {
    pub(super) fn over(self, below: Pixel) -> Pixel {
        std::array::from_fn(|c| self.colour[c] + (1.0 - self.cover) * below[c])
    }
}

/// An item at a height in the picture, to be tried at every column.
pub(super) struct Template {
    pub(super) item: Item,
    pub(super) depth: i32,
    /// From the item's centre to the left edge of `inks`.
    pub(super) left: i32,
    pub(super) top: usize,
    pub(super) width: usize,
    /// The sum of all covers.
    pub(super) cover: f32,
    inks: Vec<Ink>,
}

impl Template {
    /// Every item in the light of a time.
    pub(super) fn all(time: Time) -> Vec<Template> {
        let mut all = Vec::new();
        for &kind in Kind::ALL {
            let named: Vec<Option<Colour>> = kind.colours().iter().copied().map(Some).collect();
            let colours = if named.is_empty() { vec![None] } else { named };
            for (size, base) in bases(kind) {
                let height = height(kind, size) + 1;
                let thing = Thing {
                    x: CENTRE,
                    base,
                    height,
                };
                let depth = match kind {
                    Kind::Mountain => MOUNTAIN,
                    Kind::Balloon => BALLOON,
                    _ => base,
                };
                all.extend(colours.iter().map(|&colour| {
                    let paint = |c: &mut Canvas| paint_thing(c, kind, colour, thing, time);
                    Template::new(Item::Thing(kind, colour, size), depth, paint)
                }));
            }
        }
        let low = matches!(time, Time::Dawn | Time::Dusk);
        let lights = if low { 30..37 } else { 10..17 };
        let lit = |y| Template::new(Item::Light, LIGHT, |c| light(c, [CENTRE, y], time));
        all.extend(lights.step_by(2).map(lit));
        if time == Time::Night {
            let star = |y| Template::new(Item::Star, LIGHT, |c| star(c, [CENTRE, y]));
            all.extend((4..20).map(star));
        } else {
            let cloud = |y| Template::new(Item::Cloud, CLOUD, |c| cloud(c, [CENTRE, y], time));
            all.extend((7..18).step_by(2).map(cloud));
        }
        all
    }

    /// What `paint` leaves on black and on white tells colour and cover.
    fn new(item: Item, depth: i32, paint: impl Fn(&mut Canvas)) -> Template {
        let on = |v: u8| {
            let mut canvas = Canvas::new(EDGE, false);
            canvas.rows(0, 64, [[v; 3]; 2], Label::Sky);
            paint(&mut canvas);
            blurred(&resampled(&canvas.into_picture()))
        };
        let inks: Vec<Ink> = on(0)
            .iter()
            .zip(on(255))
            .map(|(&colour, white)| {
                let through: f32 = (0..3).map(|c| white[c] - colour[c]).sum();
                Ink {
                    colour,
                    cover: 1.0 - through / 765.0,
                }
            })
            .collect();
        let shown = |i: usize| inks[i].cover > 0.04;
        let mut bounds = [EDGE, EDGE, 0, 0];
        for (x, y) in (0..EDGE * EDGE)
            .filter(|&i| shown(i))
            .map(|i| (i % EDGE, i / EDGE))
        {
            bounds = [
                bounds[0].min(x),
                bounds[1].min(y),
                bounds[2].max(x + 1),
                bounds[3].max(y + 1),
            ];
        }
        let [x0, top, x1, bottom] = bounds;
        let kept = (top..bottom).flat_map(|y| (x0..x1).map(move |x| y * EDGE + x));
        let inks: Vec<Ink> = kept.map(|i| inks[i]).collect();
        let cover = inks.iter().map(|ink| ink.cover).sum();
        Template {
            item,
            depth,
            left: x0 as i32 - CENTRE,
            top,
            width: x1 - x0,
            cover,
            inks,
        }
    }

    /// One below the last row.
    pub(super) fn bottom(&self) -> usize {
        self.top + self.inks.len() / self.width
    }

    /// Its first column in the picture and one past its last, when it is centred at `x`.
    pub(super) fn reach(&self, x: i32) -> [usize; 2] {
        let left = x + self.left;
        [left, left + self.width as i32].map(|v| v.clamp(0, EDGE as i32) as usize)
    }

    /// Its pixels that are in the picture when it is centred at `x`, each with its index there.
    pub(super) fn placed(&self, x: i32) -> impl Iterator<Item = (usize, Ink)> {
        let left = x + self.left;
        let from = (-left).clamp(0, self.width as i32) as usize;
        let to = (EDGE as i32 - left).clamp(0, self.width as i32) as usize;
        let rows = self.inks.chunks_exact(self.width).enumerate();
        rows.flat_map(move |(y, row)| {
            let start = (self.top + y) * EDGE;
            (from..to).map(move |i| (start + (left + i as i32) as usize, row[i]))
        })
    }

    /// The share of what is possible that it must explain.
    pub(super) fn least_score(&self) -> f32 {
        match self.item {
            Item::Thing(..) => 0.35,
            Item::Light | Item::Cloud => 0.35,
            Item::Star => 0.25,
        }
    }

    /// What it must explain at least: above noise, below the faintest of its kind.
    pub(super) fn least_gain(&self) -> f32 {
        match self.item {
            Item::Thing(..) => 40_000.0,
            Item::Light | Item::Cloud => 30_000.0,
            Item::Star => 8_000.0,
        }
    }
}

/// Where things are painted to be cut out.
const CENTRE: i32 = 32;

/// The lines a kind is looked for on.
fn bases(kind: Kind) -> Vec<(Size, i32)> {
    let (small, big): (&[i32], &[i32]) = match kind {
        Kind::Mountain => (&[], &[41]),
        Kind::Balloon => (&[22, 24, 26, 28], &[32, 34]),
        Kind::Boat => (&[45, 47], &[50, 52]),
        _ => (&[42, 44, 46], &[55, 57, 59]),
    };
    let sized = |size, bases: &[i32]| bases.iter().map(|&b| (size, b)).collect::<Vec<_>>();
    [sized(Size::Small, small), sized(Size::Big, big)].concat()
}
