//! What people write in a prompt, as rows of tokens with weights, and their encoding.
//!
//! ```text
//! text ─ syntax ─ spans ─ tokenizer ─ groups ─ rows of 77 ─ text encoder ─ blend ─ tokens
//!        (a:1.2)                    embedding:name        and of the empty text
//! ```
//!
//! Promises
//! - [`Syntax::ComfyUi`] cuts and weighs as ComfyUI does: the same tokens in the same rows with
//!   the same weights.
//! - A word of weight 1 has exactly the numbers it has without weights elsewhere.
//! - The paper's text encoder reads one row: it was trained on whole texts, and what does not
//!   fit is told. CLIP's read as many as there are.
//!
//! Not here: `[from:to:when]` and other schedules, wildcards, A1111's rescaling of a weighted
//! text to its old mean.

mod encode;
mod rows;
mod syntax;

pub use encode::{Encoded, encode};
pub use rows::{Row, Token};
pub use syntax::{Span, Syntax};

use crate::error::Result;
use crate::inversion::Inversion;
use crate::text::{ClipConfig, TextConfig};
use crate::tokenizer::{Tokenizer, TokenizerError};
use rows::{Frame, Group};

/// Why a prompt cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum PromptError {
    /// A name that no embedding has.
    #[error("the text calls `embedding:{name}`, {}", listed(.known))]
    UnknownEmbedding {
        /// The name.
        name: String,
        /// The names there are.
        known: Vec<String>,
    },
    /// The paper's text encoder has no place for learned vectors.
    #[error("this text encoder takes no embeddings: they were learned for CLIP's")]
    NoEmbeddings,
    /// The tokenizer failed.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    /// The embedding or the text encoder does not fit.
    #[error(transparent)]
    Model(#[from] crate::error::Error),
}

fn listed(names: &[String]) -> String {
    match names {
        [] => "and no embeddings are given: name its file in `embeddings`".to_owned(),
        names => format!("the embeddings given are: {}", names.join(", ")),
    }
}

/// What a prompt is read with.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a> {
    /// The text encoder's shape.
    pub config: &'a TextConfig,
    /// Its tokenizer.
    pub tokenizer: &'a Tokenizer,
    /// How weights are written.
    pub syntax: Syntax,
    /// What `embedding:name` may call.
    pub embeddings: &'a [Inversion],
}

/// A prompt in rows of tokens, and what of the text they leave out.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rows {
    /// For each transformer of the text encoder its rows; as many rows for one as for another.
    pub rows: Vec<Vec<Row>>,
    /// Words (or pieces of words) that the vocabulary does not have.
    pub unknown: Vec<String>,
    /// The end of the text, where it was too long.
    pub cut: Option<String>,
}

impl Reader<'_> {
    /// `texts` as rows: the text for each transformer of the text encoder, the last one for
    /// all that follow.
    ///
    /// # Errors
    /// An embedding that is not there or does not fit, or a tokenizer that fails.
    pub fn rows(&self, texts: &[&str]) -> Result<Rows, PromptError> {
        let clips = self.config.clips();
        if clips.is_empty() {
            return self.one_row(texts.first().copied().unwrap_or_default());
        }
        let mut whole = Rows::default();
        for (which, clip) in clips.iter().enumerate() {
            let text = texts
                .get(which)
                .or(texts.last())
                .copied()
                .unwrap_or_default();
            let groups = self.groups(text, Some((which, clip)))?;
            if which == 0 {
                whole.unknown = groups.iter().flat_map(|g| g.unknown(usize::MAX)).collect();
            }
            whole.rows.push(self.frame(clip).rows(groups));
        }
        let longest = whole.rows.iter().map(Vec::len).max().unwrap_or(0);
        for (rows, clip) in whole.rows.iter_mut().zip(&clips) {
            rows.resize(longest, self.frame(clip).empty());
        }
        Ok(whole)
    }

    /// One row of the paper's text encoder, cut where it is full.
    fn one_row(&self, text: &str) -> Result<Rows, PromptError> {
        let frame = Frame::of(self.tokenizer, self.tokenizer.pad());
        let (row, unknown, cut) = frame.row(self.groups(text, None)?);
        Ok(Rows {
            rows: vec![vec![row]],
            unknown,
            cut,
        })
    }

    fn frame(&self, clip: &ClipConfig) -> Frame<'_> {
        Frame::of(self.tokenizer, clip.pad)
    }

    /// The text's tokens, in groups that are not torn where that can be helped.
    fn groups(
        &self,
        text: &str,
        clip: Option<(usize, &&ClipConfig)>,
    ) -> Result<Vec<Group>, PromptError> {
        let mut groups = Vec::new();
        for span in self.syntax.spans(text) {
            match span {
                Span::Break => groups.push(Group::Break),
                Span::Text { text, weight } => {
                    self.span(&text, weight as f32, clip, &mut groups)?;
                }
            }
        }
        Ok(groups)
    }

    fn span(
        &self,
        text: &str,
        weight: f32,
        clip: Option<(usize, &&ClipConfig)>,
        groups: &mut Vec<Group>,
    ) -> Result<(), PromptError> {
        let words = |text: &str, groups: &mut Vec<Group>| {
            let pieces = self.tokenizer.pieces(text)?;
            groups.push(Group::words(text, pieces, weight));
            Ok::<_, PromptError>(())
        };
        if self.syntax == Syntax::Plain {
            return words(text, groups);
        }
        for part in syntax::around_embeddings(text) {
            let Some(called) = part.strip_prefix(syntax::EMBEDDING) else {
                words(part, groups)?;
                continue;
            };
            let (found, rest) = self.called(called)?;
            let (which, clip) = clip.ok_or(PromptError::NoEmbeddings)?;
            let of = self.config.clips().len();
            let vectors = found.vectors(which, of, clip.width)?;
            groups.push(Group::vectors(vectors, weight));
            if !rest.is_empty() {
                words(&rest, groups)?;
            }
        }
        Ok(())
    }

    /// The embedding that `called` begins with, and the text behind its name.
    fn called(&self, called: &str) -> Result<(&Inversion, String), PromptError> {
        let mut words = called.split_whitespace();
        let name = words.next().unwrap_or_default();
        let rest = words.collect::<Vec<_>>().join(" ");
        let find = |name: &str| self.embeddings.iter().find(|e| e.name() == name);
        if let Some(found) = find(name) {
            return Ok((found, rest));
        }
        let bare = name.trim_end_matches(',');
        match find(bare) {
            Some(found) => Ok((found, format!("{} {rest}", &name[bare.len()..]))),
            None => Err(PromptError::UnknownEmbedding {
                name: bare.to_owned(),
                known: self
                    .embeddings
                    .iter()
                    .map(|e| e.name().to_owned())
                    .collect(),
            }),
        }
    }
}
