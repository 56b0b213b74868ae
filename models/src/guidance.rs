//! Classifier-free guidance: away from the negative prompt, towards the positive one.
//!
//! Ho and Salimans 2022 (arXiv 2207.12598), in the form every tool uses:
//! e = e_negative + cfg · (e_positive − e_negative).
//!
//! Promises
//! - Both conditions run in one batch, `[negative, positive]` as in CompVis.
//! - At `cfg` 1, and without a negative condition, only the positive one runs.
//! - What does not fit is an error before the first network call.
//!
//! Not here: areas, masks, timestep ranges of a conditioning.

use burn::tensor::{DType, Tensor};

use crate::prediction::{Both, Network};

/// Beyond this factor repeating the shorter prompt costs more than a second call.
/// ComfyUI draws the line at the same place.
const MOST_REPEATS: usize = 4;

/// What a network is conditioned on besides the noisy latent.
#[derive(Clone, Debug, Default)]
pub struct Condition {
    /// Tokens for cross-attention, `[1 or b, n, d]`.
    pub tokens: Option<Tensor<3>>,
    /// Channels set behind the latent's own, `[1 or b, c, h, w]`.
    pub channels: Option<Tensor<4>>,
}

impl Condition {
    /// Tokens only, as text gives them: `[1 or b, n, d]`.
    pub fn tokens(tokens: Tensor<3>) -> Self {
        Self {
            tokens: Some(tokens),
            channels: None,
        }
    }
}

/// Why two conditions and a latent do not go together.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum GuidanceError {
    /// A strength that is no number to multiply with.
    #[error("`cfg` is {0}, but guidance needs a finite number: 1 is off, 3 to 8 is usual")]
    Strength(f64),
    /// A condition for another number of pictures.
    #[error(
        "the {which} {what} are for {found} pictures, but the latent has {batch}: give 1 or {batch}"
    )]
    Batch {
        /// `positive` or `negative`.
        which: &'static str,
        /// `tokens` or `channels`.
        what: &'static str,
        /// The condition's batch.
        found: usize,
        /// The latent's batch.
        batch: usize,
    },
    /// Channels of another size than the latent.
    #[error(
        "the {which} channels are {found:?} high and wide, but the latent is {wanted:?}: \
         encode them at the latent's size"
    )]
    Size {
        /// `positive` or `negative`.
        which: &'static str,
        /// Height and width found.
        found: [usize; 2],
        /// Height and width of the latent.
        wanted: [usize; 2],
    },
    /// Tokens or channels on one side only.
    #[error("only one of the positive and the negative condition has {0}: give both or neither")]
    OneSided(&'static str),
    /// Two sides of different width.
    #[error(
        "the positive {what} are {positive} wide and the negative ones {negative}: \
         encode both with the same model"
    )]
    Width {
        /// `tokens` or `channels`.
        what: &'static str,
        /// Width of the positive side.
        positive: usize,
        /// Width of the negative side.
        negative: usize,
    },
    /// A prompt of no tokens at all.
    #[error("the {0} condition has no tokens: an empty prompt still has its padding")]
    Empty(&'static str),
}

/// A network under guidance: itself a [`Network`] that a sampler can walk.
///
/// `F` is the bare network, as [`UNet::forward`](crate::unet): `x [b, c, h, w]`, timesteps
/// `[b]` in f32, tokens `[b, n, d]` → `[b, c_out, h, w]`.
pub struct Guided<F> {
    network: F,
    cfg: f64,
    positive: Condition,
    negative: Option<Condition>,
}

impl<F: Fn(Tensor<4>, Tensor<1>, Option<Tensor<3>>) -> Tensor<4>> Guided<F> {
    /// Guides `network` by `cfg` for latents of `shape [b, c, h, w]`.
    ///
    /// Prompts of different length are repeated to their least common multiple, as ComfyUI
    /// does: attention over repeated tokens gives what it gives over the tokens once. Where
    /// that takes more than four times the shorter one, the two run in two calls.
    pub fn new(
        network: F,
        cfg: f64,
        positive: Condition,
        negative: Option<Condition>,
        shape: [usize; 4],
    ) -> Result<Self, GuidanceError> {
        if !cfg.is_finite() {
            return Err(GuidanceError::Strength(cfg));
        }
        let positive = fit(positive, "positive", shape)?;
        let negative = match negative.filter(|_| cfg != 1.0) {
            Some(negative) => {
                let negative = fit(negative, "negative", shape)?;
                agree(&positive, &negative)?;
                Some(negative)
            }
            None => None,
        };
        Ok(Self {
            network,
            cfg,
            positive,
            negative,
        })
    }

    /// One call of the bare network under one condition that fits `x`.
    fn call(&self, x: Tensor<4>, t: f64, condition: &Condition) -> Tensor<4> {
        let (batch, device) = (x.dims()[0], x.device());
        // In f32 whatever the latent is in: f16 cannot tell timestep 981 from its neighbours.
        let t = Tensor::full([batch], t as f32, (&device, DType::F32));
        let x = match &condition.channels {
            Some(channels) => Tensor::cat(vec![x, channels.clone()], 1),
            None => x,
        };
        (self.network)(x, t, condition.tokens.clone())
    }
}

impl<F: Fn(Tensor<4>, Tensor<1>, Option<Tensor<3>>) -> Tensor<4>> Network for Guided<F> {
    fn predict(&self, x: Tensor<4>, t: f64) -> Tensor<4> {
        self.predict_both(x, t).guided
    }

    fn predict_both(&self, x: Tensor<4>, t: f64) -> Both {
        let Some(negative) = &self.negative else {
            let guided = self.call(x, t, &self.positive);
            let negative = guided.clone();
            return Both { guided, negative };
        };
        let (e_n, e_p) = match join(negative, &self.positive) {
            Some(both) => {
                let batch = x.dims()[0];
                let e = self.call(Tensor::cat(vec![x.clone(), x], 0), t, &both);
                (e.clone().narrow(0, 0, batch), e.narrow(0, batch, batch))
            }
            None => (
                self.call(x.clone(), t, negative),
                self.call(x, t, &self.positive),
            ),
        };
        Both {
            guided: e_n.clone() + (e_p - e_n.clone()) * self.cfg,
            negative: e_n,
        }
    }
}

/// The condition with a row for each picture of `shape`.
fn fit(
    condition: Condition,
    which: &'static str,
    [batch, _, h, w]: [usize; 4],
) -> Result<Condition, GuidanceError> {
    let rows = |what, found: usize| match found {
        1 => Ok(batch),
        _ if found == batch => Ok(1),
        _ => Err(GuidanceError::Batch {
            which,
            what,
            found,
            batch,
        }),
    };
    let Condition {
        mut tokens,
        mut channels,
    } = condition;
    if let Some(x) = tokens.take() {
        let [found, n, _] = x.dims();
        if n == 0 {
            return Err(GuidanceError::Empty(which));
        }
        tokens = Some(x.repeat_dim(0, rows("tokens", found)?));
    }
    if let Some(x) = channels.take() {
        let [found, _, high, wide] = x.dims();
        if [high, wide] != [h, w] {
            return Err(GuidanceError::Size {
                which,
                found: [high, wide],
                wanted: [h, w],
            });
        }
        channels = Some(x.repeat_dim(0, rows("channels", found)?));
    }
    Ok(Condition { tokens, channels })
}

/// Errors unless the two can share a batch but for the length of their prompts.
fn agree(positive: &Condition, negative: &Condition) -> Result<(), GuidanceError> {
    let width = |what, positive: Option<usize>, negative: Option<usize>| match (positive, negative)
    {
        (Some(p), Some(n)) if p != n => Err(GuidanceError::Width {
            what,
            positive: p,
            negative: n,
        }),
        (Some(_), None) | (None, Some(_)) => Err(GuidanceError::OneSided(what)),
        _ => Ok(()),
    };
    let of_tokens = |c: &Condition| c.tokens.as_ref().map(|x| x.dims()[2]);
    let of_channels = |c: &Condition| c.channels.as_ref().map(|x| x.dims()[1]);
    width("tokens", of_tokens(positive), of_tokens(negative))?;
    width("channels", of_channels(positive), of_channels(negative))
}

/// Both conditions as one of twice the batch, the first one first; `None` where the
/// prompts' lengths are too far apart to share it.
fn join(first: &Condition, second: &Condition) -> Option<Condition> {
    let tokens = match (&first.tokens, &second.tokens) {
        (Some(a), Some(b)) => {
            let (n, m) = (a.dims()[1], b.dims()[1]);
            let common = n / gcd(n, m) * m;
            if common / n.min(m) > MOST_REPEATS {
                return None;
            }
            let long = |x: &Tensor<3>, n| x.clone().repeat_dim(1, common / n);
            Some(Tensor::cat(vec![long(a, n), long(b, m)], 0))
        }
        _ => None,
    };
    let channels = match (&first.channels, &second.channels) {
        (Some(a), Some(b)) => Some(Tensor::cat(vec![a.clone(), b.clone()], 0)),
        _ => None,
    };
    Some(Condition { tokens, channels })
}

fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::noise::Noise;
    use burn::tensor::Device;
    use std::cell::RefCell;

    const SHAPE: [usize; 4] = [3, 2, 4, 4];
    type Seen = RefCell<Vec<(Vec<usize>, Option<Vec<usize>>)>>;

    fn text(seed: u64, shape: [usize; 3]) -> Condition {
        Condition::tokens(Noise::new(seed).tensor(shape, &Device::flex()))
    }

    fn latent() -> Tensor<4> {
        Noise::new(9).tensor(SHAPE, &Device::flex())
    }

    /// Attention over the tokens, so that the answer depends on each of them, in f32.
    fn attends(x: Tensor<4>, t: Tensor<1>, tokens: Option<Tensor<3>>) -> Tensor<4> {
        let tokens = tokens.expect("these tests give tokens");
        let weights = burn::tensor::activation::softmax(tokens.clone(), 1);
        let pooled = (weights * tokens)
            .sum_dim(1)
            .sum_dim(2)
            .reshape([-1, 1, 1, 1]);
        x.narrow(1, 0, 2) * pooled + t.reshape([-1, 1, 1, 1]) * 0.001
    }

    fn apart(a: Tensor<4>, b: Tensor<4>) -> f32 {
        (a - b).abs().max().into_scalar::<f32>()
    }

    fn watched(seen: &Seen) -> impl Fn(Tensor<4>, Tensor<1>, Option<Tensor<3>>) -> Tensor<4> + '_ {
        |x, t, tokens| {
            let shape = tokens.as_ref().map(|x| x.dims().to_vec());
            seen.borrow_mut().push((x.dims().to_vec(), shape));
            attends(x, t, tokens)
        }
    }

    #[test]
    fn both_conditions_run_in_one_batch_with_the_negative_first() {
        let (p, n) = (text(1, [1, 5, 4]), text(2, [3, 5, 4]));
        let first = RefCell::new(None);
        let seen = Seen::default();
        let network = |x: Tensor<4>, t: Tensor<1>, tokens: Option<Tensor<3>>| {
            let all = tokens.clone().expect("given");
            *first.borrow_mut() = Some(all.narrow(0, 0, 3));
            watched(&seen)(x, t, tokens)
        };
        let guided = Guided::new(network, 5.0, p.clone(), Some(n.clone()), SHAPE).unwrap();
        let got = guided.predict(latent(), 321.0);
        assert_eq!(seen.take(), [(vec![6, 2, 4, 4], Some(vec![6, 5, 4]))]);
        let front = first.take().unwrap().reshape([1, 3, 5, 4]);
        assert_eq!(
            apart(front, n.tokens.clone().unwrap().reshape([1, 3, 5, 4])),
            0.0
        );
        let alone = |c| {
            Guided::new(attends, 1.0, c, None, SHAPE)
                .unwrap()
                .predict(latent(), 321.0)
        };
        let (e_p, e_n) = (alone(p), alone(n));
        assert!(apart(got, e_n.clone() + (e_p - e_n) * 5.0) < 1e-5);
    }

    #[test]
    fn a_strength_of_one_or_no_negative_runs_the_positive_alone() {
        for (cfg, negative) in [(1.0, Some(text(2, [1, 5, 4]))), (7.0, None)] {
            let seen = Seen::default();
            let guided = Guided::new(watched(&seen), cfg, text(1, [1, 5, 4]), negative, SHAPE);
            guided.unwrap().predict(latent(), 1.0);
            assert_eq!(seen.take(), [(vec![3, 2, 4, 4], Some(vec![3, 5, 4]))]);
        }
    }

    #[test]
    fn prompts_of_different_length_are_repeated_to_their_common_multiple() {
        let (p, n) = (text(1, [1, 6, 4]), text(2, [1, 4, 4]));
        let seen = Seen::default();
        let guided = Guided::new(watched(&seen), 3.0, p.clone(), Some(n.clone()), SHAPE).unwrap();
        let got = guided.predict(latent(), 500.0);
        assert_eq!(seen.take(), [(vec![6, 2, 4, 4], Some(vec![6, 12, 4]))]);
        let alone = |c| {
            Guided::new(attends, 1.0, c, None, SHAPE)
                .unwrap()
                .predict(latent(), 500.0)
        };
        let (e_p, e_n) = (alone(p), alone(n));
        assert!(apart(got, e_n.clone() + (e_p - e_n) * 3.0) < 1e-5);
    }

    #[test]
    fn prompts_too_far_apart_in_length_run_in_two_calls() {
        let seen = Seen::default();
        let (p, n) = (text(1, [1, 7, 4]), text(2, [1, 5, 4]));
        let guided = Guided::new(watched(&seen), 3.0, p, Some(n), SHAPE).unwrap();
        guided.predict(latent(), 500.0);
        let seen: Vec<_> = seen
            .take()
            .into_iter()
            .map(|(_, tokens)| tokens.unwrap())
            .collect();
        assert_eq!(seen, [[3, 5, 4], [3, 7, 4]]);
    }

    #[test]
    fn channels_stand_behind_the_latents_own() {
        let device = Device::flex();
        let mut wanted = text(1, [1, 5, 4]);
        wanted.channels = Some(Tensor::ones([1, 1, 4, 4], &device));
        let mut unwanted = text(2, [1, 5, 4]);
        unwanted.channels = Some(Tensor::zeros([1, 1, 4, 4], &device));
        let last = RefCell::new(Vec::new());
        let network = |x: Tensor<4>, t: Tensor<1>, tokens: Option<Tensor<3>>| {
            let channel = x.clone().narrow(1, 2, 1).reshape([6, 16]).mean_dim(1);
            *last.borrow_mut() = channel.into_data().try_to_vec::<f32>().unwrap();
            attends(x, t, tokens)
        };
        let guided = Guided::new(network, 2.0, wanted, Some(unwanted), SHAPE).unwrap();
        assert_eq!(guided.predict(latent(), 3.0).dims(), SHAPE);
        assert_eq!(last.take(), [0.0, 0.0, 0.0, 1.0, 1.0, 1.0]);
    }

    #[test]
    fn what_does_not_fit_is_an_error_that_names_both_sides() {
        let check = |cfg, p, n, want: &str| {
            let got = Guided::new(attends, cfg, p, n, SHAPE)
                .err()
                .expect("an error")
                .to_string();
            assert!(got.contains(want), "{got}");
        };
        let p = || text(1, [1, 5, 4]);
        check(f64::NAN, p(), None, "`cfg` is NaN");
        check(
            2.0,
            text(1, [2, 5, 4]),
            None,
            "positive tokens are for 2 pictures, but the latent has 3",
        );
        check(
            2.0,
            p(),
            Some(text(2, [1, 5, 8])),
            "positive tokens are 4 wide and the negative ones 8",
        );
        check(
            2.0,
            p(),
            Some(Condition::default()),
            "has tokens: give both or neither",
        );
        check(2.0, text(1, [1, 0, 4]), None, "no tokens");
        let mut sized = p();
        sized.channels = Some(Tensor::ones([1, 1, 8, 4], &Device::flex()));
        check(
            2.0,
            sized,
            None,
            "[8, 4] high and wide, but the latent is [4, 4]",
        );
    }
}
