"""samplers.safetensors: whole sampling runs, step by step, with the noise they used.

The network is a stand-in: `out(x, t) = a * x + b * sin(t)` (a, b in the metadata), read as
eps, x0 or v as the case's name says. The state is [2, 1, 3, 4]. All runs use the β pair
0.0015..0.0195 ("scaled_linear" in diffusers, "linear" in CompVis), 1000 training steps, in
float64 throughout. Metadata `<case>.f32_error`: how far the same code in float32 strays over
the whole run, largest difference over standard deviation of the last state.

Layout per case (f64):
- `<case>.timesteps` [S]: the t given to the network, in walking order. May be fractional.
- `<case>.x` [S+1, ...]: states, first the start as that sampler holds it (for Euler scaled by
  its sigma), last the result.
- `<case>.x0` [S, ...]: the clean picture predicted at each step.
- `<case>.noise` [S, ...]: the noise injected at each step, zeros where none was asked for.
- `<case>.sigmas` [S+1]: Euler families only.
- `<case>.cond`, `<case>.uncond` [1, 1, 3, 4]: guidance cases; the network adds them to its
  output, `out = uncond_out + scale * (cond_out - uncond_out)`.

Cases:
- `ddim.diffusers.<pred>.eta<η>.s<S>`: DDIMScheduler, leading, steps_offset 1,
  set_alpha_to_one False, clip_sample False. S 10 divides 1000, S 7 does not.
- `ddim.diffusers.trailing_one.<pred>.eta<η>.s<S>`: trailing, set_alpha_to_one True.
- `ddim.compvis.eta<η>.s<S>`: DDIMSampler, eps. S 7 makes 8 steps, as CompVis does.
- `ddim.compvis.cfg5.s10`: the same with guidance scale 5.
- `ddpm.diffusers.<pred>.s<S>`: DDPMScheduler, fixed_small, leading, no clipping.
- `ddpm.compvis.<pred>.<first>to<last>`: `p_sample` of the 1000-step chain, t from first down
  to last; clip_denoised False.
- `euler.diffusers.<spacing>.<pred>.s<S>`, `euler_ancestral.diffusers.<spacing>.<pred>.s<S>`.
- `euler.k.s<S>`, `euler_ancestral.k.eta<η>.s<S>`, `euler.k.karras.s<S>`: k-diffusion's
  sampling functions on its eps denoiser with its own sigmas.

Run: python samplers.py OUT_DIR LATENT_DIFFUSION K_DIFFUSION
"""

import contextlib
import io
import sys

import diffusers
import diffusers.schedulers.scheduling_ddim as ddim_module
import diffusers.schedulers.scheduling_ddpm as ddpm_module
import diffusers.schedulers.scheduling_euler_ancestral_discrete as ancestral_module
import diffusers.schedulers.scheduling_euler_discrete as euler_module
import numpy as np
import torch
from common import double_precision, error_over_std, save, use_compvis, use_k_diffusion

A, B = 0.6, 0.4
SHAPE = (2, 1, 3, 4)
PAIR = (0.0015, 0.0195)
MODULES = [ddim_module, ddpm_module, ancestral_module, euler_module]
COMMON = dict(beta_start=PAIR[0], beta_end=PAIR[1], beta_schedule="scaled_linear")
NAMES = {"eps": "epsilon", "x0": "sample", "v": "v_prediction"}


def network(x, t):
    return A * x + B * torch.sin(torch.as_tensor(t).to(x.dtype))


def single(shape, generator):
    """Drawn in float32 whatever the default: a float64 draw is another sequence."""
    return torch.randn(shape, generator=generator, dtype=torch.float32)


class Noise:
    """Hands out recorded noise, one tensor a draw, and remembers what it gave."""

    def __init__(self, dtype, seed=7):
        self.generator, self.dtype = torch.Generator().manual_seed(seed), dtype
        self.given = []

    def draw(self, *_, **__):
        self.given.append(single(SHAPE, self.generator).to(self.dtype))
        return self.given[-1]

    def since(self, count):
        """The draw made since there were `count`, or zeros: one row of the recording."""
        made = self.given[count:]
        assert len(made) <= 1
        return made[0] if made else torch.zeros(SHAPE, dtype=self.dtype)


def start(dtype):
    return single(SHAPE, torch.Generator().manual_seed(3)).to(dtype)


def walk_diffusers(scheduler, steps, dtype, eta=None):
    """One run of a diffusers scheduler; every list has a row per step."""
    noise = Noise(dtype)
    for m in MODULES:
        m.randn_tensor = noise.draw
    scheduler.set_timesteps(steps)
    x = start(dtype) * torch.as_tensor(scheduler.init_noise_sigma).to(dtype)
    rows = {"x": [x], "x0": [], "noise": [], "timesteps": scheduler.timesteps}
    for t in scheduler.timesteps:
        drawn = len(noise.given)
        out = network(scheduler.scale_model_input(x, t), t)
        kwargs = {} if eta is None else {"eta": eta}
        step = scheduler.step(out, t, x, **kwargs)
        x = step.prev_sample
        assert x.dtype == dtype
        rows["x"].append(x)
        rows["x0"].append(step.pred_original_sample)
        rows["noise"].append(noise.since(drawn))
    if isinstance(scheduler, diffusers.EulerDiscreteScheduler) or hasattr(scheduler, "sigmas"):
        rows["sigmas"] = scheduler.sigmas
    return rows


def diffusers_cases():
    """Yields (name, a function of a dtype that runs it)."""

    def case(make, steps, eta=None):
        return lambda dtype: walk_diffusers(make(), steps, dtype, eta)

    ldm = dict(COMMON, clip_sample=False, set_alpha_to_one=False, steps_offset=1)
    one = dict(COMMON, clip_sample=False, set_alpha_to_one=True, timestep_spacing="trailing")
    for pred, name in NAMES.items():
        for eta in [0.0, 0.5, 1.0] if pred == "eps" else [0.5]:
            for s in [7, 10] if pred == "eps" else [10]:
                of = dict(ldm, prediction_type=name)
                make = lambda k=of: diffusers.DDIMScheduler(**k)  # noqa: E731
                yield f"ddim.diffusers.{pred}.eta{eta}.s{s}", case(make, s, eta)
        make = lambda n=name: diffusers.DDIMScheduler(**one, prediction_type=n)  # noqa: E731
        yield f"ddim.diffusers.trailing_one.{pred}.eta0.5.s7", case(make, 7, 0.5)
        plain = dict(COMMON, clip_sample=False, steps_offset=1, timestep_spacing="leading")
        make = lambda n=name: diffusers.DDPMScheduler(**plain, prediction_type=n)  # noqa: E731
        for s in [7, 10] if pred == "eps" else [10]:
            yield f"ddpm.diffusers.{pred}.s{s}", case(make, s)
        for spacing in ["leading", "linspace", "trailing"] if pred == "eps" else ["linspace"]:
            sig = dict(COMMON, timestep_spacing=spacing, prediction_type=name)
            sig["steps_offset"] = 1 if spacing == "leading" else 0
            make = lambda k=sig: diffusers.EulerDiscreteScheduler(**k)  # noqa: E731
            yield f"euler.diffusers.{spacing}.{pred}.s7", case(make, 7)
            if pred == "x0":
                continue  # diffusers has no x0 prediction for its ancestral sampler
            make = lambda k=sig: diffusers.EulerAncestralDiscreteScheduler(**k)  # noqa: E731
            yield f"euler_ancestral.diffusers.{spacing}.{pred}.s7", case(make, 7)


class Host:
    """What CompVis's samplers ask of the model they are given."""

    device, num_timesteps, parameterization = torch.device("cpu"), 1000, "eps"

    def __init__(self, dtype):
        from ldm.modules.diffusionmodules.util import make_beta_schedule

        betas = make_beta_schedule("linear", 1000, *PAIR)
        product = np.cumprod(1.0 - betas)
        self.betas = torch.from_numpy(betas).to(dtype)
        self.alphas_cumprod = torch.from_numpy(product).to(dtype)
        before = torch.from_numpy(np.append(1.0, product[:-1]))
        self.alphas_cumprod_prev = before.to(dtype)

    def apply_model(self, x, t, c):
        return network(x, t[:, None, None, None]) + (0.0 if c is None else c)


def conditions(dtype):
    g = torch.Generator().manual_seed(11)
    pair = single((2, 1, 3, 4), g).to(dtype) * 0.3
    return pair[:1], pair[1:]


def walk_compvis_ddim(steps, eta, dtype, scale=1.0):
    from ldm.models.diffusion import ddim

    class OnCpu(ddim.DDIMSampler):
        def register_buffer(self, name, attr):
            setattr(self, name, attr)

    noise = Noise(dtype)
    ddim.noise_like = noise.draw
    ddim.tqdm = lambda it, **_: it
    cond, uncond = conditions(dtype)
    both = [c.expand(SHAPE[0], -1, -1, -1) for c in (cond, uncond)] if scale != 1.0 else [None] * 2
    sampler = OnCpu(Host(dtype))
    with contextlib.redirect_stdout(io.StringIO()):
        _, trace = sampler.sample(
            steps,
            SHAPE[0],
            SHAPE[1:],
            conditioning=both[0],
            unconditional_conditioning=both[1],
            unconditional_guidance_scale=scale,
            eta=eta,
            x_T=start(dtype),
            log_every_t=1,
            verbose=False,
        )
    rows = {"x": trace["x_inter"], "x0": trace["pred_x0"][1:], "noise": noise.given}
    rows["timesteps"] = torch.from_numpy(np.flip(sampler.ddim_timesteps).copy())
    if scale != 1.0:
        rows["cond"], rows["uncond"] = cond, uncond
    assert rows["x"][-1].dtype == dtype
    return rows


def walk_compvis_ddpm(pred, first, last, dtype):
    from ldm.models.diffusion import ddpm

    chain = ddpm.DDPM.__new__(ddpm.DDPM)
    torch.nn.Module.__init__(chain)
    chain.v_posterior, chain.parameterization = 0.0, "eps"
    with double_precision(ddpm) if dtype == torch.float64 else contextlib.nullcontext():
        chain.register_schedule(None, "linear", 1000, *PAIR)
    chain.parameterization = pred
    chain.model = lambda x, t: network(x, t[:, None, None, None])
    noise = Noise(dtype)
    ddpm.noise_like = noise.draw
    x = start(dtype)
    rows = {"x": [x], "x0": [], "noise": [], "timesteps": torch.arange(first, last - 1, -1)}
    for t in rows["timesteps"].tolist():
        t = torch.full((SHAPE[0],), t)
        out = chain.model(x, t)
        clean = chain.predict_start_from_noise(x, t, out) if pred == "eps" else out
        x = chain.p_sample(x, t, clip_denoised=False)
        rows["x"].append(x)
        rows["x0"].append(clean)
    # The original draws at t = 0 too and multiplies by zero.
    rows["noise"] = noise.given
    assert x.dtype == dtype
    return rows


def compvis_cases():
    for s in [7, 10]:
        for eta in [0.0, 0.5, 1.0]:
            run = lambda d, s=s, eta=eta: walk_compvis_ddim(s, eta, d)  # noqa: E731
            yield f"ddim.compvis.eta{eta}.s{s}", run
    yield "ddim.compvis.cfg5.s10", lambda d: walk_compvis_ddim(10, 0.0, d, scale=5.0)
    for pred in ["eps", "x0"]:
        for first, last in [(999, 990), (504, 495), (9, 0)]:
            run = lambda d, p=pred, f=first, n=last: walk_compvis_ddpm(p, f, n, d)  # noqa: E731
            yield f"ddpm.compvis.{pred}.{first}to{last}", run


def k_cases(sampling, external):
    def walk(sampler, steps, dtype, karras=False, **kwargs):
        host = Host(dtype)
        table = external.CompVisDenoiser(host)
        model = lambda x, sigma: table(x, sigma, cond=None)  # noqa: E731
        host_apply = host.apply_model
        host.apply_model = lambda x, t, cond: host_apply(x, t, cond)
        sigmas = table.get_sigmas(steps)
        if karras:
            low, high = table.sigma_min.item(), table.sigma_max.item()
            sigmas = sampling.get_sigmas_karras(steps, low, high).to(dtype)
        noise, rows, before = Noise(dtype), {"x": [], "x0": [], "noise": []}, [0]
        if sampler is sampling.sample_euler_ancestral:
            kwargs["noise_sampler"] = noise.draw

        def seen(info):
            if rows["x"]:
                rows["noise"].append(noise.since(before[0]))
            before[0] = len(noise.given)
            rows["x"].append(info["x"])
            rows["x0"].append(info["denoised"])

        last = sampler(model, start(dtype) * sigmas[0], sigmas, callback=seen, **kwargs)
        rows["noise"].append(noise.since(before[0]))
        rows["x"].append(last)
        rows["timesteps"] = table.sigma_to_t(sigmas[:-1])
        rows["sigmas"] = sigmas
        assert last.dtype == dtype
        return rows

    euler, ancestral = sampling.sample_euler, sampling.sample_euler_ancestral
    for s in [7, 10]:
        yield f"euler.k.s{s}", lambda d, s=s: walk(euler, s, d)
        for eta in [1.0] if s == 10 else [0.0, 0.5, 1.0]:
            name = f"euler_ancestral.k.eta{eta}.s{s}"
            yield name, lambda d, s=s, eta=eta: walk(ancestral, s, d, eta=eta)
    yield "euler.k.karras.s7", lambda d: walk(euler, 7, d, karras=True)


def run_double(run, wide_modules):
    float_method = torch.Tensor.float
    torch.Tensor.float = torch.Tensor.double
    try:
        with double_precision(*wide_modules):
            return run(torch.float64)
    finally:
        torch.Tensor.float = float_method


def main(out, latent_diffusion, k_diffusion):
    use_compvis(latent_diffusion, trainer=True)
    sampling, external = use_k_diffusion(k_diffusion)
    tensors = {}
    meta = {"a": A, "b": B, "about": __doc__.splitlines()[0], "diffusers": diffusers.__version__}
    groups = [diffusers_cases(), compvis_cases(), k_cases(sampling, external)]
    for name, run in (pair for group in groups for pair in group):
        rows, single = run_double(run, MODULES), run(torch.float32)
        error = error_over_std(single["x"][-1], rows["x"][-1])
        meta[f"{name}.f32_error"] = f"{error:.3e}"
        steps = len(rows["timesteps"])
        rows = {k: torch.stack(list(v)) if isinstance(v, list) else v for k, v in rows.items()}
        assert rows["x"].shape[0] == steps + 1 and rows["noise"].shape[0] == steps, name
        assert error < 1e-3, (name, error)
        print(f"{name:45} {steps:3} steps  f32 error {error:.1e}  |x| {rows['x'][-1].std():.2f}")
        tensors |= {f"{name}.{k}": v.double() for k, v in rows.items()}
    save(out, "samplers", tensors, meta)


if __name__ == "__main__":
    main(*sys.argv[1:])
