//! Networks that steer a U-Net by a picture: ControlNet and T2I-Adapter.
//!
//! ```text
//! file ── recognise ── ControlConfig, naming ── init, load ── Controller ── Control
//! ```
//!
//! Promises
//! - The network is read from names and shapes of the file's tensors, never from its name; what
//!   shapes cannot say comes from a `config.json` beside it, or is what the released models have.
//! - What comes back is at full strength: strengths, ranges and sums are guidance's.
//!
//! Not here: Control-LoRAs, and networks that hold several ControlNets in one.

mod adapter;
mod config;
mod net;
mod recognise;
#[cfg(test)]
mod tests;

pub use config::{AdapterConfig, AdapterKind, ControlConfig, ControlNetConfig, Place};
pub use recognise::{Recognised, recognise};

use std::sync::Arc;

use burn::module::Module;
use burn::tensor::{DType, Tensor};

use self::adapter::Adapter;
use self::net::ControlNet;
use crate::guidance::{ControlModel, Steer};
use crate::unet::Told;

/// A network whose results are added inside a U-Net.
#[derive(Module, Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "one stands in memory, and a module cannot be boxed"
)]
pub enum Controller {
    /// Sees the noisy latent and the hint.
    Net(ControlNet),
    /// Sees the hint alone.
    Adapter(Adapter),
}

impl Controller {
    /// The type that it computes in, which is that of the results.
    fn dtype(&self) -> DType {
        match self {
            Self::Net(net) => net.dtype(),
            Self::Adapter(adapter) => adapter.dtype(),
        }
    }
}

impl ControlModel for Controller {
    fn hear(self: Arc<Self>, told: &Told, hint: Tensor<4>, ahead: &[f64]) -> Steer {
        let dtype = self.dtype();
        let hint = hint.cast(dtype);
        match &*self {
            Self::Net(net) => {
                let told = Told {
                    context: told.context.clone().map(|tokens| tokens.cast(dtype)),
                    label: told.label.clone(),
                    control: None,
                };
                let shown = net.hear(&told, hint, ahead);
                Box::new(move |x, t| match &*self {
                    Self::Net(net) => net.step(x.cast(dtype), t, &shown),
                    Self::Adapter(_) => unreachable!("a ControlNet was told"),
                })
            }
            Self::Adapter(adapter) => {
                let control = adapter.forward(hint);
                Box::new(move |_, _| control.clone())
            }
        }
    }
}
