"""The random checkpoints that h200.py measures, made on the device, and what they should give.

    python models.py FOLDER sd15|sdxl DEVICE SIZE STEPS [small]

writes FOLDER/NAME (f16, as diffusers keeps it); FOLDER/NAME-inputs.safetensors, all f32: `latent
[2, 4, h, w]`, `t [2]`, `context [2, 77, d]`, `z [1, 4, h, w]`, for XL `pooled [2, p]`, `sizes
[2, 6]` and `label`, which is both as the network takes them; and FOLDER/NAME-unet.safetensors and
-vae, in them `out`: what diffusers computes in f32, without TF32; FOLDER/NAME.json has how many
multiplications and additions each is. What is there is kept. With `small` the networks are
parity.py's small ones. Numbers are drawn as there, but by the device: a CPU takes minutes.
"""

import json
import sys
from pathlib import Path

import torch
from torch.utils.flop_counter import FlopCounterMode

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "peers"))
import checkpoint
import pipeline_peer
from diffusers_peer import call_unet, call_vae

SEED = 42


@torch.no_grad()
def make(folder, name, device, size, steps, small):
    parity = checkpoint.reference()
    torch.set_num_threads(8)  # parity.py takes one
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    with torch.device(device):
        parts, schedule = getattr(parity, name)(not small)
    drawn = torch.Generator(device).manual_seed(SEED)
    for _, module in sorted(parts.items()):
        fill(module.to(device).eval(), parity, drawn)
    told = inputs(parts["unet"], size // 8)
    save({key: value.contiguous() for key, value in told.items()}, folder / f"{name}-inputs")
    here = {key: value.to(device) for key, value in told.items()}
    counted = {}
    for part, call in (("unet", call_unet), ("vae", call_vae)):
        with FlopCounterMode(display=False) as counter:
            save({"out": call(parts[part], here)}, folder / f"{name}-{part}")
        counted[part] = counter.get_total_flops()
    (folder / f"{name}.json").write_text(json.dumps(counted))
    for module in parts.values():
        module.half()
    checkpoint.write(folder / name, name, parts, schedule)
    for module in parts.values():
        module.float()  # the same numbers: fill() rounded them
    draw = pipeline_peer.load(folder / name, torch.float32, device, "eager", size, steps, **parts)
    (folder / f"{name}-exact").mkdir(exist_ok=True)
    draw().save(folder / f"{name}-exact" / "picture.png")


def fill(module, parity, drawn):
    for key, tensor in sorted(module.state_dict().items()):
        if tensor.is_floating_point():
            mean, scale = parity.RECIPES[parity.letter(key, tensor)](tensor.shape)
            tensor.normal_(mean, float(scale), generator=drawn)
            tensor.copy_(tensor.half())


def inputs(unet, side):
    drawn = torch.Generator().manual_seed(SEED)
    normal = lambda *shape: torch.randn(*shape, generator=drawn)  # noqa: E731
    told = {"latent": normal(2, 4, side, side), "z": normal(1, 4, side, side)}
    told |= {"t": torch.tensor([501.0, 501.0])}
    told |= {"context": normal(2, 77, unet.config.cross_attention_dim)}
    if unet.config.addition_embed_type == "text_time":
        size = float(side * 8)
        told["sizes"] = torch.tensor([[size, size, 0.0, 0.0, size, size]]).repeat(2, 1)
        waves = unet.add_time_proj(told["sizes"].flatten()).reshape(2, -1)
        wide = unet.config.projection_class_embeddings_input_dim
        told["pooled"] = normal(2, wide - waves.shape[1])
        told["label"] = torch.cat([told["pooled"], waves], 1)
    return told


def save(tensors, path):
    from safetensors.torch import save_file

    tensors = {key: value.float().cpu().contiguous() for key, value in tensors.items()}
    save_file(tensors, f"{path}.safetensors")


if __name__ == "__main__":
    folder, name, device, size, steps, *small = sys.argv[1:]
    Path(folder).mkdir(parents=True, exist_ok=True)
    make(Path(folder), name, device, int(size), int(steps), bool(small))
