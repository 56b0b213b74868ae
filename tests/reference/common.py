"""What the recording scripts share: saving, a double-precision torch, and stand-ins.

Promises
- Nothing here or in the scripts reads a file of this project; every number comes
  from torch, diffusers, transformers, or the original repositories given by path.
- Every random number comes from a generator seeded by a constant in the scripts.

Not here: which cases exist (one script per golden file says so in its header).
"""

import importlib.machinery
import json
import sys
import types
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save as to_bytes

torch.set_num_threads(1)  # so that float32 errors are the same each time


def save(out, name, tensors, meta):
    """Write `tensors` and string metadata to `out/name.safetensors`."""
    path = Path(out) / f"{name}.safetensors"
    path.parent.mkdir(parents=True, exist_ok=True)
    tensors = {k: v.detach().clone().contiguous() for k, v in sorted(tensors.items())}
    meta = {k: str(v) for k, v in meta.items()}
    meta["torch"] = torch.__version__.split("+")[0]
    path.write_bytes(in_order(to_bytes(tensors, metadata=meta)))
    print(f"{path.name}: {len(tensors)} tensors, {path.stat().st_size / 1024:.0f} KiB")


def in_order(file):
    """The same file with its metadata sorted, so that recording twice gives equal bytes."""
    end = 8 + int.from_bytes(file[:8], "little")
    header = json.loads(file[8:end])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + file[end:]


def error_over_std(got, want):
    """The largest difference in units of the standard deviation of `want`."""
    want = want.double()
    return ((got.double() - want).abs().max() / want.std()).item()


class Double:
    """A module seen through glasses in which `float32` reads `float64`.

    diffusers' schedulers name float32 in their code; put in the place of their
    `torch` and `np` this runs the same lines in double precision.
    """

    def __init__(self, module):
        self._module = module

    def __getattr__(self, name):
        return getattr(self._module, "float64" if name == "float32" else name)


class double_precision:
    """While entered, `modules` compute in float64 wherever they ask for float32."""

    def __init__(self, *modules):
        self.modules = modules

    def __enter__(self):
        torch.set_default_dtype(torch.float64)
        for m in self.modules:
            m.torch, m.np = Double(torch), Double(np)

    def __exit__(self, *_):
        torch.set_default_dtype(torch.float32)
        for m in self.modules:
            m.torch, m.np = torch, np


class _Stub(types.ModuleType):
    """A module whose every attribute is an inert class: enough to be imported from."""

    __path__ = []

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        base = torch.nn.Module if name == "LightningModule" else object
        value = type(name, (base,), {"__init__": lambda self, *a, **k: base.__init__(self)})
        if name in ("rank_zero_only", "trange", "tqdm"):
            value = lambda x=None, *a, **k: range(x) if isinstance(x, int) else x  # noqa: E731
        setattr(self, name, value)
        return value


def stub(*names):
    """Stand in for packages the original code imports but these cases never run."""
    for name in names:
        module = _Stub(name)
        module.__spec__ = importlib.machinery.ModuleSpec(name, None, is_package=True)
        sys.modules[name] = module


def use_compvis(latent_diffusion, trainer=False):
    """Make CompVis's `ldm` importable; with `trainer` also the files that import one."""
    sys.path.insert(0, str(latent_diffusion))
    if trainer:
        stub(
            "pytorch_lightning",
            "pytorch_lightning.utilities",
            "pytorch_lightning.utilities.distributed",
            "torchvision",
            "torchvision.utils",
            "taming",
            "taming.modules",
            "taming.modules.vqvae",
            "taming.modules.vqvae.quantize",
        )


def use_k_diffusion(path):
    """Import k-diffusion's `sampling` and `external` without its training packages."""
    stub("torchdiffeq")
    package = types.ModuleType("k_diffusion")
    package.__path__ = [str(Path(path) / "k_diffusion")]
    sys.modules["k_diffusion"] = package
    stub("k_diffusion.utils")
    utils = sys.modules["k_diffusion.utils"]
    utils.append_dims = lambda x, n: x[(...,) + (None,) * (n - x.ndim)]
    package.utils = utils
    import k_diffusion.sampling as sampling

    sampling.trange = lambda n, disable=None: range(n)
    import k_diffusion.external as external

    return sampling, external


def use_comfyui(path):
    """Import ComfyUI's samplers and schedules without the rest of it.

    ComfyUI is GPL-3: it is run here from a checkout of the reader's, and only the numbers it
    gives are kept.
    """
    sys.path.insert(0, str(path))
    stub(
        "comfy.context_windows",
        "comfy.hooks",
        "comfy.model_management",
        "comfy.model_patcher",
        "comfy.patcher_extension",
        "comfy.sampler_helpers",
        "comfy.utils",
        "comfy.k_diffusion.utils",
        "comfy.ldm.util",
        "comfy_api",
        "comfy_api.latest",
    )
    sys.modules["comfy_api.latest"].io = _Stub("io")
    sys.modules["comfy_api.latest"].io.NodeOutput = lambda *outputs: outputs
    import comfy.k_diffusion

    comfy.k_diffusion.utils = sys.modules["comfy.k_diffusion.utils"]
    comfy.k_diffusion.utils.append_dims = lambda x, n: x[(...,) + (None,) * (n - x.ndim)]
    for name in ["model_management", "model_patcher", "sampler_helpers"]:
        setattr(sys.modules["comfy"], name, sys.modules[f"comfy.{name}"])
    # Where a sampler asks to see both predictions: the model calls `seen` with them.
    hook = lambda options, seen, **_: {"seen": seen}  # noqa: E731
    sys.modules["comfy.model_patcher"].set_model_options_post_cfg_function = hook
    import comfy.extra_samplers.uni_pc as uni_pc
    import comfy.k_diffusion.sampling as sampling
    import comfy.model_sampling as model_sampling
    import comfy.samplers as samplers

    for module in (sampling, uni_pc):
        module.trange = lambda n, disable=None: range(n)
    return sampling, uni_pc, model_sampling, samplers


class wide:
    """While entered, what asks torch for float32 by `.float()` or `FloatTensor` gets float64."""

    def __enter__(self):
        self.kept = torch.Tensor.float, torch.FloatTensor
        torch.Tensor.float, torch.FloatTensor = torch.Tensor.double, torch.DoubleTensor
        torch.set_default_dtype(torch.float64)

    def __exit__(self, *_):
        torch.Tensor.float, torch.FloatTensor = self.kept
        torch.set_default_dtype(torch.float32)
