//! ControlNets, T2I-Adapters and a U-Net steered by them, held to recorded ones:
//! `tests/reference/control.py` tells what was recorded. Which network a file holds is read from
//! the file, and from the reference's configuration what shapes cannot say.

use std::path::Path;
use std::sync::Arc;

use burn::tensor::{DType, Device, Tensor};
use ldm_models::control::{ControlConfig, Controller, Place, recognise};
use ldm_models::guidance::ControlModel;
use ldm_models::unet::{Control, Heads, Told, UNet, UNetConfig};
use ldm_models::weights::detect::NetworkJson;
use ldm_models::weights::{Family, KeyTable, NoPatch, TensorFile, load};

use crate::networks::{
    Network, Results, agrees, assert_agrees, filled, numbers, shows_one_per_cent, small_unet,
    told_apart,
};
use crate::recorded::{Recording, path};

macro_rules! controls {
    ($($case:ident: $network:expr;)*) => {$(
        mod $case {
            use super::*;

            #[test]
            fn agrees_with_the_reference() {
                agrees(stringify!($case), $network);
            }

            #[test]
            fn is_told_apart_from_every_mutant() {
                told_apart(stringify!($case), $network);
            }

            #[test]
            fn shows_one_per_cent_in_any_tensor() {
                shows_one_per_cent(stringify!($case), $network);
            }
        }
    )*};
}

controls! {
    control_net: net;
    control_xl: net;
    adapter_full: adapter;
    adapter_xl: adapter;
    adapter_light: adapter;
    unet_controlled: steered;
}

const SKIPS: [&str; 4] = ["skip0", "skip1", "skip2", "skip3"];
const FEATURES: [&str; 4] = ["feature0", "feature1", "feature2", "feature3"];

#[test]
fn the_released_names_hold_the_same_networks() {
    let cases: [(&str, &str, Network); 3] = [
        ("control_net", "control_compvis", net),
        ("adapter_full", "adapter_full_tencent", adapter),
        ("adapter_light", "adapter_light_tencent", adapter),
    ];
    for (recorded, weights, network) in cases {
        let (recording, weights) = (
            Recording::open(recorded),
            path(&format!("{weights}.weights")),
        );
        let file = TensorFile::open(&weights).unwrap();
        assert_eq!(recognised(&recording, &file).2, Family::CompVis);
        assert_agrees(&recording, &network(&recording, &weights));
    }
}

fn recognised(recording: &Recording, file: &TensorFile) -> (ControlConfig, KeyTable, Family) {
    let json = NetworkJson::read(recording.note("config")).unwrap();
    let found = recognise(file, Some(&json)).unwrap();
    let table = KeyTable::control(found.family, &found.config).under(&found.prefix);
    (found.config, table, found.family)
}

fn controller(recording: &Recording, weights: &Path) -> (ControlConfig, Controller) {
    let file = TensorFile::open(weights).unwrap();
    let (config, table, _) = recognised(recording, &file);
    let empty = config.init(&Device::flex(), 0).unwrap();
    let network = load(empty, &file, &table, DType::F32, &NoPatch).unwrap();
    (config, network)
}

fn net(recording: &Recording, weights: &Path) -> Results {
    let device = Device::flex();
    let (_, network) = controller(recording, weights);
    let told = Told {
        context: Some(recording.tensor("context", &device)),
        label: recording
            .keys()
            .any(|key| key == "label")
            .then(|| recording.tensor("label", &device)),
        control: None,
    };
    let tensor = |name| recording.tensor::<4>(name, &device);
    let steer = Arc::new(network).hear(&told, tensor("hint"), &[]);
    // A step has one timestep, what was recorded has one a row.
    let times = numbers(recording.tensor::<1>("t", &device));
    let rows = times.iter().enumerate().map(|(row, t)| {
        let control = steer(tensor("x"), f64::from(*t));
        assert!(control.down.is_empty() && control.skips.len() == SKIPS.len());
        let all = control.skips.into_iter().chain(control.middle);
        all.map(|x| numbers(x.narrow(0, row, 1))).collect()
    });
    let rows: Vec<Vec<Vec<f32>>> = rows.collect();
    let names = SKIPS.into_iter().chain(["middle"]).enumerate();
    let all = |at: usize| rows.iter().flat_map(|row| row[at].clone()).collect();
    names.map(|(at, name)| (name, all(at))).collect()
}

fn adapter(recording: &Recording, weights: &Path) -> Results {
    let device = Device::flex();
    let (config, network) = controller(recording, weights);
    let ControlConfig::Adapter(config) = config else {
        panic!("{config:?}");
    };
    // It looks at neither the latent nor the timestep.
    let x = Tensor::zeros([1, 4, 1, 1], &device);
    let hint = recording.tensor("hint", &device);
    let steer = Arc::new(network).hear(&Told::default(), hint, &[]);
    let control = steer(x, 0.0);
    let mut given = control.down.iter().flatten().count();
    given += usize::from(control.middle.is_some());
    assert!(control.skips.is_empty() && given == config.places.len());
    let feature = |place: &Place| match place {
        Place::Skip(at) => control.down[*at].clone().unwrap(),
        Place::Middle => control.middle.clone().unwrap(),
    };
    let features = config.places.iter().map(|place| numbers(feature(place)));
    FEATURES.into_iter().zip(features).collect()
}

fn steered(recording: &Recording, weights: &Path) -> Results {
    let device = Device::flex();
    let config = UNetConfig {
        context_dim: Some(6),
        heads: Heads::Count(2),
        ..small_unet()
    };
    let table = KeyTable::unet(Family::Diffusers, &config);
    let network: UNet = filled(config.init(&device, 0).unwrap(), weights, &table);
    let tensor = |name| recording.tensor::<4>(name, &device);
    let net = Control {
        down: Vec::new(),
        skips: SKIPS.map(tensor).to_vec(),
        middle: Some(tensor("middle")),
    };
    // Behind the one block of each of the two levels.
    let features = [None, Some("feature0"), None, Some("feature1")];
    let features = features.map(|name| name.map(tensor)).to_vec();
    let adapter = Control {
        down: features.clone(),
        ..Control::default()
    };
    let both = Control {
        down: features,
        ..net.clone()
    };
    let out = |control| {
        let told = Told {
            context: Some(recording.tensor("context", &device)),
            label: None,
            control: Some(control),
        };
        let t = recording.tensor("t", &device);
        numbers(network.forward(tensor("x"), t, told))
    };
    vec![
        ("net", out(net)),
        ("adapter", out(adapter)),
        ("both", out(both)),
    ]
}
