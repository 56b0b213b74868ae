//! The checker, measured against renders whose scene is known.

use ldm_world::{Picture, Scene, check, evaluation_captions};

/// What can be done to a picture on its way through a small autoencoder.
#[derive(Clone, Copy, Debug)]
enum Damage {
    None,
    /// Gaussian blur of one pixel, then noise of 8/255.
    BlurNoise,
    /// Means of 4×4, enlarged again linearly.
    DownUp,
}

/// Shares of attributes that hold.
#[derive(Default, Debug)]
struct Figures {
    hit: usize,
    asked: usize,
}

impl Figures {
    fn add(&mut self, holds: bool) {
        self.hit += usize::from(holds);
        self.asked += 1;
    }
    fn share(&self) -> f64 {
        self.hit as f64 / self.asked as f64
    }
}

/// Of 200 pictures: what their own captions state, and what others state that is not so.
fn measure(damage: Damage) -> (Figures, Figures) {
    let drawn = evaluation_captions(11, 200);
    let (mut own, mut other) = (Figures::default(), Figures::default());
    for (i, (scene, caption)) in drawn.iter().enumerate() {
        let reading = check::read(&damaged(&scene.paint(64), damage, i as u64));
        caption
            .attributes
            .iter()
            .for_each(|attribute| own.add(reading.holds(attribute)));
        let truth = scene.attributes();
        let wrong = drawn[(i + 1) % drawn.len()].1.attributes.iter();
        wrong
            .filter(|a| !truth.contains(a))
            .for_each(|a| other.add(reading.holds(a)));
    }
    (own, other)
}

fn damaged(picture: &Picture, damage: Damage, seed: u64) -> Picture {
    let edge = picture.width;
    let value = |x: usize, y: usize, c: usize| f64::from(picture.at(x, y)[c]);
    let clamp = |v: i64| v.clamp(0, edge as i64 - 1) as usize;
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut noise = || {
        // Twelve uniforms less six have a deviation of one.
        let mut uniform = || {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (state >> 33) as f64 / f64::from(1_u32 << 31)
        };
        (0..12).map(|_| uniform()).sum::<f64>() - 6.0
    };
    let kernel: Vec<f64> = (-3..=3)
        .map(|i: i32| (-f64::from(i * i) / 2.0).exp())
        .collect();
    let total: f64 = kernel.iter().sum();
    let mut rgb = Vec::with_capacity(picture.rgb.len());
    for (y, x) in (0..edge).flat_map(|y| (0..edge).map(move |x| (y, x))) {
        for c in 0..3 {
            let v = match damage {
                Damage::None => value(x, y, c),
                Damage::BlurNoise => {
                    let at = |i: usize, j: usize| {
                        value(
                            clamp(x as i64 + i as i64 - 3),
                            clamp(y as i64 + j as i64 - 3),
                            c,
                        )
                    };
                    let sum: f64 = (0..49)
                        .map(|k| kernel[k % 7] * kernel[k / 7] * at(k % 7, k / 7))
                        .sum();
                    sum / (total * total) + 8.0 * noise()
                }
                Damage::DownUp => {
                    let mean = |bx: i64, by: i64| {
                        let last = edge as i64 / 4 - 1;
                        let (bx, by) = (bx.clamp(0, last) as usize, by.clamp(0, last) as usize);
                        (0..16)
                            .map(|k| value(4 * bx + k % 4, 4 * by + k / 4, c))
                            .sum::<f64>()
                            / 16.0
                    };
                    let (fx, fy) = ((x as f64 - 1.5) / 4.0, (y as f64 - 1.5) / 4.0);
                    let (bx, by) = (fx.floor(), fy.floor());
                    let (tx, ty) = (fx - bx, fy - by);
                    let (bx, by) = (bx as i64, by as i64);
                    let row = |by| (1.0 - tx) * mean(bx, by) + tx * mean(bx + 1, by);
                    (1.0 - ty) * row(by) + ty * row(by + 1)
                }
            };
            rgb.push(v.round().clamp(0.0, 255.0) as u8);
        }
    }
    Picture {
        width: edge,
        height: edge,
        rgb,
    }
}

#[test]
fn true_captions_hold_on_clean_renders_and_false_ones_do_not() {
    let (own, other) = measure(Damage::None);
    assert!(own.share() >= 0.98, "{own:?}");
    assert!(other.share() <= 0.02, "{other:?}");
}

#[test]
fn true_captions_hold_on_blurred_and_noisy_renders() {
    let (own, other) = measure(Damage::BlurNoise);
    assert!(own.share() >= 0.97, "{own:?}");
    assert!(other.share() <= 0.02, "{other:?}");
}

#[test]
fn true_captions_hold_on_renders_of_a_quarter_of_the_size() {
    let (own, other) = measure(Damage::DownUp);
    assert!(own.share() >= 0.90, "{own:?}");
    assert!(other.share() <= 0.02, "{other:?}");
}

#[test]
fn a_picture_with_nothing_in_it_shows_nothing() {
    for colour in [
        [0, 0, 0],
        [255, 255, 255],
        [10, 14, 42],
        [216, 44, 38],
        [128, 128, 128],
    ] {
        let rgb = colour.repeat(64 * 64);
        let reading = check::read(&Picture {
            width: 64,
            height: 64,
            rgb,
        });
        assert_eq!(
            (reading.time, reading.things.len()),
            (None, 0),
            "{colour:?}"
        );
    }
}

#[test]
fn larger_pictures_are_read_alike() {
    for seed in 0..10 {
        let scene = Scene::from_seed(seed);
        let (small, large) = (
            check::read(&scene.paint(64)),
            check::read(&scene.paint(160)),
        );
        assert_eq!((small.time, small.ground), (large.time, large.ground));
        let kinds = |r: &check::Reading| {
            let mut kinds: Vec<_> = r.things.iter().map(|found| found.kind).collect();
            kinds.sort_unstable();
            kinds
        };
        assert_eq!(kinds(&small), kinds(&large), "seed {seed}");
    }
}
