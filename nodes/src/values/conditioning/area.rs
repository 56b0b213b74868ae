//! Which part of a picture an entry is about, and which places of a latent that is.

use ldm_engine::{Choice, Error, Hasher, Result};
use ldm_models::guidance as models;
use serde::{Deserialize, Serialize};

use crate::array::Array;

/// A part of a picture.
#[derive(Debug, Clone, Copy, PartialEq, Choice, Serialize, Deserialize)]
pub enum Area {
    /// A box in pixels, which must lie inside the picture; multiples of the latent's factor.
    Pixels {
        /// Pixels left of it.
        #[node(default = 0, range = 0..=16384)]
        x: usize,
        /// Pixels above it.
        #[node(default = 0, range = 0..=16384)]
        y: usize,
        /// Pixels from left to right.
        #[node(range = 1..=16384)]
        width: usize,
        /// Pixels from top to bottom.
        #[node(range = 1..=16384)]
        height: usize,
    },
    /// A box in shares of the picture's sides; rounded to places of the latent, and kept inside.
    Share {
        /// What is left of it.
        #[node(default = 0.0, range = 0.0..=1.0)]
        x: f64,
        /// What is above it.
        #[node(default = 0.0, range = 0.0..=1.0)]
        y: f64,
        /// From left to right.
        #[node(default = 1.0, range = 0.0..=1.0)]
        width: f64,
        /// From top to bottom.
        #[node(default = 1.0, range = 0.0..=1.0)]
        height: f64,
    },
    /// The smallest box around the entry's mask.
    Mask,
}

/// Smallest side of the box around a mask, in places of the latent. ComfyUI's.
const LEAST: usize = 8;

impl Area {
    /// Its places in a latent of `height` and `width`, whose picture is `factor` times larger;
    /// `mask` is the entry's, at the latent's size.
    ///
    /// # Errors
    /// When a box in pixels lies between two places of the latent, or leaves the picture.
    pub(crate) fn places(
        self,
        [height, width]: [usize; 2],
        factor: usize,
        mask: Option<&Array<3>>,
    ) -> Result<models::Area> {
        match self {
            Self::Pixels {
                x,
                y,
                width: w,
                height: h,
            } => {
                let [x, y, w, h] = whole([x, y, w, h], factor)?;
                let area = models::Area {
                    y,
                    x,
                    height: h,
                    width: w,
                };
                let outside = || {
                    let (tall, wide) = (height * factor, width * factor);
                    let message = format!("the area {self} leaves the picture of {wide}×{tall}");
                    Error::new(message).hint("`Share` gives an area in parts of the picture")
                };
                area.fits([height, width])
                    .then_some(area)
                    .ok_or_else(outside)
            }
            Self::Share {
                x,
                y,
                width: w,
                height: h,
            } => {
                let (y, tall) = share(y, h, height);
                let (x, wide) = share(x, w, width);
                Ok(models::Area {
                    y,
                    x,
                    height: tall,
                    width: wide,
                })
            }
            Self::Mask => match mask {
                Some(mask) => Ok(around(mask, [height, width])),
                None => Err(Self::no_mask()),
            },
        }
    }

    pub(crate) fn no_mask() -> Error {
        let message = "its area is the box around its mask, and it has no mask";
        Error::new(message).hint("`SetMask` gives it one")
    }

    /// Adds it to an identity.
    pub(super) fn hash_into(self, hasher: &mut Hasher) {
        let (sort, numbers): (&[u8], _) = match self {
            Self::Pixels {
                x,
                y,
                width,
                height,
            } => (b"pixels", [x, y, width, height].map(|n| n as u64).to_vec()),
            Self::Share {
                x,
                y,
                width,
                height,
            } => (b"share", [x, y, width, height].map(f64::to_bits).to_vec()),
            Self::Mask => (b"mask", Vec::new()),
        };
        hasher.part(sort).part(bytemuck::cast_slice(&numbers));
    }
}

impl std::fmt::Display for Area {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Pixels {
                x,
                y,
                width,
                height,
            } => write!(f, "{width}×{height} at {x}, {y}"),
            Self::Share {
                x,
                y,
                width,
                height,
            } => write!(f, "{width}×{height} of the picture at {x}, {y}"),
            Self::Mask => f.write_str("around the mask"),
        }
    }
}

/// Pixels as places.
fn whole<const N: usize>(pixels: [usize; N], factor: usize) -> Result<[usize; N]> {
    match pixels.into_iter().find(|n| !n.is_multiple_of(factor)) {
        None => Ok(pixels.map(|n| n / factor)),
        Some(n) => {
            let message = format!("an area of this model has multiples of {factor}, found {n}");
            let near = n.next_multiple_of(factor);
            Err(Error::new(message).hint(format!("write {near}, or use `Share`")))
        }
    }
}

/// Start and size of a share of `all` places: each rounded as Python rounds, at least one place.
fn share(start: f64, size: f64, all: usize) -> (usize, usize) {
    let places = |share: f64| (share * all as f64).round_ties_even() as usize;
    let size = places(size).clamp(1, all);
    (places(start).min(all - size), size)
}

/// The smallest box around what is not 0 in any of the masks `[batch, height, width]`.
fn around(mask: &Array<3>, [height, width]: [usize; 2]) -> models::Area {
    let set = mask
        .numbers()
        .iter()
        .enumerate()
        .filter(|(_, n)| **n != 0.0);
    let places = set.map(|(at, _)| (at / width % height, at % width));
    let (mut least, mut most) = ((usize::MAX, usize::MAX), (0, 0));
    for (y, x) in places {
        least = (least.0.min(y), least.1.min(x));
        most = (most.0.max(y), most.1.max(x));
    }
    if least.0 > most.0 {
        (least, most) = ((0, 0), (0, 0)); // nothing is set: any box does, for nothing counts
    }
    let axis = |least: usize, most: usize, all: usize| {
        let size = (most + 1 - least).max(LEAST);
        (least, size.min(all - least))
    };
    let (y, tall) = axis(least.0, most.0, height);
    let (x, wide) = axis(least.1, most.1, width);
    models::Area {
        y,
        x,
        height: tall,
        width: wide,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: [usize; 2] = [24, 32];

    fn pixels(x: usize, y: usize, width: usize, height: usize) -> Area {
        Area::Pixels {
            x,
            y,
            width,
            height,
        }
    }

    fn boxed(y: usize, x: usize, height: usize, width: usize) -> models::Area {
        models::Area {
            y,
            x,
            height,
            width,
        }
    }

    #[test]
    fn pixels_are_places_times_the_factor_and_stay_inside() {
        let places = |area: Area| area.places(SIZE, 8, None);
        assert_eq!(places(pixels(64, 8, 128, 96)).unwrap(), boxed(1, 8, 12, 16));
        let said = places(pixels(60, 8, 128, 96)).unwrap_err();
        assert!(
            said.message().ends_with("multiples of 8, found 60"),
            "{said}"
        );
        assert_eq!(said.hint_text(), Some("write 64, or use `Share`"));
        let said = places(pixels(200, 0, 64, 64)).unwrap_err();
        assert_eq!(
            said.message(),
            "the area 64×64 at 200, 0 leaves the picture of 256×192"
        );
    }

    #[test]
    fn shares_are_rounded_and_kept_inside() {
        let places = |x, y, width, height| {
            let share = Area::Share {
                x,
                y,
                width,
                height,
            };
            share.places(SIZE, 8, None).unwrap()
        };
        assert_eq!(places(0.5, 0.25, 0.5, 0.75), boxed(6, 16, 18, 16));
        assert_eq!(places(0.9, 0.9, 0.5, 0.5), boxed(12, 16, 12, 16));
        assert_eq!(places(1.0, 0.0, 0.0, 0.0), boxed(0, 31, 1, 1));
    }

    #[test]
    fn the_box_around_a_mask_has_at_least_eight_places() {
        let around = |set: &[(usize, usize)]| {
            let mut numbers = vec![0.0; 24 * 32];
            for (y, x) in set {
                numbers[y * 32 + x] = 0.25;
            }
            let mask = Array::new([1, 24, 32], numbers);
            Area::Mask.places(SIZE, 8, Some(&mask)).unwrap()
        };
        assert_eq!(around(&[(2, 3), (15, 5)]), boxed(2, 3, 14, 8));
        assert_eq!(around(&[(20, 31)]), boxed(20, 31, 4, 1));
        assert_eq!(around(&[]), boxed(0, 0, 8, 8));
        assert!(Area::Mask.places(SIZE, 8, None).is_err());
    }
}
