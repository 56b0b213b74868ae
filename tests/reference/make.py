"""Record every golden file: python make.py OUT SOURCES

SOURCES is the folder with other people's code; README.md says what it holds and at which versions.
"""

import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent

LDM, KD, COMFY = "latent-diffusion", "k-diffusion", "ComfyUI"

# A script, and the sources it is given, in its order.
SCRIPTS = {
    "noise": [],
    "schedules": [LDM, KD, COMFY],
    "samplers": [LDM, KD],
    "walks": [LDM, KD, COMFY],
    "networks": [LDM],
    "autoencoders": [LDM, "taming-transformers"],
    "unets": [LDM],
    "text": ["open_clip", COMFY, "taming-transformers"],
    "checkpoints": [],
    "guidance": [],
    "conditioning": [COMFY],
    "upscale": ["spandrel", "basicsr-1.4.2"],
    "control": [],
    "adapters": [],
    "parity": ["diffusers", LDM],
}


def main(out, sources):
    for script, names in SCRIPTS.items():
        # A process each: the stand-ins that one script puts in place stay out of the next.
        paths = [str(Path(sources) / name) for name in names]
        subprocess.run([sys.executable, str(HERE / f"{script}.py"), out, *paths], check=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
