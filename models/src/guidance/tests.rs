mod heard;

use std::cell::RefCell;
use std::sync::Arc;

use super::*;
use crate::noise::Noise;
use crate::schedule::ScheduleConfig;
use crate::unet::{Control, Told};
use burn::tensor::{Device, Tensor, TensorData};

const SHAPE: [usize; 4] = [3, 2, 16, 24];
/// Rows of the latent, of the tokens, of the latent's height and width, for each call.
type Seen = RefCell<Vec<(Vec<usize>, Option<Vec<usize>>)>>;

fn draw<const D: usize>(seed: u64, shape: [usize; D]) -> Tensor<D> {
    Noise::new(seed).tensor(shape, &Device::flex())
}

fn text(seed: u64, shape: [usize; 3]) -> Condition {
    Condition::tokens(draw(seed, shape))
}

fn latent() -> Tensor<4> {
    draw(9, SHAPE)
}

/// A network whose answer depends on each token, the vector, the timestep and what is added.
fn attends(x: Tensor<4>, t: Tensor<1>, told: Told) -> Tensor<4> {
    let batch = x.dims()[0];
    let column = |x: Tensor<2>| x.sum_dim(1).reshape([-1, 1, 1, 1]);
    let mut gain = t.reshape([-1, 1, 1, 1]) * 0.001;
    if let Some(tokens) = told.context {
        let weights = burn::tensor::activation::softmax(tokens.clone(), 1);
        let pooled = (weights * tokens).sum_dim(1);
        gain = gain + column(pooled.reshape([batch as i64, -1]));
    }
    if let Some(label) = told.label {
        gain = gain + column(label);
    }
    let mut out = x.narrow(1, 0, 2) * gain;
    for added in told.control.into_iter().flat_map(|control| control.middle) {
        out = out + added;
    }
    out
}

struct Bench {
    schedule: NoiseSchedule,
    prediction: Prediction,
    multiple: usize,
}

impl Default for Bench {
    fn default() -> Self {
        Self {
            schedule: ScheduleConfig::scaled_linear(0.0015, 0.0195)
                .init()
                .unwrap(),
            prediction: Prediction::Epsilon,
            multiple: 4,
        }
    }
}

impl Bench {
    fn ground(&self) -> Ground {
        Ground {
            shape: SHAPE,
            multiple: self.multiple,
            schedule: self.schedule.clone(),
            prediction: self.prediction,
            device: Device::flex(),
        }
    }

    fn guided<F: Fn(Tensor<4>, Tensor<1>, Told) -> Tensor<4>>(
        &self,
        network: F,
        guidance: Guidance,
        positive: Vec<Condition>,
        negative: Option<Vec<Condition>>,
    ) -> Result<Guided<F>, GuidanceError> {
        Guided::new(network, self.ground(), guidance, positive, negative)
    }

    /// What the network says under one side alone.
    fn side(&self, positive: Vec<Condition>, t: f64) -> Tensor<4> {
        let plain = Guidance::Plain { cfg: 1.0 };
        self.guided(attends, plain, positive, None)
            .unwrap()
            .predict(latent(), t)
    }
}

fn plain(cfg: f64) -> Guidance {
    Guidance::Plain { cfg }
}

fn apart<const D: usize>(a: Tensor<D>, b: Tensor<D>) -> f32 {
    (a - b).abs().max().into_scalar::<f32>()
}

fn watched(seen: &Seen) -> impl Fn(Tensor<4>, Tensor<1>, Told) -> Tensor<4> + '_ {
    |x, t, told| {
        let shape = told.context.as_ref().map(|x| x.dims().to_vec());
        seen.borrow_mut().push((x.dims().to_vec(), shape));
        attends(x, t, told)
    }
}

fn boxed(y: usize, x: usize, height: usize, width: usize) -> Option<Area> {
    Some(Area {
        y,
        x,
        height,
        width,
    })
}

/// `x` at one place of the first picture's first channel.
fn at(x: &Tensor<4>, y: usize, column: usize) -> f32 {
    x.clone()
        .slice([0..1, 0..1, y..y + 1, column..column + 1])
        .into_scalar::<f32>()
}

mod sides {
    use super::*;

    #[test]
    fn both_conditions_run_in_one_batch_with_the_negative_first() {
        let (bench, p, n) = (Bench::default(), text(1, [1, 5, 4]), text(2, [3, 5, 4]));
        let first = RefCell::new(None);
        let seen = Seen::default();
        let network = |x: Tensor<4>, t: Tensor<1>, told: Told| {
            let all = told.context.clone().expect("given");
            *first.borrow_mut() = Some(all.narrow(0, 0, 3));
            watched(&seen)(x, t, told)
        };
        let (sides, other) = (vec![p.clone()], Some(vec![n.clone()]));
        let guided = bench.guided(network, plain(5.0), sides, other).unwrap();
        let got = guided.predict(latent(), 321.0);
        assert_eq!(seen.take(), [(vec![6, 2, 16, 24], Some(vec![6, 5, 4]))]);
        assert_eq!(apart(first.take().unwrap(), n.tokens.clone().unwrap()), 0.0);
        let (e_p, e_n) = (bench.side(vec![p], 321.0), bench.side(vec![n], 321.0));
        assert!(apart(got, e_n.clone() + (e_p - e_n) * 5.0) < 1e-5);
    }

    #[test]
    fn without_guidance_only_the_positive_side_runs() {
        let bench = Bench::default();
        let (p, n) = (vec![text(1, [1, 5, 4])], vec![text(2, [1, 5, 4])]);
        for (cfg, negative) in [(1.0, Some(n)), (5.0, None)] {
            let seen = Seen::default();
            let guided = bench.guided(watched(&seen), plain(cfg), p.clone(), negative);
            guided.unwrap().predict(latent(), 3.0);
            assert_eq!(seen.take(), [(vec![3, 2, 16, 24], Some(vec![3, 5, 4]))]);
        }
    }

    #[test]
    fn prompts_of_different_length_are_repeated_to_their_common_multiple() {
        let (bench, p, n) = (Bench::default(), text(1, [1, 6, 4]), text(2, [1, 4, 4]));
        let seen = Seen::default();
        let (sides, other) = (vec![p.clone()], Some(vec![n.clone()]));
        let guided = bench
            .guided(watched(&seen), plain(3.0), sides, other)
            .unwrap();
        let got = guided.predict(latent(), 500.0);
        assert_eq!(seen.take(), [(vec![6, 2, 16, 24], Some(vec![6, 12, 4]))]);
        let (e_p, e_n) = (bench.side(vec![p], 500.0), bench.side(vec![n], 500.0));
        assert!(apart(got, e_n.clone() + (e_p - e_n) * 3.0) < 1e-5);
    }

    #[test]
    fn prompts_too_far_apart_in_length_run_in_two_calls() {
        let (bench, seen) = (Bench::default(), Seen::default());
        let (p, n) = (vec![text(1, [1, 7, 4])], vec![text(2, [1, 5, 4])]);
        let guided = bench
            .guided(watched(&seen), plain(3.0), p, Some(n))
            .unwrap();
        guided.predict(latent(), 500.0);
        let lengths: Vec<_> = seen
            .take()
            .into_iter()
            .map(|(_, x)| x.unwrap()[1])
            .collect();
        assert_eq!(lengths, [5, 7]);
    }

    #[test]
    fn channels_stand_behind_the_latents_own_and_vectors_beside_the_tokens() {
        let (bench, device) = (Bench::default(), Device::flex());
        let told = |seed, channel: f64, label: f64| Condition {
            channels: Some(Tensor::full([1, 1, 16, 24], channel, &device)),
            vector: Some(Tensor::full([1, 1], label, &device)),
            ..text(seed, [1, 5, 4])
        };
        let last = RefCell::new((Vec::new(), Vec::new()));
        let network = |x: Tensor<4>, t: Tensor<1>, told: Told| {
            let channel = x.clone().narrow(1, 2, 1).reshape([6, 384]).mean_dim(1);
            let label = told.label.clone().expect("given");
            let numbers = |x: Tensor<2>| x.into_data().try_to_vec::<f32>().unwrap();
            *last.borrow_mut() = (numbers(channel), numbers(label));
            attends(x, t, told)
        };
        let (p, n) = (vec![told(1, 1.0, 7.0)], vec![told(2, 0.0, 8.0)]);
        let guided = bench.guided(network, plain(2.0), p, Some(n)).unwrap();
        assert_eq!(guided.predict(latent(), 3.0).dims(), SHAPE);
        let (channels, labels) = last.take();
        assert_eq!(channels, [0.0, 0.0, 0.0, 1.0, 1.0, 1.0]);
        assert_eq!(labels, [8.0, 8.0, 8.0, 7.0, 7.0, 7.0]);
    }

    #[test]
    fn what_does_not_fit_is_an_error_that_names_both_sides() {
        let bench = Bench::default();
        let check = |guidance, p: Condition, n: Option<Condition>, want: &str| {
            let negative = n.map(|n| vec![n]);
            let got = bench.guided(attends, guidance, vec![p], negative);
            let got = got.err().expect("an error").to_string();
            assert!(got.contains(want), "{got}");
        };
        let p = || text(1, [1, 5, 4]);
        check(plain(f64::NAN), p(), None, "`cfg` is NaN");
        let few = "positive tokens are for 2 pictures, but the latent has 3";
        check(plain(2.0), text(1, [2, 5, 4]), None, few);
        let wide = "the tokens of one condition are 4 wide and of another 8";
        check(plain(2.0), p(), Some(text(2, [1, 5, 8])), wide);
        let none = Some(Condition::default());
        check(plain(2.0), p(), none, "only some conditions have tokens");
        check(plain(2.0), text(1, [1, 0, 4]), None, "no tokens");
        let channels = Some(draw(1, [1, 1, 8, 24]));
        let small = "[8, 24] high and wide, but the latent is [16, 24]";
        check(plain(2.0), Condition { channels, ..p() }, None, small);
        let mask = Some(draw(1, [1, 16, 12]));
        check(
            plain(2.0),
            Condition { mask, ..p() },
            None,
            "positive masks are [16, 12]",
        );
        let area = boxed(8, 0, 16, 24);
        check(
            plain(2.0),
            Condition { area, ..p() },
            None,
            "leaves the latent",
        );
        let strength = -1.0;
        check(
            plain(2.0),
            Condition { strength, ..p() },
            None,
            "side is -1",
        );
        let empty = bench.guided(attends, plain(2.0), vec![], None).err();
        assert_eq!(empty, Some(GuidanceError::NoCondition("positive")));
        let image = Guidance::Image {
            cfg: 7.0,
            image: 1.5,
        };
        check(image, p(), Some(p()), "channels of an image on both sides");
        let (cfg, phi, of) = (7.0, 1.5, RescaleOf::Output);
        check(
            Guidance::Rescaled { cfg, phi, of },
            p(),
            None,
            "`phi` is 1.5",
        );
    }
}

mod entries {
    use super::*;

    #[test]
    fn a_lone_condition_says_what_the_network_says_bit_for_bit() {
        let bench = Bench::default();
        let p = text(1, [1, 5, 4]);
        let tokens = p.tokens.clone().unwrap().repeat_dim(0, 3);
        let t = Tensor::full([3], 250.0, &Device::flex());
        let bare = attends(latent(), t, Told::tokens(Some(tokens)));
        for strength in [1.0, 0.3, 7.0] {
            let one = Condition {
                strength,
                ..p.clone()
            };
            assert_eq!(apart(bench.side(vec![one], 250.0), bare.clone()), 0.0);
        }
        let area = boxed(0, 0, 16, 24);
        let whole = bench.side(vec![Condition { area, ..p }], 250.0);
        assert_eq!(apart(whole, bare), 0.0);
    }

    #[test]
    fn strengths_are_shares_of_their_sum() {
        let (bench, a, b) = (Bench::default(), text(1, [1, 5, 4]), text(2, [1, 5, 4]));
        let strong = Condition {
            strength: 3.0,
            ..a.clone()
        };
        let got = bench.side(vec![strong, b.clone()], 100.0);
        let (a, b) = (bench.side(vec![a], 100.0), bench.side(vec![b], 100.0));
        assert!(apart(got, a * 0.75 + b * 0.25) < 1e-5);
    }

    #[test]
    fn masks_weigh_place_by_place_and_each_picture_has_its_own() {
        let (bench, a, b) = (Bench::default(), text(1, [1, 5, 4]), text(2, [1, 5, 4]));
        let mask = draw(3, [3, 16, 24]).abs();
        let part = Condition {
            mask: Some(mask.clone()),
            strength: 2.0,
            ..a.clone()
        };
        let got = bench.side(vec![part, b.clone()], 100.0);
        let (a, b) = (bench.side(vec![a], 100.0), bench.side(vec![b], 100.0));
        let w = mask.unsqueeze_dim::<4>(1) * 2.0;
        let want = (a * w.clone() + b) / (w + 1.0);
        assert!(apart(got, want) < 1e-5);
    }

    /// ComfyUI's rule by hand: the area is cut out, its inner edges fade over 8 places or a
    /// quarter of its side, and what is said is divided by the sum of the weights.
    #[test]
    fn an_area_is_cut_out_and_fades_at_its_inner_edges() {
        let (bench, a, b) = (Bench::default(), text(1, [1, 5, 4]), text(2, [1, 5, 4]));
        let seen = Seen::default();
        let area = boxed(0, 12, 16, 12);
        let right = Condition { area, ..a.clone() };
        let sides = vec![right, b.clone()];
        let guided = bench
            .guided(watched(&seen), plain(1.0), sides, None)
            .unwrap();
        let got = guided.predict(latent(), 100.0);
        let shapes: Vec<_> = seen.take().into_iter().map(|(x, _)| x).collect();
        assert_eq!(shapes, [vec![3, 2, 16, 12], vec![3, 2, 16, 24]]);
        let (a, b) = (bench.side(vec![a], 100.0), bench.side(vec![b], 100.0));
        // The left edge is inside: a quarter of 12 places fade.
        let weight = |x: usize| [1.0 / 3.0, 2.0 / 3.0, 1.0][(x - 12).min(2)];
        for (y, x) in [(0, 12), (7, 13), (15, 14), (3, 23)] {
            let w = weight(x);
            let want = (at(&a, y, x) * w + at(&b, y, x)) / (w + 1.0);
            assert!((at(&got, y, x) - want).abs() < 1e-5, "{y} {x}");
        }
        assert_eq!(at(&got, 5, 11), at(&b, 5, 11));
    }

    #[test]
    fn the_network_sees_whole_multiples_and_only_the_area_counts() {
        let bench = Bench {
            multiple: 8,
            ..Bench::default()
        };
        let (a, b) = (text(1, [1, 5, 4]), text(2, [1, 5, 4]));
        let seen = Seen::default();
        let area = boxed(13, 20, 3, 3);
        let corner = Condition { area, ..a.clone() };
        let sides = vec![corner, b.clone()];
        let guided = bench
            .guided(watched(&seen), plain(1.0), sides, None)
            .unwrap();
        let got = guided.predict(latent(), 100.0);
        assert_eq!(seen.take()[0].0, [3, 2, 8, 8]);
        let (a, b) = (bench.side(vec![a], 100.0), bench.side(vec![b], 100.0));
        let inside = (at(&a, 14, 21) + at(&b, 14, 21)) / 2.0;
        assert!((at(&got, 14, 21) - inside).abs() < 1e-5);
        for (y, x) in [(12, 21), (14, 19), (14, 23)] {
            assert_eq!(at(&got, y, x), at(&b, y, x), "{y} {x}");
        }
    }

    #[test]
    fn a_mask_in_an_area_takes_the_place_of_fading() {
        let (bench, a, b) = (Bench::default(), text(1, [1, 5, 4]), text(2, [1, 5, 4]));
        let mask = draw(3, [1, 16, 24]).abs();
        let area = boxed(4, 8, 8, 8);
        let part = Condition {
            mask: Some(mask.clone()),
            area,
            ..a.clone()
        };
        let got = bench.side(vec![part, b.clone()], 100.0);
        let (a, b) = (bench.side(vec![a], 100.0), bench.side(vec![b], 100.0));
        let mask = mask.unsqueeze_dim::<4>(1);
        for (y, x) in [(4, 8), (11, 15), (6, 9)] {
            let w = at(&mask, y, x);
            let want = (at(&a, y, x) * w + at(&b, y, x)) / (w + 1.0);
            assert!((at(&got, y, x) - want).abs() < 1e-5);
        }
        assert_eq!(at(&got, 3, 8), at(&b, 3, 8));
    }

    /// ComfyUI's model gives the clean latent, so its sums of nothing are a clean latent of 0.
    #[test]
    fn where_nothing_is_said_the_clean_latent_is_zero() {
        let t = 640.0;
        for prediction in [Prediction::Epsilon, Prediction::X0, Prediction::Velocity] {
            let bench = Bench {
                prediction,
                ..Bench::default()
            };
            let area = boxed(0, 0, 16, 12);
            let left = Condition {
                area,
                ..text(1, [1, 5, 4])
            };
            let never = Condition {
                strength: 0.0,
                ..text(1, [1, 5, 4])
            };
            let space = bench_space(&bench, t);
            for (side, bare) in [(left, 12), (never, 0)] {
                let clean = space.clean(latent(), bench.side(vec![side], t));
                let blank = clean.narrow(3, bare, 24 - bare);
                let most = blank.abs().max().into_scalar::<f32>();
                assert!(most < 1e-4, "{prediction:?} {most}");
            }
        }
    }

    #[test]
    fn a_condition_counts_in_its_span_with_both_ends() {
        let within = |start, end, left| Span { start, end }.holds(left);
        assert!(within(0.0, 1.0, 1.0) && within(0.0, 1.0, 0.0));
        assert!(
            within(0.0, 0.5, 0.5) && within(0.5, 1.0, 0.5),
            "both ends belong"
        );
        assert!(
            within(0.0, 0.3, 0.7 - 1e-12),
            "a timestep found from its noise"
        );
        assert!(!within(0.0, 0.5, 0.499) && !within(0.5, 1.0, 0.501));
        assert!(!within(1.0, 1.0, 0.0) && !within(0.0, 0.0, 1.0));
        let (bench, a, b) = (Bench::default(), text(1, [1, 5, 4]), text(2, [1, 5, 4]));
        let span = |start, end, one: &Condition| Condition {
            span: Span { start, end },
            ..one.clone()
        };
        let both = || vec![span(0.0, 0.4, &a), span(0.4, 1.0, &b)];
        for (t, alone) in [(800.0, &a), (300.0, &b)] {
            let want = bench.side(vec![alone.clone()], t);
            assert_eq!(apart(bench.side(both(), t), want), 0.0);
        }
    }

    #[test]
    fn conditions_of_one_size_share_calls_of_bounded_size() {
        let bench = Bench::default();
        let half = |seed, x| Condition {
            area: boxed(0, x, 16, 12),
            ..text(seed, [1, 5, 4])
        };
        let seen = Seen::default();
        let sides = vec![half(1, 0), half(2, 12), text(3, [1, 5, 4])];
        let guided = bench
            .guided(watched(&seen), plain(1.0), sides, None)
            .unwrap();
        guided.predict(latent(), 5.0);
        let shapes: Vec<_> = seen.take().into_iter().map(|(x, _)| x).collect();
        assert_eq!(shapes, [vec![6, 2, 16, 12], vec![3, 2, 16, 24]]);
        // 57 conditions of 3 × 16 × 24 places fill a call of 16 × 64 × 64.
        let many = (0..60).map(|seed| text(seed, [1, 5, 4])).collect();
        let guided = bench
            .guided(watched(&seen), plain(1.0), many, None)
            .unwrap();
        guided.predict(latent(), 5.0);
        let rows: Vec<_> = seen.take().into_iter().map(|(x, _)| x[0] / 3).collect();
        assert_eq!(rows, [56, 4]);
    }

    #[test]
    fn an_area_on_one_side_has_its_like_on_the_other() {
        let bench = Bench::default();
        let (p, n) = (text(1, [1, 5, 4]), text(2, [1, 5, 4]));
        let area = boxed(0, 12, 16, 12);
        let right = Condition {
            area,
            strength: 2.0,
            ..p.clone()
        };
        let (positive, negative) = (vec![p.clone(), right.clone()], vec![n.clone()]);
        let guided = bench.guided(attends, plain(4.0), positive.clone(), Some(negative));
        let got = guided.unwrap().predict(latent(), 70.0);
        let like = Condition {
            tokens: n.tokens.clone(),
            ..right
        };
        let (e_p, e_n) = (bench.side(positive, 70.0), bench.side(vec![n, like], 70.0));
        assert!(apart(got, e_n.clone() + (e_p - e_n) * 4.0) < 1e-5);
    }

    fn bench_space(bench: &Bench, t: f64) -> Space {
        Space::at(t, &bench.schedule, bench.prediction)
    }
}

mod forms {
    use super::*;

    #[test]
    fn the_negative_side_is_told_beside_the_guided_one() {
        let bench = Bench::default();
        let (p, n) = (vec![text(1, [1, 5, 4])], vec![text(2, [1, 5, 4])]);
        let both = |form, negative| {
            let guided = bench.guided(attends, form, p.clone(), negative);
            guided.unwrap().predict_both(latent(), 9.0)
        };
        let (e_p, e_n) = (bench.side(p.clone(), 9.0), bench.side(n.clone(), 9.0));
        let (cfg, phi, of) = (4.0, 0.5, RescaleOf::Velocity);
        for form in [plain(cfg), Guidance::Rescaled { cfg, phi, of }] {
            let said = both(form, Some(n.clone()));
            assert!(apart(said.negative, e_n.clone()) < 1e-5);
            assert!(apart(said.guided, e_p.clone()) > 0.1);
        }
        let alone = both(plain(cfg), None);
        assert_eq!(apart(alone.guided, alone.negative), 0.0);
    }

    #[test]
    fn text_and_image_are_weighed_apart() {
        let (bench, device) = (Bench::default(), Device::flex());
        let told = |seed, channel: f64| Condition {
            channels: Some(Tensor::full([1, 1, 16, 24], channel, &device)),
            ..text(seed, [1, 5, 4])
        };
        // Its answer depends on the channel too.
        let network = |x: Tensor<4>, t: Tensor<1>, told: Told| {
            let shown = x.clone().narrow(1, 2, 1);
            attends(x, t, told) + shown * 0.5
        };
        let (cfg, image) = (7.0, 1.5);
        let (p, n, bare) = (told(1, 1.0), told(2, 1.0), told(2, 0.0));
        let alone = |one: &Condition| {
            let guided = bench.guided(network, plain(1.0), vec![one.clone()], None);
            guided.unwrap().predict(latent(), 9.0)
        };
        let form = Guidance::Image { cfg, image };
        let guided = bench.guided(network, form, vec![p.clone()], Some(vec![n.clone()]));
        let got = guided.unwrap().predict(latent(), 9.0);
        let (p, n, bare) = (alone(&p), alone(&n), alone(&bare));
        let want = bare.clone() + (p - n.clone()) * cfg + (n - bare) * image;
        assert!(apart(got, want) < 1e-5);
    }

    #[test]
    fn at_an_image_strength_of_one_it_is_guidance_by_the_text() {
        let (bench, channels) = (Bench::default(), Some(draw(4, [1, 1, 16, 24])));
        let told = |seed| Condition {
            channels: channels.clone(),
            ..text(seed, [1, 5, 4])
        };
        let say = |form| {
            let guided = bench.guided(attends, form, vec![told(1)], Some(vec![told(2)]));
            guided.unwrap().predict(latent(), 9.0)
        };
        let image = Guidance::Image {
            cfg: 7.0,
            image: 1.0,
        };
        assert_eq!(apart(say(image), say(plain(7.0))), 0.0);
    }

    #[test]
    fn rescaling_brings_each_picture_to_the_spread_of_the_positive_side() {
        let spread = |x: Tensor<4>| -> Vec<f32> {
            let std = x.reshape([3, -1]).var(1).sqrt();
            std.into_data().try_to_vec().unwrap()
        };
        let t = 400.0;
        for prediction in [Prediction::Epsilon, Prediction::X0, Prediction::Velocity] {
            let bench = Bench {
                prediction,
                ..Bench::default()
            };
            let (p, n) = (text(1, [3, 5, 4]), text(2, [3, 5, 4]));
            let say = |form| {
                let guided = bench.guided(attends, form, vec![p.clone()], Some(vec![n.clone()]));
                guided.unwrap().predict(latent(), t)
            };
            let positive = bench.side(vec![p.clone()], t);
            let space = Space::at(t, &bench.schedule, prediction);
            for of in [RescaleOf::Output, RescaleOf::Velocity] {
                let form = |phi| Guidance::Rescaled { cfg: 5.0, phi, of };
                assert!(apart(say(form(0.0)), say(plain(5.0))) < 1e-4);
                let meant = |e| match of {
                    RescaleOf::Output => e,
                    RescaleOf::Velocity => space.velocity(latent(), e),
                };
                let (got, want) = (
                    spread(meant(say(form(1.0)))),
                    spread(meant(positive.clone())),
                );
                let near = got.iter().zip(&want).all(|(a, b)| (a - b).abs() < 1e-4 * b);
                assert!(near, "{prediction:?} {of:?} {got:?} {want:?}");
            }
        }
    }
}

mod hints {
    use super::*;

    /// Gives the hint's mean over each place of the latent, and notes what it was asked.
    struct Mirror(std::sync::Mutex<Vec<[usize; 4]>>);

    impl ControlModel for Mirror {
        fn hear(self: Arc<Self>, told: &Told, hint: Tensor<4>, _ahead: &[f64]) -> Steer {
            let rows = told.context.as_ref().unwrap().dims()[0];
            Box::new(move |x, _| {
                assert_eq!(x.dims()[0], rows);
                self.0.lock().unwrap().push(x.dims());
                let [b, _, h, w] = x.dims();
                let k = hint.dims()[2] / h;
                let hint = hint.clone().reshape([b, 1, h, k, w * k]);
                let small = hint.mean_dim(3).reshape([b, h, w, k]);
                Control {
                    middle: Some(small.mean_dim(3).reshape([b, 1, h, w])),
                    ..Control::default()
                }
            })
        }
    }

    fn hint(network: &Arc<Mirror>, strength: f64, start: f64, end: f64) -> Arc<ControlHint> {
        Arc::new(ControlHint {
            network: network.clone(),
            hint: draw(8, [1, 1, 32, 48]),
            strength,
            span: Span { start, end },
        })
    }

    fn small() -> Tensor<4> {
        let columns = draw(8, [1, 1, 32, 48]).reshape([1, 16, 2, 48]).mean_dim(2);
        columns
            .reshape([1, 16, 24, 2])
            .mean_dim(3)
            .reshape([1, 1, 16, 24])
    }

    #[test]
    fn hints_add_up_by_strength_in_their_spans() {
        let (bench, network) = (Bench::default(), Arc::new(Mirror(Vec::new().into())));
        let p = text(1, [1, 5, 4]);
        let bare = |t| bench.side(vec![p.clone()], t);
        let controls = vec![
            hint(&network, 0.5, 0.0, 0.5),
            hint(&network, 2.0, 0.25, 1.0),
        ];
        let told = Condition {
            controls,
            ..p.clone()
        };
        for (t, strength) in [(900.0, 0.5), (600.0, 2.5), (100.0, 2.0)] {
            let got = bench.side(vec![told.clone()], t) - bare(t);
            assert!(apart(got, (small() * strength).expand(SHAPE)) < 1e-5, "{t}");
        }
    }

    #[test]
    fn sides_with_the_same_hints_share_a_call_and_areas_get_their_part() {
        let (bench, network) = (Bench::default(), Arc::new(Mirror(Vec::new().into())));
        let (one, other) = (hint(&network, 1.0, 0.0, 1.0), hint(&network, 1.0, 0.0, 1.0));
        let told = |seed, hint: &Arc<ControlHint>| Condition {
            controls: vec![hint.clone()],
            ..text(seed, [1, 5, 4])
        };
        let calls = |negative| {
            network.0.lock().unwrap().clear();
            let p = vec![told(1, &one)];
            let guided = bench
                .guided(attends, plain(2.0), p, Some(vec![negative]))
                .unwrap();
            guided.predict(latent(), 9.0);
            network
                .0
                .lock()
                .unwrap()
                .iter()
                .map(|x| x[0])
                .collect::<Vec<_>>()
        };
        assert_eq!(calls(told(2, &one)), [6]);
        assert_eq!(calls(told(2, &other)), [3, 3]);
        assert_eq!(calls(text(2, [1, 5, 4])), [3]);
        let area = boxed(4, 8, 8, 16);
        let part = Condition {
            area,
            ..told(1, &one)
        };
        let bare = Condition {
            area,
            ..text(1, [1, 5, 4])
        };
        let added = bench.side(vec![part], 9.0) - bench.side(vec![bare], 9.0);
        let inner = |x: Tensor<4>| x.narrow(2, 4, 8).narrow(3, 8, 16);
        let want = inner(small().expand(SHAPE));
        assert!(apart(inner(added), want) < 1e-4);
    }

    #[test]
    fn a_hint_is_a_whole_multiple_of_the_latent() {
        let (bench, network) = (Bench::default(), Arc::new(Mirror(Vec::new().into())));
        let wrong = ControlHint {
            hint: draw(8, [1, 1, 32, 24]),
            ..(*hint(&network, 1.0, 0.0, 1.0)).clone()
        };
        let told = Condition {
            controls: vec![Arc::new(wrong)],
            ..text(1, [1, 5, 4])
        };
        let said = bench
            .guided(attends, plain(1.0), vec![told], None)
            .err()
            .unwrap();
        assert!(said.to_string().contains("[32, 24]"), "{said}");
    }
}

mod keeping {
    use std::ops::ControlFlow;

    use super::*;
    use crate::prediction::Denoiser;
    use crate::sampler::{Churn, Sampler, Walk};
    use crate::schedule::SigmaSchedule;

    fn keeping<'a>(bench: &'a Bench, network: &'a dyn Network, mask: Tensor<4>) -> Keeping<'a> {
        Keeping {
            network,
            schedule: &bench.schedule,
            prediction: bench.prediction,
            mask,
            latent: draw(21, SHAPE),
            noise: draw(22, SHAPE),
        }
    }

    #[test]
    fn an_edm_network_is_shown_and_heard_in_its_own_measure() {
        let schedule = ScheduleConfig {
            betas: crate::schedule::Betas::Edm {
                sigma_min: 0.002,
                sigma_max: 80.0,
            },
            timesteps: 1000,
            ..ScheduleConfig::scaled_linear(0.0015, 0.0195)
        };
        let bench = Bench {
            schedule: schedule.init().unwrap(),
            prediction: Prediction::Edm,
            multiple: 4,
        };
        let network = |x: Tensor<4>, t: f64| x * 0.4 + t * 1e-3;
        let denoise = |network: &dyn Network, x: Tensor<4>| {
            let model = Denoiser::new(network, &bench.schedule, Prediction::Edm);
            let (sigma, t) = (3.0, 0.0);
            model.denoise(x, crate::schedule::Level { sigma, t })
        };
        let none = Tensor::zeros([1, 1, 16, 24], &Device::flex());
        let x = latent() * 3.0;
        let kept = denoise(&keeping(&bench, &network, none.clone()), x.clone());
        assert!(apart(kept, draw(21, SHAPE)) < 1e-4);
        let made = denoise(&keeping(&bench, &network, none + 1.0), x.clone());
        assert!(apart(made, denoise(&network, x)) < 1e-4);
        let left = |sigma: f64| bench.ground().left(0.25 * libm::log(sigma));
        assert!((left(80.0) - 1.0).abs() < 1e-9 && left(0.002).abs() < 1e-9);
        assert!((left(0.4) - 0.5).abs() < 1e-9, "ln σ is counted evenly");
    }

    /// ComfyUI's noise mask by hand, in its state x₀ + σ ε.
    #[test]
    fn what_is_kept_is_shown_noised_and_heard_clean() {
        for prediction in [Prediction::Epsilon, Prediction::X0, Prediction::Velocity] {
            let bench = Bench {
                prediction,
                ..Bench::default()
            };
            let t = 450;
            let (a, sigma) = (bench.schedule.alpha_bar(t), bench.schedule.sigma(t));
            let network = |x: Tensor<4>, t: f64| x * 0.4 + t * 1e-3;
            let mask = draw(3, [3, 1, 16, 24]).abs().clamp(0.0, 1.0);
            let kept = -mask.clone() + 1.0;
            let exploding = latent() / a.sqrt();
            let known = draw(21, SHAPE) + draw(22, SHAPE) * sigma;
            let seen = exploding.clone() * mask.clone() + known * kept.clone();
            let space = Space::at(t as f64, &bench.schedule, prediction);
            let heard = space.clean(seen.clone() * a.sqrt(), network(seen * a.sqrt(), 450.0));
            let want = heard * mask.clone() + draw(21, SHAPE) * kept;
            let keeping = keeping(&bench, &network, mask);
            let out = keeping.predict(latent(), t as f64);
            let got = space.clean(latent(), out);
            assert!(apart(got, want) < 2e-5, "{prediction:?}");
        }
    }

    #[test]
    fn a_walk_ends_with_what_is_kept_and_is_as_ever_where_all_is_made_anew() {
        let bench = Bench::default();
        let network = |x: Tensor<4>, _: f64| x * 0.9;
        let walk = |network: &dyn Network| {
            let mut noise = [draw(22, SHAPE)].into_iter();
            let sampler = Sampler::Euler {
                churn: Churn::Off,
                schedule: SigmaSchedule::Normal,
            };
            let model = Denoiser::new(network, &bench.schedule, bench.prediction);
            let go = &mut |_: crate::sampler::Step<'_>| ControlFlow::Continue(());
            let draw_one = &mut |_: &Tensor<4>| noise.next().unwrap();
            let clean = sampler.sample(&model, draw(21, SHAPE), Walk::whole(6), draw_one, go);
            clean.unwrap()
        };
        let device = Device::flex();
        let mut half = vec![1.0f32; 16 * 24];
        half[..8 * 24].fill(0.0);
        let mask = Tensor::from_data(TensorData::new(half, [1, 1, 16, 24]), &device);
        let (got, free) = (walk(&keeping(&bench, &network, mask)), walk(&network));
        let top = |x: Tensor<4>| x.narrow(2, 0, 8);
        assert!(apart(top(got.clone()), top(draw(21, SHAPE))) < 1e-4);
        let all = Tensor::ones([1, 1, 16, 24], &device);
        let whole = walk(&keeping(&bench, &network, all));
        let scale = free.clone().abs().max().into_scalar::<f32>();
        assert!(apart(whole, free.clone()) < 1e-5 * scale);
        let bottom = |x: Tensor<4>| x.narrow(2, 8, 8);
        assert!(apart(bottom(got), bottom(free)) < 1e-5 * scale);
    }
}
