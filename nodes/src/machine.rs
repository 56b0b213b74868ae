//! What a program lends to the nodes that compute: the device, its number type, the weights.
//!
//! Not here: which device there is and whether it works (`ldm_kernels::device`).

use std::str::FromStr;

use burn::tensor::{DType, Device};
use ldm_models::device::{self, DeviceChoice, DeviceError, Isa, OpenDevice};
use ldm_models::weights::Types;

use crate::weights::Weights;

/// The device that nodes compute on, lent through the engine's `Extensions`.
pub struct Machine {
    open: OpenDevice,
    precision: Precision,
    captures: bool,
    weights: Weights,
}

/// The type of number of a UNet's weights, in which a GPU also computes; `--dtype`.
///
/// Autoencoders and text encoders compute in f32 whatever is chosen: they run once, and the
/// decoders of common models run over in f16.
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
    /// `precision` it is f32 on the CPU and f16 on a GPU.
    ///
    /// # Errors
    /// When a device is asked for by name and does not work, or an instruction set that the
    /// CPU does not have.
    pub fn open(
        choice: DeviceChoice,
        isa: Isa,
        precision: Option<Precision>,
        budget: u64,
    ) -> Result<Self, DeviceError> {
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
        let captured = if self.captures { " captured" } else { "" };
        let precision = self.precision.name();
        format!("{} {precision}{captured}", self.open.numerics())
    }

    /// The weights in memory.
    pub fn weights(&self) -> &Weights {
        &self.weights
    }
}
