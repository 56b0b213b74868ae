"""guidance.safetensors: guidance brought back to the spread of the positive side.

Lin et al. 2023 (arXiv 2305.08891), section 3.4, as two programs compute it. Layout, all f64:
- `x`, `positive`, `negative` [2, 4, 6, 6]: a state of variance one, and two outputs for it.
- `diffusers.guided`: `rescale_noise_cfg` of diffusers' pipelines on those outputs, whatever
  they predict.
- `velocity.<eps|v|x0>.t<t>.guided`: the output that means what ComfyUI's RescaleCFG gives.
  That node rescales velocities; here they are computed from clean latents in the state
  x0 + sigma eps, for the schedule 0.0015 to 0.0195, by the formulas of Salimans and Ho 2022
  (arXiv 2202.00512, appendix D).
Metadata: `cfg`, `phi`, and torch's own float32 error as `<name>.error`, in units of the
standard deviation of the result.

Run: python guidance.py OUT_DIR
"""

import sys

import diffusers
import torch
from common import error_over_std, save
from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import rescale_noise_cfg

CFG, PHI = 7.5, 0.7
TIMESTEPS = [20, 500, 950]


def clean_of(kind, x, out, sigma):
    """The clean latent that an output means; `x` is x0 + sigma eps."""
    c = (sigma**2 + 1) ** 0.5
    return {"eps": x - out * sigma, "v": x / c**2 - out * sigma / c, "x0": out}[kind]


def output_of(kind, x, clean, sigma):
    """The output that means a clean latent."""
    c = (sigma**2 + 1) ** 0.5
    eps = (x - clean) / sigma
    return {"eps": eps, "v": (eps - sigma * clean) / c, "x0": clean}[kind]


def rescaled(guided, positive):
    """Equations 15 and 16."""
    over = tuple(range(1, guided.ndim))
    spread = lambda x: x.std(dim=over, keepdim=True)
    return PHI * guided * (spread(positive) / spread(guided)) + (1 - PHI) * guided


def by_velocity(kind, x, positive, negative, sigma):
    exploding = x * (sigma**2 + 1) ** 0.5
    v = lambda out: output_of("v", exploding, clean_of(kind, exploding, out, sigma), sigma)
    p, n = v(positive), v(negative)
    guided = rescaled(n + CFG * (p - n), p)
    return output_of(kind, exploding, clean_of("v", exploding, guided, sigma), sigma)


def main(out):
    draw = torch.Generator().manual_seed(11)
    x, common, a, b = (torch.randn(2, 4, 6, 6, generator=draw).double() for _ in range(4))
    positive, negative = common + 0.3 * a, common + 0.3 * b
    # The second picture's output is larger, so that each has a factor of its own.
    for out_ in (positive, negative):
        out_[1] *= 1.7
    tensors = {"x": x, "positive": positive, "negative": negative}
    meta = {"about": __doc__.splitlines()[0], "diffusers": diffusers.__version__}
    meta |= {"cfg": CFG, "phi": PHI}

    def record(name, compute):
        want = compute(x, positive, negative)
        own = compute(x.float(), positive.float(), negative.float())
        tensors[name], meta[f"{name}.error"] = want, error_over_std(own, want)
        plain = negative + CFG * (positive - negative)
        assert error_over_std(plain, want) > 0.1, "rescaling must matter"

    record("diffusers.guided", lambda x, p, n: rescale_noise_cfg(n + CFG * (p - n), p, PHI))
    betas = torch.linspace(0.0015**0.5, 0.0195**0.5, 1000, dtype=torch.float64) ** 2
    alphas = torch.cumprod(1 - betas, 0)
    for t in TIMESTEPS:
        sigma = ((1 - alphas[t]) / alphas[t]).sqrt().item()
        for kind in ["eps", "v", "x0"]:
            name = f"velocity.{kind}.t{t}.guided"
            record(name, lambda x, p, n: by_velocity(kind, x, p, n, sigma))
    save(out, "guidance", tensors, meta)


if __name__ == "__main__":
    main(*sys.argv[1:])
