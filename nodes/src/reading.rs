//! Reading numbers back from the device of a machine. For the tests of this crate it can be told
//! that memory ran out, as a GPU's would: no CPU says so.

#[cfg(not(test))]
pub(crate) use self::device::Reading;

#[cfg(not(test))]
mod device {
    use burn::tensor::Tensor;
    use ldm_models::read::{self, ReadError};

    /// As the device gives them.
    pub(crate) struct Reading;

    impl Reading {
        pub(crate) fn new() -> Self {
            Self
        }

        /// The numbers of `x`, or what failed before they were there.
        pub(crate) fn numbers<const D: usize>(&self, x: Tensor<D>) -> Result<Vec<f32>, ReadError> {
            read::numbers(x)
        }
    }
}

#[cfg(test)]
pub(crate) use self::shortage::Reading;

#[cfg(test)]
mod shortage {
    use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

    use burn::tensor::Tensor;
    use ldm_models::read::{self, OutOfMemory, ReadError};

    /// As the device gives them, once so many readings have failed.
    #[derive(Default)]
    pub(crate) struct Reading {
        pub(crate) failing: AtomicUsize,
    }

    impl Reading {
        pub(crate) fn new() -> Self {
            Self::default()
        }

        pub(crate) fn numbers<const D: usize>(&self, x: Tensor<D>) -> Result<Vec<f32>, ReadError> {
            let fewer = |left: usize| left.checked_sub(1);
            match self.failing.fetch_update(SeqCst, SeqCst, fewer) {
                Ok(_) => Err(ReadError::OutOfMemory(OutOfMemory { asked: None })),
                Err(_) => read::numbers(x),
            }
        }
    }
}
