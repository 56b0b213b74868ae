//! The text half of CLIP. Radford et al. 2021 (arXiv 2103.00020) section 2.4, as OpenAI and
//! OpenCLIP (Cherti et al. 2022, arXiv 2212.07143) released it.
//!
//! ```text
//! ids ─ tokens ─(+)─ layer ─ layer ─ … ─ layer ─ norm_out ─ at the end ─ projection ─ pooled
//!   positions ───┘          any of these, ────── norm_out or not ─────────────────── tokens
//! layer   x ─ norm1 ─ attention ─(+)─ norm2 ─ up ─ gelu ─ down ─(+)─
//!         └───────────────────────┘└────────────────────────────┘
//! ```
//!
//! Promises
//! - A token sees itself and what stands before it; padding is a token like any other.
//! - The pooled vector is taken after the last layer and the norm, whichever layer the tokens
//!   are taken from.
//!
//! Not here: text to ids (`tokenizer`), CLIP's half for pictures, L2-normalised vectors.

use burn::module::Module;
use burn::tensor::{Device, Int, Tensor};
use ldm_kernels as kernels;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::nn::{CausalAttention, Embedding, Init, LayerNorm, Linear};

/// The shape of a text transformer of CLIP, and what a denoiser takes of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClipConfig {
    /// How many token ids there are.
    pub vocab_size: usize,
    /// How many tokens go through at once.
    pub max_length: usize,
    /// Width of a token.
    pub width: usize,
    /// How many layers.
    pub layers: usize,
    /// Heads of every attention; they divide the width.
    pub heads: usize,
    /// Inner width of the two linear layers.
    pub feed: usize,
    /// What stands between them.
    pub activation: Activation,
    /// Width of the pooled vector, where the model learned a projection to it.
    #[serde(default)]
    pub projection: Option<usize>,
    /// The id that fills a text up; OpenAI's models repeat the end, OpenCLIP's take 0.
    pub pad: u32,
    /// The id that ends a text, whose first place is pooled. Left out: the place of the largest
    /// id, as transformers does for models whose `eos_token_id` says 2.
    #[serde(default)]
    pub end: Option<u32>,
    /// The layer whose output the tokens are, counted from the end: 1 is the last.
    #[serde(default = "one")]
    pub layer: usize,
    /// Whether the tokens pass the last norm.
    #[serde(default = "yes")]
    pub norm: bool,
}

fn one() -> usize {
    1
}

fn yes() -> bool {
    true
}

/// The bend between a layer's two linear maps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Activation {
    /// x · σ(1.702 x): OpenAI's.
    QuickGelu,
    /// x · Φ(x): OpenCLIP's.
    Gelu,
}

impl ClipConfig {
    /// OpenAI's ViT-L/14 as Stable Diffusion 1 reads it; 123.06 M parameters.
    pub fn vit_l() -> Self {
        Self {
            activation: Activation::QuickGelu,
            pad: 49407,
            ..Self::of(768, 12)
        }
    }

    /// OpenCLIP's ViT-H/14 as Stable Diffusion 2 reads it: the layer before the last, normed.
    pub fn vit_h() -> Self {
        Self {
            layer: 2,
            ..Self::of(1024, 24)
        }
    }

    /// OpenCLIP's ViT-bigG/14 as Stable Diffusion XL reads it: the layer before the last, bare,
    /// and the projected vector.
    pub fn big_g() -> Self {
        Self {
            projection: Some(1280),
            layer: 2,
            norm: false,
            ..Self::of(1280, 32)
        }
    }

    /// The same network as Stable Diffusion XL reads it: the layer before the last, bare.
    #[must_use]
    pub fn for_xl(self) -> Self {
        Self {
            layer: 2,
            norm: false,
            ..self
        }
    }

    /// OpenCLIP's choices around a transformer of this width.
    fn of(width: usize, layers: usize) -> Self {
        Self {
            vocab_size: 49408,
            max_length: 77,
            width,
            layers,
            heads: width / 64,
            feed: 4 * width,
            activation: Activation::Gelu,
            projection: None,
            pad: 0,
            end: Some(49407),
            layer: 1,
            norm: true,
        }
    }

    /// Whether the numbers describe a text transformer, and which one does not.
    pub fn check(&self) -> Result<()> {
        let sizes = [
            ("vocab_size", self.vocab_size),
            ("max_length", self.max_length),
            ("width", self.width),
            ("layers", self.layers),
            ("heads", self.heads),
            ("feed", self.feed),
            ("projection", self.projection.unwrap_or(1)),
        ];
        let refused = |why: String| Err(Error::config("text encoder", why));
        let most = 1 << 20;
        if let Some((field, value)) = sizes.into_iter().find(|(_, n)| *n == 0 || *n > most) {
            return refused(format!("{field} is {value}, wanted 1 to {most}"));
        }
        let (width, heads, ids) = (self.width, self.heads, self.vocab_size);
        if !width.is_multiple_of(heads) {
            return refused(format!("{heads} heads do not divide the width {width}"));
        }
        let last = self.pad.max(self.end.unwrap_or(0));
        if last as usize >= ids {
            return refused(format!(
                "pad or end is {last}, wanted below vocab_size, {ids}"
            ));
        }
        self.check_layer(self.layer)
    }

    /// Whether there is a layer `layer` counted from the end.
    pub fn check_layer(&self, layer: usize) -> Result<()> {
        if (1..=self.layers).contains(&layer) {
            return Ok(());
        }
        let why = format!(
            "layer {layer} from the end was asked for, wanted 1 to {}",
            self.layers
        );
        Err(Error::config("text encoder", why))
    }

    /// Where a row of ids ends, which is what is pooled. What is no id (a learned vector)
    /// counts as 0. An end that does not occur is the first place, as in transformers.
    pub fn end_of(&self, ids: impl IntoIterator<Item = u32>) -> usize {
        let mut best = (0, 0);
        for (place, id) in ids.into_iter().enumerate() {
            match self.end {
                Some(end) if id == end => return place,
                None if id > best.1 => best = (place, id),
                _ => {}
            }
        }
        best.0
    }

    /// A fresh text transformer whose parameters are drawn from `seed` when first used.
    pub fn init(&self, device: &Device, seed: u64) -> Result<ClipText> {
        self.check()?;
        let init = &mut Init::new("clip-text", device, seed);
        let width = self.width;
        Ok(ClipText {
            // The deviations of OpenAI's code.
            tokens: Embedding::new(init, self.vocab_size, width, 0.02),
            positions: Embedding::new(init, self.max_length, width, 0.01),
            layers: (0..self.layers).map(|_| Layer::new(init, self)).collect(),
            norm_out: LayerNorm::new(init, width),
            projection: self
                .projection
                .map(|to| Linear::without_bias(init, width, to)),
        })
    }
}

/// Tokens to tokens that know what stands before them, and one vector for the whole.
#[derive(Module, Debug)]
pub struct ClipText {
    tokens: Embedding,
    positions: Embedding,
    layers: Vec<Layer>,
    norm_out: LayerNorm,
    projection: Option<Linear>,
}

impl ClipText {
    /// Vectors of tokens, not yet placed: `ids [b, n]`, each below `vocab_size` → `[b, n, width]`
    pub fn embed(&self, ids: Tensor<2, Int>) -> Tensor<3> {
        self.tokens.forward(ids)
    }

    /// What stands before each layer, and last what stands after all: `[b, n, width]` each.
    ///
    /// `tokens [b, n, width]` is what [`ClipText::embed`] gave, n at most `max_length`, with
    /// learned vectors in their places.
    pub fn states(&self, tokens: Tensor<3>) -> Vec<Tensor<3>> {
        let [_, n, _] = tokens.dims();
        let places = self.positions.table.val().narrow(0, 0, n); // [n, width]
        let mut x = tokens + places.unsqueeze();
        let mut states = vec![x.clone()];
        for layer in &self.layers {
            x = layer.forward(x);
            states.push(x.clone());
        }
        states
    }

    /// The last norm. `x [b, n, width]` → the same shape
    pub fn norm(&self, x: Tensor<3>) -> Tensor<3> {
        self.norm_out.forward(x)
    }

    /// One vector a text: what stands at `ends` (a place for each row) of `last [b, n, width]`,
    /// the state after all layers, under the norm and projected → `[b, projection or width]`
    pub fn pooled(&self, last: Tensor<3>, ends: &[usize]) -> Tensor<2> {
        let [_, _, width] = last.dims();
        let rows = ends.iter().enumerate().map(|(row, end)| {
            let one = last.clone().narrow(0, row, 1).narrow(1, *end, 1);
            one.reshape([1, width])
        });
        let ends = self.norm_out.forward(Tensor::cat(rows.collect(), 0));
        match &self.projection {
            Some(projection) => projection.forward(ends),
            None => ends,
        }
    }
}

/// Attention among the tokens, then two linear layers for each.
#[derive(Module, Debug)]
struct Layer {
    norm1: LayerNorm,
    attention: CausalAttention,
    norm2: LayerNorm,
    up: Linear,
    down: Linear,
    quick: bool,
}

impl Layer {
    fn new(init: &mut Init, config: &ClipConfig) -> Self {
        let width = config.width;
        Self {
            norm1: LayerNorm::new(init, width),
            attention: CausalAttention::new(init, width, config.heads),
            norm2: LayerNorm::new(init, width),
            up: Linear::new(init, width, config.feed),
            down: Linear::new(init, config.feed, width),
            quick: config.activation == Activation::QuickGelu,
        }
    }

    /// `x [b, n, width]` → the same shape
    fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        let x = x.clone() + self.attention.forward(self.norm1.forward(x));
        let h = self.up.forward(self.norm2.forward(x.clone()));
        let h = if self.quick {
            quick_gelu(h)
        } else {
            kernels::gelu(h)
        };
        x + self.down.forward(h)
    }
}

/// `x · σ(1.702 x)`, which is a stretched SiLU.
fn quick_gelu(x: Tensor<3>) -> Tensor<3> {
    let stretch = 1.702;
    kernels::silu(x * stretch) / stretch
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tiny() -> ClipConfig {
        ClipConfig {
            vocab_size: 11,
            max_length: 6,
            heads: 2,
            pad: 9,
            end: Some(10),
            ..ClipConfig::of(8, 2)
        }
    }

    #[test]
    fn a_token_is_changed_by_what_stands_before_it_only() {
        let network = tiny().init(&Device::flex(), 5).unwrap();
        let run = |ids: [[i32; 4]; 1]| -> Vec<f32> {
            let ids = Tensor::<2, Int>::from_data(ids, &Device::flex());
            let states = network.states(network.embed(ids));
            states[2].clone().into_data().try_to_vec().unwrap()
        };
        let (base, other) = (run([[1, 2, 3, 4]]), run([[1, 2, 5, 4]]));
        let same = |token: usize| base[token * 8..][..8] == other[token * 8..][..8];
        assert!(same(0) && same(1), "what comes later is not seen");
        assert!(!same(2) && !same(3), "what came before is");
    }

    #[test]
    fn the_end_is_the_first_end_or_the_largest_id() {
        let config = tiny();
        assert_eq!(config.end_of([1, 10, 3, 10]), 1);
        assert_eq!(
            config.end_of([1, 2, 3]),
            0,
            "as argmax over nothing but zeros"
        );
        let legacy = ClipConfig {
            end: None,
            ..tiny()
        };
        assert_eq!(legacy.end_of([1, 7, 9, 9]), 2);
    }

    #[test]
    fn a_wrong_number_is_refused_by_its_field() {
        let said = |config: ClipConfig| config.check().unwrap_err().to_string();
        let heads = ClipConfig { heads: 3, ..tiny() };
        assert!(said(heads).ends_with("3 heads do not divide the width 8"));
        let layer = ClipConfig { layer: 3, ..tiny() };
        assert!(said(layer).ends_with("layer 3 from the end was asked for, wanted 1 to 2"));
        let pad = ClipConfig { pad: 11, ..tiny() };
        assert!(said(pad).ends_with("pad or end is 11, wanted below vocab_size, 11"));
        let feed = ClipConfig { feed: 0, ..tiny() };
        assert!(said(feed).contains("feed is 0"));
    }
}
