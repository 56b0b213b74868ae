//! An autoencoder in half precision, played on the CPU, whose reference computes in any type.

use burn::tensor::DType;
use ldm_engine::{Ctx, In, Kind, Node, Result, kind};
use ldm_models::autoencoder::{KlAutoencoderConfig, VaeConfig};

use super::Lab;
use crate::Machine;
use crate::coding::{Coding, types};
use crate::values::{Image, Latent, Vae, VaeAbout};

/// The test's own kinds.
pub(super) fn kinds() -> [Kind; 1] {
    [kind::<Decoded>()]
}

/// Decodes as the device of a machine that asks for f16 does, and does not clamp.
///
/// ```ron
/// "half": Decoded(vae: "model", latent: "noise", gain: 1.0, half: true)
/// ```
#[derive(Node)]
struct Decoded {
    /// The autoencoder.
    vae: In<Vae>,
    /// What to decode.
    latent: In<Latent>,
    /// What it is multiplied by.
    #[node(default = 1.0)]
    gain: f64,
    /// Or f32.
    #[node(default = true)]
    half: bool,
}

impl Node for Decoded {
    type Out = Image;

    fn run(&self, ctx: &mut Ctx<'_>) -> Result<Image> {
        let machine = ctx.extension::<Machine>()?;
        let (vae, latent) = (ctx.get(&self.vae), ctx.get(&self.latent));
        let latent = latent.numbers.tensor(machine.device(), DType::F32) * self.gain;
        let asked = if self.half { DType::F16 } else { DType::F32 };
        let mut coding = Coding::asking(asked, &vae, &machine, ctx.reporter());
        let picture = coding.run("the picture", |vae| Ok(vae.decode(latent.clone())))?;
        Image::new(picture)
    }
}

/// The picture in half precision and in f32, and what was noted.
fn decoded(gain: f64) -> ([Vec<f32>; 2], Vec<String>) {
    let mut lab = Lab::new();
    let nodes = format!(
        r#"
        "model": LoadModel(path: "weights/text"),
        "photo": LoadImage(path: "images/scene.png"),
        "latent": VaeEncode(vae: "model", image: "photo"),
        "half": Decoded(vae: "model", latent: "latent", gain: {gain:?}),
        "wide": Decoded(vae: "model", latent: "latent", gain: {gain:?}, half: false),"#
    );
    let ran = lab.run(&nodes, &["half", "wide"]);
    let picture = |name: &str| {
        let image = ran.values[&format!("{name}.image")].get::<Image>().unwrap();
        image.pixels().numbers().to_vec()
    };
    ([picture("half"), picture("wide")], lab.notes)
}

/// The mean difference over the deviation of the second.
///
/// The largest difference was looked at first, and says little: of a network of four channels some
/// groups spread so little that their norm makes much of a rounding (0.04 in f16).
fn apart([a, b]: &[Vec<f32>; 2]) -> f32 {
    let middle = mean(b.iter().copied());
    let spread = mean(b.iter().map(|x| (x - middle).powi(2)));
    mean(a.iter().zip(b).map(|(a, b)| (a - b).abs())) / spread.sqrt()
}

fn mean(numbers: impl Iterator<Item = f32>) -> f32 {
    let (sum, count) = numbers.fold((0.0, 0.0), |(sum, count), x| (sum + x, count + 1.0));
    sum / count
}

#[test]
fn half_precision_gives_nearly_the_same_picture() {
    let (pictures, notes) = decoded(1.0);
    let apart = apart(&pictures);
    assert!(apart > 0.0 && apart < 0.01, "{apart}");
    assert!(notes.is_empty(), "{notes:?}");
}

#[test]
fn numbers_that_run_over_are_computed_again_in_a_wider_type() {
    let (pictures, notes) = decoded(1e6);
    let apart = apart(&pictures);
    assert!(apart > 0.0 && apart < 0.08, "{apart}");
    let wanted = "the picture: the numbers ran over in f16, again in bf16";
    assert_eq!(notes, [wanted]);
}

#[test]
fn which_types_are_tried_follows_from_the_model() {
    let about = |scale, force_upcast| VaeAbout {
        config: VaeConfig::Kl(KlAutoencoderConfig::released("kl-f8").unwrap()),
        scale,
        force_upcast,
    };
    let (f32, f16, bf16) = (DType::F32, DType::F16, DType::BF16);
    let sd = about(0.18215, None);
    assert_eq!(types(&sd, f32), [f32]);
    assert_eq!(types(&sd, f16), [f16, bf16]);
    assert_eq!(types(&sd, bf16), [bf16]);
    assert_eq!(types(&about(0.13025, None), f16), [bf16]);
    assert_eq!(types(&about(0.13025, Some(false)), f16), [f16, bf16]);
    assert_eq!(types(&about(0.18215, Some(true)), f16), [bf16]);
}
