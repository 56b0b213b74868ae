"""stable-diffusion.cpp, as one of the programs that networks.py measures.

    python sdcpp_peer.py FOLDER THREADS STEPS OUTPUT.png

Draws one picture from cold and ends, with weights in f16, which is what it has fast kernels for.
Its noise is another than PyTorch's, and Euler's steps cost what DDIM's do: the time is compared, the
picture is not.
"""

import sys


def main(folder, threads, steps, output):
    from stable_diffusion_cpp import StableDiffusion

    model = StableDiffusion(
        model_path=folder,
        n_threads=int(threads),
        wtype="f16",
        vae_decode_only=True,
        verbose=False,
    )
    drawn = model.generate_image(
        prompt="A photograph of an astronaut riding a horse, 4k, detailed",
        negative_prompt="blurry, low quality",
        width=512,
        height=512,
        cfg_scale=7.5,
        sample_method="euler",
        sample_steps=int(steps),
        seed=42,
    )
    drawn[0].save(output)


if __name__ == "__main__":
    main(*sys.argv[1:])
