"""diffusers on torch, as one of the programs that networks.py measures.

    python diffusers_peer.py FOLDER unet|vae|clip f32|bf16 THREADS INPUTS OUTPUT
    python diffusers_peer.py FOLDER picture f32|bf16 THREADS STEPS OUTPUT.png
    python diffusers_peer.py FOLDER count SIDE

The first answers as served.py says; the second draws one picture from cold and ends; the third
counts the operations of a U-Net call on two latents of SIDE × SIDE.
"""

import sys


def picture(folder, dtype, steps, output):
    import torch
    from diffusers import StableDiffusionPipeline

    pipe = StableDiffusionPipeline.from_pretrained(
        folder, torch_dtype=dtype, safety_checker=None, local_files_only=True
    )
    pipe.set_progress_bar_config(disable=True)
    drawn = pipe(
        "A photograph of an astronaut riding a horse, 4k, detailed",
        negative_prompt="blurry, low quality",
        height=512,
        width=512,
        num_inference_steps=steps,
        guidance_scale=7.5,
        generator=torch.Generator().manual_seed(42),
    )
    drawn.images[0].save(output)


def network(folder, name, dtype, inputs, output):
    """What `served.serve` wants."""
    import torch
    from safetensors.torch import load_file, save_file

    module, call = parts(folder, name, dtype)
    module.eval()
    told = load_file(inputs)
    told = {key: value if key in ("t", "ids") else value.to(dtype) for key, value in told.items()}

    def run():
        with torch.no_grad():
            return call(module, told)

    return run, lambda result: save_file({"out": result.float().contiguous()}, output)


def parts(folder, name, dtype):
    """A network and how it is called."""
    if name == "unet":
        from diffusers import UNet2DConditionModel

        unet = UNet2DConditionModel.from_pretrained(folder, subfolder="unet", torch_dtype=dtype)
        return unet, lambda unet, told: unet(told["latent"], told["t"], told["context"]).sample
    if name == "vae":
        from diffusers import AutoencoderKL

        vae = AutoencoderKL.from_pretrained(folder, subfolder="vae", torch_dtype=dtype)
        return vae, lambda vae, told: vae.decode(told["z"]).sample
    from transformers import CLIPTextModel

    text = CLIPTextModel.from_pretrained(folder, subfolder="text_encoder", dtype=dtype)
    return text, lambda text, told: text(told["ids"].long()).last_hidden_state


def count(folder, side):
    """Multiplications and additions of a U-Net call on two latents, without doing them."""
    import torch
    from diffusers import UNet2DConditionModel
    from torch.utils.flop_counter import FlopCounterMode

    with torch.device("meta"), torch.no_grad():
        unet = UNet2DConditionModel.from_config(UNet2DConditionModel.load_config(f"{folder}/unet"))
        counter = FlopCounterMode(display=False)
        with counter:
            unet(torch.empty(2, 4, side, side), torch.empty(2), torch.empty(2, 77, 768))
    return counter.get_total_flops()


def about():
    import diffusers
    import torch
    import transformers

    versions = {"diffusers": diffusers, "torch": torch, "transformers": transformers}
    return {"versions": {name: module.__version__ for name, module in versions.items()}}


def main(folder, name, *told):
    if name == "count":
        print(count(folder, int(told[0])))
        return
    run(folder, name, *told)


def run(folder, name, dtype, threads, *rest):
    import torch

    torch.set_num_threads(int(threads))
    dtype = {"f32": torch.float32, "bf16": torch.bfloat16}[dtype]
    if name == "picture":
        picture(folder, dtype, int(rest[0]), rest[1])
    else:
        from served import serve

        serve(lambda: network(folder, name, dtype, *rest), about)


if __name__ == "__main__":
    main(*sys.argv[1:])
