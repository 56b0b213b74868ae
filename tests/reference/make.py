"""Record every golden file: python make.py OUT LATENT_DIFFUSION K_DIFFUSION SPANDREL BASICSR."""

import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent


def main(out, latent_diffusion, k_diffusion, spandrel, basicsr):
    both = [latent_diffusion, k_diffusion]
    scripts = {
        "noise": [],
        "schedules": both,
        "samplers": both,
        "networks": both[:1],
        "checkpoints": [],
        "guidance": [],
        "upscale": [spandrel, basicsr],
        "control": [],
        "adapters": [],
    }
    for script, sources in scripts.items():
        # A process each: the stand-ins that one script puts in place stay out of the next.
        command = [sys.executable, str(HERE / f"{script}.py"), out, *sources]
        subprocess.run(command, check=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
