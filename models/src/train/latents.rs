//! Pictures encoded once and kept: what the diffusion loop trains on.
//!
//! Promises
//! - Encoding resumes after the last whole block, and blocks do not depend on each other.

use std::ops::ControlFlow;
use std::path::Path;

use burn::tensor::{Device, Tensor, TensorData};

use super::Dataset;
use super::error::{Result, TrainError};
use crate::autoencoder::Autoencoder;
use crate::weights::{SaveAs, TensorFile, TensorWriter};

/// Pictures a block: large enough to keep every core busy, small enough to lose.
const BLOCK: usize = 1024;
/// Pictures an encoder call.
const BATCH: usize = 32;

/// Mean and standard deviation of the posterior of every picture, on the host.
pub(super) struct Latents {
    /// Shape of one latent, `[c, h, w]`.
    pub(super) shape: [usize; 3],
    mean: Vec<f32>,
    std: Vec<f32>,
}

impl Latents {
    /// Encodes `data`, block by block, or reads the blocks that stand under `work`.
    pub(super) fn of(
        data: &dyn Dataset,
        vae: &Autoencoder,
        (work, fingerprint): (&Path, &str),
        device: &Device,
        on_block: &mut dyn FnMut(usize, usize) -> ControlFlow<()>,
    ) -> Result<Self> {
        let mut all = Self {
            shape: [0; 3],
            mean: vec![],
            std: vec![],
        };
        let blocks = data.len().div_ceil(BLOCK);
        for block in 0..blocks {
            if on_block(block, blocks).is_break() {
                return Err(TrainError::Stopped);
            }
            let path = work.join(format!("latents-{fingerprint}-{block:05}.safetensors"));
            let part = match Self::read(&path) {
                Some(part) => part,
                None => {
                    let end = (block * BLOCK + BLOCK).min(data.len());
                    let part = Self::encode(data, vae, block * BLOCK..end, device)?;
                    part.write(&path, device)?;
                    part
                }
            };
            all.shape = part.shape;
            all.mean.extend(part.mean);
            all.std.extend(part.std);
        }
        Ok(all)
    }

    /// Standard deviation of all elements of the means and their noise together.
    ///
    /// LDM's `scale_by_std` divides by that of the first batch's samples; over all
    /// pictures it is the same figure with less luck in it.
    pub(super) fn spread(&self) -> f64 {
        let n = self.mean.len() as f64;
        let mean = self.mean.iter().map(|&m| f64::from(m)).sum::<f64>() / n;
        let squares =
            |(&m, &s): (&f32, &f32)| (f64::from(m) - mean).powi(2) + f64::from(s) * f64::from(s);
        (self.mean.iter().zip(&self.std).map(squares).sum::<f64>() / n).sqrt()
    }

    /// A sample of the posterior of picture `index`, with `noise` of the latent's length.
    pub(super) fn sample(&self, index: usize, noise: &[f32], out: &mut Vec<f32>) {
        let at = index * noise.len()..(index + 1) * noise.len();
        let (mean, std) = (&self.mean[at.clone()], &self.std[at]);
        out.extend(noise.iter().zip(mean).zip(std).map(|((n, m), s)| m + s * n));
    }

    fn encode(
        data: &dyn Dataset,
        vae: &Autoencoder,
        range: std::ops::Range<usize>,
        device: &Device,
    ) -> Result<Self> {
        let mut part = Self {
            shape: [0; 3],
            mean: vec![],
            std: vec![],
        };
        let indices: Vec<usize> = range.collect();
        for indices in indices.chunks(BATCH) {
            let shape = [indices.len(), 3, data.size(), data.size()];
            let x = TensorData::new(data.pictures(indices), shape);
            let [mean, std] = vae.spread(Tensor::from_data(x, device));
            let [_, c, h, w] = mean.dims();
            part.shape = [c, h, w];
            part.std.extend(floats(std)?);
            part.mean.extend(floats(mean)?);
        }
        Ok(part)
    }

    /// A block that is missing or damaged is made again.
    fn read(path: &Path) -> Option<Self> {
        let file = TensorFile::open(path).ok()?;
        let &[_, c, h, w] = file.shape("mean")? else {
            return None;
        };
        let (mean, std) = (file.read("mean").ok()?, file.read("std").ok()?);
        (mean.len() == std.len()).then_some(Self {
            shape: [c, h, w],
            mean,
            std,
        })
    }

    fn write(&self, path: &Path, device: &Device) -> Result<()> {
        let [c, h, w] = self.shape;
        let shape = [self.mean.len() / (c * h * w), c, h, w];
        let tensor = |values: &[f32]| -> Tensor<4> {
            Tensor::from_data(TensorData::new(values.to_vec(), shape), device)
        };
        let mut file = TensorWriter::default();
        file.tensor("mean", &tensor(&self.mean));
        file.tensor("std", &tensor(&self.std));
        Ok(file.write(path, SaveAs::F32)?)
    }
}

fn floats(tensor: Tensor<4>) -> Result<Vec<f32>> {
    let data = tensor
        .try_into_data()
        .map_err(|e| TrainError::Device(e.to_string()))?;
    Ok(data.try_into_vec::<f32>().expect("training runs in f32"))
}
