//! Stable Diffusion XL's size conditioning: numbers of pixels as waves behind the text's vector.
//! Podell et al. 2023 (arXiv 2307.01952) section 2.2.
//!
//! ```text
//! pooled [1280] │ height │ width │ crop top │ crop left │ target height │ target width     2816
//! pooled [1280] │ height │ width │ crop top │ crop left │ aesthetic score        (refiner) 2560
//! ```

/// How many numbers of the vector tell one number of pixels.
const WAVES: usize = 256;

/// As which size a picture should pass, in pixels.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sizes {
    /// Height and width before it was scaled.
    pub original: [f64; 2],
    /// What was cut off at the top and at the left.
    pub crop: [f64; 2],
    /// Height and width after.
    pub target: [f64; 2],
    /// How people would like it, for the refiner.
    pub score: f64,
}

impl Sizes {
    /// Of a picture that was neither scaled nor cropped; the score is that of what is wanted,
    /// or of what is not.
    pub fn of([height, width]: [usize; 2], wanted: bool) -> Self {
        let size = [height as f64, width as f64];
        Self {
            original: size,
            crop: [0.0; 2],
            target: size,
            score: if wanted { 6.0 } else { 2.5 },
        }
    }

    /// How wide the vector of a text becomes: XL's with two text encoders, else the refiner's.
    pub fn width(pooled: usize, two: bool) -> usize {
        pooled + WAVES * if two { 6 } else { 5 }
    }

    /// `pooled` with the sizes behind it, `wanted` numbers in all; none where neither XL nor
    /// its refiner has so many.
    pub fn behind(&self, pooled: &[f32], wanted: usize) -> Option<Vec<f32>> {
        let [height, width] = self.original;
        let [top, left] = self.crop;
        let mut numbers = vec![height, width, top, left];
        if wanted == Self::width(pooled.len(), true) {
            numbers.extend(self.target);
        } else if wanted == Self::width(pooled.len(), false) {
            numbers.push(self.score);
        } else {
            return None;
        }
        Some(size_vector(pooled, &numbers))
    }
}

/// `pooled`, then for each of `numbers` 128 cosines and 128 sines of falling frequency, as
/// those of a timestep.
pub fn size_vector(pooled: &[f32], numbers: &[f64]) -> Vec<f32> {
    let mut vector = pooled.to_vec();
    for number in numbers {
        let angle = |i: usize| {
            let share = i as f64 / (WAVES / 2) as f64;
            number * libm::exp(-libm::log(10_000.0) * share)
        };
        vector.extend((0..WAVES / 2).map(|i| libm::cos(angle(i)) as f32));
        vector.extend((0..WAVES / 2).map(|i| libm::sin(angle(i)) as f32));
    }
    vector
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_widths_are_those_of_the_released_networks() {
        let (sizes, pooled) = (Sizes::of([1024, 768], true), [0.5; 1280]);
        assert_eq!(sizes.behind(&pooled, 2816).unwrap().len(), 2816);
        assert_eq!(sizes.behind(&pooled, 2560).unwrap().len(), 2560);
        assert_eq!(sizes.behind(&pooled, 1280), None);
        let vector = size_vector(&[0.25], &[0.0]);
        assert_eq!(vector[..129], [&[0.25][..], &[1.0; 128]].concat());
        assert!(vector[129..].iter().all(|x| *x == 0.0));
    }

    #[test]
    fn numbers_stand_in_the_order_of_the_released_networks() {
        let sizes = Sizes {
            original: [1.0, 2.0],
            crop: [3.0, 4.0],
            target: [5.0, 6.0],
            score: 7.0,
        };
        let wanted = |numbers: &[f64]| Some(size_vector(&[], numbers));
        let xl = wanted(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        assert_eq!(sizes.behind(&[], 6 * WAVES), xl);
        assert_eq!(
            sizes.behind(&[], 5 * WAVES),
            wanted(&[1.0, 2.0, 3.0, 4.0, 7.0])
        );
    }
}
