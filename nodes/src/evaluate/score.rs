//! Painting captions, rebuilding pictures, and counting what holds.

use std::collections::BTreeMap;

use burn::tensor::{DType, Tensor, TensorData};
use ldm_engine::{Error, Reporter, Result};
use ldm_models::guidance::{Condition, Guidance};
use ldm_models::metrics::psnr;
use ldm_models::sampler::{Sampler, Walk};
use ldm_models::text::TextNetwork;
use ldm_models::train;
use ldm_world::{Attribute, Caption, Picture, Scene, check};
use serde::Serialize;

use crate::array::Array;
use crate::machine::Machine;
use crate::sampling::{Asked, Sampling, Sides};
use crate::values::{TextEncoder, Unet, Vae};

/// Pictures a network call.
const BATCH: usize = 25;

/// A model at work.
pub(super) struct Painter<'a> {
    pub(super) machine: &'a Machine,
    pub(super) reporter: &'a Reporter,
    pub(super) unet: &'a Unet,
    pub(super) vae: &'a Vae,
    pub(super) text: &'a TextEncoder,
    pub(super) sampler: &'a Sampler,
    pub(super) walk: Walk,
    pub(super) cfg: f64,
    pub(super) size: usize,
}

impl Painter<'_> {
    /// A picture for each caption; batch `n` starts from the noise of `seed + n`.
    pub(super) fn paint(&self, scenes: &[(Scene, Caption)], seed: u64) -> Result<Vec<Picture>> {
        let about = self.vae.about();
        let side = self.size / about.config.factor();
        let vae = self.vae.network(self.machine, self.reporter)?;
        let unet = self.unet.network(self.machine, self.reporter)?;
        let mut pictures = Vec::new();
        for (batch, captions) in scenes.chunks(BATCH).enumerate() {
            let texts: Vec<&str> = captions.iter().map(|(_, caption)| &*caption.text).collect();
            let sampling = Sampling {
                machine: self.machine,
                about: self.unet.about(),
                network: &unet,
                sampler: self.sampler,
                walk: self.walk,
                guidance: Guidance::Plain { cfg: self.cfg },
                seed: seed.wrapping_add(batch as u64),
                asked: Asked::Together,
            };
            let shape = [texts.len(), about.config.embed_dim(), side, side];
            let start = Array::new(shape, vec![0.0; shape.iter().product()]);
            let (wanted, empty) = (self.condition(&texts)?, self.condition(&[""])?);
            let sides = Sides {
                positive: vec![wanted],
                negative: Some(vec![empty]),
            };
            let latent = sampling.walk(&start, sides, None, self.reporter)?;
            let latent = latent.tensor(self.machine.device(), DType::F32);
            let decoded = vae.decode(latent / about.scale);
            let decoded = self.machine.read(decoded, "the decoded pictures")?;
            let one = 3 * self.size * self.size;
            pictures.extend(
                decoded
                    .numbers()
                    .chunks(one)
                    .map(|numbers| self.picture(numbers)),
            );
        }
        Ok(pictures)
    }

    fn condition(&self, texts: &[&str]) -> Result<Condition> {
        let tokenizer = self.text.about().tokenizer()?;
        let mut ids = Vec::new();
        for text in texts {
            ids.extend(tokenizer.ids(text)?.into_iter().map(|id| id as i32));
        }
        let network = self.text.network(self.machine, self.reporter)?;
        let TextNetwork::Bert(network) = &*network else {
            return Err(Error::at("text_encoder", "is CLIP's"));
        };
        let ids = TensorData::new(ids, [texts.len(), tokenizer.length()]);
        let ids = Tensor::from_data(ids, self.machine.device());
        Ok(Condition::tokens(network.forward(ids)))
    }

    /// `[3, size, size]` in −1..1 to bytes.
    fn picture(&self, numbers: &[f32]) -> Picture {
        let area = self.size * self.size;
        let byte = |x: f32| ((x.clamp(-1.0, 1.0) * 0.5 + 0.5) * 255.0).round() as u8;
        let pixel = |at| [0, 1, 2].map(|channel| byte(numbers[channel * area + at]));
        let rgb = (0..area).flat_map(pixel).collect();
        Picture {
            width: self.size,
            height: self.size,
            rgb,
        }
    }
}

/// Mean and standard deviation of the PSNR of rebuilt pictures, in dB.
#[derive(Debug, Clone, Copy, Serialize)]
pub(super) struct Rebuilt {
    pictures: usize,
    mean: f64,
    deviation: f64,
}

/// Encodes and decodes all of `data`, by the posterior's mode.
pub(super) fn rebuild(painter: &Painter<'_>, data: &dyn train::Dataset) -> Result<Rebuilt> {
    let vae = painter.vae.network(painter.machine, painter.reporter)?;
    let one = 3 * data.size().pow(2);
    let mut figures = Vec::with_capacity(data.len());
    let indices: Vec<usize> = (0..data.len()).collect();
    for indices in indices.chunks(BATCH) {
        let pixels = data.pictures(indices);
        let shape = [indices.len(), 3, data.size(), data.size()];
        let x = TensorData::new(pixels.clone(), shape);
        let x = Tensor::from_data(x, (painter.machine.device(), DType::F32));
        let rebuilt = vae.decode(vae.encode(x, None)).clamp(-1.0, 1.0);
        let rebuilt = painter.machine.read(rebuilt, "the rebuilt pictures")?;
        let pairs = pixels.chunks(one).zip(rebuilt.numbers().chunks(one));
        figures.extend(pairs.map(|(wanted, found)| psnr(wanted, found, 2.0)));
        painter
            .reporter
            .step(figures.len() as u64, data.len() as u64)?;
    }
    let n = figures.len() as f64;
    let mean = figures.iter().sum::<f64>() / n;
    let variance = figures.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n;
    if !mean.is_finite() {
        return Err(Error::new("the rebuilt pictures are no numbers").hint("check the weights"));
    }
    Ok(Rebuilt {
        pictures: figures.len(),
        mean,
        deviation: variance.sqrt(),
    })
}

/// Attributes that hold, of those stated.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub(super) struct Share {
    held: usize,
    stated: usize,
    percent: f64,
}

impl Share {
    fn add(&mut self, held: bool) {
        self.held += usize::from(held);
        self.stated += 1;
        self.percent = 100.0 * self.held as f64 / self.stated as f64;
    }
}

/// The report.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Score {
    attribute_accuracy: Share,
    /// The same for scenes with a combination that training never saw.
    held_out: Share,
    /// Each picture graded by the next caption: what luck gives.
    by_luck: Share,
    by_kind: BTreeMap<String, Share>,
    psnr_db: Rebuilt,
    first: Vec<Line>,
}

/// One caption, and which of its attributes do not hold.
#[derive(Debug, Clone, Serialize)]
struct Line {
    caption: String,
    missed: Vec<String>,
    stated: usize,
}

/// Grades `pictures` by the captions they were painted from.
pub(super) fn score(
    scenes: &[(Scene, Caption)],
    pictures: &[Picture],
    psnr_db: Rebuilt,
    shown: usize,
) -> Score {
    let mut score = Score {
        attribute_accuracy: Share::default(),
        held_out: Share::default(),
        by_luck: Share::default(),
        by_kind: BTreeMap::new(),
        psnr_db,
        first: Vec::new(),
    };
    for (at, picture) in pictures.iter().enumerate() {
        let (scene, caption) = &scenes[at];
        let reading = check::read(picture);
        let mut missed = Vec::new();
        for attribute in &caption.attributes {
            let held = reading.holds(attribute);
            score.attribute_accuracy.add(held);
            score
                .by_kind
                .entry(kind_of(attribute).to_owned())
                .or_default()
                .add(held);
            if scene.is_held_out() {
                score.held_out.add(held);
            }
            if !held {
                missed.push(attribute.to_string());
            }
        }
        let other = &scenes[(at + 1) % scenes.len()].1;
        other
            .attributes
            .iter()
            .for_each(|a| score.by_luck.add(reading.holds(a)));
        if at < shown {
            let (caption, stated) = (caption.text.clone(), caption.attributes.len());
            score.first.push(Line {
                caption,
                missed,
                stated,
            });
        }
    }
    score
}

fn kind_of(attribute: &Attribute) -> &'static str {
    match attribute {
        Attribute::Time(..) => "time",
        Attribute::Ground(..) => "ground",
        Attribute::Sky(..) => "sky",
        Attribute::Thing(..) => "thing",
        Attribute::Colour(..) => "colour",
        Attribute::Count(..) => "count",
        Attribute::Place(..) => "place",
        Attribute::Size(..) => "size",
    }
}
