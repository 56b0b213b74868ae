//! Reading numbers back from a device, and what it says when its memory ran out.
//!
//! A GPU runs behind: an operation that finds no memory gives a tensor that was never written,
//! and so do all that follow from it. Reading is where that is told. What has no way to answer
//! with an error panics in the same words.
//!
//! The libraries between hand their errors on as text, so their words are what tells an empty
//! memory from other faults: [`OutOfMemory::told_by`].

use std::fmt;

use burn::tensor::Tensor;

/// The memory of a device ran out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutOfMemory {
    /// Bytes that were asked for last, where that was told.
    pub asked: Option<u64>,
}

/// What cubecl 0.11.3 and the CUDA driver call it; numbers of bytes follow the first two.
const SAID: [&str; 4] = [
    "out of device memory allocating ",
    "can't allocate buffer of size: ",
    "out-of-memory error happened",
    "CUDA_ERROR_OUT_OF_MEMORY",
];

impl OutOfMemory {
    /// What a library's words for a failure say, where they are of memory.
    pub fn told_by(words: &str) -> Option<Self> {
        let after = SAID.iter().find_map(|said| Some(words.split_once(said)?.1));
        let after = after?;
        let digits = after.find(|c: char| !c.is_ascii_digit());
        let asked = after[..digits.unwrap_or(after.len())].parse().ok();
        Some(Self { asked })
    }
}

impl fmt::Display for OutOfMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the memory of the device ran out")?;
        match self.asked {
            Some(bytes) => {
                let mebibytes = bytes as f64 / f64::from(1 << 20);
                write!(f, " when {mebibytes:.1} MiB more were wanted")
            }
            None => Ok(()),
        }
    }
}

impl std::error::Error for OutOfMemory {}

/// Why numbers cannot be read from a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReadError {
    /// There was no memory for what was to give them.
    OutOfMemory(OutOfMemory),
    /// Anything else, in the words of the library.
    Failed(String),
}

impl ReadError {
    fn new(words: String) -> Self {
        OutOfMemory::told_by(&words).map_or(Self::Failed(words), Self::OutOfMemory)
    }
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OutOfMemory(error) => error.fmt(f),
            Self::Failed(words) => f.write_str(words),
        }
    }
}

impl std::error::Error for ReadError {}

/// The numbers of `x` in row-major order, in f32 whatever they are on the device.
///
/// # Errors
/// What failed on the device before they were there, or in their reading.
pub fn numbers<const D: usize>(x: Tensor<D>) -> Result<Vec<f32>, ReadError> {
    let data = x.try_into_data();
    let data = data.map_err(|e| ReadError::new(e.to_string()))?;
    let numbers = data.convert::<f32>().try_into_vec::<f32>();
    numbers.map_err(|e| ReadError::new(format!("{e:?}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_of_libraries_tell_an_empty_memory_from_other_faults() {
        let asked = |words| OutOfMemory::told_by(words).map(|error| error.asked);
        let read = "The bytes were never written (failure #3, still claiming 2 buffer(s))\n\
                    Caused by:\n  An IO error happened\nCaused by:\n  \
                    out of device memory allocating 1048576 bytes\n";
        assert_eq!(asked(read), Some(Some(1 << 20)));
        assert_eq!(asked("can't allocate buffer of size: 99"), Some(Some(99)));
        let driver = "DriverError(CUDA_ERROR_OUT_OF_MEMORY, \"out of memory\")";
        assert_eq!(asked(driver), Some(None));
        for other in ["The device is poisoned", "out of range", ""] {
            assert_eq!(asked(other), None, "{other}");
        }
        let told = OutOfMemory::told_by(read).unwrap().to_string();
        assert!(told.ends_with("when 1.0 MiB more were wanted"), "{told}");
    }

    /// The words above are those of the version that is built in.
    #[cfg(feature = "cuda")]
    #[test]
    fn cubecl_still_says_it_in_these_words() {
        use cubecl::server::{IoError, LaunchError, ServerError};
        let backtrace = Default::default;
        let size = 77;
        let full = ServerError::from(IoError::OutOfMemory {
            size,
            backtrace: backtrace(),
        });
        let large = IoError::BufferTooBig {
            size,
            backtrace: backtrace(),
        };
        let launch = LaunchError::OutOfMemory {
            reason: String::new(),
            backtrace: backtrace(),
        };
        let asked = |error: ServerError| OutOfMemory::told_by(&error.to_string()).unwrap().asked;
        assert_eq!(asked(full), Some(size));
        assert_eq!(asked(large.into()), Some(size));
        assert_eq!(asked(launch.into()), None);
    }
}
