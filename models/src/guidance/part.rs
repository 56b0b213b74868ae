//! A condition made ready for a latent: its rows repeated, its area cut, its weight laid out.

use std::rc::Rc;
use std::sync::Arc;

use burn::tensor::{DType, Tensor};

use super::{Area, Condition, ControlHint, Ground, GuidanceError, Span};

/// A condition that fits the latent.
pub(super) struct Part {
    /// Which side it is of: the positive one is the last.
    pub(super) side: usize,
    /// `[b, n, d]`
    pub(super) tokens: Option<Tensor<3>>,
    /// `[b, c, seen.height, seen.width]`
    pub(super) channels: Option<Tensor<4>>,
    /// `[b, d]`
    pub(super) vector: Option<Tensor<2>>,
    /// What the network sees of the latent.
    pub(super) seen: Area,
    /// How much each place counts, `[1 or b, 1, seen.height, seen.width]`; all the same, where
    /// there is none.
    pub(super) weight: Option<Tensor<4>>,
    pub(super) strength: f64,
    pub(super) span: Span,
    pub(super) controls: Vec<Arc<ControlHint>>,
}

impl Part {
    /// Whether it counts with so much `left` of the walk.
    pub(super) fn counts(&self, left: f64) -> bool {
        self.strength > 0.0 && self.span.holds(left)
    }
}

/// Makes conditions ready for a latent; `which` side they are of is for messages.
pub(super) struct Fit<'a> {
    pub(super) which: &'static str,
    pub(super) side: usize,
    pub(super) ground: &'a Ground,
}

impl Fit<'_> {
    /// All conditions of a side.
    pub(super) fn side(&self, side: Vec<Condition>) -> Result<Vec<Rc<Part>>, GuidanceError> {
        if side.is_empty() {
            return Err(GuidanceError::NoCondition(self.which));
        }
        side.into_iter()
            .map(|one| self.part(one).map(Rc::new))
            .collect()
    }

    fn part(&self, condition: Condition) -> Result<Part, GuidanceError> {
        let whole = Area::whole(self.size());
        self.check_strength(condition.strength)?;
        let area = condition.area.unwrap_or(whole);
        if !area.fits(self.size()) {
            let (which, latent) = (self.which, self.size());
            return Err(GuidanceError::Area {
                which,
                area,
                latent,
            });
        }
        let seen = area.seen(self.size(), self.ground.multiple);
        let weight = self.weight(&condition, area, seen)?;
        for hint in &condition.controls {
            self.check_hint(hint)?;
        }
        Ok(Part {
            side: self.side,
            tokens: condition.tokens.map(|x| self.tokens(x)).transpose()?,
            channels: match condition.channels {
                Some(channels) => Some(seen.cut(self.channels(channels)?, 1)),
                None => None,
            },
            vector: match condition.vector {
                Some(vector) => Some(self.rows("vectors", vector)?),
                None => None,
            },
            seen,
            weight,
            strength: condition.strength,
            span: condition.span,
            controls: condition.controls,
        })
    }

    /// The latent's height and width.
    fn size(&self) -> [usize; 2] {
        let [.., height, width] = self.ground.shape;
        [height, width]
    }

    fn tokens(&self, x: Tensor<3>) -> Result<Tensor<3>, GuidanceError> {
        if x.dims()[1] == 0 {
            return Err(GuidanceError::Empty(self.which));
        }
        self.rows("tokens", x)
    }

    fn channels(&self, x: Tensor<4>) -> Result<Tensor<4>, GuidanceError> {
        let [.., height, width] = x.dims();
        self.check_size("channels", [height, width])?;
        self.rows("channels", x)
    }

    /// The weight of `condition` in what is seen of its area.
    fn weight(
        &self,
        condition: &Condition,
        area: Area,
        seen: Area,
    ) -> Result<Option<Tensor<4>>, GuidanceError> {
        let size = self.size();
        let Some(mask) = &condition.mask else {
            let device = &self.ground.device;
            let boxed = condition
                .area
                .map(|_| area.weight(seen, size, true, device));
            return Ok(boxed.map(|weight| weight * condition.strength));
        };
        let [batch, height, width] = mask.dims();
        self.check_size("masks", [height, width])?;
        self.check_rows("masks", batch)?;
        let mask = seen
            .cut(mask.clone().unsqueeze_dim::<4>(1), 1)
            .cast(DType::F32);
        let boxed = area.weight(seen, size, false, &mask.device());
        Ok(Some(mask * boxed * condition.strength))
    }

    /// `x` with a row for each picture.
    fn rows<const D: usize>(
        &self,
        what: &'static str,
        x: Tensor<D>,
    ) -> Result<Tensor<D>, GuidanceError> {
        let times = self.check_rows(what, x.dims()[0])?;
        Ok(x.repeat_dim(0, times))
    }

    /// How often `found` rows are repeated to make one for each picture.
    fn check_rows(&self, what: &'static str, found: usize) -> Result<usize, GuidanceError> {
        let (which, batch) = (self.which, self.ground.shape[0]);
        match found {
            1 => Ok(batch),
            _ if found == batch => Ok(1),
            _ => Err(GuidanceError::Batch {
                which,
                what,
                found,
                batch,
            }),
        }
    }

    fn check_size(&self, what: &'static str, found: [usize; 2]) -> Result<(), GuidanceError> {
        let (which, wanted) = (self.which, self.size());
        if found == wanted {
            return Ok(());
        }
        Err(GuidanceError::Size {
            which,
            what,
            found,
            wanted,
        })
    }

    fn check_strength(&self, value: f64) -> Result<(), GuidanceError> {
        let which = self.which;
        if value.is_finite() && value >= 0.0 {
            return Ok(());
        }
        Err(GuidanceError::Weight { which, value })
    }

    fn check_hint(&self, hint: &ControlHint) -> Result<(), GuidanceError> {
        let [batch, _, height, width] = hint.hint.dims();
        self.check_rows("hints", batch)?;
        self.check_strength(hint.strength)?;
        let [h, w] = self.size();
        let times = height / h;
        if times > 0 && [height, width] == [h * times, w * times] {
            return Ok(());
        }
        Err(GuidanceError::Hint {
            which: self.which,
            found: [height, width],
            latent: [h, w],
        })
    }
}

/// Errors unless all conditions have the same sorts of words, equally wide.
pub(super) fn agree(parts: &[&Part]) -> Result<(), GuidanceError> {
    let width = |what, of: &dyn Fn(&Part) -> Option<usize>| {
        let Some(first) = parts.first().map(|part| of(part)) else {
            return Ok(());
        };
        for other in parts.iter().map(|part| of(part)) {
            match (first, other) {
                (Some(first), Some(other)) if first != other => {
                    return Err(GuidanceError::Width { what, first, other });
                }
                (Some(_), None) | (None, Some(_)) => return Err(GuidanceError::OneSided(what)),
                _ => {}
            }
        }
        Ok(())
    };
    width("tokens", &|part| part.tokens.as_ref().map(|x| x.dims()[2]))?;
    width("channels", &|part| {
        part.channels.as_ref().map(|x| x.dims()[1])
    })?;
    width("vectors", &|part| part.vector.as_ref().map(|x| x.dims()[1]))
}
