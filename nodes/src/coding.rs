//! An autoencoder at work: in half precision where its device is a GPU, and again in a wider type
//! where the numbers ran over.
//!
//! f16 ends at 65504. What an autoencoder computes stays below that or does not by its weights and
//! by the picture, and an infinity on the way becomes NaN in the next norm: so the result tells.
//! Models that are known to run over start in bf16, which has the range of f32 and fewer digits.
//! diffusers' `force_upcast: true` is no such knowledge, as it writes that for all.
//!
//! Promises
//! - The type follows from the model, the device's own type and the numbers that came out, picture
//!   by picture: what else is in a batch has no say.
//!
//! Not here: training, and what is measured for a model (both in f32).

use burn::tensor::{DType, Tensor};
use ldm_engine::{Reporter, Result};
use ldm_models::autoencoder::{Autoencoder, VaeConfig};

use crate::array::Array;
use crate::machine::Machine;
use crate::values::{Vae, VaeAbout};

/// The scale of the latents of Stable Diffusion XL, whose released autoencoder runs over in f16.
const SCALE_OF_XL: f64 = 0.13025;

/// An autoencoder at work on pictures one after the other.
pub(crate) struct Coding<'a> {
    vae: &'a Vae,
    machine: &'a Machine,
    reporter: Reporter,
    /// The types that it may take, best first: for the machine's own those of [`types`].
    pub(crate) types: &'static [DType],
}

impl<'a> Coding<'a> {
    /// `vae` on this machine; `reporter` is told of loads, and where the numbers ran over.
    pub(crate) fn new(vae: &'a Vae, machine: &'a Machine, reporter: Reporter) -> Self {
        Self {
            types: types(vae.about(), machine.types().compute),
            vae,
            machine,
            reporter,
        }
    }

    /// What `work` gives for the network, read back; `what` names it. It is called again where the
    /// numbers ran over.
    ///
    /// # Errors
    /// What `work` says; weights that cannot be read; a device that fails; numbers that ran over in
    /// the last of the types.
    pub(crate) fn run<const D: usize>(
        &self,
        what: &str,
        mut work: impl FnMut(&Autoencoder) -> Result<Tensor<D>>,
    ) -> Result<Array<D>> {
        let mut types = self.types;
        loop {
            let dtype = types[0];
            let network = self.vae.network_in(dtype, self.machine, &self.reporter)?;
            let result = work(&network)?;
            let shape = result.dims();
            let read = self.machine.reading.numbers(result);
            let ran_over = |numbers: &Vec<f32>| numbers.iter().any(|x| !x.is_finite());
            match &types[1..] {
                rest @ [next, ..] if read.as_ref().is_ok_and(ran_over) => {
                    let (from, to) = (dtype.name(), next.name());
                    let note = format!("{what}: the numbers ran over in {from}, again in {to}");
                    self.reporter.note(note);
                    types = rest;
                }
                _ => return Array::of_device(shape, read, what),
            }
        }
    }
}

/// The types in which an autoencoder is tried where U-Nets compute in `asked`, best first.
pub(crate) fn types(vae: &VaeAbout, asked: DType) -> &'static [DType] {
    let runs_over = vae.scale == SCALE_OF_XL && !vae.fits_f16;
    match (asked, &vae.config) {
        // Of codes the nearest is taken, and rounded another may be.
        (_, VaeConfig::Vq(_)) => &[DType::F32],
        (DType::F16, VaeConfig::Kl(_)) if !runs_over => &[DType::F16, DType::BF16],
        (DType::F16 | DType::BF16, VaeConfig::Kl(_)) => &[DType::BF16],
        _ => &[DType::F32],
    }
}
