//! Steps of a U-Net as one launch each: captured by the device once, and replayed.
//!
//! A GPU is told of a step kernel by kernel, some hundreds of them; of a captured one (a CUDA
//! graph) by a single launch, which runs the same kernels on the buffers that they had when it
//! was captured. Before each launch the step's inputs are therefore written into those.
//!
//! Promises
//! - What a step gives is a copy of its own: no later step changes it.
//! - Inputs that differ in shape or type, or in what control adds where, are captured anew; so
//!   are those whose buffers something else holds, since writing there would write elsewhere.
//! - Where the device captures nothing, each step is called as ever, and that is said once.
//!
//! Not here: what the blocks are told of the timestep (`ahead`). It comes from the host, which no
//! capture may ask, so it is made before the step.

use std::cell::RefCell;
use std::rc::Rc;

use burn::tensor::{Device, Graph, Tensor, capture};

use super::ahead::Row;
use super::{Control, Heard, Moment, UNet};

/// A U-Net that heard what it is told, and whose steps are captured.
pub struct Captured<'a> {
    unet: &'a UNet,
    heard: Rc<Heard>,
    note: Box<dyn Fn(&str) + 'a>,
    /// Whether it must be the device that captures: burn's stand-in elsewhere only calls again.
    by_device: bool,
    way: RefCell<Way<'a>>,
}

/// How the next step is taken.
enum Way<'a> {
    /// No step was tried yet.
    Untried,
    /// By the capture, where its inputs fit.
    Replayed(Box<Capture<'a>>),
    /// By a call: the device captures nothing.
    Called,
}

impl<'a> Captured<'a> {
    /// Steps of `unet`, which `heard`; `note` is told where the device captures none. They belong
    /// to the thread that takes the first, as the device's streams do.
    pub fn new(unet: &'a UNet, heard: Heard, note: impl Fn(&str) + 'a) -> Self {
        Self {
            unet,
            heard: Rc::new(heard),
            note: Box::new(note),
            by_device: true,
            way: RefCell::new(Way::Untried),
        }
    }

    /// What [`UNet::step`] gives, and where it panics.
    pub fn step(&self, x: Tensor<4>, t: f64, control: Option<Control>) -> Tensor<4> {
        let inputs = Inputs {
            row: self.unet.row(t, x.dims()[0], &self.heard),
            x,
            control,
        };
        let mut way = self.way.borrow_mut();
        if let Way::Replayed(capture) = &mut *way
            && let Some(out) = capture.replay(&inputs)
        {
            return out;
        }
        if matches!(*way, Way::Called) {
            return inputs.step(self.unet, &self.heard);
        }
        // The old capture's memory goes before a new one takes some.
        *way = Way::Untried;
        let (unet, heard) = (self.unet, self.heard.clone());
        let step = move |inputs: Inputs| inputs.step(unet, &heard);
        let mut capture = Capture::new(&inputs, step);
        let captured = capture.graph.is_hardware() || !self.by_device;
        let out = captured.then(|| capture.replay(&inputs)).flatten();
        *way = match out {
            Some(_) => Way::Replayed(Box::new(capture)),
            None => Way::Called,
        };
        out.unwrap_or_else(|| {
            (self.note)("this device captures no steps: each is launched kernel by kernel");
            inputs.step(self.unet, &self.heard)
        })
    }
}

/// All that changes from step to step.
#[derive(Clone)]
struct Inputs {
    /// `[b, c_in, h, w]`
    x: Tensor<4>,
    /// What the blocks are told of the timestep.
    row: Row,
    control: Option<Control>,
}

impl Inputs {
    fn step(self, unet: &UNet, heard: &Heard) -> Tensor<4> {
        let moment = Moment::new(self.row.split(), heard);
        unet.step_at(self.x, moment, self.control)
    }

    /// The same in buffers that nothing else holds.
    fn apart(&self) -> Self {
        let mut apart = self.clone();
        apart.row.numbers = copy(&self.row.numbers);
        for (_, x) in apart.pictures_mut() {
            *x = copy(x);
        }
        apart
    }

    /// Writes `new` where these lie, or does nothing where that cannot be.
    fn refill(&mut self, new: &Self, in_place: bool) -> bool {
        let mut new = new.clone();
        let row = fits(&self.row.numbers, &new.row.numbers, in_place);
        let (mut into, mut from) = (self.pictures_mut(), new.pictures_mut());
        let same = into.len() == from.len()
            && into
                .iter()
                .zip(&from)
                .all(|((place, into), (other, from))| {
                    place == other && fits(*into, *from, in_place)
                });
        if !(row && same) {
            return false;
        }
        for ((_, into), (_, from)) in into.drain(..).zip(from.drain(..)) {
            write(into, from.clone());
        }
        write(&mut self.row.numbers, new.row.numbers);
        true
    }

    /// The latent and all that control adds, each with a number for its place.
    fn pictures_mut(&mut self) -> Vec<(usize, &mut Tensor<4>)> {
        let mut all = vec![(0, &mut self.x)];
        if let Some(control) = &mut self.control {
            let Control {
                down,
                skips,
                middle,
            } = control;
            let (n, m) = (down.len(), skips.len());
            let down = down.iter_mut().enumerate();
            all.extend(down.filter_map(|(i, x)| Some((1 + i, x.as_mut()?))));
            all.extend(skips.iter_mut().enumerate().map(|(i, x)| (1 + n + i, x)));
            all.extend(middle.as_mut().map(|x| (1 + n + m, x)));
        }
        all
    }
}

/// Whether `new` can be written over `old`: in place, only where nothing else holds its buffer.
fn fits<const D: usize>(old: &Tensor<D>, new: &Tensor<D>, in_place: bool) -> bool {
    old.dims() == new.dims() && old.dtype() == new.dtype() && (!in_place || old.can_mut())
}

/// Writes `new` over all of `into`: where nothing else holds its buffer, into the same one.
fn write<const D: usize>(into: &mut Tensor<D>, new: Tensor<D>) {
    let all = new.dims().map(|n| 0..n);
    into.inplace(|into| into.slice_assign(all, new));
}

/// The numbers of `x`, which something else holds too, in a buffer of their own.
fn copy<const D: usize>(x: &Tensor<D>) -> Tensor<D> {
    // A cast to the type that it has would give the same buffer.
    x.clone() * 1.0
}

/// A function of inputs, captured.
struct Capture<'a> {
    /// What the function reads.
    inputs: Rc<RefCell<Inputs>>,
    graph: Graph<Tensor<4>, Box<dyn FnMut() -> Tensor<4> + 'a>>,
}

impl<'a> Capture<'a> {
    /// Captures `of` for inputs like `inputs`, by calling it a few times.
    fn new(inputs: &Inputs, of: impl Fn(Inputs) -> Tensor<4> + 'a) -> Self {
        let device: Device = inputs.x.device();
        let inputs = Rc::new(RefCell::new(inputs.apart()));
        let read = inputs.clone();
        let call = Box::new(move || of(read.borrow().clone()));
        Self {
            graph: capture(&device, call as Box<dyn FnMut() -> Tensor<4> + 'a>),
            inputs,
        }
    }

    /// What the function gives for `inputs`; nothing where they cannot be written to where it
    /// reads.
    fn replay(&mut self, inputs: &Inputs) -> Option<Tensor<4>> {
        let in_place = self.graph.is_hardware();
        let filled = self.inputs.borrow_mut().refill(inputs, in_place);
        // SAFETY: all that the function reads is alive: its inputs, which are held here and stay
        // where they are (`fits`), and what it holds itself. What it makes on its way lies in
        // pages that the capture keeps. Nothing here can be sent to another thread, so inputs
        // are written and results read on the stream of the capture.
        filled.then(|| copy(unsafe { self.graph.replay() }))
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use burn::module::{Module, ModuleMapper, Param};
    use burn::tensor::Distribution;

    use super::super::{Heads, Told, UNetConfig};
    use super::*;

    fn random<const D: usize>(shape: [usize; D]) -> Tensor<D> {
        Tensor::random(shape, Distribution::Normal(0.0, 1.0), &Device::flex())
    }

    fn numbers(x: Tensor<4>) -> Vec<f32> {
        x.into_data().try_to_vec().unwrap()
    }

    struct Shaken;

    impl ModuleMapper for Shaken {
        fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
            param.map(|x| x.clone() + Tensor::random_like(&x, Distribution::Normal(0.0, 0.2)))
        }
    }

    fn unet() -> UNet {
        let config = UNetConfig {
            in_channels: 4,
            out_channels: 4,
            model_channels: 8,
            channel_mult: vec![1, 2],
            num_res_blocks: 1,
            attention_resolutions: vec![1, 2],
            heads: Heads::Width(4),
            context_dim: Some(6),
            transformer_depth: vec![1],
            middle_depth: None,
            label: None,
            scale_shift: false,
            resblock_updown: false,
            groups: 4,
        };
        config.init(&Device::flex(), 2).unwrap().map(&mut Shaken)
    }

    fn middle(by: f32) -> Option<Control> {
        Some(Control {
            middle: Some(Tensor::full([1, 16, 1, 1], by, &Device::flex())),
            ..Control::default()
        })
    }

    /// Steps that burn's stand-in captures, which calls again.
    fn stood_in<'a>(unet: &'a UNet, heard: Heard) -> Captured<'a> {
        Captured {
            by_device: false,
            ..Captured::new(unet, heard, |said| panic!("{said}"))
        }
    }

    fn row() -> Row {
        Row {
            numbers: random([3]),
            widths: [1, 2].into(),
        }
    }

    fn heard(unet: &UNet) -> Heard {
        unet.hear(&Told::tokens(Some(random([2, 5, 6]))))
    }

    #[test]
    fn replayed_steps_are_those_of_the_network_and_stay_what_they_were() {
        let unet = unet();
        let heard = heard(&unet);
        let captured = stood_in(&unet, heard.clone());
        let mut kept = Vec::new();
        // Twice the same shapes, another size, then control, then other control, then none.
        let steps = [
            (981.0, 4, None),
            (500.0, 4, None),
            (20.0, 8, None),
            (7.0, 8, middle(0.5)),
            (6.0, 8, middle(-2.0)),
            (5.0, 8, None),
        ];
        for (t, side, control) in steps {
            let x = random([2, 4, side, side]);
            let wanted = unet.step(x.clone(), t, &heard, control.clone());
            let got = captured.step(x, t, control);
            kept.push((got, numbers(wanted)));
        }
        for (got, wanted) in kept {
            assert_eq!(numbers(got), wanted);
        }
    }

    #[test]
    fn inputs_of_one_shape_are_captured_once() {
        let (calls, sum) = (Cell::new(0), |inputs: Inputs| {
            let told = inputs.row.numbers.sum().reshape([1, 1, 1, 1]);
            let added = inputs.control.and_then(|control| control.middle);
            let x = inputs.x + told;
            added.into_iter().fold(x, |x, more| x + more)
        });
        let counted = |inputs: Inputs| {
            calls.set(calls.get() + 1);
            sum(inputs)
        };
        let inputs = |side, control| Inputs {
            x: random([1, 16, side, side]),
            row: row(),
            control,
        };
        let mut capture = Capture::new(&inputs(4, middle(1.0)), counted);
        let before = calls.get();
        for by in [0.5, 3.0] {
            let new = inputs(4, middle(by));
            let got = capture.replay(&new).expect("it fits");
            assert_eq!(numbers(got), numbers(sum(new)));
        }
        assert_eq!(calls.get(), before + 2, "burn's stand-in calls again");
        assert!(capture.replay(&inputs(8, middle(1.0))).is_none());
        assert!(capture.replay(&inputs(4, None)).is_none());
        let half = Inputs {
            row: Row {
                numbers: random([3]).cast(burn::tensor::DType::F16),
                ..row()
            },
            ..inputs(4, middle(1.0))
        };
        assert!(capture.replay(&half).is_none());
        assert_eq!(calls.get(), before + 2, "what does not fit runs nothing");
    }

    #[test]
    fn a_buffer_that_something_else_holds_is_not_written_in_place() {
        let inputs = || Inputs {
            x: random([1, 4, 4, 4]),
            row: row(),
            control: None,
        };
        let (mut apart, new) = (inputs().apart(), inputs());
        assert!(apart.refill(&new, true));
        assert_eq!(numbers(apart.x.clone()), numbers(new.x.clone()));
        let (before, held) = (numbers(apart.x.clone()), apart.x.clone());
        assert!(!apart.refill(&inputs(), true));
        assert_eq!(numbers(held), before);
        assert!(apart.refill(&new, true), "held no longer");
    }

    #[test]
    fn a_device_that_captures_nothing_is_called_and_that_is_said_once() {
        let (unet, said) = (unet(), RefCell::new(Vec::new()));
        let heard = heard(&unet);
        let note = |note: &str| said.borrow_mut().push(note.to_owned());
        let captured = Captured::new(&unet, heard.clone(), note);
        for t in [981.0, 500.0] {
            let x = random([2, 4, 4, 4]);
            let wanted = unet.step(x.clone(), t, &heard, None);
            assert_eq!(numbers(captured.step(x, t, None)), numbers(wanted));
        }
        assert_eq!(said.borrow().len(), 1);
        assert!(said.borrow()[0].contains("captures no steps"));
    }
}
