//! From a file's tensors to a network's parameters.
//!
//! Promises
//! - Every fault is found from the header, before a number is read.
//! - One tensor is in memory at a time beside the network; parameters that were not yet
//!   drawn are never drawn.
//! - A [`Patch`] sees each parameter once, in PyTorch's layout, whatever the file's family.

use std::collections::{BTreeMap, BTreeSet};

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::{DType, Tensor, TensorData};

use super::keys::{KeyTable, Source, transpose};
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

/// Fills `network` from `file`, whose names `table` knows; parameters are changed by `patch`
/// and take `dtype`.
///
/// # Errors
/// [`Error::Tensors`] with all tensors that are missing, spare, misshapen or no floats; what
/// `patch` refuses.
pub fn load<M: Module>(
    network: M,
    file: &TensorFile,
    table: &KeyTable,
    dtype: DType,
    patch: &dyn Patch,
) -> Result<M> {
    let sources = sources(&network, table);
    let faults = compare(&sources, file, table);
    if !faults.is_empty() {
        return Err(Error::Tensors {
            path: file.path().to_path_buf(),
            faults: Box::new(faults),
        });
    }
    let mut fill = Fill {
        place: Place::default(),
        sources,
        file,
        dtype,
        patch,
        failed: None,
    };
    let network = network.map(&mut fill);
    match fill.failed {
        Some(error) => Err(error),
        None => Ok(network),
    }
}

/// Where `file` and `network` part ways; reads the header only and draws no parameter.
pub fn faults<M: Module>(network: &M, file: &TensorFile, table: &KeyTable) -> TensorFaults {
    compare(&sources(network, table), file, table)
}

/// For each parameter's path, the tensor it comes from.
pub(crate) fn sources<M: Module>(network: &M, table: &KeyTable) -> BTreeMap<String, Source> {
    let mut walk = Walk {
        place: Place::default(),
        table,
        sources: BTreeMap::new(),
    };
    network.visit(&mut walk);
    walk.sources
}

struct Walk<'a> {
    place: Place,
    table: &'a KeyTable,
    sources: BTreeMap<String, Source>,
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
        self.sources.insert(path, source);
    }
}

fn compare(
    sources: &BTreeMap<String, Source>,
    file: &TensorFile,
    table: &KeyTable,
) -> TensorFaults {
    let mut faults = TensorFaults::default();
    let wanted: BTreeMap<&str, &Source> = sources.values().map(|s| (&s.key[..], s)).collect();
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

struct Fill<'a> {
    place: Place,
    sources: BTreeMap<String, Source>,
    file: &'a TensorFile,
    dtype: DType,
    patch: &'a dyn Patch,
    failed: Option<Error>,
}

impl Fill<'_> {
    /// The numbers of the parameter at `path`, in its own layout and of its own `shape`.
    fn numbers(&self, path: &str, shape: &[usize]) -> Result<Vec<f32>> {
        let source = &self.sources[path];
        let mut numbers = source.picked(self.file.read(&source.key)?);
        if !self.patch.wants(path) {
            return Ok(source.turned(numbers));
        }
        // A file of ours holds linear layers turned already.
        let linear = path.ends_with(".weight") && shape.len() == 2;
        let [rows, columns] = [shape[0], shape.get(1).copied().unwrap_or(1)];
        if linear && !source.transposed() {
            numbers = transpose(&numbers, rows, columns);
        }
        let outward: Vec<usize> = match linear {
            true => vec![columns, rows],
            false => shape.to_vec(),
        };
        self.patch.apply(path, &outward, &mut numbers)?;
        match linear {
            true => Ok(transpose(&numbers, columns, rows)),
            false => Ok(numbers),
        }
    }
}

impl ModuleMapper for Fill<'_> {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.place.enter(name, container);
    }

    fn exit_module(&mut self, _: &str, container: &str) {
        self.place.exit(container);
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let shape = param.lazy_shape().dims::<D>();
        let numbers = match self.numbers(&self.place.path(), &shape) {
            Ok(numbers) => numbers,
            Err(error) => {
                self.failed.get_or_insert(error);
                return param;
            }
        };
        let (id, device) = (param.id, param.lazy_device());
        let data = TensorData::new(numbers, shape);
        let tensor = device.memory_persistent_allocations(data, |data| {
            Tensor::<D>::from_data(data, (&device, self.dtype))
        });
        param.transform_for_load(tensor, id)
    }
}
