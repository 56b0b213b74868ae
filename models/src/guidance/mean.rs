//! What a side says: the mean of its conditions' predictions, place by place.

use burn::tensor::{DType, Tensor};

use super::Area;
use super::part::Part;

/// Added to a sum of weights, so that nothing is not divided by nothing. ComfyUI's number.
const TINY: f64 = 1e-37;

/// Predictions of one side's conditions.
#[derive(Default)]
pub(super) struct Mean<'a>(Vec<(&'a Part, Tensor<4>)>);

impl<'a> Mean<'a> {
    /// Adds what `part` predicts, `[b, c, seen.height, seen.width]`.
    pub(super) fn add(&mut self, part: &'a Part, e: Tensor<4>) {
        self.0.push((part, e));
    }

    /// The mean for `x [b, c, h, w]`, weighted by strength, area and mask; `blank` gives what
    /// is said where no condition counts.
    pub(super) fn or_blank(
        mut self,
        x: &Tensor<4>,
        blank: impl FnOnce() -> Tensor<4>,
    ) -> Tensor<4> {
        let everywhere = self.0.iter().any(|(part, _)| part.weight.is_none());
        if self.0.len() == 1 && everywhere {
            return self.0.remove(0).1; // its weight cancels
        }
        let (mut sum, mut count) = (x.zeros_like(), x.zeros_like().narrow(1, 0, 1));
        for (part, e) in self.0 {
            let weight = weight_of(part, &e);
            sum = added(sum, part.seen, e * weight.clone());
            count = added(count, part.seen, weight);
        }
        let mean = sum / (count.clone() + TINY);
        if everywhere {
            return mean;
        }
        let bare = count.lower_equal_elem(0.0).expand(x.dims());
        mean.mask_where(bare, blank())
    }
}

/// The weight of `part` for each picture of `e`, `[b, 1, h, w]`.
fn weight_of(part: &Part, e: &Tensor<4>) -> Tensor<4> {
    let [batch, _, height, width] = e.dims();
    match &part.weight {
        Some(weight) => weight.clone().repeat_dim(0, batch / weight.dims()[0]),
        None => Tensor::full(
            [batch, 1, height, width],
            part.strength,
            (&e.device(), DType::F32),
        ),
    }
}

/// `to` with `more` added to `area` of it.
fn added(to: Tensor<4>, area: Area, more: Tensor<4>) -> Tensor<4> {
    let [batch, channels, height, width] = to.dims();
    if area == Area::whole([height, width]) {
        return to + more;
    }
    let (rows, columns) = (area.y..area.y + area.height, area.x..area.x + area.width);
    let place = [0..batch, 0..channels, rows, columns];
    let there = to.clone().slice(place.clone());
    to.slice_assign(place, there + more)
}
