//! `DatasetImage`: pictures out of a dataset.

use ldm_engine::{Ctx, Error, Facts, In, Node, Result};

use crate::array::Array;
use crate::values::{Dataset, DatasetFacts, Image, PictureFacts};

/// Takes pictures out of a dataset, by number.
///
/// ```ron
/// "scene": DatasetImage(dataset: "scenes", index: 7)
/// ```
#[derive(Node)]
pub(crate) struct DatasetImage {
    /// Where to take them from.
    dataset: In<Dataset>,
    /// The first one's number, from 0.
    #[node(default = 0)]
    index: usize,
    /// How many, one after another.
    #[node(default = 1, range = 1..=4096)]
    count: usize,
}

impl DatasetImage {
    fn size(&self, dataset: DatasetFacts) -> Result<PictureFacts> {
        let (index, count, all) = (self.index, self.count, dataset.count);
        if index.checked_add(count).is_none_or(|end| end > all) {
            let message = format!("{count} from number {index} on, but the dataset has {all}");
            return Err(
                Error::at("index", message).hint(format!("numbers go from 0 to {}", all - 1))
            );
        }
        let (height, width) = (dataset.size, dataset.size);
        let picture = PictureFacts {
            batch: count,
            height,
            width,
        };
        picture
            .checked()
            .map_err(|e| Error::at("count", e.message()))
    }
}

impl Node for DatasetImage {
    type Out = Image;

    fn facts(&self, facts: &mut Facts<'_>) -> Result<()> {
        if let Some(dataset) = facts.of::<DatasetFacts, _>(&self.dataset) {
            facts.give(self.size(*dataset)?);
        }
        Ok(())
    }

    fn run(&self, ctx: &mut Ctx<'_>) -> Result<Image> {
        let dataset = ctx.get(&self.dataset);
        let PictureFacts {
            batch,
            height,
            width,
        } = self.size(dataset.facts())?;
        let indices: Vec<usize> = (self.index..self.index + batch).collect();
        let numbers = dataset.pictures().pictures(&indices);
        let numbers = numbers.into_iter().map(|x| x * 0.5 + 0.5).collect();
        Image::new(Array::new([batch, 3, height, width], numbers))
    }
}
