//! Upscalers: which one a file holds, and that seams do not show.

use std::path::PathBuf;

use burn::tensor::{DType, Device, Tensor};

use super::*;
use crate::noise::Noise;
use crate::tiles::Lay;
use crate::weights::{KeyTable, NoPatch, SaveAs, TensorFile, TensorWriter, load};

fn rrdb(unshuffle: usize, doublings: usize, plus: bool) -> UpscaleConfig {
    UpscaleConfig::Rrdb(RrdbConfig {
        in_channels: 3,
        out_channels: 3,
        width: 4,
        growth: 2,
        blocks: 2,
        doublings,
        unshuffle,
        plus,
    })
}

fn compact(scale: usize) -> UpscaleConfig {
    UpscaleConfig::Compact(CompactConfig {
        channels: 3,
        width: 4,
        convs: 1,
        scale,
    })
}

/// Writes `config`'s fresh network under the names of `naming`.
fn written(folder: &tempfile::TempDir, config: &UpscaleConfig, naming: &Naming) -> PathBuf {
    let (native, path) = (folder.path().join("native"), folder.path().join("theirs"));
    let network = config.init(&Device::flex(), 1).unwrap();
    crate::weights::save(&network, &native, SaveAs::F32).unwrap();
    let (file, table) = (
        TensorFile::open(&native).unwrap(),
        KeyTable::upscaler(naming, config),
    );
    let mut writer = TensorWriter::default();
    for ours in file.names() {
        let shape = file.shape(&ours).unwrap();
        let key = table.source(&ours, shape).key;
        let flat = Tensor::<1>::from_data(&file.read(&ours).unwrap()[..], &Device::flex());
        match shape[..] {
            [_] => writer.tensor(&key, &flat),
            // A linear layer over pixels is written as the convolution that it is to others.
            [a, b] => {
                let turned = flat.reshape([a, b]).swap_dims(0, 1);
                writer.tensor(&key, &turned.reshape([b, a, 1, 1]));
            }
            [a, b, c, d] => writer.tensor(&key, &flat.reshape([a, b, c, d])),
            _ => panic!("{ours} has {shape:?}"),
        }
    }
    writer.write(&path, SaveAs::F32).unwrap();
    path
}

#[test]
fn every_shape_is_recognised_under_every_name_it_goes_by() {
    let rrdbs = [
        (rrdb(1, 0, false), 1),
        (rrdb(1, 1, false), 2),
        (rrdb(1, 2, true), 4),
        (rrdb(1, 3, false), 8),
        (rrdb(2, 2, false), 2),
        (rrdb(4, 2, false), 1),
    ];
    let styles = [Style::Numbered, Style::Trunk, Style::Body];
    let mut cases = Vec::new();
    for (config, scale) in rrdbs {
        cases.extend(styles.map(|style| (config.clone(), scale, style)));
    }
    cases.extend([1, 2, 3, 4].map(|scale| (compact(scale), scale, Style::Compact)));
    for (at, (config, scale, style)) in cases.into_iter().enumerate() {
        let prefix = ["", "params_ema.", "params."][at % 3].to_owned();
        let (folder, naming) = (tempfile::tempdir().unwrap(), Naming { prefix, style });
        let file = TensorFile::open(&written(&folder, &config, &naming)).unwrap();
        assert_eq!(recognise(&file).unwrap(), (config.clone(), naming.clone()));
        assert_eq!(config.scale(), scale);
        let table = KeyTable::upscaler(&naming, &config);
        let empty = config.init(&Device::flex(), 2).unwrap();
        let loaded = load(empty, &file, &table, DType::F32, &NoPatch).unwrap();
        let original = config.init(&Device::flex(), 1).unwrap();
        let x = picture([1, 3, 4, 8]);
        let got = loaded.forward(x.clone());
        assert_eq!(got.dims(), [1, 3, 4 * scale, 8 * scale]);
        assert_eq!(
            apart(got, original.forward(x)),
            0.0,
            "{config:?} {naming:?}"
        );
    }
}

#[test]
fn a_file_of_something_else_is_refused_by_what_it_holds() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let mut writer = TensorWriter::default();
    let ones = Tensor::<1>::ones([3], &Device::flex());
    writer.tensor("betas", &ones);
    writer.write(file.path(), SaveAs::F32).unwrap();
    let said = recognise(&TensorFile::open(file.path()).unwrap()).unwrap_err();
    let said = said.to_string();
    assert!(said.contains("found `betas` and others"), "{said}");
    let config = rrdb(4, 1, false);
    let said = config.init(&Device::flex(), 0).unwrap_err().to_string();
    assert!(said.contains("the scale is 0"), "{said}");
}

fn picture(shape: [usize; 4]) -> Tensor<4> {
    Noise::new(3).tensor(shape, &Device::flex()) * 0.2 + 0.5
}

fn apart(a: Tensor<4>, b: Tensor<4>) -> f32 {
    (a - b).abs().max().into_scalar()
}

fn cut(size: usize, overlap: usize) -> Tiles {
    let lay = Lay::InStep;
    Tiles { size, overlap, lay }
}

fn tiled(config: &UpscaleConfig, x: &Tensor<4>, size: usize, overlap: usize) -> (Tensor<4>, usize) {
    let network = config.init(&Device::flex(), 1).unwrap();
    let (tiles, mut seen) = (cut(size, overlap), 0);
    let step = |done, all| {
        seen = all;
        if done <= all { Ok(()) } else { Err(()) }
    };
    let out = enlarge(&network, config, x, tiles, step).unwrap();
    (out, seen)
}

#[test]
fn what_fits_in_a_tile_is_enlarged_at_once() {
    let (config, x) = (compact(2), picture([2, 3, 12, 10]));
    let network = config.init(&Device::flex(), 1).unwrap();
    let (got, tiles) = tiled(&config, &x, 12, 4);
    assert_eq!((apart(got, network.forward(x)), tiles), (0.0, 2));
}

#[test]
fn pixels_that_see_no_seam_are_those_of_the_whole_picture() {
    // Three 3×3 convolutions: nothing further away than 3 pixels matters.
    let (config, x) = (compact(2), picture([1, 3, 40, 10]));
    let network = config.init(&Device::flex(), 1).unwrap();
    let whole = network.forward(x.clone());
    let (got, tiles) = tiled(&config, &x, 16, 4);
    assert_eq!(tiles, 3, "0..16, 12..28, 24..40");
    let rows = |from: usize, to: usize| {
        let part = |x: &Tensor<4>| x.clone().narrow(2, 2 * from, 2 * (to - from));
        apart(part(&got), part(&whole))
    };
    // Where one tile alone counts, and its edge is 3 pixels away.
    for (from, to) in [(0, 12), (16, 24), (28, 40)] {
        assert!(rows(from, to) < 1e-6, "{from}..{to}: {}", rows(from, to));
    }
    // In between, each tile's edge sees a border that is not there.
    assert!(rows(12, 16) > 1e-4);
}

#[test]
fn seams_are_blended_by_the_distance_from_the_edges() {
    let spans = [(0usize, 16usize), (12, 16), (24, 16)];
    let (config, x) = (rrdb(1, 0, false), picture([1, 3, 40, 6]));
    let network = config.init(&Device::flex(), 1).unwrap();
    let (got, _) = tiled(&config, &x, 16, 4);
    let got: Vec<f32> = got.into_data().try_to_vec().unwrap();
    let parts = spans.map(|(start, length)| {
        let tile = network.forward(x.clone().narrow(2, start, length));
        tile.into_data().try_to_vec::<f32>().unwrap()
    });
    for channel in 0..3 {
        for y in 0..40usize {
            for column in 0..6 {
                let (mut sum, mut weights) = (0.0, 0.0);
                for (part, (start, length)) in parts.iter().zip(spans) {
                    let Some(row) = y.checked_sub(start).filter(|row| *row < length) else {
                        continue;
                    };
                    let edge = |d: usize| ((d + 1) as f64 / 4.0).min(1.0);
                    let weight = edge(row) * edge(length - 1 - row);
                    sum += weight * f64::from(part[(channel * length + row) * 6 + column]);
                    weights += weight;
                }
                let found = f64::from(got[(channel * 40 + y) * 6 + column]);
                assert!((found - sum / weights).abs() < 1e-6, "{y} {column}");
            }
        }
    }
}

#[test]
fn a_stop_is_obeyed_behind_a_tile() {
    let (config, x) = (compact(1), picture([1, 3, 20, 6]));
    let network = config.init(&Device::flex(), 1).unwrap();
    let (tiles, mut heard) = (cut(8, 2), Vec::new());
    let stopped = enlarge(&network, &config, &x, tiles, |done, all| {
        heard.push((done, all));
        if done == 2 { Err("stopped") } else { Ok(()) }
    });
    assert_eq!(stopped.err(), Some("stopped"));
    assert_eq!(heard, [(1, 3), (2, 3)]);
}
