"""diffusers' pipeline, as one of the programs that h200.py measures: words to a PNG.

    python pipeline_peer.py FOLDER f32|bf16|f16 THREADS DEVICE eager|channels_last SIZE STEPS PNG

Answers as served.py says; a run is a whole picture, with its text encoded and its file written.
The first is that of sd15.ron and sdxl.ron.
"""

import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "peers"))
import diffusers_peer
from served import serve

WANTED = "A photograph of an astronaut riding a horse, 4k, detailed"
UNWANTED = "blurry, low quality"


def load(folder, dtype, device, way, size, steps, output):
    from diffusers import DiffusionPipeline

    pipe = DiffusionPipeline.from_pretrained(folder, torch_dtype=dtype, local_files_only=True)
    pipe.set_progress_bar_config(disable=True)
    pipe.to(device)
    if way == "channels_last":
        pipe.unet.to(memory_format=torch.channels_last)
        pipe.vae.to(memory_format=torch.channels_last)
    torch.backends.cudnn.benchmark = True

    def run():
        drawn = torch.Generator().manual_seed(42)
        start = torch.randn(1, 4, size // 8, size // 8, generator=drawn).to(dtype)
        pictures = pipe(
            WANTED, negative_prompt=UNWANTED, height=size, width=size, latents=start,
            num_inference_steps=steps, guidance_scale=7.5,
        ).images
        pictures[0].save(output)

    return run, lambda _: None


def main(folder, dtype, threads, device, way, size, steps, output):
    torch.set_num_threads(int(threads))
    dtype = {"f32": torch.float32, "bf16": torch.bfloat16, "f16": torch.float16}[dtype]
    made = lambda: load(folder, dtype, device, way, int(size), int(steps), output)  # noqa: E731
    serve(made, diffusers_peer.about, state=diffusers_peer.state)


if __name__ == "__main__":
    main(*sys.argv[1:])
