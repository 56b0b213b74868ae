//! `SaveImage`: pictures into PNG files.

use ldm_engine::{Ctx, Error, Facts, In, Node, Result, WritePath};

use crate::picture;
use crate::values::{Image, PictureFacts};

/// Writes pictures as PNG files, each carrying the graph that made it.
///
/// The graph is that of this node and its ancestors, with every input and flag filled in; there
/// is no date and no path of this machine in it.
///
/// ```ron
/// "save": SaveImage(image: "image", path: "picture-{index}.png")
/// ```
#[derive(Node)]
#[node(effect)]
pub(crate) struct SaveImage {
    /// What to write.
    image: In<Image>,
    /// The file, under the output folder; `{index}` is the number in the batch.
    path: WritePath,
    /// Puts all pictures on one sheet of so many columns, in one file.
    #[node(range = 1..=1000)]
    columns: Option<usize>,
    /// Whether the file carries the graph.
    #[node(default = true)]
    metadata: bool,
}

impl SaveImage {
    /// The size of the one file, or of each.
    fn size(&self, picture: PictureFacts) -> (usize, usize) {
        let PictureFacts {
            batch,
            height,
            width,
        } = picture;
        match self.columns.map(|columns| columns.min(batch).max(1)) {
            Some(columns) => (width * columns, height * batch.div_ceil(columns)),
            None => (width, height),
        }
    }
}

impl Node for SaveImage {
    type Out = ();

    fn facts(&self, facts: &mut Facts<'_>) -> Result<()> {
        if !self.path.text().to_ascii_lowercase().ends_with(".png") {
            let message = format!("`{}` does not end in `.png`", self.path.text());
            return Err(Error::at("path", message).hint("pictures are written as PNG"));
        }
        if let Some(picture) = facts.of::<PictureFacts, _>(&self.image) {
            let (width, height) = self.size(*picture);
            if width.max(height) > picture::MOST_SIDE as usize {
                let most = picture::MOST_SIDE;
                let message = format!("the file would be {width}×{height}, at most {most}");
                return Err(Error::at("columns", message).hint("write the pictures one by one"));
            }
        }
        Ok(())
    }

    fn run(&self, ctx: &mut Ctx<'_>) -> Result<()> {
        let image = ctx.get(&self.image);
        let PictureFacts {
            batch,
            height,
            width,
        } = image.facts();
        let recipe = self.metadata.then(|| ctx.recipe());
        let pictures: Vec<Vec<u8>> = (0..batch).map(|index| image.rgb8(index)).collect();
        if let Some(columns) = self.columns {
            let (size, rgb) = picture::sheet(&pictures, (width, height), columns);
            ctx.write(&self.path, 0, &picture::encode(size, &rgb, recipe)?)?;
            return Ok(());
        }
        for (index, rgb) in pictures.iter().enumerate() {
            let png = picture::encode((width, height), rgb, recipe.clone())?;
            ctx.write(&self.path, index, &png)?;
            ctx.step(index as u64 + 1, batch as u64)?;
        }
        Ok(())
    }
}
