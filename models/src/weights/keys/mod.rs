//! What a family of checkpoints calls our parameters, and how it lays them out.
//!
//! A table pairs the layers of a network, one line a layer: our path on the left, the
//! family's on the right. What a layer's parameters are called follows from its kind:
//!
//! | ours | theirs | laid out |
//! |---|---|---|
//! | linear `weight [in, out]` | `weight [out, in]`, or a 1×1 convolution | transposed |
//! | convolution `weight` | `weight` | the same |
//! | norm `gamma`, `beta` | `weight`, `bias` | the same |
//! | embedding `table` | `weight` | the same |
//!
//! Promises
//! - Each parameter comes from one tensor, whole or some of its rows.
//! - A table follows from a configuration alone; it looks into no file.

mod compvis;
mod diffusers;

use std::collections::BTreeMap;

use crate::autoencoder::KlAutoencoderConfig;
use crate::text::TextTransformerConfig;
use crate::unet::UNetConfig;

/// Who named the tensors of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// This project: our own paths and layouts, as `save` writes them.
    Native,
    /// The code released with the paper, and checkpoints that kept its names.
    CompVis,
    /// Hugging Face diffusers: a file for each network.
    Diffusers,
}

/// For each parameter of one network, the tensor it comes from.
#[derive(Debug, Clone)]
pub struct KeyTable {
    prefix: String,
    /// None where names and layouts are our own.
    layers: Option<Layers>,
    /// Beginnings of names that a file may hold and the network has no use for.
    ignored: &'static [&'static str],
}

/// The layers of one network: our path → theirs.
type Layers = BTreeMap<String, Layer>;

/// Where a layer's parameters stand in a checkpoint.
#[derive(Debug, Clone)]
struct Layer {
    key: String,
    rows: Option<Rows>,
}

/// One of q, k and v in a tensor that holds all three: heads first, then the three
/// within each head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Rows {
    heads: usize,
    /// 0 for q, 1 for k, 2 for v.
    part: usize,
}

/// The tensor that a parameter comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// Its name in the file.
    pub key: String,
    /// The shape it should have there, but for ones at the end.
    pub shape: Vec<usize>,
    transposed: bool,
    rows: Option<Rows>,
}

impl Source {
    /// The rows of the tensor's numbers that are the parameter's.
    pub(super) fn picked(&self, numbers: Vec<f32>) -> Vec<f32> {
        match self.rows {
            Some(rows) => rows.of(&numbers, self.shape[0]),
            None => numbers,
        }
    }

    /// Picked numbers in the parameter's layout.
    pub(super) fn turned(&self, numbers: Vec<f32>) -> Vec<f32> {
        if !self.transposed {
            return numbers;
        }
        let columns = self.shape[1];
        transpose(&numbers, numbers.len() / columns, columns)
    }

    /// Whether the file's layout is the parameter's, turned.
    pub(super) fn transposed(&self) -> bool {
        self.transposed
    }
}

/// `numbers [rows, columns]` → `[columns, rows]`
pub(super) fn transpose(numbers: &[f32], rows: usize, columns: usize) -> Vec<f32> {
    (0..numbers.len())
        .map(|i| numbers[(i % rows) * columns + i / rows])
        .collect()
}

impl Rows {
    /// The third of `numbers` that is this part's; `height` rows in all.
    fn of(self, numbers: &[f32], height: usize) -> Vec<f32> {
        let third = numbers.len() / height * (height / self.heads / 3);
        let parts = numbers.chunks_exact(third).skip(self.part).step_by(3);
        parts.flatten().copied().collect()
    }
}

impl KeyTable {
    /// Our own names, for any network.
    pub fn native() -> Self {
        Self {
            prefix: String::new(),
            layers: None,
            ignored: &[],
        }
    }

    /// The names that `family` gives an autoencoder.
    pub fn autoencoder(family: Family, config: &KlAutoencoderConfig) -> Self {
        match family {
            Family::Native => Self::native(),
            Family::CompVis => Self::new(compvis::autoencoder(config), &["loss.", "model_ema."]),
            Family::Diffusers => Self::new(diffusers::autoencoder(config), &[]),
        }
    }

    /// The names that `family` gives a U-Net.
    pub fn unet(family: Family, config: &UNetConfig) -> Self {
        match family {
            Family::Native => Self::native(),
            Family::CompVis => Self::new(compvis::unet(config), &[]),
            Family::Diffusers => Self::new(diffusers::unet(config), &[]),
        }
    }

    /// The names that `family` gives a text encoder.
    pub fn text(family: Family, config: &TextTransformerConfig) -> Self {
        match family {
            Family::Native => Self::native(),
            Family::CompVis => Self::new(compvis::text(config), &["to_logits."]),
            Family::Diffusers => Self::new(diffusers::text(config), &["to_logits."]),
        }
    }

    fn new(names: Names, ignored: &'static [&'static str]) -> Self {
        Self {
            prefix: String::new(),
            layers: Some(names.0),
            ignored,
        }
    }

    /// The same names behind `prefix`, for a file that holds more than this network:
    /// `first_stage_model.`, say. What does not begin with it is another's.
    pub fn under(self, prefix: &str) -> Self {
        Self {
            prefix: prefix.to_owned(),
            ..self
        }
    }

    /// The layers that stand in the file as they do here, q, k and v in one tensor left out:
    /// our path, the family's name without the prefix. None where the names are our own.
    pub fn layers(&self) -> impl Iterator<Item = (&str, &str)> {
        let layers = self.layers.iter().flatten();
        let whole = layers.filter(|(_, layer)| layer.rows.is_none());
        whole.map(|(ours, layer)| (&ours[..], &layer.key[..]))
    }

    /// Where the parameter at `path`, of `shape`, comes from.
    ///
    /// A path the table does not know is looked for under its own name, and so reported
    /// missing by it.
    pub fn source(&self, path: &str, shape: &[usize]) -> Source {
        let known = self.layers.as_ref().and_then(|layers| {
            let (layer, parameter) = path.rsplit_once('.')?;
            Some((layers.get(layer)?, parameter))
        });
        let Some((layer, parameter)) = known else {
            let key = format!("{}{path}", self.prefix);
            return Source {
                key,
                shape: shape.to_vec(),
                transposed: false,
                rows: None,
            };
        };
        let theirs = match parameter {
            "gamma" | "table" => "weight",
            "beta" => "bias",
            same => same,
        };
        let transposed = parameter == "weight" && shape.len() == 2;
        let mut shape = shape.to_vec();
        if transposed {
            shape.reverse();
        }
        if layer.rows.is_some() {
            shape[0] *= 3;
        }
        let key = format!("{}{}.{theirs}", self.prefix, layer.key);
        Source {
            key,
            shape,
            transposed,
            rows: layer.rows,
        }
    }

    /// Whether a tensor called `key` should belong to this network.
    pub(super) fn owns(&self, key: &str) -> bool {
        let inner = key.strip_prefix(&self.prefix[..]);
        inner.is_some_and(|key| !self.ignored.iter().any(|i| key.starts_with(i)))
    }
}

/// A table in the making.
#[derive(Debug, Default)]
struct Names(Layers);

impl Names {
    /// Everything under `ours` here and `theirs` there.
    fn at(&mut self, ours: impl Into<String>, theirs: impl Into<String>) -> Scope<'_> {
        Scope {
            names: self,
            ours: ours.into(),
            theirs: theirs.into(),
        }
    }

    /// Layers at the top: ours, theirs.
    fn layers(&mut self, pairs: &[(&str, &str)]) {
        for (ours, theirs) in pairs {
            self.put((*ours).to_owned(), (*theirs).to_owned(), None);
        }
    }

    fn put(&mut self, ours: String, key: String, rows: Option<Rows>) {
        self.0.insert(ours, Layer { key, rows });
    }
}

/// A part of a network, under its name here and there.
struct Scope<'a> {
    names: &'a mut Names,
    ours: String,
    theirs: String,
}

impl Scope<'_> {
    /// The layers of this part: ours, theirs. One that this configuration lacks does no harm.
    fn layers(&mut self, pairs: &[(&str, &str)]) {
        for (ours, theirs) in pairs {
            let ours = format!("{}.{ours}", self.ours);
            self.names
                .put(ours, format!("{}.{theirs}", self.theirs), None);
        }
    }

    /// q, k and v of this part, which `theirs` holds in one tensor.
    fn qkv(&mut self, theirs: &str, heads: usize) {
        for (part, ours) in ["q", "k", "v"].into_iter().enumerate() {
            let ours = format!("{}.{ours}", self.ours);
            let rows = Some(Rows { heads, part });
            self.names
                .put(ours, format!("{}.{theirs}", self.theirs), rows);
        }
    }
}

/// The layers of a transformer inside a U-Net, which both families name alike.
fn transformer(names: &mut Names, ours: &str, theirs: &str, depth: usize) {
    names.at(ours, theirs).layers(&[
        ("norm", "norm"),
        ("proj_in", "proj_in"),
        ("proj_out", "proj_out"),
    ]);
    for i in 0..depth {
        let theirs = format!("{theirs}.transformer_blocks.{i}");
        names.at(format!("{ours}.blocks.{i}"), theirs).layers(&[
            ("norm1", "norm1"),
            ("attn1.q", "attn1.to_q"),
            ("attn1.k", "attn1.to_k"),
            ("attn1.v", "attn1.to_v"),
            ("attn1.out", "attn1.to_out.0"),
            ("norm2", "norm2"),
            ("attn2.q", "attn2.to_q"),
            ("attn2.k", "attn2.to_k"),
            ("attn2.v", "attn2.to_v"),
            ("attn2.out", "attn2.to_out.0"),
            ("norm3", "norm3"),
            ("feed.proj", "ff.net.0.proj"),
            ("feed.out", "ff.net.2"),
        ]);
    }
}
