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
//! OpenCLIP keeps some parameters without a layer around them ([`Naming`]).
//!
//! Promises
//! - Each parameter comes from one tensor, whole or some of its rows.
//! - A table follows from a configuration alone; it looks into no file.

mod compvis;
mod control;
mod diffusers;
mod upscale;

use std::collections::BTreeMap;

use super::file::View;
use crate::autoencoder::VaeConfig;
use crate::control::ControlConfig;
use crate::text::{Activation, ClipConfig, TextConfig, TextTransformerConfig};
use crate::unet::UNetConfig;
use crate::upscale::{self as upscalers, UpscaleConfig};

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

/// Who named the tensors of a text transformer of CLIP: files of one family hold several.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClipNames {
    /// transformers' `CLIPTextModel`: `text_model.encoder.layers.…`, and `text_projection.weight`.
    Transformers,
    /// The same without `text_model.`, as newer versions of transformers write.
    Flat,
    /// OpenCLIP: `transformer.resblocks.…`, q, k and v in one tensor.
    OpenClip,
}

/// For each parameter of one network, the tensor it comes from.
#[derive(Debug, Clone)]
pub struct KeyTable {
    prefix: String,
    /// None where names and layouts are our own.
    layers: Option<Layers>,
    /// Beginnings of names that a file may hold and the network has no use for.
    ignored: &'static [&'static str],
    /// The tables of networks within this one, by our names for them.
    parts: Vec<(&'static str, KeyTable)>,
}

/// The layers of one network: our path → theirs.
type Layers = BTreeMap<String, Layer>;

/// Where a layer's parameters stand in a checkpoint.
#[derive(Debug, Clone)]
struct Layer {
    key: String,
    rows: Option<Rows>,
    naming: Naming,
}

/// How the names of a layer's parameters follow from its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Naming {
    /// `key.weight`, `key.bias`.
    Dotted,
    /// `key_weight`, `key_bias`.
    Joined,
    /// The one parameter is called `key`, and laid out as ours is.
    Bare,
}

/// One of q, k and v in a tensor that holds all three: heads first, then the three
/// within each head. With one head that is three thirds.
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
    /// Of the tensor at `view`, what is the parameter's, in the layout of the file.
    pub(super) fn picked(&self, view: &View) -> View {
        let strides = view.strides.iter().copied().chain(std::iter::repeat(1));
        let mut picked = View {
            strides: strides.take(self.shape.len()).collect(),
            shape: self.shape.clone(),
            ..view.clone()
        };
        if let Some(rows) = self.rows {
            rows.pick(&mut picked);
        }
        picked
    }

    /// The same in the parameter's layout.
    pub(super) fn turned(&self, view: &View) -> View {
        let mut picked = self.picked(view);
        if self.transposed {
            picked.shape.rotate_right(1);
            picked.strides.rotate_right(1);
        }
        picked
    }

    /// Whether the file's layout is the parameter's, turned.
    pub(super) fn transposed(&self) -> bool {
        self.transposed
    }
}

impl Rows {
    /// Leaves this part's third: the first axis becomes two, heads and rows of a head.
    fn pick(self, view: &mut View) {
        let each = view.shape[0] / self.heads / 3;
        let row = view.strides[0];
        view.shape.splice(..1, [self.heads, each]);
        view.strides.splice(..1, [3 * each * row, row]);
        view.start += self.part * each * row * view.dtype.bitsize() / 8;
    }
}

/// What tells of a U-Net that stands alone how it was trained (`detect`).
const UNET_MARKS: &[&str] = &["v_pred", "ztsnr"];

impl KeyTable {
    /// Our own names, for any network.
    pub fn native() -> Self {
        Self {
            prefix: String::new(),
            layers: None,
            ignored: &[],
            parts: Vec::new(),
        }
    }

    /// The names that `family` gives an autoencoder.
    pub fn autoencoder(family: Family, config: &VaeConfig) -> Self {
        let shape = config.shape();
        match family {
            Family::Native => Self::native(),
            Family::CompVis => Self::new(
                compvis::autoencoder(&shape),
                &["loss.", "model_ema.", "quantize.used"],
            ),
            Family::Diffusers => Self::new(diffusers::autoencoder(&shape), &[]),
        }
    }

    /// The names that `family` gives a U-Net.
    pub fn unet(family: Family, config: &UNetConfig) -> Self {
        match family {
            Family::Native => Self::native(),
            Family::CompVis => Self::new(compvis::unet(config), UNET_MARKS),
            Family::Diffusers => Self::new(diffusers::unet(config), UNET_MARKS),
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

    /// The names that `names` says of a text transformer of CLIP.
    pub fn clip(names: ClipNames, config: &ClipConfig) -> Self {
        match names {
            ClipNames::Transformers => Self::new(
                diffusers::clip(config, "text_model."),
                diffusers::CLIP_IGNORED,
            ),
            ClipNames::Flat => Self::new(diffusers::clip(config, ""), diffusers::CLIP_IGNORED),
            ClipNames::OpenClip => Self::new(
                compvis::open_clip(config),
                match config.projection {
                    Some(_) => &["logit_scale", "attn_mask"],
                    None => &["logit_scale", "attn_mask", "text_projection"],
                },
            ),
        }
    }

    /// The names that `family` gives any text encoder.
    ///
    /// In the single files of [`Family::CompVis`] OpenAI's CLIP stands as transformers names it,
    /// under `transformer.text_model.`, and OpenCLIP's as its own code does, under `model.`; the
    /// two of Stable Diffusion XL are `0.` and `1.` before that. In a folder of
    /// [`Family::Diffusers`] those two are files of their own, told apart here by the names of
    /// their folders: `text_encoder.` and `text_encoder_2.`.
    pub fn text_encoder(family: Family, config: &TextConfig) -> Self {
        let single = |config: &ClipConfig| match (family, config.activation) {
            (Family::Native, _) => Self::native(),
            (Family::Diffusers, _) => Self::clip(ClipNames::Transformers, config),
            (_, Activation::QuickGelu) => {
                Self::clip(ClipNames::Transformers, config).under("transformer.")
            }
            (_, Activation::Gelu) => Self::clip(ClipNames::OpenClip, config).under("model."),
        };
        match config {
            TextConfig::Bert(config) => Self::text(family, config),
            TextConfig::Clip(config) => single(config),
            TextConfig::TwoClips { first, second } => {
                let (one, two) = match family {
                    Family::Native => ("first.", "second."),
                    Family::CompVis => ("0.", "1."),
                    Family::Diffusers => ("text_encoder.", "text_encoder_2."),
                };
                Self::two(single(first).under(one), single(second).under(two))
            }
        }
    }

    /// The names of two text transformers of CLIP, each of which `under` or
    /// [`KeyTable::text_encoder`] set behind a prefix of its own.
    pub fn two(first: Self, second: Self) -> Self {
        Self {
            parts: vec![("first.", first), ("second.", second)],
            ..Self::native()
        }
    }

    /// The names that `family` gives a ControlNet or a T2I-Adapter, `CompVis` standing for the
    /// released code of either.
    pub fn control(family: Family, config: &ControlConfig) -> Self {
        match (family, config) {
            (Family::Native, _) => Self::native(),
            (_, ControlConfig::Net(config)) => Self::new(control::net(family, config), &[]),
            (_, ControlConfig::Adapter(config)) => Self::new(control::adapter(family, config), &[]),
        }
    }

    /// The names that an upscaler's file was recognised by.
    pub fn upscaler(naming: &upscalers::Naming, config: &UpscaleConfig) -> Self {
        let names = match config {
            UpscaleConfig::Rrdb(config) => upscale::rrdb(config, naming.style),
            UpscaleConfig::Compact(config) => upscale::compact(config),
        };
        Self::new(names, &[]).under(&naming.prefix)
    }

    /// The names that `family` gives a class embedder; diffusers has no such network.
    pub fn class_embedder(family: Family) -> Self {
        Self::of_one(family, &[("classes", "embedding")])
    }

    /// The names that `family` gives a spatial rescaler; diffusers has no such network.
    pub fn spatial_rescaler(family: Family) -> Self {
        Self::of_one(family, &[("project", "channel_mapper")])
    }

    fn of_one(family: Family, layers: &[(&str, &str)]) -> Self {
        if family == Family::Native {
            return Self::native();
        }
        let mut names = Names::default();
        names.layers(layers);
        Self::new(names, &[])
    }

    fn new(names: Names, ignored: &'static [&'static str]) -> Self {
        Self {
            prefix: String::new(),
            layers: Some(names.0),
            ignored,
            parts: Vec::new(),
        }
    }

    /// The same names behind `prefix`, and behind what was set before them already, for a
    /// file that holds more than this network: `first_stage_model.`, say. What does not begin
    /// with it is another's.
    pub fn under(self, prefix: &str) -> Self {
        Self {
            prefix: prefix.to_owned() + &self.prefix,
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

    /// The networks it is a table of, in order, each with what our paths begin with there.
    pub fn networks(&self) -> Vec<(&str, &Self)> {
        match &self.parts[..] {
            [] => vec![("", self)],
            parts => parts.iter().map(|(ours, table)| (*ours, table)).collect(),
        }
    }

    /// Where the parameter at `path`, of `shape`, comes from.
    ///
    /// A path the table does not know is looked for under its own name, and so reported
    /// missing by it.
    pub fn source(&self, path: &str, shape: &[usize]) -> Source {
        let part = self.parts.iter().find_map(|(ours, table)| {
            let inner = path.strip_prefix(ours)?;
            Some(table.source(inner, shape))
        });
        if let Some(source) = part {
            let key = self.prefix.clone() + &source.key;
            return Source { key, ..source };
        }
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
        let bare = layer.naming == Naming::Bare;
        let transposed = parameter == "weight" && shape.len() == 2 && !bare;
        let mut shape = shape.to_vec();
        if transposed {
            shape.reverse();
        }
        if layer.rows.is_some() {
            shape[0] *= 3;
        }
        let inner = match layer.naming {
            Naming::Dotted => format!("{}.{theirs}", layer.key),
            Naming::Joined => format!("{}_{theirs}", layer.key),
            Naming::Bare => layer.key.clone(),
        };
        let key = format!("{}{inner}", self.prefix);
        Source {
            key,
            shape,
            transposed,
            rows: layer.rows,
        }
    }

    /// Whether a tensor called `key` should belong to this network.
    pub(super) fn owns(&self, key: &str) -> bool {
        let Some(inner) = key.strip_prefix(&self.prefix[..]) else {
            return false;
        };
        if !self.parts.is_empty() {
            return self.parts.iter().any(|(_, table)| table.owns(inner));
        }
        !self.ignored.iter().any(|i| inner.starts_with(i))
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

    /// Single parameters at the top, laid out as ours: our layer, their name.
    fn bare(&mut self, pairs: &[(&str, &str)]) {
        for (ours, theirs) in pairs {
            let layer = Layer {
                key: (*theirs).to_owned(),
                rows: None,
                naming: Naming::Bare,
            };
            self.0.insert((*ours).to_owned(), layer);
        }
    }

    fn put(&mut self, ours: String, key: String, rows: Option<Rows>) {
        let naming = Naming::Dotted;
        self.0.insert(ours, Layer { key, rows, naming });
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

    /// The same, by the thirds of one tensor called `theirs_weight`.
    fn thirds(&mut self, theirs: &str) {
        for (part, ours) in ["q", "k", "v"].into_iter().enumerate() {
            let layer = Layer {
                key: format!("{}.{theirs}", self.theirs),
                rows: Some(Rows { heads: 1, part }),
                naming: Naming::Joined,
            };
            self.names.0.insert(format!("{}.{ours}", self.ours), layer);
        }
    }
}

/// What stands between an autoencoder's halves, which both families name alike.
const QUANTISATION: &[(&str, &str)] = &[
    ("quant", "quant_conv"),
    ("codebook", "quantize.embedding"),
    ("post_quant", "post_quant_conv"),
];

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
