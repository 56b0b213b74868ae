"""walks.safetensors: every sampler over a few steps, network call by network call.

The network is a stand-in, smooth in the timestep and not linear in the state:
`out(x, t) = 0.6 x + 0.3 sin(t / 90) + 0.1 cos(2 x)`, and for the negative condition of the
CFG++ family `0.4 x + 0.3 cos(t / 70)`. It predicts eps unless the case's name ends in `.v`
(velocity) or begins with `edm` (F of EDM). The state is [2, 1, 3, 4], the β pair
0.00085..0.012 (scaled_linear), 1000 timesteps. Everything ran in float64; `f32_error` in the
metadata says how far the same code in float32 strays at any call, over that state's standard
deviation.

Layout per case:
- `<case>.sigmas` [L] f64: the noise levels, falling, with where the walk ends.
- `<case>.levels_t` [L - 1 or L] f64: the timestep of each, where the original names it.
- `<case>.times` i64: the timesteps, of samplers that walk these.
- `<case>.t` [C] f64: the timestep that each network call was told.
- `<case>.x` [C + 1, ...] f32: what the network got at each call, then the result. Where
  the original's state is variance preserving the result is kept as that; the header of each
  section says so.
- `<case>.start` [...] f32: the first state, as that sampler holds it.
- `<case>.noise` [D, ...] f32: the noise that was used, draw by draw.

Sections:
- `k.*`: k-diffusion's functions, variance exploding, on Karras levels of six steps.
- `c.*`: ComfyUI's, the same.
- `d.*`: diffusers' schedulers in the measure of σ (Euler's kin), variance exploding.
- `p.*`: diffusers' and CompVis's over timesteps, variance preserving; where the case has
  `sigmas` the result is scaled back to variance exploding.
- `edm.*`: diffusers' EDM schedulers.

Run: python walks.py OUT_DIR LATENT_DIFFUSION K_DIFFUSION COMFYUI
"""

import functools
import importlib
import math
import sys
import types

import diffusers
import numpy as np
import torch
from common import (
    double_precision,
    error_over_std,
    save,
    use_comfyui,
    use_compvis,
    use_k_diffusion,
    wide,
)

SHAPE = (2, 1, 3, 4)
PAIR = (0.00085, 0.012)
STEPS = 6
COMMON = dict(beta_start=PAIR[0], beta_end=PAIR[1], beta_schedule="scaled_linear")


def network(x, t):
    t = torch.as_tensor(t).to(x.dtype)
    return 0.6 * x + 0.3 * torch.sin(t / 90) + 0.1 * torch.cos(2 * x)


def negative(x, t):
    t = torch.as_tensor(t).to(x.dtype)
    return 0.4 * x + 0.3 * torch.cos(t / 70)


def single(generator):
    """Drawn in float32 whatever the default: a float64 draw is another sequence."""
    return torch.randn(SHAPE, generator=generator, dtype=torch.float32)


class Rows:
    """What a walk did: network calls, the noise it used, where it ended."""

    def __init__(self, dtype):
        self.dtype, self.generator = dtype, torch.Generator().manual_seed(7)
        self.x, self.t, self.noise = [], [], []

    def start(self):
        return single(torch.Generator().manual_seed(3)).to(self.dtype)

    def draw(self, *_, **__):
        self.noise.append(single(self.generator).to(self.dtype))
        return self.noise[-1]

    def call(self, x, t):
        assert x.dtype == self.dtype, x.dtype
        self.x.append(x)
        self.t.append(float(t))
        return network(x, t)


def alphas_cumprod():
    betas = np.linspace(PAIR[0] ** 0.5, PAIR[1] ** 0.5, 1000) ** 2
    return torch.from_numpy(np.cumprod(1.0 - betas))


class Table:
    """σ of the timesteps, and the timestep of a σ on a line in ln σ, as k-diffusion."""

    def __init__(self):
        a = alphas_cumprod()
        self.sigmas = ((1 - a) / a) ** 0.5
        self.logs = self.sigmas.log()

    def t(self, sigma):
        log = torch.as_tensor(sigma).double().log()
        low = int(((log - self.logs) >= 0).sum().clamp(1, 999)) - 1
        w = (self.logs[low] - log) / (self.logs[low] - self.logs[low + 1])
        return (low + w.clamp(0, 1)).item()

    def sigma(self, t):
        low = min(int(t), 998)
        return torch.exp(self.logs[low] + (t - low) * (self.logs[low + 1] - self.logs[low]))


TABLE = Table()


def karras(n):
    ramp = torch.linspace(0, 1, n, dtype=torch.float64)
    low, high = TABLE.sigmas[0] ** (1 / 7), TABLE.sigmas[-1] ** (1 / 7)
    return torch.cat([(high + ramp * (low - high)) ** 7, torch.zeros(1, dtype=torch.float64)])


def over_sigmas(function, rows, sigmas, sampling=None, **settings):
    """A function of k-diffusion's or ComfyUI's form on the stand-in."""

    def model(x, sigma, model_options=None, **_):
        sigma = sigma.reshape(-1)[0]
        norm, t = (sigma**2 + 1) ** 0.5, TABLE.t(sigma)
        clean = x - sigma * rows.call(x / norm, t)
        if model_options:
            other = x - sigma * negative(x / norm, t)
            model_options["seen"]({"denoised": clean, "uncond_denoised": other})
        return clean

    if sampling is not None:
        level = lambda p: 1e9 if p <= 0 else TABLE.sigma((1 - p) * 999).item()  # noqa: E731
        table = sampling.comfy.model_sampling.EPS()
        table.percent_to_sigma = level
        inner = types.SimpleNamespace(model_sampling=table)
        patcher = types.SimpleNamespace(get_model_object=lambda _: table)
        model.inner_model = types.SimpleNamespace(inner_model=inner, model_patcher=patcher)
    torch.randn_like, kept = rows.draw, torch.randn_like
    x = rows.start() * sigmas[0].to(rows.dtype)
    rows.first, rows.sigmas = x, sigmas.clone()
    rows.sigmas[-1] = getattr(function, "last", 0.0)
    try:
        rows.end = function(model, x, sigmas.to(rows.dtype).clone(), extra_args={}, **settings)
    finally:
        torch.randn_like = kept
    return rows


def budgeted(function):
    """ComfyUI's way to call the samplers that take the two ends of the levels."""

    def call(model, x, sigmas, extra_args, **settings):
        return function(model, x, sigmas[-2], sigmas[0], extra_args=extra_args, **settings)

    def counted(model, x, sigmas, extra_args, **settings):
        n = len(sigmas) - 1
        return function(model, x, sigmas[-2], sigmas[0], n, extra_args=extra_args, **settings)

    return counted if "fast" in function.__name__ else call


def k_cases(sampling):
    """k-diffusion's own, where it has them."""

    def case(name, function, noisy=False, steps=STEPS, **settings):
        def run(dtype):
            rows = Rows(dtype)
            given = dict(settings, noise_sampler=rows.draw) if noisy else settings
            return over_sigmas(function, rows, karras(steps), **given)

        return f"k.{name}", run

    s = sampling
    for churn in [0.0, 2.0]:
        end = ".churn" if churn else ""
        of = dict(s_churn=churn, s_noise=1.01)
        yield case("euler" + end, s.sample_euler, **of)
        yield case("heun" + end, s.sample_heun, **of)
        yield case("dpm_2" + end, s.sample_dpm_2, **of)
    yield case("lms", s.sample_lms)
    yield case("dpmpp_2m", s.sample_dpmpp_2m)
    for n in [4, 5, 6]:
        yield case(f"dpm_fast.{n}", budgeted(s.sample_dpm_fast), steps=n)
    yield case("dpm_fast.eta", budgeted(s.sample_dpm_fast), noisy=True, eta=0.6)
    for order in [2, 3]:
        of = dict(order=order, rtol=0.02)
        yield case(f"dpm_adaptive.{order}", budgeted(s.sample_dpm_adaptive), **of)
    pid = dict(pcoeff=0.2, icoeff=0.7, dcoeff=0.1, h_init=0.9, rtol=0.02)
    yield case("dpm_adaptive.pid", budgeted(s.sample_dpm_adaptive), **pid)
    of = dict(eta=0.4, rtol=0.1)
    yield case("dpm_adaptive.eta", budgeted(s.sample_dpm_adaptive), noisy=True, **of)
    for eta in [1.0, 0.5]:
        of = dict(noisy=True, eta=eta, s_noise=1.02)
        yield case(f"euler_ancestral.{eta}", s.sample_euler_ancestral, **of)
        yield case(f"dpm_2_ancestral.{eta}", s.sample_dpm_2_ancestral, **of)
        yield case(f"dpmpp_2s_ancestral.{eta}", s.sample_dpmpp_2s_ancestral, **of)
        yield case(f"dpmpp_sde.{eta}", s.sample_dpmpp_sde, **of)
        yield case(f"dpmpp_2m_sde.{eta}", s.sample_dpmpp_2m_sde, **of)
        yield case(f"dpmpp_2m_sde.heun.{eta}", s.sample_dpmpp_2m_sde, solver_type="heun", **of)
        yield case(f"dpmpp_3m_sde.{eta}", s.sample_dpmpp_3m_sde, **of)


def c_cases(sampling, uni_pc):
    """ComfyUI's that k-diffusion has not, and those that it changed."""

    def case(name, function, noisy=False, steps=STEPS, **settings):
        def run(dtype):
            rows = Rows(dtype)
            given = dict(settings, noise_sampler=rows.draw) if noisy else settings
            return over_sigmas(function, rows, karras(steps), sampling, **given)

        return f"c.{name}", run

    s = sampling
    yield case("heunpp2.churn", s.sample_heunpp2, s_churn=2.0)
    yield case("lms", s.sample_lms)
    yield case("ddpm", s.sample_ddpm, noisy=True)
    yield case("lcm", s.sample_lcm, noisy=True)
    for order in [2, 3, 4]:
        yield case(f"ipndm.{order}", s.sample_ipndm, max_order=order)
        yield case(f"ipndm_v.{order}", s.sample_ipndm_v, max_order=order)
        yield case(f"deis.{order}", s.sample_deis, max_order=order)
    yield case("euler_cfg_pp", s.sample_euler_cfg_pp)
    yield case("dpmpp_2m_cfg_pp", s.sample_dpmpp_2m_cfg_pp)
    yield case("gradient_estimation", s.sample_gradient_estimation)
    yield case("gradient_estimation_cfg_pp", s.sample_gradient_estimation_cfg_pp)
    yield case("res_multistep", quiet(s.sample_res_multistep))
    yield case("res_multistep_cfg_pp", quiet(s.sample_res_multistep_cfg_pp))
    yield case("res_multistep_ancestral", s.sample_res_multistep_ancestral, noisy=True)
    of = dict(noisy=True, eta=0.7, s_noise=1.02)
    yield case("res_multistep_ancestral_cfg_pp", s.sample_res_multistep_ancestral_cfg_pp, **of)
    yield case("euler_ancestral_cfg_pp", s.sample_euler_ancestral_cfg_pp, **of)
    yield case("dpmpp_2s_ancestral_cfg_pp", s.sample_dpmpp_2s_ancestral_cfg_pp, **of)
    for stage in [1, 2, 3]:
        yield case(f"er_sde.{stage}", s.sample_er_sde, noisy=True, max_stage=stage, s_noise=1.02)
    yield case("seeds_2", s.sample_seeds_2, **of)
    yield case("seeds_2.r", s.sample_seeds_2, r=0.3, **of)
    yield case("seeds_3", s.sample_seeds_3, **of)
    for n in [6, 8]:
        yield case(f"sa_solver.{n}", s.sample_sa_solver, noisy=True, steps=n, s_noise=1.02)
        yield case(f"sa_solver_pece.{n}", s.sample_sa_solver_pece, noisy=True, steps=n)
        yield case(f"uni_pc.{n}", lowered(uni_pc.sample_unipc), steps=n)
        yield case(f"uni_pc_bh2.{n}", lowered(uni_pc.sample_unipc_bh2), steps=n)


def lowered(function):
    """With a last level of 0.001, which is what ComfyUI's UniPC makes of 0."""
    function.last = 0.001
    return function


def quiet(function):
    """With noise of weight 0: what is drawn for it is not recorded."""
    nothing = lambda a, b: torch.zeros(SHAPE, dtype=torch.get_default_dtype())  # noqa: E731
    return functools.partial(function, noise_sampler=nothing)


def scheduler(name, **config):
    """A diffusers scheduler and the module its lines stand in."""
    made = getattr(diffusers, name)
    module = importlib.import_module(made.__module__)
    return module, lambda: made(**dict(COMMON, **config))


def over_scheduler(module, make, rows, steps, preserving, step=None, **more):
    """A walk of a diffusers scheduler; `preserving` says which state it holds."""
    module.randn_tensor = rows.draw
    chosen = make()
    chosen.set_timesteps(steps, **more)
    scale = torch.as_tensor(chosen.init_noise_sigma).to(rows.dtype)
    x = rows.start() * scale
    rows.first = x
    if getattr(chosen, "sigmas", None) is not None:
        rows.sigmas = torch.as_tensor(chosen.sigmas).double()
        rows.levels_t = torch.as_tensor(chosen.timesteps).double()
    else:
        rows.times = torch.as_tensor(chosen.timesteps).long()
    for t in chosen.timesteps:
        out = rows.call(chosen.scale_model_input(x, t), t)
        x = chosen.step(out, t, x, **(step or {})).prev_sample
    if isinstance(chosen, diffusers.SASolverScheduler):
        # It draws at every step, and multiplies by 0 where its tau is.
        drawn = zip(rows.noise, chosen.timesteps)
        rows.noise = [z for z, t in drawn if 200 <= t <= 800]
    if isinstance(chosen, diffusers.LCMScheduler):
        a = chosen.alphas_cumprod[chosen.timesteps].double()
        rows.sigmas = torch.cat([((1 - a) / a) ** 0.5, torch.zeros(1)])
        rows.levels_t = rows.times.double()
        del rows.times
    if preserving and hasattr(rows, "sigmas"):
        first, last = ((rows.sigmas[i] ** 2 + 1) ** 0.5 for i in (0, -1))
        rows.first, x = rows.first * first.to(x.dtype), x * last.to(x.dtype)
    rows.end = x
    return rows


class Fake:
    """In the place of a Brownian tree: noise handed out draw by draw."""

    def __init__(self, rows):
        self.rows = rows

    def __call__(self, *_, **__):
        return self.rows.draw


def d_cases():
    """Yields (name, run) for every diffusers scheduler but those `samplers.py` has."""

    def case(name, of, steps=STEPS, preserving=True, more=None, step=None, **config):
        module, make = scheduler(of, **config)

        def run(dtype):
            rows = Rows(dtype)
            if hasattr(module, "BrownianTreeNoiseSampler"):
                module.BrownianTreeNoiseSampler = Fake(rows)
            if dtype == torch.float32:
                return over_scheduler(module, make, rows, steps, preserving, step, **(more or {}))
            with double_precision(module):
                return over_scheduler(module, make, rows, steps, preserving, step, **(more or {}))

        return name, run

    ve = dict(preserving=False)
    yield case("d.heun", "HeunDiscreteScheduler", **ve)
    yield case("d.dpm_2", "KDPM2DiscreteScheduler", **ve)
    yield case("d.dpm_2_ancestral", "KDPM2AncestralDiscreteScheduler", **ve)
    yield case("d.lms", "LMSDiscreteScheduler", **ve)
    yield case("d.dpmpp_sde", "DPMSolverSDEScheduler", **ve)
    zero = dict(rescale_betas_zero_snr=True, prediction_type="v_prediction")
    zero["timestep_spacing"] = "trailing"
    yield case("d.euler.zero_snr.v", "EulerDiscreteScheduler", **ve, **zero)
    # In five steps, which divide 1000: diffusers' step before is then the one visited.
    yield case("p.ddim.zero_snr.v", "DDIMScheduler", steps=5, clip_sample=False, **zero)

    multi, one = "DPMSolverMultistepScheduler", "DPMSolverSinglestepScheduler"
    least = dict(final_sigmas_type="sigma_min")
    yield case("p.dpm.++.1", multi, solver_order=1)
    yield case("p.dpm.++.3", multi, solver_order=3)
    yield case("p.dpm.++.3.long", multi, steps=16, solver_order=3)
    yield case("p.dpm.++.2.euler_at_final", multi, steps=16, euler_at_final=True, **least)
    yield case("p.dpm.++.2.trailing", multi, timestep_spacing="trailing")
    yield case("p.dpm.++.2.v", multi, prediction_type="v_prediction")
    yield case("p.dpm.eps.3", multi, algorithm_type="dpmsolver", solver_order=3, **least)
    yield case("p.dpm.sde++.3", multi, algorithm_type="sde-dpmsolver++", solver_order=3)
    for solver in ["midpoint", "heun"]:
        of = dict(solver_type=solver)
        yield case(f"p.dpm.++.2.{solver}", multi, **of)
        yield case(f"p.dpm.eps.2.{solver}", multi, algorithm_type="dpmsolver", **of, **least)
        yield case(f"p.dpm.sde++.2.{solver}", multi, algorithm_type="sde-dpmsolver++", **of)
        sde = dict(algorithm_type="sde-dpmsolver", **least)
        yield case(f"p.dpm.sde.2.{solver}", multi, **sde, **of)
        yield case(f"p.single.++.2.{solver}", one, steps=6, **of)
        yield case(f"p.single.++.3.{solver}", one, steps=7, solver_order=3, **of)
        eps = dict(algorithm_type="dpmsolver", solver_order=3, **least)
        yield case(f"p.single.eps.3.{solver}", one, steps=8, **eps, **of)
        sde = dict(algorithm_type="sde-dpmsolver++", solver_order=3)
        yield case(f"p.single.sde++.3.{solver}", one, steps=6, **sde, **of)
    for order in [1, 2, 3]:
        yield case(f"p.deis.{order}", "DEISMultistepScheduler", solver_order=order)
    yield case("p.deis.3.long", "DEISMultistepScheduler", steps=16, solver_order=3)
    for bh in ["bh1", "bh2"]:
        for order in [1, 2, 3]:
            # With bh1 and a last level of 0 diffusers multiplies infinity by 0.
            of = dict(solver_type=bh, solver_order=order, **(least if bh == "bh1" else {}))
            yield case(f"p.uni_pc.{bh}.{order}", "UniPCMultistepScheduler", **of)
    for predict, correct in [(2, 2), (3, 4), (1, 1)]:
        of = dict(predictor_order=predict, corrector_order=correct)
        yield case(f"p.sa_solver.{predict}{correct}", "SASolverScheduler", **of)
    pndm = dict(steps_offset=1)
    yield case("p.plms", "PNDMScheduler", skip_prk_steps=True, **pndm)
    yield case("p.pndm", "PNDMScheduler", steps=8, **pndm)
    yield case("p.lcm", "LCMScheduler", steps=4)
    for eta in [0.3, 0.0]:
        yield case(f"p.tcd.{eta}", "TCDScheduler", steps=4, step=dict(eta=eta))
    for end in [True, False]:
        of = dict(clip_sample=False, set_alpha_to_one=end)
        yield case(f"p.ddim_inverse.{end}", "DDIMInverseScheduler", **of)

    def repaint(dtype):
        module, make = scheduler("RePaintScheduler", eta=0.7, clip_sample=False)
        rows = Rows(dtype)
        module.randn_tensor = rows.draw
        chosen = make()
        chosen.set_timesteps(STEPS, jump_length=2, jump_n_sample=2)
        chosen.alphas_cumprod = chosen.alphas_cumprod.to(dtype)
        x = rows.first = rows.start()
        clean = single(torch.Generator().manual_seed(5)).to(dtype)
        mask = torch.zeros(SHAPE, dtype=dtype)
        mask[..., 1:3] = 1.0  # of what is kept
        rows.clean, rows.mask, rows.times = clean, mask, chosen.timesteps
        last = chosen.timesteps[0] + 1
        for t in chosen.timesteps:
            if t < last:
                x = chosen.step(rows.call(x, t), t, x, clean, mask).prev_sample
            else:
                x = chosen.undo_step(x, last)
            last = t
        rows.end = x
        return rows

    def repaint_wide(dtype):
        module, _ = scheduler("RePaintScheduler")
        if dtype == torch.float32:
            return repaint(dtype)
        with double_precision(module):
            return repaint(dtype)

    yield "p.repaint", repaint_wide

    def ipndm(dtype):
        rows = Rows(dtype)
        chosen = diffusers.IPNDMScheduler()
        chosen.set_timesteps(STEPS)
        # Its own levels, from nothing but noise on: they begin at the second.
        betas, alphas = chosen.betas.double(), (1 - chosen.betas.double() ** 2) ** 0.5
        chosen.betas, chosen.alphas = betas.to(dtype), alphas.to(dtype)
        chosen.timesteps = chosen.timesteps[1:]
        chosen._step_index = 1
        x = rows.start()
        rows.first = x / alphas[1].to(dtype)
        rows.sigmas, rows.levels_t = (betas / alphas)[1:], chosen.timesteps.double() * 999
        for t in chosen.timesteps:
            x = chosen.step(rows.call(x, t.double() * 999), t, x).prev_sample
        rows.end = x
        return rows

    yield "p.ipndm.v", ipndm

    edm = dict(sigma_min=0.002, sigma_max=80.0)
    multi, sde = "EDMDPMSolverMultistepScheduler", dict(algorithm_type="sde-dpmsolver++")
    for name, of, step, config in [
        ("edm.euler", "EDMEulerScheduler", None, {}),
        ("edm.euler.churn", "EDMEulerScheduler", dict(s_churn=2.0), {}),
        ("edm.dpm", multi, None, {}),
        ("edm.dpm.sde", multi, None, sde),
    ]:
        made = getattr(diffusers, of)
        module = importlib.import_module(made.__module__)
        make = functools.partial(made, **edm, **config)

        def run(dtype, module=module, make=make, step=step):
            rows = Rows(dtype)
            if step is not None:
                return churned(module, make, rows, step["s_churn"])
            if dtype == torch.float32:
                return over_scheduler(module, make, rows, STEPS, False)
            with double_precision(module):
                return over_scheduler(module, make, rows, STEPS, False)

        yield name, run


def churned(module, make, rows, s_churn):
    """EDM's Euler with churn, its network called where the state was raised, as in the paper.

    diffusers calls the network before it raises the state and lets it answer for σ, so the
    raised call is made here and handed over as `pred_original_sample`.
    """
    glasses = double_precision(module) if rows.dtype == torch.float64 else None
    if glasses:
        glasses.__enter__()
    chosen = make()
    chosen.set_timesteps(STEPS)
    x = rows.first = rows.start() * chosen.init_noise_sigma
    rows.sigmas = chosen.sigmas.double()
    rows.levels_t = chosen.timesteps.double()
    for i, t in enumerate(chosen.timesteps):
        sigma = chosen.sigmas[i]
        gamma = min(s_churn / (len(chosen.sigmas) - 1), 2**0.5 - 1)
        hat = sigma * (gamma + 1)
        fresh = rows.draw()
        module.randn_tensor = lambda *_, fresh=fresh, **__: fresh
        raised = x + fresh * (hat**2 - sigma**2) ** 0.5
        out = rows.call(chosen.precondition_inputs(raised, hat), chosen.precondition_noise(hat))
        clean = chosen.precondition_outputs(raised, out, hat)
        chosen.is_scale_input_called = True
        x = chosen.step(out, t, x, s_churn=s_churn, pred_original_sample=clean).prev_sample
    if glasses:
        glasses.__exit__()
    rows.end = x
    return rows


def plms_case():
    """CompVis's PLMS; the second call of its first step is a call like the others."""
    from ldm.models.diffusion import plms

    def run(dtype):
        class OnCpu(plms.PLMSSampler):
            def register_buffer(self, name, attr):
                setattr(self, name, attr)

        rows = Rows(dtype)
        a = alphas_cumprod()
        host = types.SimpleNamespace(
            device=torch.device("cpu"),
            num_timesteps=1000,
            betas=torch.zeros(1000, dtype=dtype),
            alphas_cumprod=a.to(dtype),
            alphas_cumprod_prev=torch.cat([torch.ones(1), a[:-1]]).to(dtype),
            apply_model=lambda x, t, c: rows.call(x, t[0]),
        )
        plms.noise_like = lambda shape, *_: torch.zeros(shape, dtype=dtype)
        plms.tqdm = lambda it, **_: it
        sampler = OnCpu(host)
        rows.first = rows.start()
        sampler.make_schedule(ddim_num_steps=STEPS, ddim_eta=0.0, verbose=False)
        rows.end, _ = sampler.plms_sampling(None, SHAPE, x_T=rows.first)
        rows.times = torch.from_numpy(np.flip(sampler.ddim_timesteps).copy()).long()
        return rows

    yield "p.plms.compvis", run


def run_both(run):
    with wide():
        rows = run(torch.float64)
    return rows, run(torch.float32)


def main(out, latent_diffusion, k_diffusion, comfyui):
    use_compvis(latent_diffusion, trainer=True)
    c_sampling, uni_pc, _, _ = use_comfyui(comfyui)
    k_sampling, _ = use_k_diffusion(k_diffusion)
    tensors, meta = {}, {"about": __doc__.splitlines()[0], "diffusers": diffusers.__version__}
    groups = [k_cases(k_sampling), c_cases(c_sampling, uni_pc), d_cases(), plms_case()]
    for name, run in (pair for group in groups for pair in group):
        rows, narrow = run_both(run)
        error = error_over_std(narrow.end, rows.end)
        if len(narrow.x) == len(rows.x):
            error = max([error, *map(error_over_std, narrow.x, rows.x)])
        assert math.isfinite(error) and error < 2e-3, (name, error)
        meta[f"{name}.f32_error"] = f"{error:.3e}"
        stack = [*rows.x, rows.end]
        tensors[f"{name}.x"] = torch.stack(stack).float()
        tensors[f"{name}.t"] = torch.tensor(rows.t, dtype=torch.float64)
        tensors[f"{name}.start"] = rows.first.float()
        if rows.noise:
            tensors[f"{name}.noise"] = torch.stack(rows.noise).float()
        for key in ["sigmas", "levels_t", "times", "clean", "mask"]:
            if hasattr(rows, key):
                value = torch.as_tensor(getattr(rows, key))
                tensors[f"{name}.{key}"] = value if key != "clean" else value.float()
        print(f"{name:36} {len(rows.x):3} calls  f32 error {error:.1e}  |x| {rows.end.std():.2f}")
    save(out, "walks", tensors, meta)


if __name__ == "__main__":
    main(*sys.argv[1:])
