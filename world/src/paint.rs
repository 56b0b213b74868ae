//! How a scene looks: one small function per thing, back to front on a canvas of 64ths.
//!
//! Smooth gradients and flat colours only, because a small autoencoder has to keep them. The
//! canvas has a second mode in which every stroke leaves its label instead of its colour, so that
//! the label map cannot disagree with the picture. Sums, products and square roots only: the same
//! bytes everywhere. Not here: which colours ([`crate::palette`]), what stands where
//! ([`crate::scene`]).

use tiny_skia::{FillRule, Paint, Path, PathBuilder, Pixmap, Rect, Transform};

use crate::label::Label;
use crate::palette::{self, Colour, Rgb, mix, on_land, on_thing, shade};
use crate::scene::{CLOUDS, Ground, HORIZON, Kind, SHORE, Scene, Sky, Thing, Time, light_radius};

/// An RGB picture, rows from the top, three bytes a pixel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picture {
    /// Pixels in a row.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// `width × height × 3` bytes.
    pub rgb: Vec<u8>,
}

impl Picture {
    /// The colour at a pixel.
    ///
    /// # Panics
    /// If the pixel is outside.
    #[must_use]
    pub fn at(&self, x: usize, y: usize) -> Rgb {
        let i = 3 * (y * self.width + x);
        [self.rgb[i], self.rgb[i + 1], self.rgb[i + 2]]
    }
}

/// The edge lengths that can be painted; others are clamped to them.
pub(crate) const SIZES: std::ops::RangeInclusive<usize> = 8..=4096;

impl Scene {
    /// The picture, `size × size` pixels; 64 is what the shipped models are trained on. `size` is
    /// clamped to 8..=4096.
    #[must_use]
    pub fn paint(&self, size: usize) -> Picture {
        let mut canvas = Canvas::new(size, false);
        self.paint_on(&mut canvas);
        canvas.into_picture()
    }

    pub(crate) fn paint_on(&self, canvas: &mut Canvas) {
        self.paint_backdrop(canvas);
        let behind = |kind: Kind| kind == Kind::Mountain;
        for group in self.groups.iter().filter(|g| behind(g.kind)) {
            group
                .things
                .iter()
                .for_each(|&t| mountain(canvas, t, self.time));
        }
        self.paint_ground(canvas);
        let mut things: Vec<(Kind, Option<Colour>, Thing)> = Vec::with_capacity(8);
        for group in self.groups.iter().filter(|g| !behind(g.kind)) {
            things.extend(group.things.iter().map(|&t| (group.kind, group.colour, t)));
        }
        things.sort_by_key(|&(kind, _, thing)| (kind != Kind::Balloon, thing.base));
        for (kind, colour, thing) in things {
            paint_thing(canvas, kind, colour, thing, self.time);
        }
    }

    /// The sky and what is in it.
    fn paint_backdrop(&self, canvas: &mut Canvas) {
        let [top, middle, low] = palette::sky(self.time);
        let split = HORIZON as u32 * 11 / 20;
        canvas.rows(0, split as i32, [top, middle], Label::Sky);
        canvas.rows(split as i32, HORIZON + 4, [middle, low], Label::Sky);
        for &sky in &self.sky {
            match sky {
                Sky::Sun | Sky::Moon => light(canvas, self.light, self.time),
                Sky::Stars => stars(canvas, self.pattern, self.light_in_sky()),
                Sky::Clouds => clouds(canvas, self.pattern, self.time),
            }
        }
    }

    /// The hills, the ground, and on a lake its banks and the light on its water.
    fn paint_ground(&self, canvas: &mut Canvas) {
        let land = |rgb: Rgb| on_land(rgb, self.time);
        hills(canvas, self.hills, land(palette::hills(self.ground)));
        let [far, near] = palette::ground(self.ground).map(land);
        canvas.rows(HORIZON, 64, [far, near], Label::of_ground(self.ground));
        if self.ground == Ground::Lake {
            if let Some([x, _]) = self.light_in_sky() {
                let glint = match self.time {
                    Time::Dusk => [255, 206, 116],
                    Time::Dawn => [255, 232, 170],
                    Time::Day => [226, 246, 255],
                    Time::Night => [236, 234, 206],
                };
                canvas.glow([x as f32, 47.0], [7.0, 10.0], [HORIZON, SHORE], glint, 200);
            }
            let bank = land([112, 172, 78]);
            canvas.rows(
                HORIZON,
                HORIZON + 3,
                [shade(bank, 236), bank],
                Label::Meadow,
            );
            canvas.rows(SHORE, 64, [bank, shade(bank, 226)], Label::Meadow);
        }
    }

    fn light_in_sky(&self) -> Option<[i32; 2]> {
        self.has_light().then_some(self.light)
    }
}

/// The sun, or at night the moon, with its halo.
pub(crate) fn light(canvas: &mut Canvas, at: [i32; 2], time: Time) {
    let [x, y] = at.map(|v| v as f32);
    let r = light_radius(time) as f32;
    let (rgb, label) = match time {
        Time::Night => ([242, 240, 214], Label::Moon),
        Time::Dawn => ([255, 240, 128], Label::Sun),
        Time::Dusk => ([255, 224, 104], Label::Sun),
        Time::Day => ([255, 226, 72], Label::Sun),
    };
    canvas.glow([x, y], [2.2 * r; 2], [0, HORIZON + 4], rgb, 130);
    canvas.disc(x, y, r, rgb, label);
    if time == Time::Night {
        canvas.disc(x - 0.3 * r, y - 0.2 * r, 0.24 * r, shade(rgb, 226), label);
        canvas.disc(x + 0.35 * r, y + 0.3 * r, 0.2 * r, shade(rgb, 226), label);
    }
}

/// Paints one thing in the light of a time.
pub(crate) fn paint_thing(
    canvas: &mut Canvas,
    kind: Kind,
    colour: Option<Colour>,
    thing: Thing,
    time: Time,
) {
    let rgb = on_thing(colour.unwrap_or(Colour::White).rgb(), time);
    match kind {
        Kind::House => house(canvas, thing, time, rgb),
        Kind::Lighthouse => lighthouse(canvas, thing, time, rgb),
        Kind::Tree => tree(canvas, thing, time),
        Kind::Pine => pine(canvas, thing, time),
        Kind::Boat => boat(canvas, thing, time, rgb),
        Kind::Mountain => mountain(canvas, thing, time),
        Kind::Balloon => balloon(canvas, thing, time, rgb),
        Kind::Cactus => cactus(canvas, thing, time),
    }
}

fn house(canvas: &mut Canvas, thing: Thing, time: Time, rgb: Rgb) {
    let at = &Frame::new(thing, Label::Thing(Kind::House));
    let dark = |c: Rgb| on_thing(c, time);
    at.rect(canvas, [0.2, 0.92, 0.34, 0.5], dark([120, 84, 72]));
    at.rect(canvas, [-0.44, 0.6, 0.44, 0.0], rgb);
    at.rect(canvas, [0.26, 0.6, 0.44, 0.0], shade(rgb, 222));
    at.polygon(
        canvas,
        &[[-0.52, 0.56], [0.0, 1.0], [0.52, 0.56]],
        dark([92, 62, 66]),
    );
    at.rect(canvas, [-0.3, 0.38, -0.06, 0.0], dark([96, 66, 58]));
    let glass = if time == Time::Night {
        [255, 226, 130]
    } else {
        dark([214, 236, 250])
    };
    at.rect(canvas, [0.08, 0.42, 0.32, 0.18], glass);
}

fn lighthouse(canvas: &mut Canvas, thing: Thing, time: Time, rgb: Rgb) {
    let at = &Frame::new(thing, Label::Thing(Kind::Lighthouse));
    let white = on_thing(Colour::White.rgb(), time);
    if time == Time::Night {
        let [x, y] = at.point(0.0, 0.84);
        canvas.glow([x, y], [0.34 * at.height; 2], [0, 64], [255, 236, 150], 150);
    }
    let half = |y: f32| 0.19 - 0.09 * y;
    let stripe = 0.76 / 5.0;
    for i in 0..5 {
        let (low, high) = (i as f32 * stripe, (i + 1) as f32 * stripe);
        let band = [
            [-half(low), low],
            [half(low), low],
            [half(high), high],
            [-half(high), high],
        ];
        at.polygon(canvas, &band, if i % 2 == 0 { rgb } else { white });
    }
    let dark = on_thing([70, 62, 74], time);
    at.rect(canvas, [-0.15, 0.79, 0.15, 0.75], dark);
    at.rect(canvas, [-0.08, 0.89, 0.08, 0.79], [255, 232, 120]);
    at.polygon(canvas, &[[-0.12, 0.88], [0.0, 1.0], [0.12, 0.88]], dark);
}

fn tree(canvas: &mut Canvas, thing: Thing, time: Time) {
    let at = &Frame::new(thing, Label::Thing(Kind::Tree));
    let leaves = on_thing([66, 132, 44], time);
    at.rect(
        canvas,
        [-0.06, 0.45, 0.06, 0.0],
        on_thing([112, 74, 46], time),
    );
    at.disc(canvas, [-0.17, 0.5], 0.21, shade(leaves, 226));
    at.disc(canvas, [0.17, 0.5], 0.21, shade(leaves, 226));
    at.disc(canvas, [0.0, 0.7], 0.3, leaves);
    at.disc(
        canvas,
        [-0.07, 0.77],
        0.15,
        mix(leaves, [170, 210, 90], 1, 3),
    );
}

fn pine(canvas: &mut Canvas, thing: Thing, time: Time) {
    let at = &Frame::new(thing, Label::Thing(Kind::Pine));
    at.rect(
        canvas,
        [-0.05, 0.16, 0.05, 0.0],
        on_thing([96, 64, 48], time),
    );
    let needles = on_thing([20, 100, 80], time);
    for (low, high, half, keep) in [
        (0.12, 0.56, 0.31, 216),
        (0.36, 0.8, 0.25, 236),
        (0.6, 1.0, 0.18, 256),
    ] {
        let tier = [[-half, low], [0.0, high], [half, low]];
        at.polygon(canvas, &tier, shade(needles, keep));
    }
}

fn boat(canvas: &mut Canvas, thing: Thing, time: Time, rgb: Rgb) {
    let at = &Frame::new(thing, Label::Thing(Kind::Boat));
    let hull = [[-0.5, 0.24], [0.5, 0.24], [0.32, 0.0], [-0.34, 0.0]];
    at.polygon(canvas, &hull, shade(rgb, 212));
    at.rect(
        canvas,
        [-0.06, 0.98, 0.0, 0.22],
        on_thing([104, 72, 50], time),
    );
    at.polygon(canvas, &[[0.02, 0.3], [0.02, 1.0], [0.44, 0.3]], rgb);
    let jib = on_thing([252, 248, 236], time);
    at.polygon(canvas, &[[-0.09, 0.3], [-0.09, 0.86], [-0.4, 0.3]], jib);
}

fn mountain(canvas: &mut Canvas, thing: Thing, time: Time) {
    let at = &Frame::new(thing, Label::Thing(Kind::Mountain));
    let rock = on_thing([112, 104, 140], time);
    at.polygon(
        canvas,
        &[[0.05, 0.0], [0.48, 0.62], [0.95, 0.0]],
        shade(rock, 216),
    );
    at.polygon(canvas, &[[-0.95, 0.0], [-0.12, 1.0], [0.62, 0.0]], rock);
    at.polygon(
        canvas,
        &[[-0.12, 1.0], [0.62, 0.0], [0.02, 0.0]],
        shade(rock, 216),
    );
    let cap = [
        [-0.12, 1.0],
        [0.11, 0.69],
        [0.02, 0.62],
        [-0.08, 0.7],
        [-0.19, 0.6],
        [-0.28, 0.68],
        [-0.4, 0.66],
    ];
    at.polygon(canvas, &cap, on_thing([250, 250, 252], time));
}

fn balloon(canvas: &mut Canvas, thing: Thing, time: Time, rgb: Rgb) {
    let at = &Frame::new(thing, Label::Thing(Kind::Balloon));
    let rope = on_thing([112, 84, 64], time);
    at.polygon(
        canvas,
        &[[-0.2, 0.34], [-0.16, 0.34], [-0.08, 0.14], [-0.11, 0.14]],
        rope,
    );
    at.polygon(
        canvas,
        &[[0.2, 0.34], [0.16, 0.34], [0.08, 0.14], [0.11, 0.14]],
        rope,
    );
    at.disc(canvas, [0.0, 0.62], 0.38, rgb);
    at.polygon(
        canvas,
        &[[-0.33, 0.43], [0.33, 0.43], [0.13, 0.24], [-0.13, 0.24]],
        rgb,
    );
    let stripe = mix(rgb, on_thing([255, 252, 240], time), 1, 2);
    at.ellipse(canvas, [-0.13, 0.98, 0.13, 0.25], stripe);
    at.rect(
        canvas,
        [-0.12, 0.15, 0.12, 0.0],
        on_thing([142, 92, 52], time),
    );
}

fn cactus(canvas: &mut Canvas, thing: Thing, time: Time) {
    let at = &Frame::new(thing, Label::Thing(Kind::Cactus));
    let flesh = on_thing([52, 128, 76], time);
    let mut limb = |x: f32, low: f32, high: f32, r: f32| {
        at.rect(canvas, [x - r, high - r, x + r, low], flesh);
        at.disc(canvas, [x, high - r], r, flesh);
    };
    limb(0.0, 0.0, 1.0, 0.11);
    limb(-0.28, 0.42, 0.8, 0.08);
    limb(0.28, 0.32, 0.68, 0.08);
    at.rect(canvas, [-0.36, 0.5, 0.0, 0.36], flesh);
    at.rect(canvas, [0.0, 0.4, 0.36, 0.26], flesh);
    at.rect(
        canvas,
        [0.02, 0.86, 0.07, 0.06],
        mix(flesh, [190, 230, 150], 1, 3),
    );
}

/// Five stars in one of six arrangements; one too near the moon is left out.
fn stars(canvas: &mut Canvas, pattern: usize, moon: Option<[i32; 2]>) {
    const PATTERNS: [[[i32; 2]; 5]; 3] = [
        [[7, 6], [20, 16], [33, 5], [46, 14], [57, 6]],
        [[6, 15], [17, 5], [31, 13], [44, 5], [58, 16]],
        [[9, 9], [22, 4], [29, 18], [42, 9], [55, 4]],
    ];
    for [x, y] in PATTERNS[pattern % 3] {
        let x = if pattern < 3 { x } else { 64 - x };
        let near = |[mx, my]: [i32; 2]| (mx - x).pow(2) + (my - y).pow(2) < 100;
        if !moon.is_some_and(near) {
            star(canvas, [x, y]);
        }
    }
}

/// One star of four points, five pixels across.
pub(crate) fn star(canvas: &mut Canvas, at: [i32; 2]) {
    const POINTS: [[f32; 2]; 8] = [
        [0.0, -2.6],
        [0.8, -0.8],
        [2.6, 0.0],
        [0.8, 0.8],
        [0.0, 2.6],
        [-0.8, 0.8],
        [-2.6, 0.0],
        [-0.8, -0.8],
    ];
    let [x, y] = at.map(|v| v as f32);
    canvas.glow([x, y], [4.0; 2], [0, HORIZON], [255, 250, 214], 90);
    canvas.polygon(
        &POINTS.map(|[dx, dy]| [x + dx, y + dy]),
        [255, 250, 222],
        Label::Stars,
    );
}

/// One or two clouds in one of six arrangements.
fn clouds(canvas: &mut Canvas, pattern: usize, time: Time) {
    let [first, second] = CLOUDS[pattern];
    cloud(canvas, first, time);
    if second != first {
        cloud(canvas, second, time);
    }
}

/// One cloud, 24 wide and 11 high.
pub(crate) fn cloud(canvas: &mut Canvas, at: [i32; 2], time: Time) {
    let rgb = match time {
        Time::Dawn => [255, 240, 240],
        Time::Day => [252, 253, 255],
        Time::Dusk => [246, 178, 168],
        Time::Night => [92, 100, 140],
    };
    let [x, y] = at.map(|v| v as f32);
    canvas.ellipse(
        [x - 12.0, y - 1.0, x + 12.0, y + 5.0],
        shade(rgb, 240),
        Label::Clouds,
    );
    canvas.disc(x - 4.5, y - 0.5, 4.2, rgb, Label::Clouds);
    canvas.disc(x + 3.0, y - 1.5, 5.2, rgb, Label::Clouds);
    canvas.ellipse([x - 11.0, y - 1.0, x + 11.0, y + 4.0], rgb, Label::Clouds);
}

fn hills(canvas: &mut Canvas, outline: usize, rgb: Rgb) {
    let ellipses: &[[f32; 3]] = match outline {
        0 => &[[14.0, 26.0, 6.0], [50.0, 30.0, 4.0]],
        1 => &[[50.0, 26.0, 6.0], [12.0, 28.0, 3.5]],
        2 => &[[32.0, 40.0, 5.0]],
        _ => &[],
    };
    for &[x, half, height] in ellipses {
        let top = HORIZON as f32 - height;
        let low = HORIZON as f32 + height;
        canvas.ellipse([x - half, top, x + half, low], rgb, Label::Hills);
    }
}

/// Where a thing stands: its own coordinates are heights, x from its centre, y up from its base.
struct Frame {
    x: f32,
    base: f32,
    height: f32,
    label: Label,
}

impl Frame {
    fn new(thing: Thing, label: Label) -> Self {
        let (x, base, height) = (thing.x as f32, thing.base as f32, thing.height as f32);
        Frame {
            x,
            base,
            height,
            label,
        }
    }

    fn point(&self, x: f32, y: f32) -> [f32; 2] {
        [self.x + x * self.height, self.base - y * self.height]
    }

    /// `[left, top, right, bottom]`.
    fn corners(&self, [x0, y0, x1, y1]: [f32; 4]) -> [f32; 4] {
        let ([x0, y0], [x1, y1]) = (self.point(x0, y0), self.point(x1, y1));
        [x0, y0, x1, y1]
    }

    fn rect(&self, canvas: &mut Canvas, corners: [f32; 4], rgb: Rgb) {
        canvas.rect(self.corners(corners), rgb, self.label);
    }

    fn ellipse(&self, canvas: &mut Canvas, corners: [f32; 4], rgb: Rgb) {
        canvas.ellipse(self.corners(corners), rgb, self.label);
    }

    fn disc(&self, canvas: &mut Canvas, [x, y]: [f32; 2], r: f32, rgb: Rgb) {
        let [x, y] = self.point(x, y);
        canvas.disc(x, y, r * self.height, rgb, self.label);
    }

    fn polygon<const N: usize>(&self, canvas: &mut Canvas, points: &[[f32; 2]; N], rgb: Rgb) {
        canvas.polygon(&points.map(|[x, y]| self.point(x, y)), rgb, self.label);
    }
}

/// A square to paint on in 64ths of its edge, either in colours or in labels.
pub(crate) struct Canvas {
    pixmap: Pixmap,
    size: usize,
    labels: bool,
}

impl Canvas {
    pub(crate) fn new(size: usize, labels: bool) -> Self {
        let size = size.clamp(*SIZES.start(), *SIZES.end());
        let pixmap = Pixmap::new(size as u32, size as u32).expect("8 to 4096 pixels fit a pixmap");
        Canvas {
            pixmap,
            size,
            labels,
        }
    }

    pub(crate) fn into_picture(self) -> Picture {
        let mut rgb = Vec::with_capacity(3 * self.size * self.size);
        for pixel in self.pixmap.data().chunks_exact(4) {
            rgb.extend_from_slice(&pixel[..3]);
        }
        Picture {
            width: self.size,
            height: self.size,
            rgb,
        }
    }

    /// Whole rows from `top` to `bottom`, from one colour to the other.
    pub(crate) fn rows(&mut self, top: i32, bottom: i32, [a, b]: [Rgb; 2], label: Label) {
        let row = |v: i32| v as usize * self.size / 64;
        let (top, bottom) = (row(top), row(bottom));
        for y in top..bottom {
            let at = 2 * (y - top) + 1;
            let [r, g, b] = self.ink(mix(a, b, at as u32, 2 * (bottom - top) as u32), label);
            let start = 4 * y * self.size;
            let pixels = &mut self.pixmap.data_mut()[start..start + 4 * self.size];
            pixels
                .chunks_exact_mut(4)
                .for_each(|p| p.copy_from_slice(&[r, g, b, 255]));
        }
    }

    /// A soft light of `strength` 256ths at its centre, fading smoothly to nothing at `radii`,
    /// between two rows. It leaves no label.
    fn glow(&mut self, [x, y]: [f32; 2], radii: [f32; 2], rows: [i32; 2], rgb: Rgb, strength: u32) {
        if self.labels {
            return;
        }
        let unit = 64.0 / self.size as f32;
        let limit = |v: f32| ((v / unit).max(0.0) as usize).min(self.size);
        let [top, bottom] = rows.map(|v| v as f32);
        for py in limit((y - radii[1]).max(top))..limit((y + radii[1] + 1.0).min(bottom)) {
            for px in limit(x - radii[0])..limit(x + radii[0] + 1.0) {
                let dx = ((px as f32 + 0.5) * unit - x) / radii[0];
                let dy = ((py as f32 + 0.5) * unit - y) / radii[1];
                let fall = (1.0 - dx * dx - dy * dy).max(0.0);
                let weight = (fall * fall * strength as f32) as u32;
                let i = 4 * (py * self.size + px);
                let pixel = &mut self.pixmap.data_mut()[i..i + 3];
                let mixed = mix([pixel[0], pixel[1], pixel[2]], rgb, weight, 256);
                pixel.copy_from_slice(&mixed);
            }
        }
    }

    fn rect(&mut self, [x0, y0, x1, y1]: [f32; 4], rgb: Rgb, label: Label) {
        self.polygon(&[[x0, y0], [x1, y0], [x1, y1], [x0, y1]], rgb, label);
    }

    fn ellipse(&mut self, [x0, y0, x1, y1]: [f32; 4], rgb: Rgb, label: Label) {
        let bounds = Rect::from_ltrb(x0, y0, x1, y1).and_then(PathBuilder::from_oval);
        self.fill(bounds, rgb, label);
    }

    fn disc(&mut self, x: f32, y: f32, r: f32, rgb: Rgb, label: Label) {
        self.ellipse([x - r, y - r, x + r, y + r], rgb, label);
    }

    fn polygon(&mut self, points: &[[f32; 2]], rgb: Rgb, label: Label) {
        let mut builder = PathBuilder::with_capacity(points.len() + 2, points.len() + 1);
        for (i, &[x, y]) in points.iter().enumerate() {
            if i == 0 {
                builder.move_to(x, y)
            } else {
                builder.line_to(x, y)
            }
        }
        builder.close();
        self.fill(builder.finish(), rgb, label);
    }

    /// Nothing is painted of a shape too small to have an inside.
    fn fill(&mut self, path: Option<Path>, rgb: Rgb, label: Label) {
        let Some(path) = path else { return };
        let [r, g, b] = self.ink(rgb, label);
        let mut paint = Paint::default();
        paint.set_color_rgba8(r, g, b, 255);
        paint.anti_alias = !self.labels;
        let scale = self.size as f32 / 64.0;
        let place = Transform::from_scale(scale, scale);
        self.pixmap
            .fill_path(&path, &paint, FillRule::Winding, place, None);
    }

    fn ink(&self, rgb: Rgb, label: Label) -> Rgb {
        if self.labels { [label.id(), 0, 0] } else { rgb }
    }
}
