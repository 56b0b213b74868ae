//! Shapes, sizes and the posterior of the autoencoder.

use super::*;
use crate::nn::parameter_count;
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

/// A released configuration: name, `ch_mult`, attention, channels, millions.
type Released = (&'static str, &'static [usize], &'static [usize], usize, f64);

const PAPER: [Released; 4] = [
    ("kl-f4", &[1, 2, 4], &[], 3, 55.31),
    ("kl-f8", &[1, 2, 4, 4], &[], 4, 83.65),
    ("kl-f16", &[1, 1, 2, 2, 4], &[16], 16, 69.61),
    ("kl-f32", &[1, 1, 2, 2, 4, 4], &[16, 8], 64, 103.88),
];

#[test]
fn the_papers_autoencoders_have_the_papers_sizes() {
    for (name, ch_mult, attn_resolutions, z, millions) in PAPER {
        let config = KlAutoencoderConfig {
            ch: 128,
            num_res_blocks: 2,
            resolution: 256,
            z_channels: z,
            embed_dim: z,
            groups: 32,
            ..tiny(ch_mult, attn_resolutions)
        };
        let network = config.init(&Device::flex(), 0).unwrap();
        let count = parameter_count(&network) as f64 / 1e6;
        assert!(
            (count - millions).abs() < 0.006,
            "{name}: {count} M, wanted {millions} M"
        );
        assert_eq!(format!("kl-f{}", config.factor()), name);
    }
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
