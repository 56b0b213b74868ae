"""Record every golden file: the README beside this says what it takes.

python make.py OUT_DIR LATENT_DIFFUSION K_DIFFUSION SPANDREL BASICSR TAMING_TRANSFORMERS
"""

import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent


def main(out, latent_diffusion, k_diffusion, spandrel, basicsr, taming):
    both = [latent_diffusion, k_diffusion]
    scripts = {
        "noise": [],
        "schedules": both,
        "samplers": both,
        "networks": both[:1],
        "autoencoders": [latent_diffusion, taming],
        "unets": both[:1],
        "checkpoints": [],
        "guidance": [],
        "upscale": [spandrel, basicsr],
        "control": [],
    }
    for script, sources in scripts.items():
        # A process each: the stand-ins that one script puts in place stay out of the next.
        command = [sys.executable, str(HERE / f"{script}.py"), out, *sources]
        subprocess.run(command, check=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
