//! Which network a file holds, from the names and shapes of its tensors.

use super::config::{AdapterConfig, AdapterKind, ControlConfig, ControlNetConfig, Place};
use crate::error::{Error, Result};
use crate::unet::{Heads, LabelConfig, UNetConfig};
use crate::weights::detect::{NetworkJson, foreign};
use crate::weights::{Family, TensorFile};

/// A network and how a file calls its tensors.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recognised {
    /// The network.
    pub config: ControlConfig,
    /// Who named the tensors; `CompVis` stands for the released code of either kind.
    pub family: Family,
    /// What all names begin with.
    pub prefix: String,
}

/// The network that `file` holds; `json` is the `config.json` beside it.
///
/// # Errors
/// The file holds no network of these kinds, or one that makes no sense, or the configuration
/// is of another network or asks for what is not computed here.
pub fn recognise(file: &TensorFile, json: Option<&NetworkJson>) -> Result<Recognised> {
    if let Some(what) = foreign(file) {
        return Err(Error::wrong_file(file.path(), format!("is {what}")));
    }
    let found = layouts().into_iter().find_map(|(kind, family, prefix)| {
        let reader = Reader { file, prefix };
        let config = match kind {
            Kind::Net => reader.net(family).map(ControlConfig::Net),
            Kind::Adapter => reader.adapter(family).map(ControlConfig::Adapter),
        };
        let prefix = prefix.to_owned();
        config.map(|config| Recognised {
            config,
            family,
            prefix,
        })
    });
    let mut found = found.ok_or_else(|| unknown(file))?;
    if let Some(json) = json {
        let wrong = |what| Error::wrong_file(file.path(), format!("has a config.json that {what}"));
        told(&mut found.config, json).map_err(wrong)?;
    }
    let unsound = |e| Error::file(file.path(), "holds no sound ControlNet or T2I-Adapter", e);
    found.config.check().map_err(unsound)?;
    Ok(found)
}

/// Takes from a `config.json` what shapes do not show.
fn told(config: &mut ControlConfig, json: &NetworkJson) -> Result<(), String> {
    match config {
        ControlConfig::Net(net) => {
            json.is_of(&["ControlNetModel"])?;
            json.agrees("conditioning_channels", net.hint_channels)?;
            json.agrees("conditioning_embedding_out_channels", &net.hint_widths[..])?;
            net.pooled = json.pooled;
            json.complete(&mut net.unet)
        }
        ControlConfig::Adapter(adapter) => {
            json.is_of(&["T2IAdapter"])?;
            json.agrees("in_channels", adapter.in_channels)?;
            // The small network has a level more than it says, as wide as the last.
            let last = adapter.channels.len() - usize::from(adapter.kind == AdapterKind::Light);
            json.agrees("channels", &adapter.channels[..last])?;
            json.agrees("num_res_blocks", adapter.blocks)?;
            json.agrees("downscale_factor", adapter.unshuffle)
        }
    }
}

enum Kind {
    Net,
    Adapter,
}

/// Where each kind has been seen.
fn layouts() -> [(Kind, Family, &'static str); 7] {
    [
        (Kind::Net, Family::CompVis, "control_model."),
        (Kind::Net, Family::CompVis, ""),
        (Kind::Net, Family::Diffusers, ""),
        (Kind::Adapter, Family::Diffusers, "adapter."),
        (Kind::Adapter, Family::Diffusers, ""),
        (Kind::Adapter, Family::CompVis, "adapter."),
        (Kind::Adapter, Family::CompVis, ""),
    ]
}

fn unknown(file: &TensorFile) -> Error {
    let first = file.names().into_iter().next();
    let found = first.map_or_else(
        || "no tensor at all".to_owned(),
        |name| format!("`{name}` and others"),
    );
    let what = format!(
        "is no ControlNet or T2I-Adapter: found {found}, wanted `input_hint_block.0.weight`, \
         `controlnet_cond_embedding.conv_in.weight` or `body.0.block1.weight` among them; \
         use a file that holds one"
    );
    Error::wrong_file(file.path(), what)
}

/// A file whose names begin with `prefix`.
struct Reader<'a> {
    file: &'a TensorFile,
    prefix: &'a str,
}

/// One residual block: its width, and where its attention would stand.
type BlockFound = (usize, String);

impl Reader<'_> {
    fn shape(&self, layer: &str) -> Option<&[usize]> {
        self.file.shape(&format!("{}{layer}.weight", self.prefix))
    }

    /// Numbers that go into a layer, and that come out.
    fn sizes(&self, layer: &str) -> Option<(usize, usize)> {
        match self.shape(layer)? {
            [to, from, ..] => Some((*from, *to)),
            _ => None,
        }
    }

    /// How many of `name(0)`, `name(1)`, … there are.
    fn count(&self, name: impl Fn(usize) -> String) -> usize {
        let there = |i: &usize| self.shape(&name(*i)).is_some();
        (0..).take_while(there).count()
    }

    // ---- ControlNets

    fn net(&self, family: Family) -> Option<ControlNetConfig> {
        let (hint_channels, hint_widths) = self.hint(family)?;
        let config = ControlNetConfig {
            unet: self.half(family)?,
            hint_channels,
            hint_widths,
            pooled: false,
        };
        Some(config)
    }

    /// Channels and widths of the hint's own network.
    fn hint(&self, family: Family) -> Option<(usize, Vec<usize>)> {
        let name = |i: usize| match (family, i) {
            (Family::CompVis, i) => format!("input_hint_block.{}", 2 * i),
            (_, 0) => "controlnet_cond_embedding.conv_in".to_owned(),
            (_, i) => format!("controlnet_cond_embedding.blocks.{}", i - 1),
        };
        let (channels, _) = self.sizes(&name(0))?;
        // Every second one changes the width; CompVis numbers the last convolution too.
        let last = self.count(name) - usize::from(family == Family::CompVis);
        let widths = (0..last).step_by(2).map(|i| Some(self.sizes(&name(i))?.1));
        Some((channels, widths.collect::<Option<_>>()?))
    }

    fn half(&self, family: Family) -> Option<UNetConfig> {
        let compvis = family == Family::CompVis;
        let (conv_in, middle, label) = match compvis {
            true => ("input_blocks.0.0", "middle_block.1", "label_emb.0.0"),
            false => (
                "conv_in",
                "mid_block.attentions.0",
                "add_embedding.linear_1",
            ),
        };
        let levels = match compvis {
            true => self.levels_of_compvis(),
            false => self.levels_of_diffusers(),
        };
        let (in_channels, model_channels) = self.sizes(conv_in)?;
        let num_res_blocks = levels.first()?.len();
        if levels.iter().any(|level| level.len() != num_res_blocks) {
            return None;
        }
        let widths: Vec<usize> = levels.iter().map(|level| level[0].0).collect();
        let depths = levels.iter().map(|level| self.depth(&level[0].1));
        let depths: Vec<usize> = depths.collect();
        let attending = depths.iter().enumerate().filter(|(_, depth)| **depth > 0);
        let attention_resolutions = attending.map(|(level, _)| 1 << level).collect();
        let context = format!("{middle}.transformer_blocks.0.attn2.to_k");
        Some(UNetConfig {
            in_channels,
            out_channels: in_channels,
            model_channels,
            channel_mult: widths.iter().map(|w| w / model_channels).collect(),
            num_res_blocks,
            attention_resolutions,
            heads: self.heads(middle),
            context_dim: self.sizes(&context).map(|(width, _)| width),
            transformer_depth: depths,
            middle_depth: Some(self.depth(middle)),
            label: self.sizes(label).map(|(n, _)| LabelConfig::Vector(n)),
            scale_shift: false,
            resblock_updown: false,
            groups: 32,
        })
    }

    /// Blocks of a transformer.
    fn depth(&self, attention: &str) -> usize {
        self.count(|i| format!("{attention}.transformer_blocks.{i}.attn1.to_q"))
    }

    /// What the released models have: Stable Diffusion 1 eight heads at every width, and
    /// convolutions around its transformers; later ones heads of 64, and linear layers.
    fn heads(&self, attention: &str) -> Heads {
        match self.shape(&format!("{attention}.proj_in")) {
            Some([_, _]) => Heads::Width(64),
            _ => Heads::Count(8),
        }
    }

    /// One list of blocks, in which halving counts as a block of its own.
    fn levels_of_compvis(&self) -> Vec<Vec<BlockFound>> {
        let mut levels = vec![Vec::new()];
        for i in 1.. {
            let block = self.sizes(&format!("input_blocks.{i}.0.in_layers.2"));
            let halving = self.shape(&format!("input_blocks.{i}.0.op"));
            match (block, levels.last_mut()) {
                (Some((_, width)), Some(level)) => {
                    level.push((width, format!("input_blocks.{i}.1")))
                }
                _ if halving.is_some() => levels.push(Vec::new()),
                _ => break,
            }
        }
        levels
    }

    fn levels_of_diffusers(&self) -> Vec<Vec<BlockFound>> {
        let level = |level: usize| {
            let at = format!("down_blocks.{level}");
            let blocks = (0..).map_while(|i| {
                let (_, width) = self.sizes(&format!("{at}.resnets.{i}.conv1"))?;
                Some((width, format!("{at}.attentions.{i}")))
            });
            let blocks: Vec<BlockFound> = blocks.collect();
            (!blocks.is_empty()).then_some(blocks)
        };
        (0..).map_while(level).collect()
    }

    // ---- T2I-Adapters

    fn adapter(&self, family: Family) -> Option<AdapterConfig> {
        let kind = match self.shape("conv_in") {
            Some(_) => AdapterKind::Full,
            None => AdapterKind::Light,
        };
        // The released code has one list of all levels' blocks in the large network.
        let flat = family == Family::CompVis && kind == AdapterKind::Full;
        let inner = if family == Family::CompVis {
            "body"
        } else {
            "resnets"
        };
        let block = |level: usize, block: usize| match flat {
            true => format!("body.{}.block1", level * FLAT_BLOCKS + block),
            false => format!("body.{level}.{inner}.{block}.block1"),
        };
        let levels = self.count(|level| block(level, 0));
        if levels == 0 {
            return None;
        }
        let width = |level: usize| match kind {
            AdapterKind::Full => self.sizes(&block(level, 0)),
            AdapterKind::Light => self.sizes(&format!("body.{level}.out_conv")),
        };
        let channels = (0..levels).map(|level| Some(width(level)?.1));
        let channels: Vec<usize> = channels.collect::<Option<_>>()?;
        let (pixels, _) = match kind {
            AdapterKind::Full => self.sizes("conv_in")?,
            AdapterKind::Light => self.sizes("body.0.in_conv")?,
        };
        // A picture's squares of 8 or of 16 pixels: SD 1's, and SDXL's.
        let (in_channels, unshuffle) = [(3, 8), (1, 8), (3, 16), (1, 16)]
            .into_iter()
            .find(|(channels, side)| channels * side * side == pixels)?;
        let xl = unshuffle == 16;
        Some(AdapterConfig {
            kind,
            in_channels,
            factor: 8,
            unshuffle,
            halved: (0..levels)
                .map(|at| if xl { at == 2 } else { at > 0 })
                .collect(),
            blocks: match flat {
                true => FLAT_BLOCKS,
                false => self.count(|i| block(0, i)),
            },
            places: (0..levels).map(|level| place(level, xl)).collect(),
            channels,
        })
    }
}

/// Blocks a level in the large network of every released file.
const FLAT_BLOCKS: usize = 2;

/// Where features go in a U-Net of two blocks a level. SD 1: behind each level's last block.
/// SDXL: behind the first halving, the last blocks of the two levels below, and the middle.
fn place(level: usize, xl: bool) -> Place {
    match (xl, level) {
        (false, level) => Place::Skip(3 * level + 2),
        (true, 3) => Place::Middle,
        (true, 0) => Place::Skip(3),
        (true, level) => Place::Skip(3 * level + 2),
    }
}
