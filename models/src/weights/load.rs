//! From a file's tensors to a network's parameters.
//!
//! Promises
//! - Every fault is found from the header, before a number is read.
//! - One tensor is in memory at a time beside the network, in the type that is wanted;
//!   parameters that were not yet drawn are never drawn.
//! - A network that is only [run](Aim::Run) gives the bits of one that is not.
//! - A [`Patch`] sees each parameter once, in PyTorch's layout, whatever the file's family.
//! - Where the device's convolutions read their kernels with the channels last, these lie so from
//!   the start.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::{ControlFlow, Range};

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::{DType, Device, Tensor, TensorData};
use ldm_kernels::{PANEL, reads_channels_last, reads_panels};

use super::cast::Numbers;
use super::gather::{Gather, cut, gather_as, row_major};
use super::keys::{KeyTable, Source};
use super::stream::Room;
use super::{Place, TensorFile};
use crate::error::{Error, Result, TensorFaults};

/// What changes a network's parameters while they are loaded: an adapter.
pub trait Patch {
    /// Whether [`Patch::apply`] has anything to do for the parameter at `path`: a path of
    /// ours, `down.0.blocks.1.attention.blocks.0.attn1.q.weight`.
    fn wants(&self, path: &str) -> bool {
        let _ = path;
        true
    }

    /// Changes `numbers`, those of the parameter at `path` in row-major order and PyTorch's
    /// layout: `shape` is `[out, in]` of a linear layer, `[out, in, k, k]` of a convolution,
    /// `[rows, width]` of an embedding. Their count stays.
    ///
    /// # Errors
    /// When what is to be added does not fit.
    fn apply(&self, path: &str, shape: &[usize], numbers: &mut Vec<f32>) -> Result<()>;
}

/// Leaves all parameters as the file has them.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoPatch;

impl Patch for NoPatch {
    fn wants(&self, _: &str) -> bool {
        false
    }

    fn apply(&self, _: &str, _: &[usize], _: &mut Vec<f32>) -> Result<()> {
        Ok(())
    }
}

/// What is heard while a network is loaded; the answer is whether to go on.
pub type Listen<'a> = dyn FnMut(Heard<'_>) -> ControlFlow<()> + 'a;

/// News of a load.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heard<'a> {
    /// So many parameters are there.
    Parameter {
        /// Counted from 1.
        done: usize,
        /// How many there are.
        of: usize,
    },
    /// A tensor with numbers that are NaN, infinite, or too large for the type asked for.
    /// They are loaded as they are.
    Odd {
        /// The tensor's name in its file.
        key: &'a str,
        /// How many of its numbers.
        count: usize,
    },
}

/// The types that the parameters of a network take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Types {
    /// That of the weights of linear layers and convolutions: nearly all there is.
    pub weights: DType,
    /// That of all others, which is the type that the network computes in.
    pub compute: DType,
}

impl From<DType> for Types {
    fn from(dtype: DType) -> Self {
        Self {
            weights: dtype,
            compute: dtype,
        }
    }
}

impl Types {
    /// The type of the parameter at `path`, a tensor of `rank` axes.
    fn of(self, path: &str, rank: usize) -> DType {
        match is_layers(path, rank) {
            true => self.weights,
            false => self.compute,
        }
    }

    /// Bytes that the parameters of `network` take; makes none of them.
    pub fn bytes<M: Module>(self, network: &M) -> u64 {
        let mut sum = Sum {
            types: self,
            place: Place::default(),
            bytes: 0,
        };
        network.visit(&mut sum);
        sum.bytes
    }
}

/// Whether the parameter at `path` is the weight of a linear layer or a convolution.
fn is_layers(path: &str, rank: usize) -> bool {
    rank > 1 && path.ends_with(".weight")
}

/// What a network is loaded for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Aim {
    /// To be run and nothing else: weights lie as the device's kernels read them best.
    Run,
    /// To be run on a device that has no room for it: the weights of layers stay in the host's
    /// memory, as their layers say, and each is brought to the device whenever it is used.
    Offload,
    /// To be trained, saved or looked at: weights lie as their layers say.
    Any,
}

impl Aim {
    /// Whether the parameter at `path`, a tensor of `rank` axes, rests in the host's memory.
    fn rests(self, path: &str, rank: usize) -> bool {
        self == Self::Offload && is_layers(path, rank)
    }
}

struct Sum {
    types: Types,
    place: Place,
    bytes: u64,
}

impl ModuleVisitor for Sum {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.place.enter(name, container);
    }

    fn exit_module(&mut self, _: &str, container: &str) {
        self.place.exit(container);
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let size = self.types.of(&self.place.path(), D).size();
        self.bytes += (param.lazy_shape().num_elements() * size) as u64;
    }
}

/// What a network is filled from, and how.
pub struct Filling<'a> {
    /// Holds the numbers.
    pub file: &'a TensorFile,
    /// Knows the names.
    pub table: &'a KeyTable,
    /// The types that parameters take.
    pub types: Types,
    /// Changes parameters on the way.
    pub patch: &'a dyn Patch,
    /// What the network is for.
    pub aim: Aim,
}

impl Filling<'_> {
    /// Fills `network`; `listen` hears how far it is.
    ///
    /// # Errors
    /// [`Error::Tensors`] with all tensors that are missing, spare, misshapen or no floats;
    /// what the patch refuses; [`Error::Stopped`] when `listen` says so.
    pub fn fill<M: Module>(&self, network: M, listen: &mut Listen<'_>) -> Result<M> {
        let plan = plan(&network, self.table);
        let faults = compare(&plan, self.file, self.table);
        if !faults.is_empty() {
            return Err(Error::Tensors {
                path: self.file.path().to_path_buf(),
                faults: Box::new(faults),
            });
        }
        let mut fill = Fill {
            place: Place::default(),
            container: String::new(),
            plan,
            from: self,
            listen,
            room: Room::default(),
            done: 0,
            ahead: 0,
            failed: None,
        };
        let network = network.map(&mut fill);
        match fill.failed {
            Some(error) => Err(error),
            None => Ok(network),
        }
    }
}

/// Fills `network` from `file`, whose names `table` knows, for [any aim](Aim::Any); parameters are
/// changed by `patch` and take `types`.
///
/// # Errors
/// [`Error::Tensors`] with all tensors that are missing, spare, misshapen or no floats; what
/// `patch` refuses.
pub fn load<M: Module>(
    network: M,
    file: &TensorFile,
    table: &KeyTable,
    types: impl Into<Types>,
    patch: &dyn Patch,
) -> Result<M> {
    let filling = Filling {
        file,
        table,
        types: types.into(),
        patch,
        aim: Aim::Any,
    };
    filling.fill(network, &mut |_| ControlFlow::Continue(()))
}

/// Where `file` and `network` part ways; reads the header only and draws no parameter.
pub fn faults<M: Module>(network: &M, file: &TensorFile, table: &KeyTable) -> TensorFaults {
    compare(&plan(network, table), file, table)
}

/// What a file holds of a network.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Contents {
    /// How many numbers, by the type that they are written in.
    pub dtypes: BTreeMap<String, u64>,
    /// Where file and network part ways.
    pub faults: TensorFaults,
}

/// What `file` holds of `network`; reads the header only and draws no parameter.
pub fn contents<M: Module>(network: &M, file: &TensorFile, table: &KeyTable) -> Contents {
    let plan = plan(network, table);
    let keys: BTreeSet<&str> = plan.iter().map(|(_, source)| &source.key[..]).collect();
    let mut dtypes = BTreeMap::new();
    for (dtype, shape) in keys
        .iter()
        .filter_map(|key| file.dtype(key).zip(file.shape(key)))
    {
        *dtypes.entry(dtype).or_default() += shape.iter().product::<usize>() as u64;
    }
    let faults = compare(&plan, file, table);
    Contents { dtypes, faults }
}

/// The parameters of a network in its order: path, and the tensor it comes from.
pub(crate) type Plan = Vec<(String, Source)>;

/// For each parameter's path, the tensor it comes from.
pub(crate) fn plan<M: Module>(network: &M, table: &KeyTable) -> Plan {
    let mut walk = Walk {
        place: Place::default(),
        table,
        plan: vec![],
    };
    network.visit(&mut walk);
    walk.plan
}

struct Walk<'a> {
    place: Place,
    table: &'a KeyTable,
    plan: Plan,
}

impl ModuleVisitor for Walk<'_> {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.place.enter(name, container);
    }

    fn exit_module(&mut self, _: &str, container: &str) {
        self.place.exit(container);
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let path = self.place.path();
        let source = self.table.source(&path, &param.lazy_shape().dims::<D>());
        self.plan.push((path, source));
    }
}

fn compare(plan: &Plan, file: &TensorFile, table: &KeyTable) -> TensorFaults {
    let mut faults = TensorFaults::default();
    let wanted: BTreeMap<&str, &Source> = plan.iter().map(|(_, s)| (&s.key[..], s)).collect();
    for (key, source) in &wanted {
        let key = (*key).to_owned();
        match file.shape(&key) {
            None => faults.missing.push((key, source.shape.clone())),
            Some(found) if !same(found, &source.shape) => {
                faults
                    .misshapen
                    .push((key, source.shape.clone(), found.to_vec()));
            }
            Some(_) if !file.is_float(&key) => {
                let found = file.dtype(&key).unwrap_or_default();
                faults.mistyped.push((key, found));
            }
            Some(_) => {}
        }
    }
    let known: BTreeSet<&str> = wanted.into_keys().collect();
    for key in file.names() {
        if table.owns(&key) && !known.contains(&key[..]) {
            let found = file.shape(&key).unwrap_or_default().to_vec();
            faults.spare.push((key, found));
        }
    }
    faults.spare.sort();
    faults
}

/// Whether two shapes mean the same layer: a 1×1 convolution is a linear one.
fn same(a: &[usize], b: &[usize]) -> bool {
    let core = |shape: &[usize]| {
        let ones = shape.iter().rev().take_while(|n| **n == 1).count();
        shape[..shape.len() - ones].to_vec()
    };
    core(a) == core(b)
}

/// The system is asked to read so many bytes before they are needed.
const AHEAD: usize = 64 << 20;

struct Fill<'a, 'l> {
    place: Place,
    /// What the parameter that comes next is a part of.
    container: String,
    plan: Plan,
    from: &'a Filling<'a>,
    listen: &'a mut Listen<'l>,
    room: Room,
    /// How many parameters are filled, and up to which the system reads ahead.
    done: usize,
    ahead: usize,
    failed: Option<Error>,
}

impl Fill<'_, '_> {
    /// How the next parameter, of `shape`, is to lie.
    fn order(&self, shape: &[usize], device: &Device) -> Order {
        let weight = self.container == LINEAR && self.place.is_at("weight");
        match (self.from.aim, shape) {
            (Aim::Run, [_, out]) if weight && reads_panels(device, *out) => Order::Panels,
            // The kernels of a convolution; those of one pixel lie alike both ways.
            (_, [_, _, 1, 1]) => Order::Plain,
            (_, [_, _, _, _]) if reads_channels_last(device) => Order::ChannelsLast,
            _ => Order::Plain,
        }
    }

    /// The next parameter, of `shape` in its own layout, in this order.
    fn next(&mut self, shape: &[usize], order: Order) -> Result<TensorData> {
        let soon = self.soon()?;
        let (from, file, soon) = (self.from, self.from.file, &self.plan[soon]);
        let (path, source) = &self.plan[self.done];
        debug_assert_eq!(
            *path,
            self.place.path(),
            "a visitor and a mapper go one way"
        );
        // To ask for pages costs about what it costs to be given them: that is another's work.
        let (data, odd) = rayon::in_place_scope(|scope| {
            scope.spawn(|_| {
                soon.iter().for_each(|(_, source)| file.soon(&source.key));
            });
            from.parameter((path, source), (shape, order), &mut self.room)
        })?;
        self.done += 1;
        let (key, of) = (&source.key, self.plan.len());
        let mut flow = ControlFlow::Continue(());
        if odd > 0 {
            flow = (self.listen)(Heard::Odd { key, count: odd });
        }
        let done = self.done;
        match flow.is_break() || (self.listen)(Heard::Parameter { done, of }).is_break() {
            true => Err(Error::Stopped),
            false => Ok(data),
        }
    }

    /// Counts on, until enough is read ahead; the answer is what is to be read now.
    fn soon(&mut self) -> Result<Range<usize>> {
        let file = self.from.file;
        let first = self.ahead.max(self.done);
        let mut bytes = 0;
        for (i, (_, source)) in self.plan.iter().enumerate().skip(self.done) {
            if i >= first && bytes >= AHEAD {
                break;
            }
            bytes += file.view(&source.key)?.span().len();
            self.ahead = i + 1;
        }
        Ok(first..self.ahead)
    }
}

impl Filling<'_> {
    /// The numbers of the parameter at `path`, in this order, and how many of them are odd.
    fn parameter(
        &self,
        (path, source): (&str, &Source),
        (shape, order): (&[usize], Order),
        room: &mut Room,
    ) -> Result<(TensorData, usize)> {
        let (file, key) = (self.file, &source.key);
        let view = file.view(key)?;
        let dtype = self.types.of(path, shape.len());
        if !self.patch.wants(path) {
            let mut turned = source.turned(view);
            let order = order.of(&turned.shape);
            order.lay(&mut turned.shape, &mut turned.strides);
            let numbers = file.numbers(key, &turned, room)?;
            return gather_as(numbers, turned.axes(), dtype, &order.sizes(shape));
        }
        // Linear layers are shown as PyTorch has them, which a file of ours has not.
        let linear = path.ends_with(".weight") && shape.len() == 2;
        let mut picked = source.picked(view);
        let mut outward = shape.to_vec();
        if linear {
            outward.reverse();
        }
        if linear && !source.transposed() {
            picked = picked.turned();
        }
        let stored = file.numbers(key, &picked, room)?;
        let mut numbers = stored.gather(picked.axes())?.numbers;
        self.patch.apply(path, &outward, &mut numbers)?;
        let mut strides = row_major(&outward);
        if linear {
            strides.reverse();
        }
        let (sizes, mut shape) = (order.sizes(shape), shape.to_vec());
        order.lay(&mut shape, &mut strides);
        gather_as(Numbers::Floats(&numbers), (&shape, &strides), dtype, &sizes)
    }
}

/// How the numbers of a parameter lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    /// As its layer says.
    Plain,
    /// A matrix, in panels of [`PANEL`] columns.
    Panels,
    /// The kernels of a convolution, channels last.
    ChannelsLast,
}

impl Order {
    /// What is left of it for a view of `shape`: columns in heads that are no whole panels stay as
    /// they are.
    fn of(self, shape: &[usize]) -> Self {
        match self {
            Self::Panels if shape.last().is_none_or(|n| !n.is_multiple_of(PANEL)) => Self::Plain,
            order => order,
        }
    }

    /// Makes a view one of the same numbers in this order.
    fn lay(self, shape: &mut Vec<usize>, strides: &mut Vec<usize>) {
        match self {
            Self::Plain => {}
            Self::Panels => cut(PANEL, shape, strides),
            Self::ChannelsLast => {
                shape[1..].rotate_left(1);
                strides[1..].rotate_left(1);
            }
        }
    }

    /// The sizes of a tensor that holds a parameter of `shape` so.
    fn sizes(self, shape: &[usize]) -> Vec<usize> {
        let mut sizes = shape.to_vec();
        match self {
            Self::Plain => {}
            Self::Panels => sizes = vec![shape[0] * shape[1] / PANEL, PANEL],
            Self::ChannelsLast => sizes[1..].rotate_left(1),
        }
        sizes
    }
}

/// What burn calls [`Linear`](crate::nn::Linear) where a network is walked.
const LINEAR: &str = "Struct:Linear";

impl ModuleMapper for Fill<'_, '_> {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.place.enter(name, container);
        container.clone_into(&mut self.container);
    }

    fn exit_module(&mut self, _: &str, container: &str) {
        self.place.exit(container);
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        if self.failed.is_some() {
            return param;
        }
        let shape = param.lazy_shape().dims::<D>();
        let dtype = self.from.types.of(&self.place.path(), D);
        let id = param.id;
        let device = match self.from.aim.rests(&self.place.path(), D) {
            true => Device::flex(),
            false => param.lazy_device(),
        };
        let order = self.order(&shape, &device);
        let data = match self.next(&shape, order) {
            Ok(data) => data,
            Err(error) => {
                self.failed = Some(error);
                return param;
            }
        };
        // On its way to a GPU it goes through pinned memory: cubecl copies less than 100 MB so.
        let tensor = device.memory_persistent_allocations(data, |data| {
            Tensor::<D>::from_data(data, (&device, dtype))
        });
        let tensor = match order {
            Order::ChannelsLast => tensor.movedim(D - 1, 1),
            Order::Plain | Order::Panels => tensor,
        };
        param.transform_for_load(tensor, id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::{TextTransformer, TextTransformerConfig};
    use crate::weights::{SaveAs, TensorWriter, save};

    /// Adds one to the weights of queries.
    struct OneMore;

    impl Patch for OneMore {
        fn wants(&self, path: &str) -> bool {
            path.ends_with("q.weight")
        }

        fn apply(&self, _: &str, shape: &[usize], numbers: &mut Vec<f32>) -> Result<()> {
            // So that a turned one is noticed.
            let first = numbers.iter_mut().step_by(shape[1]);
            first.for_each(|number| *number += 1.0);
            Ok(())
        }
    }

    #[test]
    fn what_rests_in_the_hosts_memory_is_the_weights_of_layers() {
        let all = [
            ("down.0.blocks.0.res.conv1.weight", 4),
            ("middle.attention.blocks.0.feed.up.weight", 2),
            ("down.0.blocks.0.res.conv1.bias", 1),
            ("norm_out.gamma", 1),
            ("label.table", 2),
        ];
        for (aim, rests) in [(Aim::Offload, 2), (Aim::Run, 0), (Aim::Any, 0)] {
            let all = all.iter().map(|(path, rank)| aim.rests(path, *rank));
            assert!(all.eq((0..5).map(|at| at < rests)), "{aim:?}");
        }
    }

    #[test]
    fn a_network_to_be_run_gives_the_bits_of_any_other() {
        let folder = tempfile::tempdir().unwrap();
        let (path, device) = (folder.path().join("a.safetensors"), Device::flex());
        let config = TextTransformerConfig {
            vocab_size: 11,
            max_length: 6,
            width: 48,
            layers: 2,
            heads: 3,
            head_width: 16,
        };
        let fresh = || config.init(&device, 1).unwrap();
        save(&fresh(), &path, SaveAs::F32).unwrap();
        let file = TensorFile::open(&path).unwrap();
        let ids = Tensor::from_ints([[1, 2, 3, 4, 5, 6], [7, 8, 9, 10, 0, 0]], &device);
        let run = |aim, patch: &dyn Patch| {
            let filling = Filling {
                file: &file,
                table: &KeyTable::native(),
                types: DType::F32.into(),
                patch,
                aim,
            };
            let listen = &mut |_: Heard<'_>| ControlFlow::Continue(());
            let network: TextTransformer = filling.fill(fresh(), listen).unwrap();
            let told: Vec<f32> = network
                .forward(ids.clone())
                .into_data()
                .try_to_vec()
                .unwrap();
            (in_panels(&network), told)
        };
        let patches: [&dyn Patch; 2] = [&NoPatch, &OneMore];
        let [plain, patched] = patches.map(|patch| {
            let (none, wanted) = run(Aim::Any, patch);
            let (some, got) = run(Aim::Run, patch);
            assert!(
                got == wanted && none == 0 && some > 8,
                "{none} and {some} in panels"
            );
            got
        });
        assert_ne!(plain, patched);
    }

    fn in_panels<M: Module>(network: &M) -> usize {
        struct Count(usize);
        impl ModuleVisitor for Count {
            fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
                self.0 += usize::from(D == 2 && param.val().dims()[D - 1] == ldm_kernels::PANEL);
            }
        }
        let mut count = Count(0);
        network.visit(&mut count);
        count.0
    }

    /// Adds nothing, and so takes the way of patched parameters.
    struct Zero;

    impl Patch for Zero {
        fn apply(&self, _: &str, shape: &[usize], _: &mut Vec<f32>) -> Result<()> {
            assert_eq!(shape, [2, 3, 3, 1], "PyTorch's layout");
            Ok(())
        }
    }

    #[test]
    fn kernels_are_read_with_their_channels_last_where_that_is_asked_for() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.safetensors");
        let (shape, device) = ([2, 3, 3, 1], Device::flex());
        let numbers: Vec<f32> = (0..18).map(|i| i as f32).collect();
        let kernels = Tensor::<4>::from_data(TensorData::new(numbers, shape), &device);
        let mut writer = TensorWriter::default();
        writer.tensor("conv.weight", &kernels);
        writer.write(&path, SaveAs::F32).unwrap();
        let (file, table) = (TensorFile::open(&path).unwrap(), KeyTable::native());
        let source = table.source("conv.weight", &shape);
        for patch in [&NoPatch as &dyn Patch, &Zero] {
            let filling = Filling {
                file: &file,
                table: &table,
                types: DType::F32.into(),
                patch,
                aim: Aim::Any,
            };
            let read = |order| {
                let mut room = Room::default();
                let read = filling.parameter(("conv.weight", &source), (&shape, order), &mut room);
                Tensor::<4>::from_data(read.unwrap().0, &device)
            };
            let (first, last) = (read(Order::Plain), read(Order::ChannelsLast));
            assert_eq!((first.dims(), last.dims()), (shape, [2, 3, 1, 3]));
            for turned in [first, last.movedim(3, 1)] {
                assert_eq!(turned.into_data(), kernels.to_data());
            }
        }
    }
}
