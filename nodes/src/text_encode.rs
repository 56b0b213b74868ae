//! `TextEncode`: words in, conditioning out.

use ldm_engine::{Ctx, Facts, In, Node, ReadPath, Result};
use ldm_models::inversion::Inversion;

use crate::machine::Machine;
use crate::prompted::{Prompt, Syntax, Told, embeddings};
use crate::values::{Conditioning, ConditioningFacts, Entry, TextEncoder, TextEncoderAbout};

/// What a picture should show, in words.
///
/// `(a:1.2)` gives a word more weight or less, `(a)` 1.1 times as much; `\(` is a bracket to
/// read; `embedding:name` stands for what an embedding has learned. CLIP's text encoders read
/// texts of any length, 75 tokens at a time. Words that the model was never taught are told,
/// and so is text beyond the length of the paper's text encoder. The empty text is what guidance
/// pushes away from. See docs/prompts.md.
///
/// ```ron
/// "wanted": TextEncode(text_encoder: "model", text: "a red house by a lake, at night")
/// ```
#[derive(Node)]
#[node(device, version = 2)]
pub(crate) struct TextEncode {
    /// The network that reads the words.
    text_encoder: In<TextEncoder>,
    /// The words.
    text: String,
    /// How weights are written in the text.
    #[node(default = Syntax::ComfyUi)]
    syntax: Syntax,
    /// The layer of CLIP that is listened to, counted from the end: 1 is the last, 2 the one
    /// before (ComfyUI's −2). Left out, it is the one that the model was trained with.
    #[node(range = 1..=64)]
    clip_skip: Option<usize>,
    /// Files of embeddings that the text may call, each by the name of its file without the
    /// ending: `embedding:name`.
    #[node(default = Vec::new())]
    embeddings: Vec<ReadPath>,
}

impl TextEncode {
    fn prompt(&self, embeddings: Vec<Inversion>) -> Prompt<'_> {
        Prompt {
            texts: vec![&self.text],
            syntax: self.syntax,
            clip_skip: self.clip_skip,
            embeddings,
        }
    }
}

impl Node for TextEncode {
    type Out = Conditioning;

    fn facts(&self, facts: &mut Facts<'_>) -> Result<()> {
        let embeddings = embeddings(&self.embeddings, |path| facts.open(path))?;
        if let Some(about) = facts.of::<TextEncoderAbout, _>(&self.text_encoder) {
            let told = self.prompt(embeddings).facts(&about)?;
            facts.give(ConditioningFacts::from(told));
        }
        Ok(())
    }

    fn run(&self, ctx: &mut Ctx<'_>) -> Result<Conditioning> {
        let machine = ctx.extension::<Machine>()?;
        let encoder = ctx.get(&self.text_encoder);
        let prompt = self.prompt(embeddings(&self.embeddings, |path| ctx.open(path))?);
        let Told { tokens, vector } = prompt.encode(&encoder, &machine, &ctx.reporter())?;
        Ok(Conditioning::from(Entry {
            tokens: Some(tokens),
            vector,
            ..Entry::default()
        }))
    }
}
