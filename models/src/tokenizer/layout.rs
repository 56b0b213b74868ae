//! Layouts to tokens: which things stand where, for the paper's layout-to-image models.
//! Rombach et al. 2022 section 4.3.2; the tokens are those of taming-transformers'
//! `objects_bbox` and `objects_center_points`, of which the released models took the first.
//!
//! ```text
//! class, corner, corner │ class, corner, corner │ … │ none, none, none │ crop corner, corner
//! ```
//!
//! A corner is one token: its section of a square grid. In training, things come in random
//! order; here the order given is kept.
//!
//! Not here: names of classes (Open Images' 354 categories), pictures.

use super::TokenizerError;

/// A thing in a layout.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct LayoutObject {
    /// Number of its category.
    pub class: usize,
    /// Left, top, width and height as shares of the picture.
    pub bounds: [f64; 4],
    /// Stands for several of its kind.
    pub group: bool,
    /// Partly hidden.
    pub occluded: bool,
    /// A drawing or a figurine of it.
    pub depiction: bool,
    /// Seen from its inside.
    pub inside: bool,
}

/// Where a thing stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layouts {
    /// By two opposite corners.
    Boxes,
    /// By its middle.
    Points,
}

/// The rules of one layout model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LayoutTokenizer {
    /// How a thing's place is told.
    pub layouts: Layouts,
    /// How many categories there are.
    pub classes: usize,
    /// How many things at most; fewer are filled up.
    pub objects: usize,
    /// How many tokens there are; their square root is the number of sections a side.
    pub tokens: usize,
    /// Whether the crop is told by two tokens at the end, or things are placed within it.
    pub crop: bool,
    /// Whether groups are told.
    pub groups: bool,
    /// Whether the other three marks are.
    pub marks: bool,
}

const WHOLE: [f64; 4] = [0.0, 0.0, 1.0, 1.0];

impl LayoutTokenizer {
    /// Of the released Open Images model: 30 boxes and the crop in 92 of 8192 tokens.
    pub fn open_images() -> Self {
        Self {
            layouts: Layouts::Boxes,
            classes: 354,
            objects: 30,
            tokens: 8192,
            crop: true,
            groups: true,
            marks: true,
        }
    }

    /// How many ids each layout gives.
    pub fn length(&self) -> usize {
        let one = match self.layouts {
            Layouts::Boxes => 3,
            Layouts::Points => 2,
        };
        self.objects * one + if self.crop { 2 } else { 0 }
    }

    /// The ids of a layout as seen in `crop` (left, top, width, height; the whole picture if
    /// none), mirrored if `flip`. Things beyond the number allowed, and those outside the
    /// crop, are left out.
    ///
    /// # Errors
    /// A place outside the picture, or a class that has no token.
    pub fn encode(
        &self,
        objects: &[LayoutObject],
        crop: Option<[f64; 4]>,
        flip: bool,
    ) -> Result<Vec<u32>, TokenizerError> {
        let crop = crop.unwrap_or(WHOLE);
        let within = if self.crop { WHOLE } else { crop };
        let none = self.tokens as u32 - 1;
        let mut ids = Vec::with_capacity(self.length());
        for object in objects.iter().take(self.objects) {
            if overlap(object.bounds, crop) > 0.0 {
                ids.push(self.class_of(object)?);
                ids.extend(self.place(seen(object.bounds, within, flip))?);
            }
        }
        let ends = if self.crop { 2 } else { 0 };
        ids.resize(self.length() - ends, none);
        if self.crop {
            let [x, y, w, h] = crop;
            let crop = if flip { [1.0 - (x + w), y, w, h] } else { crop };
            ids.extend(self.corners(crop)?);
        }
        Ok(ids)
    }

    fn class_of(&self, object: &LayoutObject) -> Result<u32, TokenizerError> {
        let mark = |told: bool, is: bool, bit: usize| if told && is { bit } else { 0 };
        let marks = mark(self.groups, object.group, 1)
            | mark(self.marks, object.occluded, 2)
            | mark(self.marks, object.depiction, 4)
            | mark(self.marks, object.inside, 8);
        let id = object.class + self.classes * marks;
        if object.class < self.classes && id < self.tokens {
            return Ok(id as u32);
        }
        let (class, classes) = (object.class, self.classes);
        Err(TokenizerError::Layout(format!(
            "class {class} of a thing has no token: wanted a class below {classes}"
        )))
    }

    fn place(&self, bounds: [f64; 4]) -> Result<Vec<u32>, TokenizerError> {
        let [x, y, w, h] = bounds;
        match self.layouts {
            Layouts::Boxes => self.corners(bounds),
            Layouts::Points => Ok(vec![self.point(x + w / 2.0, y + h / 2.0)?]),
        }
    }

    fn corners(&self, [x, y, w, h]: [f64; 4]) -> Result<Vec<u32>, TokenizerError> {
        Ok(vec![self.point(x, y)?, self.point(x + w, y + h)?])
    }

    /// The token of a point, its coordinates rounded to sections with halves to the even one,
    /// as Python rounds.
    fn point(&self, x: f64, y: f64) -> Result<u32, TokenizerError> {
        let sections = self.tokens.isqrt();
        let section = |share: f64| (share * (sections - 1) as f64).round_ties_even();
        let (column, row) = (section(x), section(y));
        let fits = |n: f64| n >= 0.0 && n < sections as f64;
        if fits(column) && fits(row) {
            return Ok((row as usize * sections + column as usize) as u32);
        }
        Err(TokenizerError::Layout(format!(
            "a point at {x}, {y} is outside the picture: wanted shares of it, 0 to 1"
        )))
    }
}

fn overlap(a: [f64; 4], b: [f64; 4]) -> f64 {
    let along = |i: usize| (a[i] + a[i + 2]).min(b[i] + b[i + 2]) - a[i].max(b[i]);
    along(0).max(0.0) * along(1).max(0.0)
}

/// A box as seen in a crop, cut to it.
fn seen([x, y, w, h]: [f64; 4], crop: [f64; 4], flip: bool) -> [f64; 4] {
    let x = ((x - crop[0]) / crop[2]).clamp(0.0, 1.0);
    let y = ((y - crop[1]) / crop[3]).clamp(0.0, 1.0);
    let w = (w / crop[2]).min(1.0 - x);
    let h = (h / crop[3]).min(1.0 - y);
    [if flip { 1.0 - (x + w) } else { x }, y, w, h]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_layout_is_92_tokens_and_a_wrong_one_is_refused() {
        let rules = LayoutTokenizer::open_images();
        let ids = rules.encode(&[], None, false).unwrap();
        assert_eq!(ids.len(), 92);
        assert_eq!(ids[..90], [8191; 90]);
        assert_eq!(ids[90..], [0, 8099], "the whole picture, corner to corner");
        let said = |object: LayoutObject| rules.encode(&[object], None, false).unwrap_err();
        let bounds = [0.0, 0.0, 1.0, 1.0];
        let class = LayoutObject {
            class: 354,
            bounds,
            ..LayoutObject::default()
        };
        assert!(said(class).to_string().contains("class 354 of a thing"));
        let wide = Some([-0.5, 0.0, 2.0, 1.0]);
        let said = rules.encode(&[], wide, false).unwrap_err().to_string();
        assert!(said.contains("outside the picture"), "{said}");
    }
}
