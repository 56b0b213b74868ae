"""conditioning.safetensors: lists of conditions and noise masks, as ComfyUI makes one of them.

Computed in f64. Layout, f32 unless said; n counts cases of a latent [2, 1, 16, 24]:
- `list.<n>.x`: the state x0 + sigma eps; `.t` [1]: its timestep, of the schedule 0.0015 to
  0.0195; `.guided`: the clean latent under guidance by `cfg`.
- `list.<n>.<positive|negative>.<i>`: condition i of a side: [has area, y, x, height, width,
  strength, start, end] in f64; `.tokens` [1, n, 5]; `.mask` [1 or 2, 16, 24] where it has one.
- `keep.<n>.x`, `.t`, `.clean`: the clean latent with `.mask` [1, 1, 16, 24] of what is made
  anew, over `.latent` and `.noise`.
The network: eps = x g + r + 0.3 g, with x of variance one, g the mean of the tokens and r a ramp
0.01 y + 0.02 x over what the network sees of the latent, so that it matters how that is cut.

Run: python conditioning.py OUT_DIR COMFYUI
"""

import random
import sys

import torch
from common import save, use_comfyui

CASES, KEPT, CFG = 20, 4, 5.0
H, W = 16, 24


class Sampling:
    """What ComfyUI asks of a model's schedule here: sigma of a share of the walk."""

    def __init__(self):
        betas = torch.linspace(0.0015**0.5, 0.0195**0.5, 1000, dtype=torch.float64) ** 2
        alphas = torch.cumprod(1 - betas, 0)
        self.sigmas = ((1 - alphas) / alphas).sqrt()

    def percent_to_sigma(self, percent):
        if percent <= 0 or percent >= 1:
            return 1e9 if percent <= 0 else 0.0
        t = (1 - percent) * 999
        low, logs = int(t), self.sigmas.log()
        w = t - low
        return ((1 - w) * logs[low] + w * logs[min(low + 1, 999)]).exp().item()


class Model:
    """The network, as ComfyUI calls models: a clean latent for x0 + sigma eps."""

    def __init__(self):
        self.model_sampling = Sampling()
        self.current_patcher = self

    def prepare_state(self, *_):
        pass

    def apply_hooks(self, **_):
        return {}

    def memory_required(self, *_, **__):
        return 0

    def apply_model(self, x, sigma, c_crossattn, **_):
        g = c_crossattn.mean(dim=(1, 2)).reshape(-1, 1, 1, 1)
        sigma = sigma.reshape(-1, 1, 1, 1)
        rows, columns = torch.arange(x.shape[2]), torch.arange(x.shape[3])
        ramp = rows.reshape(-1, 1) * 0.01 + columns.reshape(1, -1) * 0.02
        return x - sigma * (x / (sigma**2 + 1).sqrt() * g + ramp + 0.3 * g)

    def scale_latent_inpaint(self, sigma, noise, latent_image, **_):
        return latent_image + noise * sigma.reshape(-1, 1, 1, 1)


def condition(rng, draw, conds, key, tensors):
    tokens = torch.randn(1, rng.choice([4, 4, 6]), 5, generator=draw)
    tensors[f"{key}.tokens"] = tokens
    one = {"model_conds": {"c_crossattn": conds.CONDCrossAttn(tokens.double())}, "uuid": key}
    area, strength, span = [0, 0, 0, 0], 1.0, (0.0, 1.0)
    if rng.random() < 0.5:
        high, wide = rng.randint(1, H), rng.randint(1, W)
        y, x = rng.randint(0, H - high), rng.randint(0, W - wide)
        one["area"], area = (high, wide, y, x), [y, x, high, wide]
    if rng.random() < 0.6:
        one["strength"] = strength = round(rng.uniform(0.1, 2), 3)
    if rng.random() < 0.4:
        mask = torch.rand(rng.choice([1, 2]), H, W, generator=draw)
        tensors[f"{key}.mask"] = mask = torch.where(mask < 0.3, 0, mask)
        one["mask"] = mask.double()
    if rng.random() < 0.3:
        span = rng.choice([(0, 0.75), (0.2, 1), (0.5, 0.9)])
        one["start_percent"], one["end_percent"] = span
    numbers = [float("area" in one), *area, strength, *span]
    tensors[key] = torch.tensor(numbers, dtype=torch.float64)
    return one


def guided(samplers, model, sides, x, sigma):
    for side in sides.values():
        samplers.resolve_areas_and_cond_masks_multidim(side, (H, W), "cpu")
        samplers.calculate_start_end_timesteps(model, side)
    for name, side in sides.items():
        for one in side:
            for other in sides:
                if other != name:
                    samplers.create_cond_with_same_area_if_none(sides[other], one)
    both = [sides["positive"], sides["negative"]]
    positive, negative = samplers.calc_cond_batch(model, both, x, sigma, {})
    return negative + (positive - negative) * CFG


def main(out, comfyui):
    samplers = use_comfyui(comfyui)[3]
    import comfy.conds as conds

    # The rest of ComfyUI, as far as these functions call it.
    direct = lambda run, _: type("Direct", (), {"execute": staticmethod(run)})  # noqa: E731
    patcher = sys.modules["comfy.patcher_extension"]
    patcher.WrapperExecutor = type("", (), {"new_executor": staticmethod(direct)})
    patcher.WrappersMP = type("", (), {"CALC_COND_BATCH": None})
    patcher.get_all_wrappers = lambda *_, **__: []
    sys.modules["comfy.model_management"].get_free_memory = lambda _: 1 << 60
    repeat = lambda x, batch: x.repeat(batch // x.shape[0], *[1] * (x.ndim - 1))  # noqa: E731
    sys.modules["comfy.utils"].repeat_to_batch_size = repeat
    for name in ["conds", "patcher_extension", "utils"]:
        setattr(sys.modules["comfy"], name, sys.modules[f"comfy.{name}"])

    rng, draw, model, tensors = random.Random(5), torch.Generator().manual_seed(3), Model(), {}
    latent = lambda: torch.randn(2, 1, H, W, generator=draw)  # noqa: E731

    def begin(key):
        t = rng.choice([0, 100, 250, 500, 640, 999])
        tensors[f"{key}.x"] = x = latent()
        tensors[f"{key}.t"] = torch.tensor([t], dtype=torch.float64)
        return x.double(), model.model_sampling.sigmas[t].repeat(2)

    for n in range(CASES):
        x, sigma = begin(f"list.{n}")
        sides = {}
        for side in ["positive", "negative"]:
            keys = [f"list.{n}.{side}.{i}" for i in range(rng.choice([1, 2, 2, 3]))]
            sides[side] = [condition(rng, draw, conds, key, tensors) for key in keys]
        tensors[f"list.{n}.guided"] = guided(samplers, model, sides, x, sigma).float()
    for n in range(KEPT):
        key = f"keep.{n}"
        x, sigma = begin(key)
        for name in ["latent", "noise"]:
            tensors[f"{key}.{name}"] = latent()
        tensors[f"{key}.mask"] = mask = torch.rand(1, 1, H, W, generator=draw).round(decimals=1)
        tokens = torch.full((2, 1, 5), 0.4, dtype=torch.float64)
        inner = lambda x, sigma, **_: model.apply_model(x, sigma, tokens)  # noqa: E731
        inner.inner_model = model
        keeping = samplers.KSamplerX0Inpaint(inner, None)
        keeping.latent_image = tensors[f"{key}.latent"].double()
        keeping.noise = tensors[f"{key}.noise"].double()
        tensors[f"{key}.clean"] = keeping(x, sigma, mask.double()).float()
    save(out, "conditioning", tensors, {"about": __doc__.splitlines()[0], "cfg": CFG})


if __name__ == "__main__":
    main(*sys.argv[1:])
