//! The first stages released with the paper (its table 8), by the names of their folders in
//! CompVis/latent-diffusion, `models/first_stage_models/`.

use super::{KlAutoencoderConfig, VqAutoencoderConfig};

/// Name, `ch_mult`, `attn_resolutions`, channels of the latent.
type Levels = (&'static str, &'static [usize], &'static [usize], usize);

const KL: [Levels; 4] = [
    ("kl-f4", &[1, 2, 4], &[], 3),
    ("kl-f8", &[1, 2, 4, 4], &[], 4), // and Stable Diffusion's, SDXL's
    ("kl-f16", &[1, 1, 2, 2, 4], &[16], 16),
    ("kl-f32", &[1, 1, 2, 2, 4, 4], &[16, 8], 64),
];

/// With the number of codes, and whether the coarsest size attends.
const VQ: [(Levels, usize, bool); 5] = [
    (("vq-f4", &[1, 2, 4], &[], 3), 8192, true),
    (("vq-f4-noattn", &[1, 2, 4], &[], 3), 8192, false),
    (("vq-f8", &[1, 2, 2, 4], &[32], 4), 16384, true),
    (("vq-f8-n256", &[1, 2, 2, 4], &[32], 4), 256, true),
    (("vq-f16", &[1, 1, 2, 2, 4], &[16], 8), 16384, true),
];

impl KlAutoencoderConfig {
    /// The names that [`KlAutoencoderConfig::released`] knows.
    pub fn names() -> impl Iterator<Item = &'static str> {
        KL.iter().map(|(name, ..)| *name)
    }

    /// A released autoencoder: `kl-f8`, say.
    pub fn released(name: &str) -> Option<Self> {
        let (_, ch_mult, attn_resolutions, z) = KL.iter().find(|levels| levels.0 == name)?;
        Some(Self {
            in_channels: 3,
            ch: 128,
            ch_mult: ch_mult.to_vec(),
            num_res_blocks: 2,
            attn_resolutions: attn_resolutions.to_vec(),
            resolution: 256,
            z_channels: *z,
            embed_dim: *z,
            groups: 32,
        })
    }
}

impl VqAutoencoderConfig {
    /// The names that [`VqAutoencoderConfig::released`] knows.
    pub fn names() -> impl Iterator<Item = &'static str> {
        VQ.iter().map(|(levels, ..)| levels.0)
    }

    /// A released autoencoder: `vq-f4`, say.
    pub fn released(name: &str) -> Option<Self> {
        let (levels, codes, attention) = VQ.iter().find(|(levels, ..)| levels.0 == name)?;
        let (_, ch_mult, attn_resolutions, z) = levels;
        Some(Self {
            in_channels: 3,
            ch: 128,
            ch_mult: ch_mult.to_vec(),
            num_res_blocks: 2,
            attn_resolutions: attn_resolutions.to_vec(),
            resolution: 256,
            attention: *attention,
            z_channels: *z,
            embed_dim: *z,
            codes: *codes,
            groups: 32,
        })
    }
}
