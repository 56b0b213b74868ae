//! `ClassEncode`: a class in, conditioning out.

use burn::tensor::Tensor;
use ldm_engine::{Ctx, Error, Facts, In, Node, Result};

use crate::machine::Machine;
use crate::values::{
    ClassEmbedder, ClassEmbedderAbout, Conditioning, ConditioningFacts, Entry, EntryFacts,
};

/// What a picture should be of, by the number of a class.
///
/// For models of classes: the paper's ImageNet models know 1000, and one of them a class 1000
/// that is none of them, for the negative side.
///
/// ```ron
/// "lion": ClassEncode(class_embedder: "cin", class: 291)
/// ```
#[derive(Node)]
#[node(device)]
pub(crate) struct ClassEncode {
    /// The network that knows the classes.
    class_embedder: In<ClassEmbedder>,
    /// The class's number, counted from 0.
    class: usize,
}

impl ClassEncode {
    fn shape(&self, about: &ClassEmbedderAbout) -> Result<[usize; 3]> {
        let classes = about.config.classes;
        if self.class >= classes {
            let message = format!("is {}, this model has {classes} classes", self.class);
            let hint = format!("the last is {}", classes.saturating_sub(1));
            return Err(Error::at("class", message).hint(hint));
        }
        Ok([1, 1, about.config.width])
    }
}

impl Node for ClassEncode {
    type Out = Conditioning;

    fn facts(&self, facts: &mut Facts<'_>) -> Result<()> {
        if let Some(about) = facts.of::<ClassEmbedderAbout, _>(&self.class_embedder) {
            let tokens = Some(self.shape(&about)?);
            facts.give(ConditioningFacts::from(EntryFacts {
                tokens,
                ..EntryFacts::default()
            }));
        }
        Ok(())
    }

    fn run(&self, ctx: &mut Ctx<'_>) -> Result<Conditioning> {
        let machine = ctx.extension::<Machine>()?;
        let embedder = ctx.get(&self.class_embedder);
        self.shape(embedder.about())?;
        let network = embedder.network(&machine, &ctx.reporter())?;
        let class = Tensor::from_data([self.class as i32], machine.device());
        let tokens = machine.read(network.forward(class), "the class's token")?;
        Ok(Conditioning::from(Entry {
            tokens: Some(tokens),
            ..Entry::default()
        }))
    }
}
