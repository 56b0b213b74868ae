//! Groups of tokens into rows that a text encoder reads at once.
//!
//! ComfyUI's rule: a group that does not fit the rest of a row begins the next one, unless it
//! has eight tokens or more; such a one is torn where the row is full.

use std::sync::Arc;

use crate::tokenizer::{Pieces, Tokenizer};

/// A group of this many tokens may be torn.
const LARGE: usize = 8;

/// One place in a row.
#[derive(Clone, Debug, PartialEq)]
pub enum Token {
    /// A row of the embedding.
    Id(u32),
    /// A learned vector in its place.
    Vector(Arc<[f32]>),
}

/// As many tokens as a text encoder reads at once, each with its weight.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Row {
    /// The tokens, start and end included.
    pub tokens: Vec<Token>,
    /// Their weights; 1 where nothing was said.
    pub weights: Vec<f32>,
}

impl Row {
    fn push(&mut self, tokens: impl IntoIterator<Item = Token>, weight: f32) {
        self.tokens.extend(tokens);
        self.weights.resize(self.tokens.len(), weight);
    }

    /// The ids; a learned vector counts as 0.
    pub fn ids(&self) -> impl Iterator<Item = u32> {
        self.tokens.iter().map(|token| match token {
            Token::Id(id) => *id,
            Token::Vector(_) => 0,
        })
    }

    /// Whether any token has another weight than 1.
    pub fn is_weighted(&self) -> bool {
        self.weights.iter().any(|weight| *weight != 1.0)
    }
}

/// Tokens that belong together.
#[derive(Clone, Debug)]
pub(super) enum Group {
    Tokens {
        tokens: Vec<Token>,
        weight: f32,
        /// The text they are of, where in it each begins, and which of them are unknown.
        text: String,
        places: Vec<usize>,
        unknown: Vec<(usize, String)>,
    },
    /// The next group begins a row.
    Break,
}

impl Group {
    pub(super) fn words(text: &str, pieces: Pieces, weight: f32) -> Self {
        Self::Tokens {
            tokens: pieces.ids.into_iter().map(Token::Id).collect(),
            weight,
            text: text.to_owned(),
            places: pieces.places,
            unknown: pieces.unknown,
        }
    }

    pub(super) fn vectors(vectors: &[Arc<[f32]>], weight: f32) -> Self {
        Self::Tokens {
            tokens: vectors.iter().cloned().map(Token::Vector).collect(),
            weight,
            text: String::new(),
            places: Vec::new(),
            unknown: Vec::new(),
        }
    }

    /// The unknown words among the first `room` tokens.
    pub(super) fn unknown(&self, room: usize) -> Vec<String> {
        let Self::Tokens { unknown, .. } = self else {
            return Vec::new();
        };
        let told = unknown.iter().filter(|(at, _)| *at < room);
        told.map(|(_, word)| word.clone()).collect()
    }
}

/// What stands around the tokens of a row.
pub(super) struct Frame<'a> {
    start: &'a [u32],
    end: &'a [u32],
    pad: u32,
    length: usize,
}

impl<'a> Frame<'a> {
    pub(super) fn of(tokenizer: &'a Tokenizer, pad: u32) -> Self {
        Self {
            start: tokenizer.start(),
            end: tokenizer.end(),
            pad,
            length: tokenizer.length(),
        }
    }

    /// As many rows as the groups need, at least one.
    pub(super) fn rows(&self, groups: Vec<Group>) -> Vec<Row> {
        let mut rows = vec![self.begun()];
        for group in groups {
            let Group::Tokens { tokens, weight, .. } = group else {
                rows.push(self.begun());
                continue;
            };
            let large = tokens.len() >= LARGE;
            let mut rest = &tokens[..];
            while !rest.is_empty() {
                let row = rows.last_mut().expect("there is a row from the start");
                let room = self.length - self.end.len() - row.tokens.len();
                let fits = rest.len() <= room;
                // A small group of more tokens than a whole row holds is torn all the same.
                let whole = self.length - self.end.len() - self.start.len();
                let taken = match fits || large || rest.len() > whole {
                    true => rest.len().min(room),
                    false => 0,
                };
                row.push(rest[..taken].iter().cloned(), weight);
                rest = &rest[taken..];
                if !fits {
                    rows.push(self.begun());
                }
            }
        }
        rows.into_iter().map(|row| self.closed(row)).collect()
    }

    /// One row of all groups, the unknown words in it, and the text that did not fit.
    pub(super) fn row(&self, groups: Vec<Group>) -> (Row, Vec<String>, Option<String>) {
        let (mut row, mut unknown, mut cut) = (self.begun(), Vec::new(), None::<String>);
        for group in groups {
            let room = self.length - self.end.len() - row.tokens.len();
            unknown.extend(group.unknown(room));
            let Group::Tokens {
                mut tokens,
                weight,
                text,
                places,
                ..
            } = group
            else {
                continue;
            };
            let left = places.get(room).map(|from| &text[*from..]);
            if let Some(left) = left {
                cut.get_or_insert_default().push_str(left);
            }
            tokens.truncate(room);
            row.push(tokens, weight);
        }
        (self.closed(row), unknown, cut)
    }

    /// The row of an empty text.
    pub(super) fn empty(&self) -> Row {
        self.closed(self.begun())
    }

    fn begun(&self) -> Row {
        let mut row = Row::default();
        row.push(self.start.iter().copied().map(Token::Id), 1.0);
        row
    }

    fn closed(&self, mut row: Row) -> Row {
        row.push(self.end.iter().copied().map(Token::Id), 1.0);
        let left = self.length - row.tokens.len();
        row.push(vec![Token::Id(self.pad); left], 1.0);
        row
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRAME: Frame<'_> = Frame {
        start: &[100],
        end: &[101],
        pad: 0,
        length: 12,
    };

    fn group(count: u32, weight: f32) -> Group {
        let pieces = Pieces {
            ids: (1..=count).collect(),
            places: (0..count as usize).collect(),
            ..Pieces::default()
        };
        Group::words(&"abcdefghijklmnopqrst"[..count as usize], pieces, weight)
    }

    fn ids(rows: &[Row]) -> Vec<Vec<u32>> {
        rows.iter().map(|row| row.ids().collect()).collect()
    }

    #[test]
    fn a_small_group_moves_on_and_a_large_one_is_torn() {
        let small = FRAME.rows(vec![group(6, 1.0), group(5, 1.2)]);
        assert_eq!(
            ids(&small),
            [
                [100, 1, 2, 3, 4, 5, 6, 101, 0, 0, 0, 0],
                [100, 1, 2, 3, 4, 5, 101, 0, 0, 0, 0, 0]
            ]
        );
        assert_eq!(small[1].weights[..7], [1.0, 1.2, 1.2, 1.2, 1.2, 1.2, 1.0]);
        let large = FRAME.rows(vec![group(6, 1.0), group(8, 1.0)]);
        assert_eq!(
            ids(&large),
            [
                [100, 1, 2, 3, 4, 5, 6, 1, 2, 3, 4, 101],
                [100, 5, 6, 7, 8, 101, 0, 0, 0, 0, 0, 0]
            ]
        );
    }

    #[test]
    fn a_break_begins_a_row_and_an_empty_text_is_one() {
        let rows = FRAME.rows(vec![group(1, 1.0), Group::Break, group(1, 1.0)]);
        assert_eq!(rows.len(), 2);
        assert_eq!(FRAME.rows(vec![]), [FRAME.empty()]);
    }

    #[test]
    fn the_text_that_does_not_fit_one_row_is_told() {
        let (row, _, cut) = FRAME.row(vec![group(8, 1.0), group(4, 2.0), group(2, 1.0)]);
        assert_eq!(row.tokens.len(), 12);
        assert_eq!(cut.as_deref(), Some("cdab"));
        assert_eq!(FRAME.row(vec![group(10, 1.0)]).2, None);
    }

    #[test]
    fn rows_shorter_than_a_word_still_hold_all_of_it() {
        let narrow = Frame { length: 5, ..FRAME };
        let rows = narrow.rows(vec![group(7, 1.0)]);
        assert_eq!(rows.len(), 3);
    }
}
