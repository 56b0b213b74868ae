//! Our upscalers and resizing held to recorded ones: `tests/reference/upscale.py` tells what was
//! recorded. Which network a file holds is read from the file.

use std::path::Path;

use burn::tensor::{DType, Device};
use ldm_models::resize::{Method, resize};
use ldm_models::upscale::{Upscaler, recognise};
use ldm_models::weights::{KeyTable, NoPatch, TensorFile, load};

use crate::networks::{Results, agrees, assert_agrees, numbers, shows_one_per_cent, told_apart};
use crate::recorded::Recording;

macro_rules! upscalers {
    ($($case:ident)*) => {$(
        mod $case {
            use super::*;

            #[test]
            fn agrees_with_the_reference() {
                agrees(stringify!($case), enlarged);
            }

            #[test]
            fn is_told_apart_from_every_mutant() {
                told_apart(stringify!($case), enlarged);
            }

            #[test]
            fn shows_one_per_cent_in_any_tensor() {
                shows_one_per_cent(stringify!($case), enlarged);
            }
        }
    )*};
}

upscalers! { up_numbered up_plus up_body up_compact }

fn enlarged(recording: &Recording, weights: &Path) -> Results {
    let device = Device::flex();
    let file = TensorFile::open(weights).unwrap();
    let (config, naming) = recognise(&file).unwrap();
    let table = KeyTable::upscaler(&naming, &config);
    let network = config.init(&device, 0).unwrap();
    let network: Upscaler = load(network, &file, &table, DType::F32, &NoPatch).unwrap();
    let x = recording.tensor("x", &device);
    vec![("out", numbers(network.forward(x)))]
}

#[test]
fn pictures_are_resized_as_torch_and_pillow_do() {
    let recording = Recording::open("resized");
    let x: Vec<f32> = recording.get("x").iter().map(|x| *x as f32).collect();
    let methods = [
        ("nearest-exact", Method::Nearest),
        ("bilinear", Method::Bilinear),
        ("bicubic", Method::Bicubic),
        ("area", Method::Area),
        ("lanczos", Method::Lanczos),
    ];
    let mut compared = 0;
    for key in recording.keys().filter(|key| *key != "x") {
        let (name, size) = key.split_once('.').unwrap();
        let (height, width) = size.split_once('x').unwrap();
        let to = [height, width].map(|side| side.parse().unwrap());
        let (_, method) = methods.iter().find(|(known, _)| *known == name).unwrap();
        let got = resize(&x, [7, 10], to, *method);
        assert_agrees(&recording, &[(key, got)]);
        compared += 1;
    }
    assert_eq!(compared, 20);
}
