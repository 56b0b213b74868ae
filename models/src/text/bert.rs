//! The paper's text encoder: a BERT-style transformer over token ids. Rombach et al. 2022
//! (arXiv 2112.10752) appendix E.2.1; the layers are those of the released code.
//!
//! ```text
//! ids ─ tokens ─(+)─ layers × [ layer ] ─ norm_out ─ out
//!   positions ───┘
//! layer   x ─ norm1 ─ attention ─(+)─ norm2 ─ up ─ gelu ─ down ─(+)─
//!         └───────────────────────┘└────────────────────────────┘
//! ```
//!
//! Promises
//! - No mask: padding is attended to like any token, as in training.
//! - The heads' inner width is its own number, whatever the tokens' width.
//!
//! Not here: text to ids (`tokenizer`), the unused projection back to the vocabulary.

use burn::module::Module;
use burn::tensor::{Device, Int, Tensor};
use ldm_kernels as kernels;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::nn::{CrossAttention, Embedding, Init, LayerNorm, Linear};

/// The shape of a text encoder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TextTransformerConfig {
    /// How many token ids there are.
    pub vocab_size: usize,
    /// How many tokens a text has at most.
    pub max_length: usize,
    /// Width of a token.
    pub width: usize,
    /// How many layers.
    pub layers: usize,
    /// Heads of every attention.
    #[serde(default = "heads")]
    pub heads: usize,
    /// Width of a head.
    #[serde(default = "head_width")]
    pub head_width: usize,
}

fn heads() -> usize {
    8
}

fn head_width() -> usize {
    64
}

impl TextTransformerConfig {
    /// Whether the numbers describe a text encoder, and which one does not.
    pub fn check(&self) -> Result<()> {
        let sizes = [
            ("vocab_size", self.vocab_size),
            ("max_length", self.max_length),
            ("width", self.width),
            ("layers", self.layers),
            ("heads", self.heads),
            ("head_width", self.head_width),
        ];
        match sizes
            .into_iter()
            .find(|(_, value)| *value == 0 || *value > 1 << 20)
        {
            Some((field, value)) => {
                let why = format!("{field} is {value}, wanted 1 to {}", 1 << 20);
                Err(Error::config("text encoder", why))
            }
            None => Ok(()),
        }
    }

    /// A fresh text encoder whose parameters are drawn from `seed` when first used.
    pub fn init(&self, device: &Device, seed: u64) -> Result<TextTransformer> {
        self.check()?;
        let init = &mut Init::new("text-transformer", device, seed);
        let std = 0.02; // of both embeddings, as in the released code
        Ok(TextTransformer {
            tokens: Embedding::new(init, self.vocab_size, self.width, std),
            positions: Embedding::new(init, self.max_length, self.width, std),
            layers: (0..self.layers).map(|_| Layer::new(init, self)).collect(),
            norm_out: LayerNorm::new(init, self.width),
        })
    }
}

/// Token ids to a sequence of vectors for cross-attention.
#[derive(Module, Debug)]
pub struct TextTransformer {
    tokens: Embedding,
    positions: Embedding,
    layers: Vec<Layer>,
    norm_out: LayerNorm,
}

impl TextTransformer {
    /// `ids [b, n]`, each below `vocab_size`, n at most `max_length` → `[b, n, width]`
    pub fn forward(&self, ids: Tensor<2, Int>) -> Tensor<3> {
        let [_, n] = ids.dims();
        let places = self.positions.table.val().narrow(0, 0, n); // [n, width]
        let mut x = self.tokens.forward(ids) + places.unsqueeze();
        for layer in &self.layers {
            x = layer.forward(x);
        }
        self.norm_out.forward(x)
    }
}

/// Attention among the tokens, then two linear layers for each.
#[derive(Module, Debug)]
struct Layer {
    norm1: LayerNorm,
    attention: CrossAttention,
    norm2: LayerNorm,
    up: Linear,
    down: Linear,
}

impl Layer {
    fn new(init: &mut Init, config: &TextTransformerConfig) -> Self {
        let (width, heads) = (config.width, config.heads);
        Self {
            norm1: LayerNorm::new(init, width),
            attention: CrossAttention::new(init, width, width, heads, config.head_width),
            norm2: LayerNorm::new(init, width),
            up: Linear::new(init, width, 4 * width),
            down: Linear::new(init, 4 * width, width),
        }
    }

    /// `x [b, n, width]` → the same shape
    fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        let h = self.norm1.forward(x.clone());
        let x = x + self.attention.forward(h.clone(), h);
        let h = self.norm2.forward(x.clone());
        x + self.down.forward(kernels::gelu(self.up.forward(h)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::parameter_count;

    fn tiny() -> TextTransformerConfig {
        TextTransformerConfig {
            vocab_size: 11,
            max_length: 6,
            width: 12,
            layers: 2,
            heads: 3,
            head_width: 5,
        }
    }

    fn run(network: &TextTransformer, ids: &[[i32; 4]; 2]) -> Vec<f32> {
        let ids = Tensor::<2, Int>::from_data(*ids, &Device::flex());
        let out = network.forward(ids);
        assert_eq!(out.dims(), [2, 4, 12]);
        out.into_data().try_to_vec().unwrap()
    }

    #[test]
    fn the_papers_text_encoders_have_the_papers_sizes() {
        // The counts of the paper's systems hold a projection back to the vocabulary,
        // width·vocab + vocab, which this network leaves out.
        for (width, layers, vocab, length, millions) in [
            (1280, 32, 30522, 77, 581.99),
            (640, 32, 30522, 77, 186.15),
            (512, 16, 8192, 92, 58.86),
        ] {
            let config = TextTransformerConfig {
                vocab_size: vocab,
                max_length: length,
                width,
                layers,
                heads: 8,
                head_width: 64,
            };
            let network = config.init(&Device::flex(), 0).unwrap();
            let whole = parameter_count(&network) + width * vocab + vocab;
            let count = whole as f64 / 1e6;
            assert!(
                (count - millions).abs() < 0.006,
                "{width}: {count} M, wanted {millions} M"
            );
        }
    }

    #[test]
    fn every_token_sees_every_other_and_its_own_place() {
        let network = tiny().init(&Device::flex(), 5).unwrap();
        let base = run(&network, &[[1, 2, 3, 0], [3, 2, 1, 0]]);
        let other_end = run(&network, &[[1, 2, 3, 4], [3, 2, 1, 0]]);
        let differs = |token: usize| base[token * 12..][..12] != other_end[token * 12..][..12];
        assert!(
            (0..4).all(differs),
            "a change in the last token reaches all of its text"
        );
        assert!(!(4..8).any(differs), "and no other text");
        assert_ne!(
            base[..12],
            base[6 * 12..][..12],
            "the same token elsewhere is another vector"
        );
    }

    #[test]
    fn a_wrong_number_is_refused_by_its_field() {
        let config = TextTransformerConfig {
            layers: 0,
            ..tiny()
        };
        let said = config.init(&Device::flex(), 0).unwrap_err().to_string();
        assert_eq!(said, "text encoder: layers is 0, wanted 1 to 1048576");
    }
}
