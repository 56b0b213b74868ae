//! `LoadTextEncoder`: what turns words into conditioning, alone.

use ldm_engine::{Ctx, Facts, Node, ReadPath, Result};
use ldm_models::weights::folder::Wanted;

use crate::checkpoint::{Asked, Network, Networks, Reach};
use crate::values::{TextEncoder, TextEncoderAbout};

/// Opens a text encoder: of a file of its own, of a whole checkpoint, or of a folder of
/// diffusers, whose two are opened together.
///
/// ```ron
/// "other_text": LoadTextEncoder(path: "checkpoints/model.safetensors")
/// ```
#[derive(Node)]
pub(crate) struct LoadTextEncoder {
    /// The file, or the folder.
    path: ReadPath,
    /// Which of a folder's variants is taken: `fp16`; full precision, else half, when left out.
    variant: Option<String>,
    /// The words of a text encoder that is without: a `vocab.txt`, a `tokenizer.json`, or a
    /// folder of either.
    vocab: Option<ReadPath>,
}

impl LoadTextEncoder {
    fn look(&self, reach: &dyn Reach) -> Result<Network<TextEncoderAbout>> {
        let asked = Asked {
            variant: self.variant.as_deref(),
            vocab: self.vocab.as_ref(),
            ..Asked::default()
        };
        let wanted = Wanted {
            unet: false,
            vae: false,
            text: true,
        };
        let mut found = Networks::look(reach, &self.path, wanted, &asked)?;
        let text = found.text.take();
        text.ok_or_else(|| found.lacks("text encoder"))
    }
}

impl Node for LoadTextEncoder {
    type Out = TextEncoder;

    fn facts(&self, facts: &mut Facts<'_>) -> Result<()> {
        let about = self.look(facts)?.fitting(facts, &self.path)?;
        about.tokenizer()?;
        facts.give(about);
        Ok(())
    }

    fn run(&self, ctx: &mut Ctx<'_>) -> Result<TextEncoder> {
        self.look(ctx)?.handle(ctx, &self.path)
    }
}
