//! Which kernels a piece of work launches on a GPU, and what each took of the device's time.

use burn::tensor::Device;

/// What a kernel took, all its launches together.
#[derive(Clone, Debug, PartialEq)]
pub struct Launched {
    /// As the kernel names itself: a path, and what it is specialised to.
    pub kernel: String,
    /// How often it was launched.
    pub launches: usize,
    /// Seconds by the device's clock.
    pub seconds: f64,
}

/// The kernels that `work` launches on `device`, those that took longest first; what was queued
/// before is waited for and not counted. Other threads must not compute meanwhile. Empty on the
/// CPU, and in a program built without CUDA.
///
/// A measurement is two events in the device's stream, and is read when all is done: kernels
/// follow each other as ever, though each is launched a little later.
#[cfg(feature = "cuda")]
pub fn profile(device: &Device, work: impl FnOnce()) -> Vec<Launched> {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use cubecl::logging::LaunchObservation;

    let waited = |device: &Device| device.sync().is_ok();
    if !waited(device) {
        return Vec::new();
    }
    let kept = Arc::new(observer::Kept::default());
    let watching = LaunchObservation::new(kept.clone());
    work();
    waited(device);
    drop(watching);
    let mut sums = BTreeMap::<&str, (usize, f64)>::new();
    for (kernel, seconds) in kept.resolve() {
        let (launches, sum) = sums.entry(kernel).or_default();
        *launches += 1;
        *sum += seconds;
    }
    let mut all: Vec<Launched> = sums
        .into_iter()
        .map(|(kernel, (launches, seconds))| Launched {
            kernel: kernel.to_owned(),
            launches,
            seconds,
        })
        .collect();
    all.sort_by(|a, b| b.seconds.total_cmp(&a.seconds));
    all
}

/// See above; nothing is launched here.
#[cfg(not(feature = "cuda"))]
pub fn profile(_device: &Device, work: impl FnOnce()) -> Vec<Launched> {
    work();
    Vec::new()
}

#[cfg(feature = "cuda")]
mod observer {
    use std::sync::{Mutex, PoisonError};

    use cubecl::future::block_on;
    use cubecl::logging::{Duration, LaunchObserver, ProfileDuration, TimingMethod, TimingRequest};

    /// Measurements in the order of their launches.
    #[derive(Default)]
    pub(super) struct Kept(Mutex<Vec<(&'static str, Taken)>>);

    enum Taken {
        Unread(ProfileDuration),
        Read(f64),
    }

    impl Kept {
        fn keep(&self, kernel: &'static str, taken: Taken) {
            let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            kept.push((kernel, taken));
        }

        /// Reads all; a launch that was not measured is left out.
        pub(super) fn resolve(&self) -> Vec<(&'static str, f64)> {
            let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            let read = kept.drain(..).filter_map(|(kernel, taken)| {
                let seconds = match taken {
                    Taken::Unread(profile) => block_on(profile.resolve())?.duration().as_secs_f64(),
                    Taken::Read(seconds) => seconds,
                };
                Some((kernel, seconds))
            });
            read.collect()
        }
    }

    impl LaunchObserver for Kept {
        fn launched(&self, _: &'static str) {}

        fn timing(&self) -> TimingRequest {
            TimingRequest::Deferred
        }

        fn profiled(&self, kernel: &'static str, profile: ProfileDuration) {
            self.keep(kernel, Taken::Unread(profile));
        }

        // Comes in place of `profiled` while cubecl's own log of launches is on.
        fn timed(&self, kernel: &'static str, duration: Duration, _: TimingMethod) {
            self.keep(kernel, Taken::Read(duration.as_secs_f64()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_on_the_cpu_is_done_and_launches_nothing() {
        let mut done = false;
        assert_eq!(profile(&Device::flex(), || done = true), []);
        assert!(done);
    }
}
