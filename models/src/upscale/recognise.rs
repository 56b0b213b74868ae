//! Which upscaler a file holds, from the names and shapes of its tensors.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::config::{CompactConfig, RrdbConfig, UpscaleConfig};
use crate::error::{Error, Result};
use crate::weights::TensorFile;
use crate::weights::detect::foreign;

/// Who named the tensors of an upscaler's file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Naming {
    /// What all names begin with: nothing, `params_ema.` or `params.`.
    pub prefix: String,
    /// The names behind it.
    pub style: Style,
}

/// The names that one network goes by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Style {
    /// The first ESRGAN's, numbered through: `model.1.sub.0.RDB1.conv1.0`.
    Numbered,
    /// The later ESRGAN's, and BSRGAN's: `RRDB_trunk.0.RDB1.conv1`.
    Trunk,
    /// BasicSR's, as Real-ESRGAN has them: `body.0.rdb1.conv1`.
    Body,
    /// The compact network's: `body.0`.
    Compact,
}

impl fmt::Display for Style {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Numbered => "ESRGAN",
            Self::Trunk => "ESRGAN, later names",
            Self::Body => "Real-ESRGAN",
            Self::Compact => "Real-ESRGAN, compact",
        })
    }
}

/// Where training tools put the weights; the averaged ones are the better ones.
const PREFIXES: [&str; 3] = ["", "params_ema.", "params."];

/// The network that `file` holds, and what it calls the tensors.
///
/// # Errors
/// The file holds no network of these families.
pub fn recognise(file: &TensorFile) -> Result<(UpscaleConfig, Naming)> {
    let styles = [Style::Numbered, Style::Trunk, Style::Body, Style::Compact];
    for prefix in PREFIXES {
        for style in styles {
            let reader = Reader { file, prefix };
            if let Some(config) = reader.config(style) {
                config
                    .check()
                    .map_err(|e| Error::file(file.path(), "holds no sound upscaler", e))?;
                let prefix = prefix.to_owned();
                return Ok((config, Naming { prefix, style }));
            }
        }
    }
    if let Some(what) = foreign(file) {
        return Err(Error::wrong_file(file.path(), format!("is {what}")));
    }
    let first = file.names().into_iter().next();
    let found = first.map_or_else(
        || "no tensor at all".to_owned(),
        |name| format!("`{name}` and others"),
    );
    let what = format!(
        "is no upscaler of the ESRGAN, Real-ESRGAN or compact family: found {found}, wanted \
         `model.0.weight`, `conv_first.weight` or `body.0.weight`; use a file of these families"
    );
    Err(Error::wrong_file(file.path(), what))
}

struct Reader<'a> {
    file: &'a TensorFile,
    prefix: &'a str,
}

impl Reader<'_> {
    fn config(&self, style: Style) -> Option<UpscaleConfig> {
        match style {
            Style::Compact => self.compact().map(UpscaleConfig::Compact),
            style => self.rrdb(&Places::of(style)).map(UpscaleConfig::Rrdb),
        }
    }

    /// Output and input channels of the convolution called `name`.
    fn conv(&self, name: &str) -> Option<[usize; 2]> {
        match self.file.shape(&format!("{}{name}.weight", self.prefix))? {
            [to, from, _, _] => Some([*to, *from]),
            _ => None,
        }
    }

    /// How many of `name(0)`, `name(1)`, … there are.
    fn count(&self, name: impl Fn(usize) -> String) -> usize {
        (0..).take_while(|i| self.conv(&name(*i)).is_some()).count()
    }

    fn rrdb(&self, places: &Places) -> Option<RrdbConfig> {
        let [width, channels] = self.conv(places.first)?;
        let [growth, _] = self.conv(&(places.dense)(0, 0, 0))?;
        let doublings = self.count(places.up);
        let [out_channels, _] = self.conv(&(places.last)(doublings))?;
        let unshuffle = [2, 4]
            .into_iter()
            .find(|side| channels == out_channels * side * side);
        let unshuffle = unshuffle.unwrap_or(1);
        Some(RrdbConfig {
            in_channels: channels / (unshuffle * unshuffle),
            out_channels,
            width,
            growth,
            blocks: self.count(|block| (places.dense)(block, 0, 0)),
            doublings,
            unshuffle,
            plus: self.conv(&(places.point)(0, 0)).is_some(),
        })
    }

    fn compact(&self) -> Option<CompactConfig> {
        let [width, channels] = self.conv("body.0")?;
        // Convolutions stand at even places, slopes between them.
        let convs = self.count(|i| format!("body.{}", 2 * i));
        let last = format!("body.{}", 2 * convs.checked_sub(1)?);
        let [pixels, _] = self.conv(&last)?;
        let scale = (1..=16).find(|scale| scale * scale * channels == pixels)?;
        Some(CompactConfig {
            channels,
            width,
            convs: convs.checked_sub(2)?,
            scale,
        })
    }
}

/// Where the layers of a residual-in-residual dense network stand under a style's names.
pub(crate) struct Places {
    pub(crate) first: &'static str,
    /// Block, dense block in it, convolution in that, each from 0.
    pub(crate) dense: fn(usize, usize, usize) -> String,
    /// The pointwise convolution of a block's dense block.
    pub(crate) point: fn(usize, usize) -> String,
    /// The convolution behind the blocks, of which there are so many.
    pub(crate) trunk: fn(usize) -> String,
    /// The convolution behind a doubling.
    pub(crate) up: fn(usize) -> String,
    /// The last but one, behind so many doublings.
    pub(crate) hr: fn(usize) -> String,
    /// The last, behind so many doublings.
    pub(crate) last: fn(usize) -> String,
}

impl Places {
    /// The compact network has none of these layers, and is answered as BasicSR's.
    pub(crate) fn of(style: Style) -> Self {
        match style {
            Style::Numbered => Self {
                first: "model.0",
                dense: |b, d, c| format!("model.1.sub.{b}.RDB{}.conv{}.0", d + 1, c + 1),
                point: |b, d| format!("model.1.sub.{b}.RDB{}.conv1x1", d + 1),
                trunk: |blocks| format!("model.1.sub.{blocks}"),
                // Each doubling takes three places: enlarge, convolve, activate.
                up: |i| format!("model.{}", 3 * i + 3),
                hr: |doublings| format!("model.{}", 3 * doublings + 2),
                last: |doublings| format!("model.{}", 3 * doublings + 4),
            },
            Style::Trunk => Self {
                first: "conv_first",
                dense: |b, d, c| format!("RRDB_trunk.{b}.RDB{}.conv{}", d + 1, c + 1),
                point: |b, d| format!("RRDB_trunk.{b}.RDB{}.conv1x1", d + 1),
                trunk: |_| "trunk_conv".to_owned(),
                up: |i| format!("upconv{}", i + 1),
                hr: |_| "HRconv".to_owned(),
                last: |_| "conv_last".to_owned(),
            },
            Style::Body | Style::Compact => Self {
                first: "conv_first",
                dense: |b, d, c| format!("body.{b}.rdb{}.conv{}", d + 1, c + 1),
                point: |b, d| format!("body.{b}.rdb{}.conv1x1", d + 1),
                trunk: |_| "conv_body".to_owned(),
                up: |i| format!("conv_up{}", i + 1),
                hr: |_| "conv_hr".to_owned(),
                last: |_| "conv_last".to_owned(),
            },
        }
    }
}
