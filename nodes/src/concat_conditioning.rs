//! `ConcatConditioning`: several texts looked at together.

use ldm_engine::{Ctx, Error, Facts, In, Node, Result};

use crate::array::Array;
use crate::values::{Conditioning, ConditioningFacts, Entry, EntryFacts};

/// Sets the tokens of several conditionings one after another, so that all are looked at.
///
/// Each text keeps its own encoding, and none is cut to make room for another. Where the first
/// has several entries the others' tokens follow those of each; areas, masks, strengths and
/// vectors are the first's.
///
/// ```ron
/// "both": ConcatConditioning(conditioning: ["wanted", "also"])
/// ```
#[derive(Node)]
pub(crate) struct ConcatConditioning {
    /// What to set one after another, in this order; all but the first have one entry.
    conditioning: Vec<In<Conditioning>>,
}

/// The shape of what comes out, given the shapes of what comes in.
fn joined(parts: &[&ConditioningFacts]) -> Result<ConditioningFacts> {
    let Some((first, others)) = parts.split_first() else {
        return Err(Error::at("conditioning", "there is nothing to concatenate"));
    };
    let others: Vec<&EntryFacts> = others
        .iter()
        .map(|told| only(told))
        .collect::<Result<_>>()?;
    let entries = first.entries.iter();
    let entries = entries.map(|entry| follow(entry, &others));
    Ok(ConditioningFacts {
        entries: entries.collect::<Result<_>>()?,
    })
}

fn only(told: &ConditioningFacts) -> Result<&EntryFacts> {
    let [entry] = &told.entries[..] else {
        let message = format!(
            "one of them has {} entries, and only the first may have several",
            told.entries.len()
        );
        return Err(Error::at("conditioning", message)
            .hint("concatenate texts before `CombineConditioning`"));
    };
    Ok(entry)
}

/// The shape of `first` with the tokens of `others` behind its own.
fn follow(first: &EntryFacts, others: &[&EntryFacts]) -> Result<EntryFacts> {
    let mut whole: Option<[usize; 3]> = None;
    let mut channels = None;
    for part in [first].into_iter().chain(others.iter().copied()) {
        let Some([batch, count, width]) = part.tokens else {
            return Err(Error::at(
                "conditioning",
                "one of them has no tokens to concatenate",
            ));
        };
        let [all, counted, wide] = whole.unwrap_or([batch, 0, width]);
        if all != batch || wide != width {
            let message = format!(
                "tokens of {all} pictures {wide} wide cannot be set beside {batch} {width} wide"
            );
            return Err(Error::at("conditioning", message).hint("encode all with the same model"));
        }
        whole = Some([batch, counted + count, width]);
        if channels.is_some() && part.channels.is_some() {
            let message = "two of them carry channels, of which only one can be kept";
            return Err(
                Error::at("conditioning", message).hint("add them after, by `ConcatLatent`")
            );
        }
        channels = channels.or(part.channels);
    }
    Ok(EntryFacts {
        tokens: whole,
        channels,
        ..first.clone()
    })
}

/// `first` with the tokens of `others` behind its own; their shapes agree.
fn with_tokens(first: Entry, others: &[&Entry], shape: [usize; 3]) -> Entry {
    let mut numbers = Vec::with_capacity(shape.iter().product());
    let all = || [&first].into_iter().chain(others.iter().copied());
    for item in 0..shape[0] {
        for tokens in all().filter_map(|part| part.tokens.as_ref()) {
            let one = tokens.numbers().len() / shape[0];
            numbers.extend_from_slice(&tokens.numbers()[item * one..(item + 1) * one]);
        }
    }
    let channels = all().find_map(|part| part.channels.clone());
    Entry {
        tokens: Some(Array::new(shape, numbers)),
        channels,
        ..first
    }
}

impl Node for ConcatConditioning {
    type Out = Conditioning;

    fn facts(&self, facts: &mut Facts<'_>) -> Result<()> {
        let parts = facts.all::<ConditioningFacts, _>(&self.conditioning);
        if let Some(parts) = parts
            .iter()
            .map(Option::as_deref)
            .collect::<Option<Vec<_>>>()
        {
            facts.give(joined(&parts)?);
        }
        Ok(())
    }

    fn run(&self, ctx: &mut Ctx<'_>) -> Result<Conditioning> {
        let parts = ctx.get(&self.conditioning);
        let shapes: Vec<_> = parts.iter().map(|part| part.facts()).collect();
        let mut whole = joined(&shapes.iter().collect::<Vec<_>>())?
            .entries
            .into_iter();
        let others: Vec<&Entry> = parts[1..].iter().map(|part| &part.entries[0]).collect();
        Ok(parts[0].each(|entry| {
            let shape = whole.next().and_then(|entry| entry.tokens);
            with_tokens(entry, &others, shape.unwrap_or_default())
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn widths_and_batches_must_agree() {
        let told = |tokens| {
            ConditioningFacts::from(EntryFacts {
                tokens: Some(tokens),
                ..EntryFacts::default()
            })
        };
        let whole = joined(&[&told([1, 77, 8]), &told([1, 3, 8])]).unwrap();
        assert_eq!(whole.entries[0].tokens, Some([1, 80, 8]));
        assert!(joined(&[&told([1, 77, 8]), &told([1, 77, 4])]).is_err());
        assert!(joined(&[&told([1, 77, 8]), &told([2, 77, 8])]).is_err());
        assert!(joined(&[&told([1, 77, 8]), &ConditioningFacts::default()]).is_err());
    }

    #[test]
    fn each_entry_of_the_first_is_followed_and_no_other_may_have_several() {
        let entry = |count| EntryFacts {
            tokens: Some([1, count, 8]),
            ..EntryFacts::default()
        };
        let two = ConditioningFacts {
            entries: vec![entry(5), entry(6)],
        };
        let one = ConditioningFacts::from(entry(7));
        let whole = joined(&[&two, &one]).unwrap();
        let counts: Vec<_> = whole.entries.iter().map(|e| e.tokens.unwrap()[1]).collect();
        assert_eq!(counts, [12, 13]);
        assert!(joined(&[&one, &two]).is_err());
    }
}
