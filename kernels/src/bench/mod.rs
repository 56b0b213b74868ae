//! How fast the kernels are on this machine: beside burn's own operations, and beside what the
//! CPU could do at most.
//!
//! Promises
//! - Ours and the reference take turns on the same numbers, so that both meet the same minute
//!   of the machine; what is told are medians.
//! - The ceilings are measured in the same process on the same threads.
//! - Nothing that is measured here decides how anything is computed.
//!
//! Call it from inside the thread pool (`rayon::scope`), as nodes call kernels. Not here: whole
//! networks (`benches/peers`), showing it (the command).

mod cases;
mod ceiling;
mod profile;

use std::time::{Duration, Instant};

use burn::tensor::{DType, Device, Tensor, TensorData};

pub use cases::Case;
pub use ceiling::{Ceiling, ceiling};
pub use profile::{Launched, profile};

/// Which sizes are measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sizes {
    /// One of each kind, in seconds.
    Few,
    /// Those of Stable Diffusion 1.5: a step at 512×512 with guidance, a decoding, a prompt.
    StableDiffusion,
    /// Those that training the shipped model meets, with their backward passes.
    Training,
}

/// What an operation's speed is counted in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// 10⁹ multiplications and additions a second.
    GflopPerSecond,
    /// 10⁹ bytes a second, read once and written once.
    GbytePerSecond,
}

impl Unit {
    /// `GFLOP/s` or `GB/s`
    pub fn name(self) -> &'static str {
        match self {
            Self::GflopPerSecond => "GFLOP/s",
            Self::GbytePerSecond => "GB/s",
        }
    }
}

/// The times of one operation one way.
#[derive(Clone, Copy, Debug)]
pub struct Pass {
    /// Ours, in seconds.
    pub ours: f64,
    /// That of burn's plain operations, in seconds.
    pub reference: f64,
    /// What ours achieved, in the case's unit.
    pub rate: f64,
}

impl Pass {
    fn of(work: f64, times: &mut [Vec<f64>; 2]) -> Self {
        let [ours, reference] = times.each_mut().map(|times| median(times));
        let rate = work / ours * 1e-9;
        Self {
            ours,
            reference,
            rate,
        }
    }

    /// How many times as long the reference takes.
    pub fn ratio(&self) -> f64 {
        self.reference / self.ours
    }
}

/// What was measured of a case.
#[derive(Clone, Copy, Debug)]
pub struct Measured {
    /// From inputs to outputs.
    pub forward: Pass,
    /// From the output's gradient to the inputs'; of training's sizes only.
    pub backward: Option<Pass>,
}

/// Rounds of a case at least, and the time they take at least together.
const ROUNDS: usize = 5;
const PATIENCE: Duration = Duration::from_millis(300);
/// Where a round takes longer than this, three rounds are enough.
const LONG: Duration = Duration::from_secs(3);

/// Threads that a call from here computes on.
pub fn threads() -> usize {
    rayon::current_num_threads()
}

/// The instruction set that our kernels use.
pub fn isa() -> &'static str {
    crate::isa::name()
}

/// The cases of `sizes`, in the order in which they are to be shown.
pub fn cases(sizes: Sizes) -> Vec<Case> {
    match sizes {
        Sizes::Few => cases::few(),
        Sizes::StableDiffusion => cases::stable_diffusion(),
        Sizes::Training => cases::training(),
    }
}

impl Case {
    /// Runs it until the medians can be trusted, ours with weights of this type but in training.
    pub fn measure(&self, weights: DType) -> Measured {
        match self.trains {
            true => self.with_gradients(),
            false => self.without_gradients(weights),
        }
    }

    fn without_gradients(&self, weights: DType) -> Measured {
        let inputs: Vec<_> = self.inputs().into_iter().map(numbers).collect();
        let narrow = self.with_weights(inputs.clone(), weights);
        let mut times = [vec![], vec![]];
        rounds(|counts| {
            for (times, ours) in times.iter_mut().zip([true, false]) {
                let inputs = if ours { narrow.clone() } else { inputs.clone() };
                let start = Instant::now();
                let result = self.apply(inputs, ours, weights);
                let seconds = start.elapsed().as_secs_f64();
                drop(result);
                times.extend(counts.then_some(seconds));
            }
        });
        Measured {
            forward: Pass::of(self.work(), &mut times),
            backward: None,
        }
    }

    fn with_gradients(&self) -> Measured {
        let device = Device::flex().autodiff();
        let tracked = |x: Tensor<4>| Tensor::from_data(x.into_data(), &device).require_grad();
        let inputs: Vec<_> = self
            .inputs()
            .into_iter()
            .map(numbers)
            .map(tracked)
            .collect();
        let weights = numbers(self.apply(inputs.clone(), true, DType::F32).dims());
        let weights = Tensor::<4>::from_data(weights.into_data(), &device);
        let (mut forward, mut backward) = ([vec![], vec![]], [vec![], vec![]]);
        rounds(|counts| {
            for (way, ours) in [true, false].into_iter().enumerate() {
                let start = Instant::now();
                let y = self.apply(inputs.clone(), ours, DType::F32);
                let middle = start.elapsed().as_secs_f64();
                let gradients = (y * weights.clone()).sum().backward();
                let whole = start.elapsed().as_secs_f64();
                drop(gradients);
                forward[way].extend(counts.then_some(middle));
                backward[way].extend(counts.then_some(whole - middle));
            }
        });
        Measured {
            forward: Pass::of(self.work(), &mut forward),
            // That of a product is two products; the others read and write twice as much.
            backward: Some(Pass::of(2.0 * self.work(), &mut backward)),
        }
    }
}

/// Calls `round` once to warm up, and then for counting until that is enough.
fn rounds(mut round: impl FnMut(bool)) {
    let start = Instant::now();
    round(false);
    let wanted = if start.elapsed() > LONG { 3 } else { ROUNDS };
    let (start, mut done) = (Instant::now(), 0);
    while done < wanted || start.elapsed() < PATIENCE {
        round(true);
        done += 1;
    }
}

fn median(times: &mut [f64]) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

/// Numbers between −1 and 1 that follow from their places.
fn numbers(dims: [usize; 4]) -> Tensor<4> {
    let n: usize = dims.iter().product();
    let values: Vec<f32> = (0..n)
        .map(|i| (i * 7919 % 1009) as f32 / 504.0 - 1.0)
        .collect();
    Tensor::from_data(TensorData::new(values, dims), &Device::flex())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_set_has_cases_whose_names_differ() {
        for sizes in [Sizes::Few, Sizes::StableDiffusion, Sizes::Training] {
            let mut names: Vec<_> = cases(sizes)
                .into_iter()
                .map(|case| (case.group(), case.name()))
                .collect();
            let count = names.len();
            names.sort();
            names.dedup();
            assert!(count > 5 && names.len() == count, "{sizes:?}");
        }
    }

    #[test]
    fn what_is_measured_is_a_time_and_a_rate_both_ways() {
        let case = cases(Sizes::Training).pop().unwrap();
        let measured = case.measure(DType::F32);
        for pass in [measured.forward, measured.backward.unwrap()] {
            assert!(pass.ours > 0.0 && pass.reference > 0.0, "{pass:?}");
            assert!(pass.rate > 0.0 && pass.ratio() > 0.0, "{pass:?}");
        }
    }

    #[test]
    fn a_median_is_not_moved_by_a_slow_round() {
        assert_eq!(median(&mut [3.0, 1.0, 100.0, 2.0, 2.5]), 2.5);
    }
}
