//! `ConcatConditioning`: several texts looked at together.

use ldm_engine::{Ctx, Error, Facts, In, Node, Result};

use crate::array::Array;
use crate::values::{Conditioning, ConditioningFacts};

/// Sets the tokens of several conditionings one after another, so that all are looked at.
///
/// Each text keeps its own encoding, and none is cut to make room for another.
///
/// ```ron
/// "both": ConcatConditioning(conditioning: ["wanted", "also"])
/// ```
#[derive(Node)]
pub(crate) struct ConcatConditioning {
    /// What to set one after another, in this order.
    conditioning: Vec<In<Conditioning>>,
}

/// The shape of what comes out, given the shapes of what comes in.
fn joined(parts: &[ConditioningFacts]) -> Result<ConditioningFacts> {
    let mut whole: Option<[usize; 3]> = None;
    let mut channels = None;
    for part in parts {
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
    Ok(ConditioningFacts {
        tokens: whole,
        channels,
        vector: parts.first().and_then(|part| part.vector),
    })
}

impl Node for ConcatConditioning {
    type Out = Conditioning;

    fn facts(&self, facts: &mut Facts<'_>) -> Result<()> {
        let parts = facts.all::<ConditioningFacts, _>(&self.conditioning);
        if let Some(parts) = parts
            .into_iter()
            .map(|part| Some(*part?))
            .collect::<Option<Vec<_>>>()
        {
            facts.give(joined(&parts)?);
        }
        Ok(())
    }

    fn run(&self, ctx: &mut Ctx<'_>) -> Result<Conditioning> {
        let parts = ctx.get(&self.conditioning);
        let shapes: Vec<_> = parts.iter().map(|part| part.facts()).collect();
        let shape = joined(&shapes)?.tokens.unwrap_or_default();
        let mut numbers = Vec::with_capacity(shape.iter().product());
        for item in 0..shape[0] {
            for tokens in parts.iter().filter_map(|part| part.tokens.as_ref()) {
                let one = tokens.numbers().len() / shape[0];
                numbers.extend_from_slice(&tokens.numbers()[item * one..(item + 1) * one]);
            }
        }
        let channels = parts.iter().find_map(|part| part.channels.clone());
        Ok(Conditioning {
            tokens: Some(Array::new(shape, numbers)),
            channels,
            // Of the first text, as in ComfyUI.
            vector: parts.first().and_then(|part| part.vector.clone()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn widths_and_batches_must_agree() {
        let told = |tokens| ConditioningFacts {
            tokens: Some(tokens),
            ..ConditioningFacts::default()
        };
        let whole = joined(&[told([1, 77, 8]), told([1, 3, 8])]).unwrap();
        assert_eq!(whole.tokens, Some([1, 80, 8]));
        assert!(joined(&[told([1, 77, 8]), told([1, 77, 4])]).is_err());
        assert!(joined(&[told([1, 77, 8]), told([2, 77, 8])]).is_err());
        assert!(joined(&[told([1, 77, 8]), ConditioningFacts::default()]).is_err());
    }
}
