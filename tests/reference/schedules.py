"""schedules.safetensors: betas, alphas, sigmas and the timesteps that samplers visit.

A β pair is written `<start>_<end>`, e.g. `0.0015_0.0195`. Layout (f64 unless said):
- `compvis.<schedule>.<pair>.alphas_cumprod` [1000]: CompVis `make_beta_schedule` (its name
  "linear" is what others call scaled_linear, "sqrt_linear" is a plain line) and its float64
  cumulative product; `.betas` beside it for one pair per schedule name, and `.sigmas`
  = sqrt((1-a)/a) computed the way k-diffusion does.
- `diffusers.scaled_linear.<pair>.alphas_cumprod` [1000] f32: diffusers' own float32 product.
- `ddim.compvis.uniform.s<S>`, `ddim.compvis.quad.s<S>` i64, ascending as CompVis makes them:
  walked from the last to the first.
- `ddim.diffusers.<leading|trailing|linspace>.s<S>` i64, descending, in walking order:
  steps_offset 1 for leading, 0 otherwise.
- `ddim.compvis.sigmas.s<S>.eta<eta>`, `.alphas.s<S>`, `.alphas_prev.s<S>` for 0.0015_0.0195.
- `euler.diffusers.<spacing>.s<S>.timesteps` and `.sigmas` [S], [S+1], and `.init_noise_sigma`
  [1], for 0.0015_0.0195, the scheduler's lines run in float64.
- `k.normal.s<S>.sigmas` [S+1] and `.timesteps` [S]: k-diffusion `DiscreteSchedule.get_sigmas`
  and `sigma_to_t` of them; `k.karras.s<S>.sigmas` [S+1], rho 7, over the same range;
  `k.between.sigmas`, `k.between.timesteps`: `sigma_to_t` of sigmas that lie between entries.

- `sd.<tool>.<name>.s<S>` [..]: noise levels over 0.00085..0.012 by the name each tool has for
  them, with the last 0 where the tool makes one. ComfyUI's own, from its functions
  (`comfyui.<scheduler>`), k-diffusion's (`k.<name>`) over the table's range, and diffusers'
  (`diffusers.<name>`), the option of its DPM-Solver or, `euler_<name>`, of Euler.
  `sd.comfyui.nearest` [2, 40]: noise levels, and the whole timesteps that ComfyUI tells for them.
- `sd.zero_snr.<tool>` [1000]: ᾱ (diffusers) and σ (comfyui) rescaled to zero terminal SNR.
- `sd.edm.sigmas` [1000]: the table of ComfyUI's `ModelSamplingContinuousEDM`, 0.002..80.

brownian.safetensors: the noise of k-diffusion's BrownianTreeNoiseSampler on torchsde.

- `s<seed>.<i>.noise` [...] f32 for the step `s<seed>.<i>.levels` [2] f64, in the order in which
  they were asked; `s<seed>.range` [2] f64: σ_min and σ_max of the tree.

Run: python schedules.py OUT_DIR LATENT_DIFFUSION K_DIFFUSION COMFYUI
"""

import sys

import diffusers
import diffusers.schedulers.scheduling_ddim as ddim_module
import diffusers.schedulers.scheduling_dpmsolver_multistep as dpm_module
import diffusers.schedulers.scheduling_euler_discrete as euler_module
import numpy as np
import torch
from common import double_precision, save, use_comfyui, use_compvis, use_k_diffusion, wide

PAIRS = [
    (0.0015, 0.0195),
    (0.0015, 0.0155),
    (0.0015, 0.0205),
    (0.0015, 0.015),
    (0.00085, 0.012),
]
STEPS = [1, 2, 4, 5, 6, 7, 10, 13, 20, 25, 50, 100, 150, 200, 250, 300, 400]
EULER_STEPS = [1, 2, 5, 7, 10, 20, 50]


def compvis(tensors):
    from ldm.modules.diffusionmodules import util

    first = True
    for pair in PAIRS:
        for name in ["linear"] if not first else ["linear", "sqrt_linear", "sqrt", "cosine"]:
            betas = util.make_beta_schedule(name, 1000, *pair)
            alphas = np.cumprod(1.0 - betas)
            key = f"compvis.{name}.{pair[0]}_{pair[1]}"
            tensors[f"{key}.alphas_cumprod"] = torch.from_numpy(alphas)
            if first:
                tensors[f"{key}.betas"] = torch.from_numpy(betas)
        first = False
    alphas = np.cumprod(1.0 - util.make_beta_schedule("linear", 1000, *PAIRS[0]))
    for s in STEPS:
        steps = util.make_ddim_timesteps("uniform", s, 1000, verbose=False)
        tensors[f"ddim.compvis.uniform.s{s}"] = torch.from_numpy(steps)
        quad = util.make_ddim_timesteps("quad", s, 1000, verbose=False)
        tensors[f"ddim.compvis.quad.s{s}"] = torch.from_numpy(quad)
    for s in [10, 20, 50]:
        steps = util.make_ddim_timesteps("uniform", s, 1000, verbose=False)
        for eta in [0.0, 0.5, 1.0]:
            sigmas, now, before = util.make_ddim_sampling_parameters(alphas, steps, eta, False)
            tensors[f"ddim.compvis.sigmas.s{s}.eta{eta}"] = torch.from_numpy(sigmas)
        tensors[f"ddim.compvis.alphas.s{s}"] = torch.from_numpy(now)
        tensors[f"ddim.compvis.alphas_prev.s{s}"] = torch.from_numpy(before)


def from_diffusers(tensors):
    for start, end in PAIRS:
        d = diffusers.DDIMScheduler(1000, start, end, "scaled_linear")
        key = f"diffusers.scaled_linear.{start}_{end}.alphas_cumprod"
        tensors[key] = d.alphas_cumprod
    for spacing in ["leading", "trailing", "linspace"]:
        offset = 1 if spacing == "leading" else 0
        common = dict(
            beta_start=0.0015,
            beta_end=0.0195,
            beta_schedule="scaled_linear",
            timestep_spacing=spacing,
            steps_offset=offset,
        )
        for s in STEPS:
            d = diffusers.DDIMScheduler(**common)
            d.set_timesteps(s)
            tensors[f"ddim.diffusers.{spacing}.s{s}"] = d.timesteps.long()
        with double_precision(euler_module):
            for s in EULER_STEPS:
                e = diffusers.EulerDiscreteScheduler(**common)
                e.set_timesteps(s)
                key = f"euler.diffusers.{spacing}.s{s}"
                tensors[f"{key}.timesteps"] = e.timesteps.double()
                tensors[f"{key}.sigmas"] = e.sigmas.double()
                sigma = torch.as_tensor(e.init_noise_sigma).double().reshape(1)
                tensors[f"{key}.init_noise_sigma"] = sigma


def from_k_diffusion(tensors, path):
    sampling, external = use_k_diffusion(path)
    torch.set_default_dtype(torch.float64)
    # k-diffusion casts t to float32 by `.float()`; integers and halves survive that, the
    # ramp of get_sigmas does not, so the cast is widened while recording.
    torch.Tensor.float, kept = torch.Tensor.double, torch.Tensor.float
    for start, end in PAIRS:
        alphas = tensors[f"compvis.linear.{start}_{end}.alphas_cumprod"]
        table = external.DiscreteEpsDDPMDenoiser(None, alphas, quantize=False)
        tensors[f"compvis.linear.{start}_{end}.sigmas"] = table.sigmas
    alphas = tensors["compvis.linear.0.0015_0.0195.alphas_cumprod"]
    table = external.DiscreteEpsDDPMDenoiser(None, alphas, quantize=False)
    for s in EULER_STEPS:
        sigmas = table.get_sigmas(s)
        tensors[f"k.normal.s{s}.sigmas"] = sigmas
        tensors[f"k.normal.s{s}.timesteps"] = table.sigma_to_t(sigmas[:-1])
        low, high = table.sigma_min.item(), table.sigma_max.item()
        tensors[f"k.karras.s{s}.sigmas"] = sampling.get_sigmas_karras(s, low, high)
    between = torch.tensor([0.01, 0.039, 0.05, 0.3, 1.0, 7.7, 50.0, 83.0, 90.0])
    tensors["k.between.sigmas"] = between
    tensors["k.between.timesteps"] = table.sigma_to_t(between)
    torch.Tensor.float = kept
    torch.set_default_dtype(torch.float32)
    return sampling


def for_sd(tensors, sampling, comfyui):
    """The levels of Stable Diffusion's table under every name."""
    _, _, model_sampling, samplers = use_comfyui(comfyui)
    import comfy_extras.nodes_align_your_steps as ays

    base = model_sampling.ModelSamplingDiscrete
    steps = [1, 2, 5, 7, 10, 20, 30]
    with wide():
        made = type("Sampling", (base, model_sampling.EPS), {})
        table = made()
        low, high = table.sigma_min.item(), table.sigma_max.item()
        for n in steps:
            for name in samplers.SCHEDULER_NAMES:
                if (n, name) == (1, "kl_optimal"):
                    continue  # it divides 0 by 0
                levels = samplers.calculate_sigmas(table, name, n)
                tensors[f"sd.comfyui.{name}.s{n}"] = levels.double()
            laplace = samplers.k_diffusion_sampling.get_sigmas_laplace
            tensors[f"sd.comfyui.laplace.s{n}"] = laplace(n, low, high)
            for model in ["SD1", "SDXL"]:
                levels = ays.AlignYourStepsScheduler.execute(model, n, 1.0)[0]
                tensors[f"sd.comfyui.ays_{model}.s{n}"] = levels.double()
            for rho in [1.0, 2.0]:
                levels = sampling.get_sigmas_polyexponential(n, low, high, rho)
                tensors[f"sd.k.polyexponential_{rho}.s{n}"] = levels
            tensors[f"sd.k.vp.s{n}"] = sampling.get_sigmas_vp(n)
        asked = torch.linspace(-3.6, 2.8, 40).exp()
        tensors["sd.comfyui.nearest"] = torch.stack([asked, table.timestep(asked).double()])
        tensors["sd.zero_snr.comfyui"] = made(zsnr=True).sigmas
        edm = type("Edm", (model_sampling.ModelSamplingContinuousEDM, model_sampling.EDM), {})()
        edm.set_parameters(0.002, 80.0, 0.5)
        tensors["sd.edm.sigmas"] = edm.sigmas
    pair = dict(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear")
    options = {
        "karras": dict(use_karras_sigmas=True),
        "exponential": dict(use_exponential_sigmas=True),
        "beta_sigmas": dict(use_beta_sigmas=True),
        "lu_lambdas": dict(use_lu_lambdas=True),
        "flow_1": dict(use_flow_sigmas=True, prediction_type="flow_prediction"),
        "flow_3": dict(use_flow_sigmas=True, prediction_type="flow_prediction", flow_shift=3.0),
        "linspace": {},
        "leading": dict(timestep_spacing="leading", steps_offset=1),
        "trailing": dict(timestep_spacing="trailing"),
    }
    with double_precision(ddim_module, dpm_module, euler_module):
        for n in steps[1:]:
            for name, option in options.items():
                made = diffusers.DPMSolverMultistepScheduler(**pair, **option)
                made.set_timesteps(n)
                tensors[f"sd.diffusers.{name}.s{n}"] = made.sigmas.double()
            made = diffusers.EulerDiscreteScheduler(**pair, interpolation_type="log_linear")
            made.set_timesteps(n)
            tensors[f"sd.diffusers.euler_log_linear.s{n}"] = made.sigmas.double()
            made = diffusers.LCMScheduler(**pair)
            made.set_timesteps(n)
            tensors[f"sd.diffusers.distilled.s{n}"] = made.timesteps.long()
        zero = diffusers.DDIMScheduler(**pair, rescale_betas_zero_snr=True)
    tensors["sd.zero_snr.diffusers"] = zero.alphas_cumprod.double()


def brownian(out, sampling):
    tensors = {}
    shape = (2, 1, 3, 4)
    ways = [
        (14.6146, 9.0),
        (9.0, 5.5),
        (9.0, 3.25),
        (3.25, 1.0),
        (1.0, 0.3),
        (0.3, 0.0292),
        (7.0, 6.999),
        (14.6146, 0.0292),
    ]
    for seed in [0, 42, 2**33 + 5]:
        low, high = torch.tensor(0.0292), torch.tensor(14.6146)
        tree = sampling.BrownianTreeNoiseSampler(torch.zeros(shape), low, high, seed=seed)
        tensors[f"s{seed}.range"] = torch.stack([low, high]).double()
        for i, way in enumerate(ways):
            levels = torch.tensor(way)
            tensors[f"s{seed}.{i}.levels"] = levels.double()
            tensors[f"s{seed}.{i}.noise"] = tree(levels[0], levels[1])
    save(out, "brownian", tensors, {"about": "Brownian noise of torchsde 0.2.6"})


def main(out, latent_diffusion, k_diffusion, comfyui):
    use_compvis(latent_diffusion)
    tensors = {}
    compvis(tensors)
    from_diffusers(tensors)
    sampling = from_k_diffusion(tensors, k_diffusion)
    for_sd(tensors, sampling, comfyui)
    brownian(out, sampling)
    about = {"about": __doc__.splitlines()[0], "diffusers": diffusers.__version__}
    save(out, "schedules", tensors, about)


if __name__ == "__main__":
    main(*sys.argv[1:])
