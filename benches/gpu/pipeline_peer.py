"""diffusers' pipeline, as one of the programs that h200.py measures: words to a PNG.

    python pipeline_peer.py FOLDER f32|bf16|f16 THREADS DEVICE eager|channels_last SIZE STEPS PNG

Answers as served.py says; a run is a whole picture, with its text encoded and its file written.
The first is that of sd15.ron and sdxl.ron. Each answer has `stepped`, the time at which the device
had done the first step of all. All networks are in the type that is named: the pipeline would raise
SDXL's autoencoder from f16 to f32, whose released weights need that and random ones do not.
"""

import sys
import time
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "peers"))
import diffusers_peer
from served import serve

WANTED = "A photograph of an astronaut riding a horse, 4k, detailed"
UNWANTED = "blurry, low quality"
STEPPED = {}


def load(folder, dtype, device, way, size, steps, **parts):
    """What draws a picture; of `parts` nothing is read."""
    from diffusers import DiffusionPipeline

    pipe = DiffusionPipeline.from_pretrained(
        folder, torch_dtype=dtype, local_files_only=True, **parts
    )
    pipe.vae.register_to_config(force_upcast=False)
    pipe.set_progress_bar_config(disable=True)
    pipe.to(device)
    if way == "channels_last":
        pipe.unet.to(memory_format=torch.channels_last)
        pipe.vae.to(memory_format=torch.channels_last)

    def draw():
        drawn = torch.Generator().manual_seed(42)
        start = torch.randn(1, 4, size // 8, size // 8, generator=drawn).to(dtype)
        return pipe(
            WANTED, negative_prompt=UNWANTED, height=size, width=size, latents=start,
            num_inference_steps=steps, guidance_scale=7.5,
            callback_on_step_end=None if STEPPED else stepped,
        ).images[0]

    return draw


def stepped(pipe, step, t, values):
    if torch.cuda.is_available():  # a step is told when it was put in the queue
        torch.cuda.synchronize()
    STEPPED.setdefault("stepped", time.time())
    return values


def state():
    return diffusers_peer.state() | STEPPED


def main(folder, dtype, threads, device, way, size, steps, output):
    torch.set_num_threads(int(threads))
    torch.backends.cudnn.benchmark = True
    dtype = {"f32": torch.float32, "bf16": torch.bfloat16, "f16": torch.float16}[dtype]

    def made():
        draw = load(folder, dtype, device, way, int(size), int(steps))
        return lambda: draw().save(output), lambda _: None

    serve(made, diffusers_peer.about, state=state)


if __name__ == "__main__":
    main(*sys.argv[1:])
