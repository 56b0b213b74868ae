//! What a program lends to the nodes that compute: the device, its number type, the weights.
//!
//! Not here: which device there is and whether it works (`ldm_kernels::device`).

use std::fmt;
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Instant;

use burn::tensor::{DType, Device, Tensor};
use ldm_engine::{Error, Relief, Reporter, Result};
use ldm_models::device::{self, DeviceChoice, DeviceError, Isa, OpenDevice};
use ldm_models::prepare;
use ldm_models::read::OutOfMemory;
use ldm_models::weights::Types;

use crate::array::Array;
use crate::preparing::Preparing;
use crate::reading::Reading;
use crate::weights::{Weights, mebibytes};

/// The device that nodes compute on, lent through the engine's `Extensions`. It is also the
/// [`Relief`] of a run whose device runs out of memory.
pub struct Machine {
    open: OpenDevice,
    precision: Precision,
    captures: bool,
    weights: Weights,
    preparing: Arc<Preparing>,
    pub(crate) reading: Reading,
}

/// The type of number of a UNet's weights, in which a GPU also computes; `--dtype`.
///
/// Text encoders compute in f32 whatever is chosen, and so do autoencoders on the CPU; which type
/// these take on a GPU is `coding`'s.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Precision {
    /// Four bytes. The CPU's.
    F32,
    /// Two bytes, fine steps. CUDA's.
    F16,
    /// Two bytes, wide range.
    Bf16,
}

impl Precision {
    /// The tensor type.
    pub fn dtype(self) -> DType {
        match self {
            Self::F32 => DType::F32,
            Self::F16 => DType::F16,
            Self::Bf16 => DType::BF16,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::Bf16 => "bf16",
        }
    }
}

impl FromStr for Precision {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let all = [Self::F32, Self::F16, Self::Bf16];
        let found = all.into_iter().find(|one| one.name() == text);
        found.ok_or_else(|| format!("`{text}` is no number type; write `f32`, `f16` or `bf16`"))
    }
}

impl Machine {
    /// Opens the device asked for, with at most `budget` bytes of weights. Without a
    /// `precision` it is f32 on the CPU and f16 on a GPU, which keeps its `kernels` in a folder,
    /// where there is one.
    ///
    /// # Errors
    /// When a device is asked for by name and does not work, or an instruction set that the
    /// CPU does not have.
    pub fn open(
        choice: DeviceChoice,
        isa: Isa,
        precision: Option<Precision>,
        budget: u64,
        kernels: Option<&Path>,
    ) -> Result<Self, DeviceError> {
        let preparing = Arc::new(Preparing::default());
        if let Some(folder) = kernels {
            let heard = preparing.clone();
            prepare::keep(folder, move |what| heard.hear(what));
        }
        let open = device::open(choice, isa)?;
        let usual = if open.name() == "cpu" {
            Precision::F32
        } else {
            Precision::F16
        };
        let precision = precision.unwrap_or(usual);
        Ok(Self {
            open,
            precision,
            captures: false,
            weights: Weights::new(budget),
            preparing,
            reading: Reading::new(),
        })
    }

    /// The same machine, which captures the steps of a U-Net as one launch each if it is a GPU.
    pub fn capturing(self, captures: bool) -> Self {
        let captures = captures && self.name() != "cpu";
        Self { captures, ..self }
    }

    /// Whether the steps of a U-Net are captured.
    pub(crate) fn captures(&self) -> bool {
        self.captures
    }

    /// The device to create tensors on.
    pub fn device(&self) -> &Device {
        self.open.device()
    }

    /// What UNets hold their weights and compute in. On the CPU activations are f32 whatever the
    /// weights are: kernels take half precision up on the way.
    pub fn types(&self) -> Types {
        let weights = self.precision.dtype();
        let compute = match self.name() {
            "cpu" => DType::F32,
            _ => weights,
        };
        Types { weights, compute }
    }

    /// `cpu` or `cuda:N`
    pub fn name(&self) -> &str {
        self.open.name()
    }

    /// A sentence: which device was chosen and why.
    pub fn why(&self) -> &str {
        self.open.why()
    }

    /// All that may change the bits of a result, for the keys of nodes that compute.
    pub fn numerics(&self) -> String {
        // By design the same bits, which nobody has tried: until then they do not share keys.
        let captured = if self.captures { " captured" } else { "" };
        let precision = self.precision.name();
        format!("{} {precision}{captured}", self.open.numerics())
    }

    /// The weights in memory.
    pub fn weights(&self) -> &Weights {
        &self.weights
    }

    /// The node that is at work, through which a GPU that prepares kernels is told of.
    pub(crate) fn at_work(&self, node: &Reporter) {
        self.preparing.at_work(node);
    }

    /// Reads a tensor back from the device.
    ///
    /// # Errors
    /// When the device failed, or gave a number that is none; `what` names the tensor.
    pub(crate) fn read<const D: usize>(&self, x: Tensor<D>, what: &str) -> Result<Array<D>> {
        Array::of_device(x.dims(), self.reading.numbers(x), what)
    }
}

impl fmt::Debug for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Relief for Machine {
    fn ran_out(&self, words: &str) -> Option<Error> {
        OutOfMemory::told_by(words).map(|error| out_of_memory(&error))
    }

    /// Networks go, those of the failed work too: they may be half written. What the device's
    /// allocator keeps for later goes back to the driver.
    fn relieve(&self, since: Instant) -> Option<String> {
        let rested = self.weights.clear(since);
        self.device().memory_cleanup();
        let words = || format!("{} of weights that rested were dropped", mebibytes(rested));
        (rested > 0).then(words)
    }
}

/// The error of work that found no memory, in any way.
pub(crate) fn out_of_memory(error: &OutOfMemory) -> Error {
    let hint = "make the picture or the batch smaller, or use `--device cpu`";
    Error::out_of_memory(error.to_string()).hint(hint)
}
