//! The GPU that tests run on: the first of CUDA's with the feature `cuda`, else with `wgpu` the
//! first that wgpu finds, which may be a driver that computes on the CPU.
//!
//! Promises
//! - A test that is skipped passes, and says so on stderr with the reason, past the harness, which
//!   shows nothing of a test that passed. So it does of a type that the device does not compute in.
//! - Where `LDM_GRAPH_TEST_GPU` is `cuda` or `wgpu` no test is skipped: without such a device, and
//!   without the feature, it fails. Set it on a machine that has a GPU, where a run whose tests were
//!   all skipped would prove nothing and look like one that passed.
//!
//! Shared by test programs and by the crate's own tests: whoever includes it has `device` beside it.

/// Names what the tests must find.
const DEMANDED: &str = "LDM_GRAPH_TEST_GPU";

/// What they look for.
const SOUGHT: &str = match (cfg!(feature = "cuda"), cfg!(feature = "wgpu")) {
    (true, _) => "cuda",
    (_, true) => "wgpu",
    _ => "no GPU",
};

/// Whether a GPU is demanded.
///
/// # Panics
/// Where one of another kind is than these tests were built for.
pub(crate) fn is_demanded() -> bool {
    let demanded = std::env::var(DEMANDED).unwrap_or_default();
    assert!(
        demanded.is_empty() || demanded == SOUGHT,
        "{DEMANDED} demands `{demanded}`, and these tests were built for {SOUGHT}: \
         build them with `--features {demanded}`"
    );
    !demanded.is_empty()
}

#[cfg(feature = "cube")]
pub(crate) use self::gpu::{gpu, types};

#[cfg(feature = "cube")]
mod gpu {
    use std::io::Write;

    use burn::tensor::{DType, Device};

    use super::{DEMANDED, SOUGHT, is_demanded};

    /// The device to try; none where the test that asks is to be skipped.
    pub(crate) fn gpu() -> Option<Device> {
        let demanded = is_demanded();
        match found() {
            Ok(device) => Some(device),
            Err(why) => {
                assert!(!demanded, "{DEMANDED} demands `{SOUGHT}`: {why}");
                say(&format!(
                    "skipped, as {why}; {DEMANDED}={SOUGHT} lets it fail"
                ));
                None
            }
        }
    }

    /// The types that the device computes in.
    pub(crate) fn types(device: &Device) -> Vec<DType> {
        let all = [DType::F32, DType::F16, DType::BF16];
        let (known, others): (Vec<_>, Vec<_>) = all
            .into_iter()
            .partition(|dtype| device.supports_dtype(*dtype));
        if !others.is_empty() {
            say(&format!("not tried in {others:?}, which the device lacks"));
        }
        known
    }

    /// Of the test that runs on this thread, on stderr itself: what is printed by macros is shown
    /// of tests that fail alone.
    fn say(what: &str) {
        let thread = std::thread::current();
        let line = format!("{}: {what}\n", thread.name().unwrap_or("a test"));
        let mut stderr = std::io::stderr().lock();
        stderr.write_all(line.as_bytes()).expect("stderr is open");
    }

    #[cfg(feature = "cuda")]
    fn found() -> Result<Device, String> {
        use super::super::device::{DeviceChoice, Isa, open};
        let open = open(DeviceChoice::Cuda(0), Isa::Auto);
        open.map(|open| open.device().clone())
            .map_err(|error| error.to_string())
    }

    #[cfg(not(feature = "cuda"))]
    fn found() -> Result<Device, String> {
        let found = Device::enumerate(burn::tensor::DeviceType::Wgpu).into_vec();
        let first = found.into_iter().next();
        first.ok_or_else(|| "wgpu finds no device".to_owned())
    }
}
