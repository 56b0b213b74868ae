"""up_<case>.safetensors with its weights, and resized.safetensors: pictures made larger.

`up_*` are laid out as networks.py says, with `x` [b, 3, h, w] in 0..1 and `out`. The networks
are small: ESRGAN's adds 32 channels a convolution, these add 4, which for spandrel's code, where
the number is written in a function, means replacing that function. Mutants: `border`, convolutions
repeat the border; `slope`, what is left of negative numbers is halved; `residual`, blocks add
half as much; `smooth`, doubling interpolates; `order`, pixels leave the channels column by
column; `mirror`, a side that is too short is filled with zeros.

`resized.safetensors`: `x` [2, 3, 7, 10] f32, and `<method>.<height>x<width>` f64, what torch's
`interpolate` makes of it, without antialiasing; for `lanczos` what Pillow makes of each channel
as 32-bit floats.

Run: python upscale.py OUT_DIR SPANDREL BASICSR
"""

import sys
import types

import networks
import numpy as np
import torch
import torch.nn.functional as F
from common import error_over_std, save, stub
from PIL import Image
from torch import nn


def shell(name, folder):
    """A package that holds its folder's files and runs nothing when it is imported."""
    package = types.ModuleType(name)
    package.__path__ = [str(folder)]
    sys.modules[name] = package
    return package


def use_spandrel(path):
    root = f"{path}/spandrel"
    sys.path.insert(0, str(path))
    shell("spandrel", root)
    shell("spandrel.architectures", f"{root}/architectures")
    shell("spandrel.architectures.ESRGAN", f"{root}/architectures/ESRGAN")
    import importlib

    block = importlib.import_module("spandrel.architectures.__arch_helpers.block")
    return importlib.import_module("spandrel.architectures.ESRGAN.__arch.RRDB").RRDBNet, block


def use_basicsr(path):
    stub("torchvision", "basicsr.ops", "basicsr.ops.dcn", "basicsr.utils.registry")
    root = f"{path}/basicsr"
    shell("basicsr", root)
    shell("basicsr.archs", f"{root}/archs")
    shell("basicsr.utils", f"{root}/utils").get_root_logger = None
    keep = types.SimpleNamespace(register=lambda **_: lambda kind: kind)
    sys.modules["basicsr.utils.registry"].ARCH_REGISTRY = keep
    from basicsr.archs import rrdbnet_arch, srvgg_arch

    return rrdbnet_arch.RRDBNet, srvgg_arch.SRVGGNetCompact


def gain(name, module, parent):
    if isinstance(module, nn.PReLU):
        return 0.3
    return 2.0 if "conv5" in name else 1.4


# ---- things done wrong ---------------------------------------------------------------------


def slope(model):
    found = [m for m in model.modules() if isinstance(m, nn.LeakyReLU)]
    assert found
    for m in found:
        m.negative_slope /= 2
    for m in model.modules():
        if isinstance(m, nn.PReLU):
            m.weight.data /= 2


def slopes(model):
    for m in model.modules():
        if isinstance(m, nn.PReLU):
            m.weight.data /= 2


def residual(model):
    for name, m in model.named_modules():
        if "conv5" in name and isinstance(m, nn.Conv2d):
            m.weight.data /= 2
            m.bias.data /= 2


def patched(name, other):
    """A mutant that runs with the function `name` of torch exchanged."""

    def change(model):
        forward = model.forward

        def wrong(x):
            kept = [getattr(module, name, None) for module in (F, torch)]
            F.__dict__[name] = other
            if kept[1] is not None:
                setattr(torch, name, other)
            try:
                return forward(x)
            finally:
                F.__dict__[name] = kept[0]
                if kept[1] is not None:
                    setattr(torch, name, kept[1])

        model.forward = wrong

    return change


plain_interpolate, plain_pad, plain_shuffle = F.interpolate, F.pad, F.pixel_shuffle
smooth = patched(
    "interpolate",
    lambda x, *a, scale_factor=None, **k: plain_interpolate(
        x, scale_factor=scale_factor or 2, mode="bilinear"
    ),
)
mirror = patched("pad", lambda x, pad, *_, **__: plain_pad(x, pad))


def order(model):
    shuffle = model.upsampler
    shuffle.forward = lambda x: plain_shuffle(x.mT, shuffle.upscale_factor).mT


MUTANTS = {
    "border": networks.border,
    "slope": slope,
    "residual": residual,
    "smooth": smooth,
}


# ---- cases ---------------------------------------------------------------------------------


def upscaler(out, name, seed, make, config, size, mutants, oracle):
    networks.gain = gain
    networks.WHOLE.update(RRDB=None, ResidualDenseBlock=None, ResidualDenseBlock_5C=None)
    call = lambda model, x: {"out": model(x)}  # noqa: E731
    x = networks.draw(seed + 1, 2, 3, *size).mul(0.25).add(0.5).clamp(0, 1)
    build = lambda: make(**config)  # noqa: E731
    networks.record(out, name, config, build, call, {"x": x}, mutants, seed, oracle)


def upscalers(out, spandrel, basicsr):
    numbered, block = use_spandrel(spandrel)
    whole = block.RRDB
    block.RRDB = lambda nf, gc, **k: whole(nf, gc=4, **k)
    config = dict(num_filters=8, num_blocks=2, scale=4)
    oracle = "spandrel 0.4.2 RRDBNet; 4 channels a convolution"
    upscaler(out, "up_numbered", 210, numbered, config, (5, 6), MUTANTS, oracle)
    config = dict(in_nc=12, num_filters=8, num_blocks=1, scale=4, plus=True, shuffle_factor=2)
    mutants = {**MUTANTS, "mirror": mirror}
    upscaler(out, "up_plus", 220, numbered, config, (5, 7), mutants, oracle)
    body, compact = use_basicsr(basicsr)
    config = dict(num_in_ch=3, num_out_ch=3, num_feat=8, num_block=1, num_grow_ch=4, scale=2)
    upscaler(out, "up_body", 230, body, config, (8, 6), MUTANTS, "basicsr 1.4.2 RRDBNet")
    config = dict(num_in_ch=3, num_out_ch=3, num_feat=8, num_conv=2, upscale=3)
    mutants = {"border": networks.border, "slope": slopes, "smooth": smooth, "order": order}
    networks.WHOLE["SRVGGNetCompact"] = "nearest"

    def make(**config):
        model = compact(**config)
        model.nearest = nn.Upsample(scale_factor=config["upscale"])  # what its pixels are added to
        return model

    oracle = "basicsr 1.4.2 SRVGGNetCompact"
    upscaler(out, "up_compact", 240, make, config, (5, 6), mutants, oracle)


def resized(out):
    x = networks.draw(250, 2, 3, 7, 10).mul(0.25).add(0.5).clamp(0, 1)
    tensors, meta = {"x": x}, {"oracle": f"torch interpolate, Pillow {Image.__version__}"}
    for height, width in [(12, 25), (4, 3), (7, 5), (14, 10)]:
        for method in ["nearest-exact", "bilinear", "bicubic", "area", "lanczos"]:
            name = f"{method}.{height}x{width}"
            wide = shrunk(x.double(), method, height, width)
            single = shrunk(x, method, height, width)
            meta[f"f32_error.{name}"] = f"{error_over_std(single, wide):.3e}"
            tensors[name] = wide
    save(out, "resized", tensors, meta)


def shrunk(x, method, height, width):
    if method != "lanczos":
        return F.interpolate(x, size=(height, width), mode=method)
    planes = x.float().numpy().reshape(-1, *x.shape[2:])
    small = [Image.fromarray(p).resize((width, height), Image.Resampling.LANCZOS) for p in planes]
    small = np.stack([np.asarray(p) for p in small])
    return torch.from_numpy(small).reshape(*x.shape[:2], height, width).to(x.dtype)


def main(out, spandrel, basicsr):
    upscalers(out, spandrel, basicsr)
    resized(out)


if __name__ == "__main__":
    main(*sys.argv[1:])
