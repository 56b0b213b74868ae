//! AdamW with an exponential moving average of the weights.
//!
//! Promises
//! - State is kept by parameter path, so that it can be written and found again.
//! - A parameter without a gradient stays as it is.
//!
//! Not here: the learning rate over time (`run::Schedule`).

use std::collections::BTreeMap;

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::{Gradients, Tensor};

/// Settings of [`AdamW`]; the defaults are PyTorch's, and LDM's decay of the average.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdamWSettings {
    /// β₁, the memory of the gradient.
    pub beta1: f64,
    /// β₂, the memory of its square.
    pub beta2: f64,
    /// ε, added to the root of the second moment.
    pub epsilon: f64,
    /// Decoupled weight decay, times the learning rate.
    pub weight_decay: f64,
    /// Gradients whose joint norm is above this are scaled down to it; 0 leaves them.
    pub clip: f64,
    /// Decay of the average; after `n` steps at most `(1 + n) / (10 + n)`, as LDM's `LitEma`.
    pub ema: f64,
}

impl Default for AdamWSettings {
    fn default() -> Self {
        Self {
            beta1: 0.9,
            beta2: 0.999,
            epsilon: 1e-8,
            weight_decay: 0.01,
            clip: 0.0,
            ema: 0.9999,
        }
    }
}

/// What is remembered of one parameter, each `[n]`.
#[derive(Debug, Clone)]
pub(super) struct Memory {
    /// The weight itself.
    pub(super) w: Tensor<1>,
    /// First moment.
    pub(super) m: Tensor<1>,
    /// Second moment.
    pub(super) v: Tensor<1>,
    /// Average of the weight.
    pub(super) ema: Tensor<1>,
}

/// AdamW (Loshchilov and Hutter 2019, arXiv 1711.05101, algorithm 2).
#[derive(Debug)]
pub struct AdamW {
    settings: AdamWSettings,
    pub(super) steps: u64,
    pub(super) memory: BTreeMap<String, Memory>,
}

impl AdamW {
    /// An optimiser that has seen no step.
    pub fn new(settings: AdamWSettings) -> Self {
        Self {
            settings,
            steps: 0,
            memory: BTreeMap::new(),
        }
    }

    /// One step at learning rate `lr`: the module with its weights moved.
    pub fn step<M: Module>(&mut self, module: M, mut grads: Gradients, lr: f64) -> M {
        self.steps += 1;
        let shrink = self.shrink(&module, &grads);
        let mut visit = Update {
            optimizer: self,
            grads: &mut grads,
            lr,
            shrink,
            path: vec![],
        };
        module.map(&mut visit)
    }

    /// The module with every weight replaced by its average, off the autodiff device.
    pub fn averaged<M: Module>(&self, module: M) -> M {
        let pick = |memory: &Memory| memory.ema.clone();
        module.map(&mut Replace {
            memory: &self.memory,
            pick,
            path: vec![],
        })
    }

    /// The module with the weights of the last step, on the autodiff device.
    pub(super) fn resumed<M: Module>(&self, module: M) -> M {
        let pick = |memory: &Memory| memory.w.clone().autodiff();
        module.map(&mut Replace {
            memory: &self.memory,
            pick,
            path: vec![],
        })
    }

    /// What gradients are multiplied by so that their joint norm stays under the clip.
    fn shrink<M: Module>(&self, module: &M, grads: &Gradients) -> f64 {
        if self.settings.clip <= 0.0 {
            return 1.0;
        }
        let mut norm = Norm {
            grads,
            squares: 0.0,
        };
        module.visit(&mut norm);
        (self.settings.clip / (norm.squares.sqrt() + 1e-6)).min(1.0)
    }

    fn update(&mut self, path: String, w: Tensor<1>, g: Tensor<1>, lr: f64) -> Tensor<1> {
        let AdamWSettings {
            beta1,
            beta2,
            epsilon,
            weight_decay,
            ..
        } = self.settings;
        let decay = self.decay();
        let (n, t) = (w.dims(), self.steps as f64);
        let memory = self.memory.remove(&path).unwrap_or_else(|| Memory {
            w: w.clone(),
            m: Tensor::zeros(n, &w.device()),
            v: Tensor::zeros(n, &w.device()),
            ema: w.clone(),
        });
        let m = memory.m * beta1 + g.clone() * (1.0 - beta1);
        let v = memory.v * beta2 + g.clone() * g * (1.0 - beta2);
        let root = (v.clone() * (1.0 / (1.0 - beta2.powf(t)))).sqrt() + epsilon;
        let slope = m.clone() * (lr / (1.0 - beta1.powf(t))) / root;
        let w = w * (1.0 - lr * weight_decay) - slope;
        let ema = memory.ema * decay + w.clone() * (1.0 - decay);
        self.memory.insert(
            path,
            Memory {
                w: w.clone(),
                m,
                v,
                ema,
            },
        );
        w
    }

    fn decay(&self) -> f64 {
        let n = self.steps as f64;
        self.settings.ema.min((1.0 + n) / (10.0 + n))
    }
}

/// Follows the names of a module's parts.
macro_rules! follow_names {
    () => {
        fn enter_module(&mut self, name: &str, _: &str) {
            self.path.push(name.to_owned());
        }

        fn exit_module(&mut self, _: &str, _: &str) {
            self.path.pop();
        }
    };
}

struct Update<'a> {
    optimizer: &'a mut AdamW,
    grads: &'a mut Gradients,
    lr: f64,
    shrink: f64,
    path: Vec<String>,
}

impl ModuleMapper for Update<'_> {
    follow_names!();

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let path = self.path.join(".");
        param.map(|w| {
            let Some(g) = w.grad_remove(self.grads) else {
                return w;
            };
            let shape = w.dims();
            let n = [shape.iter().product::<usize>()];
            let g = g.reshape(n) * self.shrink;
            let w = self
                .optimizer
                .update(path, w.inner().reshape(n), g, self.lr);
            w.reshape(shape).autodiff().require_grad()
        })
    }
}

struct Replace<'a, F> {
    memory: &'a BTreeMap<String, Memory>,
    pick: F,
    path: Vec<String>,
}

impl<F: Fn(&Memory) -> Tensor<1>> ModuleMapper for Replace<'_, F> {
    follow_names!();

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let memory = self.memory.get(&self.path.join("."));
        param.map(|w| match memory.map(&self.pick) {
            Some(kept) if kept.is_autodiff() => kept.reshape(w.dims()).require_grad(),
            Some(kept) => kept.reshape(w.dims()),
            None => w,
        })
    }
}

struct Norm<'a> {
    grads: &'a Gradients,
    squares: f64,
}

impl ModuleVisitor for Norm<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if let Some(g) = param.val().grad(self.grads) {
            // `sum` over the whole tensor follows work stealing; rows do not.
            let data = g.into_data();
            let values = data.as_slice::<f32>().expect("gradients are f32");
            self.squares += values
                .iter()
                .map(|&g| f64::from(g) * f64::from(g))
                .sum::<f64>();
        }
    }
}
