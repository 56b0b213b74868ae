//! Shapes, sizes and the posterior of the autoencoder.

use super::parts::Level;
use super::*;
use crate::nn::parameter_count;
use crate::tiles::{Lay, Tiles};
use burn::tensor::{Device, Distribution};

fn tiny(ch_mult: &[usize], attn_resolutions: &[usize]) -> KlAutoencoderConfig {
    KlAutoencoderConfig {
        in_channels: 3,
        ch: 8,
        ch_mult: ch_mult.to_vec(),
        num_res_blocks: 1,
        attn_resolutions: attn_resolutions.to_vec(),
        resolution: 16,
        z_channels: 4,
        embed_dim: 3,
        groups: 4,
    }
}

fn picture(b: usize, h: usize, w: usize) -> Tensor<4> {
    Tensor::random(
        [b, 3, h, w],
        Distribution::Uniform(-1.0, 1.0),
        &Device::flex(),
    )
}

/// Millions of parameters by the paper's layers, as its code counts them.
const PAPER: [(&str, f64); 9] = [
    ("kl-f4", 55.31),
    ("kl-f8", 83.65),
    ("kl-f16", 69.61),
    ("kl-f32", 103.88),
    ("vq-f4", 55.32),
    ("vq-f4-noattn", 53.22),
    ("vq-f8", 67.72),
    ("vq-f8-n256", 67.65),
    ("vq-f16", 69.59),
];

fn released(name: &str) -> Option<VaeConfig> {
    let kl = KlAutoencoderConfig::released(name).map(VaeConfig::Kl);
    kl.or_else(|| VqAutoencoderConfig::released(name).map(VaeConfig::Vq))
}

#[test]
fn the_papers_autoencoders_have_the_papers_sizes() {
    let names = KlAutoencoderConfig::names().chain(VqAutoencoderConfig::names());
    assert!(names.eq(PAPER.iter().map(|(name, _)| *name)));
    for (name, millions) in PAPER {
        let config = released(name).unwrap();
        let network = config.init(&Device::flex(), 0).unwrap();
        let count = parameter_count(&network) as f64 / 1e6;
        assert!(
            (count - millions).abs() < 0.006,
            "{name}: {count} M, wanted {millions} M"
        );
        assert_eq!(
            name.split('-').nth(1),
            Some(&format!("f{}", config.factor())[..])
        );
    }
    assert_eq!(released("kl-f64"), None);
}

#[test]
fn a_latent_is_smaller_by_the_factor_and_comes_back_at_full_size() {
    for (ch_mult, attn) in [
        (&[1][..], &[16][..]),
        (&[1, 2], &[8]),
        (&[1, 1, 2], &[]),
        (&[2, 1, 1, 2], &[16, 2]),
    ] {
        let config = tiny(ch_mult, attn);
        let network = config.init(&Device::flex(), 1).unwrap();
        let f = config.factor();
        let posterior = network.encode(picture(2, 16, 8));
        assert_eq!(posterior.mean.dims(), [2, 3, 16 / f, 8 / f]);
        assert_eq!(posterior.logvar.dims(), [2, 3, 16 / f, 8 / f]);
        assert_eq!(network.decode(posterior.mode()).dims(), [2, 3, 16, 8]);
    }
}

#[test]
fn where_a_level_attends_follows_the_trained_size() {
    let count = |attn: &[usize]| {
        let network = tiny(&[1, 2], attn).init(&Device::flex(), 0).unwrap();
        let of = |levels: &[Level]| levels.iter().map(|l| l.attention.len()).collect::<Vec<_>>();
        (of(&network.encoder.levels), of(&network.decoder.levels))
    };
    assert_eq!(count(&[]), (vec![0, 0], vec![0, 0]));
    assert_eq!(count(&[16]), (vec![1, 0], vec![0, 2]));
    assert_eq!(count(&[8]), (vec![0, 1], vec![2, 0]));
    assert_eq!(count(&[4]), (vec![0, 0], vec![0, 0]));
}

#[test]
fn the_posterior_is_clamped_sampled_and_measured() {
    let device = Device::flex();
    // mean 1, 2; logvar 100 (clamped to 20), -100 (clamped to -30)
    let moments = Tensor::from_data([[[[1.0]], [[2.0]], [[100.0]], [[-100.0]]]], &device);
    let posterior = Posterior::from_moments(moments);
    let floats = |x: Tensor<4>| x.into_data().try_to_vec::<f32>().unwrap();
    assert_eq!(floats(posterior.logvar.clone()), [20.0, -30.0]);
    assert_eq!(floats(posterior.mode()), [1.0, 2.0]);
    let noise = Tensor::from_data([[[[1.0]], [[-1.0]]]], &device);
    let sample = floats(posterior.sample(noise));
    let wanted = [1.0 + 10f32.exp(), 2.0 - (-15f32).exp()];
    assert!((sample[0] - wanted[0]).abs() < 0.02 && (sample[1] - wanted[1]).abs() < 1e-6);
    let kl = posterior.kl().into_data().try_to_vec::<f32>().unwrap();
    let wanted = 0.5 * ((1.0 + 20f64.exp() - 20.0 - 1.0) + (4.0 + (-30f64).exp() + 30.0 - 1.0));
    assert!(
        (f64::from(kl[0]) / wanted - 1.0).abs() < 1e-6,
        "{kl:?} {wanted}"
    );
}

#[test]
fn the_same_seed_makes_the_same_autoencoder() {
    let x = picture(1, 8, 8);
    let run = |seed| {
        let network = tiny(&[1, 2], &[]).init(&Device::flex(), seed).unwrap();
        let out = network.decode(network.encode(x.clone()).mode());
        out.into_data().try_to_vec::<f32>().unwrap()
    };
    assert_eq!(run(3), run(3));
    assert_ne!(run(3), run(4));
}

#[test]
fn a_wrong_number_is_refused_by_its_field() {
    let cases: [(KlAutoencoderConfig, &str); 5] = [
        (
            KlAutoencoderConfig {
                ch: 0,
                ..tiny(&[1], &[])
            },
            "ch is 0, wanted 1 to 1048576",
        ),
        (tiny(&[], &[]), "ch_mult has 0 levels, wanted 1 to 16"),
        (tiny(&[1, 0], &[]), "ch_mult holds 0, wanted 1 to 1024"),
        (
            KlAutoencoderConfig {
                groups: 3,
                ..tiny(&[1], &[])
            },
            "ch is 8, wanted a multiple of groups, 3",
        ),
        (
            KlAutoencoderConfig {
                embed_dim: usize::MAX,
                ..tiny(&[1], &[])
            },
            "embed_dim is 18446744073709551615, wanted 1 to 1048576",
        ),
    ];
    for (config, wanted) in cases {
        let said = config.init(&Device::flex(), 0).unwrap_err().to_string();
        assert_eq!(said, format!("KL autoencoder: {wanted}"));
    }
}

fn coded() -> VqAutoencoderConfig {
    VqAutoencoderConfig {
        in_channels: 3,
        ch: 8,
        ch_mult: vec![1, 2],
        num_res_blocks: 1,
        attn_resolutions: vec![],
        resolution: 16,
        attention: true,
        z_channels: 4,
        embed_dim: 3,
        codes: 5,
        groups: 4,
    }
}

#[test]
fn a_latent_is_held_to_the_codebook_only_when_it_is_decoded() {
    let network = coded().init(&Device::flex(), 1).unwrap();
    let z = network.encode(picture(2, 16, 8));
    assert_eq!(z.dims(), [2, 3, 8, 4]);
    let floats = |x: Tensor<4>| x.into_data().try_to_vec::<f32>().unwrap();
    let Quantised { latent, indices } = network.quantise(z.clone());
    assert_eq!(indices.dims(), [2, 8, 4]);
    assert_ne!(floats(latent.clone()), floats(z.clone()));
    assert_eq!(floats(network.look_up(indices)), floats(latent.clone()));
    let held = floats(network.decode(z.clone()));
    assert_eq!(held, floats(network.decode_unquantised(latent)));
    assert_ne!(held, floats(network.decode_unquantised(z)));
}

#[test]
fn of_equally_near_codes_the_first_is_taken() {
    let codes = [1.0, 0.0, -1.0, 0.0, 1.0, 0.0, 0.0, 3.0];
    let pixels = [0.0, 0.0, 0.9, 0.1, -0.1, 0.0, 0.0, 2.0];
    assert_eq!(codebook::nearest(&pixels, &codes, 2), [0, 0, 1, 3]);
}

#[test]
fn codes_are_counted_among_those_in_use() {
    let extra = Remap::new(vec![7, 2, 5], Unknown::Extra).unwrap();
    assert_eq!(extra.numbers(), 4);
    assert_eq!([7, 2, 5, 3].map(|code| extra.to_used(code)), [0, 1, 2, 3]);
    assert_eq!(
        [0, 1, 2, 3].map(|number| extra.to_all(number)),
        [7, 2, 5, 7]
    );
    let index = Remap::new(vec![7, 2, 5], Unknown::Index(1)).unwrap();
    assert_eq!((index.numbers(), index.to_used(3)), (3, 1));
    let said = |used, unknown| Remap::new(used, unknown).unwrap_err().to_string();
    assert_eq!(
        said(vec![], Unknown::Extra),
        "VQ autoencoder: remap uses no code; name one at least"
    );
    assert_eq!(
        said(vec![4], Unknown::Index(1)),
        "VQ autoencoder: remap's unknown index is 1, wanted below 1"
    );
}

#[test]
fn either_kind_of_autoencoder_encodes_spreads_and_decodes() {
    let kinds = [VaeConfig::Kl(tiny(&[1, 2], &[])), VaeConfig::Vq(coded())];
    for (config, draws) in kinds.into_iter().zip([true, false]) {
        let network = config.init(&Device::flex(), 1).unwrap();
        let floats = |x: Tensor<4>| x.into_data().try_to_vec::<f32>().unwrap();
        let x = picture(1, 8, 8);
        let mode = network.encode(x.clone(), None);
        assert_eq!(mode.dims(), [1, config.embed_dim(), 4, 4]);
        let [mean, std] = network.spread(x.clone());
        assert_eq!(floats(mode.clone()), floats(mean.clone()));
        assert_eq!(floats(std.clone()).iter().all(|x| *x == 0.0), !draws);
        let drawn = network.encode(x, Some(mode.ones_like()));
        assert_eq!(floats(drawn), floats(mean + std));
        assert_eq!(network.decode(mode).dims(), [1, 3, 8, 8]);
    }
}

#[test]
fn a_codebook_of_no_codes_is_refused() {
    let config = VqAutoencoderConfig {
        codes: 0,
        ..coded()
    };
    let said = config.init(&Device::flex(), 0).unwrap_err().to_string();
    assert_eq!(said, "VQ autoencoder: codes is 0, wanted 1 to 16777216");
}

fn cut(size: usize, overlap: usize) -> Tiles {
    Tiles {
        size,
        overlap,
        lay: Lay::Evenly,
    }
}

fn go_on(_: usize, _: usize) -> Result<(), ()> {
    Ok(())
}

fn both_kinds() -> [Autoencoder; 2] {
    let kl = tiny(&[1, 2], &[]).init(&Device::flex(), 1).unwrap();
    let vq = coded().init(&Device::flex(), 1).unwrap();
    [Autoencoder::Kl(kl), Autoencoder::Vq(vq)]
}

fn apart(a: Tensor<4>, b: Tensor<4>) -> f32 {
    (a - b).abs().max().into_scalar()
}

#[test]
fn one_tile_that_holds_all_gives_the_whole() {
    for network in both_kinds() {
        let (x, noise) = (picture(2, 16, 24), picture(2, 8, 12));
        for noise in [None, Some(noise)] {
            let whole = network.encode(x.clone(), noise.clone());
            let tiled = network.encode_tiled(&x, noise, cut(12, 4), go_on).unwrap();
            assert_eq!(apart(whole, tiled), 0.0);
        }
        let z = picture(2, 8, 12);
        let tiled = network.decode_tiled(&z, cut(12, 4), go_on).unwrap();
        assert_eq!(apart(network.decode(z), tiled), 0.0);
    }
}

#[test]
fn tiles_keep_the_size_and_are_counted() {
    for network in both_kinds() {
        let (z, tiles, mut heard) = (picture(2, 9, 20), cut(8, 2), Vec::new());
        let step = |done, all| {
            heard.push((done, all));
            if done == 9 { Err("stopped") } else { Ok(()) }
        };
        let stopped = network.decode_tiled(&z, tiles, step);
        assert_eq!(
            stopped.err(),
            Some("stopped"),
            "behind a tile, and no other follows"
        );
        // Two rows of three, for each of two pictures.
        assert_eq!(tiles.count([9, 20]), 6);
        assert_eq!((heard.len(), heard[0]), (9, (1, 12)));
        let decoded = network.decode_tiled(&z, tiles, go_on).unwrap();
        assert_eq!(decoded.dims(), [2, 3, 18, 40]);
        let encoded = network.encode_tiled(&decoded, None, tiles, go_on).unwrap();
        assert_eq!(encoded.dims(), [2, 3, 9, 20]);
    }
}

#[test]
fn noise_is_drawn_on_the_whole_latent() {
    let [network, _] = both_kinds();
    let (x, noise) = (picture(1, 32, 16), picture(1, 16, 8));
    let draw = |noise| network.encode_tiled(&x, noise, cut(8, 2), go_on).unwrap();
    let mean = draw(None);
    let once = draw(Some(noise.clone())) - mean.clone();
    let thrice = draw(Some(noise.clone() * 3.0)) - mean;
    assert!(apart(once.clone() * 3.0, thrice) < 1e-5);
    // Nowhere does a blend of several draws turn its sign or weaken it.
    let std: Vec<f32> = (once / noise).into_data().try_to_vec().unwrap();
    assert!(std.iter().all(|std| *std > 0.1), "{std:?}");
}

/// A smooth latent that repeats: tiles of whole periods have the statistics of the whole.
fn waves(h: usize, w: usize, period: f32) -> Tensor<4> {
    let at = |i: usize| (i as f32 * std::f32::consts::TAU / period).sin();
    let plane = |c: usize| {
        let places = (0..h).flat_map(move |y| (0..w).map(move |x| (y, x)));
        places.map(move |(y, x)| at(y + c) + at(x + 2 * c))
    };
    let numbers: Vec<f32> = (0..3).flat_map(plane).collect();
    Tensor::<1>::from_data(&numbers[..], &Device::flex()).reshape([1, 3, h, w])
}

/// How far tiles of 64 places are from the whole: the mean in the middle of the first tile, away
/// from its edges, and over all, in standard deviations; and the mean step from pixel to pixel
/// across the seam, beside that of the whole.
fn seams(network: &Autoencoder, overlap: usize) -> [f32; 3] {
    let side = 128 - overlap;
    let z = waves(side, side, 8.0);
    let whole = network.decode(z.clone());
    let tiled = network.decode_tiled(&z, cut(64, overlap), go_on).unwrap();
    let mean = |x: Tensor<4>| x.abs().mean().into_scalar::<f32>();
    let std = whole.clone().var(3).mean().sqrt().into_scalar::<f32>();
    let off = (tiled.clone() - whole.clone()) / std;
    let middle = off.clone().narrow(2, 32, 64).narrow(3, 32, 64);
    // The middle of what two tiles share, at twice the latent's size.
    let jump = |x: Tensor<4>| mean(x.clone().narrow(3, side, 1) - x.narrow(3, side - 1, 1));
    [mean(middle), mean(off), jump(tiled) / jump(whole)]
}

#[test]
fn seams_are_smooth_and_tiles_are_near_the_whole() {
    for network in both_kinds() {
        let [middle, all, jump] = seams(&network, 8);
        // Means and variances of a tile differ by what its edges do to them, and fresh weights
        // make the most of that; without norms tiles are exact (`crate::tiles`).
        assert!(middle < 0.15, "{middle} standard deviations off");
        assert!(all < 0.25, "{all} standard deviations off");
        // Without an overlap the seam shows, by the same measure.
        let [_, worse, bare] = seams(&network, 0);
        assert!(jump < 2.0, "{jump} times the whole's steps");
        assert!((bare - 1.0).abs() > 4.0 * (jump - 1.0).abs() && worse > 1.5 * all);
    }
}

#[test]
fn what_a_plan_is_told_grows_with_the_area_alone() {
    let config = VaeConfig::Kl(KlAutoencoderConfig::released("kl-f8").unwrap());
    let mebibytes = |bytes: u64| bytes >> 20;
    // Stable Diffusion at 512²: 640 channels of 512² at the finest level, and the ends.
    assert_eq!(mebibytes(config.decode_bytes([64, 64])), 688);
    assert_eq!(mebibytes(config.encode_bytes([64, 64])), 432);
    let small = config.decode_bytes([64, 64]) - config.decode_bytes([32, 64]);
    assert_eq!(
        small,
        config.decode_bytes([96, 64]) - config.decode_bytes([64, 64])
    );
    let huge = config.decode_bytes([usize::MAX, usize::MAX]);
    assert_eq!(huge, u64::MAX, "no overflow");
}
