//! Stable Diffusion XL's size conditioning: numbers of pixels as waves behind the text's vector.
//! Podell et al. 2023 (arXiv 2307.01952) section 2.2.
//!
//! ```text
//! pooled [1280] │ height │ width │ crop top │ crop left │ target height │ target width     2816
//! pooled [1280] │ height │ width │ crop top │ crop left │ aesthetic score        (refiner) 2560
//! ```

/// How many numbers of the vector tell one number of pixels.
const WAVES: usize = 256;

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
        let pooled = [0.5; 1280];
        assert_eq!(size_vector(&pooled, &[1024.0; 6]).len(), 2816);
        assert_eq!(size_vector(&pooled, &[1024.0; 5]).len(), 2560);
        let vector = size_vector(&[0.25], &[0.0]);
        assert_eq!(vector[..129], [&[0.25][..], &[1.0; 128]].concat());
        assert!(vector[129..].iter().all(|x| *x == 0.0));
    }
}
