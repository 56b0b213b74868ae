//! `TextEncodeSdxl`: words and the size of the picture they are of.

use ldm_engine::{Ctx, Error, Facts, In, Node, ReadPath, Result};
use ldm_models::inversion::Inversion;
use ldm_models::text::Sizes;

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
/// middle. The refiner was told a score in place of the last size. After `TextEncode` the sizes
/// are those of the picture that is made.
///
/// ```ron
/// "sized": TextEncodeSdxl(text_encoder: "sdxl", text: "a red house by a lake, at night")
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

    fn sizes(&self) -> Sizes {
        let [height, width] = [self.original_height, self.original_width];
        let target = [
            self.target_height.unwrap_or(height),
            self.target_width.unwrap_or(width),
        ];
        let pixels = |numbers: [u32; 2]| numbers.map(f64::from);
        Sizes {
            original: pixels([height, width]),
            crop: pixels([self.crop_top, self.crop_left]),
            target: pixels(target),
            score: self.aesthetic_score,
        }
    }
}

/// How wide the vector becomes.
fn wide(about: &TextEncoderAbout) -> Result<usize> {
    let pooled = about.config.vector().ok_or_else(|| {
        let message = "gives no vector for the whole text, which Stable Diffusion XL wants";
        Error::at("text_encoder", message).hint("for other models: `TextEncode`")
    })?;
    Ok(Sizes::width(pooled, about.config.clips().len() == 2))
}

impl Node for TextEncodeSdxl {
    type Out = Conditioning;

    fn facts(&self, facts: &mut Facts<'_>) -> Result<()> {
        let embeddings = embeddings(&self.embeddings, |path| facts.open(path))?;
        if let Some(about) = facts.of::<TextEncoderAbout, _>(&self.text_encoder) {
            let told = self.prompt(embeddings, &about).facts(&about)?;
            let vector = Some([1, wide(&about)?]);
            facts.give(ConditioningFacts::from(EntryFacts { vector, ..told }));
        }
        Ok(())
    }

    fn run(&self, ctx: &mut Ctx<'_>) -> Result<Conditioning> {
        let machine = ctx.extension::<Machine>()?;
        let encoder = ctx.get(&self.text_encoder);
        let embeddings = embeddings(&self.embeddings, |path| ctx.open(path))?;
        let wide = wide(encoder.about())?;
        let prompt = self.prompt(embeddings, encoder.about());
        let Told { tokens, vector } = prompt.encode(&encoder, &machine, &ctx.reporter())?;
        let vector = vector.and_then(|pooled| self.sizes().behind(pooled.numbers(), wide));
        Ok(Conditioning::from(Entry {
            tokens: Some(tokens),
            vector: vector.map(|vector| Array::new([1, wide], vector)),
            ..Entry::default()
        }))
    }
}
