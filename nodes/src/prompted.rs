//! A prompt with its settings, between a node's fields and a text encoder: what `TextEncode` and
//! `TextEncodeSdxl` share.

use ldm_engine::{Choice, Error, OpenFile, ReadPath, Reporter, Result};
use ldm_models::inversion::Inversion;
use ldm_models::prompt::{self, PromptError, Reader, Rows};
use ldm_models::weights::TensorFile;

use crate::array::Array;
use crate::machine::Machine;
use crate::values::{EntryFacts, TextEncoder, TextEncoderAbout};

/// What brackets and words mean in a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Choice)]
pub(crate) enum Syntax {
    /// ComfyUI's: `(a:1.2)` weighs a word, `(a)` by 1.1.
    ComfyUi,
    /// AUTOMATIC1111's: numbers multiply, `[a]` divides by 1.1, `BREAK` begins a new row.
    A1111,
    /// Every character is text, and nothing calls an embedding.
    Plain,
}

impl From<Syntax> for prompt::Syntax {
    fn from(choice: Syntax) -> Self {
        match choice {
            Syntax::ComfyUi => Self::ComfyUi,
            Syntax::A1111 => Self::A1111,
            Syntax::Plain => Self::Plain,
        }
    }
}

/// Texts and how they are read.
pub(crate) struct Prompt<'a> {
    /// For each transformer of the text encoder, the last one for all that follow.
    pub(crate) texts: Vec<&'a str>,
    pub(crate) syntax: Syntax,
    pub(crate) clip_skip: Option<usize>,
    pub(crate) embeddings: Vec<Inversion>,
}

/// A text as its encoder tells it.
pub(crate) struct Told {
    pub(crate) tokens: Array<3>,
    pub(crate) vector: Option<Array<2>>,
}

impl Prompt<'_> {
    /// What will come out.
    pub(crate) fn facts(&self, about: &TextEncoderAbout) -> Result<EntryFacts> {
        let rows = self.rows(about)?;
        for clip in about.config.clips() {
            let layer = self.clip_skip.unwrap_or(clip.layer);
            let fits = clip.check_layer(layer);
            fits.map_err(|e| Error::at("clip_skip", e.to_string()))?;
        }
        if about.config.clips().is_empty() && self.clip_skip.is_some_and(|layer| layer != 1) {
            let message = "is of CLIP's text encoders, this is the paper's";
            return Err(Error::at("clip_skip", message).hint("leave it out"));
        }
        let length = rows.rows[0].len() * about.config.max_length();
        Ok(EntryFacts {
            tokens: Some([1, length, about.config.width()]),
            vector: about.config.vector().map(|width| [1, width]),
            ..EntryFacts::default()
        })
    }

    /// The texts through the network; what they leave out is told.
    pub(crate) fn encode(
        &self,
        encoder: &TextEncoder,
        machine: &Machine,
        reporter: &Reporter,
    ) -> Result<Told> {
        let about = encoder.about();
        let rows = self.rows(about)?;
        if !rows.unknown.is_empty() {
            let words = rows.unknown.join("`, `");
            reporter.note(format!("the model was never taught `{words}`"));
        }
        if let Some(cut) = &rows.cut {
            let message = format!("the text is too long for the model; left out: {cut}");
            reporter.note(message);
        }
        for text in &self.texts {
            for told in only_words(text, self.syntax) {
                reporter.note(told);
            }
        }
        let network = encoder.network(machine, reporter)?;
        let reader = self.reader(about)?;
        let device = machine.device();
        let encoded = prompt::encode(&network, &reader, &rows, self.clip_skip, device);
        let encoded = encoded.map_err(placed)?;
        let pooled = encoded.pooled.filter(|_| about.config.vector().is_some());
        let read = |vector| machine.read(vector, "the text encoder's vector");
        Ok(Told {
            tokens: machine.read(encoded.tokens, "the text encoder's output")?,
            vector: pooled.map(read).transpose()?,
        })
    }

    fn rows(&self, about: &TextEncoderAbout) -> Result<Rows> {
        self.reader(about)?.rows(&self.texts).map_err(placed)
    }

    fn reader<'b>(&'b self, about: &'b TextEncoderAbout) -> Result<Reader<'b>> {
        Ok(Reader {
            config: &about.config,
            tokenizer: about.tokenizer()?,
            syntax: self.syntax.into(),
            embeddings: &self.embeddings,
        })
    }
}

/// What a text has that means more to the program whose syntax it is in, and is words here.
fn only_words(text: &str, syntax: Syntax) -> Vec<&'static str> {
    let mut found = vec![];
    if syntax != Syntax::Plain && ["<lora:", "<lyco:"].iter().any(|tag| text.contains(tag)) {
        found.push("`<lora:…>` in the text is read as words; `ApplyLora` applies an adapter");
    }
    let has = |open, close, means: fn(&str) -> bool| {
        let mut inside = text.split(open).skip(1);
        inside.any(|rest| rest.split(close).next().is_some_and(means))
    };
    match syntax {
        Syntax::ComfyUi if has('{', '}', |inner| inner.contains('|')) => {
            found.push("`{…|…}` in the text is read as words, of which none is chosen");
        }
        Syntax::A1111 => {
            if has('[', ']', |inner| inner.contains('|') || is_timed(inner)) {
                found.push(
                    "`[…:…]` and `[…|…]` in the text are read as words that stay; \
                     `SetTimestepRange` and `CombineConditioning` change them on the way",
                );
            }
            if text.split_whitespace().any(|word| word == "AND") {
                found.push("`AND` in the text is a word; `CombineConditioning` joins two texts");
            }
        }
        Syntax::ComfyUi | Syntax::Plain => {}
    }
    found
}

/// `from:to:0.5`
fn is_timed(inner: &str) -> bool {
    let when = inner.rsplit_once(':').map(|(_, when)| when.trim());
    when.is_some_and(|when| when.parse::<f64>().is_ok())
}

fn placed(error: PromptError) -> Error {
    let port = match error {
        PromptError::UnknownEmbedding { .. } | PromptError::NoEmbeddings => "text",
        PromptError::Tokenizer(_) | PromptError::Model(_) => "text_encoder",
    };
    Error::at(port, error.to_string())
}

/// The embeddings in these files, each called as its file without the ending.
///
/// # Errors
/// A file that cannot be read or holds no embedding, and two of one name.
pub(crate) fn embeddings(
    paths: &[ReadPath],
    open: impl Fn(&ReadPath) -> Result<OpenFile>,
) -> Result<Vec<Inversion>> {
    let at = |e: Error| Error::at("embeddings", e.message());
    let mut found: Vec<Inversion> = Vec::new();
    for path in paths {
        let opened = open(path).map_err(at)?;
        let place = opened.path().to_path_buf();
        let name = path.text().rsplit(['/', '\\']).next().unwrap_or_default();
        let name = name.rsplit_once('.').map_or(name, |(stem, _)| stem);
        if found.iter().any(|other| other.name() == name) {
            let message = format!("two of the files are called `{name}`");
            return Err(Error::at("embeddings", message).hint("rename one of them"));
        }
        let file = TensorFile::of(&opened.into_file(), &place);
        let read = file.and_then(|file| Inversion::open(name, &file));
        found.push(read.map_err(|e| at(e.into()))?);
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_other_programs_would_do_more_with_is_told() {
        let told = |text, syntax| only_words(text, syntax).join("; ");
        for (text, syntax, wanted) in [
            (
                "a cat <lora:style:0.8>",
                Syntax::ComfyUi,
                "`ApplyLora` applies",
            ),
            (
                "a {red|blue} house",
                Syntax::ComfyUi,
                "of which none is chosen",
            ),
            ("a [cat:dog:0.5]", Syntax::A1111, "`SetTimestepRange`"),
            ("a [cat|dog]", Syntax::A1111, "`CombineConditioning`"),
            ("a cat AND a dog", Syntax::A1111, "joins two texts"),
        ] {
            let said = told(text, syntax);
            assert!(said.contains(wanted), "{text}: {said}");
            assert_eq!(told(text, Syntax::Plain), "", "{text}");
        }
        for text in ["a [cat] and (dog:1.2)", "{a} | b", "a BREAK b", "[a: b]"] {
            let both = told(text, Syntax::ComfyUi) + &told(text, Syntax::A1111);
            assert_eq!(both, "", "{text}");
        }
    }
}
