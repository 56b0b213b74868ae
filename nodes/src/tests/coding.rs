//! An autoencoder in half precision, played on the CPU, whose reference computes in any type.

use std::path::Path;

use burn::tensor::{DType, Device, Tensor, TensorData};
use ldm_engine::{Ctx, In, Kind, Node, Result, kind};
use ldm_models::autoencoder::{KlAutoencoderConfig, VaeConfig};
use ldm_models::weights::{SaveAs, TensorFile, TensorWriter};

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
/// "half": Decoded(vae: "model", latent: "noise", half: true)
/// ```
#[derive(Node)]
struct Decoded {
    /// The autoencoder.
    vae: In<Vae>,
    /// What to decode.
    latent: In<Latent>,
    /// Or f32.
    #[node(default = true)]
    half: bool,
}

impl Node for Decoded {
    type Out = Image;

    fn run(&self, ctx: &mut Ctx<'_>) -> Result<Image> {
        let machine = ctx.extension::<Machine>()?;
        let (vae, latent) = (ctx.get(&self.vae), ctx.get(&self.latent));
        let latent = latent.numbers.tensor(machine.device(), DType::F32);
        let asked = if self.half { DType::F16 } else { DType::F32 };
        let mut coding = Coding::new(&vae, &machine, ctx.reporter());
        coding.types = types(vae.about(), asked);
        let picture = coding.run("the picture", |vae| Ok(vae.decode(latent.clone())))?;
        Image::new(picture)
    }
}

/// The picture in half precision and in f32, and what was noted; the decoder's convolutions give
/// so many times what they gave.
fn decoded(gain: f32) -> ([Vec<f32>; 2], Vec<String>) {
    let mut lab = Lab::new();
    let path = lab.folder.path().join("weights/text/vae.safetensors");
    louder(&path, gain);
    let nodes = r#"
        "model": LoadModel(path: "weights/text"),
        "photo": LoadImage(path: "images/scene.png"),
        "latent": VaeEncode(vae: "model", image: "photo"),
        "half": Decoded(vae: "model", latent: "latent"),
        "wide": Decoded(vae: "model", latent: "latent", half: false),"#;
    let ran = lab.run(nodes, &["half", "wide"]);
    let picture = |name: &str| {
        let image = ran.values[&format!("{name}.image")].get::<Image>().unwrap();
        image.pixels().numbers().to_vec()
    };
    ([picture("half"), picture("wide")], lab.notes)
}

/// Multiplies what the first convolution of each of the decoder's blocks gives.
fn louder(path: &Path, gain: f32) {
    let file = TensorFile::open(path).unwrap();
    let mut writer = TensorWriter::default();
    for name in file.names() {
        let loud = name.starts_with("decoder.") && name.contains("conv1.");
        let by = if loud { gain } else { 1.0 };
        let numbers = file.read(&name).unwrap().into_iter().map(|x| x * by);
        let shape = file.shape(&name).unwrap().to_vec();
        let data = TensorData::new(numbers.collect::<Vec<f32>>(), shape.clone());
        let device = Device::flex();
        match shape.len() {
            1 => writer.tensor(&name, &Tensor::<1>::from_data(data, &device)),
            2 => writer.tensor(&name, &Tensor::<2>::from_data(data, &device)),
            _ => writer.tensor(&name, &Tensor::<4>::from_data(data, &device)),
        }
    }
    writer.write(path, SaveAs::F32).unwrap();
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
    let (pictures, notes) = decoded(1e5);
    let apart = apart(&pictures);
    assert!(apart > 0.0 && apart < 0.08, "{apart}");
    let wanted = "the picture: the numbers ran over in f16, again in bf16";
    assert_eq!(notes, [wanted]);
}

#[test]
fn which_types_are_tried_follows_from_the_model() {
    let about = |scale, fits_f16| VaeAbout {
        config: VaeConfig::Kl(KlAutoencoderConfig::released("kl-f8").unwrap()),
        scale,
        fits_f16,
    };
    let (f32, f16, bf16) = (DType::F32, DType::F16, DType::BF16);
    let sd = about(0.18215, false);
    assert_eq!(types(&sd, f32), [f32]);
    assert_eq!(types(&sd, f16), [f16, bf16]);
    assert_eq!(types(&sd, bf16), [bf16]);
    assert_eq!(types(&about(0.13025, false), f16), [bf16]);
    assert_eq!(types(&about(0.13025, true), f16), [f16, bf16]);
    assert_eq!(types(&about(0.13025, true), bf16), [bf16]);
}
