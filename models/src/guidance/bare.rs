//! The network underneath guidance, as guidance calls it.

use burn::tensor::Tensor;

use crate::unet::{Control, Told};

/// A network that hears what it is told once, and then predicts at every step of a walk: a
/// U-Net in the number type of its machine, or a closure in a test.
pub trait Bare {
    /// What it made of what it was told.
    type Heard;

    /// Hears what stays as it is along a walk; there is no `told.control` yet.
    fn hear(&self, told: Told) -> Self::Heard;

    /// `x [b, c, h, w]`, timesteps `t [b]` in f32, what was heard of each row, and what other
    /// networks add at this step → `[b, c_out, h, w]`.
    fn step(
        &self,
        x: Tensor<4>,
        t: Tensor<1>,
        heard: &Self::Heard,
        control: Option<Control>,
    ) -> Tensor<4>;
}

/// As [`UNet::forward`](crate::unet::UNet::forward): it hears anew at every step.
impl<F: Fn(Tensor<4>, Tensor<1>, Told) -> Tensor<4>> Bare for F {
    type Heard = Told;

    fn hear(&self, told: Told) -> Told {
        told
    }

    fn step(
        &self,
        x: Tensor<4>,
        t: Tensor<1>,
        heard: &Told,
        control: Option<Control>,
    ) -> Tensor<4> {
        let told = Told {
            control,
            ..heard.clone()
        };
        self(x, t, told)
    }
}
