//! `TextEncodeSdxl`: words and the size of the picture they are of.

use ldm_engine::{Ctx, Error, Facts, In, Node, ReadPath, Result};
use ldm_models::inversion::Inversion;
use ldm_models::text::size_vector;

use crate::array::Array;
use crate::machine::Machine;
use crate::prompted::{Prompt, Syntax, Told, embeddings};
use crate::values::{
    Conditioning, ConditioningFacts, Entry, EntryFacts, TextEncoder, TextEncoderAbout,
};

/// What a picture of Stable Diffusion XL should show, and as which size it should pass.
///
/// XL was told of each training picture its size before it was scaled, where it was cropped and
/// to which size: a large original and no crop ask for a sharp picture with its subject in the
/// middle. The refiner was told a score in place of the last size. `TextEncode` reads the text
/// alike, and leaves the sizes to be told by whoever denoises.
///
/// ```ron
/// "large": TextEncodeSdxl(text_encoder: "sdxl", text: "a red house by a lake, at night")
/// ```
#[derive(Node)]
#[node(device)]
pub(crate) struct TextEncodeSdxl {
    /// The two networks of XL, or the one of its refiner.
    text_encoder: In<TextEncoder>,
    /// The words.
    text: String,
    /// Other words for the first of the two networks, OpenAI's.
    text_l: Option<String>,
    /// Width of the picture before it was scaled.
    #[node(default = 1024, range = 0..=16384, unit = "px")]
    original_width: u32,
    /// Height of the picture before it was scaled.
    #[node(default = 1024, range = 0..=16384, unit = "px")]
    original_height: u32,
    /// How much was cut off at the left.
    #[node(default = 0, range = 0..=16384, unit = "px")]
    crop_left: u32,
    /// How much was cut off at the top.
    #[node(default = 0, range = 0..=16384, unit = "px")]
    crop_top: u32,
    /// Width it was scaled to; left out, that before.
    #[node(range = 0..=16384, unit = "px")]
    target_width: Option<u32>,
    /// Height it was scaled to; left out, that before.
    #[node(range = 0..=16384, unit = "px")]
    target_height: Option<u32>,
    /// How people would like it, for the refiner; 6 for what is wanted, 2.5 for what is not.
    #[node(default = 6.0, range = 0.0..=1000.0)]
    aesthetic_score: f64,
    /// How weights are written in the text.
    #[node(default = Syntax::ComfyUi)]
    syntax: Syntax,
    /// The layer of CLIP that is listened to, counted from the end; left out, the one before
    /// the last.
    #[node(range = 1..=64)]
    clip_skip: Option<usize>,
    /// Files of embeddings that the text may call, each by the name of its file without the
    /// ending: `embedding:name`.
    #[node(default = Vec::new())]
    embeddings: Vec<ReadPath>,
}

impl TextEncodeSdxl {
    fn prompt(&self, embeddings: Vec<Inversion>, about: &TextEncoderAbout) -> Prompt<'_> {
        let first = self.text_l.as_ref().unwrap_or(&self.text);
        let texts = match about.config.clips().len() {
            2 => vec![&first[..], &self.text[..]],
            _ => vec![&self.text[..]],
        };
        Prompt {
            texts,
            syntax: self.syntax,
            clip_skip: self.clip_skip,
            embeddings,
        }
    }

    /// What the network is told in numbers; ComfyUI and diffusers have the same order.
    fn numbers(&self, about: &TextEncoderAbout) -> Vec<f64> {
        let (width, height) = (self.original_width, self.original_height);
        let mut numbers = vec![height, width, self.crop_top, self.crop_left];
        if about.config.clips().len() == 2 {
            numbers.push(self.target_height.unwrap_or(height));
            numbers.push(self.target_width.unwrap_or(width));
        }
        let numbers = numbers.into_iter().map(f64::from);
        let score = (about.config.clips().len() == 1).then_some(self.aesthetic_score);
        numbers.chain(score).collect()
    }

    fn facts_of(&self, about: &TextEncoderAbout, prompt: &Prompt<'_>) -> Result<EntryFacts> {
        let told = prompt.facts(about)?;
        let Some([one, _]) = told.vector else {
            let message = "gives no vector for the whole text, which Stable Diffusion XL wants";
            return Err(Error::at("text_encoder", message).hint("for other models: `TextEncode`"));
        };
        let width = size_vector(&[], &self.numbers(about)).len();
        Ok(EntryFacts {
            vector: told.vector.map(|[_, pooled]| [one, pooled + width]),
            ..told
        })
    }
}

impl Node for TextEncodeSdxl {
    type Out = Conditioning;

    fn facts(&self, facts: &mut Facts<'_>) -> Result<()> {
        let embeddings = embeddings(&self.embeddings, |path| facts.open(path))?;
        if let Some(about) = facts.of::<TextEncoderAbout, _>(&self.text_encoder) {
            let told = self.facts_of(&about, &self.prompt(embeddings, &about))?;
            facts.give(ConditioningFacts::from(told));
        }
        Ok(())
    }

    fn run(&self, ctx: &mut Ctx<'_>) -> Result<Conditioning> {
        let machine = ctx.extension::<Machine>()?;
        let encoder = ctx.get(&self.text_encoder);
        let embeddings = embeddings(&self.embeddings, |path| ctx.open(path))?;
        let prompt = self.prompt(embeddings, encoder.about());
        self.facts_of(encoder.about(), &prompt)?;
        let Told { tokens, vector } = prompt.encode(&encoder, &machine, &ctx.reporter())?;
        let numbers = self.numbers(encoder.about());
        let vector = vector.map(|pooled| {
            let vector = size_vector(pooled.numbers(), &numbers);
            Array::new([1, vector.len()], vector)
        });
        Ok(Conditioning::from(Entry {
            tokens: Some(tokens),
            vector,
            ..Entry::default()
        }))
    }
}
