"""<case>.safetensors and <case>.weights.safetensors: small networks and what they compute.

`<case>.weights.safetensors` is the reference's own state dict under its own key names, in f16.
The numbers were rounded to f16 *before* anything was computed, so they are exact. It reads as
a checkpoint does.

`<case>.safetensors` holds (f64 unless said):
- inputs: `x` [b, c, h, w] f32, and where the network takes them `t` [b] f32, `context`
  [b, n, d] f32, `ids` [b, n] i64, `z` [b, c, h, w] f32 (autoencoders: what is decoded).
- results in double precision: `out`; for autoencoders `moments` and `decoded`.
- `mutant.<what>.<result>` f32: the result of a network with one thing wrong. A comparison that
  cannot tell it from the result is worth nothing. `eps_*`: a norm's eps is ten times too
  large or small; `padding`: the downsampling pads symmetrically where it should not or the
  reverse; `border`: convolutions repeat the border in place of zeros; `qk`: queries
  and keys swapped everywhere; `heads`: another number of heads; `sincos`: the halves of the
  timestep embedding swapped; `gelu`: the tanh form.
- metadata: `f32_error.<result>`, how far torch's own float32 run strays, largest difference
  over standard deviation; `config`, the arguments the reference was made with;
  `weakest_branch` and `faintest_per_cent`, see below.

Weights are drawn so that a mistake shows: every residual branch changes what it is added to by
at least a tenth (checked here, branch norm over input norm), and what enters a norm is small
(standard deviation about 0.04), so that the norm's eps matters. One per cent on any tensor shows
in a result by at least two tolerances, which is checked too and decided some of the seeds. Norm
groups hold two channels or more: with one channel a group, biases and the timestep would vanish
in the next norm.

The originals use 32 groups. These networks are narrower and use fewer, which for CompVis's code,
where the number is written in a function, means replacing that function.

Run: python networks.py OUT_DIR LATENT_DIFFUSION
"""

import copy
import json
import sys

import diffusers
import diffusers.models.embeddings as embeddings_module
import torch
import torch.nn.functional as F
from common import double_precision, error_over_std, save, use_compvis
from torch import nn

STREAM = 0.04  # the scale of what enters a norm


# ---- weights -----------------------------------------------------------------------------

NORMS = (nn.GroupNorm, nn.LayerNorm)
# Layers whose output is what a norm sees next, added to or not.
INTO_STREAM = "conv_in conv1 time_emb_proj proj_in in_layers emb_layers input_blocks.0".split()
# Layers that carry the stream on at its own scale.
CARRY = "conv_shortcut nin_shortcut skip_connection downsample upsample .op .conv.".split()


def gain(name, module, parent):
    if name.endswith(("label_emb", "class_embedding", "quantize.embedding")):
        return 0.7  # tables beside numbers of about 1
    if isinstance(module, nn.Embedding):
        return STREAM
    if name.endswith("proj_out") and parent in ("SpatialTransformer", "Transformer2DModel"):
        return 0.7  # its input is a stream already
    last = ("quant_conv", "conv_out", "out.2", "to_logits", "linear_1", "linear_2", "time_embed")
    last = (*last, "label_emb", "channel_mapper")
    if "samplers.0." in name and not name.endswith(".conv"):  # a block that resamples
        return gain(name.replace("samplers.0", ""), module, parent)
    if any(k in name for k in last) and "to_out" not in name:
        return 1.0
    if any(k in name + "." for k in CARRY):
        return 1.0
    if any(k in name for k in ("to_q", "to_k", "q_proj", "k_proj", ".qkv")):
        return 1.6
    if name.endswith((".q", ".k")):
        return 1.6
    if name.endswith(("net.0.proj", "net.0.0", "fc1", "to_v", "v_proj", ".v")):
        return 1.0
    if any(k in name for k in ("to_out", "proj_out", "out_proj", "net.2", "fc2")):
        return 3.5 * STREAM
    if any(k in name for k in ("conv2", "out_layers")):
        return 5 * STREAM
    if any(k in name for k in INTO_STREAM):
        return STREAM
    raise AssertionError(f"no scale for {name}")


def bias(name):
    """How large a bias is beside what its layer makes of its input."""
    return 0.3


def randomise(model, seed):
    """Draw every parameter anew, rounded to f16."""
    g = torch.Generator().manual_seed(seed)
    kinds = {name: type(m).__name__ for name, m in model.named_modules()}
    for name, module in model.named_modules():
        parent = kinds[name.rpartition(".")[0]]
        for which, p in module.named_parameters(recurse=False):
            draw = torch.randn(p.shape, generator=g, dtype=torch.float32)
            if isinstance(module, NORMS):
                value = 1.0 + 0.25 * draw if which == "weight" else 0.25 * draw
            else:
                scale = gain(name, module, parent)
                if which == "weight" and not isinstance(module, nn.Embedding):
                    value = scale * draw / p[0].numel() ** 0.5
                elif which == "weight":
                    value = scale * draw
                else:
                    value = bias(name) * scale * draw
            p.data.copy_(value.half().float())
    return model.eval()


# ---- how much each branch matters ----------------------------------------------------------

WHOLE = {
    "ResnetBlock2D": "conv_shortcut",
    "ResnetBlock": "nin_shortcut",
    "ResBlock": "skip_connection",
    "AttnBlock": None,
    "AttentionBlock": None,
    "SpatialTransformer": None,
    "Transformer2DModel": None,
}
# (branch, whose output counts; child beside it; whether that child's input or output is meant)
BESIDE = [
    ("attn1", "norm1", "in"),
    ("attn2", "norm2", "in"),
    ("ff", "norm3", "in"),
    ("time_emb_proj", "conv1", "out"),
    ("emb_layers", "in_layers", "out"),
    ("self_attn", "self_attn_layer_norm", "in"),
    ("fc2", "final_layer_norm", "in"),
]


def first(x):
    return x[0] if isinstance(x, (tuple, list)) else getattr(x, "sample", x)


def rms(x):
    return x.double().square().mean().sqrt().item()


class Branches:
    """Hooks that note for each residual branch its norm over that of what it is added to."""

    def __init__(self, model):
        self.seen, self.handles = {}, []
        for name, m in model.named_modules():
            kind = type(m).__name__
            if kind in WHOLE or getattr(m, "residual_connection", False):
                self.watch(m, self.whole(name, WHOLE.get(kind)))
            for branch, child, side in BESIDE:
                if isinstance(getattr(m, branch, None), nn.Module) and hasattr(m, child):
                    self.beside(f"{name}.{branch}", getattr(m, branch), getattr(m, child), side)
            if kind == "Encoder" and hasattr(m, "layers"):  # of x_transformer
                for i, (norm, block, _) in enumerate(m.layers):
                    self.beside(f"{name}.{i}", block, norm, "in")

    def watch(self, module, hook):
        self.handles.append(module.register_forward_hook(hook))

    def whole(self, name, skip):
        def hook(m, args, out):
            x, out = args[0], first(out)
            path = getattr(m, skip, None) if skip else None
            if skip == "nin_shortcut" and path is None:
                path = getattr(m, "conv_shortcut", None)
            with torch.no_grad():
                kept = path.forward(x) if isinstance(path, nn.Module) else x
            if kept.shape == out.shape:
                self.seen[name] = rms(out - kept) / rms(kept)

        return hook

    def beside(self, name, branch, other, side):
        memory = {}

        def note(_, args, out):
            memory["other"] = rms(args[0] if side == "in" else first(out))
            finish()

        def made(_, args, out):
            memory["branch"] = rms(first(out))
            finish()

        def finish():
            if len(memory) == 2:
                self.seen[name] = memory["branch"] / memory["other"]
                memory.clear()

        self.watch(other, note)
        self.watch(branch, made)

    def close(self):
        for h in self.handles:
            h.remove()


# ---- things done wrong ---------------------------------------------------------------------


def eps(kind, old, new):
    def change(model):
        found = [m for m in model.modules() if isinstance(m, kind) and abs(m.eps - old) < 1e-12]
        assert found
        for m in found:
            m.eps = new

    return change


def border(model):
    for m in model.modules():
        if isinstance(m, nn.Conv2d) and m.padding == (1, 1) and m.stride == (1, 1):
            m.padding_mode, m._reversed_padding_repeated_twice = "replicate", [1, 1, 1, 1]


def padding(model):
    """Symmetric padding where it was right and below only, and the reverse."""
    found = 0
    for m in model.modules():
        conv = next((getattr(m, n) for n in ("op", "conv") if hasattr(m, n)), None)
        if type(m).__name__ not in ("Downsample", "Downsample2D"):
            continue
        found += 1
        if conv.padding == (0, 0):
            m.forward = lambda x, *_, c=conv: F.conv2d(x, c.weight, c.bias, 2, 1)
        else:
            m.forward = lambda x, *_, c=conv: F.conv2d(
                F.pad(x, (0, 1, 0, 1)), c.weight, c.bias, 2, 0
            )
    assert found


def qk(model):
    found = 0
    for m in model.modules():
        if hasattr(m, "qkv"):
            w, b = m.qkv.weight.data, m.qkv.bias.data
            heads = m.num_heads
            for p in (w, b):
                v = p.view(heads, 3, -1, *p.shape[1:])
                v[:, [0, 1]] = v[:, [1, 0]].clone()
            found += 1
        for q, k in (("to_q", "to_k"), ("q_proj", "k_proj"), ("q", "k")):
            if not (hasattr(m, q) and hasattr(m, k)):
                continue
            a, b = getattr(m, q), getattr(m, k)
            if a.weight.shape == b.weight.shape:
                setattr(m, q, b), setattr(m, k, a)
                found += 1
    assert found


def heads(model):
    found = 0
    for m in model.modules():
        kind = type(m).__name__
        if kind == "Attention" and m.heads > 1:
            m.heads, m.scale = m.heads // 2, m.scale / 2**0.5
            found += 1
        elif kind == "QKVAttentionLegacy":
            m.n_heads //= 2
            found += 1
        elif kind in ("CrossAttention",) or (kind == "Attention" and hasattr(m, "to_q")):
            m.heads, m.scale = m.heads // 2, m.scale / 2**0.5
            found += 1
        elif kind == "LDMBertAttention":
            m.num_heads, m.head_dim = m.num_heads // 2, m.head_dim * 2
            m.scaling = m.head_dim**-0.5
            found += 1
    assert found


def sincos(model):
    first_layer = getattr(model, "time_embed", None)
    first_layer = first_layer[0] if first_layer is not None else model.time_embedding.linear_1
    w = first_layer.weight.data
    half = w.shape[1] // 2
    first_layer.weight.data = torch.cat([w[:, half:], w[:, :half]], 1)


class tanh_gelu:
    """While entered, every GELU is the tanh form."""

    def __enter__(self):
        self.kept, plain = F.gelu, F.gelu
        F.gelu = lambda x, approximate="none": plain(x, approximate="tanh")

    def __exit__(self, *_):
        F.gelu = self.kept


def gelu(model):
    for m in model.modules():
        if isinstance(m, nn.GELU):
            m.approximate = "tanh"
        if type(m).__name__ == "GELUActivation":
            m.forward = lambda x: F.gelu(x, approximate="tanh")
        if type(m).__name__ == "GEGLU":
            old = m.forward

            def forward(x, *a, old=old, **k):
                with tanh_gelu():
                    return old(x, *a, **k)

            m.forward = forward


# ---- one case ------------------------------------------------------------------------------


def run(model, call, inputs, dtype):
    """The results of `call`, in `dtype` throughout."""
    model = model.to(dtype)
    if hasattr(model, "time_embed"):
        model.dtype = dtype  # CompVis keeps it in a field, and casts to it
    inputs = {k: v if v.dtype == torch.int64 else v.to(dtype) for k, v in inputs.items()}
    with torch.no_grad():
        if dtype == torch.float32:
            return call(model, **inputs)
        kept, torch.Tensor.float = torch.Tensor.float, torch.Tensor.double
        try:
            with double_precision(*WIDENED):
                return call(model, **inputs)
        finally:
            torch.Tensor.float = kept


WIDENED = [embeddings_module]


def record(out, name, config, make, call, inputs, mutants, seed, oracle, beside={}):
    model = randomise(make(), seed)
    state = model.state_dict().items()
    weights = {k: v.half() if v.is_floating_point() else v for k, v in state}
    single = run(copy.deepcopy(model), call, inputs, torch.float32)
    double = copy.deepcopy(model)
    branches = Branches(double)
    results = run(double, call, inputs, torch.float64)
    branches.close()
    weakest = min(branches.seen, key=branches.seen.get)
    meta = {
        "oracle": oracle,
        "config": json.dumps(config),
        "weakest_branch": f"{weakest} {branches.seen[weakest]:.3f}",
    }
    tensors, tolerance = {**inputs, **beside}, {}
    for key, want in results.items():
        assert want.dtype == torch.float64 and want.isfinite().all()
        error = error_over_std(single[key], want)
        tolerance[key] = max(4 * error, 1e-5)
        meta[f"f32_error.{key}"] = f"{error:.3e}"
        tensors[key] = want
    print(f"{name}: {len(branches.seen)} branches, weakest {meta['weakest_branch']}")
    print("   f32 error", {k: v for k, v in meta.items() if k.startswith("f32")})
    assert branches.seen[weakest] >= 0.1, sorted(branches.seen.items(), key=lambda p: p[1])[:9]
    for what, change in mutants.items():
        wrong = copy.deepcopy(model)
        change(wrong)
        shown = 0
        for key, value in run(wrong, call, inputs, torch.float64).items():
            distance = error_over_std(value, results[key]) / tolerance[key]
            if distance > 4:
                tensors[f"mutant.{what}.{key}"] = value.float()
                shown += 1
            print(f"   mutant {what:16} {key:8} {distance:10.1f} tolerances")
        assert shown, (name, what)
    shown, where = check_one_per_cent(double, call, inputs, results, tolerance)
    meta["faintest_per_cent"] = f"{where} {shown:.1f} tolerances"
    print(f"   one per cent shows least in {meta['faintest_per_cent']}")
    assert shown > 2, where
    save(out, f"{name}.weights", weights, {"oracle": oracle})
    save(out, name, tensors, meta)


def idle(name):
    """Tensors that cannot matter: a constant on all keys, and the unused way back to words."""
    return name.endswith(("to_k.bias", ".k.bias")) or name.startswith("to_logits.")


def check_one_per_cent(model, call, inputs, results, tolerance):
    """Each number of any one tensor a per cent up or down has to show in a result."""
    least = (float("inf"), "")
    for name, p in model.named_parameters():
        if idle(name):
            continue
        kept, g = p.data.clone(), torch.Generator().manual_seed(0)
        signs = torch.randint(0, 2, p.shape, generator=g) * 2 - 1
        p.data.mul_(1 + 0.01 * signs)
        off = run(model, call, inputs, torch.float64)
        shown = max(error_over_std(off[k], results[k]) / tolerance[k] for k in results)
        least = min(least, (shown, name))
        p.data.copy_(kept)
    return least


def draw(seed, *shape):
    g = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=g, dtype=torch.float32)


# ---- autoencoders --------------------------------------------------------------------------


def code_picture(model, x, z):
    """Both halves of a diffusers autoencoder, without the posterior between."""
    return {"moments": model.quant_conv(model.encoder(x)), "decoded": model.decode(z).sample}


AE_MUTANTS = {
    "eps_group": eps(nn.GroupNorm, 1e-6, 1e-5),
    "padding": padding,
    "border": border,
    "qk": qk,
}


def autoencoder(out, name, seed, channels, groups, z, attend=(), size=(16, 24), layers=1):
    levels = len(channels)
    kind = lambda i, a, b: a if i in attend else b  # noqa: E731
    down = [kind(i, "AttnDownEncoderBlock2D", "DownEncoderBlock2D") for i in range(levels)]
    up = [kind(i, "AttnUpDecoderBlock2D", "UpDecoderBlock2D") for i in reversed(range(levels))]
    config = dict(
        down_block_types=down,
        up_block_types=up,
        block_out_channels=channels,
        layers_per_block=layers,
        latent_channels=z,
        norm_num_groups=groups,
    )
    factor = 2 ** (levels - 1)
    inputs = {
        "x": draw(seed + 1, 2, 3, *size).clamp(-1, 1),
        "z": draw(seed + 2, 2, z, size[0] // factor, size[1] // factor),
    }
    mutants = {k: v for k, v in AE_MUTANTS.items() if k != "padding" or levels > 1}
    make = lambda: diffusers.AutoencoderKL(**config)  # noqa: E731
    oracle = f"diffusers {diffusers.__version__} AutoencoderKL"
    record(out, name, config, make, code_picture, inputs, mutants, seed, oracle)


def compvis_autoencoder(out, name, seed):
    """CompVis's own encoder and decoder, attention inside a level as kl-f16 has it."""
    from ldm.modules.diffusionmodules import model as parts

    config = dict(
        double_z=True,
        z_channels=3,
        resolution=16,
        in_channels=3,
        out_ch=3,
        ch=8,
        ch_mult=(1, 1, 2),
        num_res_blocks=1,
        attn_resolutions=[8],
        dropout=0.0,
    )
    parts.Normalize = lambda c, num_groups=4: nn.GroupNorm(num_groups, c, eps=1e-6)

    def make():
        model = nn.Module()
        model.encoder, model.decoder = parts.Encoder(**config), parts.Decoder(**config)
        model.quant_conv, model.post_quant_conv = nn.Conv2d(6, 6, 1), nn.Conv2d(3, 3, 1)
        return model

    def call(model, x, z):
        decoded = model.decoder(model.post_quant_conv(z))
        return {"moments": model.quant_conv(model.encoder(x)), "decoded": decoded}

    inputs = {"x": draw(seed + 1, 2, 3, 16, 24).clamp(-1, 1), "z": draw(seed + 2, 2, 3, 4, 6)}
    oracle = "CompVis/latent-diffusion Encoder, Decoder; 4 norm groups"
    args = {**config, "groups": 4}, make, call, inputs, AE_MUTANTS, seed, oracle
    record(out, name, *args)


def posterior(out):
    """posterior.safetensors: `moments`, `noise` f32 → `mean`, `logvar`, `sample`, `mode`, `kl`."""
    from ldm.modules.distributions.distributions import DiagonalGaussianDistribution

    moments = draw(51, 2, 6, 4, 5)
    moments[:, 3:] *= 2.0
    moments[0, 3, 0, :3] = torch.tensor([-45.0, 27.0, 20.5])  # past both clamps
    noise = draw(52, 2, 3, 4, 5)

    def compute(dtype):
        p = DiagonalGaussianDistribution(moments.to(dtype))
        sample = p.mean + p.std * noise.to(dtype)
        torch.randn, kept = lambda *_, **__: noise.to(dtype), torch.randn
        assert torch.equal(sample, p.sample())
        torch.randn = kept
        return dict(mean=p.mean, logvar=p.logvar, sample=sample, mode=p.mode(), kl=p.kl())

    wide, single = compute(torch.float64), compute(torch.float32)
    meta = {f"f32_error.{k}": f"{error_over_std(single[k], wide[k]):.3e}" for k in wide}
    meta["oracle"] = "CompVis/latent-diffusion DiagonalGaussianDistribution"
    save(out, "posterior", {"moments": moments, "noise": noise, **wide}, meta)


# ---- U-Nets --------------------------------------------------------------------------------

UNET_MUTANTS = {
    "eps_res": eps(nn.GroupNorm, 1e-5, 1e-6),
    "padding": padding,
    "border": border,
    "qk": qk,
    "heads": heads,
    "sincos": sincos,
}
CROSS_MUTANTS = {
    **UNET_MUTANTS,
    "eps_transformer": eps(nn.GroupNorm, 1e-6, 1e-5),
    "eps_layer": eps(nn.LayerNorm, 1e-5, 1e-6),
    "gelu": gelu,
}
TIMES = torch.tensor([981.0, 12.5])


def denoise(model, x, t, context=None):
    if context is None:
        return {"out": first(model(x, t))}
    return {"out": first(model(x, t, context))}


def unet_by_width(out, name, seed):
    config = dict(
        sample_size=8,
        in_channels=3,
        out_channels=3,
        down_block_types=("DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D"),
        block_out_channels=(16, 32),
        layers_per_block=1,
        attention_head_dim=8,
        norm_num_groups=8,
        norm_eps=1e-5,
        downsample_padding=1,
        flip_sin_to_cos=True,
        freq_shift=0,
    )
    inputs = {"x": draw(seed + 1, 2, 3, 8, 12), "t": TIMES}
    make = lambda: diffusers.UNet2DModel(**config)  # noqa: E731
    oracle = f"diffusers {diffusers.__version__} UNet2DModel"
    record(out, name, config, make, denoise, inputs, UNET_MUTANTS, seed, oracle)


def unet_cross(out, name, seed, context, **config):
    config = dict(
        sample_size=8,
        out_channels=3,
        down_block_types=("CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
        layers_per_block=1,
        cross_attention_dim=context[-1],
        **config,
    )
    x = draw(seed + 1, 2, config["in_channels"], 8, 12)
    inputs = {"x": x, "t": TIMES, "context": draw(seed + 2, *context)}
    make = lambda: diffusers.UNet2DConditionModel(**config)  # noqa: E731
    oracle = f"diffusers {diffusers.__version__} UNet2DConditionModel"
    record(out, name, config, make, denoise, inputs, CROSS_MUTANTS, seed, oracle)


def compvis_unet(out, name, seed, groups, inputs, mutants, **config):
    from ldm.modules import attention
    from ldm.modules.diffusionmodules import openaimodel, util

    openaimodel.normalization = lambda c: util.GroupNorm32(groups, c)
    attention.Normalize = lambda c: nn.GroupNorm(groups, c, eps=1e-6)
    make = lambda: openaimodel.UNetModel(**config)  # noqa: E731

    def call(model, x, t, context=None):
        return {"out": model(x, timesteps=t, context=context)}

    oracle = f"CompVis/latent-diffusion UNetModel; {groups} norm groups"
    shown = {**config, "groups": groups}
    record(out, name, shown, make, call, inputs, mutants, seed, oracle)


def compvis_unets(out):
    small = dict(image_size=8, num_res_blocks=1)
    inputs = {"x": draw(71, 2, 3, 8, 12), "t": TIMES}
    count = dict(in_channels=3, model_channels=8, out_channels=3, attention_resolutions=[1, 2])
    # 2 heads of 4 at the first level, 2 heads of 8 at the second: no one width gives that.
    count = dict(**small, **count, channel_mult=(1, 2), num_heads=2)
    compvis_unet(out, "unet_by_count", 70, 4, inputs, UNET_MUTANTS, **count)
    inputs = {"x": draw(81, 2, 4, 8, 12), "t": TIMES, "context": draw(82, 2, 5, 6)}
    cross = dict(in_channels=4, model_channels=8, out_channels=3, attention_resolutions=[2, 1])
    cross = dict(**small, **cross, channel_mult=(1, 2), num_heads=2, context_dim=6)
    cross = dict(**cross, use_spatial_transformer=True, transformer_depth=2, legacy=False)
    compvis_unet(out, "unet_cross_compvis", 84, 4, inputs, CROSS_MUTANTS, **cross)


def timestep_embeddings(out):
    """timesteps.safetensors: `t` f32 and its embeddings `dim<n>` [t, n]."""
    from ldm.modules.diffusionmodules import util

    t = torch.tensor([0.0, 1.0, 12.5, 500.0, 981.0, 999.0])
    tensors, meta = {"t": t}, {"oracle": "CompVis/latent-diffusion timestep_embedding"}
    for dim in [8, 7, 32, 320]:
        single = util.timestep_embedding(t, dim)
        kept, torch.Tensor.float = torch.Tensor.float, torch.Tensor.double
        with double_precision(util):
            tensors[f"dim{dim}"] = util.timestep_embedding(t.double(), dim)
        torch.Tensor.float = kept
        meta[f"f32_error.dim{dim}"] = f"{error_over_std(single, tensors[f'dim{dim}']):.3e}"
        other = embeddings_module.get_timestep_embedding(t, dim, True, 0)
        assert error_over_std(other, tensors[f"dim{dim}"]) < 1e-3
    save(out, "timesteps", tensors, meta)


# ---- text encoders -------------------------------------------------------------------------

TEXT_MUTANTS = {
    "eps_layer": eps(nn.LayerNorm, 1e-5, 1e-6),
    "qk": qk,
    "heads": heads,
    "gelu": gelu,
}


def token_ids(seed, vocabulary, *shape):
    g = torch.Generator().manual_seed(seed)
    ids = torch.randint(1, vocabulary, shape, generator=g)
    ids[0, shape[1] // 2 :] = 0  # padding, which is attended to like any other
    return ids


def text_diffusers(out, name, seed):
    from diffusers.pipelines.latent_diffusion import pipeline_latent_diffusion as ldm

    config = dict(
        vocab_size=37,
        max_position_embeddings=12,
        d_model=20,
        encoder_layers=2,
        encoder_ffn_dim=80,
        encoder_attention_heads=2,
        head_dim=16,
        dropout=0.0,
    )
    make = lambda: ldm.LDMBertModel(ldm.LDMBertConfig(**config))  # noqa: E731
    call = lambda model, ids: {"out": model.model(ids)[0]}  # noqa: E731
    inputs = {"ids": token_ids(seed + 1, 37, 3, 12)}
    oracle = f"diffusers {diffusers.__version__} LDMBertModel"
    record(out, name, config, make, call, inputs, TEXT_MUTANTS, seed, oracle)


def text_compvis(out, name, seed):
    from ldm.modules import x_transformer as x

    config = dict(num_tokens=37, max_seq_len=12, dim=20, depth=2, heads=2, attn_dim_head=16)

    def make():
        layers = {k: config[k] for k in ("dim", "depth", "heads", "attn_dim_head")}
        sizes = {k: config[k] for k in ("num_tokens", "max_seq_len")}
        return x.TransformerWrapper(**sizes, attn_layers=x.Encoder(**layers))

    call = lambda model, ids: {"out": model(ids, return_embeddings=True)}  # noqa: E731
    # Shorter than the longest it knows: positions are counted from the start.
    inputs = {"ids": token_ids(seed + 1, 37, 2, 9)}
    oracle = "CompVis/latent-diffusion x_transformer.TransformerWrapper"
    record(out, name, config, make, call, inputs, TEXT_MUTANTS, seed, oracle)


def main(out, latent_diffusion):
    diffusers.logging.set_verbosity_error()
    use_compvis(latent_diffusion)
    from ldm.modules.diffusionmodules import util

    WIDENED.append(util)
    autoencoder(out, "ae_f1", 10, (16,), 8, 4, size=(8, 10))
    autoencoder(out, "ae_f4", 20, (8, 16, 16), 4, 3, layers=2)
    autoencoder(out, "ae_f8", 30, (8, 8, 16, 16), 4, 4, size=(16, 32))
    autoencoder(out, "ae_attending", 40, (8, 16, 16), 4, 3, attend=(1, 2))
    compvis_autoencoder(out, "ae_compvis", 45)
    posterior(out)
    unet_by_width(out, "unet_by_width", 60)
    compvis_unets(out)
    # Seven channels in, three out: room for a latent, a masked latent and a mask.
    count = dict(in_channels=7, block_out_channels=(8, 16), norm_num_groups=4)
    unet_cross(out, "unet_cross_count", 90, (2, 5, 12), **count, attention_head_dim=2)
    # Heads of width 4: two, then four; one transformer block, then two.
    width = dict(in_channels=3, block_out_channels=(8, 16), norm_num_groups=4)
    width = dict(**width, attention_head_dim=(2, 4), transformer_layers_per_block=(1, 2))
    unet_cross(out, "unet_cross_width", 104, (2, 7, 6), **width)
    timestep_embeddings(out)
    text_diffusers(out, "text_diffusers", 110)
    text_compvis(out, "text_compvis", 120)


if __name__ == "__main__":
    main(*sys.argv[1:])
