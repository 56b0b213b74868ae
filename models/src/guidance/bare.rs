//! The network underneath guidance, as guidance calls it.

use burn::tensor::{DType, Tensor};

use crate::unet::{Control, Told};

/// A network that hears what it is told once, and then predicts at every step of a walk: a
/// U-Net in the number type of its machine, or a closure in a test.
pub trait Bare {
    /// What it made of what it was told.
    type Heard;

    /// Hears what stays as it is along a walk, and at which timesteps the walk will ask, as far as
    /// that is known; there is no `told.control` yet.
    fn hear(&self, told: Told, ahead: &[f64]) -> Self::Heard;

    /// `x [b, c, h, w]`, its timestep, what was heard of each row, and what other networks add at
    /// this step → `[b, c_out, h, w]`.
    fn step(
        &self,
        x: Tensor<4>,
        t: f64,
        heard: &Self::Heard,
        control: Option<Control>,
    ) -> Tensor<4>;
}

/// As [`UNet::forward`](crate::unet::UNet::forward): it hears anew at every step. Its timesteps,
/// one a row, are f32 whatever the latent is: f16 cannot tell 981 from its neighbours.
impl<F: Fn(Tensor<4>, Tensor<1>, Told) -> Tensor<4>> Bare for F {
    type Heard = Told;

    fn hear(&self, told: Told, _ahead: &[f64]) -> Told {
        told
    }

    fn step(&self, x: Tensor<4>, t: f64, heard: &Told, control: Option<Control>) -> Tensor<4> {
        let told = Told {
            control,
            ..heard.clone()
        };
        let t = Tensor::full([x.dims()[0]], t as f32, (&x.device(), DType::F32));
        self(x, t, told)
    }
}
