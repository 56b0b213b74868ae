//! Rows of tokens through a text encoder, and the weights of words.
//!
//! A weight moves a token's encoding along the line from the encoding of the empty text at the
//! same place: `z_empty + (z − z_empty) · w`, as ComfyUI does.

use burn::tensor::{Device, Int, Tensor, TensorData};

use super::{PromptError, Reader, Row, Rows, Token};
use crate::error::{Error, Result};
use crate::text::{ClipConfig, ClipText, TextNetwork};

/// A prompt as a denoiser is told it.
#[derive(Clone, Debug)]
pub struct Encoded {
    /// `[1, rows · max_length, width]`
    pub tokens: Tensor<3>,
    /// One vector for the whole text, of its first row: `[1, width]`; CLIP's only.
    pub pooled: Option<Tensor<2>>,
}

/// Encodes `rows`, which `reader` made; `clip_skip` is the layer whose output the tokens are,
/// counted from the end with the last as 1, where the model's own choice is not wanted.
///
/// # Errors
/// A layer that is not there, an id that the embedding lacks, or another network than the
/// reader's.
pub fn encode(
    network: &TextNetwork,
    reader: &Reader<'_>,
    rows: &Rows,
    clip_skip: Option<usize>,
    device: &Device,
) -> Result<Encoded, PromptError> {
    check_ids(reader, rows)?;
    if let TextNetwork::Bert(bert) = network {
        if clip_skip.is_some_and(|layer| layer != 1) {
            let why = "this text encoder was trained to its last layer: leave `clip_skip` out";
            return Err(Error::config("text encoder", why).into());
        }
        let rows = rows.rows.first().map(Vec::as_slice).unwrap_or_default();
        let empty = reader.rows(&[""])?.rows.remove(0);
        let z = |rows: &[Row]| Ok(bert.forward(ids_of(rows, device)));
        return Ok(Encoded {
            tokens: joined(weighted(rows, &empty[0], device, z)?),
            pooled: None,
        });
    }
    let (clips, networks) = (reader.config.clips(), network.clips());
    if clips.len() != networks.len() || rows.rows.len() != clips.len() {
        return Err(Error::bug("a prompt was read for another text encoder").into());
    }
    let empty = reader.rows(&[""])?;
    let (mut parts, mut pooled) = (Vec::new(), None);
    for (which, config) in clips.into_iter().enumerate() {
        let clip = Clip {
            network: networks[which],
            config,
            layer: clip_skip.unwrap_or(config.layer),
        };
        config.check_layer(clip.layer)?;
        let rows = &rows.rows[which];
        let z = |rows: &[Row]| {
            let (z, vector) = clip.run(rows, device);
            pooled = Some(vector);
            Ok(z)
        };
        parts.push(joined(weighted(rows, &empty.rows[which][0], device, z)?));
    }
    Ok(Encoded {
        tokens: Tensor::cat(parts, 2),
        pooled: pooled.map(|pooled| pooled.narrow(0, 0, 1)),
    })
}

fn check_ids(reader: &Reader<'_>, rows: &Rows) -> Result<()> {
    let ids = rows.rows.iter().flatten().flat_map(Row::ids);
    let most = ids.max().unwrap_or(0) as usize;
    let wanted = reader.config.vocab_size();
    if most < wanted {
        return Ok(());
    }
    let why = format!(
        "the tokenizer gives id {most}, the text encoder has {wanted}: use the tokenizer that the \
         model was trained with"
    );
    Err(Error::config("text encoder", why))
}

/// The encodings of `rows [rows, n, width]`, weights applied; `z` encodes rows without.
fn weighted(
    rows: &[Row],
    empty: &Row,
    device: &Device,
    mut z: impl FnMut(&[Row]) -> Result<Tensor<3>>,
) -> Result<Tensor<3>> {
    if !rows.iter().any(Row::is_weighted) {
        return z(rows);
    }
    let with_empty = [rows, std::slice::from_ref(empty)].concat();
    let all = z(&with_empty)?;
    let [count, n, width] = all.dims();
    let neutral = all.clone().narrow(0, count - 1, 1);
    let found = all.narrow(0, 0, count - 1);
    let weights: Vec<f32> = rows.iter().flat_map(|row| row.weights.clone()).collect();
    let shape = [count - 1, n, 1];
    let weights = Tensor::<3>::from_data(TensorData::new(weights, shape), device);
    let moved = neutral.clone() + (found.clone() - neutral) * weights.clone();
    // What weighs 1 stays as it is, to the bit.
    let changed = weights.not_equal_elem(1.0).expand([count - 1, n, width]);
    Ok(found.mask_where(changed, moved))
}

/// Rows one after another: `[rows, n, width]` → `[1, rows · n, width]`
fn joined(x: Tensor<3>) -> Tensor<3> {
    let [rows, n, width] = x.dims();
    x.reshape([1, rows * n, width])
}

fn ids_of(rows: &[Row], device: &Device) -> Tensor<2, Int> {
    let ids: Vec<i32> = rows.iter().flat_map(Row::ids).map(|id| id as i32).collect();
    let shape = [rows.len(), ids.len() / rows.len().max(1)];
    Tensor::from_data(TensorData::new(ids, shape), device)
}

/// One transformer of CLIP, and which layer of it is wanted.
struct Clip<'a> {
    network: &'a ClipText,
    config: &'a ClipConfig,
    layer: usize,
}

impl Clip<'_> {
    /// Tokens and pooled vectors of `rows`.
    fn run(&self, rows: &[Row], device: &Device) -> (Tensor<3>, Tensor<2>) {
        let mut tokens = self.network.embed(ids_of(rows, device));
        for (at, row) in rows.iter().enumerate() {
            for (place, token) in row.tokens.iter().enumerate() {
                if let Token::Vector(vector) = token {
                    let data = TensorData::new(vector.to_vec(), [1, 1, vector.len()]);
                    let vector = Tensor::<3>::from_data(data, (device, tokens.dtype()));
                    let here = [at..at + 1, place..place + 1];
                    tokens = tokens.slice_assign(here, vector);
                }
            }
        }
        let states = self.network.states(tokens);
        let last = states[states.len() - 1].clone();
        let taken = states[states.len() - self.layer].clone();
        let ends = rows.iter().map(|row| self.config.end_of(row.ids()));
        let pooled = self.network.pooled(last, &ends.collect::<Vec<_>>());
        let taken = match self.config.norm {
            true => self.network.norm(taken),
            false => taken,
        };
        (taken, pooled)
    }
}
