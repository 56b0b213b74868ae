//! `TextEncode`: words in, conditioning out.

use burn::tensor::{Int, Tensor, TensorData};
use ldm_engine::{Ctx, Error, Facts, In, Node, Result};

use crate::array::Array;
use crate::machine::Machine;
use crate::values::{
    Conditioning, ConditioningFacts, Entry, EntryFacts, TextEncoder, TextEncoderAbout,
};

/// What a picture should show, in words.
///
/// Words that the model was never taught are told, and so is text beyond its length. The empty
/// text is what guidance pushes away from.
///
/// ```ron
/// "wanted": TextEncode(text_encoder: "model", text: "a red house by a lake, at night")
/// ```
#[derive(Node)]
#[node(device)]
pub(crate) struct TextEncode {
    /// The network that reads the words.
    text_encoder: In<TextEncoder>,
    /// The words.
    text: String,
}

impl Node for TextEncode {
    type Out = Conditioning;

    fn facts(&self, facts: &mut Facts<'_>) -> Result<()> {
        if let Some(about) = facts.of::<TextEncoderAbout, _>(&self.text_encoder) {
            let length = about.tokenizer()?.length();
            let tokens = Some([1, length, about.config.width]);
            facts.give(ConditioningFacts::from(EntryFacts {
                tokens,
                ..EntryFacts::default()
            }));
        }
        Ok(())
    }

    fn run(&self, ctx: &mut Ctx<'_>) -> Result<Conditioning> {
        let machine = ctx.extension::<Machine>()?;
        let encoder = ctx.get(&self.text_encoder);
        let tokens = encoder.about().tokenizer()?.encode(&self.text)?;
        if !tokens.unknown.is_empty() {
            let words = tokens.unknown.join("`, `");
            ctx.reporter()
                .note(format!("the model was never taught `{words}`"));
        }
        if let Some(cut) = &tokens.cut {
            ctx.reporter().note(format!(
                "the text is too long for the model; left out: {cut}"
            ));
        }
        let rows = encoder.about().config.vocab_size;
        if let Some(id) = tokens.ids.iter().find(|id| **id as usize >= rows) {
            let message = format!("the tokenizer gives id {id}, the text encoder has {rows}");
            return Err(Error::at("text_encoder", message));
        }
        let ids: Vec<i32> = tokens.ids.iter().map(|id| *id as i32).collect();
        let data = TensorData::new(ids, [1, tokens.ids.len()]);
        let network = encoder.network(&machine, &ctx.reporter())?;
        let tokens = network.forward(Tensor::<2, Int>::from_data(data, machine.device()));
        let tokens = Some(Array::read(tokens, "the text encoder's output")?);
        Ok(Conditioning::from(Entry {
            tokens,
            ..Entry::default()
        }))
    }
}
