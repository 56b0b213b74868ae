//! `AverageConditioning`: something between two texts.

use ldm_engine::{Ctx, Error, Facts, In, Node, Result};

use crate::array::Array;
use crate::values::{Conditioning, ConditioningFacts, Entry, EntryFacts};

/// Mixes the encodings of two texts into one, which the network is asked about once.
///
/// Tokens are mixed place by place: where the other text is shorter its places count as zeros,
/// where it is longer the rest is left out. Vectors are mixed alike. Areas, masks and all else
/// are those of `conditioning`.
///
/// ```ron
/// "between": AverageConditioning(conditioning: "wanted", other: "also", share: 0.7)
/// ```
#[derive(Node)]
pub(crate) struct AverageConditioning {
    /// The text whose length and place the mixture has.
    conditioning: In<Conditioning>,
    /// The text to mix in.
    other: In<Conditioning>,
    /// How much of the first the mixture is; the rest is the other.
    #[node(default = 1.0, range = 0.0..=1.0)]
    share: f64,
}

/// The entry to mix in, and whether it goes with all of `into`.
fn mixable(into: &[EntryFacts], other: &[EntryFacts]) -> Result<()> {
    let [other] = other else {
        let message = format!("has {} entries, and only one can be mixed in", other.len());
        return Err(Error::at("other", message).hint("mix before `CombineConditioning`"));
    };
    for entry in into {
        let (Some([batch, _, width]), Some([b, _, w])) = (entry.tokens, other.tokens) else {
            return Err(Error::at("other", "both need tokens to mix"));
        };
        if (batch, width) != (b, w) {
            let message = format!("{b} texts {w} wide cannot be mixed into {batch} {width} wide");
            return Err(Error::at("other", message).hint("encode both with the same model"));
        }
        if let (Some(a), Some(b)) = (entry.vector, other.vector)
            && a != b
        {
            let message = format!("a vector of {b:?} cannot be mixed into one of {a:?}");
            return Err(Error::at("other", message).hint("encode both with the same model"));
        }
    }
    Ok(())
}

impl AverageConditioning {
    fn mix(&self, a: f32, b: f32) -> f32 {
        a * self.share as f32 + b * (1.0 - self.share) as f32
    }

    /// Tokens `[batch, n, width]`, `n` being those of `a`.
    fn tokens(&self, a: &Array<3>, b: &Array<3>) -> Array<3> {
        let [_, n, width] = a.shape();
        let [_, m, _] = b.shape();
        let mixed = a.numbers().iter().enumerate().map(|(at, number)| {
            let (item, place) = (at / (n * width), at % (n * width));
            let other = (place < m * width).then(|| b.numbers()[item * m * width + place]);
            self.mix(*number, other.unwrap_or(0.0))
        });
        Array::new(a.shape(), mixed.collect())
    }

    fn vector(&self, a: &Array<2>, b: &Array<2>) -> Array<2> {
        let pairs = a.numbers().iter().zip(b.numbers());
        Array::new(a.shape(), pairs.map(|(a, b)| self.mix(*a, *b)).collect())
    }

    fn entry(&self, entry: Entry, other: &Entry) -> Entry {
        let tokens = match (&entry.tokens, &other.tokens) {
            (Some(a), Some(b)) => Some(self.tokens(a, b)),
            _ => None,
        };
        let vector = match (&entry.vector, &other.vector) {
            (Some(a), Some(b)) => Some(self.vector(a, b)),
            (a, b) => a.clone().or(b.clone()),
        };
        Entry {
            tokens,
            vector,
            ..entry
        }
    }
}

impl Node for AverageConditioning {
    type Out = Conditioning;

    fn facts(&self, facts: &mut Facts<'_>) -> Result<()> {
        let told = facts.of::<ConditioningFacts, _>(&self.conditioning);
        let other = facts.of::<ConditioningFacts, _>(&self.other);
        if let (Some(told), Some(other)) = (told, other) {
            mixable(&told.entries, &other.entries)?;
            let vector = other.entries[0].vector;
            facts.give(told.each(|entry| EntryFacts {
                vector: entry.vector.or(vector),
                ..entry
            }));
        }
        Ok(())
    }

    fn run(&self, ctx: &mut Ctx<'_>) -> Result<Conditioning> {
        let (told, other) = (ctx.get(&self.conditioning), ctx.get(&self.other));
        mixable(&told.facts().entries, &other.facts().entries)?;
        Ok(told.each(|entry| self.entry(entry, &other.entries[0])))
    }
}
