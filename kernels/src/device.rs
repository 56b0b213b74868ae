//! Which device computes: chosen once, tried, and named.
//!
//! Promises
//! - A device is handed out only after a small operation ran on it and was read back, so a
//!   missing driver or library is an error here and not a panic later.
//! - `auto` never fails: without a working GPU it is the CPU, and the reason is said.
//! - [`OpenDevice::numerics`] names all that may change the bits of a result.
//!
//! Not here: burn's default device, which picks what was compiled in without trying it; where a
//! GPU keeps its kernels (`prepare`), which is to be said before one is opened.

use std::{fmt, str::FromStr};

use burn::tensor::Device;

pub use crate::isa::{Isa, IsaError};

/// Counts changes to the CPU's kernels that may change the bits of a result; part of every key of
/// what is computed there.
pub const KERNEL_REVISION: u32 = 4;

/// The same of a GPU's kernels.
#[cfg(feature = "cuda")]
const GPU_KERNEL_REVISION: u32 = 6;

/// What the user asked for: `auto`, `cpu`, `cuda` or `cuda:N`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DeviceChoice {
    /// CUDA where it is compiled in and works, else the CPU.
    #[default]
    Auto,
    /// The CPU.
    Cpu,
    /// The NVIDIA GPU of this index.
    Cuda(usize),
}

impl FromStr for DeviceChoice {
    type Err = DeviceError;

    fn from_str(text: &str) -> Result<Self, DeviceError> {
        let unknown = || DeviceError::Unknown(text.to_owned());
        match text {
            "auto" => Ok(Self::Auto),
            "cpu" => Ok(Self::Cpu),
            "cuda" => Ok(Self::Cuda(0)),
            _ => {
                let index = text.strip_prefix("cuda:").ok_or_else(unknown)?;
                index.parse().map(Self::Cuda).map_err(|_| unknown())
            }
        }
    }
}

impl fmt::Display for DeviceChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Cpu => f.write_str("cpu"),
            Self::Cuda(index) => write!(f, "cuda:{index}"),
        }
    }
}

/// Why a device could not be opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeviceError {
    /// The text names no device.
    Unknown(String),
    /// CUDA was asked for, and this program was built without it.
    NotCompiledIn,
    /// CUDA is compiled in, but the GPU of this index did not work; the reason follows.
    Broken(usize, String),
    /// The instruction set asked for cannot be had.
    Isa(IsaError),
}

impl From<IsaError> for DeviceError {
    fn from(error: IsaError) -> Self {
        Self::Isa(error)
    }
}

impl fmt::Display for DeviceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown(text) => write!(
                f,
                "`{text}` is no device; write `auto`, `cpu`, `cuda` or `cuda:N` \
                 with N the number of the GPU"
            ),
            Self::NotCompiledIn => f.write_str(
                "this program was built without CUDA; build it with `--features cuda`, \
                 or use `--device cpu`",
            ),
            Self::Broken(index, why) => write!(
                f,
                "the GPU `cuda:{index}` does not work: {why}; check the driver and the \
                 CUDA libraries, or use `--device cpu`"
            ),
            Self::Isa(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for DeviceError {}

/// A device that was tried and works.
#[derive(Clone, Debug)]
pub struct OpenDevice {
    device: Device,
    name: String,
    why: String,
    numerics: String,
}

impl OpenDevice {
    /// The device to create tensors on; without autodiff.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// `cpu` or `cuda:N`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A sentence: what was chosen and why.
    pub fn why(&self) -> &str {
        &self.why
    }

    /// All that may change the bits of a result: backend family, instruction set or GPU
    /// architecture, revision of the kernels. Never the number of threads.
    pub fn numerics(&self) -> &str {
        &self.numerics
    }
}

/// Opens the device asked for, after trying it. What is computed on the CPU of this process
/// uses `isa` from here on.
///
/// # Errors
/// When CUDA is asked for by name and is not compiled in or does not work; when the CPU does
/// not have `isa`, or this process computes with another one already.
pub fn open(choice: DeviceChoice, isa: Isa) -> Result<OpenDevice, DeviceError> {
    crate::isa::choose(isa)?;
    match choice {
        DeviceChoice::Cpu => Ok(cpu("the CPU, as asked".to_owned())),
        DeviceChoice::Cuda(index) => cuda(index, "as asked"),
        DeviceChoice::Auto => match cuda(0, "the first GPU, which works") {
            Ok(open) => Ok(open),
            Err(DeviceError::NotCompiledIn) => Ok(cpu(
                "the CPU: this program was built without CUDA".to_owned(),
            )),
            Err(DeviceError::Broken(_, why)) => {
                Ok(cpu(format!("the CPU: no GPU works here ({why})")))
            }
            Err(other) => Err(other),
        },
    }
}

fn cpu(why: String) -> OpenDevice {
    let isa = crate::isa::names();
    OpenDevice {
        device: Device::flex(),
        name: "cpu".to_owned(),
        why,
        numerics: format!("flex {isa} kernels {KERNEL_REVISION}"),
    }
}

#[cfg(not(feature = "cuda"))]
fn cuda(_index: usize, _why: &str) -> Result<OpenDevice, DeviceError> {
    Err(DeviceError::NotCompiledIn)
}

#[cfg(feature = "cuda")]
fn cuda(index: usize, why: &str) -> Result<OpenDevice, DeviceError> {
    use burn::tensor::DeviceType;

    let found = Device::enumerate(DeviceType::Cuda).into_vec().len();
    if index >= found {
        let why = format!("{found} found on this machine");
        return Err(DeviceError::Broken(index, why));
    }
    let device = smoke(move || Device::cuda(index)).map_err(|e| DeviceError::Broken(index, e))?;
    let arch = device
        .identity()
        .map_or_else(|| "unnamed".to_owned(), |identity| format!("{identity:?}"));
    Ok(OpenDevice {
        device,
        name: format!("cuda:{index}"),
        why: format!("cuda:{index}, {why}"),
        numerics: format!("cuda {arch} kernels {GPU_KERNEL_REVISION}"),
    })
}

/// Runs a product and an exponential on a thread of its own and reads them back: a missing
/// library panics there, not here.
#[cfg_attr(
    not(any(feature = "cuda", test)),
    expect(dead_code, reason = "only a GPU is tried")
)]
fn smoke(make: impl FnOnce() -> Device + Send + 'static) -> Result<Device, String> {
    use burn::tensor::{DType, Tensor};

    let attempt = std::thread::Builder::new()
        .name("device probe".to_owned())
        .spawn(move || {
            let device = make();
            let x = Tensor::<2>::full([8, 8], 0.125, (&device, DType::F32));
            let data = x
                .clone()
                .matmul(x)
                .exp()
                .try_into_data()
                .map_err(|e| e.to_string())?;
            let values = data.try_into_vec::<f32>().map_err(|e| format!("{e:?}"))?;
            match values.iter().all(|v| (v - 0.125_f32.exp()).abs() < 1e-3) {
                true => Ok(device),
                false => Err(format!("a product of ones gave {}", values[0])),
            }
        });
    match attempt.map(|thread| thread.join()) {
        Ok(Ok(outcome)) => outcome,
        Ok(Err(panic)) => Err(panic_text(&*panic)),
        Err(error) => Err(error.to_string()),
    }
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
    text.unwrap_or("it failed without a word")
        .lines()
        .next()
        .unwrap_or_default()
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn device_names_parse_and_print_alike() {
        for text in ["auto", "cpu", "cuda:0", "cuda:3"] {
            assert_eq!(text.parse::<DeviceChoice>().unwrap().to_string(), text);
        }
        assert_eq!("cuda".parse(), Ok(DeviceChoice::Cuda(0)));
    }

    #[test]
    fn a_wrong_device_name_is_told_what_to_write() {
        for text in ["", "gpu", "CPU", "cuda:", "cuda:x", "cuda:-1"] {
            let error = text.parse::<DeviceChoice>().unwrap_err().to_string();
            assert!(error.contains(text) && error.contains("cuda:N"), "{error}");
        }
    }

    #[test]
    fn auto_always_opens_and_says_why() {
        let open = open(DeviceChoice::Auto, Isa::Auto).unwrap();
        assert!(open.why().contains(if open.name() == "cpu" {
            "the CPU"
        } else {
            "cuda"
        }));
        assert!(open.numerics().contains(" kernels "));
    }

    #[cfg(not(feature = "cuda"))]
    #[test]
    fn cuda_by_name_without_cuda_names_the_feature() {
        let error = open(DeviceChoice::Cuda(0), Isa::Auto)
            .unwrap_err()
            .to_string();
        assert!(error.contains("--features cuda"), "{error}");
    }

    #[test]
    fn the_smoke_operation_passes_here_and_turns_a_panic_into_words() {
        assert!(smoke(Device::flex).is_ok());
        let error = smoke(|| panic!("no driver")).unwrap_err();
        assert_eq!(error, "no driver");
    }
}
