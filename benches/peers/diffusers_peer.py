"""diffusers on torch, as one of the programs that networks.py and benches/gpu/h200.py measure.

    python diffusers_peer.py FOLDER unet|vae|clip f32|bf16|f16 THREADS INPUTS OUTPUT [DEVICE WAY]
    python diffusers_peer.py FOLDER picture f32|bf16|f16 THREADS STEPS OUTPUT.png
    python diffusers_peer.py FOLDER count SIDE

The first answers as served.py says, on `cpu` or `cuda`, in one of three ways: `eager`, as diffusers
comes (its attention is torch's own, SDPA); `channels_last`, the same in that order; `compile`, the
same in that order compiled by `max-autotune` (on the CPU, where that takes minutes, plainly). The
second draws one picture from cold and ends; the third counts the operations of a U-Net call on two
latents of SIDE × SIDE.
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


def network(folder, name, dtype, inputs, output, device="cpu", way="eager"):
    """What `served.serve` wants."""
    import torch
    from safetensors.torch import load_file, save_file

    module, call = parts(folder, name, dtype)
    module = prepared(module.eval().to(device), name, way, device)
    told = load_file(inputs, device=device)
    exact = ("t", "ids", "sizes")
    told = {key: value if key in exact else value.to(dtype) for key, value in told.items()}
    if way != "eager":
        pictures = ("latent", "z")
        order = {"memory_format": torch.channels_last}
        told |= {key: told[key].contiguous(**order) for key in pictures if key in told}
    torch.backends.cudnn.benchmark = True

    def run():
        with torch.no_grad():
            result = call(module, told)
        if device != "cpu":
            torch.cuda.synchronize()
        return result

    return run, lambda result: save_file({"out": result.float().contiguous().cpu()}, output)


def prepared(module, name, way, device):
    import torch

    if way != "eager":
        module = module.to(memory_format=torch.channels_last)
    if way == "compile":
        mode = "default" if device == "cpu" else "max-autotune"
        if name == "vae":
            module.decode = torch.compile(module.decode, mode=mode)
        else:
            module = torch.compile(module, mode=mode)
    return module


def parts(folder, name, dtype):
    """A network and how it is called."""
    if name == "unet":
        from diffusers import UNet2DConditionModel

        unet = UNet2DConditionModel.from_pretrained(folder, subfolder="unet", torch_dtype=dtype)
        return unet, call_unet
    if name == "vae":
        from diffusers import AutoencoderKL

        vae = AutoencoderKL.from_pretrained(folder, subfolder="vae", torch_dtype=dtype)
        return vae, call_vae
    from transformers import CLIPTextModel

    text = CLIPTextModel.from_pretrained(folder, subfolder="text_encoder", dtype=dtype)
    return text, lambda text, told: text(told["ids"].long()).last_hidden_state


def call_unet(unet, told):
    more = {}
    if "pooled" in told:  # Stable Diffusion XL
        more = {"text_embeds": told["pooled"], "time_ids": told["sizes"]}
        more = {"added_cond_kwargs": more}
    return unet(told["latent"], told["t"], told["context"], **more).sample


def call_vae(vae, told):
    return vae.decode(told["z"]).sample


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


def profile(run):
    """Device time by kernel; on the CPU, time by operation."""
    import torch
    from torch.profiler import ProfilerActivity
    from torch.profiler import profile as watched

    kinds = [ProfilerActivity.CPU]
    if torch.cuda.is_available():
        kinds.append(ProfilerActivity.CUDA)
    with watched(activities=kinds) as seen:
        run()
    rows = []
    for event in seen.key_averages():
        on_device = str(event.device_type).endswith("CUDA")
        if on_device != torch.cuda.is_available():
            continue
        took = event.self_device_time_total if on_device else event.self_cpu_time_total
        rows.append({"kernel": event.key, "launches": event.count, "seconds": took * 1e-6})
    return sorted(rows, key=lambda row: -row["seconds"])


def state():
    """The most of the device's memory that torch's allocator took."""
    import torch

    if not torch.cuda.is_available():
        return {}
    return {"device_bytes": torch.cuda.max_memory_reserved()}


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
    dtype = {"f32": torch.float32, "bf16": torch.bfloat16, "f16": torch.float16}[dtype]
    if name == "picture":
        picture(folder, dtype, int(rest[0]), rest[1])
    else:
        from served import serve

        # A compiled network is captured as a graph in its first runs.
        warm = {"compile": 3}.get(rest[-1], 0)
        serve(lambda: network(folder, name, dtype, *rest), about, warm, state, profile)


if __name__ == "__main__":
    main(*sys.argv[1:])
