//! The names that a pickle of weights may say, and what each means here.
//!
//! Promise: a name is on this list or it is refused. Classes of the libraries that
//! checkpoints are trained with are on it by their module, because a checkpoint lists its
//! callbacks and settings beside the weights; no function of any library is.

use safetensors::Dtype;

use super::super::format::dtype_of;

/// What a name means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Meaning {
    /// A tensor of (storage, offset, shape, strides, …); with a number type behind those in
    /// the third version.
    Tensor,
    TypedTensor,
    /// What is given comes back: a parameter is its tensor.
    First,
    /// (function, class, arguments, state): the function of the arguments.
    Inner,
    /// Makes a dictionary: of pairs, or empty.
    Dictionary,
    /// Makes a list, a tuple or a set.
    Sequence,
    /// A class of storages, or a number type.
    Numbers(Dtype),
    /// Makes a placeholder: of a network's part, whose state holds tensors, or not.
    Placeholder {
        module: bool,
    },
}

/// Names and their meanings; other versions of Python call some modules otherwise.
const NAMES: &[(&str, &str, Meaning)] = &[
    ("torch._utils", "_rebuild_tensor", Meaning::Tensor),
    ("torch._utils", "_rebuild_tensor_v2", Meaning::Tensor),
    ("torch._utils", "_rebuild_tensor_v3", Meaning::TypedTensor),
    ("torch._utils", "_rebuild_parameter", Meaning::First),
    (
        "torch._utils",
        "_rebuild_parameter_with_state",
        Meaning::First,
    ),
    ("torch._tensor", "_rebuild_from_type_v2", Meaning::Inner),
    ("torch", "Size", Meaning::Sequence),
    ("torch", "device", THING),
    ("torch", "Tensor", THING),
    ("collections", "OrderedDict", Meaning::Dictionary),
    ("collections", "defaultdict", Meaning::Dictionary),
    ("collections", "Counter", Meaning::Dictionary),
    ("builtins", "dict", Meaning::Dictionary),
    ("builtins", "list", Meaning::Sequence),
    ("builtins", "tuple", Meaning::Sequence),
    ("builtins", "set", Meaning::Sequence),
    ("builtins", "frozenset", Meaning::Sequence),
    ("builtins", "int", THING),
    ("builtins", "float", THING),
    ("builtins", "complex", THING),
    ("builtins", "bool", THING),
    ("builtins", "str", THING),
    ("builtins", "bytes", THING),
    ("builtins", "bytearray", THING),
    ("builtins", "slice", THING),
    ("builtins", "object", THING),
    ("_codecs", "encode", THING),
    ("copyreg", "_reconstructor", THING),
    ("pathlib", "Path", THING),
    ("pathlib", "PosixPath", THING),
    ("pathlib", "PurePosixPath", THING),
    ("pathlib", "PureWindowsPath", THING),
    ("pathlib", "WindowsPath", THING),
    ("argparse", "Namespace", THING),
    ("types", "SimpleNamespace", THING),
    ("typing", "Any", THING),
    ("numpy", "dtype", THING),
    ("numpy", "ndarray", THING),
    ("numpy.core.multiarray", "scalar", THING),
    ("numpy.core.multiarray", "_reconstruct", THING),
    ("numpy._core.multiarray", "scalar", THING),
    ("numpy._core.multiarray", "_reconstruct", THING),
];

const THING: Meaning = Meaning::Placeholder { module: false };

/// Libraries whose classes stand beside weights.
const LIBRARIES: &[&str] = &[
    "lightning",
    "lightning_fabric",
    "numpy.dtypes",
    "omegaconf",
    "pytorch_lightning",
    "torch.optim",
    "torchmetrics",
];

/// Libraries whose classes are parts of networks.
const NETWORKS: &[&str] = &["torch.nn"];

/// What `name` of `module` means, unless a pickle of weights has no need of it.
pub(super) fn meaning(module: &str, name: &str) -> Option<Meaning> {
    let now = match module {
        "__builtin__" => "builtins",
        "copy_reg" => "copyreg",
        "pathlib._local" => "pathlib",
        same => same,
    };
    let known = NAMES.iter().find(|(m, n, _)| (*m, *n) == (now, name));
    if let Some((_, _, meaning)) = known {
        return Some(*meaning);
    }
    if let Some(dtype) = numbers(module, name) {
        return Some(Meaning::Numbers(dtype));
    }
    // A class has a capital letter by every convention, and no dot: `callbacks.os.system`
    // would reach through a module to another.
    let class = name.starts_with(|c: char| c.is_ascii_uppercase())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    let of = |libraries: &[&str]| {
        class
            && libraries.iter().any(|library| {
                let inside = module.strip_prefix(library);
                inside.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
            })
    };
    match (of(NETWORKS), of(LIBRARIES)) {
        (true, _) => Some(Meaning::Placeholder { module: true }),
        (_, true) => Some(THING),
        _ => None,
    }
}

/// `torch.HalfStorage`, `torch.float16`
fn numbers(module: &str, name: &str) -> Option<Dtype> {
    match module {
        "torch" | "torch.cuda" => dtype_of(name),
        "torch.storage" if name.ends_with("Storage") => dtype_of(name),
        _ => None,
    }
}
